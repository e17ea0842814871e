//! `flowkit down`: stops what `flowkit up` started.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Failure, follow};
use crate::roles::Deployment;
use say::tell;
use supervisor::client::Stopped;

/// Stop a deployment in order; nothing is lost, nothing is left running.
#[derive(Args)]
pub struct Down {
    /// State directory [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// Give up waiting after this many seconds; the services go on stopping
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
}

impl Down {
    /// Runs the command; returns when nothing runs any more.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let state = Deployment::directory(self.dir.as_deref()).map_err(Failure::mistake)?;
        let how = match follow::stop(&state.run(), Duration::from_secs(self.patience))? {
            Stopped::Now => "stopped".to_string(),
            Stopped::Before { left_behind: 0 } => "nothing was running".to_string(),
            Stopped::Before { left_behind } => {
                format!("ended {left_behind} processes that a killed run had left behind")
            }
        };
        tell!("{}: {how}", state.root().display());
        Ok(ExitCode::SUCCESS)
    }
}
