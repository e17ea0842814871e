//! `flowkit secrets swarm`: the secrets of a deployment on Docker Swarm.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::stack::tell_of_places;
use crate::stack::rotation::{self, Change, How};
use crate::stack::vault::{self, Made, VaultError};
use crate::stack::{Docker, Given, Wish, inside, stack_name};
use flowkit_core::config::{Settings, StateDir};
use say::{show, tell};

/// Make the secrets of a Docker Swarm, or rotate them
///
/// Makes those that are missing and keeps those that are there; the swarm must exist (`docker swarm init`). Values go to
/// Docker through a pipe. Nobody can read them in the swarm afterwards: with --dir they are those of that directory, which
/// is filled where it lacks one; without it they are made for the swarm alone.
///
/// --rotate gives a secret, and what is made from it, a new value as a new secret of the swarm with a version in its name,
/// and prints the commands with which the services of the stack get it, or runs them (--update). FlowDB's and redis' come
/// first: they take new passwords over when they start, and lose no data. The directory of the values takes them over last,
/// when they are in force everywhere; until then they are in it as `.next`. Whatever fails or is killed, the same command
/// goes on with it.
#[derive(Args)]
pub struct Swarm {
    /// What stands before the names of the secrets in the swarm
    #[arg(long)]
    prefix: Option<String>,
    /// Directory of the values [default: made for the swarm alone, and forgotten]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only what this role needs; may be given several times [default: every role that is built]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Secret to rotate; may be given several times
    #[arg(long, value_name = "NAME")]
    rotate: Vec<String>,
    /// The stack whose services use it
    #[arg(long, value_name = "NAME", default_value = "flowkit", requires = "rotate", value_parser = stack_name)]
    stack: String,
    /// Update the stack's services, one after the other, instead of printing how
    #[arg(long, requires = "rotate")]
    update: bool,
    /// Replace a key although what it has encrypted can't be read without it
    #[arg(long, requires = "rotate")]
    lose_data: bool,
    /// Keep no old public key beside the new one: a signing key was stolen. All tokens so far end
    #[arg(long, requires = "rotate")]
    forget_old: bool,
}

impl Swarm {
    /// Makes or rotates.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let tag = env!("CARGO_PKG_VERSION").to_owned();
        let given = Given { roles: self.roles.clone(), prefix: self.prefix.clone(), tag, ..Given::default() };
        let mut wish = Wish::new(&given).map_err(Failure::mistake)?;
        let file = StateDir::usual().settings_file();
        let settings = Settings::given(Some(&file)).map_err(Failure::mistake)?;
        // A role alone may have neighbours elsewhere; only what is made from their places must know them.
        let settings = inside(&wish, &settings).unwrap_or(settings);
        let docker = Docker::connect()?;
        if let Some(dir) = &self.dir {
            wish.take_secrets(vault::of_directory(dir).map_err(Failure::mistake)?);
        }
        wish.take_secrets(vault::versions(&docker, wish.prefix())?.into_keys());
        if self.rotate.is_empty() { self.make(&docker, &wish, &settings) } else { self.turn(&docker, &wish, &settings) }
    }

    fn make(&self, docker: &Docker, wish: &Wish, settings: &Settings) -> Result<ExitCode, Failure> {
        // Before they are where nobody can read them.
        if let Some(dir) = &self.dir {
            tell_of_places(wish, dir, settings);
        }
        let made = vault::make(docker, wish, self.dir.as_deref(), settings).map_err(failure)?;
        made.made.iter().for_each(|name| show!("made  {name}"));
        made.kept.iter().for_each(|name| show!("kept  {name}"));
        tell!("{} made, {} kept in the swarm", made.made.len(), made.kept.len());
        tell_of_made(&made);
        Ok(ExitCode::SUCCESS)
    }

    fn turn(&self, docker: &Docker, wish: &Wish, settings: &Settings) -> Result<ExitCode, Failure> {
        let place = rotation::Place { docker, wish, stack: &self.stack, dir: self.dir.as_deref(), settings };
        let how = How { lose_data: self.lose_data, forget_old: self.forget_old };
        let rotation = place.rotate(&self.rotate, how).map_err(failure)?;
        if rotation.begun_before {
            tell!("this goes on with a rotation that was begun before and is not in force everywhere");
            if self.forget_old && rotation.keeps_old() {
                tell!("note: it was begun without --forget-old: once it is in force, rotate again with it");
            }
        }
        rotation.notes.iter().for_each(|note| tell!("note: {note}"));
        let changes = rotation.changes(docker, &self.stack)?;
        for change in &changes {
            if self.update {
                change.apply(docker).map_err(failure)?;
                show!("updated  {}", change.service);
            } else {
                show!("{}", change.command());
            }
        }
        if changes.is_empty() {
            tell!("no service of the stack {} has an older version", self.stack);
        }
        if self.update || changes.is_empty() {
            rotation.settle().map_err(failure)?;
        } else if let Some(dir) = &self.dir {
            tell!("when these have run: the same command again, so that {} takes the new values over", dir.display());
        }
        say_what_follows(rotation.versions(), &changes);
        Ok(ExitCode::SUCCESS)
    }
}

/// Says which values are others than the directory's, and which are others' altogether.
pub(super) fn tell_of_made(made: &Made) {
    for name in &made.foreign {
        tell!(
            "note: {name} was not put into the swarm by flowkit, and is used as it is: if it is another program's, \
             call yours otherwise with --prefix"
        );
    }
    for name in &made.moved {
        tell!("note: {name} leads to this host itself, as a plain deployment wants it; the swarm has it for the stack");
    }
}

fn say_what_follows(versions: &BTreeMap<&str, u32>, changes: &[Change]) {
    let versions: Vec<String> =
        versions.iter().map(|(name, version)| format!("--secret-version {name}={version}")).collect();
    tell!("from now on: flowkit stack {} (flowkit quickstart finds the newest itself)", versions.join(" "));
    let mut old: Vec<&str> = changes.iter().flat_map(|change| change.removed()).collect();
    old.sort_unstable();
    old.dedup();
    if !old.is_empty() {
        tell!("when all is well: docker secret rm {}", old.join(" "));
    }
}

/// What the operator has to mend is a mistake.
pub(super) fn failure(error: VaultError) -> Failure {
    match error {
        VaultError::Refused(problems) => Failure::mistake(problems),
        other => other.into(),
    }
}
