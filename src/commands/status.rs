//! `flowkit status` and `flowkit health`: what runs, for people, scripts and Docker.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Failure;
use super::table;
use crate::roles::Deployment;
use say::show;
use say::{self, Shown};
use supervisor::{ServiceState, Status, client};

/// Show the services of a running deployment.
#[derive(Args)]
pub struct StatusArgs {
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Tell by exit status whether a role answers: 0 yes, 1 no.
#[derive(Args)]
pub struct Health {
    /// Role that is asked about [default: all that run]
    role: Option<String>,
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl StatusArgs {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let status = ask(self.dir)?;
        match self.format {
            Format::Json => say::product(format!("{}\n", serde_json::to_string_pretty(&status)?).as_bytes()),
            Format::Table => {
                show!("{}", table::services(&status.services));
                let fact = |name: &str| Shown(status.facts[name].as_str().unwrap_or_default());
                show!("state: {}   secrets: {}", fact("state"), fact("secrets"));
                of_the_log(&status).iter().for_each(|line| show!("{line}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is wrong with the log, a line each; mostly nothing.
fn of_the_log(status: &Status) -> Vec<String> {
    let lost = (status.lines_lost > 0)
        .then(|| format!("log: {} lines were dropped or could not be written", status.lines_lost));
    // The supervisor's text, and in it names of files.
    let trouble = status.log_trouble.as_deref().map(|why| format!("log: it can't be kept up: {}", Shown(why)));
    lost.into_iter().chain(trouble).collect()
}

impl Health {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let status = ask(self.dir)?;
        let names = |role: &str| status.facts["roles"][role].as_array().cloned();
        let wanted = match &self.role {
            Some(role) => Some(names(role).ok_or_else(|| Failure::mistake(format!("no role `{role}` runs here")))?),
            None => None,
        };
        let asked = status.services.iter().filter(|service| {
            wanted.as_ref().is_none_or(|names| names.iter().any(|name| name == service.name.as_str()))
        });
        let unwell: Vec<String> = asked
            .filter(|service| !matches!(service.state, ServiceState::Ready | ServiceState::Finished))
            .map(|service| {
                format!("{}: {} {}", service.name, service.state, service.message.as_deref().unwrap_or_default())
            })
            .collect();
        if unwell.is_empty() {
            show!("ready");
            return Ok(ExitCode::SUCCESS);
        }
        show!("{}", Shown(unwell.join("; ")));
        Ok(ExitCode::FAILURE)
    }
}

fn ask(dir: Option<PathBuf>) -> Result<Status, Failure> {
    let state = Deployment::directory(dir.as_deref()).map_err(Failure::mistake)?;
    Ok(client::status(&state.run())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_lacks_something_says_so_in_a_line_each() {
        let status = |lines_lost, log_trouble: Option<&str>| Status {
            ready: true,
            stopping: false,
            since: String::new(),
            supervisor: 2,
            guard: 1,
            services: Vec::new(),
            facts: serde_json::Value::Null,
            lines_lost,
            log_trouble: log_trouble.map(str::to_owned),
        };
        assert_eq!(of_the_log(&status(0, None)), <[&str; 0]>::default());
        let lost = "log: 12 lines were dropped or could not be written";
        assert_eq!(of_the_log(&status(12, None)), [lost]);
        let why = "log: it can't be kept up: /log\\u{1b}[2J can't be made again: No space left on device";
        let told = status(12, Some("/log\x1b[2J can't be made again: No space left on device"));
        assert_eq!(of_the_log(&told), [lost, why]);
    }
}
