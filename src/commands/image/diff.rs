//! `flowkit image diff`: what changed from one build to the next.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Format, cpus, open, size, sort};
use crate::commands::Failure;
use image::{self, Difference};
use say::{self, Shown};

/// Show what differs between two images: layers, store paths, files
///
/// Store paths that were built anew are compared with those of the same name, file by file; of a file the first field of its
/// header that differs is named. Exit status 0 when the images are the same, 1 when not.
#[derive(Args)]
pub struct Diff {
    /// Archive or layout directory
    old: PathBuf,
    /// Archive or layout directory
    new: PathBuf,
    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Diff {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (old, new) = (open(&self.old)?, open(&self.new)?);
        let difference = image::diff(&old, &new, cpus()).map_err(sort)?;
        let told = match self.format {
            Format::Json => format!("{}\n", serde_json::to_string_pretty(&difference)?),
            Format::Table => text(&difference),
        };
        say::product(told.as_bytes());
        Ok(if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn text(difference: &Difference) -> String {
    let mut text = format!("same layers   {} ({})", difference.common_layers, size(difference.common_bytes));
    if difference.repacked_layers > 0 {
        text += &format!(", {} of them packed otherwise", difference.repacked_layers);
    }
    text.push('\n');
    text += &format!(
        "other layers  {} for {} ({})\n",
        difference.new_layers.len(),
        difference.old_layers.len(),
        size(difference.new_bytes)
    );
    if !difference.config.is_empty() {
        text += &format!("other values  {}\n", Shown(difference.config.join(", ")));
    }
    for path in &difference.paths {
        text += &format!("{:<8}  {}\n", path.what, Shown(&path.name));
        for file in &path.files {
            text += &format!("          {}\n", Shown(file));
        }
    }
    text
}
