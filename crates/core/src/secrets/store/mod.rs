//! Where a secret is looked for, and in what order.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::files::{self, Directory, FileError};
use super::lookup::spec;
use super::{LookupError, Place, Secret, form};
use crate::catalogue::{self, Make, catalogue};
use crate::config::{Problem, Problems, RUN_SECRETS, file};

/// No secret is longer; a file that is was not meant to be one.
const LONGEST: u64 = 1 << 20;

/// Answers by name, in the lookup order of the [module](super). Nothing is cached: a changed file is seen at the next get.
#[derive(Clone)]
pub struct Store {
    credentials: Option<PathBuf>,
    run: Option<PathBuf>,
    deployment: Option<PathBuf>,
    environment: Environment,
}

type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// A secret and where it was.
#[derive(Debug)]
pub struct Found {
    /// The value, in the form of its kind.
    pub secret: Secret,
    /// Where it was.
    pub place: Place,
}

/// Why secrets could not be laid out for a service.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// Some can't be had.
    #[error(transparent)]
    Lookup(#[from] Problems),
    /// They can't be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// Looks in this process's environment, in /run/secrets and in the deployment's secrets directory.
    pub fn new(deployment_dir: Option<PathBuf>) -> Store {
        Store::with(deployment_dir, RUN_SECRETS.into(), Arc::new(|name| std::env::var_os(name)))
    }

    /// A store whose surroundings are given.
    pub fn with(deployment_dir: Option<PathBuf>, run_secrets: PathBuf, environment: Environment) -> Store {
        let credentials = environment("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Store { credentials, run: Some(run_secrets), deployment: deployment_dir, environment }
    }

    /// A store that knows this directory and nothing else.
    pub fn only(dir: &Path) -> Store {
        Store { credentials: None, run: None, deployment: Some(dir.to_path_buf()), environment: Arc::new(|_| None) }
    }

    /// The secret of that name (any spelling), in the form of its kind: trimmed, keys as PEM.
    pub fn get(&self, name: &str) -> Result<Secret, LookupError> {
        self.find(name).map(|found| found.secret)
    }

    /// The secret, or none where [nobody has given it](LookupError::is_absent).
    ///
    /// # Errors
    /// What is wrong with the one that is there.
    pub fn optional(&self, name: &str) -> Result<Option<Secret>, Problem> {
        match self.get(name) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.problem()),
        }
    }

    /// All of these, or everything that is wrong with them.
    pub fn require(&self, names: &[&str]) -> Result<BTreeMap<String, Secret>, Problems> {
        let mut secrets = BTreeMap::new();
        let mut problems = Problems::default();
        for name in names {
            match self.get(name) {
                Ok(secret) => {
                    secrets.insert(name.to_string(), secret);
                }
                Err(error) => problems.0.push(error.problem()),
            }
        }
        problems.or(secrets)
    }

    /// The secret and where it was. Asking for a name that the catalogue lacks is a bug and panics.
    pub fn find(&self, name: &str) -> Result<Found, LookupError> {
        let spec = spec(name);
        let layers: [fn(&Store, &str) -> Option<Place>; 5] =
            [Store::credential, Store::run_secret, Store::deployed, Store::named_file, Store::variable];
        for layer in layers {
            if let Some(found) = self.of_layer(spec, layer)? {
                return Ok(found);
            }
        }
        match &spec.make {
            Make::Fixed(value) => Ok(Found { secret: Secret::new(value.clone()), place: Place::Default }),
            _ => Err(LookupError::Missing { name: &spec.name, directory: self.deployment.clone() }),
        }
    }

    /// Every spelling in one layer; they must agree.
    fn of_layer(
        &self,
        spec: &'static catalogue::Secret,
        layer: fn(&Store, &str) -> Option<Place>,
    ) -> Result<Option<Found>, LookupError> {
        let mut first: Option<Found> = None;
        for place in spec.spellings().filter_map(|name| layer(self, name)) {
            let Some(text) = self.read(&spec.name, &place)? else { continue };
            if text.trim().is_empty() {
                return Err(LookupError::Empty { name: &spec.name, place });
            }
            let secret = form::plain(spec, &text).map_err(|fault| LookupError::Malformed {
                name: &spec.name,
                place: place.clone(),
                fault,
            })?;
            match &first {
                Some(found) if found.secret != secret => {
                    return Err(LookupError::Differ { name: &spec.name, first: found.place.clone(), second: place });
                }
                Some(_) => {}
                None => first = Some(Found { secret, place }),
            }
        }
        Ok(first)
    }

    /// The value that a rotation has replaced and that a database, say, may still have. `None` without a rotation.
    pub fn previous(&self, name: &str) -> Option<Secret> {
        let spec = spec(name);
        let dir = self.deployment.as_ref()?;
        let read = |name: &str| read_file(&dir.join(files::previous_name(name))).ok();
        let bytes = spec.spellings().find_map(read)?;
        form::plain(spec, std::str::from_utf8(&bytes).ok()?).ok()
    }

    /// Removes the values that rotations have replaced, once every role that uses them has started with the new ones: `started` says
    /// which have. Another role's stay, as it alone may still need them: a key that has sealed its data, say.
    ///
    /// # Errors
    /// When the deployment's directory can't be written.
    pub fn forget_previous(&self, started: impl Fn(&str) -> bool) -> Result<(), FileError> {
        match &self.deployment {
            Some(dir) if dir.is_dir() => Directory::open(dir)?.forget_previous(started),
            _ => Ok(()),
        }
    }

    /// What else lies among the secrets under the name of a variable that is nobody's: an operator's own, for programs that take any. The first
    /// place that has a name counts.
    pub fn variables(&self) -> BTreeMap<String, Secret> {
        let mut found = BTreeMap::new();
        for place in [&self.credentials, &self.run, &self.deployment].into_iter().flatten() {
            for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
                let known = catalogue().secret(&name).is_some() || catalogue().setting(&name).is_some();
                if known || !is_variable(&name) || found.contains_key(&name) {
                    continue;
                }
                let text = read_file(&entry.path()).ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
                found.extend(text.map(|text| (name, Secret::new(text))));
            }
        }
        found
    }

    /// Writes these secrets, wherever they come from, and `more`, as files into a directory of a service's own, and removes what else
    /// is there. With a group, which root gives, the directory stays root's and the group reads it: whose secrets they are
    /// can't change them.
    ///
    /// # Errors
    /// When one of them can't be had, or the directory can't be written.
    pub fn materialise(
        &self,
        names: &[&str],
        more: BTreeMap<String, Secret>,
        into: &Path,
        group: Option<u32>,
    ) -> Result<(), MaterialiseError> {
        let mut secrets = self.require(names)?;
        secrets.extend(more);
        let before = names.iter().filter_map(|name| Some((files::previous_name(name), self.previous(name)?)));
        secrets.extend(before.collect::<Vec<_>>());
        Ok(Directory::open_for(into, group)?.hold(&secrets)?)
    }

    fn credential(&self, name: &str) -> Option<Place> {
        Some(Place::Credential(self.credentials.as_ref()?.join(name)))
    }

    fn run_secret(&self, name: &str) -> Option<Place> {
        Some(Place::RunSecrets(self.run.as_ref()?.join(name)))
    }

    fn deployed(&self, name: &str) -> Option<Place> {
        Some(Place::Deployment(self.deployment.as_ref()?.join(name)))
    }

    fn named_file(&self, name: &str) -> Option<Place> {
        let variable = format!("{name}_FILE");
        let path = (self.environment)(&variable).filter(|path| !path.is_empty())?;
        Some(Place::FileVariable(variable, path.into()))
    }

    fn variable(&self, name: &str) -> Option<Place> {
        (self.environment)(name).map(|_| Place::Variable(name.to_string()))
    }

    /// `None` when there is nothing. A path that the operator named must exist.
    fn read(&self, name: &'static str, place: &Place) -> Result<Option<Zeroizing<String>>, LookupError> {
        let not_text = || LookupError::Malformed { name, place: place.clone(), fault: "not text in UTF-8".into() };
        let (path, must_exist) = match place {
            Place::Credential(path) | Place::RunSecrets(path) | Place::Deployment(path) => (path, false),
            Place::FileVariable(_, path) => (path, true),
            Place::Variable(variable) => {
                let value = (self.environment)(variable).unwrap_or_default();
                return value.into_string().map(|text| Some(Zeroizing::new(text))).map_err(|_| not_text());
            }
            Place::Default => return Ok(None),
        };
        match read_file(path) {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Ok(Some(Zeroizing::new(text.to_string()))),
                Err(_) => Err(not_text()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => Ok(None),
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                Err(LookupError::Directory { name, place: place.clone() })
            }
            Err(source) => Err(LookupError::Unreadable { name, place: place.clone(), source }),
        }
    }
}

/// Whether it could be the name of a variable: in capitals, as people write them.
fn is_variable(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_uppercase() || first == b'_')
        && letters.all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == b'_')
}

/// A regular file's content.
pub(super) fn read_file(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    file::read_anyones(path, LONGEST)
}
