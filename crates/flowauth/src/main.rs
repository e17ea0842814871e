//! The server's program. It is told everything by environment and secrets; see `docs/flowauth.md`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use flowauth::import::{Source, import};
use flowauth::start::{Given, Server, database, logging, settings};
use flowauth::store::{Address, Store as Database};
use flowauth::vault::Vault;
use flowkit_core::config::{Problem, Problems};
use flowkit_core::secrets::{Secret, Store};
use flowkit_core::takeover::{Takeover, Theirs};

/// What the operator has to change first, as `flowkit`'s own programs say it.
const MISTAKE: u8 = 2;

/// The longest file of a secret, in bytes.
const LONGEST: u64 = 64 << 10;

/// FlowAuth: who may ask FlowAPI what, and for how long. Without a command it serves.
#[derive(Parser)]
#[command(name = "flowauth", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Import(Import),
}

/// Take over users, roles, servers, second factors and tokens of an upstream FlowAuth
///
/// Into the database that this FlowAuth is told of; it may run meanwhile. All of it or nothing. Passwords, authenticator apps, backup codes and
/// tokens stay good. A user whose name is here already stays as they are here, and gets the roles and tokens of the other.
#[derive(Args)]
struct Import {
    #[command(flatten)]
    told: Takeover,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What a rotation has replaced lies beside what it was replaced by.
    let secrets = Store::new(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    match cli.command {
        None => serve(&secrets),
        Some(Command::Import(args)) => args.run(&secrets),
    }
}

fn serve(secrets: &Store) -> ExitCode {
    let given = settings().and_then(|settings| Ok((logging(&settings), Given::read(&settings, secrets)?)));
    let (logging, given) = match given {
        Ok(given) => given,
        Err(problems) => return mistake(&problems),
    };
    let Ok(_running) = trace::start(&logging) else { return ExitCode::FAILURE };
    match run(given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("it ends: {}", say::in_full(&*error));
            ExitCode::FAILURE
        }
    }
}

fn mistake(problems: &Problems) -> ExitCode {
    say::tell!("flowauth: {problems}");
    ExitCode::from(MISTAKE)
}

fn run(given: Given) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = web::stop_signal()?;
        let server = Server::new(given).await?;
        tracing::info!(address = %server.address()?, "it serves");
        server.serve(stop).await?;
        Ok(())
    })
}

impl Import {
    fn run(self, secrets: &Store) -> ExitCode {
        let told = database(secrets).and_then(|(address, vault)| Ok((address, vault, self.source()?, self.vault()?)));
        let (address, vault, (source, _kept), theirs) = match told {
            Ok(told) => told,
            Err(problems) => return mistake(&problems),
        };
        if let Address::File(path) = &address
            && !path.exists()
        {
            let hint =
                "start FlowAuth once, or set DB_URI; `flowkit auth import` knows where the data of a deployment are";
            let problem = Problem::new("FlowAuth's own database is not there", hint);
            return mistake(&problem.value(path.display().to_string()).into());
        }
        let done = async {
            let database = Database::open(&address).await?;
            let done = import(&database, &vault, &source, theirs.as_ref().unwrap_or(&vault), self.told.dry_run).await;
            database.close().await;
            done
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let report = match runtime.map(|runtime| runtime.block_on(done)) {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                say::tell!("flowauth: nothing is imported: {}", say::Shown(say::in_full(&error)));
                return ExitCode::FAILURE;
            }
            Err(error) => {
                say::tell!("flowauth: {error}");
                return ExitCode::FAILURE;
            }
        };
        let what = if self.told.dry_run { "would be imported" } else { "imported" };
        say::show!(
            "{what}: {} users ({} with a second factor), {} servers with {} scopes and {} roles, {} tokens",
            report.users,
            report.factors,
            report.servers,
            report.scopes,
            report.roles,
            report.tokens
        );
        report.notes.iter().for_each(|note| say::show!("note: {}", say::Shown(note)));
        ExitCode::SUCCESS
    }

    /// Where it is; and the file that it was put into, which goes with this.
    fn source(&self) -> Result<(Source, Option<tempfile::NamedTempFile>), Problems> {
        let address = match &self.told.from {
            Theirs::File(path) => return Ok((Source::File(path.clone()), None)),
            Theirs::Input => {
                let kept = standard_input().map_err(|error| {
                    let hint = "give the database's file by its name";
                    Problem::new(format!("the standard input can't be kept: {error}"), hint)
                })?;
                return Ok((Source::File(kept.path().to_owned()), Some(kept)));
            }
            Theirs::Address(address) => address,
        };
        let password = self.told.password_file.as_deref().map(read).transpose()?;
        let address = Address::parse("it", address, ("--password-file", password.as_ref())).map_err(|why| {
            let hint = "write it as postgresql://USER:{}@HOST/NAME, or name a file";
            Problem::new(format!("this is no database to import: {why}"), hint)
        })?;
        match address {
            Address::File(path) => Ok((Source::File(path), None)),
            server => Ok((Source::Server(server), None)),
        }
    }

    /// What opens what it has sealed, if that is told.
    fn vault(&self) -> Result<Option<Vault>, Problems> {
        let Some(path) = &self.told.fernet_key_file else { return Ok(None) };
        let vault = Vault::new(&read(path)?, &[]);
        let problem = || {
            let problem =
                Problem::new("the file holds no Fernet key", "give the FLOWAUTH_FERNET_KEY of the other FlowAuth");
            Problems(vec![problem.value(path.display().to_string())])
        };
        vault.map(Some).ok_or_else(problem)
    }
}

fn standard_input() -> io::Result<tempfile::NamedTempFile> {
    let mut kept = tempfile::NamedTempFile::new()?;
    io::copy(&mut io::stdin().lock(), &mut kept)?;
    kept.rewind()?;
    Ok(kept)
}

/// A secret in a file.
fn read(path: &Path) -> Result<Secret, Problem> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).map_err(|error| {
        Problem::new(format!("a secret can't be read: {error}"), "name another file").value(path.display().to_string())
    })?;
    Ok(Secret::new(text.trim().to_owned()))
}
