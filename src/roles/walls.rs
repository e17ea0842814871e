//! What each role's services may reach on a host: walls that hold also where all roles run as one user.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Deployment;
use flowkit_core::catalogue::{Role, Type, catalogue};
use supervisor::system::{DEVICES, SYSTEM, alone, around, installation};
use supervisor::{Command, Confinement, Reach, Service};

/// What a server of our own needs of the system: libraries, and how hosts are found. None of the system's programs.
const LIBRARIES: &[&str] = &[
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/etc",
    "/nix/store",
    "/proc",
    "/sys/fs/cgroup",
];

/// How far services are kept from what their work does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Walls {
    /// They are not.
    #[default]
    None,
    /// From others' ports, from sockets of the place, and from their own supervisor: what a container or a unit leaves open.
    Network,
    /// From everything: a host has no other walls.
    All,
}

/// Where a role's services are confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// On a host where the role shares its user with others.
    WhereShared,
    /// On every host; in containers and units too, as far as the network goes.
    Everywhere,
}

/// What the services of a role may reach, beside what every service may.
pub(super) struct Needs {
    /// TCP ports on which they listen.
    pub listen: Vec<u16>,
    /// TCP ports to which they connect; `None` for all.
    pub connect: Option<Vec<u16>>,
    /// Whether names of hosts are asked for, which is done by datagrams.
    pub asks_names: bool,
    /// A server of our own, which starts nothing and is one file: none of the system's programs.
    pub is_ours: bool,
    /// A database's server, or what speaks to it as its owner: memory shared by name, a unix socket of its own.
    pub is_database: bool,
    /// What they write; `None` for all that the role has in the state directory.
    pub writes: Option<Vec<PathBuf>>,
    /// Settings that name a file which is written anew from time to time: another file of that name.
    pub renewed: &'static [&'static str],
}

impl Needs {
    /// Those of a role that listens at its ports and connects to the roles that it talks to: where they are by the catalogue, or where
    /// a setting of its own has an address of them.
    pub(super) fn of(view: &Deployment, role: &str) -> Needs {
        let role = catalogue().role(role).expect("a role of the catalogue");
        let settings = &view.site.settings;
        let ports = |role: &Role| role.ports.iter().map(|port| settings.port(&port.setting)).collect::<Vec<_>>();
        let hosts = |role: &'static Role| {
            let hosts = role.settings.iter().filter(|setting| setting.r#type == Type::Host);
            hosts.filter_map(|setting| settings.text(&setting.name)).collect::<Vec<_>>()
        };
        let (mut connect, mut asks_names) = (Vec::new(), false);
        for talk in &role.talks_to {
            match (&talk.form, catalogue().role(&talk.role)) {
                (None, Some(other)) => {
                    connect.extend(ports(other));
                    asks_names |= hosts(other).into_iter().any(is_asked_for);
                }
                _ => {
                    let url = talk.setting.as_deref().and_then(|name| settings.text(name));
                    connect.extend(url.and_then(port_of));
                    asks_names |= url.and_then(host_of).is_some_and(is_asked_for);
                }
            }
        }
        Needs {
            listen: ports(role),
            connect: Some(connect),
            asks_names,
            is_ours: false,
            is_database: false,
            writes: None,
            renewed: &[],
        }
    }
}

/// Confines the services of a role. `view` is the deployment as the role sees it.
pub(super) fn confine(whole: &Deployment, view: &Deployment, role: &Role, services: &mut [Service]) {
    let Some(runs) = super::role(&role.name) else { return };
    let held = match whole.walls {
        Walls::None => false,
        Walls::Network => runs.held == Held::Everywhere,
        Walls::All => is_confined(role, view.user.is_some()),
    };
    if !held {
        return;
    }
    let state = whole.site.state.root();
    let closed = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    for service in services {
        for command in service.before.iter_mut().chain([&mut service.command]) {
            let needs = (runs.needs)(view, name_of(view, &service.name, command));
            let confinement = match whole.walls {
                Walls::All => everything(whole, view, role, &needs, &command.program, &closed),
                _ => Confinement {
                    files: [Reach::Run, Reach::Change].map(|reach| ("/".into(), reach)).to_vec(),
                    ..network(&needs)
                },
            };
            command.confinement = Some(confinement);
            if whole.walls == Walls::All {
                command.env.insert("TMPDIR".into(), temporary(view, role).into());
            }
        }
    }
}

/// What a command of a role may reach on a host that nobody's service is, but whose work is a service's. `None`: it is not confined.
pub(super) fn of_command(whole: &Deployment, view: &Deployment, role: &Role, command: &Path) -> Option<Confinement> {
    let runs = super::role(&role.name).filter(|_| is_confined(role, view.user.is_some()))?;
    let state = whole.site.state.root();
    let closed = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    Some(everything(whole, view, role, &(runs.needs)(view, &role.name), command, &closed))
}

/// What a command is: the step, or the service itself.
fn name_of<'a>(view: &Deployment, service: &'a str, command: &'a Command) -> &'a str {
    let step = || command.args.get(1).and_then(|name| name.to_str());
    (command.program == view.program).then(step).flatten().unwrap_or(service)
}

/// Where a confined role keeps what it needs for a moment.
pub(super) fn temporary(deployment: &Deployment, role: &Role) -> PathBuf {
    deployment.site.state.role(&role.name).join("tmp")
}

/// In a role's directory: what a service of it writes for another that may only read it.
pub(super) fn handed_on(directory: &Path) -> PathBuf {
    directory.join("handed-on")
}

/// The directories that a confined role has to find there, being too confined to make them.
pub(super) fn own_places(deployment: &Deployment, role: &Role) -> Vec<PathBuf> {
    let writes = super::role(&role.name).and_then(|runs| (runs.needs)(deployment, &role.name).writes);
    let read = writes.map(|_| handed_on(&deployment.site.state.role(&role.name)));
    [temporary(deployment, role)].into_iter().chain(read).collect()
}

/// Whether a role's services are confined, where any are.
pub(super) fn is_confined(role: &Role, has_own_user: bool) -> bool {
    let held = super::role(&role.name).map(|role| role.held);
    held != Some(Held::WhereShared) || !has_own_user
}

/// What a command of a role may reach.
fn everything(
    whole: &Deployment,
    view: &Deployment,
    role: &Role,
    needs: &Needs,
    command: &Path,
    closed: &Path,
) -> Confinement {
    let run = |path: PathBuf| (path, Reach::Run);
    let change = |path: PathBuf| (path, Reach::Change);
    let with: fn(&Path) -> Vec<PathBuf> = if needs.is_ours { alone } else { installation };
    let system = if needs.is_ours { LIBRARIES } else { SYSTEM };
    let mut files: Vec<(PathBuf, Reach)> = system.iter().map(|path| run(path.into())).collect();
    // Where names of hosts are asked for may stand elsewhere, and is written anew from time to time.
    files.extend(fs::canonicalize("/etc/resolv.conf").ok().and_then(|file| file.parent().map(Path::to_owned)).map(run));
    files.extend(DEVICES.iter().map(|path| change(path.into())));
    files.push(run(view.credentials_of(&role.name)));
    match &needs.writes {
        None => files.push(change(view.site.state.role(&role.name))),
        Some(paths) => {
            files.extend(paths.iter().cloned().chain([temporary(view, role)]).map(change));
            files.push(run(handed_on(&view.site.state.role(&role.name))));
        }
    }
    files.extend([&view.program, command].into_iter().flat_map(&with).map(run));
    let written = role.volumes.iter().filter(|volume| !volume.read_only);
    let places: Vec<&str> = written.filter_map(|volume| volume.place.as_deref()).collect();
    for (name, value) in view.site.settings.explicit() {
        match catalogue().setting(name).map(|setting| setting.r#type) {
            Some(_) if places.contains(&name) => files.extend(needs.writes.is_none().then(|| change(value.into()))),
            Some(Type::Path) if needs.renewed.contains(&name) => {
                files.extend(Path::new(value).parent().map(Path::to_owned).map(run));
            }
            Some(Type::Path) => files.extend(with(Path::new(value)).into_iter().map(run)),
            _ => {}
        }
    }
    let read = role.volumes.iter().filter(|volume| volume.read_only).filter_map(|volume| volume.setting.as_deref());
    files.extend(read.filter_map(|name| whole.site.settings.text(name)).map(|path| run(path.into())));
    if needs.is_database {
        files.push(change("/dev/shm".into()));
    }
    let files = files.into_iter();
    let files = files.flat_map(|(path, reach)| around(&path, &[closed]).into_iter().map(move |path| (path, reach)));
    Confinement { files: files.collect(), ..network(needs) }
}

/// What they may reach that is no file.
fn network(needs: &Needs) -> Confinement {
    Confinement {
        files: Vec::new(),
        listen: needs.listen.clone(),
        connect: needs.connect.clone(),
        plain: !needs.is_database,
        datagrams: needs.asks_names,
        unix: false,
    }
}

/// Whether somebody else has to be asked where a host is.
pub(super) fn is_asked_for(host: &str) -> bool {
    host != "localhost" && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
}

/// The host of an URL.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let at = rest.split(['/', '?', '#']).next()?;
    Some(if at.starts_with('[') { at.split_inclusive(']').next()? } else { at.split(':').next()? })
}

/// The port of an URL of HTTPS.
pub(super) fn port_of(url: &str) -> Option<u16> {
    let url: http::Uri = url.parse().ok()?;
    url.host().map(|_| url.port_u16().unwrap_or(443))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_with_an_address_is_reached_at_its_port() {
        assert_eq!(port_of("https://auth.example.org/list"), Some(443));
        assert_eq!(port_of("https://[::1]:9091/list"), Some(9091));
        assert_eq!(port_of("/list"), None);
    }

    #[test]
    fn only_who_asks_for_names_sends_datagrams() {
        for known in ["localhost", "127.0.0.1", "::1", "[::1]", "https://[::1]:9091/list", "https://10.0.0.1/list"] {
            assert!(!is_asked_for(host_of(known).unwrap_or(known)), "{known}");
        }
        for named in ["flowdb", "db.example.org", "https://auth.example.org/list", "https://auth.example.org:9091"] {
            assert!(is_asked_for(host_of(named).unwrap_or(named)), "{named}");
        }
    }
}
