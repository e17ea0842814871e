//! `flowkit image inspect`: which layer holds what, how large, and why.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Format, cpus, open, size, sort};
use crate::commands::Failure;
use image::{self, Summary};
use say::{self, Shown};

/// Show which layer of an image holds what, how large it is, and why it is there
///
/// IMAGE is an archive or the directory of an OCI image layout. Layers are shown from the lowest to the highest.
#[derive(Args)]
pub struct Inspect {
    /// Archive or layout directory
    image: PathBuf,
    /// Name every store path of every layer
    #[arg(long)]
    paths: bool,
    /// Print the bill of materials instead: SPDX 2.3, JSON
    #[arg(long, conflicts_with_all = ["paths", "format"])]
    sbom: bool,
    /// A table for people, or JSON
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Inspect {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let image = open(&self.image)?;
        if self.sbom {
            let Some(sbom) = image.sbom().map_err(sort)? else {
                return Err(Failure::from(io::Error::other(format!(
                    "{} has no bill of materials",
                    self.image.display()
                ))));
            };
            say::product(&sbom);
            say::product(b"\n");
            return Ok(ExitCode::SUCCESS);
        }
        let summary = image::inspect(&image, cpus()).map_err(sort)?;
        let told = match self.format {
            Format::Json => format!("{}\n", serde_json::to_string_pretty(&summary)?),
            Format::Table => table(&summary, self.paths),
        };
        say::product(told.as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

fn table(summary: &Summary, paths: bool) -> String {
    let mut text = format!(
        "{}\nmanifest  {}\nimage     {}\nplatform  {}\n",
        Shown(&summary.name),
        summary.manifest,
        summary.image_id,
        Shown(&summary.platform)
    );
    text +=
        &format!("{:>5}  {:<12}  {:>8}  {:>8}  {:>5}  what and why\n", "layer", "digest", "packed", "size", "paths");
    for (index, layer) in summary.layers.iter().enumerate() {
        let why = Shown(layer.why.as_deref().unwrap_or_default());
        let (number, packed, bytes) = (index + 1, size(layer.packed), size(layer.bytes));
        let digest = layer.digest.short();
        text += &format!("{number:>5}  {digest}  {packed:>8}  {bytes:>8}  {:>5}  {why}\n", layer.paths.len());
        for path in layer.paths.iter().filter(|_| paths) {
            text += &format!("{:>31}  {} ({} files)\n", size(path.bytes), Shown(&path.path), path.files);
        }
    }
    let sum = |of: fn(&image::LayerSummary) -> u64| size(summary.layers.iter().map(of).sum());
    text + &format!("{:>19}  {:>8}  {:>8}\n", "all", sum(|layer| layer.packed), sum(|layer| layer.bytes))
}
