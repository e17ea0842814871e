//! A role of the catalogue as a service of a stack.
//!
//! Why some things are as they are:
//!
//! - `endpoint_mode: dnsrr` and ports in mode `host`: Swarm's virtual addresses forget a connection that was silent for 15
//!   minutes, and a query of FlowMachine may run for hours without a word. A name that leads to the container itself, and a
//!   port of the node that it runs on, have no such limit.
//! - `order: stop-first`: two servers on one data directory, one port or one set of query states is what must not be.
//! - `internal` networks have no way out of the swarm. A role that publishes a port, or that talks to something outside of
//!   the stack, is in a network of its own beside them.

mod environment;

use std::collections::BTreeMap;

use super::compose::{
    self, Amount, Deploy, External, File, HealthCheck, Member, Mount, Network, Placement, Port, Resources,
    RestartPolicy, SecretFile, Service, Tmpfs, UpdateConfig, literal,
};
use super::parts::{network_of, services_of};
use super::shm::shared_memory;
use super::wish::Wish;
use flowkit_core::catalogue::{Component, Kind, Make, Role, Secret, Talk, Volume, catalogue};
use flowkit_core::config::{Origin, Problem, Problems, Settings};
use flowkit_core::size::MIB;

/// Whom containers run as unless the guide's variables say otherwise: the images' own user.
const USER: i64 = 1000;
/// The setting that tells `flowkit run` how long it may take to stop.
const STOP_SECONDS: &str = "FLOWKIT_STOP_SECONDS";
/// Where logs are, which are of use and need not be kept.
const LOGS: &str = "AIRFLOW__LOGGING__BASE_LOG_FOLDER";
/// The file with whom a role trusts.
const TRUSTED: &str = "SSL_CERTIFICATE_FILE";
/// What a role gets to stop in, and Docker on top of it, in seconds. A database may have to write a checkpoint.
const STOP: (u32, u32) = (20, 30);
const STOP_DATA: (u32, u32) = (110, 120);
/// One that works for another role's sake waits for that: Celery's workers have 40 seconds for their tasks.
const STOP_WORK: (u32, u32) = (50, 60);

/// The stack file for a wish.
///
/// # Errors
/// Everything that is wrong with the settings or the wish, in one report.
pub fn plan(wish: &Wish, settings: &Settings) -> Result<File, Problems> {
    let mut problems = Problems::default();
    let mut file = File {
        version: "3.8",
        services: BTreeMap::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    for builder in builders(wish, settings) {
        match builder.service(&mut file) {
            Ok(service) => _ = file.services.insert(builder.name.to_owned(), service),
            Err(Problems(more)) => problems.0.extend(more),
        }
    }
    problems.0.extend(same_ports(&file));
    problems.or(file)
}

/// Ports of the node that two services would have. On two nodes they could; a file that depends on where they land is none.
fn same_ports(file: &File) -> Vec<Problem> {
    let mut taken: BTreeMap<u16, (&str, &str)> = BTreeMap::new();
    let mut problems = Vec::new();
    for (service, port) in
        file.services.iter().flat_map(|(name, service)| service.ports.iter().map(move |port| (name, port)))
    {
        if let Some((other, setting)) = taken.insert(port.published, (service, port.setting)) {
            let what = format!("{other} and {service} would both be reached at port {}", port.published);
            let hint = format!("give one of them another: {setting} or {}", port.setting);
            problems.push(Problem::new(what, format!("{hint}; --private {service} publishes none")));
        }
    }
    problems
}

/// The settings as services of the stack see them: where they reach one another, and nothing of the host's layout.
/// Connection strings are made from these.
///
/// # Errors
/// A neighbour that can't be reached.
pub fn inside(wish: &Wish, settings: &Settings) -> Result<Settings, Problems> {
    let mut inner = Settings::default();
    let mut problems = Problems::default();
    for builder in builders(wish, settings) {
        match builder.environment() {
            Ok(environment) => {
                for (name, value) in environment {
                    if let Err(problem) = inner.set(&name, &value, Origin::Flag) {
                        problems.0.push(problem);
                    }
                }
            }
            Err(Problems(more)) => problems.0.extend(more),
        }
    }
    problems.or(inner)
}

/// Every service of the wish: a role, or the parts that it is in.
fn builders<'a>(wish: &'a Wish, settings: &'a Settings) -> Vec<Builder<'a>> {
    let of = |role: &'static Role| {
        let builder = |name, part| Builder { wish, settings, role, name, part };
        if !role.is_apart(settings) {
            return vec![builder(role.name.as_str(), None)];
        }
        let part = |name: &'static str| {
            let components = role.components.iter().filter(|component| component.service == name).collect();
            builder(name, Some(components))
        };
        services_of(role).map(part).collect()
    };
    wish.roles.iter().flat_map(|role| of(role)).collect()
}

/// Why a name of the catalogue is there: `stack::tests` asks for every role, built or not.
const PROMISED: &str = "the tests hold the catalogue's names together";

struct Builder<'a> {
    wish: &'a Wish,
    settings: &'a Settings,
    role: &'static Role,
    /// The service's name.
    name: &'static str,
    /// The role's components that are in it, where they are apart.
    part: Option<Vec<&'static Component>>,
}

impl Builder<'_> {
    /// Whether any of its components answers yes; a role that is whole does.
    fn has(&self, asked: impl Fn(&Component) -> bool) -> bool {
        self.part.as_ref().is_none_or(|part| part.iter().any(|component| asked(component)))
    }

    /// Those that it talks to.
    fn neighbours(&self) -> impl Iterator<Item = &'static Talk> {
        let talks = self.role.talks_to.iter();
        talks.filter(|talk| self.talks(talk) && self.has(|component| component.talks_to.contains(&talk.role)))
    }

    /// Whether it is where the others of a role that is in parts find what is there once.
    fn is_first(&self) -> bool {
        self.name == self.role.name
    }

    /// The service; what it needs beside it goes into the file.
    fn service(&self, file: &mut File) -> Result<Service, Problems> {
        let mut problems = Problems::default();
        let mut take = |result: Result<(), Problems>| problems.0.extend(result.err().into_iter().flat_map(|p| p.0));
        let (mut environment, mut user, mut volumes) = (BTreeMap::new(), (USER, USER), Vec::new());
        take(self.environment().map(|made| environment = made));
        take(self.user().map(|made| user = made));
        take(self.volumes(file).map(|made| volumes = made));
        let works = self.part.iter().flatten().any(|component| !component.talks_to.is_empty());
        let (stop, grace) = match (self.keeps_data(), works) {
            (true, _) => STOP_DATA,
            (false, true) => STOP_WORK,
            (false, false) => STOP,
        };
        if catalogue().settings_of(self.role).any(|setting| setting.name == STOP_SECONDS) {
            environment.entry(STOP_SECONDS.into()).or_insert_with(|| stop.to_string());
        }
        let command = self.part.iter().flatten().flat_map(|component| ["--component", component.name.as_str()]);
        let service = Service {
            role: &self.role.name,
            command: command.map(str::to_owned).collect(),
            image: self.wish.image(&self.role.name),
            user: format!("{}:{}", user.0, user.1),
            read_only: true,
            cap_drop: vec!["ALL"],
            environment: environment.into_iter().map(|(name, value)| (name, literal(&value))).collect(),
            networks: self.networks(file),
            ports: self.ports(),
            volumes,
            secrets: self.secrets(file, user),
            healthcheck: HealthCheck { interval: "10s", timeout: "30s", retries: 3, start_period: "15m" },
            stop_grace_period: format!("{grace}s"),
            deploy: self.deploy(),
        };
        problems.or(service)
    }

    /// Whether it writes what must be kept.
    fn keeps_data(&self) -> bool {
        // One of components is of no use without its logs, but they need not be kept.
        let kept = |volume: &Volume| self.part.is_none() || volume.place.as_deref() != Some(LOGS);
        self.mounted().any(|volume| volume.state.is_some() && !volume.read_only && kept(volume))
    }

    fn user(&self) -> Result<(i64, i64), Problems> {
        let prefix = self.role.name.to_uppercase();
        let id = |what: &str| {
            let name = format!("{prefix}_HOST_{what}_ID");
            let known = self.role.settings.iter().any(|setting| setting.name == name);
            (known.then(|| self.settings.int(&name)).flatten(), name)
        };
        match (id("USER"), id("GROUP")) {
            ((Some(user), _), (Some(group), _)) => Ok((user, group)),
            ((None, _), (None, _)) => Ok((USER, USER)),
            ((user, user_name), (_, group_name)) => {
                let (there, missing) = if user.is_some() { (user_name, group_name) } else { (group_name, user_name) };
                Err(Problem::new(format!("{there} is given without {missing}"), "give both, or neither").into())
            }
        }
    }

    /// The networks of the roles that it talks to, its own, and the one that leads outside.
    fn networks(&self, file: &mut File) -> BTreeMap<String, Member> {
        let mut networks = BTreeMap::new();
        let mut join = |name: &str, internal: bool, aliases: Vec<String>| {
            let driver_opts = self.wish.encrypted.then_some(("encrypted", "true")).into_iter().collect();
            file.networks.insert(name.to_owned(), Network { driver: "overlay", internal, driver_opts });
            networks.insert(name.to_owned(), Member { aliases });
        };
        if let Some(own) = network_of(self.role) {
            join(own, true, self.aliases());
        }
        if self.part.is_some() {
            join(&self.role.name, true, Vec::new());
        }
        let (here, elsewhere): (Vec<_>, Vec<_>) = self.neighbours().partition(|talk| self.wish.has(&talk.role));
        here.iter().for_each(|talk| join(&talk.role, true, Vec::new()));
        let outside = || self.part.is_some() && self.has(|component| component.any_variable) && self.is_published();
        // An address that nobody but the operator knows.
        let database =
            || self.given().any(|secret| secret.kind == Kind::Url && matches!(secret.make, Make::Operator(_)));
        if !elsewhere.is_empty() || !self.ports().is_empty() || outside() || database() {
            join(&format!("{}-outside", self.name), false, Vec::new());
        }
        networks
    }

    /// Whether the first service of its role is reached from outside: then programs of the operator's reach what is there, too.
    fn is_published(&self) -> bool {
        let first = Builder { name: &self.role.name, part: None, ..*self };
        !first.ports().is_empty()
    }

    fn ports(&self) -> Vec<Port> {
        if self.wish.private.contains(&self.name) {
            return Vec::new();
        }
        let published = |port: &'static flowkit_core::catalogue::Port| {
            let name = port.published.as_deref()?;
            if port.plain && self.settings.given_text(name).is_none() {
                return None;
            }
            // A plain host's port when no other is given.
            let number = self.settings.int(name).and_then(|number| u16::try_from(number).ok());
            let published = number.unwrap_or_else(|| self.settings.port(&port.setting));
            let (target, near) = (port.container, port.plain);
            Some(Port { target, published, protocol: "tcp", mode: "host", near, setting: name })
        };
        let listens = |port: &&'static flowkit_core::catalogue::Port| match &self.part {
            None => !port.apart,
            Some(_) => self.has(|component| component.ports.contains(&port.name)),
        };
        self.role.ports.iter().filter(listens).filter_map(published).collect()
    }

    /// What of its role's it keeps or reads on disk.
    fn mounted(&self) -> impl Iterator<Item = &'static Volume> {
        self.role.volumes.iter().filter(|volume| self.has(|component| component.volumes.contains(&volume.container)))
    }

    /// Directories of the host where they were given, else volumes; and memory that processes share.
    fn volumes(&self, file: &mut File) -> Result<Vec<Mount>, Problems> {
        let mut mounts = Vec::new();
        for volume in self.mounted() {
            let mount = |r#type, source| Mount {
                r#type,
                source: Some(source),
                target: volume.container.clone(),
                read_only: volume.read_only,
                tmpfs: None,
            };
            let given = volume.setting.as_deref().and_then(|name| self.settings.text(name));
            match (given, &volume.state) {
                (Some(path), _) => mounts.push(mount("bind", literal(path))),
                (None, Some(state)) => {
                    let name = state.replace('/', "-");
                    file.volumes.insert(name.clone(), compose::Volume {});
                    mounts.push(mount("volume", name));
                }
                // Nothing to be read was named.
                (None, None) => {}
            }
        }
        mounts.extend(self.shared_memory()?);
        Ok(mounts)
    }

    /// `/dev/shm`, where parallel queries of FlowDB meet. A stack has no `shm_size`, and Docker's own is 64 MiB. It is a
    /// limit that costs nothing until it is used; what is used counts as the container's memory.
    ///
    /// Without a memory limit it is half of the node's memory, as on any Linux.
    fn shared_memory(&self) -> Result<Option<Mount>, Problems> {
        if self.role.name != "flowdb" {
            return Ok(None);
        }
        let size = match self.wish.memory.get("flowdb") {
            Some(&memory) => Some(Tmpfs { size: shared_memory(memory, self.wish.cpus.get("flowdb"), self.settings)? }),
            None => None,
        };
        let target = "/dev/shm".to_owned();
        Ok(Some(Mount { r#type: "tmpfs", source: None, target, read_only: false, tmpfs: size }))
    }

    /// Secrets that it has of its role's.
    fn given(&self) -> impl Iterator<Item = &'static Secret> {
        let given = self.wish.secrets_of(self.role, self.settings);
        given.filter(|secret| self.has(|component| component.secrets.contains(&secret.name)))
    }

    fn secrets(&self, file: &mut File, (uid, gid): (i64, i64)) -> Vec<SecretFile> {
        // And the certificates by which it knows who else is here, or is elsewhere and can't be done without.
        let talks = self.neighbours().filter(|talk| self.wish.has(&talk.role) || !talk.optional);
        let certificates = talks.filter_map(|talk| talk.certificate.as_deref());
        let names: Vec<&str> = self.given().map(|secret| secret.name.as_str()).chain(certificates).collect();
        for name in &names {
            file.secrets.insert((*name).to_owned(), External { external: true, name: self.wish.secret(name) });
        }
        let mount = |name: &str| SecretFile {
            source: name.to_owned(),
            target: name.to_owned(),
            uid: uid.to_string(),
            gid: gid.to_string(),
            mode: 0o400,
        };
        names.into_iter().map(mount).collect()
    }

    /// What is kept free for it.
    fn memory(&self) -> u64 {
        let Some(part) = &self.part else {
            return self.role.memory(self.settings, |secret| self.wish.has_secret(secret));
        };
        let programs: u32 = part.iter().map(|component| component.memory_mib).sum();
        let database = if self.is_first() { self.role.needs.database_mib } else { 0 };
        u64::from(programs + database) * MIB
    }

    fn deploy(&self) -> Deploy {
        let name = self.name;
        let placement = match self.wish.placement.get(name) {
            Some(constraints) => constraints.iter().map(|constraint| literal(constraint)).collect(),
            // Its volume is where it first ran: a swarm with one manager never moves it.
            None if self.keeps_data() => vec!["node.role == manager".to_owned()],
            None => Vec::new(),
        };
        let mebibytes = |bytes: u64| format!("{}M", bytes / MIB);
        let update =
            |failure_action| UpdateConfig { order: "stop-first", parallelism: 1, failure_action, monitor: "15s" };
        Deploy {
            replicas: self.part.iter().flatten().map(|component| component.count(self.settings)).max().unwrap_or(1),
            endpoint_mode: "dnsrr",
            placement: Placement { constraints: placement },
            resources: Resources {
                reservations: Amount { memory: Some(mebibytes(self.memory())), cpus: None },
                limits: Amount {
                    memory: self.wish.memory.get(name).copied().map(mebibytes),
                    cpus: self.wish.cpus.get(name).map(f64::to_string),
                },
            },
            restart_policy: RestartPolicy { condition: "any", delay: "5s" },
            update_config: update("rollback"),
            rollback_config: update("pause"),
        }
    }
}
