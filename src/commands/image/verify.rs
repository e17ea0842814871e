//! `flowkit image verify`: does an image hold what it promises?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Format, cpus, size, sort};
use crate::commands::Failure;
use image::{self, Maker, Report};
use say::{self, Shown};

/// Check every digest, size and header of an image
///
/// Reads an archive or the directory of an OCI image layout to its last byte. Everything wrong is listed; the exit status is
/// then 1. Every image has to keep the specification: digests, sizes, media types, types of the configuration, names, no
/// absolute path or one that leads out, none twice. Layers that this program has built keep more: entries are sorted, with
/// no set-uid bit, no owner's name and no time but 1; so does an archive as this program writes it. The last line says which.
#[derive(Args)]
pub struct Verify {
    /// Archive or layout directory
    image: PathBuf,
    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let report = image::verify(&self.image, cpus()).map_err(sort)?;
        let told = match self.format {
            Format::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
            Format::Table => text(&report),
        };
        say::product(told.as_bytes());
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(report: &Report) -> String {
    let Report { name, manifest, maker, layers, entries, bytes, problems } = report;
    let mut text = format!("{} {manifest}\n", Shown(name));
    for problem in problems {
        text += &format!("{}: {}\n", Shown(&problem.place), Shown(&problem.what));
    }
    let holds = if problems.is_empty() {
        "everything holds".to_owned()
    } else {
        format!("{} things are wrong", problems.len())
    };
    let maker = match maker {
        Maker::Ours => "",
        Maker::Repacked => " (layers of this program, packed by another)",
        Maker::Other => " (of another program)",
    };
    text + &format!("{layers} layers, {entries} entries, {}: {holds}{maker}\n", size(*bytes))
}
