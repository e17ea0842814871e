//! `flowkit step NAME`: the parts of a service's life that need to know FlowKit, run by the supervisor as children.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Failure;
use crate::flowmachine::neighbours::Neighbours;
use crate::roles::{Deployment, await_free};
use crate::{flowdb, flowmachine, redis_server};
use say::show;

/// Run one step of a service; the supervisor does this.
#[derive(Args)]
pub struct StepArgs {
    step: Step,
    /// State directory
    #[arg(long, value_name = "STATE")]
    dir: PathBuf,
    /// A role that runs beside it
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Step {
    /// Make the database cluster if there is none, derive its configuration
    FlowdbPrepare,
    /// Become the database server
    FlowdbServer,
    /// Migrations, roles, passwords, grants, cache settings
    FlowdbSchema,
    /// Write redis's configuration
    RedisPrepare,
    /// Make redis and the database agree on what is cached
    FlowmachineRepair,
    /// Wait for FlowDB and redis where they run somewhere else
    FlowmachineAwait,
    /// End when one of them was started anew
    FlowmachineWatch,
}

impl Step {
    /// The role that listens once this has ended.
    fn comes_before(self) -> Option<&'static str> {
        match self {
            Step::FlowdbPrepare => Some("flowdb"),
            Step::RedisPrepare => Some("redis"),
            Step::FlowmachineRepair => Some("flowmachine"),
            _ => None,
        }
    }
}

impl StepArgs {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let deployment = Deployment::open_step(&self.dir, self.roles).map_err(Failure::mistake)?;
        if let Some(role) = self.step.comes_before() {
            await_free(&deployment, role, |line| show!("{line}"));
        }
        let Deployment { state, settings, store, roles, .. } = deployment;
        match self.step {
            Step::FlowdbPrepare => {
                let prepared = flowdb::cluster::prepare(&state, &settings, &store).map_err(of_flowdb)?;
                prepared.warnings.iter().for_each(|warning| show!("warning: {warning}"));
                let what = if prepared.created { "made" } else { "found" };
                show!("{what} a cluster of PostgreSQL {} in {}", prepared.postgres.major, prepared.data.display());
            }
            Step::FlowdbServer => return Err(of_flowdb(flowdb::cluster::serve(&state, &settings))),
            Step::FlowdbSchema => {
                let applied = wait(flowdb::schema::apply(&state, &settings, &store))?.map_err(of_flowdb)?;
                show!("{} migrations applied; roles, passwords, grants and settings are in place", applied.migrations);
            }
            Step::RedisPrepare => redis_server::prepare(&state, &settings, &store).map(drop)?,
            Step::FlowmachineRepair => {
                let report = wait(flowmachine::repair::run(&settings, &store))?;
                let mistake = |error: flowmachine::repair::Error| match error.is_mistake() {
                    true => Failure::mistake(error),
                    false => error.into(),
                };
                show!("{}", report.map_err(mistake)?);
            }
            Step::FlowmachineAwait => {
                let mut neighbours = Neighbours::new(&settings, &store, &roles);
                wait(neighbours.wait(|line| show!("{line}")))?.map_err(Failure::mistake)?;
            }
            Step::FlowmachineWatch => {
                let mut neighbours = Neighbours::new(&settings, &store, &roles);
                show!("{}", wait(neighbours.watch())?.map_err(Failure::mistake)?);
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the operator has to change first ends with the status after which the supervisor does not try again.
fn of_flowdb(error: flowdb::Error) -> Failure {
    if error.is_mistake() { Failure::mistake(error) } else { error.into() }
}

/// Runs a future to its end on this thread.
pub(super) fn wait<F: Future>(future: F) -> std::io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
