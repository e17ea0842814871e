//! `flowkit image`: OCI images of the roles: built, looked into, compared, checked, loaded.

mod build;

use std::process::ExitCode;

use clap::Subcommand;

use super::Failure;

/// Build, look into, compare, check and load OCI images.
#[derive(Subcommand)]
pub enum Image {
    Build(build::Build),
}

impl Image {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Image::Build(args) => args.run(),
        }
    }
}
