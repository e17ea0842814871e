//! Making what is missing, and replacing what is to be replaced.

use std::path::Path;

use super::certificate::{self, CertificateError};
use super::files::{Directory, FileError};
use super::random::{self, RandomError};
use super::{LookupError, Secret, Store, derive};
use crate::catalogue::{Kind, Make, Role, Secret as Spec, catalogue};
use crate::config::Settings;

/// What new values depend on beside chance.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where databases are reached, for connection strings.
    pub settings: Settings,
    /// Names and addresses of the certificate, beside this host's own.
    pub san: Vec<String>,
    /// Whether a rotation keeps no old public keys: what they have signed is good no more.
    pub forget_old: bool,
}

/// What [`init`] did, each secret by its name in the guide.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// New files.
    pub made: Vec<&'static str>,
    /// Files that were there.
    pub kept: Vec<&'static str>,
    /// Secrets that are still missing.
    pub missing: Vec<Missing>,
    /// What was asked for and was not done to what is there, in sentences.
    pub notes: Vec<String>,
}

/// A secret that could not be made.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: &'static str,
    /// Why, and what to do.
    pub why: String,
    /// Whether nobody but the operator can have it: nothing is wrong, it comes later.
    pub operators: bool,
}

/// Why secrets could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The directory or a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No chance.
    #[error("cannot make {name}")]
    Random {
        /// Of which secret.
        name: &'static str,
        /// Why.
        #[source]
        source: RandomError,
    },
    /// No certificate.
    #[error("cannot make {name}")]
    Certificate {
        /// Of which secret.
        name: &'static str,
        /// Why.
        #[source]
        source: CertificateError,
    },
}

/// Makes the secrets that these roles need and that the directory lacks; keeps what is there, but for names that an earlier
/// version has put there and that are others now. It can be killed at any time and run again, also twice at once.
///
/// # Errors
/// When the directory can't be used or the system gives no random bytes; what was made until then stays.
pub fn init(dir: &Path, roles: &[&'static Role], options: &Options) -> Result<Report, MakeError> {
    let directory = Directory::open(dir)?;
    let store = Store::only(dir);
    let mut report = Report::default();
    let (first, derived): (Vec<_>, Vec<_>) =
        wanted(roles).into_iter().partition(|spec| derive::sources(&spec.make).is_empty());
    for spec in first.into_iter().chain(derived) {
        if spec.spellings().any(|name| directory.has(name)) && !is_outdated(spec, &directory)? {
            report.kept.push(&spec.name);
            report.notes.extend(lacks_names(spec, &store, options, dir));
            continue;
        }
        if spec.optional && matches!(spec.make, Make::Operator(_)) {
            continue;
        }
        match new_value(spec, &directory, &store, options)? {
            Ok(secret) => {
                directory.write(&spec.name, &secret)?;
                report.made.push(&spec.name);
            }
            Err(missing) => report.missing.push(missing),
        }
    }
    Ok(report)
}

/// A certificate that is there is kept, also where it is not for all whom one is asked for.
fn lacks_names(spec: &Spec, store: &Store, options: &Options, dir: &Path) -> Option<String> {
    let Make::CertificateFor(_) = &spec.make else { return None };
    let there = store.get(&spec.name).ok().filter(|_| !options.san.is_empty())?;
    let is_lacking = |name: &&String| certificate::is_for(&there, name) != Some(true);
    let lacking: Vec<&str> = options.san.iter().filter(is_lacking).map(String::as_str).collect();
    let asked: Vec<String> = lacking.iter().map(|name| format!("--san {name}")).collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "{name} was there and is not for {}: flowkit secrets rotate {name} {} --dir {} makes one that is",
            lacking.join(", "),
            asked.join(" "),
            dir.display(),
            name = spec.name,
        )
    })
}

/// Whether the file is one that an earlier version has written by itself. A person's has a line break at its end.
fn is_outdated(spec: &Spec, directory: &Directory) -> Result<bool, MakeError> {
    let former = spec.formerly.as_ref().map(|former| directory.holds(&spec.name, former)).transpose()?;
    Ok(former.unwrap_or(false))
}

/// Every secret that the roles need, each once.
pub(super) fn wanted(roles: &[&'static Role]) -> Vec<&'static Spec> {
    let mut wanted: Vec<&'static Spec> = Vec::new();
    for spec in roles.iter().flat_map(|role| catalogue().secrets_of(role)) {
        if !wanted.iter().any(|other| other.name == spec.name) {
            wanted.push(spec);
        }
    }
    wanted
}

fn new_value(
    spec: &'static Spec,
    directory: &Directory,
    store: &Store,
    options: &Options,
) -> Result<Result<Secret, Missing>, MakeError> {
    let name = spec.name.as_str();
    let missing = |why: String, operators| Ok(Err(Missing { name, why, operators }));
    if let Make::Operator(from) = &spec.make {
        return missing(from.clone(), true);
    }
    // A new key beside a certificate of the old one would not fit; nor would a new password beside a connection string.
    if let Some(other) = made_from(name).find(|other| other.spellings().any(|name| directory.has(name))) {
        let why = format!(
            "{} is there and belongs to another one: put that one there, or: flowkit secrets rotate {name}",
            other.name
        );
        return missing(why, false);
    }
    match value(spec, &|name| store.get(name), options)? {
        Ok(secret) => Ok(Ok(secret)),
        Err(LookupError::Missing { name: source, .. }) => {
            let owner = catalogue().owner(source).map_or("", |role| role.name.as_str());
            let why = format!(
                "it is made from {source}, which is not here: put {source} or {name} there, or add --role {owner}"
            );
            missing(why, false)
        }
        Err(error) => missing(format!("it is made from another secret, and {error}"), false),
    }
}

/// The secrets that are made from this one.
pub fn made_from(name: &str) -> impl Iterator<Item = &'static Spec> {
    catalogue().secrets().filter(move |other| derive::sources(&other.make).contains(&name))
}

/// A new value. The inner error is about a secret that it is made from.
pub(super) fn value(
    spec: &'static Spec,
    lookup: &dyn Fn(&str) -> Result<Secret, LookupError>,
    options: &Options,
) -> Result<Result<Secret, LookupError>, MakeError> {
    let name = spec.name.as_str();
    let random = |made: Result<Secret, RandomError>| made.map(Ok).map_err(|source| MakeError::Random { name, source });
    match &spec.make {
        Make::Fixed(value) => Ok(Ok(Secret::new(value.clone()))),
        Make::Template(template) => Ok(derive::connection(template, &options.settings, lookup)),
        Make::PublicHalfOf(private) => {
            Ok(lookup(private).map(|key| derive::public_half(&key).expect("a private key that was looked up is one")))
        }
        Make::CertificateFor(key) => match lookup(key) {
            Ok(key) => {
                certificate::make(&key, &options.san).map(Ok).map_err(|source| MakeError::Certificate { name, source })
            }
            Err(error) => Ok(Err(error)),
        },
        Make::Generate => match spec.kind {
            Kind::Fernet => random(random::fernet()),
            Kind::RsaPrivate => random(random::rsa_key()),
            Kind::TlsKey => random(random::tls_key()),
            _ => random(random::password()),
        },
        Make::Operator(_) => unreachable!("{name} is the operator's"),
    }
}
