//! `flowkit image load`: an image for the engine at hand.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{open, size, sort};
use crate::commands::Failure;
use image::{self, Loaded};
use say::{show, tell};

/// Load an image into Docker, sending only the layers that it lacks
///
/// With containerd's image store, and with podman, everything is sent, as it is, so that digests are kept. Docker's usual variables say which engine is meant
/// (DOCKER_HOST, DOCKER_CONTEXT). Prints what the engine says.
#[derive(Args)]
pub struct Load {
    /// Archive or layout directory
    image: PathBuf,
    /// The engine
    #[arg(long, value_enum, default_value_t = Engine::Docker)]
    engine: Engine,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Docker,
    Podman,
}

impl Load {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let engine = match self.engine {
            Engine::Docker => image::Engine::Docker,
            Engine::Podman => image::Engine::Podman,
        };
        let Loaded { skipped, sent, bytes, said, refused } = image::load(&open(&self.image)?, engine).map_err(sort)?;
        show!("{said}");
        if let Some(why) = refused {
            tell!("the engine wanted all layers: {why}");
        }
        tell!("layers sent: {sent} ({}); there already: {skipped}", size(bytes));
        Ok(ExitCode::SUCCESS)
    }
}
