//! New values for secrets that are there, with everything that follows from them.

use std::path::{Path, PathBuf};

use super::files::{Directory, FileError, previous_name};
use super::init::{MakeError, Options, made_from, value};
use super::{LookupError, Secret, Store, derive};
use crate::catalogue::{Make, Secret as Spec, catalogue};
use crate::config::{Problem, Problems};

/// What [`rotate`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Secrets with a new value, each followed by those that were made again because of it.
    pub replaced: Vec<&'static str>,
    /// Roles that read one of them, and must be restarted.
    pub roles: Vec<&'static str>,
    /// What else the change means, in sentences.
    pub notes: Vec<String>,
}

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The user asked for what can't be done.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// The rest.
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// Gives new values to these secrets (any spelling) and makes again what is made from them: all of it or nothing, a kill
/// in between is finished by the next `init` or `rotate`. Old values stay as `NAME.previous`.
///
/// Data that only the old value can read is lost with it; such a secret is refused unless `lose_data`.
///
/// # Errors
/// A problem for each name that has no new value; then nothing is changed.
pub fn rotate(dir: &Path, names: &[String], options: &Options, lose_data: bool) -> Result<Rotation, RotateError> {
    let specs = accepted(names, lose_data)?;
    let directory = Directory::open(dir).map_err(MakeError::from)?;
    let against = |spec: &&'static Spec| [still_needed(&directory, spec), would_end_with(spec, options)];
    Problems(specs.iter().flat_map(against).flatten().collect()).or(())?;
    let store = Store::only(dir);
    let mut new: Vec<(&'static Spec, Secret)> = Vec::new();
    let mut kept = Vec::new();
    for spec in specs {
        add(&mut new, spec, &store, options)?;
        for other in made_from(&spec.name) {
            let there = other.spellings().any(|name| directory.has(name));
            if there && !new.iter().any(|(spec, _)| spec.name == other.name) {
                add(&mut new, other, &store, options)?;
                if !options.forget_old {
                    keep(&mut new, other, &store, &mut kept);
                }
            }
        }
    }
    let files =
        new.iter().flat_map(|(spec, secret)| places(&directory, spec).into_iter().map(|name| (name, secret.clone())));
    directory.replace(&files.collect::<Vec<_>>()).map_err(MakeError::from)?;
    Ok(rotation(new.iter().map(|(spec, _)| *spec), kept))
}

/// What only one value opens is sealed anew by whoever starts with the next, and until all have, the one before is needed: it is
/// kept, but one alone.
fn still_needed(directory: &Directory, spec: &Spec) -> Option<Problem> {
    let is_kept = spec.spellings().any(|name| directory.has(&previous_name(name)));
    (spec.loses_data && is_kept).then(|| {
        let what =
            format!("{} was rotated already, and what the key before that has encrypted may need it still", spec.name);
        Problem::new(
            what,
            "`flowkit down`, `flowkit up`: when all is ready it is not needed any more; then rotate again",
        )
    })
}

/// FlowAPI starts with no list of revoked tokens that no key of its has signed.
fn would_end_with(spec: &Spec, options: &Options) -> Option<Problem> {
    let list = options.settings.text("FLOWKIT_FLOWAPI_REVOCATIONS").filter(|_| options.forget_old)?;
    let is_signed_by_it = made_from(&spec.name).any(|other| matches!(other.make, Make::PublicHalfOf(_)));
    is_signed_by_it.then(|| {
        let what = format!(
            "{} has signed the list of revoked tokens {list}, which FlowAPI refuses once the key is forgotten",
            spec.name
        );
        let hint = "take FLOWKIT_FLOWAPI_REVOCATIONS away first: the tokens that it names end with the key";
        Problem::new(what, hint).origin(options.settings.origin("FLOWKIT_FLOWAPI_REVOCATIONS"))
    })
}

/// Public keys that are kept beside the new one: what was signed before is good for as long as they are.
const KEPT: usize = 3;

/// Puts the public keys so far behind the new one.
fn keep(new: &mut [(&'static Spec, Secret)], spec: &'static Spec, store: &Store, kept: &mut Vec<&'static str>) {
    let old = store.get(&spec.name).ok().and_then(|old| derive::public_keys(&old));
    if let (Make::PublicHalfOf(_), Some(old), Some((_, secret))) = (&spec.make, old, new.last_mut()) {
        *secret = Secret::new([secret.expose()].into_iter().chain(old.iter().take(KEPT).map(String::as_str)).collect());
        kept.push(spec.name.as_str());
    }
}

/// Where new values are kept aside until they are in force elsewhere.
pub fn aside(dir: &Path) -> PathBuf {
    dir.join(".next")
}

/// Copies the directory's secrets to [`aside`] of it, where [`rotate`] then gives them new values, and gives that place.
/// What is left there of an earlier attempt goes.
///
/// # Errors
/// When one of the directories can't be used.
pub fn set_aside(dir: &Path) -> Result<PathBuf, MakeError> {
    let directory = Directory::open(dir)?;
    let aside = aside(dir);
    remove(&aside)?;
    let copy = Directory::open(&aside)?;
    let store = Store::only(dir);
    for spec in catalogue().secrets() {
        // What can't be read is not what a rotation is about, or fails there with its name.
        let Ok(secret) = store.get(&spec.name) else { continue };
        for name in spec.spellings().filter(|name| directory.has(name)) {
            copy.write(name, &secret)?;
        }
    }
    Ok(aside)
}

/// Takes these secrets over from [`aside`] into the directory, all or none, and removes that. It can be killed and repeated.
///
/// # Errors
/// When one of the directories can't be used, or a value is not there.
pub fn take_over(dir: &Path, names: &[&'static str]) -> Result<(), RotateError> {
    let directory = Directory::open(dir).map_err(MakeError::from)?;
    let aside = aside(dir);
    let store = Store::only(&aside);
    let mut files = Vec::new();
    for name in names {
        let spec = catalogue().secret(name).expect("a secret of the catalogue");
        let secret = store.get(name).map_err(|error| RotateError::Refused(error.problem().into()))?;
        files.extend(places(&directory, spec).into_iter().map(|place| (place, secret.clone())));
    }
    directory.replace(&files).map_err(MakeError::from)?;
    remove(&aside).map_err(RotateError::from)
}

fn remove(dir: &Path) -> Result<(), MakeError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::System { doing: "remove", path: dir.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
}

/// A file under another spelling is replaced under that spelling: two files that differ would be refused.
fn places(directory: &Directory, spec: &'static Spec) -> Vec<&'static str> {
    let there: Vec<&str> = spec.spellings().filter(|name| directory.has(name)).collect();
    if there.is_empty() { vec![spec.name.as_str()] } else { there }
}

fn add(
    new: &mut Vec<(&'static Spec, Secret)>,
    spec: &'static Spec,
    store: &Store,
    options: &Options,
) -> Result<(), RotateError> {
    let lookup = |name: &str| -> Result<Secret, LookupError> {
        match new.iter().find(|(spec, _)| spec.name == name) {
            Some((_, secret)) => Ok(secret.clone()),
            None => store.get(name),
        }
    };
    let made = value(spec, &lookup, options)?;
    let made = made.map_err(|error| {
        let what = format!("{} is made from another secret, and {error}", spec.name);
        RotateError::Refused(Problem::new(what, error.hint()).into())
    })?;
    new.push((spec, made));
    Ok(())
}

/// The secrets of these names that can have a new value, each once.
fn accepted(names: &[String], lose_data: bool) -> Result<Vec<&'static Spec>, Problems> {
    let mut specs: Vec<&'static Spec> = Vec::new();
    let mut problems = Problems::default();
    for name in names {
        match acceptable(name, lose_data) {
            Ok(spec) if specs.iter().any(|other| other.name == spec.name) => {}
            Ok(spec) => specs.push(spec),
            Err(problem) => problems.0.push(problem),
        }
    }
    problems.or(specs)
}

fn acceptable(name: &str, lose_data: bool) -> Result<&'static Spec, Problem> {
    let Some(spec) = catalogue().secret(name) else {
        return Err(Problem::new(format!("{name} is not a secret"), "`flowkit secrets list` names all of them"));
    };
    let refused = |why: &str, hint: String| Err(Problem::new(format!("{name} {why}"), hint));
    match &spec.make {
        Make::Fixed(_) => refused("is a name and not made by chance", "write another one into its file".into()),
        Make::Operator(from) => refused("can't be made here", from.clone()),
        Make::Template(_) | Make::PublicHalfOf(_) => {
            let made_by_chance = |name: &&str| catalogue().secret(name).is_some_and(|spec| spec.make == Make::Generate);
            let source = derive::sources(&spec.make).into_iter().find(made_by_chance).unwrap_or_default();
            refused(&format!("follows from {source}"), format!("flowkit secrets rotate {source}"))
        }
        Make::Generate | Make::CertificateFor(_) => match &spec.on_change {
            Some(loss) if spec.loses_data && !lose_data => refused(
                &format!("is needed for what it has encrypted: {loss}"),
                "--lose-data does it all the same".into(),
            ),
            _ => Ok(spec),
        },
    }
}

fn rotation(specs: impl Iterator<Item = &'static Spec>, kept: Vec<&'static str>) -> Rotation {
    let mut rotation = Rotation::default();
    rotation.notes.extend(kept.into_iter().map(|name| {
        format!(
            "{name}: the new key is its first block, and the ones before stay behind it, so that what they have signed stays good: \
             remove them when it has ended, and at once where the old private key may have got into other hands"
        )
    }));
    for spec in specs {
        rotation.replaced.push(&spec.name);
        rotation.notes.extend(spec.on_change.iter().map(|change| format!("{}: {change}", spec.name)));
        for role in catalogue().users(&spec.name) {
            if !rotation.roles.contains(&role.name.as_str()) {
                rotation.roles.push(&role.name);
            }
        }
    }
    rotation
}
