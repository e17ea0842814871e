//! Settings: given as text, checked once, typed after that.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::catalogue::{self, Fault, Setting, Type, catalogue, one_line};

use super::{Problem, Problems, file};

/// A variable of the environment. What is not UTF-8 is refused where the value is checked, and not taken for missing.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The environment, by name.
pub type Variables = BTreeMap<String, String>;

/// All of this process's environment, as [`variable`] has it.
pub fn variables() -> Variables {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// Where Docker and Podman put what a container is given as a secret, which may be a setting.
pub const RUN_SECRETS: &str = "/run/secrets";

/// No value is longer, in bytes; a file that is was not meant to be one.
const LONGEST: u64 = 64 << 10;

/// No settings file is longer, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In a file: one of settings, or one of a secret's kind that holds a single value.
    File(PathBuf),
    /// Worked out from the roles that are started together.
    Roles,
    /// Nowhere: the catalogue's own.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Environment => f.write_str("environment"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Roles => f.write_str("the roles started together"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Every setting of the deployment, checked. Asking for a name that the catalogue lacks is a bug and panics.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Own name to plain text, for what was given.
    given: BTreeMap<&'static str, (String, Origin)>,
    /// What a role's program knows and the catalogue does not: handed on as it is.
    passed: BTreeMap<String, (String, Origin)>,
    warnings: Vec<String>,
}

impl Settings {
    /// What this process was given: the settings file, if there is one, then its environment, then files in
    /// [`RUN_SECRETS`], each beating the one before.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn given(file: Option<&Path>) -> Result<Settings, Problems> {
        Settings::load(file, &variables(), Some(Path::new(RUN_SECRETS)))
    }

    /// Reads the settings file, the environment, and the files of a directory, if there are any; the later beats the
    /// earlier. The settings file is TOML with the names of the settings as keys. In the directory each setting is a file
    /// of its own, as upstream's programs accept it: there, too, the file beats the variable.
    ///
    /// # Errors
    /// All that is unknown or malformed, at once.
    pub fn load(file: Option<&Path>, env: &Variables, files: Option<&Path>) -> Result<Settings, Problems> {
        let mut settings = Settings::default();
        let mut problems = Problems::default();
        if let Some(path) = file {
            settings.load_file(path, &mut problems);
        }
        settings.load_environment(env, &mut problems);
        if let Some(dir) = files {
            settings.load_files(dir, &mut problems);
        }
        problems.or(settings)
    }

    fn load_file(&mut self, path: &Path, problems: &mut Problems) {
        let text = match file::read(path, LONGEST_FILE).map(|bytes| String::from_utf8(bytes.to_vec())) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                let problem = Problem::new("the settings file is not text", "write NAME = \"value\"");
                return problems.0.push(problem.origin(path.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let what = format!("the settings file can't be read: {error}");
                return problems.0.push(Problem::new(what, "make it readable, or remove it").origin(path.display()));
            }
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                let error: toml::de::Error = error;
                let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                let what = format!("the settings file is not TOML: line {line}: {}", error.message());
                return problems.0.push(Problem::new(what, "write NAME = \"value\"").origin(path.display()));
            }
        };
        let values = table.into_iter().filter_map(|(name, value)| match value {
            toml::Value::String(text) => Some((name, text)),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                Some((name, value.to_string()))
            }
            _ => {
                let what = format!("{name} is not a setting: settings are single values");
                problems.0.push(Problem::new(what, "write NAME = \"value\" at the top level").origin(path.display()));
                None
            }
        });
        let values = values.collect::<Vec<_>>();
        self.take(&values, &Origin::File(path.to_path_buf()), problems);
    }

    fn load_environment(&mut self, env: &Variables, problems: &mut Problems) {
        // Everything else in an environment is somebody else's; so is what a secret's name stands for.
        let ours = |name: &str| catalogue().setting(name).is_some() || is_passed(name);
        let values = env.iter().filter(|(name, _)| ours(name)).map(|(name, value)| (name.clone(), value.clone()));
        let values = values.collect::<Vec<_>>();
        self.take(&values, &Origin::Environment, problems);
    }

    fn load_files(&mut self, dir: &Path, problems: &mut Problems) {
        for setting in catalogue().settings() {
            for name in setting.spellings() {
                let path = dir.join(name);
                // What is no file of ours to look at is somebody else's business.
                if !std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= LONGEST) {
                    continue;
                }
                match std::fs::read_to_string(&path) {
                    Ok(text) => self.take(&[(name.to_string(), text)], &Origin::File(path), problems),
                    Err(error) => {
                        let what = format!("{name} can't be read: {error}");
                        problems
                            .0
                            .push(Problem::new(what, "make the file readable, or remove it").origin(path.display()));
                    }
                }
            }
        }
    }

    /// Takes all values of one origin: two spellings of one setting must agree there. What is wrong joins `problems`.
    pub fn take(&mut self, values: &[(String, String)], origin: &Origin, problems: &mut Problems) {
        let mut taken: BTreeMap<&'static str, (&str, String)> = BTreeMap::new();
        for (name, value) in values {
            if origin == &Origin::Environment && is_link(name, value) {
                self.warnings.push(format!(
                    "{name} is {value}, which Kubernetes and Docker's links set for a service of that name: it is ignored \
                     (`enableServiceLinks: false` keeps it out; the port can be set in flowkit.toml)"
                ));
                continue;
            }
            if is_passed(name) {
                if let Err(problem) = self.pass(name, value, origin) {
                    problems.0.push(problem);
                }
                continue;
            }
            let (setting, plain) = match checked(name, value, origin) {
                Ok((setting, Some(plain))) => (setting, plain),
                Ok((_, None)) => continue,
                Err(problem) => {
                    problems.0.push(problem);
                    continue;
                }
            };
            match taken.get(setting.name.as_str()) {
                Some((other, value)) if *value != plain => {
                    let what = format!("{other} and {name} are two spellings of one setting, and their values differ");
                    problems.0.push(Problem::new(what, format!("give only {}", setting.name)).origin(origin));
                }
                _ => {
                    taken.insert(&setting.name, (name, plain.clone()));
                    self.put(setting, plain, origin.clone());
                }
            }
        }
    }

    /// Sets one value, as a flag does; it beats whatever was there.
    ///
    /// # Errors
    /// A name or a value that is none.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), Problem> {
        if is_passed(name) {
            return self.pass(name, value, &origin);
        }
        match checked(name, value, &origin)? {
            (setting, Some(plain)) => self.put(setting, plain, origin),
            (setting, None) => {
                self.given.remove(setting.name.as_str());
            }
        }
        Ok(())
    }

    /// Takes what only the role's program can check, as long as it is one line.
    fn pass(&mut self, name: &str, value: &str, origin: &Origin) -> Result<(), Problem> {
        let wrong = |Fault(wanted)| Problem::new(format!("{name} is wrong"), format!("give {wanted}"));
        one_line(value).map_err(|fault| wrong(fault).value(value).origin(origin))?;
        self.passed.insert(name.to_owned(), (value.to_owned(), origin.clone()));
        Ok(())
    }

    fn put(&mut self, setting: &'static Setting, plain: String, origin: Origin) {
        if let Some(reason) = &setting.ignored {
            self.warnings.push(format!("{} ({origin}) has no effect: {reason}", setting.name));
        }
        self.given.insert(&setting.name, (plain, origin));
    }

    /// Values that were given and have no effect, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The value as text: what was given, else the default; `None` when the default is worked out elsewhere.
    /// Sizes are in bytes, flags `true` or `false`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.found(name).map(|(text, _)| text)
    }

    /// The value of an `integer`, `seconds`, `bytes` or `port` setting.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.text(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a whole number")))
    }

    /// The value of a `number` setting.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.text(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
    }

    /// The value of a `port` setting; every one of them has a default.
    pub fn port(&self, name: &str) -> u16 {
        self.text(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{name} is not a port with a default"))
    }

    /// The value of a `flag` setting; without a default it is false.
    pub fn flag(&self, name: &str) -> bool {
        assert_eq!(setting(name).r#type, Type::Flag, "{name} is not a flag");
        self.text(name) == Some("true")
    }

    /// Where the value comes from.
    pub fn origin(&self, name: &str) -> &Origin {
        self.found(name).map_or(&Origin::Default, |(_, origin)| origin)
    }

    /// The value as text and its origin, when it was given: a default of the catalogue is nobody's wish.
    pub fn given_text(&self, name: &str) -> Option<(&str, &Origin)> {
        self.given.get(setting(name).name.as_str()).map(|(text, origin)| (text.as_str(), origin))
    }

    /// What was given, by its own name: what a child's environment must hold.
    pub fn explicit(&self) -> impl Iterator<Item = (&str, &str)> {
        let given = self.given.iter().map(|(name, (text, _))| (*name, text.as_str()));
        given.chain(self.passed.iter().map(|(name, (text, _))| (name.as_str(), text.as_str())))
    }

    /// What `role` reads of these settings: nothing of another role's is its business.
    #[must_use]
    pub fn of_role(&self, role: &catalogue::Role) -> Settings {
        let read: Vec<&str> = catalogue()
            .settings_of(role)
            .flat_map(|setting| [Some(setting.name.as_str()), setting.default_from.as_deref()])
            .flatten()
            .collect();
        let given = self.given.iter().filter(|(name, _)| read.contains(name));
        let passed = self.passed.iter().filter(|(name, _)| role.passes(name));
        Settings {
            given: given.map(|(name, value)| (*name, value.clone())).collect(),
            passed: passed.map(|(name, value)| (name.clone(), value.clone())).collect(),
            warnings: Vec::new(),
        }
    }

    /// Takes what a deployment was started with. What `roles` read, which run there, is as it was then, even if the default; what
    /// nobody there reads is as given now, if it was.
    ///
    /// # Errors
    /// A name or a value that is none.
    pub fn take_started<'a>(
        &mut self,
        roles: &[&catalogue::Role],
        started: impl Iterator<Item = (&'a str, &'a str)>,
        origin: &Origin,
    ) -> Result<(), Problem> {
        let read = |name: &str| {
            let setting = catalogue().setting(name).map_or(name, |setting| &setting.name);
            roles.iter().any(|role| {
                let mut own = catalogue().settings_of(role);
                own.any(|own| own.name == setting || own.default_from.as_deref() == Some(setting)) || role.passes(name)
            })
        };
        self.given.retain(|name, _| !read(name));
        self.passed.retain(|name, _| !read(name));
        for (name, value) in started {
            let given = || self.passed.contains_key(name) || self.given.keys().any(|given| *given == name);
            if read(name) || !given() {
                self.set(name, value, origin.clone())?;
            }
        }
        Ok(())
    }

    fn found(&self, name: &str) -> Option<(&str, &Origin)> {
        let setting = setting(name);
        let given = |name: &str| self.given.get(name).map(|(text, origin)| (text.as_str(), origin));
        let default = || setting.default.as_deref().map(|text| (text, &Origin::Default));
        given(&setting.name).or_else(|| given(setting.default_from.as_deref()?)).or_else(default)
    }
}

fn setting(name: &str) -> &'static Setting {
    catalogue().setting(name).unwrap_or_else(|| panic!("the catalogue has no setting {name}"))
}

/// Whether a role's program knows the name, and the catalogue does not: neither as a setting nor as a secret.
fn is_passed(name: &str) -> bool {
    let known = catalogue().setting(name).is_some() || catalogue().secret(name).is_some();
    !known && catalogue().roles().iter().any(|role| role.passes(name))
}

/// Whether a variable is what Kubernetes and Docker's links set for a service called `redis`: `REDIS_PORT=tcp://10.0.0.1:6379`.
fn is_link(name: &str, value: &str) -> bool {
    let of_link = |value: &str| ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.trim().starts_with(scheme));
    of_link(value) && catalogue().setting(name).is_some_and(|setting| setting.r#type == Type::Port)
}

fn checked(name: &str, value: &str, origin: &Origin) -> Result<(&'static Setting, Option<String>), Problem> {
    let Some(setting) = catalogue().setting(name) else { return Err(unknown(name).origin(origin)) };
    match setting.check(value) {
        Ok(plain) => Ok((setting, plain)),
        Err(Fault(accepted)) => {
            let shown = if setting.r#type == Type::Url { "(not shown)" } else { value };
            Err(Problem::new(format!("{name} is wrong"), format!("give {accepted}")).value(shown).origin(origin))
        }
    }
}

fn unknown(name: &str) -> Problem {
    if let Some(secret) = catalogue().secret(name) {
        let hint = format!("put it into a file named {} in the secrets directory", secret.name);
        return Problem::new(format!("{name} is a secret, not a setting"), hint);
    }
    // Letters to insert, remove or change, in any case.
    let distance = |known: &&str| strsim::levenshtein(&known.to_ascii_lowercase(), &name.to_ascii_lowercase());
    let near = catalogue().settings().flat_map(Setting::spellings).min_by_key(distance);
    let hint = match near.filter(|known| distance(known) <= 3) {
        Some(near) => format!("did you mean {near}?"),
        None => "docs/reference/settings.md lists all settings".to_string(),
    };
    Problem::new(format!("{name} is not a setting"), hint)
}

#[cfg(test)]
mod tests;
