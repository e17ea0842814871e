//! Secrets in the swarm: made where they are missing, kept where they are there, and given a next version when they are
//! rotated.
//!
//! A swarm's secrets can be neither read nor changed. So what is made from another secret (a connection string, a public
//! key) can only be made together with it, or from a directory that holds it; and a new value is a new secret with a
//! version in its name, which services then get in place of the old one.

use std::collections::BTreeMap;
use std::path::Path;

use super::engine::{Docker, Error};
use super::plan::secrets_of;
use super::services::{self, HeldFile};
use super::wish::{Wish, versioned};
use crate::catalogue::{Make, Secret as Spec, catalogue};
use crate::config::{Problem, Problems, Settings};
use crate::secrets::{self, MakeError, Options, RotateError, Store};

/// Labels that say what a secret of the swarm is.
const LABEL: &str = "org.flowkit.secret";
const MADE_BY: &str = "org.flowkit.made-by";

/// Why secrets of the swarm could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The operator has to do something first.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The values.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The directory for them.
    #[error("cannot make a private directory for new secrets")]
    Directory(#[source] std::io::Error),
}

/// What was done, each secret by its name in the swarm.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// New ones.
    pub made: Vec<String>,
    /// Those that were there.
    pub kept: Vec<String>,
}

/// A rotation.
#[derive(Debug)]
pub struct Turned {
    /// New secrets: name in the guide, and version.
    pub versions: BTreeMap<&'static str, u32>,
    /// What else the change means, in sentences.
    pub notes: Vec<String>,
}

/// The newest version of each secret in the swarm.
///
/// # Errors
/// The engine's.
pub fn versions(docker: &Docker, prefix: Option<&str>) -> Result<BTreeMap<&'static str, u32>, Error> {
    let names = docker.lines(&["secret", "ls", "--format", "{{.Name}}"])?;
    let mut found = BTreeMap::new();
    for (name, version) in names.iter().filter_map(|name| version_of(prefix, name)) {
        let newest = found.entry(name).or_insert(version);
        *newest = version.max(*newest);
    }
    Ok(found)
}

/// Which secret of the catalogue, and which version, a name in the swarm stands for.
fn version_of(prefix: Option<&str>, name: &str) -> Option<(&'static str, u32)> {
    let plain = match prefix {
        Some(prefix) => name.strip_prefix(prefix)?.strip_prefix('_')?,
        None => name,
    };
    let known = |name: &str| catalogue().secrets().find(|spec| spec.name == name).map(|spec| spec.name.as_str());
    if let Some(name) = known(plain) {
        return Some((name, 1));
    }
    let (name, version) = plain.rsplit_once("_v")?;
    let version = version.parse().ok().filter(|&version: &u32| version > 1)?;
    Some((known(name)?, version))
}

/// Makes the secrets that the wish's roles need and the swarm lacks. Their values come from `dir`, where those that are
/// missing are made as well, or are made for this and forgotten.
///
/// # Errors
/// When one can't be made so that it fits those that are there; nothing is made then.
pub fn make(docker: &Docker, wish: &Wish, dir: Option<&Path>, settings: &Settings) -> Result<Made, VaultError> {
    let there = versions(docker, wish.prefix.as_deref())?;
    let wanted = wanted(wish);
    let name_of = |spec: &&&'static Spec| {
        let version = there.get(spec.name.as_str()).copied().unwrap_or(1);
        versioned(wish.prefix.as_deref(), &spec.name, version)
    };
    let (kept, missing): (Vec<_>, Vec<_>) = wanted.iter().partition(|spec| there.contains_key(spec.name.as_str()));
    let mut done = Made { made: Vec::new(), kept: kept.iter().map(name_of).collect() };
    if missing.is_empty() {
        return Ok(done);
    }
    let temporary = temporary()?;
    let from = dir.unwrap_or(temporary.path());
    let report = secrets::init(from, &wish.roles, &options(settings))?;
    let fits = missing.iter().filter_map(|spec| {
        let value_kept = |name: &str| dir.is_some() && report.kept.contains(&name);
        misfit(spec, &|name| there.contains_key(name), &value_kept)
    });
    let mut problems = Problems(fits.collect());
    problems.0.extend(
        report
            .missing
            .iter()
            .filter(|missing| wanted.iter().any(|spec| spec.name == missing.name))
            .map(|missing| Problem::new(format!("{} can't be made", missing.name), missing.why.clone())),
    );
    problems.or(())?;
    let store = Store::only(from);
    for spec in missing {
        let name = wish.secret(&spec.name);
        create(docker, &store, spec, &name)?;
        done.made.push(name);
    }
    Ok(done)
}

/// Gives each of these secrets, and what is made from it, a new value under the next version's name.
///
/// # Errors
/// Names that can't be rotated; then nothing is changed.
pub fn rotate(
    docker: &Docker,
    wish: &Wish,
    names: &[String],
    dir: Option<&Path>,
    settings: &Settings,
    lose_data: bool,
) -> Result<Turned, VaultError> {
    let there = versions(docker, wish.prefix.as_deref())?;
    let temporary = temporary()?;
    let from = dir.unwrap_or(temporary.path());
    let options = options(settings);
    if dir.is_none() {
        secrets::init(from, &wish.roles, &options)?;
    }
    let absent = |name: &&String| {
        let spec = catalogue().secret(name);
        spec.is_some_and(|spec| !there.contains_key(spec.name.as_str()))
    };
    let problems = names.iter().filter(absent).map(|name| {
        let hint = "there is nothing to rotate: `flowkit secrets swarm` makes it";
        Problem::new(format!("{name} is not in the swarm"), hint)
    });
    Problems(problems.collect()).or(())?;
    let rotation = secrets::rotate(from, names, &options, lose_data).map_err(|error| match error {
        RotateError::Refused(problems) => VaultError::Refused(problems),
        RotateError::Make(error) => VaultError::Make(error),
    })?;
    let replaced = || rotation.replaced.iter().filter(|name| there.contains_key(*name));
    if dir.is_none() {
        let misfits = replaced().flat_map(|name| {
            let new = |source: &str| rotation.replaced.contains(&source);
            foreign_sources(catalogue().secret(name).expect("it is one"), &new)
        });
        Problems(misfits.collect()).or(())?;
    }
    let store = Store::only(from);
    let mut turned = Turned { versions: BTreeMap::new(), notes: rotation.notes.clone() };
    for name in replaced() {
        let spec = catalogue().secret(name).expect("it is one");
        let version = there[name] + 1;
        create(docker, &store, spec, &versioned(wish.prefix.as_deref(), name, version))?;
        turned.versions.insert(name, version);
    }
    Ok(turned)
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
    pub fn apply(&self, docker: &Docker) -> Result<(), Error> {
        let args = self.arguments();
        docker.ask(&args.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
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

/// What the services of a stack must be told to get the newest versions, in the order in which to do it: who owns a
/// secret before those who use it.
///
/// # Errors
/// The engine's.
pub fn changes(docker: &Docker, wish: &Wish, stack: &str, turned: &Turned) -> Result<Vec<Change>, Error> {
    let there = services::of_stack(docker, stack)?;
    let mut changes = Vec::new();
    for role in catalogue().roles() {
        let service = format!("{stack}_{}", role.name);
        if !there.contains(&service) {
            continue;
        }
        let mut swaps = Vec::new();
        for held in services::secrets(docker, &service)? {
            let Some((name, _)) = version_of(wish.prefix.as_deref(), &held.secret_name) else { continue };
            let Some(&version) = turned.versions.get(name) else { continue };
            let new = versioned(wish.prefix.as_deref(), name, version);
            if new != held.secret_name {
                let HeldFile { name, uid, gid, mode } = held.file;
                swaps.push((
                    held.secret_name,
                    format!("source={new},target={name},uid={uid},gid={gid},mode={mode:04o}"),
                ));
            }
        }
        if !swaps.is_empty() {
            changes.push(Change { service, swaps });
        }
    }
    Ok(changes)
}

/// Every secret of the roles, each once.
fn wanted(wish: &Wish) -> Vec<&'static Spec> {
    let mut wanted: Vec<&'static Spec> = Vec::new();
    for spec in wish.roles.iter().flat_map(|role| secrets_of(role)) {
        if !wanted.iter().any(|other| other.name == spec.name) {
            wanted.push(spec);
        }
    }
    wanted
}

/// Why a missing secret can't be made so that it fits what is in the swarm.
fn misfit(spec: &'static Spec, there: &dyn Fn(&str) -> bool, value_kept: &dyn Fn(&str) -> bool) -> Option<Problem> {
    let old = |source: &str| there(source) && !value_kept(source);
    if let Some(problem) = foreign_sources(spec, &|source| !old(source)).into_iter().next() {
        return Some(problem);
    }
    let follows = secrets::made_from(&spec.name).find(|other| there(&other.name) && !value_kept(&spec.name))?;
    let what = format!("{} is made from {}, is in the swarm, and would not fit a new one", follows.name, spec.name);
    Some(Problem::new(
        what,
        format!("give --dir with the secrets that it was made with, or remove it: docker secret rm {}", follows.name),
    ))
}

/// A problem for each secret that this one is made from and that is not new.
fn foreign_sources(spec: &'static Spec, new: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let by_chance = |name: &&&str| catalogue().secret(name).is_some_and(|spec| !matches!(spec.make, Make::Fixed(_)));
    let sources = secrets::sources(&spec.make);
    let old = sources.iter().filter(by_chance).filter(|name| !new(name));
    old.map(|source| {
        let what = format!("{} is made from {source}, which is in the swarm, where nobody can read it", spec.name);
        Problem::new(what, format!("give --dir with the deployment's secrets, or make both new: --rotate {source}"))
    })
    .collect()
}

fn create(docker: &Docker, store: &Store, spec: &'static Spec, name: &str) -> Result<(), VaultError> {
    let secret = store.get(&spec.name).map_err(|error| Problems(vec![error.problem()]))?;
    let (what, by) = (format!("{LABEL}={}", spec.name), format!("{MADE_BY}=flowkit-{}", env!("CARGO_PKG_VERSION")));
    let args = ["secret", "create", "--label", &what, "--label", &by, name, "-"];
    docker.tell(&args, secret.expose().as_bytes())?;
    Ok(())
}

fn options(settings: &Settings) -> Options {
    Options { settings: settings.clone(), ..Options::default() }
}

/// A directory in memory where there is one, 0700, gone at the end.
fn temporary() -> Result<Temporary, VaultError> {
    use std::os::unix::fs::DirBuilderExt;
    let parent = [Path::new("/dev/shm"), Path::new("/run")]
        .into_iter()
        .find(|dir| rustix::fs::access(*dir, rustix::fs::Access::WRITE_OK).is_ok());
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let path = parent.join(format!("flowkit-secrets-{:016x}", rand::random::<u64>()));
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(VaultError::Directory)?;
    Ok(Temporary(path))
}

struct Temporary(std::path::PathBuf);

impl Temporary {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_swarm_are_understood() {
        assert_eq!(version_of(None, "REDIS_PASSWORD"), Some(("REDIS_PASSWORD", 1)));
        assert_eq!(version_of(None, "REDIS_PASSWORD_v12"), Some(("REDIS_PASSWORD", 12)));
        assert_eq!(version_of(Some("a"), "a_cert-flowkit.pem_v2"), Some(("cert-flowkit.pem", 2)));
        for foreign in ["REDIS_PASSWORD_v1", "REDIS_PASSWORD_vx", "b_REDIS_PASSWORD", "OTHER", "_v2"] {
            assert_eq!(version_of(None, foreign), None, "{foreign}");
        }
        assert_eq!(version_of(Some("a"), "REDIS_PASSWORD"), None);
    }

    #[test]
    fn what_is_made_from_another_is_made_with_it_or_not_at_all() {
        let spec = |name| catalogue().secret(name).unwrap();
        let told = |name, there: &[&str], kept: &[&str]| {
            misfit(spec(name), &|n| there.contains(&n), &|n| kept.contains(&n)).map(|problem| problem.to_string())
        };
        let connection = "AIRFLOW_CONN_FLOWDB";
        let password = "FLOWDB_POSTGRES_PASSWORD";
        assert_eq!(told(connection, &[], &[]), None);
        assert_eq!(told(connection, &[password], &[password]), None);
        assert!(told(connection, &[password], &[]).unwrap().contains("nobody can read it"));
        assert!(told(password, &[connection], &[]).unwrap().contains("would not fit"));
        assert_eq!(told("REDIS_PASSWORD", &[], &[]), None);
        // A name that is the same everywhere need not be read.
        assert_eq!(told("AIRFLOW__CORE__SQL_ALCHEMY_CONN", &["FLOWETL_POSTGRES_USER"], &[]), None);
    }
}
