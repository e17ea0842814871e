//! `flowkit up`: a deployment on this host.
//!
//! The command is a client: it starts the supervisor in a session of its own, shows how the services come up, and then
//! either leaves them to it (`--detach`) or stays, following the log, and stops them when it is interrupted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::follow;
use super::table::{Live, table};
use super::{Failure, demo};
use crate::roles::{self, Deployment, Plan};
use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Pools, Problems};
use flowkit_core::secrets;
use say::{show, tell};
use supervisor::{Error, LogTarget, Options, Outcome, Status, client, gaps, spawn_detached};

/// Time for everything to stop in; a checkpoint of a busy database is the longest part of it.
const STOP_BUDGET: Duration = Duration::from_secs(100);

/// Start a deployment on this host and keep it running.
#[derive(Args)]
pub struct Up {
    /// Role to run; may be given several times [default: every role that is built]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// Change a setting for this run; flowkit.toml in the state directory keeps one for good
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// As root: run everything as the owner of a state directory that is not root's, and believe its flowkit.toml
    #[arg(long)]
    as_owner: bool,
    /// Load a month of invented call records once the database is ready
    #[arg(long)]
    demo: bool,
    /// Return as soon as everything is ready; the services stay up in the background
    #[arg(long, short)]
    detach: bool,
    /// Give up when not everything is ready after this many seconds; recovery after a crash may need long
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    patience: u64,
}

impl Up {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let deployment =
            Deployment::start(self.dir.as_deref(), &self.settings, self.as_owner).map_err(Failure::mistake)?;
        let roles = if self.roles.is_empty() { roles::built().map(str::to_string).collect() } else { self.roles };
        let deployment = deployment.running(roles).confined();
        refuse_second(&deployment)?;
        let plan = begin(&deployment, make_secrets)?;
        let gaps = gaps();
        if !gaps.is_empty() {
            let open = gaps.join(", ");
            tell!("warning: this kernel leaves more open to a role that is broken into than it need be: {open}");
        }
        let log = deployment.state.log().join("flowkit.log");
        let options = Options {
            log: LogTarget::File { path: log.clone(), max_bytes: 64 << 20, keep: 5 },
            budget: STOP_BUDGET,
            facts: deployment.facts(&plan),
            ..Options::new(deployment.state.run())
        };
        spawn_detached(plan.services, options).map_err(of_supervisor)?;
        let run = deployment.state.run();
        let status = wait_until_ready(&run, Duration::from_secs(self.patience), &log)?;
        deployment.store.forget_previous()?;
        if self.demo {
            demo::Demo::usual(deployment.state.root()).run()?;
        }
        // A person has the live table before their eyes.
        if !say::ERR.is_terminal() {
            show!("{}", table(&status.services));
        }
        tell!("state: {}   log: {}", deployment.state.root().display(), log.display());
        if self.detach {
            return Ok(ExitCode::SUCCESS);
        }
        tell!("Ctrl-C stops everything.");
        follow::until_interrupted(&run, &log)
    }
}

/// `up` never says that it did something when it did nothing.
fn refuse_second(deployment: &Deployment) -> Result<(), Failure> {
    match client::status(&deployment.state.run()) {
        Ok(status) => Err(Failure::mistake(format!(
            "{} is run by the supervisor with pid {} since {}: `flowkit status` shows it, `flowkit down` stops it",
            deployment.state.root().display(),
            status.supervisor,
            status.since
        ))),
        Err(_) => Ok(()),
    }
}

/// Makes the secrets that are missing.
fn make_secrets(deployment: &Deployment) -> Result<(), Failure> {
    let roles: Vec<_> = deployment.roles.iter().filter_map(|role| catalogue().role(role)).collect();
    let options = secrets::Options { settings: deployment.settings.clone(), ..secrets::Options::default() };
    let report = secrets::init(&deployment.state.secrets(), &roles, &options)?;
    if !report.made.is_empty() {
        tell!("made secrets: {}", report.made.join(", "));
    }
    Ok(())
}

/// Everything that can be wrong is found before anything is started: roles, ports, the host, secrets, programs.
pub(super) fn begin(deployment: &Deployment, secrets: fn(&Deployment) -> Result<(), Failure>) -> Result<Plan, Failure> {
    Problems(roles::unknown_roles(&deployment.roles)).or(()).map_err(Failure::mistake)?;
    let mut taken = roles::free_ports(deployment);
    deployment.settle().map_err(Failure::mistake)?;
    // It may be what a killed run of our own has left behind: that is ended, or has just come to its end by itself.
    client::clear(&deployment.state.run()).map_err(of_supervisor)?;
    if !taken.is_empty() {
        let still = roles::free_ports(deployment);
        taken.retain(|problem| still.iter().any(|other| other.value == problem.value));
    }
    Problems(taken).or(()).map_err(Failure::mistake)?;
    secrets(deployment)?;
    let pools = Pools::of(&deployment.settings).warnings();
    deployment.settings.warnings().iter().chain(&pools).for_each(|warning| tell!("warning: {warning}"));
    let secrets = deployment.hand_out_secrets();
    match (roles::plan(deployment), secrets) {
        (Ok(plan), Ok(())) => Ok(plan),
        (plan, secrets) => {
            let problems = [secrets.err(), plan.err()].into_iter().flatten().flat_map(|Problems(problems)| problems);
            Err(Failure::mistake(Problems(problems.collect())))
        }
    }
}

/// Shows the services until all are ready.
fn wait_until_ready(run: &Path, patience: Duration, log: &Path) -> Result<Status, Failure> {
    let deadline = Instant::now() + patience;
    let mut live = Live::new();
    loop {
        match client::status(run) {
            Ok(status) => {
                live.show(&status.services);
                if status.ready {
                    return Ok(status);
                }
            }
            Err(error @ Error::NotRunning { .. }) => return Err(gave_up(log, &error.to_string())),
            // It is there, and too busy to answer.
            Err(_) => {}
        }
        if Instant::now() > deadline {
            return Err(Failure::from(std::io::Error::other(format!(
                "not ready after {} s; the services go on starting: `flowkit status`, {}",
                patience.as_secs(),
                log.display()
            ))));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The supervisor's own last words about the service that it could not keep up, or else the end of the log.
fn gave_up(log: &Path, why: &str) -> Failure {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last_words = lines.iter().rposition(|line| line.contains("can't be kept up"));
    let from = last_words.unwrap_or(lines.len().saturating_sub(20));
    // A line of the service is indented below the sentence about it.
    let belongs = |(at, line): &(usize, &&str)| *at == 0 || last_words.is_none() || line.contains("|     ");
    let tail: Vec<&str> = lines[from..].iter().enumerate().take_while(belongs).map(|(_, line)| *line).collect();
    let said = format!("the deployment stopped while starting ({why})\n{}\nmore in {}", tail.join("\n"), log.display());
    Failure::from(std::io::Error::other(said))
}

/// Another `up` may have been quicker since we looked.
pub(super) fn of_supervisor(error: Error) -> Failure {
    if error.is_mistake() { Failure::mistake(error) } else { error.into() }
}

/// The exit status for how a set of services ended.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    if let Some(message) = outcome.message {
        tell!("flowkit: {message}");
    }
    ExitCode::from(outcome.status)
}
