//! `flowkit image build`: an image from the closure that a Nix derivation names.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{cpus, size, sort};
use crate::commands::Failure;
use image::{self, Built, Options, Spec};
use say::{show, tell};

/// Build an image from a Nix closure
///
/// SPEC is the JSON that a derivation with structured attributes finds in NIX_ATTRS_JSON_FILE: `graph`, from
/// exportReferencesGraph, and `image`, what the image is called and made of. The result is the same bytes whatever the
/// number of threads, the clock, the user and the umask. Prints the image's name and the digest of its manifest.
#[derive(Args)]
pub struct Build {
    /// The description
    #[arg(value_name = "SPEC.json")]
    spec: PathBuf,
    /// One archive for docker load, podman load and skopeo, or the directory of an OCI image layout
    #[arg(long, value_enum, default_value_t = Format::Archive)]
    format: Format,
    /// Where the image goes
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Threads; 0 for as many as there are CPUs
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u16,
    /// Directory below which the store paths are found
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Archive,
    Layout,
}

impl Build {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let format = match self.format {
            Format::Archive => image::Format::Archive,
            Format::Layout => image::Format::Layout,
        };
        let threads = if self.threads == 0 { cpus() } else { self.threads.min(256).into() };
        let spec = Spec::read(&self.spec).map_err(sort)?;
        let built = image::build(&spec, &self.out, &Options { format, threads, root: &self.root }).map_err(sort)?;
        show!("{}:{} {}", spec.name, spec.tag, built.manifest);
        tell!("{}", summary(&built, &self.out));
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(built: &Built, out: &std::path::Path) -> String {
    let bytes: u64 = built.layers.iter().map(|layer| layer.size).sum();
    format!("{} layers, {}, in {}", built.layers.len(), size(bytes), out.display())
}
