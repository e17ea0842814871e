//! `flowkit autoflow`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};

use super::Failure;
use crate::roles::{Deployment, autoflow};
use flowkit_core::config::Problem;
use say::tell;
use supervisor::client;

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
    /// Put the example workflow among the inputs, unless there is a workflows.yml: a map of each new day, and who was elsewhere the day before
    Example,
}

/// The example, notebooks first: a workflows.yml that is there is whole.
const EXAMPLE: [(&str, &str); 2] = [
    ("daily_report.ipynb", include_str!("../../examples/autoflow/daily_report.ipynb")),
    (FILE, include_str!("../../examples/autoflow/workflows.yml")),
];
const FILE: &str = "workflows.yml";

impl Autoflow {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let open = || Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake);
        let args = match &self.command {
            What::Example => return example(self.dir.as_deref()),
            What::Validate { file } => return validate(&open()?, file.as_deref()),
            What::Status { limit, json } => {
                let json = json.then(|| "--json".to_owned());
                ["status".to_owned(), "--limit".to_owned(), limit.to_string()].into_iter().chain(json).collect()
            }
            What::Run { name, dates } => vec!["run".to_owned(), name.clone(), "--dates".to_owned(), dates.clone()],
        };
        let deployment = open()?;
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

/// Also before the first `flowkit up`, which needs a workflows.yml.
fn example(dir: Option<&Path>) -> Result<ExitCode, Failure> {
    let deployment = Deployment::start(dir, &[], false).map_err(Failure::mistake)?.running(vec!["autoflow".to_owned()]);
    // Where it runs all is as it must be; others that run know nothing of its place.
    let status = client::status(&deployment.site.state.run());
    if !status.is_ok_and(|status| status.facts["roles"].get("autoflow").is_some()) {
        deployment.settle().map_err(Failure::mistake)?;
    }
    let inputs = autoflow::inputs(&deployment);
    // The directory is the role's, who could have put anything there.
    deployment.become_role("autoflow").map_err(Failure::mistake)?;
    match put(&inputs) {
        Ok(true) => tell!("the example workflow is in {}", inputs.display()),
        Ok(false) => tell!("{FILE} is there already: {}", inputs.display()),
        Err(error) => {
            let hint = "let AutoFlow's user write there, or copy examples/autoflow yourself";
            let problem = Problem::new(format!("the example can't be put there: {error}"), hint);
            return Err(Failure::mistake(problem.value(inputs.display().to_string())));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it was put there: each file whole, and in the place of none.
fn put(inputs: &Path) -> io::Result<bool> {
    fs::create_dir_all(inputs)?;
    if inputs.join(FILE).exists() {
        return Ok(false);
    }
    for (name, text) in EXAMPLE {
        let (new, place) = (inputs.join(format!(".{name}.new")), inputs.join(name));
        let _ = fs::remove_file(&new);
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&new)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
        let linked = fs::hard_link(&new, &place);
        fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::read(&place)? == text.as_bytes() => {}
            linked => linked?,
        }
    }
    Ok(true)
}
