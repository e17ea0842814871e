//! Secrets in the swarm: made where they are missing, kept where they are there. [`rotation`] gives them a next version.
//!
//! A swarm's secrets can be neither read nor changed. So what is made from another secret (a connection string, a public
//! key) can only be made together with it, or from a directory that holds it; and a new value is a new secret with a
//! version in its name, which services then get in place of the old one.

use std::collections::BTreeMap;
use std::path::Path;

use super::engine::{Docker, Error};
use super::inventory::{self, Inventory};
use super::rotation;
use super::wish::{Wish, versioned};
use flowkit_core::catalogue::{Kind, Make, Secret as Spec, catalogue};
use flowkit_core::config::{Problem, Problems, Settings};
use flowkit_core::database::Way;
use flowkit_core::secrets::{self, LookupError, MakeError, Missing, Options, RotateError, Secret, Store};

/// Labels that say what a secret of the swarm is.
pub(super) const LABEL: &str = "org.flowkit.secret";
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
    /// New secrets are not all in the swarm.
    #[error("the rotation has not begun: nothing has a new value; the same command tries it again")]
    NotBegun {
        /// Why not.
        #[source]
        source: Box<VaultError>,
    },
    /// A service did not take its new secrets.
    #[error(
        "{service} has not taken its new secrets, and the rotation is not finished; the same command goes on with it"
    )]
    Unfinished {
        /// Which service.
        service: String,
        /// Why not.
        #[source]
        source: Error,
    },
}

impl From<RotateError> for VaultError {
    fn from(error: RotateError) -> VaultError {
        match error {
            RotateError::Refused(problems) => VaultError::Refused(problems),
            RotateError::Make(error) => VaultError::Make(error),
        }
    }
}

/// What was done, each secret by its name in the swarm.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// New ones.
    pub made: Vec<String>,
    /// Those that were there.
    pub kept: Vec<String>,
    /// Those of them that somebody else has put there.
    pub foreign: Vec<String>,
    /// Connection strings that lead elsewhere than those in the directory, which lead to the host itself.
    pub moved: Vec<&'static str>,
}

/// The newest version of each secret in the swarm; half a rotation's does not count.
///
/// # Errors
/// The engine's.
pub fn versions(docker: &Docker, prefix: Option<&str>) -> Result<BTreeMap<&'static str, u32>, Error> {
    Ok(Inventory::read(docker, prefix)?.versions())
}

/// The secrets of the catalogue that are in a directory, whatever they are worth.
///
/// # Errors
/// Whether one is there can't be seen from here: the directory is somebody else's.
pub fn of_directory(dir: &Path) -> Result<Vec<&'static str>, Problem> {
    let store = Store::only(dir);
    let mut names = Vec::new();
    for spec in catalogue().secrets() {
        match store.find(&spec.name) {
            Err(error @ LookupError::Unreadable { .. }) => return Err(error.problem()),
            Err(error) if error.is_absent() => {}
            _ => names.push(spec.name.as_str()),
        }
    }
    Ok(names)
}

/// Which secret of the catalogue, and which version, a name in the swarm stands for.
pub(super) fn version_of(prefix: Option<&str>, name: &str) -> Option<(&'static str, u32)> {
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
    let inventory = Inventory::read(docker, wish.prefix.as_deref())?;
    let (there, wanted) = (inventory.versions(), wanted(wish, settings));
    let name_of = |spec: &&&'static Spec| {
        let version = there.get(spec.name.as_str()).copied().unwrap_or(1);
        versioned(wish.prefix.as_deref(), &spec.name, version)
    };
    let (kept, missing): (Vec<_>, Vec<_>) = wanted.iter().partition(|spec| there.contains_key(spec.name.as_str()));
    let mut done = Made { kept: kept.iter().map(name_of).collect(), ..Made::default() };
    done.foreign = done.kept.iter().filter(|name| inventory.is_foreign(name)).cloned().collect();
    if missing.is_empty() {
        return Ok(done);
    }
    if let Some(dir) = dir.filter(|dir| rotation::begun(dir).is_some()) {
        let what = format!("{} holds a rotation that is not finished", dir.display());
        return Err(Problems::from(Problem::new(
            what,
            "finish it first: flowkit secrets swarm --rotate NAME --update",
        ))
        .into());
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
            .map(|missing| Problem::new(format!("{} can't be made", missing.name), why(missing))),
    );
    let store = Store::only(from);
    let of_another = |spec: &&&&'static Spec| {
        report.missing.iter().all(|missing| missing.name != spec.name) && store.find(&spec.name).is_err()
    };
    problems.0.extend(missing.iter().filter(of_another).map(|spec| {
        let what = format!("{} is missing, the certificate of a server that is not in this stack", spec.name);
        Problem::new(what, "get a copy of it, and put it into the directory of the secrets")
    }));
    problems.or(())?;
    for spec in missing {
        let name = wish.secret(&spec.name);
        let moved = secrets::moved(&store, &spec.name, settings);
        done.moved.extend(moved.is_some().then_some(spec.name.as_str()));
        let value = moved.map_or_else(|| store.get(&spec.name), Ok).map_err(|error| Problems(vec![error.problem()]))?;
        create(docker, spec, &value, &name, None)?;
        done.made.push(name);
    }
    Ok(done)
}

/// Why a secret can't be made, and what may be there in its place.
fn why(missing: &Missing) -> String {
    let instead = catalogue().secret(missing.name).and_then(|spec| catalogue().secret(spec.instead.as_deref()?));
    match instead.map(|other| (&other.name, &other.make)) {
        Some((other, Make::Operator(from))) => format!("{}; or put {other} there: {from}", missing.why),
        _ => missing.why.clone(),
    }
}

/// Connection strings in a directory that lead to the host itself, where the roles of the wish would find nothing.
pub fn misled(wish: &Wish, dir: &Path, settings: &Settings) -> Vec<&'static str> {
    let store = Store::only(dir);
    let names = wanted(wish, settings).into_iter().map(|spec| spec.name.as_str());
    names.filter(|name| secrets::moved(&store, name, settings).is_some()).collect()
}

/// The operator's own addresses in a directory that lead to the host itself, likewise.
pub fn at_home(wish: &Wish, dir: &Path, settings: &Settings) -> Vec<&'static str> {
    let store = Store::only(dir);
    let theirs = |spec: &&'static Spec| spec.kind == Kind::Url && matches!(spec.make, Make::Operator(_));
    let leads_here = |spec: &&'static Spec| store.get(&spec.name).is_ok_and(|uri| Way::of(uri.expose()).leads_here());
    let found = wanted(wish, settings).into_iter().filter(theirs).filter(leads_here);
    found.map(|spec| spec.name.as_str()).collect()
}

/// What there is to say where AutoFlow is told of FlowAPI by a name that is not in its certificate, as far as that is in the directory: one that
/// was made before `flowapi` was among the names.
pub fn unnamed(wish: &Wish, dir: &Path, settings: &Settings) -> Option<String> {
    const CERTIFICATE: &str = "cert-flowkit.pem";
    let url = settings.text("FLOWAPI_URL").filter(|_| wish.has("autoflow") && wish.has("flowapi"))?;
    let host = url.parse::<http::Uri>().ok()?.host()?.to_owned();
    let is_for = secrets::certificate_is_for(&Store::only(dir).get(CERTIFICATE).ok()?, &host)?;
    (!is_for).then(|| {
        format!(
            "{CERTIFICATE} has no name {host}, by which AutoFlow looks for FlowAPI: give one that it has, as with \
             --set FLOWAPI_URL=https://flow.api:9090, or make another certificate"
        )
    })
}

/// Every secret of the roles, and the certificates of those elsewhere that they can't do without, each once.
fn wanted(wish: &Wish, settings: &Settings) -> Vec<&'static Spec> {
    let mut wanted: Vec<&'static Spec> = Vec::new();
    let talks = wish.roles.iter().flat_map(|role| &role.talks_to);
    let elsewhere = talks.filter(|talk| !talk.optional && !wish.has(&talk.role));
    let certificates = elsewhere.filter_map(|talk| catalogue().secret(talk.certificate.as_deref()?));
    for spec in wish.roles.iter().flat_map(|role| wish.secrets_of(role, settings)).chain(certificates) {
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
pub(super) fn foreign_sources(spec: &'static Spec, new: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let by_chance = |name: &&&str| catalogue().secret(name).is_some_and(|spec| !matches!(spec.make, Make::Fixed(_)));
    let sources = secrets::sources(&spec.make);
    let old = sources.iter().filter(by_chance).filter(|name| !new(name));
    old.map(|source| {
        let what = format!("{} is made from {source}, which is in the swarm, where nobody can read it", spec.name);
        Problem::new(what, format!("give --dir with the deployment's secrets, or make both new: --rotate {source}"))
    })
    .collect()
}

/// Makes one secret in the swarm; `rotation`: the label of the rotation that it is of.
pub(super) fn create(
    docker: &Docker,
    spec: &'static Spec,
    value: &Secret,
    name: &str,
    rotation: Option<&str>,
) -> Result<(), Error> {
    let mut labels = vec![format!("{LABEL}={}", spec.name), format!("{MADE_BY}=flowkit-{}", env!("CARGO_PKG_VERSION"))];
    labels.extend(rotation.map(|label| format!("{}={label}", inventory::LABEL)));
    let mut args = vec!["secret", "create"];
    args.extend(labels.iter().flat_map(|label| ["--label", label]));
    args.extend([name, "-"]);
    docker.tell(&args, value.expose().as_bytes()).map(drop)
}

pub(super) fn options(settings: &Settings) -> Options {
    Options { settings: settings.clone(), ..Options::default() }
}

/// A directory in memory where there is one, 0700, gone at the end.
pub(super) fn temporary() -> Result<Temporary, VaultError> {
    use std::os::unix::fs::DirBuilderExt;
    let parent = [Path::new("/dev/shm"), Path::new("/run")]
        .into_iter()
        .find(|dir| rustix::fs::access(*dir, rustix::fs::Access::WRITE_OK).is_ok());
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let path = parent.join(format!("flowkit-secrets-{:016x}", rand::random::<u64>()));
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(VaultError::Directory)?;
    Ok(Temporary(path))
}

pub(super) struct Temporary(std::path::PathBuf);

impl Temporary {
    pub(super) fn path(&self) -> &Path {
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
    fn what_cant_be_looked_at_is_not_taken_for_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("DB_URI"), "sqlite:////x").unwrap();
        let there = of_directory(dir.path()).unwrap();
        assert!(there.contains(&"DB_URI") && !there.contains(&"AUTOFLOW_DB_URI"), "{there:?}");
        // As a directory of somebody else's is: root, too, finds nothing in a name that leads round in a circle.
        std::os::unix::fs::symlink("AUTOFLOW_DB_URI", dir.path().join("AUTOFLOW_DB_URI")).unwrap();
        let told = of_directory(dir.path()).unwrap_err().to_string();
        assert!(told.contains("AUTOFLOW_DB_URI can't be read"), "{told}");
    }

    #[test]
    fn a_name_that_the_certificate_lacks_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = |url: &str, with: &[&str]| {
            let given = super::super::Given {
                tag: "9".into(),
                with: with.iter().map(|&role| role.into()).collect(),
                ..Default::default()
            };
            let mut settings = Settings::default();
            settings.set("FLOWAPI_URL", url, flowkit_core::config::Origin::Flag).unwrap();
            unnamed(&Wish::new(&given).unwrap(), dir.path(), &settings)
        };
        assert_eq!(told("https://flowapi:9090", &["autoflow"]), None, "there is none");
        secrets::init(dir.path(), &[catalogue().role("flowapi").unwrap()], &Options::default()).unwrap();
        assert_eq!(told("https://flowapi:9090", &["autoflow"]), None);
        let why = told("https://elsewhere:9090", &["autoflow"]).unwrap();
        assert!(why.contains("has no name elsewhere") && why.contains("https://flow.api:9090"), "{why}");
        assert_eq!(told("https://elsewhere:9090", &[]), None);
    }

    #[test]
    fn an_address_of_the_host_itself_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = |uri: &str| {
            std::fs::write(dir.path().join("DB_URI"), uri).unwrap();
            let given = super::super::Given { tag: "9".into(), roles: vec!["flowauth".into()], ..Default::default() };
            let mut wish = Wish::new(&given).unwrap();
            wish.take_secrets(of_directory(dir.path()).unwrap());
            at_home(&wish, dir.path(), &Settings::default())
        };
        assert_eq!(told("postgresql://flowauth:{}@localhost:5432/flowauth"), ["DB_URI"]);
        assert_eq!(told("postgresql://flowauth:{}@[::1]/flowauth"), ["DB_URI"]);
        for theirs in ["postgresql://flowauth:{}@db.example.org/flowauth", "sqlite:////var/lib/flowauth/db"] {
            assert!(told(theirs).is_empty(), "{theirs}");
        }
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
