//! `flowkit auth import`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use super::{Failure, Place};
use crate::roles::{Deployment, flowauth};
use flowkit_core::config::Problem;

/// Take over users, roles, servers, second factors and tokens of an upstream FlowAuth's database
///
/// Into the database of this deployment's FlowAuth, which may run meanwhile: it needs no key, and whoever may read the deployment's secrets.
/// All of it or nothing. Passwords, authenticator apps, backup codes and tokens stay good, these as long as PRIVATE_JWT_SIGNING_KEY is the same.
/// A user whose name is here already stays as they are here, and gets the roles and tokens of the other.
#[derive(Args)]
pub struct Import {
    /// Its database: a SQLite file, - for one on the standard input, or postgresql://USER:{}@HOST/NAME with {} for the password
    #[arg(value_name = "DATABASE")]
    from: String,
    /// File of the password that stands for {}
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File of its FLOWAUTH_FERNET_KEY, where that is not the one here
    #[arg(long, value_name = "FILE")]
    fernet_key_file: Option<PathBuf>,
    /// Say what would be taken over, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    /// Has FlowAuth's own program do it, with the role's settings and secrets.
    pub fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        let deployment = Deployment::open_running(place.dir.as_deref()).map_err(Failure::mistake)?;
        let program = flowauth::program(&deployment).map_err(Failure::mistake)?;
        let mut command = Command::new(&program.program);
        command
            .env_clear()
            .envs(&program.env)
            .args(["import", if self.from.contains("://") { &*self.from } else { "-" }]);
        for (flag, path) in [("--password-file", &self.password_file), ("--fernet-key-file", &self.fernet_key_file)] {
            command.args(path.iter().flat_map(|path| [flag.as_ref(), path.as_os_str()]));
        }
        command.args(self.dry_run.then_some("--dry-run"));
        command.stdin(match &*self.from {
            "-" => Stdio::inherit(),
            server if server.contains("://") => Stdio::null(),
            path => opened(Path::new(path))?.into(),
        });
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
