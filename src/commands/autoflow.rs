//! `flowkit autoflow`.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};

use super::Failure;
use crate::roles::{Deployment, autoflow};

/// What has run, a run by hand, and whether workflows.yml is right
///
/// Has AutoFlow's own program do it, with the role's settings and secrets.
#[derive(Args)]
pub struct Autoflow {
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Show what has run, runs, and will be tried again
    Status {
        /// Show at most so many runs
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u16,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Run a workflow now, whatever became of it before
    Run {
        /// The workflow's name
        name: String,
        /// Its reference dates: a day, days with commas between them, or FIRST..LAST
        #[arg(long, value_name = "DATES")]
        dates: String,
    },
    /// Check a file with workflows
    Validate {
        /// The file [default: workflows.yml among the inputs]; its notebooks are looked for beside it
        file: Option<PathBuf>,
    },
}

impl Autoflow {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let deployment = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let args = match &self.command {
            What::Validate { file } => return validate(&deployment, file.as_deref()),
            What::Status { limit, json } => {
                let json = json.then(|| "--json".to_owned());
                ["status".to_owned(), "--limit".to_owned(), limit.to_string()].into_iter().chain(json).collect()
            }
            What::Run { name, dates } => vec!["run".to_owned(), name.clone(), "--dates".to_owned(), dates.clone()],
        };
        let program = autoflow::program(&deployment).map_err(Failure::mistake)?;
        let mut command = Command::new(&program.program);
        command.env_clear().envs(&program.env).args(args);
        // What it makes is the role's, as what the service makes.
        deployment.become_role("autoflow").map_err(Failure::mistake)?;
        // Notebooks are its children here too.
        program.confinement.iter().try_for_each(supervisor::confine_self)?;
        Err(command.exec().into())
    }
}

fn validate(deployment: &Deployment, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let program = autoflow::validator(deployment).map_err(Failure::mistake)?;
    let mut command = Command::new(&program.program);
    command.env_clear().envs(&program.env).arg("validate");
    command.args(file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned())));
    Err(command.exec().into())
}
