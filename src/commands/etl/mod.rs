//! `flowkit etl`: call detail records into FlowDB.

mod cells;
mod check;
mod files;
mod geography;
mod load;
mod new;
mod places;
mod remarks;
mod status;
mod when;

use std::process::ExitCode;

use clap::Subcommand;

use super::Failure;

/// Call detail records: load files of them without a scheduler, see which days are there, write DAGs for FlowETL, load
/// cells and areas
#[derive(Subcommand)]
pub enum Etl {
    Load(load::Load),
    Check(check::Check),
    Status(status::StatusArgs),
    New(new::New),
    Cells(cells::CellsArgs),
    Geography(geography::GeographyArgs),
}

impl Etl {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Etl::Load(args) => args.run(),
            Etl::Check(args) => args.run(),
            Etl::Status(args) => args.run(),
            Etl::New(args) => args.run(),
            Etl::Cells(args) => args.run(),
            Etl::Geography(args) => args.run(),
        }
    }
}
