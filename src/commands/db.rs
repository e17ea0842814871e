//! `flowkit db`: what is in FlowDB.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, demo};

/// FlowDB's data
#[derive(Subcommand)]
pub enum Db {
    Demo(demo::Demo),
}

impl Db {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Db::Demo(args) => args.run(),
        }
    }
}
