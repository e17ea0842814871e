//! New values for secrets of a swarm, as one step that can be repeated.
//!
//! A rotation has three parts: new secrets in the swarm, services that get them one after the other, and the directory of
//! the values, which takes them over last, when they are in force everywhere. Until then they are kept aside in it. Each
//! part can fail or be killed; the next run of the same command finishes what has been begun, or takes back what can't be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::engine::{Docker, Error};
use super::inventory::{Inventory, Set};
use super::parts::services_of;
use super::services::{self, HeldFile};
use super::vault::{VaultError, create, foreign_sources, options, temporary, version_of};
use super::wish::{Wish, versioned};
use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Problem, Problems, Settings};
use flowkit_core::secrets::{self, Options, Store};

/// File in the directory of values kept aside: the label of the rotation that they are of. Written last, so that values
/// without it are only the beginning of something.
const MARKER: &str = "rotation";

/// A rotation whose secrets are all in the swarm.
#[derive(Debug)]
pub struct Rotation<'a> {
    wish: &'a Wish,
    dir: Option<&'a Path>,
    set: Set,
    /// Whether an earlier run has begun it.
    pub begun_before: bool,
    /// What else the change means, in sentences.
    pub notes: Vec<String>,
}

/// Whose secrets are rotated, and where their values are.
pub struct Place<'a> {
    /// The engine.
    pub docker: &'a Docker,
    /// Roles and prefix.
    pub wish: &'a Wish,
    /// The stack whose services use them.
    pub stack: &'a str,
    /// Directory of the values.
    pub dir: Option<&'a Path>,
    /// For connection strings.
    pub settings: &'a Settings,
}

/// What becomes of what the old values were for.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// A key may go although what it has encrypted can't be read without it.
    pub lose_data: bool,
    /// Public keys that were before are not kept beside a new one: what they have signed ends.
    pub forget_old: bool,
}

impl<'a> Place<'a> {
    /// Gives each of these secrets, and what is made from it, a new value under the next version's name; or goes on with a
    /// rotation of these that was begun and is not in force everywhere.
    ///
    /// # Errors
    /// Names that can't be rotated, another rotation that is not finished: then nothing is changed. Secrets that can't be
    /// made: then none of them is in the swarm.
    pub fn rotate(&self, names: &[String], how: How) -> Result<Rotation<'a>, VaultError> {
        let mut there = Inventory::read(self.docker, self.wish.prefix())?;
        if let Some((aside, set)) = self.dir.and_then(begun) {
            self.is_of(&set, names, &there)?;
            if !there.has(&set) {
                there.take_back(self.docker)?;
                self.create(&set, &aside)?;
            }
            return Ok(self.rotation(set, true, Vec::new()));
        }
        // Without a directory the values are in the swarm alone; services may still lack them.
        if self.dir.is_none()
            && let Some(set) = self.unfinished(names, &there)?
        {
            return Ok(self.rotation(set, true, Vec::new()));
        }
        there.take_back(self.docker)?;
        self.begin(names, how, &there)
    }

    fn rotation(&self, set: Set, begun_before: bool, notes: Vec<String>) -> Rotation<'a> {
        Rotation { wish: self.wish, dir: self.dir, set, begun_before, notes }
    }

    fn begin(&self, names: &[String], how: How, there: &Inventory) -> Result<Rotation<'a>, VaultError> {
        let versions = there.versions();
        let specs = names.iter().filter_map(|name| catalogue().secret(name));
        let absent = specs.filter(|spec| !versions.contains_key(spec.name.as_str())).map(|spec| {
            let hint = "there is nothing to rotate: `flowkit secrets swarm` makes it";
            Problem::new(format!("{} is not in the swarm", spec.name), hint)
        });
        Problems(absent.collect()).or(())?;
        let temporary = temporary()?;
        // The public key that is there can't be read out of the swarm.
        let options = Options { forget_old: how.forget_old || self.dir.is_none(), ..options(self.settings) };
        let aside = match self.dir {
            Some(dir) => secrets::set_aside(dir, names)?,
            None => {
                secrets::init(temporary.path(), &self.wish.roles, &options)?;
                temporary.path().to_owned()
            }
        };
        let turned = secrets::rotate(&aside, names, &options, how.lose_data).inspect_err(|_| self.forget(&aside))?;
        let replaced: Vec<&'static str> =
            turned.replaced.iter().copied().filter(|name| versions.contains_key(name)).collect();
        if self.dir.is_none() {
            let misfits = replaced.iter().flat_map(|name| {
                let new = |source: &str| turned.replaced.contains(&source);
                foreign_sources(catalogue().secret(name).expect("it is one"), &new)
            });
            Problems(misfits.collect()).or(())?;
        }
        // Above what is there in whatever state.
        let newest = there.newest(|_| true);
        let members: BTreeMap<_, _> = replaced.iter().map(|&name| (name, newest[name] + 1)).collect();
        let mut notes = turned.notes;
        if self.dir.is_none() && members.contains_key(PUBLIC_KEY) {
            notes.push(format!(
                "{PUBLIC_KEY}: all tokens so far end, as nobody can read the key before out of the swarm"
            ));
        }
        let set = Set { id: rand::random(), members };
        if self.dir.is_some() {
            mark(&aside, &set).map_err(VaultError::Directory)?;
        }
        self.create(&set, &aside)?;
        Ok(self.rotation(set, false, notes))
    }

    /// Makes all secrets of a set in the swarm, or none.
    fn create(&self, set: &Set, values: &Path) -> Result<(), VaultError> {
        let store = Store::only(values);
        let label = set.label();
        let mut made: Vec<String> = Vec::new();
        for (name, version) in &set.members {
            let spec = catalogue().secret(name).expect("a set is of secrets of the catalogue");
            let full = versioned(self.wish.prefix(), name, *version);
            let value = store.get(name).map_err(|error| VaultError::from(Problems(vec![error.problem()])));
            let created = value.and_then(|value| Ok(create(self.docker, spec, &value, &full, Some(&label))?));
            if let Err(error) = created {
                // What went wrong first is the one to tell; what is left the next run takes back.
                made.iter().for_each(|full| _ = self.docker.ask(&["secret", "rm", full]));
                return Err(VaultError::NotBegun { source: Box::new(error) });
            }
            made.push(full);
        }
        Ok(())
    }

    /// Refuses names that a rotation on its way does not include.
    fn is_of(&self, set: &Set, names: &[String], there: &Inventory) -> Result<(), Problems> {
        let includes =
            |name: &&String| catalogue().secret(name).is_some_and(|s| set.members.contains_key(s.name.as_str()));
        let Some(other) = names.iter().find(|name| !includes(name)) else { return Ok(()) };
        let begun: Vec<&str> = set.members.keys().copied().collect();
        let state = if there.has(set) { "is not in force everywhere" } else { "was begun and is not finished" };
        let what = format!("{other} can't be rotated now: a rotation of {} {state}", begun.join(", "));
        Err(Problem::new(what, format!("finish it first: --rotate {} --update", begun[0])).into())
    }

    /// The set of these secrets' newest versions, where services have older ones.
    fn unfinished(&self, names: &[String], there: &Inventory) -> Result<Option<Set>, Error> {
        let spec = |name: &String| catalogue().secret(name).map(|spec| spec.name.as_str());
        let Some(set) = names.first().and_then(spec).and_then(|name| there.set_of(name)) else { return Ok(None) };
        let all = names.iter().all(|name| spec(name).is_some_and(|name| set.members.contains_key(name)));
        let old = all && !changes(self.docker, self.wish, self.stack, &set.members)?.is_empty();
        Ok(old.then(|| set.clone()))
    }

    /// Removes values that nothing came of; a temporary directory goes by itself.
    fn forget(&self, aside: &Path) {
        if self.dir.is_some() {
            let _ = fs::remove_dir_all(aside);
        }
    }
}

/// What checks tokens.
const PUBLIC_KEY: &str = "PUBLIC_JWT_SIGNING_KEY";

impl Rotation<'_> {
    /// Whether its values, which were made before, have old public keys beside the new one.
    pub fn keeps_old(&self) -> bool {
        let key = self.dir.and_then(|dir| Store::only(&secrets::aside(dir)).get(PUBLIC_KEY).ok());
        key.is_some_and(|key| key.expose().matches("-----BEGIN").count() > 1)
    }

    /// Name in the guide, and version in the swarm, of each secret with a new value.
    pub fn versions(&self) -> &BTreeMap<&'static str, u32> {
        &self.set.members
    }

    /// What the services of a stack must be told, in the order in which to do it: who owns a secret before those who use it.
    ///
    /// # Errors
    /// The engine's.
    pub fn changes(&self, docker: &Docker, stack: &str) -> Result<Vec<Change>, Error> {
        changes(docker, self.wish, stack, &self.set.members)
    }

    /// The directory takes the new values over: they are in force everywhere.
    ///
    /// # Errors
    /// The directory's.
    pub fn settle(&self) -> Result<(), VaultError> {
        let names: Vec<&'static str> = self.set.members.keys().copied().collect();
        match self.dir {
            Some(dir) => Ok(secrets::take_over(dir, &names)?),
            None => Ok(()),
        }
    }
}

/// Lets the directory take over what is in force everywhere by other means, such as a deployment of the newest versions.
///
/// # Errors
/// The engine's, the directory's.
pub fn settle(docker: &Docker, wish: &Wish, stack: &str, dir: Option<&Path>) -> Result<(), VaultError> {
    let Some((dir, (_, set))) = dir.and_then(|dir| Some((dir, begun(dir)?))) else { return Ok(()) };
    if Inventory::read(docker, wish.prefix())?.has(&set) && changes(docker, wish, stack, &set.members)?.is_empty() {
        let names: Vec<&'static str> = set.members.keys().copied().collect();
        secrets::take_over(dir, &names)?;
    }
    Ok(())
}

/// Where the values of a rotation that was begun are, and what it is of.
pub(super) fn begun(dir: &Path) -> Option<(PathBuf, Set)> {
    let aside = secrets::aside(dir);
    let set = Set::parse(&fs::read_to_string(aside.join(MARKER)).ok()?)?;
    Some((aside, set))
}

fn mark(aside: &Path, set: &Set) -> std::io::Result<()> {
    let beside = aside.join(".marker");
    let mut file = fs::File::create(&beside)?;
    std::io::Write::write_all(&mut file, set.label().as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, aside.join(MARKER))?;
    fs::File::open(aside)?.sync_all()
}

/// A service that is to get newer secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name in the swarm.
    pub service: String,
    /// What it has, and what it gets in its place as Docker writes it.
    swaps: Vec<(String, String)>,
}

impl Change {
    /// The secrets that it will not have any more.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.swaps.iter().map(|(old, _)| old.as_str())
    }

    /// Makes the change and waits until the service is healthy again.
    ///
    /// # Errors
    /// The engine's, also when it has gone back to what was before.
    pub fn apply(&self, docker: &Docker) -> Result<(), VaultError> {
        let args = self.arguments();
        let done = docker.ask(&args.iter().map(String::as_str).collect::<Vec<_>>());
        done.map(drop).map_err(|source| VaultError::Unfinished { service: self.service.clone(), source })
    }

    /// The same as a person would type it.
    pub fn command(&self) -> String {
        format!("docker {}", self.arguments().join(" "))
    }

    fn arguments(&self) -> Vec<String> {
        let mut args = ["service", "update", "--quiet", "--no-resolve-image"].map(String::from).to_vec();
        for (old, new) in &self.swaps {
            args.extend(["--secret-rm".into(), old.clone(), "--secret-add".into(), new.clone()]);
        }
        args.push(self.service.clone());
        args
    }
}

fn changes(
    docker: &Docker,
    wish: &Wish,
    stack: &str,
    versions: &BTreeMap<&'static str, u32>,
) -> Result<Vec<Change>, Error> {
    let there = services::of_stack(docker, stack)?;
    let mut changes = Vec::new();
    let names = catalogue().roles().iter().flat_map(services_of);
    for name in names {
        let service = format!("{stack}_{name}");
        if !there.contains(&service) {
            continue;
        }
        let mut swaps = Vec::new();
        for held in services::secrets(docker, &service)? {
            let Some((name, has)) = version_of(wish.prefix(), &held.secret_name) else { continue };
            let Some(&version) = versions.get(name).filter(|&&version| has < version) else { continue };
            let new = versioned(wish.prefix(), name, version);
            let HeldFile { name, uid, gid, mode } = held.file;
            swaps.push((held.secret_name, format!("source={new},target={name},uid={uid},gid={gid},mode={mode:04o}")));
        }
        if !swaps.is_empty() {
            changes.push(Change { service, swaps });
        }
    }
    Ok(changes)
}
