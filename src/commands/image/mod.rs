//! `flowkit image`: OCI images of the roles: built, looked into, compared, checked, loaded.

mod build;
mod diff;
mod inspect;
mod load;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::Failure;
use image::{self, Error};

/// Build, look into, compare, check and load OCI images.
#[derive(Subcommand)]
pub enum Image {
    Build(build::Build),
    Inspect(inspect::Inspect),
    Diff(diff::Diff),
    Verify(verify::Verify),
    Load(load::Load),
}

impl Image {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Image::Build(args) => args.run(),
            Image::Inspect(args) => args.run(),
            Image::Diff(args) => args.run(),
            Image::Verify(args) => args.run(),
            Image::Load(args) => args.run(),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn open(path: &Path) -> Result<image::Image, Failure> {
    image::Image::open(path).map_err(sort)
}

/// What was typed is a mistake when it names nothing that is there, or a description that makes no sense.
fn sort(error: Error) -> Failure {
    match error {
        Error::Spec { .. } | Error::InTheWay { .. } => Failure::mistake(error),
        Error::Read { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => Failure::mistake(error),
        error => error.into(),
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes for people: three digits that count, in thousands.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            let digits = if unit == "B" || value >= 99.95 { 0 } else { 1 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_949, "99.9 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (5_000_000_000_000, "5.0 TB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
