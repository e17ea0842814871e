//! The subcommands of `flowkit`: one file each, with its arguments, its help and one function.

mod completions;
mod db;
mod demo;
mod docs;
mod failure;
mod secrets;
mod tune;
mod user;

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
    Completions(completions::Completions),
    #[command(subcommand)]
    Db(db::Db),
    #[command(subcommand, hide = true)]
    Docs(docs::Docs),
    Secrets(secrets::Secrets),
    Tune(tune::Tune),
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Command::Completions(args) => args.run(),
            Command::Db(command) => command.run(),
            Command::Docs(command) => command.run(),
            Command::Secrets(args) => args.run(),
            Command::Tune(args) => args.run(),
        }
    }
}

/// Runs what was typed and gives the process's exit status: 0 done, 1 failed, 2 the user's mistake.
pub fn main() -> ExitCode {
    Cli::parse().command.run().unwrap_or_else(|failure| {
        if failure.is_broken_pipe() {
            return ExitCode::SUCCESS;
        }
        eprint!("{failure}");
        failure.exit_code()
    })
}
