//! New values for secrets that are there, with everything that follows from them.

use std::path::{Path, PathBuf};

use super::files::{Directory, FileError, previous_name};
use super::init::{MakeError, Options, made_from, value};
use super::{LookupError, Secret, Store, certificate, derive};
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
    let store = Store::only(dir);
    let against = |spec: &&'static Spec| [still_needed(&directory, spec), would_end_with(spec, &store, options)];
    Problems(specs.iter().flat_map(against).flatten().collect()).or(())?;
    let mut new: Vec<(&'static Spec, Secret)> = Vec::new();
    let mut notes = Vec::new();
    // What is made from another that is named is made after it, and once: made before, it would be of the old one.
    let follows = |spec: &&Spec| derive::sources(&spec.make).iter().any(|from| specs.iter().any(|it| it.name == *from));
    let (following, first): (Vec<_>, Vec<_>) = specs.iter().copied().partition(follows);
    for spec in first {
        add(&mut new, spec, &store, options, &mut notes)?;
        for other in made_from(&spec.name) {
            let there = other.spellings().any(|name| directory.has(name));
            let wanted = there || following.iter().any(|spec| spec.name == other.name);
            if wanted && !new.iter().any(|(spec, _)| spec.name == other.name) {
                add(&mut new, other, &store, options, &mut notes)?;
                if !options.forget_old {
                    keep(&mut new, other, &store, &mut notes);
                }
            }
        }
    }
    let files =
        new.iter().flat_map(|(spec, secret)| places(&directory, spec).into_iter().map(|name| (name, secret.clone())));
    directory.replace(&files.collect::<Vec<_>>()).map_err(MakeError::from)?;
    Ok(rotation(new.iter().map(|(spec, _)| *spec), notes))
}

/// What only one value opens is sealed anew by whoever starts with the next, and until all have, the one before is needed: it is
/// kept, but one alone.
fn still_needed(directory: &Directory, spec: &Spec) -> Option<Problem> {
    let is_kept = spec.spellings().any(|name| directory.has(&previous_name(name)));
    (spec.loses_data && is_kept).then(|| {
        let what =
            format!("{} was rotated already, and what the key before that has encrypted may need it still", spec.name);
        let owner = catalogue().owner(&spec.name).map_or("its role", |role| role.name.as_str());
        let hint = format!(
            "`flowkit down`, then a `flowkit up` that runs {owner}: when all is ready it is not needed any more; where no \
             `flowkit up` runs it, move {} away once nothing needs it; then rotate again",
            previous_name(&spec.name)
        );
        Problem::new(what, hint)
    })
}

/// FlowAPI starts with no list of revoked tokens that no key of its has signed. Which one has can't be told here.
fn would_end_with(spec: &Spec, store: &Store, options: &Options) -> Option<Problem> {
    let list = options.settings.text("FLOWKIT_FLOWAPI_REVOCATIONS")?;
    let public = made_from(&spec.name).find(|other| matches!(other.make, Make::PublicHalfOf(_)))?;
    let told = |what: String, hint: &str| {
        Some(Problem::new(what, hint).origin(options.settings.origin("FLOWKIT_FLOWAPI_REVOCATIONS")))
    };
    if options.forget_old {
        let what = format!(
            "{} has signed the list of revoked tokens {list}, which FlowAPI refuses once the key is forgotten",
            spec.name
        );
        let hint = "take FLOWKIT_FLOWAPI_REVOCATIONS away first, and start FlowAPI without it: the tokens that it names end with the key";
        return told(what, hint);
    }
    let old = store.get(&public.name).ok().and_then(|old| derive::public_keys(&old))?;
    let what = format!(
        "{} has room for {KEPT} old keys and would lose its oldest one, which may have signed the list of revoked tokens {list}: \
         FlowAPI refuses it then",
        public.name
    );
    let hint = "take FLOWKIT_FLOWAPI_REVOCATIONS away first, once the tokens that it names have ended, and start FlowAPI without it; \
                tokens of the oldest key end with it";
    (old.len() > KEPT).then(|| told(what, hint)).flatten()
}

/// Public keys that are kept beside the new one: what was signed before is good for as long as they are.
const KEPT: usize = 3;

/// Puts the public keys so far behind the new one.
fn keep(new: &mut [(&'static Spec, Secret)], spec: &'static Spec, store: &Store, notes: &mut Vec<String>) {
    let old = store.get(&spec.name).ok().and_then(|old| derive::public_keys(&old));
    if let (Make::PublicHalfOf(_), Some(old), Some((_, secret))) = (&spec.make, old, new.last_mut()) {
        *secret = Secret::new([secret.expose()].into_iter().chain(old.iter().take(KEPT).map(String::as_str)).collect());
        notes.push(format!(
            "{}: the new key is its first block, and the ones before stay behind it, so that what they have signed stays good: \
             remove them when it has ended, and at once where the old private key may have got into other hands",
            spec.name
        ));
        if old.len() > KEPT {
            notes.push(format!(
                "{}: only {KEPT} old keys stay, and the oldest is gone: tokens that it has signed are good no more",
                spec.name
            ));
        }
    }
}

/// Where new values are kept aside until they are in force elsewhere.
pub fn aside(dir: &Path) -> PathBuf {
    dir.join(".next")
}

/// Copies the directory's secrets to [`aside`] of it, where [`rotate`] then gives these of them (any spelling) new values, and gives
/// that place. What is left there of an earlier attempt goes.
///
/// # Errors
/// When one of the directories can't be used; when a value before is still needed, which can't be seen in the copy.
pub fn set_aside(dir: &Path, names: &[String]) -> Result<PathBuf, RotateError> {
    let directory = Directory::open(dir).map_err(MakeError::from)?;
    let specs = names.iter().filter_map(|name| catalogue().secret(name));
    Problems(specs.filter_map(|spec| still_needed(&directory, spec)).collect()).or(())?;
    Ok(copy(dir, &directory)?)
}

fn copy(dir: &Path, directory: &Directory) -> Result<PathBuf, MakeError> {
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
/// When one of the directories can't be used, or a value is not there; when a key would go that only the one of now and no kept
/// one opens.
pub fn take_over(dir: &Path, names: &[&'static str]) -> Result<(), RotateError> {
    let directory = Directory::open(dir).map_err(MakeError::from)?;
    let aside = aside(dir);
    let (store, here) = (Store::only(&aside), Store::only(dir));
    let mut files = Vec::new();
    let mut problems = Problems::default();
    for name in names {
        let spec = catalogue().secret(name).expect("a secret of the catalogue");
        let secret = store.get(name).map_err(|error| RotateError::Refused(error.problem().into()))?;
        // One that was taken over before a kill is no second rotation.
        if here.get(name).is_ok_and(|there| there != secret) {
            problems.0.extend(still_needed(&directory, spec));
        }
        files.extend(places(&directory, spec).into_iter().map(|place| (place, secret.clone())));
    }
    problems.or(())?;
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
    notes: &mut Vec<String>,
) -> Result<(), RotateError> {
    let options = &with_names_of(spec, store, options, notes);
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

/// A certificate goes on to be for whom the one before it was: its clients know the server by these names.
fn with_names_of(spec: &Spec, store: &Store, options: &Options, notes: &mut Vec<String>) -> Options {
    let mut options = options.clone();
    if let (Make::CertificateFor(_), Ok(before)) = (&spec.make, store.get(&spec.name)) {
        let more: Vec<String> =
            certificate::names(&before).into_iter().filter(|name| !options.san.contains(name)).collect();
        let made_anyway = certificate::own_names();
        let told: Vec<&str> = more.iter().filter(|name| !made_anyway.contains(name)).map(String::as_str).collect();
        if !told.is_empty() {
            notes.push(format!("{}: stays for {} as well, as the one before it was", spec.name, told.join(", ")));
        }
        options.san.extend(more);
    }
    options
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

fn rotation(specs: impl Iterator<Item = &'static Spec>, notes: Vec<String>) -> Rotation {
    let mut rotation = Rotation { notes, ..Rotation::default() };
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
