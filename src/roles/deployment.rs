//! A deployment: a set of roles that share a state directory, settings and secrets.

mod handed;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::host::{self, Purpose, Standing};
use super::{HostError, Walls, accounts, takeover, walls};
use crate::roles::Plan;
use flowkit_core::Site;
use flowkit_core::catalogue::{Role, catalogue};
use flowkit_core::config::{Origin, Problem, Problems, Settings, StateDir, bracketed, followed, from_here};
use flowkit_core::secrets::Store;
use supervisor::{Error, Status, User, client};

/// Everything that a role needs to know in order to say what it runs.
pub struct Deployment {
    /// Where it is at home.
    pub site: Site,
    /// This program, for the steps that services run.
    pub program: PathBuf,
    /// The roles that are run together here; others are somewhere else.
    pub roles: Vec<String>,
    /// Of a role whose components may run apart, those that run here; none stands for all.
    pub components: Vec<String>,
    /// Who works here.
    standing: Standing,
    /// How far services are kept from what their work does not need, though their user could reach it.
    pub(super) walls: Walls,
    /// In a role's view: whom its services run as, when that is not whoever works here.
    pub(super) user: Option<User>,
    /// In a role's view: where its secrets are.
    credentials: Option<PathBuf>,
}

impl Deployment {
    /// Opens the deployment in `dir` (the user's usual place if `None`) to look at it or to speak to what runs there. Where
    /// the directory is not root's, root has become its owner for good when this returns.
    ///
    /// # Errors
    /// Root can't work there safely; every setting that is unknown or malformed, in one report.
    pub fn open(dir: Option<&Path>) -> Result<Deployment, Failed> {
        Deployment::enter(dir, Purpose::Look, &[])
    }

    /// Opens the deployment in order to start services there, with the settings of its file, of the environment and of
    /// `overrides` (`NAME=VALUE`, as given with `--set`), the last one winning.
    ///
    /// # Errors
    /// As [`Deployment::open`], and when root is not told to do it `as_owner` of a directory that is somebody else's; the program is the bundle's.
    pub fn start(dir: Option<&Path>, overrides: &[String], as_owner: bool) -> Result<Deployment, Failed> {
        Problems(carried(std::env::current_exe().ok().as_deref()).into_iter().collect()).or(())?;
        Deployment::enter(dir, Purpose::Start { as_owner }, overrides)
    }

    fn enter(dir: Option<&Path>, purpose: Purpose, overrides: &[String]) -> Result<Deployment, Failed> {
        let (state, standing, there) = host::enter(place(dir.map_or_else(StateDir::usual, StateDir::new))?, purpose)?;
        let file = state.settings_file();
        let mut settings = Settings::given(there.then_some(file.as_path()))?;
        let problems: Vec<Problem> = overrides.iter().filter_map(|text| set(&mut settings, text).err()).collect();
        Problems(problems).or(())?;
        Ok(Deployment { standing, ..Deployment::new(state, settings) })
    }

    /// The settings of a deployment, for a command that uses nothing else of it.
    ///
    /// # Errors
    /// Every setting that is unknown or malformed, in one report.
    pub fn settings_only(dir: Option<&Path>, overrides: &[String]) -> Result<Settings, Problems> {
        let state = place(dir.map_or_else(StateDir::usual, StateDir::new))?;
        let mut settings = Settings::given(Some(&state.settings_file()))?;
        let problems: Vec<Problem> = overrides.iter().filter_map(|text| set(&mut settings, text).err()).collect();
        Problems(problems).or(settings)
    }

    /// The same for a step, which whoever started it has given every setting, as its environment.
    ///
    /// # Errors
    /// Every setting that is unknown or malformed, in one report.
    pub fn open_step(dir: &Path, roles: Vec<String>) -> Result<Deployment, Problems> {
        let state = StateDir::new(dir);
        let settings = Settings::load(None, &flowkit_core::config::variables(), None)?;
        Ok(Deployment { roles, ..Deployment::new(state, settings) })
    }

    fn new(state: StateDir, settings: Settings) -> Deployment {
        let store = Store::new(Some(state.secrets()));
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("flowkit"));
        Deployment {
            site: Site { state, settings, store },
            program,
            roles: Vec::new(),
            components: Vec::new(),
            standing: Standing::OneUser,
            walls: Walls::default(),
            user: None,
            credentials: None,
        }
    }

    /// The same with these roles run together: FlowDB leaves to the others the memory that they need, unless the settings
    /// say how much, and they are reached where they listen.
    #[must_use]
    pub fn running(mut self, roles: Vec<String>) -> Deployment {
        const SETTING: &str = "FLOWKIT_FLOWDB_SET_ASIDE";
        let others = roles.iter().filter(|role| *role != "flowdb").filter_map(|role| catalogue().role(role));
        let has = |secret: &str| self.site.store.get(secret).is_ok();
        let bytes: u64 = others.map(|role| role.memory(&self.site.settings, has)).sum();
        if self.site.settings.origin(SETTING) == &Origin::Default && roles.iter().any(|role| role == "flowdb") {
            self.site.settings.set(SETTING, &bytes.to_string(), Origin::Roles).expect("it is a size");
        }
        for (role, host, listen) in [
            ("flowdb", "FLOWDB_HOST", "FLOWKIT_FLOWDB_LISTEN"),
            ("redis", "REDIS_HOST", "FLOWKIT_REDIS_LISTEN"),
            ("flowmachine", "FLOWMACHINE_HOST", "FLOWKIT_FLOWMACHINE_LISTEN"),
        ] {
            let text = |name: &str| self.site.settings.text(name).expect("it has a default");
            let here = roles.iter().any(|name| name == role);
            if let Some(ip) = followed(text(host), text(listen)).filter(|_| here) {
                self.site.settings.set(host, &ip.to_string(), Origin::Roles).expect("it is a host");
            }
        }
        self.introduce(&roles);
        Deployment { roles, ..self }
    }

    /// The same with these components of its role alone, or all of it where none is named.
    ///
    /// # Errors
    /// The role has no such component, or its settings keep them together.
    pub fn with_components(self, components: Vec<String>) -> Result<Deployment, Problems> {
        let Some(role) = self.roles.first().and_then(|name| catalogue().role(name)) else { return Ok(self) };
        let names: Vec<&str> = role.components.iter().map(|component| component.name.as_str()).collect();
        let mut problems = Problems::default();
        for given in components.iter().filter(|given| !names.contains(&given.as_str())) {
            let hint = if names.is_empty() { "leave --component out".to_owned() } else { names.join(", ") };
            problems.0.push(Problem::new(format!("{} has no such component", role.title), hint).value(given));
        }
        if let Some(apart) =
            role.apart.as_ref().filter(|_| !components.is_empty() && !role.is_apart(&self.site.settings))
        {
            let what = format!("components of {} run apart only with {}={}", role.title, apart.setting, apart.value);
            problems.0.push(Problem::new(what, "set that on every machine, or leave --component out"));
        }
        problems.or(Deployment { components, ..self })
    }

    /// Whether a role runs here with all that belongs to it.
    pub fn runs_all_of(&self, role: &str) -> bool {
        self.components.is_empty() && self.roles.iter().any(|here| here == role)
    }

    /// Whether a component runs here.
    pub fn runs(&self, component: &str) -> bool {
        self.components.is_empty() || self.components.iter().any(|here| here == component)
    }

    /// Tells roles where the other is that they talk to by its address, if both run here and speak HTTPS.
    fn introduce(&mut self, roles: &[String]) {
        let here = |name: &str| roles.iter().any(|role| role == name);
        let roles = catalogue().roles().iter().filter(|role| here(&role.name));
        for talk in roles.flat_map(|role| &role.talks_to).filter(|talk| here(&talk.role)) {
            let (Some(setting), Some(form)) = (&talk.setting, &talk.form) else { continue };
            let plain = format!("FLOWKIT_{}_PLAIN_HTTP", talk.role.to_uppercase());
            let plain = catalogue().setting(&plain).is_some_and(|plain| self.site.settings.flag(&plain.name));
            let port = catalogue().role(&talk.role).and_then(|other| other.ports.first());
            let address = port.and_then(|port| self.socket(port.listen.as_ref()?, &port.setting).ok());
            if let Some(address) = address.filter(|_| !plain && self.site.settings.given_text(setting).is_none()) {
                let host = bracketed(&from_here(address.ip()).to_string());
                let value = form.replace("{host}", &host).replace("{port}", &address.port().to_string());
                self.site.settings.set(setting, &value, Origin::Roles).expect("it is an address");
            }
        }
    }

    /// The same, with services that are kept from what their work does not need.
    #[must_use]
    pub fn within(self, walls: Walls) -> Deployment {
        Deployment { walls, ..self }
    }

    /// The same, seen from a second command: what runs there is as it was started, whatever has become of the settings file, and what the running
    /// supervisor was started with stands in for the environment that this command does not have.
    ///
    /// # Errors
    /// As [`Deployment::open`].
    pub fn open_running(dir: Option<&Path>) -> Result<Deployment, Failed> {
        Deployment::open_started(dir, true)
    }

    /// As the next start would have it, where it is given what the one that runs was given, and what the settings file has by now.
    ///
    /// # Errors
    /// As [`Deployment::open`].
    pub fn open_next(dir: Option<&Path>) -> Result<Deployment, Failed> {
        Deployment::open_started(dir, false)
    }

    /// Whether what runs there is `as_it_is`, or what was given since beats what it was started with.
    fn open_started(dir: Option<&Path>, as_it_is: bool) -> Result<Deployment, Failed> {
        let mut deployment = Deployment::open(dir)?;
        let running = match client::status(&deployment.site.state.run()) {
            Err(Error::NotRunning { .. }) => None,
            Err(Error::File { source, .. }) if source.kind() == ErrorKind::PermissionDenied => None,
            // It is as it is, although it can't say so just now.
            other => Some(other?),
        };
        if let Some(Status { facts, .. }) = running {
            let origin = Origin::File(deployment.site.state.run());
            let roles = facts["roles"].as_object().filter(|_| as_it_is).into_iter().flat_map(|roles| roles.keys());
            let roles: Vec<&Role> = roles.filter_map(|name| catalogue().role(name)).collect();
            let taken = deployment.site.settings.take_started(&roles, started(&facts), &origin);
            taken.map_err(|problem| Problems(vec![problem]))?;
        }
        Ok(deployment)
    }

    /// The state directory alone, for who speaks to what runs there and needs no setting; otherwise as [`Deployment::open`].
    ///
    /// # Errors
    /// Root can't work there safely.
    pub fn directory(dir: Option<&Path>) -> Result<StateDir, Failed> {
        Ok(host::enter(place(dir.map_or_else(StateDir::usual, StateDir::new))?, Purpose::Look)?.0)
    }

    /// What the supervisor tells whoever asks for its status, so that scripts need not guess.
    pub fn facts(&self, plan: &Plan) -> serde_json::Value {
        let settings: serde_json::Map<_, _> =
            self.site.settings.explicit().map(|(name, value)| (name.to_string(), json!(value))).collect();
        json!({
            "state": self.site.state.root(),
            "secrets": self.site.state.secrets(),
            "roles": plan.roles,
            "components": self.components,
            "settings": settings,
        })
    }

    /// The address that a service listens on.
    pub(super) fn socket(&self, listen: &str, port: &str) -> Result<SocketAddr, Problem> {
        let text = self.site.settings.text(listen).expect("it has a default");
        let ip: IpAddr = text.parse().map_err(|_| {
            let problem = Problem::new(format!("{listen} is not an IP address"), "give an address of this machine");
            problem.value(text).origin(self.site.settings.origin(listen))
        })?;
        Ok(SocketAddr::new(ip, self.site.settings.port(port)))
    }

    /// Makes the state directory and what is in it, and for root each role's user and its directory.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn settle(&self) -> Result<(), HostError> {
        host::make(&self.site.state, self.standing)?;
        if self.standing == Standing::OneUser {
            self.roles.iter().try_for_each(|role| host::make_directory(&self.site.state.role(role), 0o700))?;
            self.settle_confined()?;
            return host::reachable(self.site.state.root(), &self.program, None);
        }
        for role in self.roles.iter().filter_map(|name| catalogue().role(name)) {
            let user = accounts::ensure(&role.name)?;
            let name = accounts::name(&role.name);
            host::reachable(self.site.state.root(), &self.program, Some(&user))?;
            takeover::directory(&self.site.state.role(&role.name), &user, &name, true)?;
            if self.walls == Walls::All && walls::is_confined(role, true) {
                for place in walls::own_places(self, role) {
                    takeover::make_way(&place)?;
                    takeover::directory(&place, &user, &name, true)?;
                }
            }
            // Data elsewhere on the host may have been the former user's too.
            let places = role.volumes.iter().filter(|volume| !volume.read_only);
            for place in places.filter_map(|volume| self.site.settings.text(volume.place.as_ref()?)) {
                takeover::directory(Path::new(place), &user, &name, false)?;
            }
        }
        Ok(())
    }

    /// Makes what confined services of our own user could not make.
    fn settle_confined(&self) -> Result<(), HostError> {
        for role in self.roles.iter().filter_map(|name| catalogue().role(name)).filter(|_| self.walls == Walls::All) {
            for place in walls::own_places(self, role) {
                takeover::make_way(&place)?;
                host::make_directory(&place, 0o700)?;
            }
            let written = role.volumes.iter().filter(|volume| !volume.read_only);
            let mut places = written.filter_map(|volume| self.site.settings.text(volume.place.as_ref()?));
            places.try_for_each(|place| host::make_directory(Path::new(place), 0o700))?;
        }
        Ok(())
    }

    /// The deployment as one of its roles sees it: with its own settings and secrets, and run as its user.
    pub(super) fn view_of(&self, role: &str) -> Result<Deployment, Problem> {
        let described = catalogue().role(role).expect("a role of the catalogue");
        let credentials = self.credentials_of(role);
        Ok(Deployment {
            site: Site {
                state: self.site.state.clone(),
                settings: self.site.settings.of_role(described),
                store: Store::only(&credentials),
            },
            credentials: Some(credentials),
            program: self.program.clone(),
            roles: self.roles.clone(),
            components: self.components.clone(),
            standing: self.standing,
            walls: self.walls,
            user: self.user_of(role)?,
        })
    }

    /// Whom a role's services run as, when that is somebody else than who works here.
    ///
    /// # Errors
    /// Root works here, and the role's user is not there.
    pub fn user_of(&self, role: &str) -> Result<Option<User>, Problem> {
        if self.standing == Standing::OneUser {
            return Ok(None);
        }
        let missing = || {
            let what = format!("there is no user {} for the role {role}", accounts::name(role));
            Problem::new(what, "`flowkit up` as root makes it")
        };
        accounts::find(role).map(Some).ok_or_else(missing)
    }

    /// For root: becomes the role's user, for good, before looking at its files.
    ///
    /// # Errors
    /// The role is not on this host: what root made there would be root's, and no start of the role would take it. The user can't be had.
    pub fn become_role(&self, role: &str) -> Result<(), HostError> {
        if self.standing == Standing::OneUser {
            return Ok(());
        }
        match accounts::find(role) {
            Some(user) if self.site.state.role(role).exists() => accounts::become_user(user.uid, user.gid),
            _ => Err(HostError::NoRole { dir: self.site.state.root().to_owned(), role: role.to_owned() }),
        }
    }
}

/// What is wrong with starting services by the bundle's `flowkit`: the kernel takes the loader beside it (images/default.nix) for the program, so it
/// can't start itself for any part of them.
fn carried(program: Option<&Path>) -> Option<Problem> {
    let is_loader = program.and_then(Path::file_name).is_some_and(|name| name == "loader");
    let hint = "deploy the images with `flowkit quickstart`, or install FlowKit on this machine with `make install`";
    is_loader.then(|| Problem::new("this flowkit is the bundle's: it deploys images, and starts nothing itself", hint))
}

#[cfg(test)]
impl Deployment {
    /// One that has nothing but these.
    pub(super) fn of_test(settings: Settings, store: Store) -> Deployment {
        let nowhere = Deployment::new(StateDir::new("/nowhere"), settings);
        Deployment { site: Site { store, ..nowhere.site.clone() }, ..nowhere }
    }
}

/// Names and values of the settings that a deployment was started with, out of what its supervisor [tells](Deployment::facts).
pub fn started(facts: &serde_json::Value) -> impl Iterator<Item = (&str, &str)> {
    let settings = facts["settings"].as_object().into_iter().flatten();
    settings.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

/// Why a deployment could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// What runs there does not answer.
    #[error(transparent)]
    Running(#[from] Error),
}

/// The same directory, whatever the working directory is by then: services and steps are started elsewhere. Its path goes
/// into configuration files, addresses and JSON, so it is text, and one that can be shown.
fn place(state: StateDir) -> Result<StateDir, Problems> {
    let problem = |what: &str| {
        let shown = state.root().display().to_string();
        let what = format!("the state directory's path {what}");
        Problems(vec![Problem::new(what, "give another with --dir").value(shown)])
    };
    let root =
        std::path::absolute(state.root()).map_err(|error| problem(&format!("can't be made absolute: {error}")))?;
    match root.to_str() {
        None => Err(problem("is not UTF-8")),
        Some(text) if text.chars().any(say::is_unseen) => {
            Err(problem("holds a control character, or one that is not seen"))
        }
        // Finding no file by it, redis would start without one and let everybody in.
        Some(text) if text.contains(['*', '?', '[']) => {
            Err(problem("holds *, ? or [, which redis takes for a pattern"))
        }
        Some(_) => Ok(StateDir::new(root)),
    }
}

fn set(settings: &mut Settings, text: &str) -> Result<(), Problem> {
    match text.split_once('=') {
        Some((name, value)) => settings.set(name, value, Origin::Flag),
        None => Err(Problem::new("--set is not understood", "write it as NAME=VALUE").value(text)),
    }
}

#[cfg(test)]
mod tests;
