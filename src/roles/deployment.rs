//! A deployment: a set of roles that share a state directory, settings and secrets.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::catalogue::catalogue;
use crate::config::{Origin, Problem, Problems, Settings, StateDir};
use crate::roles::Plan;
use crate::secrets::{Place, Store};
use crate::supervisor::client;

/// Everything that a role needs to know in order to say what it runs.
pub struct Deployment {
    /// Where it lives.
    pub state: StateDir,
    /// How it is set up.
    pub settings: Settings,
    /// Where its secrets are found.
    pub store: Store,
    /// This program, for the steps that services run.
    pub program: PathBuf,
    /// The roles that are run together here; others are somewhere else.
    pub roles: Vec<String>,
}

impl Deployment {
    /// Opens the deployment in `dir` (the user's usual place if `None`) with the settings of its file, of the
    /// environment and of `overrides` (`NAME=VALUE`, as given with `--set`), the last one winning.
    ///
    /// # Errors
    /// Every setting that is unknown or malformed, in one report.
    pub fn open(dir: Option<&Path>, overrides: &[String]) -> Result<Deployment, Problems> {
        let state = dir.map_or_else(StateDir::usual, StateDir::new);
        let mut settings = Settings::given(Some(&state.settings_file()))?;
        let problems: Vec<Problem> = overrides.iter().filter_map(|text| set(&mut settings, text).err()).collect();
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Deployment::new(state, settings))
    }

    /// The same for a step, which whoever started it has given every setting, as its environment.
    ///
    /// # Errors
    /// As [`Deployment::open`].
    pub fn open_step(dir: &Path, roles: Vec<String>) -> Result<Deployment, Problems> {
        let state = StateDir::new(dir);
        let settings = Settings::load(Some(&state.settings_file()), &|name| std::env::var(name).ok(), None)?;
        Ok(Deployment { roles, ..Deployment::new(state, settings) })
    }

    fn new(state: StateDir, settings: Settings) -> Deployment {
        let store = Store::new(Some(state.secrets()));
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("flowkit"));
        Deployment { state, settings, store, program, roles: Vec::new() }
    }

    /// The same with these roles run together: FlowDB leaves to the others the memory that they need, unless the settings
    /// say how much.
    #[must_use]
    pub fn running(mut self, roles: Vec<String>) -> Deployment {
        const SETTING: &str = "FLOWKIT_FLOWDB_SET_ASIDE";
        let others = roles.iter().filter(|role| *role != "flowdb").filter_map(|role| catalogue().role(role));
        let bytes: u64 = others.map(|role| u64::from(role.needs.memory_mib) << 20).sum();
        if self.settings.origin(SETTING) == &Origin::Default && roles.iter().any(|role| role == "flowdb") {
            self.settings.set(SETTING, &bytes.to_string(), Origin::Roles).expect("it is a size");
        }
        Deployment { roles, ..self }
    }

    /// The same, seen from a second command: what the running supervisor was started with stands in for the
    /// environment that this command does not have.
    ///
    /// # Errors
    /// As [`Deployment::open`].
    pub fn open_running(dir: Option<&Path>) -> Result<Deployment, Problems> {
        let mut deployment = Deployment::open(dir, &[])?;
        let running = client::status(&deployment.state.run()).ok();
        let facts = running.as_ref().and_then(|status| status.facts["settings"].as_object());
        for (name, value) in facts.into_iter().flatten() {
            if let Some(value) = value.as_str() {
                let origin = Origin::File(deployment.state.run());
                deployment.settings.set(name, value, origin).map_err(|problem| Problems(vec![problem]))?;
            }
        }
        Ok(deployment)
    }

    /// What the supervisor tells whoever asks for its status, so that scripts need not guess.
    pub fn facts(&self, plan: &Plan) -> serde_json::Value {
        let settings: serde_json::Map<_, _> =
            self.settings.explicit().map(|(name, value)| (name.to_string(), json!(value))).collect();
        json!({
            "state": self.state.root(),
            "secrets": self.state.secrets(),
            "roles": plan.roles,
            "settings": settings,
        })
    }

    /// The address that a service listens on.
    pub(super) fn socket(&self, listen: &str, port: &str) -> Result<SocketAddr, Problem> {
        let text = self.settings.text(listen).expect("it has a default");
        let ip: IpAddr = text.parse().map_err(|_| {
            let problem = Problem::new(format!("{listen} is not an IP address"), "give an address of this machine");
            problem.value(text).origin(self.settings.origin(listen))
        })?;
        Ok(SocketAddr::new(ip, self.settings.port(port)))
    }

    /// Makes the directories of the state directory; to be called as its owner.
    ///
    /// # Errors
    /// The directory that could not be made.
    pub fn make_directories(&self) -> Result<(), Problem> {
        let state = &self.state;
        for dir in [state.log(), state.run(), state.redis(), state.flowmachine(), state.secrets()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|error| {
                Problem::new(format!("cannot make the directory {}: {error}", dir.display()), "mend its permissions")
            })?;
        }
        Ok(())
    }

    /// Whether every secret that `role` uses can be had.
    ///
    /// # Errors
    /// All that are missing or malformed, in one report.
    pub(super) fn require_secrets(&self, role: &str) -> Result<Vec<&'static str>, Problems> {
        let catalogue = catalogue();
        let role = catalogue.role(role).expect("a role of the catalogue");
        let names: Vec<&str> = catalogue.secrets_of(role).map(|secret| secret.name.as_str()).collect();
        self.store.require(&names)?;
        Ok(names)
    }

    /// A directory with the secrets that `role` uses as files, for a program that reads nothing else: the one where they
    /// all are (systemd's credentials, say), else a private copy of what was found here and there.
    pub(super) fn secrets_for(&self, role: &str) -> Result<PathBuf, Problems> {
        let names = self.require_secrets(role)?;
        if let Some(dir) = self.one_directory(&names) {
            return Ok(dir);
        }
        let private = self.state.run().join("secrets").join(role);
        self.store.materialise(&names, &private).map_err(|error| {
            Problem::new(format!("cannot give {role} its secrets: {error}"), "mend the directory's permissions")
        })?;
        Ok(private)
    }

    /// The directory in which all of these are files of their own names. A fixed value needs none: it is the program's own
    /// default as well.
    fn one_directory(&self, names: &[&str]) -> Option<PathBuf> {
        let mut one = None;
        for name in names {
            let file = match self.store.find(name).ok()?.place {
                Place::Default => continue,
                Place::Credential(file) | Place::RunSecrets(file) | Place::Deployment(file) => file,
                Place::FileVariable(..) | Place::Variable(_) => return None,
            };
            let dir = file.parent().filter(|_| file.ends_with(name))?.to_owned();
            if one.get_or_insert_with(|| dir.clone()) != &dir {
                return None;
            }
        }
        Some(one.unwrap_or_else(|| self.state.secrets()))
    }

    /// The variables by which a child finds secrets that are not in the deployment's own directory. They hold paths,
    /// except for a secret that the administrator chose to give as a variable.
    pub(super) fn secret_sources(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let names = catalogue().secrets().flat_map(|secret| secret.spellings());
        let names = names.flat_map(|name| [name.to_string(), format!("{name}_FILE")]);
        names
            .chain(["CREDENTIALS_DIRECTORY".to_string()])
            .filter_map(|name| Some((OsString::from(&name), std::env::var_os(&name)?)))
    }
}

fn set(settings: &mut Settings, text: &str) -> Result<(), Problem> {
    match text.split_once('=') {
        Some((name, value)) => settings.set(name, value, Origin::Flag),
        None => Err(Problem::new("--set is not understood", "write it as NAME=VALUE").value(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn secrets_are_copied_only_when_they_are_not_in_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let credentials = dir.path().join("credentials");
        for place in [&credentials, &state.secrets(), &state.run()] {
            fs::create_dir(place).unwrap();
        }
        let environment = {
            let credentials = credentials.clone();
            Arc::new(move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone().into_os_string()))
        };
        let deployment = Deployment {
            store: Store::with(Some(state.secrets()), dir.path().join("run-secrets"), environment),
            state,
            settings: Settings::default(),
            program: PathBuf::new(),
            roles: Vec::new(),
        };
        let put = |place: &Path, name: &str| fs::write(place.join(name), "value").unwrap();
        put(&credentials, "FLOWMACHINE_FLOWDB_PASSWORD");
        put(&credentials, "REDIS_PASSWORD");
        assert_eq!(deployment.secrets_for("flowmachine").unwrap(), credentials);

        fs::remove_file(credentials.join("REDIS_PASSWORD")).unwrap();
        put(&deployment.state.secrets(), "REDIS_PASSWORD");
        let copy = deployment.secrets_for("flowmachine").unwrap();
        assert_eq!(copy, deployment.state.run().join("secrets/flowmachine"));
        assert_eq!(fs::read_to_string(copy.join("REDIS_PASSWORD")).unwrap(), "value");
    }
}
