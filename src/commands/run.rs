//! `flowkit run ROLE`: one role in the foreground, for containers and units. It logs to stdout.
//!
//! In a container it is the first process, or below an engine's init; it needs one place to write (`--dir`, which may be in
//! `/dev/shm`), no capability, no name for its user, and nothing else of the root file system but its programs. A FlowMachine
//! whose database and redis are elsewhere waits for them.
//!
//! As a unit: `Type=notify`, `NotifyAccess=main` (only the guard speaks), `KillMode=mixed`, `TimeoutStopSec` above
//! `FLOWKIT_STOP_SECONDS`; secrets by `LoadCredential`. `/proc/meminfo` must be seen (`ProcSubset=all`) wherever memory is
//! planned. `MemoryDenyWriteExecute` goes with everything but PostgreSQL's just-in-time compiler (`NO_USE_JIT=false`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Failure;
use super::begin::{begin, exit_code, of_supervisor, tell_gaps};
use crate::roles::{Deployment, Walls, in_container};
use supervisor::{LogFormat, Options, supervise};

/// Run one role in the foreground: the entry point of images and units.
#[derive(Args)]
pub struct Run {
    /// Role to run
    role: String,
    /// Component of it to run here, others being on other machines; may be given several times [default: all of it]
    #[arg(long = "component", value_name = "COMPONENT")]
    components: Vec<String>,
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// Change a setting for this run
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// As root: run it as the owner of a state directory that is not root's, and believe its flowkit.toml
    #[arg(long)]
    as_owner: bool,
    /// How log lines are written [default: FLOWKIT_LOG_FORMAT, else text]
    #[arg(long, value_enum)]
    log: Option<Lines>,
    /// Seconds in which everything must have stopped after SIGTERM [default: FLOWKIT_STOP_SECONDS, else 8 in a container,
    /// where Docker allows 10, and 100 elsewhere]
    #[arg(long, value_name = "SECONDS")]
    stop_budget: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// For a person
    Text,
    /// JSON, an object a line, for a machine
    Json,
}

impl Run {
    /// Runs the command; returns when the role has stopped.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let deployment =
            Deployment::start(self.dir.as_deref(), &self.settings, self.as_owner).map_err(Failure::mistake)?;
        let deployment =
            deployment.running(vec![self.role]).with_components(self.components).map_err(Failure::mistake)?;
        // A container and a unit have walls of their own around files, and places for data that we know nothing of.
        let bare = !in_container() && std::env::var_os("NOTIFY_SOCKET").is_none();
        let deployment = deployment.within(if bare { Walls::All } else { Walls::Network });
        // Images and units are given their secrets; making them is `flowkit secrets init`, or `flowkit up`.
        let plan = begin(&deployment, |_| Ok(()))?;
        if bare {
            tell_gaps();
        }
        let given = deployment.site.settings.int("FLOWKIT_STOP_SECONDS").map(i64::unsigned_abs);
        let budget = self.stop_budget.or(given).unwrap_or(if in_container() { 8 } else { 100 });
        let json = match self.log {
            Some(lines) => lines == Lines::Json,
            None => deployment.site.settings.text("FLOWKIT_LOG_FORMAT") == Some("json"),
        };
        let options = Options {
            format: if json { LogFormat::Json } else { LogFormat::Text },
            budget: Duration::from_secs(budget),
            facts: deployment.facts(&plan),
            ..Options::new(deployment.site.state.run())
        };
        Ok(exit_code(supervise(plan.services, options).map_err(of_supervisor)?))
    }
}
