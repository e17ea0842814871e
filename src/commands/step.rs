//! `flowkit step NAME`: the parts of a service's life that need to know FlowKit, run by the supervisor as children. Each role has its
//! own beside its services.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::Failure;
use crate::roles::{self, Deployment};

/// Run one step of a service; the supervisor does this.
#[derive(Args)]
pub struct StepArgs {
    #[arg(value_parser = PossibleValuesParser::new(roles::steps()))]
    step: String,
    /// State directory
    #[arg(long, value_name = "STATE")]
    dir: PathBuf,
    /// A role that runs beside it
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

impl StepArgs {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let deployment = Deployment::open_step(&self.dir, self.roles).map_err(Failure::mistake)?;
        roles::run_step(&self.step, &deployment)
    }
}
