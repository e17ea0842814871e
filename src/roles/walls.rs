//! What each role's services may reach on a host: walls that hold also where all roles run as one user.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Deployment;
use flowkit_core::catalogue::{Role, Type, catalogue};
use supervisor::{Confinement, Reach, Service};

/// Programs, libraries and settings of the system, as far as every user may read them.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/opt",
    "/nix/store",
    "/run/current-system",
    "/proc",
    "/sys",
];

/// What a server of our own needs of it: libraries, and how hosts are found. None of the system's programs.
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

/// Devices that every program may want.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What an installation of programs has beside its `bin`.
const BESIDE: &[&str] = &["bin", "lib", "lib64", "libexec", "share", "pyvenv.cfg"];

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

/// Confines the services of a role. `view` is the deployment as the role sees it.
pub(super) fn confine(whole: &Deployment, view: &Deployment, role: &Role, services: &mut [Service]) {
    let held = match whole.walls {
        Walls::None => false,
        // FlowDB reads others' tables, wherever they are, and has a unix socket of its own.
        Walls::Network => role.name != "flowdb",
        Walls::All => is_confined(role, view.user.is_some()),
    };
    if !held {
        return;
    }
    let commands = services.iter_mut().flat_map(|service| service.before.iter_mut().chain([&mut service.command]));
    if whole.walls == Walls::Network {
        let files = [Reach::Run, Reach::Change].map(|reach| ("/".into(), reach)).to_vec();
        let confinement = Confinement { files, ..network(view, role) };
        commands.for_each(|command| command.confinement = Some(confinement.clone()));
        return;
    }
    let (common, temporary) = (common(whole, view, role), temporary(view, role));
    let state = whole.site.state.root();
    let closed = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    let with = installation(role);
    for command in commands {
        let program = with(&command.program).into_iter().map(|path| (path, Reach::Run));
        let files = common.files.iter().cloned().chain(program);
        let files = files.flat_map(|(path, reach)| around(&path, &closed).into_iter().map(move |path| (path, reach)));
        command.confinement = Some(Confinement { files: files.collect(), ..common.clone() });
        command.env.insert("TMPDIR".into(), temporary.clone().into());
    }
}

/// Where a confined role keeps what it needs for a moment.
pub(super) fn temporary(deployment: &Deployment, role: &Role) -> PathBuf {
    deployment.site.state.role(&role.name).join("tmp")
}

/// Whether a role's services are confined, where any are. FlowDB is only where it shares its user with other roles: an
/// administrator may have it read files of the host.
pub(super) fn is_confined(role: &Role, has_own_user: bool) -> bool {
    role.name != "flowdb" || !has_own_user
}

/// Whether a role is a server of our own, which starts nothing and is one file.
fn is_ours(role: &Role) -> bool {
    role.name == "flowapi"
}

/// What has to be reached of a program of a role.
fn installation(role: &Role) -> fn(&Path) -> Vec<PathBuf> {
    if is_ours(role) { alone } else { program }
}

/// What all services of a role may reach.
fn common(whole: &Deployment, view: &Deployment, role: &Role) -> Confinement {
    let run = |path: PathBuf| (path, Reach::Run);
    let change = |path: PathBuf| (path, Reach::Change);
    let (system, with) = (if is_ours(role) { LIBRARIES } else { SYSTEM }, installation(role));
    let mut files: Vec<(PathBuf, Reach)> = system.iter().map(|path| run(path.into())).collect();
    // Where names of hosts are asked for may stand elsewhere, and is written anew from time to time.
    files.extend(fs::canonicalize("/etc/resolv.conf").ok().and_then(|file| file.parent().map(Path::to_owned)).map(run));
    files.extend(DEVICES.iter().map(|path| change(path.into())));
    files.push(run(view.credentials_of(&role.name)));
    files.push(change(view.site.state.role(&role.name)));
    files.extend(with(&view.program).into_iter().map(run));
    let places: Vec<&str> = role.volumes.iter().filter_map(|volume| volume.place.as_deref()).collect();
    for (name, value) in view.site.settings.explicit() {
        match catalogue().setting(name).map(|setting| setting.r#type) {
            Some(_) if places.contains(&name) => files.push(change(value.into())),
            // A list that is written anew is another file of that name.
            Some(Type::Path) if name == "FLOWKIT_FLOWAPI_REVOCATIONS" => {
                files.extend(Path::new(value).parent().map(Path::to_owned).map(run));
            }
            Some(Type::Path) => files.extend(with(Path::new(value)).into_iter().map(run)),
            _ => {}
        }
    }
    let read = role.volumes.iter().filter(|volume| volume.read_only).filter_map(|volume| volume.setting.as_deref());
    files.extend(read.filter_map(|name| whole.site.settings.text(name)).map(|path| run(path.into())));
    if role.name == "flowdb" {
        // Its sessions share memory there.
        files.push(change("/dev/shm".into()));
    }
    Confinement { files, ..network(view, role) }
}

/// What they may reach that is no file.
fn network(view: &Deployment, role: &Role) -> Confinement {
    let ports = |role: &Role| role.ports.iter().map(|port| view.site.settings.port(&port.setting)).collect::<Vec<_>>();
    let others = role.talks_to.iter().filter_map(|talk| catalogue().role(&talk.role));
    // Of the settings only FlowAPI has it.
    let lists = view.site.settings.text("FLOWKIT_FLOWAPI_REVOCATIONS_URL");
    let hosts = |role: &'static Role| {
        let hosts = role.settings.iter().filter(|setting| setting.r#type == Type::Host);
        hosts.filter_map(|setting| view.site.settings.text(&setting.name))
    };
    let mut hosts = others.clone().flat_map(hosts).chain(lists.and_then(host_of));
    Confinement {
        files: Vec::new(),
        listen: ports(role),
        // FlowDB may be told to read tables of any server.
        connect: (role.name != "flowdb").then(|| others.flat_map(ports).chain(lists.and_then(port_of)).collect()),
        // PostgreSQL has a unix socket of its own.
        plain: role.name != "flowdb",
        // By which names are asked for.
        datagrams: hosts.any(is_asked_for),
    }
}

/// Whether somebody else has to be asked where a host is.
fn is_asked_for(host: &str) -> bool {
    host != "localhost" && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
}

/// The host of an URL.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let at = rest.split(['/', '?', '#']).next()?;
    Some(if at.starts_with('[') { at.split_inclusive(']').next()? } else { at.split(':').next()? })
}

/// The port of an URL of HTTPS.
fn port_of(url: &str) -> Option<u16> {
    let url: http::Uri = url.parse().ok()?;
    url.host().map(|_| url.port_u16().unwrap_or(443))
}

/// A program by its name, and as the file that it is.
fn alone(path: &Path) -> Vec<PathBuf> {
    [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten().collect()
}

/// A program, and what its installation has for it.
fn program(path: &Path) -> Vec<PathBuf> {
    let beside = alone(path).into_iter().flat_map(|path| {
        let bin = path.ancestors().take(2).find(|path| path.ends_with("bin"));
        let prefix = bin.and_then(Path::parent).map(Path::to_owned);
        let beside = prefix.into_iter().flat_map(|prefix| BESIDE.iter().map(move |name| prefix.join(name)));
        [path.clone()].into_iter().chain(beside).collect::<Vec<_>>()
    });
    beside.collect()
}

/// What is there of a path, but for `closed`: where that is below it, everything beside.
fn around(path: &Path, closed: &Path) -> Vec<PathBuf> {
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    if path == closed {
        return Vec::new();
    }
    if !closed.starts_with(&path) {
        return vec![path];
    }
    let entries = fs::read_dir(&path).into_iter().flatten().flatten();
    entries.flat_map(|entry| around(&entry.path(), closed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_not_opened_with_what_it_stands_in() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for path in ["opt/flowkit/secrets", "opt/flowkit/redis", "opt/other", "usr"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let closed = root.join("opt/flowkit");
        assert_eq!(around(&root.join("usr"), &closed), [root.join("usr")]);
        assert_eq!(around(&root.join("opt"), &closed), [root.join("opt/other")]);
        assert!(around(&closed, &closed).is_empty());
        assert_eq!(around(&closed.join("redis"), &closed), [closed.join("redis")]);
        assert!(around(&root.join("missing"), &closed).is_empty());
    }

    #[test]
    fn a_list_of_revoked_tokens_is_fetched_from_its_port() {
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

    #[test]
    fn a_program_comes_with_its_installation_and_no_more() {
        let python: Vec<PathBuf> = program(Path::new("/home/ada/venv/bin/python"));
        for path in ["/home/ada/venv/bin/python", "/home/ada/venv/lib", "/home/ada/venv/pyvenv.cfg"] {
            assert!(python.contains(&path.into()), "{path}");
        }
        assert!(!python.contains(&"/home/ada/venv".into()));
        assert_eq!(program(Path::new("/home/ada/redis-server")), [PathBuf::from("/home/ada/redis-server")]);
    }
}
