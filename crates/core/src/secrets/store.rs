//! Where a secret is looked for, and in what order.

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

    /// Removes the values that rotations have replaced: everything has started with the new ones.
    ///
    /// # Errors
    /// When the deployment's directory can't be written.
    pub fn forget_previous(&self) -> Result<(), FileError> {
        match &self.deployment {
            Some(dir) if dir.is_dir() => Directory::open(dir)?.forget_previous(),
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Surroundings {
        dir: tempfile::TempDir,
    }

    impl Surroundings {
        fn new() -> Surroundings {
            let dir = tempfile::tempdir().unwrap();
            for sub in ["credentials", "run", "deployment"] {
                std::fs::create_dir(dir.path().join(sub)).unwrap();
            }
            Surroundings { dir }
        }

        fn write(&self, path: &str, text: &str) -> &Surroundings {
            std::fs::write(self.dir.path().join(path), text).unwrap();
            self
        }

        fn store(&self, environment: &[(&str, &str)]) -> Store {
            let mut values: BTreeMap<String, OsString> =
                environment.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
            values.insert("CREDENTIALS_DIRECTORY".into(), self.dir.path().join("credentials").into());
            let environment = Arc::new(move |name: &str| values.get(name).cloned());
            Store::with(Some(self.dir.path().join("deployment")), self.dir.path().join("run"), environment)
        }

        fn get(&self, environment: &[(&str, &str)]) -> Result<String, String> {
            let found = self.store(environment).get("FLOWDB_POSTGRES_PASSWORD");
            let root = format!("{}/", self.dir.path().display());
            found
                .map(|secret| secret.expose().to_string())
                .map_err(|error| error.problem().to_string().replace(&root, ""))
        }
    }

    #[test]
    fn the_order_is_credential_run_secrets_deployment_file_variable_variable() {
        let place = Surroundings::new();
        let file = place.dir.path().join("elsewhere");
        std::fs::write(&file, "file").unwrap();
        let variable = [("FLOWDB_POSTGRES_PASSWORD", "variable")];
        let both = [variable[0], ("FLOWDB_POSTGRES_PASSWORD_FILE", file.to_str().unwrap())];
        assert_eq!(place.get(&variable).unwrap(), "variable");
        assert_eq!(place.get(&both).unwrap(), "file");
        for layer in ["deployment", "run", "credentials"] {
            place.write(&format!("{layer}/FLOWDB_POSTGRES_PASSWORD"), &format!(" {layer}\n"));
            assert_eq!(place.get(&both).unwrap(), layer);
        }
    }

    #[test]
    fn another_spelling_is_as_good_and_must_agree() {
        let place = Surroundings::new();
        place.write("run/POSTGRES_PASSWORD", "one\n");
        assert_eq!(place.get(&[]).unwrap(), "one");
        assert_eq!(place.write("run/FLOWDB_POSTGRES_PASSWORD", "one").get(&[]).unwrap(), "one");
        assert_eq!(
            place.write("run/FLOWDB_POSTGRES_PASSWORD", "two").get(&[]).unwrap_err(),
            "FLOWDB_POSTGRES_PASSWORD is given twice with different values: run/FLOWDB_POSTGRES_PASSWORD and \
             run/POSTGRES_PASSWORD (password of the database superuser `flowdb`); keep the one that is right, under the \
             name FLOWDB_POSTGRES_PASSWORD"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        let purpose = "(password of the database superuser `flowdb`)";
        let place = Surroundings::new();
        assert_eq!(
            place.get(&[]).unwrap_err(),
            format!("FLOWDB_POSTGRES_PASSWORD is missing {purpose}; make it: flowkit secrets init --dir deployment")
        );
        place.write("deployment/FLOWDB_POSTGRES_PASSWORD", "hunter2\nmore");
        assert_eq!(
            place.get(&[]).unwrap_err(),
            format!(
                "FLOWDB_POSTGRES_PASSWORD is of more than one line, or holding control characters: \
                 deployment/FLOWDB_POSTGRES_PASSWORD {purpose}; put the right value there, or: flowkit secrets rotate \
                 FLOWDB_POSTGRES_PASSWORD --dir deployment"
            )
        );
        place.write("deployment/FLOWDB_POSTGRES_PASSWORD", " \n");
        assert_eq!(
            place.get(&[]).unwrap_err(),
            format!(
                "FLOWDB_POSTGRES_PASSWORD is empty: deployment/FLOWDB_POSTGRES_PASSWORD {purpose}; put the right value \
                 there, or: flowkit secrets rotate FLOWDB_POSTGRES_PASSWORD --dir deployment"
            )
        );
        assert!(place.get(&[("FLOWDB_POSTGRES_PASSWORD", "")]).unwrap_err().contains("is empty"));
        std::fs::create_dir(place.dir.path().join("run/FLOWDB_POSTGRES_PASSWORD")).unwrap();
        assert_eq!(
            place.get(&[]).unwrap_err(),
            format!(
                "FLOWDB_POSTGRES_PASSWORD is a directory, not a file: run/FLOWDB_POSTGRES_PASSWORD {purpose}; remove it \
                 and put a file named FLOWDB_POSTGRES_PASSWORD there"
            )
        );
        let unit = Surroundings::new();
        assert_eq!(
            unit.write("credentials/FLOWDB_POSTGRES_PASSWORD", "\n").get(&[]).unwrap_err(),
            format!(
                "FLOWDB_POSTGRES_PASSWORD is empty: credentials/FLOWDB_POSTGRES_PASSWORD {purpose}; put the right value \
                 into the file that its LoadCredential names: systemctl cat credentials"
            )
        );
        let nowhere = Surroundings::new();
        assert_eq!(
            nowhere.get(&[("FLOWDB_POSTGRES_PASSWORD_FILE", "/nowhere")]).unwrap_err(),
            format!(
                "FLOWDB_POSTGRES_PASSWORD can't be read: /nowhere (named by FLOWDB_POSTGRES_PASSWORD_FILE): No such file or \
                 directory (os error 2) {purpose}; make it readable for the user that runs this"
            )
        );
    }

    #[test]
    fn require_reports_all_and_fixed_values_need_no_file() {
        let place = Surroundings::new();
        let problems = place.store(&[]).require(&["FLOWAPI_FLOWDB_USER", "REDIS_PASSWORD", "FLOWDB_POSTGRES_PASSWORD"]);
        let names = problems.unwrap_err().0.iter().map(|p| p.what[..8].to_string()).collect::<Vec<_>>();
        assert_eq!(names, ["REDIS_PA", "FLOWDB_P"]);
        let secrets =
            place.write("run/REDIS_PASSWORD", "x").store(&[]).require(&["FLOWAPI_FLOWDB_USER", "REDIS_PASSWORD"]);
        assert_eq!(secrets.unwrap()["FLOWAPI_FLOWDB_USER"].expose(), "flowapi");
    }

    #[test]
    fn an_empty_credential_is_none_where_units_load_it_untold() {
        let place = Surroundings::new();
        let untold = ["FLOWAPI_TOKEN", "FLOWKIT_AUTOFLOW_FLOWAUTH_KEY"];
        let told = ["DB_URI", "AUTOFLOW_DB_URI", "FLOWKIT_FLOWAUTH_OIDC_CLIENT_SECRET", "FLOWDB_POSTGRES_PASSWORD"];
        for name in untold.into_iter().chain(told) {
            place.write(&format!("credentials/{name}"), "\n");
        }
        let is_absent = |name: &str| place.store(&[]).optional(name).is_ok_and(|found| found.is_none());
        assert!(untold.into_iter().all(is_absent));
        assert!(is_absent("REDIS_PASSWORD"), "it is not there at all");
        // A unit has these where somebody named a file for them.
        assert!(!told.into_iter().any(is_absent));
        // One that somebody has put there has a mistake in it.
        let own = Surroundings::new();
        let found = own.write("deployment/FLOWAPI_TOKEN", "\n").store(&[]).optional("FLOWAPI_TOKEN");
        assert!(found.unwrap_err().what.contains("is empty"));
    }

    #[test]
    fn a_pipe_in_place_of_a_file_does_not_hang() {
        let place = Surroundings::new();
        let path = place.dir.path().join("run/FLOWDB_POSTGRES_PASSWORD");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(place.get(&[]).unwrap_err().contains("not a regular file"));
    }
}
