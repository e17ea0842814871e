//! `flowkit up`: a deployment on this host.
//!
//! The command is a client: it starts the supervisor in a session of its own, shows how the services come up, and then
//! either leaves them to it (`--detach`) or stays, following the log, and stops them when it is interrupted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::begin::{begin, of_supervisor, tell_gaps};
use super::follow;
use super::table::{self, Live};
use super::{Failure, demo};
use crate::roles::{self, Deployment, Walls, autoflow, flowetl};
use flowkit_core::catalogue::catalogue;
use flowkit_core::secrets;
use say::{show, tell};
use supervisor::{Error, LogTarget, Options, Status, client, spawn_detached};

/// Time for everything to stop in; a checkpoint of a busy database is the longest part of it.
const STOP_BUDGET: Duration = Duration::from_secs(100);

/// Start a deployment on this host and keep it running.
#[derive(Args)]
pub struct Up {
    /// Role to run; may be given several times [default: every role but FlowETL and AutoFlow]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Role to run beside those; `flowkit up --with flowetl --with autoflow` runs them all
    #[arg(long, value_name = "ROLE")]
    with: Vec<String>,
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
        let mut roles: Vec<String> =
            if self.roles.is_empty() { roles::usual().map(str::to_string).collect() } else { self.roles.clone() };
        for role in &self.with {
            if !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        let deployment = deployment.running(roles).within(Walls::All);
        refuse_second(&deployment)?;
        let plan = begin(&deployment, make_secrets)?;
        tell_gaps();
        let log = deployment.site.state.log().join("flowkit.log");
        let options = Options {
            log: LogTarget::File { path: log.clone(), max_bytes: 64 << 20, keep: 5 },
            budget: STOP_BUDGET,
            facts: deployment.facts(&plan),
            ..Options::new(deployment.site.state.run())
        };
        // From here on something runs, and who stays with it stops it in order.
        let signals = (!self.detach).then(follow::Signals::catch).transpose()?;
        let guard = spawn_detached(plan.services, options).map_err(of_supervisor)?;
        let asked = signals.map(|signals| signals.pass_on(guard));
        let brought_up = self.bring_up(&deployment, &log);
        let interrupted = asked.as_ref().is_some_and(|asked| asked.signal().is_some());
        if brought_up.is_err() && !interrupted && client::status(&deployment.site.state.run()).is_ok() {
            tell!("the services go on without this command: `flowkit status` shows them, `flowkit down` stops them");
        }
        let Some(asked) = asked else { return brought_up.map(|()| ExitCode::SUCCESS) };
        // What did not come up then was stopped.
        if !interrupted {
            brought_up?;
            tell!("Ctrl-C stops everything.");
        }
        follow::until_interrupted(&deployment.site.state.run(), &log, &asked)
    }

    /// Waits until all is ready, loads what there is to load, and says what people need.
    fn bring_up(&self, deployment: &Deployment, log: &Path) -> Result<(), Failure> {
        let state = &deployment.site.state;
        let status = wait_until_ready(&state.run(), Duration::from_secs(self.patience), log)?;
        deployment.site.store.forget_previous(|role| deployment.runs_all_of(role))?;
        if self.demo {
            demo::Demo::usual(state.root()).run()?;
        }
        // A person has the live table before their eyes.
        if !say::ERR.is_terminal() {
            show!("{}", table::services(&status.services));
        }
        tell_clients(deployment);
        tell!("state: {}   log: {}", state.root().display(), log.display());
        Ok(())
    }
}

/// What people need who ask FlowAPI, or sign in to FlowAuth or FlowETL.
fn tell_clients(deployment: &Deployment) {
    let password = deployment.site.state.secrets().join("FLOWAUTH_ADMIN_PASSWORD");
    if deployment.roles.iter().any(|role| role == "flowauth") && password.exists() {
        let plain = deployment.site.settings.flag("FLOWKIT_FLOWAUTH_PLAIN_HTTP");
        let (scheme, port) =
            (if plain { "http" } else { "https" }, deployment.site.settings.port("FLOWKIT_FLOWAUTH_PORT"));
        tell!("FlowAuth: {scheme}://localhost:{port}; its administrator's first password is in {}", password.display());
    }
    let password = deployment.site.state.secrets().join("FLOWETL_AIRFLOW_ADMIN_PASSWORD");
    if deployment.roles.iter().any(|role| role == "flowetl") && password.exists() {
        let (port, dags) = (deployment.site.settings.port("FLOWETL_HOST_PORT"), flowetl::dags(deployment));
        tell!("FlowETL: http://localhost:{port}; its administrator's password is in {}", password.display());
        tell!("DAG files go to {}", dags.display());
    }
    if deployment.roles.iter().any(|role| role == "autoflow") {
        let (port, outputs) = (deployment.site.settings.port("FLOWKIT_AUTOFLOW_PORT"), autoflow::outputs(deployment));
        tell!("AutoFlow: http://localhost:{port}; notebooks and reports go to {}", outputs.display());
        let has = |name: &str| deployment.site.store.get(name).is_ok();
        if !has("FLOWAPI_TOKEN") && !has("FLOWKIT_AUTOFLOW_FLOWAUTH_KEY") {
            tell!("AutoFlow has no token yet: `flowkit auth enrol` lets it get its own from FlowAuth");
        }
    }
    let certificate = deployment.site.state.secrets().join("cert-flowkit.pem");
    if deployment.roles.iter().any(|role| role == "flowapi") && certificate.exists() {
        let port = deployment.site.settings.port("FLOWAPI_PORT");
        tell!(
            "FlowAPI: https://localhost:{port}, and https://flow.api:{port} where /etc/hosts says so; clients need {}",
            certificate.display()
        );
    }
}

/// `up` never says that it did something when it did nothing.
fn refuse_second(deployment: &Deployment) -> Result<(), Failure> {
    match client::status(&deployment.site.state.run()) {
        Ok(status) => Err(Failure::mistake(format!(
            "{} is run by the supervisor with pid {} since {}: `flowkit status` shows it, `flowkit down` stops it",
            deployment.site.state.root().display(),
            status.supervisor,
            status.since
        ))),
        Err(_) => Ok(()),
    }
}

/// Makes the secrets that are missing.
fn make_secrets(deployment: &Deployment) -> Result<(), Failure> {
    let roles: Vec<_> = deployment.roles.iter().filter_map(|role| catalogue().role(role)).collect();
    let options = secrets::Options { settings: deployment.site.settings.clone(), ..secrets::Options::default() };
    let report = secrets::init(&deployment.site.state.secrets(), &roles, &options)?;
    if !report.made.is_empty() {
        tell!("made secrets: {}", report.made.join(", "));
    }
    Ok(())
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
                "not ready after {} s; the log says what it waits for: {}",
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
