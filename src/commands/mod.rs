//! The subcommands of `flowkit`: one file each, with its arguments, its help and one function.

mod failure;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// FlowKit on this machine: databases, servers, secrets and settings under one supervisor.
#[derive(Parser)]
#[command(name = "flowkit", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tune(tune::Tune),
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Command::Tune(args) => args.run(),
        }
    }
}

/// Runs what was typed and gives the process's exit status: 0 done, 1 failed, 2 the user's mistake.
pub fn main() -> ExitCode {
    Cli::parse().command.run().unwrap_or_else(|failure| {
        eprint!("{failure}");
        failure.exit_code()
    })
}
