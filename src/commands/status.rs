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
            }
        }
        Ok(ExitCode::SUCCESS)
    }
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
