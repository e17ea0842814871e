//! `flowkit db`: what is in FlowDB.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, demo, user};

/// FlowDB's data
#[derive(Subcommand)]
pub enum Db {
    Demo(demo::Demo),
    #[command(subcommand)]
    User(user::User),
}

impl Db {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Db::Demo(args) => args.run(),
            Db::User(command) => command.run(),
        }
    }
}
