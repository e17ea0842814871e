//! `flowkit restart SERVICE…`: these services again, the others as they are.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use crate::roles::Deployment;
use flowkit_core::config::Problems;
use say::tell;
use supervisor::{Error, client};

/// Restart services of a running deployment, and what cannot do without them
#[derive(Args)]
pub struct Restart {
    /// Services, as `flowkit status` names them
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
}

/// Gives services that run the secrets as they are now.
pub(super) fn hand_out(deployment: Deployment, facts: &serde_json::Value) {
    if let Err(Problems(problems)) = deployment.hand_out_again(facts) {
        tell!("note: the services keep the secrets that they have, as {} can't be had here", problems.len());
    }
}

impl Restart {
    /// Runs the command; `flowkit status` shows what comes of it.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let deployment = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let run = deployment.site.state.run();
        let status = client::status(&run)?;
        // All or none.
        if let Some(stranger) = self.services.iter().find(|name| status.services.iter().all(|one| one.name != **name)) {
            return Err(Failure::mistake(format!("there is no service {stranger:?}; `flowkit status` names them")));
        }
        // A secret may have been rotated since the services were given theirs.
        hand_out(deployment, &status.facts);
        for service in &self.services {
            match client::restart(&run, service) {
                Ok(()) => {}
                Err(error @ Error::Refused(_)) => return Err(Failure::mistake(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
