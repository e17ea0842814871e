//! The subcommands of `flowkit`: one file each, with its arguments, its help and one function.

mod auth;
mod autoflow;
mod begin;
mod check_config;
mod completions;
mod compose;
mod db;
mod demo;
mod docs;
mod down;
mod etl;
mod follow;
mod hints;
mod image;
mod quadlet;
mod quickstart;
mod restart;
mod run;
mod secrets;
mod stack;
mod status;
mod step;
mod swarm;
mod table;
mod token;
mod tune;
mod up;
mod user;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use crate::failure::Failure;
use say::tell;

/// FlowKit on this machine: databases, servers, secrets and settings under one supervisor.
#[derive(Parser)]
#[command(name = "flowkit", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Up),
    Down(down::Down),
    Status(status::StatusArgs),
    Health(status::Health),
    Restart(restart::Restart),
    Run(run::Run),
    Secrets(secrets::Secrets),
    Tune(tune::Tune),
    CheckConfig(check_config::CheckConfig),
    Stack(stack::Stack),
    Compose(compose::Compose),
    Quadlet(quadlet::Quadlet),
    Quickstart(quickstart::Quickstart),
    #[command(subcommand)]
    Db(db::Db),
    #[command(subcommand)]
    Etl(etl::Etl),
    Verify(verify::Verify),
    #[command(subcommand)]
    Token(token::Token),
    Auth(auth::Auth),
    Autoflow(autoflow::Autoflow),
    #[command(subcommand)]
    Image(image::Image),
    Completions(completions::Completions),
    #[command(subcommand, hide = true)]
    Docs(docs::Docs),
    #[command(hide = true)]
    Step(step::StepArgs),
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Command::Up(args) => args.run(),
            Command::Down(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Health(args) => args.run(),
            Command::Restart(args) => args.run(),
            Command::Run(args) => args.run(),
            Command::Secrets(args) => args.run(),
            Command::Tune(args) => args.run(),
            Command::CheckConfig(args) => args.run(),
            Command::Stack(args) => args.run(),
            Command::Compose(args) => args.run(),
            Command::Quadlet(args) => args.run(),
            Command::Quickstart(args) => args.run(),
            Command::Db(command) => command.run(),
            Command::Etl(command) => command.run(),
            Command::Verify(args) => args.run(),
            Command::Token(command) => command.run(),
            Command::Auth(args) => args.run(),
            Command::Autoflow(args) => args.run(),
            Command::Image(command) => command.run(),
            Command::Completions(args) => args.run(),
            Command::Docs(command) => command.run(),
            Command::Step(args) => args.run(),
        }
    }
}

/// Runs what was typed and gives the process's exit status: 0 done, 1 failed, 2 the user's mistake.
pub fn main() -> ExitCode {
    let status = Cli::parse().command.run().unwrap_or_else(|failure| {
        hints::tell(&failure);
        failure.exit_code()
    });
    match say::lost() {
        Some(error) if status == ExitCode::SUCCESS => {
            tell!("flowkit: the output could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => status,
    }
}
