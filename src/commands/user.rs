//! `flowkit db user`: logins of people.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;

use super::{Failure, table};
use crate::flowdb::unhindered::unhindered;
use crate::flowdb::users::{self, Role};
use crate::flowdb::{self, Error, SUPERUSER};
use crate::roles::{self, Deployment};
use flowkit_core::config::{Problem, bracketed};
use flowkit_core::secrets::{self, Secret};
use say::tell;

/// Give people logins to a running FlowDB
///
/// An analyst uses the FlowMachine library: reads all records, runs and stores queries. A reader reads stored results and
/// areas. Run it as root or as the user that FlowDB runs as.
#[derive(Subcommand)]
pub enum User {
    Add(Add),
    Remove(Named),
    List(List),
    Passwd(Passwd),
}

/// Which deployment.
#[derive(Args)]
struct Place {
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where the password comes from: asked for at a terminal, else the first line of the standard input.
#[derive(Args)]
struct Password {
    /// Take the password from this file; if it isn't there, make a password and write it there, readable by you alone
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Add a login
///
/// The password is asked for, or taken from the standard input when that is not a terminal.
#[derive(Args)]
pub struct Add {
    /// Lower-case letters, digits and underscores
    name: String,
    /// What the login may do
    #[arg(long, value_name = "ROLE")]
    role: Role,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    place: Place,
}

/// Remove a login and close its connections
///
/// What the user stored through FlowMachine stays. Schemas and tables of the user's own go to the superuser.
#[derive(Args)]
pub struct Named {
    /// The login
    name: String,
    #[command(flatten)]
    place: Place,
}

/// List the logins of people
#[derive(Args)]
pub struct List {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Change a login's password
///
/// The password is asked for, or taken from the standard input when that is not a terminal.
#[derive(Args)]
pub struct Passwd {
    /// The login
    name: String,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl User {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            User::Add(args) => args.run(),
            User::Remove(args) => args.run(),
            User::List(args) => args.run(),
            User::Passwd(args) => args.run(),
        }
    }
}

impl Add {
    fn run(self) -> Result<ExitCode, Failure> {
        users::check_name(&self.name).map_err(|why| {
            Failure::mistake(Problem::new("this is no name for a user", why).value(&self.name).origin("NAME"))
        })?;
        let deployment = self.place.open()?;
        self.password.with(async |secret| {
            change(&deployment, async |db| users::add(db, &self.name, self.role, secret).await).await
        })?;
        // As FlowMachine's server spells it: the library shares results only with those who write the host alike.
        let host = deployment.site.settings.text("FLOWDB_HOST").expect("it has a default");
        let port = deployment.site.settings.port("FLOWDB_PORT");
        tell!("added {}; it connects to database flowdb at {} port {port}", self.name, bracketed(host));
        Ok(ExitCode::SUCCESS)
    }
}

impl Passwd {
    fn run(self) -> Result<ExitCode, Failure> {
        let deployment = self.place.open()?;
        self.password
            .with(async |secret| change(&deployment, async |db| users::passwd(db, &self.name, secret).await).await)?;
        tell!("changed the password of {}", self.name);
        Ok(ExitCode::SUCCESS)
    }
}

impl Named {
    fn run(self) -> Result<ExitCode, Failure> {
        let deployment = self.place.open()?;
        wait(change(&deployment, async |db| users::remove(db, &self.name).await))?;
        tell!("removed {}", self.name);
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> Result<ExitCode, Failure> {
        let deployment = self.place.open()?;
        let all = wait(async { users::list(&connect(&deployment).await?).await })?;
        let role = |user: &users::User| user.role.to_possible_value().expect("no role is hidden").get_name().to_owned();
        match self.format {
            Format::Json => {
                let rows: Vec<_> = all
                    .iter()
                    .map(|user| json!({"name": user.name, "role": role(user), "connections": user.connections}))
                    .collect();
                say::product(format!("{}\n", serde_json::to_string_pretty(&rows)?).as_bytes());
            }
            Format::Table if all.is_empty() => tell!("there are no users yet; `flowkit db user add` makes one"),
            Format::Table => {
                let rows = all.iter().map(|user| [user.name.clone(), role(user), user.connections.to_string()]);
                say::product(table::lines(["NAME", "ROLE", "CONNECTIONS"], rows).as_bytes());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    fn open(&self) -> Result<Deployment, Failure> {
        Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)
    }
}

/// Has the superuser change something, and ends the sessions that hold that up.
async fn change<T>(
    deployment: &Deployment,
    work: impl AsyncFnOnce(&mut tokio_postgres::Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut client, aside) = (connect(deployment).await?, connect(deployment).await?);
    let mut ended = Vec::new();
    let done = unhindered(&mut client, &aside, &mut ended, work).await;
    ended.iter().for_each(|line| tell!("warning: {line}"));
    done
}

async fn connect(deployment: &Deployment) -> Result<tokio_postgres::Client, Error> {
    flowdb::connect(&deployment.site, SUPERUSER).await
}

impl Password {
    /// Gets the password and uses it; a file that was made for it goes again when that fails.
    fn with(&self, work: impl AsyncFnOnce(&Secret) -> Result<(), Error>) -> Result<(), Failure> {
        let mut made = None;
        let secret = match &self.password_file {
            Some(path) if path.exists() => read(path)?,
            Some(path) => {
                made = Some(path);
                generate_into(path)?
            }
            None if io::stdin().is_terminal() => ask_twice()?,
            None => first_line(&mut io::stdin().lock())?,
        };
        if secret.expose().contains(' ') {
            let hint = "choose another: FlowMachine can't log in with one that has";
            return Err(Failure::mistake(Problem::new("the password has a space in it", hint)));
        }
        wait(work(&secret)).inspect_err(|_| {
            made.map(fs::remove_file);
        })
    }
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let file = File::open(path).map_err(|error| file_mistake("cannot read the password", path, &error))?;
    first_line(&mut io::BufReader::new(file))
}

fn generate_into(path: &Path) -> Result<Secret, Failure> {
    let secret = secrets::password()?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{}", secret.expose()).and_then(|()| file.sync_all()))
        .map_err(|error| file_mistake("cannot write the new password", path, &error))?;
    Ok(secret)
}

fn file_mistake(what: &str, path: &Path, error: &io::Error) -> Failure {
    let hint = "name another file, or change its permissions";
    Failure::mistake(Problem::new(format!("{what}: {error}"), hint).value(path.display().to_string()))
}

/// The longest password, in bytes with its line's end.
const LONGEST: u64 = 1024;

fn first_line(input: &mut dyn BufRead) -> Result<Secret, Failure> {
    let mut text = String::new();
    input.take(LONGEST + 1).read_line(&mut text)?;
    if text.len() as u64 > LONGEST {
        let hint = "give one that can be typed";
        return Err(Failure::mistake(Problem::new(format!("the password has more than {LONGEST} bytes"), hint)));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        let hint = "type it, pipe it in, or use --password-file";
        return Err(Failure::mistake(Problem::new("the password is empty", hint)));
    }
    if let Some(character) = text.chars().find(|c| say::is_unseen(*c)) {
        let what = format!("the password is {}", secrets::unseen(character));
        return Err(Failure::mistake(Problem::new(what, "give one that can be typed")));
    }
    Ok(Secret::new(text))
}

fn ask_twice() -> Result<Secret, Failure> {
    let first = without_echo("Password: ")?;
    if first == without_echo("Once more: ")? {
        Ok(first)
    } else {
        Err(Failure::mistake(Problem::new("the two passwords differ", "nothing was changed; try again")))
    }
}

fn without_echo(prompt: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    say::prompt(prompt);
    tcsetattr(&stdin, OptionalActions::Now, &silent)?;
    let answer = first_line(&mut stdin.lock());
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    tell!("\n");
    answer
}

/// Runs the work to its end; what the operator has to change is a mistake.
fn wait<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    roles::wait(work)?.map_err(|error| if error.is_mistake() { Failure::mistake(error) } else { error.into() })
}
