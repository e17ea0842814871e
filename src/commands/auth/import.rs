//! `flowkit auth import`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use super::{Failure, Place};
use crate::roles::{Deployment, flowauth};
use flowkit_core::config::Problem;
use flowkit_core::takeover::{Takeover, Theirs};

/// Take over users, roles, servers, second factors and tokens of an upstream FlowAuth's database
///
/// Into the database of this deployment's FlowAuth, which may run meanwhile: it needs no key, and whoever may read the deployment's secrets.
/// All of it or nothing. Passwords, authenticator apps, backup codes and tokens stay good, these as long as PRIVATE_JWT_SIGNING_KEY is the same.
/// A user whose name is here already stays as they are here, and gets the roles and tokens of the other.
#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    told: Takeover,
}

impl Import {
    /// Has FlowAuth's own program do it, with the role's settings and secrets.
    pub fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        let deployment = Deployment::open_running(place.dir.as_deref()).map_err(Failure::mistake)?;
        let program = flowauth::program(&deployment).map_err(Failure::mistake)?;
        // A file is opened by whoever names it: FlowAuth may not see it.
        let (from, input) = match self.told.from {
            Theirs::File(path) => (Theirs::Input, opened(&path)?.into()),
            Theirs::Input => (Theirs::Input, Stdio::inherit()),
            address @ Theirs::Address(_) => (address, Stdio::null()),
        };
        let told = Takeover { from, ..self.told };
        let mut command = Command::new(&program.program);
        command.env_clear().envs(&program.env).arg("import").args(told.args()).stdin(input);
        let status = command.status()?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

fn opened(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| {
        let problem =
            Problem::new(format!("the database can't be read: {error}"), "name its file, or its server's address");
        Failure::mistake(problem.value(path.display().to_string()))
    })
}
