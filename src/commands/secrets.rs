//! `flowkit secrets`: make, check, list and replace a deployment's secrets.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Failure, table};
use crate::roles;
use flowkit_core::catalogue::{Role, catalogue};
use flowkit_core::config::{Origin, Problem, Settings, StateDir};
use flowkit_core::secrets::{self, LookupError, Options, RotateError, Store};
use say::{show, tell};
use supervisor::client;

/// Make, check, list and replace a deployment's secrets
///
/// Secrets are files of their own name, 0400, in a directory 0700. Services look for each as a systemd credential, then
/// in /run/secrets (Docker, Podman), then in this directory, then in the file that NAME_FILE names, then in the variable
/// NAME. No command ever prints a value.
#[derive(Args)]
pub struct Secrets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(Init),
    Check(Check),
    List(List),
    Rotate(Rotate),
    Swarm(super::swarm::Swarm),
}

/// Which directory.
#[derive(Args)]
struct Place {
    /// Directory of the secrets [default: `secrets` in the state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Whose secrets.
#[derive(Args)]
struct Whose {
    /// Only what this role needs; may be given several times [default: every role]
    #[arg(long = "role", value_name = "ROLE", value_parser = PossibleValuesParser::new(role_names()))]
    roles: Vec<String>,
}

/// Make what is missing and keep what is there
///
/// Passwords have 190 bits in letters and digits, so they need no quoting anywhere. Connection strings and public keys
/// are made from the secrets that they follow from; the hosts and ports in them come from settings (FLOWDB_HOST, ...) in
/// the environment or in flowkit.toml beside the directory. The certificate is for flow.api, flowapi, localhost, this host's names
/// and addresses, and --san. It can be killed at any time and run again.
#[derive(Args)]
struct Init {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whose: Whose,
    /// Another name or address of a new certificate; one that is there is kept as it is; may be given several times
    #[arg(long, value_name = "NAME")]
    san: Vec<String>,
}

/// Report everything that is wrong, in one go
///
/// Missing, empty, unreadable or malformed secrets, directories in place of files, files that others can read, keys and
/// certificates that do not belong together or end within 30 days, connection strings that do not hold the password they
/// are made from. The exit status is 0 only when all is well. A token that only you can have (FLOWAPI_TOKEN) is asked for
/// when its role is named.
#[derive(Args)]
struct Check {
    #[command(flatten)]
    place: Place,
    /// Only what this role needs; may be given several times [default: the roles that `flowkit up` starts by itself, and each
    /// other that has a secret there]
    #[arg(long = "role", value_name = "ROLE", value_parser = PossibleValuesParser::new(role_names()))]
    roles: Vec<String>,
    /// Lines for people, or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// List every secret: its roles, kind and purpose, and where it is found
#[derive(Args)]
struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whose: Whose,
    /// A table for people, or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Replace secrets by new ones, with everything that follows from them
///
/// All of it is replaced or nothing. The old values stay beside the new ones as NAME.previous until `flowkit up` has started every
/// role that uses them with the new ones. A certificate stays for the names that it had. Says which roles must be restarted.
#[derive(Args)]
struct Rotate {
    /// Secrets by name, such as REDIS_PASSWORD
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Another name or address of the certificate, beside those that it has; may be given several times
    #[arg(long, value_name = "NAME")]
    san: Vec<String>,
    /// Replace a key although what it has encrypted can't be read without it
    #[arg(long)]
    lose_data: bool,
    /// Keep no old public key behind the new one, because the old private key may be known: what it has signed is refused
    #[arg(long)]
    forget_old: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn role_names() -> Vec<&'static str> {
    catalogue().roles().iter().map(|role| role.name.as_str()).collect()
}

impl Whose {
    fn roles(&self) -> Vec<&'static Role> {
        let named = |role: &&Role| self.roles.is_empty() || self.roles.contains(&role.name);
        catalogue().roles().iter().filter(named).collect()
    }
}

impl Place {
    /// The directory; the state directory in its place is a slip that would make a second set of secrets. Where it is not
    /// root's, root has become its owner when this returns.
    fn dir(&self) -> Result<PathBuf, Failure> {
        let dir = self.dir.clone().unwrap_or_else(|| StateDir::usual().secrets());
        let dir = roles::enter_owners(&dir).map_err(Failure::mistake)?;
        let inner = dir.join("secrets");
        if inner.is_dir() {
            let what = format!("{} is a state directory, its secrets are in {}", dir.display(), inner.display());
            return Err(Failure::mistake(Problem::new(what, format!("give --dir {}", inner.display()))));
        }
        if dir.exists() && !dir.is_dir() {
            return Err(Failure::mistake(Problem::new(
                format!("{} is not a directory", dir.display()),
                "give --dir DIR",
            )));
        }
        Ok(dir)
    }

    /// The directory, which must be there.
    fn existing(&self) -> Result<PathBuf, Failure> {
        let dir = self.dir()?;
        if dir.is_dir() {
            return Ok(dir);
        }
        let hint = format!("make it: flowkit secrets init --dir {}", dir.display());
        Err(Failure::mistake(Problem::new(format!("{} does not exist", dir.display()), hint)))
    }
}

/// What new values depend on: settings of the environment and of the deployment that the directory is part of, as they are and as it was started.
fn options(dir: &Path, san: Vec<String>) -> Result<Options, Failure> {
    let state = dir.parent().map(StateDir::new).filter(|state| state.secrets() == dir);
    let file = state.as_ref().map(StateDir::settings_file);
    let mut settings = Settings::given(file.as_deref()).map_err(Failure::mistake)?;
    if let Some(state) = &state
        && let Ok(status) = client::status(&state.run())
    {
        let started = roles::started(&status.facts);
        settings.take_started(&[], started, &Origin::File(state.run())).map_err(Failure::mistake)?;
    }
    Ok(Options { settings, san, forget_old: false })
}

/// Says what runs with the old values, in the deployment that the directory is part of, and how it gets the new ones.
fn running(dir: &Path, roles: &[&str]) {
    let Some(state) = dir.parent().map(StateDir::new).filter(|state| state.secrets() == dir) else { return };
    let Ok(status) = client::status(&state.run()) else { return };
    let here = |role: &&&str| status.facts["roles"].get(**role).is_some();
    let here: Vec<&str> = roles.iter().filter(here).copied().collect();
    let root = status.facts["state"].as_str().unwrap_or_default();
    let services = roles::to_restart(&here, &status);
    if !services.is_empty() {
        tell!("{} run here with the old values; this gives them the new ones:", here.join(" and "));
        show!("run       flowkit restart {} --dir {root}", services.join(" "));
    }
}

impl Secrets {
    /// Runs the subcommand.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Init(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::List(args) => args.run(),
            Command::Rotate(args) => args.run(),
            Command::Swarm(args) => args.run(),
        }
    }
}

impl Init {
    fn run(self) -> Result<ExitCode, Failure> {
        let dir = self.place.dir()?;
        roles::make_above(&dir).map_err(Failure::mistake)?;
        let options = options(&dir, self.san)?;
        let report = secrets::init(&dir, &self.whose.roles(), &options)?;
        report.made.iter().for_each(|name| show!("made  {name}"));
        report.kept.iter().for_each(|name| show!("kept  {name}"));
        for missing in &report.missing {
            let word = if missing.operators { "later" } else { "not  " };
            show!("{word} {}: {}", missing.name, missing.why);
        }
        report.notes.iter().for_each(|note| show!("note  {note}"));
        let (made, kept) = (report.made.len(), report.kept.len());
        tell!("{made} made, {kept} kept in {}", dir.display());
        Ok(if report.missing.iter().all(|missing| missing.operators) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Check {
    fn run(self) -> Result<ExitCode, Failure> {
        let dir = self.place.dir()?;
        let checked = secrets::check(&dir, &self.looked_at(&dir), !self.roles.is_empty());
        if self.format == Format::Json {
            say::product(format!("{}\n", serde_json::to_string_pretty(&checked)?).as_bytes());
        } else {
            for finding in &checked.findings {
                show!("{}; {}", finding.message, finding.hint);
            }
            match checked.findings.len() {
                0 => show!("{} secrets, all is well", checked.secrets.len()),
                1 => tell!("one thing is wrong in {}", dir.display()),
                many => tell!("{many} things are wrong in {}", dir.display()),
            }
            if self.roles.is_empty() {
                tell!("looked for what {} need; --role names another", checked.roles.join(", "));
            }
        }
        Ok(if checked.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Where nobody names roles, one that is not usual is part of the deployment if it has a secret of its own there.
    fn looked_at(&self, dir: &Path) -> Vec<&'static Role> {
        let named = |role: &Role| self.roles.contains(&role.name);
        let is_there = |role: &Role| {
            let mut names = role.secrets.iter().flat_map(|spec| spec.spellings());
            names.any(|name| dir.join(name).symlink_metadata().is_ok())
        };
        let is_meant = |role: &&Role| match self.roles.is_empty() {
            true => roles::usual().any(|usual| usual == role.name) || is_there(role),
            false => named(role),
        };
        catalogue().roles().iter().filter(is_meant).collect()
    }
}

/// One line of the list.
struct Row {
    name: &'static str,
    roles: Vec<&'static str>,
    kind: &'static str,
    found: Result<secrets::Place, LookupError>,
    purpose: &'static str,
}

impl List {
    fn run(self) -> Result<ExitCode, Failure> {
        let store = Store::new(Some(self.place.dir()?));
        let rows = self.rows(&store);
        let text = if self.format == Format::Json {
            let rows = rows.iter().map(|row| {
                let place = row.found.as_ref().map(ToString::to_string);
                let error = row.found.as_ref().err().map(ToString::to_string);
                json!({ "name": row.name, "roles": row.roles, "kind": row.kind, "purpose": row.purpose,
                        "found": place.ok(), "error": error })
            });
            serde_json::to_string_pretty(&rows.collect::<Vec<_>>())? + "\n"
        } else {
            let rows = rows.iter().map(|row| {
                let shown = row.shown();
                [row.name, &row.roles.join(", "), row.kind, &shown, row.purpose].map(str::to_owned)
            });
            table::fitted(["SECRET", "ROLES", "KIND", "FOUND", "PURPOSE"], rows)
        };
        say::product(text.as_bytes());
        Ok(ExitCode::SUCCESS)
    }

    fn rows(&self, store: &Store) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for spec in self.whose.roles().into_iter().flat_map(|role| catalogue().secrets_of(role)) {
            if rows.iter().any(|row| row.name == spec.name) {
                continue;
            }
            let found = store.find(&spec.name).map(|found| found.place);
            let roles = catalogue().users(&spec.name).map(|role| role.name.as_str()).collect();
            rows.push(Row { name: &spec.name, roles, kind: spec.kind.name(), found, purpose: &spec.purpose });
        }
        rows
    }
}

impl Row {
    /// A file of the directory under its own name needs no path.
    fn shown(&self) -> String {
        match &self.found {
            Ok(secrets::Place::Deployment(path)) if path.ends_with(self.name) => "yes".into(),
            Ok(place) => place.to_string(),
            Err(LookupError::Missing { .. }) => "missing".into(),
            Err(error) => error.to_string(),
        }
    }
}

impl Rotate {
    fn run(self) -> Result<ExitCode, Failure> {
        let dir = self.place.existing()?;
        let options = Options { forget_old: self.forget_old, ..options(&dir, self.san)? };
        let rotation = secrets::rotate(&dir, &self.names, &options, self.lose_data).map_err(|error| match error {
            RotateError::Refused(problems) => Failure::mistake(problems),
            other => Failure::from(other),
        })?;
        rotation.replaced.iter().for_each(|name| show!("replaced  {name}"));
        rotation.notes.iter().for_each(|note| show!("note      {note}"));
        show!("restart   {}", rotation.roles.join(", "));
        running(&dir, &rotation.roles);
        tell!(
            "the old values stay as NAME.previous in {} until `flowkit up` has started every role that uses them",
            dir.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}
