//! A service that has been broken into: it tries whatever somebody would who runs code there, and writes down what worked.
//!
//! Started in the place of a role's program, it works from the role's own directory and leaves `burglary` there, a line for
//! each thing that it tried: `got NAME: WHAT` or `no NAME`. Then it stands still, as a server would. The tests of the walls
//! (`tests/it/walls`) start it; with the walls off it gets everything. Outside of a deployment it is told the supervisor's
//! process id.
//!
//! A file `others` beside it has what it can't guess: `port ADDRESS:PORT`, where somebody else listens; `secret PATH`, a
//! secret of another role; `alone`, when its role is by itself in a container or a unit: what belongs to that role, its
//! supervisor's processes among them, then counts for nothing, and others' things are where such hosts have them; `leave`: it
//! ends, so that the role's own program can follow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where units have the state of all roles, and engines could show it to a container.
const HOSTS_STATE: &str = "/var/lib/flowkit";

fn main() -> io::Result<()> {
    let own = std::env::current_dir()?;
    let told = Told::read();
    let above = own.parent().expect("a role's directory is below the state directory");
    let state = if told.alone { Path::new(HOSTS_STATE) } else { above }.to_owned();
    let role = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let others = if told.alone { strangers() } else { deployment() };
    let within = |file: &str| others.iter().map(|pid| PathBuf::from(format!("/proc/{pid}/{file}"))).collect::<Vec<_>>();
    // A number may have become a new process of its own container's since, and who is about to end can't be seen for a moment.
    let a_moment_later = |pid: i32| {
        std::thread::sleep(Duration::from_millis(100));
        stranger(pid)
    };
    let still = |pid: i32| !told.alone || (0..20).all(|_| a_moment_later(pid));
    let still_of = |path: &Path| path.iter().nth(2).and_then(|pid| pid.to_str()?.parse().ok()).is_some_and(still);
    let open = |path: &Path| File::options().read(true).write(true).open(path).is_ok();
    let tries: [(&str, Option<String>); 18] = [
        ("secrets", first([files(&state.join("secrets")), told.secrets].concat(), readable)),
        ("others' credentials", first(others_credentials(&state, &role), readable)),
        ("environments", first(within("environ"), |path| readable(path) && still_of(path))),
        ("memory", first(within("mem"), |path| open(path) && still_of(path))),
        ("ptrace", first(others.clone(), |pid| traced(*pid) && still(*pid))),
        ("signals", first(others.clone(), |pid| signalled(*pid) && still(*pid) && signalled(*pid))),
        ("FlowDB's files", first(anothers(&role, "flowdb", &state), |path| fs::read_dir(path).is_ok())),
        ("FlowDB's socket", first(sockets(&role, &state), |path| UnixStream::connect(path).is_ok())),
        ("redis' files", first(anothers(&role, "redis", &state), |path| fs::read_dir(path).is_ok())),
        ("control socket", first(control_sockets(&state, &role, told.alone), |path| answered(path).is_ok())),
        ("engines", first(ENGINES.map(PathBuf::from).to_vec(), |path| UnixStream::connect(path).is_ok())),
        ("settings", first(vec![state.join("flowkit.toml")], writable)),
        ("swap of the secrets", swapped(&state).then(|| "a link in their place".to_owned())),
        ("program", first(program(), writable)),
        ("terminal", first(vec![PathBuf::from("/dev/tty")], writable)),
        ("raw sockets", first(RAW.to_vec(), |kind| raw(*kind))),
        ("others' ports", first(told.ports, |address| reached(address))),
        ("privileges", privileges()),
    ];
    let line = |(name, got): &(&str, Option<String>)| match got {
        Some(what) => format!("got {name}: {what}\n"),
        None => format!("no {name}\n"),
    };
    let text: String = tries.iter().map(line).collect();
    // Not every service writes where it stands.
    let places = [own, std::env::temp_dir()];
    let place = places.iter().find(|place| fs::write(place.join("burglary.new"), &text).is_ok()).expect("a place");
    fs::rename(place.join("burglary.new"), place.join("burglary"))?;
    if told.leave {
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}

/// What stands in the file beside it.
#[derive(Default)]
struct Told {
    alone: bool,
    leave: bool,
    secrets: Vec<PathBuf>,
    ports: Vec<String>,
}

impl Told {
    fn read() -> Told {
        let mut told = Told::default();
        let beside = std::env::current_exe().unwrap_or_default().with_file_name("others");
        for line in fs::read_to_string(beside).unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some(("secret", path)) => told.secrets.push(path.into()),
                Some(("port", address)) => told.ports.push(address.to_owned()),
                _ => {
                    told.alone |= line == "alone";
                    told.leave |= line == "leave";
                }
            }
        }
        told
    }
}

/// The first on which it works.
fn first<T: AsName>(on: Vec<T>, works: impl Fn(&T) -> bool) -> Option<String> {
    on.iter().find(|it| works(it)).map(AsName::name)
}

trait AsName {
    fn name(&self) -> String;
}

impl AsName for PathBuf {
    fn name(&self) -> String {
        self.display().to_string()
    }
}

impl AsName for i32 {
    fn name(&self) -> String {
        self.to_string()
    }
}

impl AsName for String {
    fn name(&self) -> String {
        self.clone()
    }
}

/// Its files, or guesses where it can't be listed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let guesses = ["FLOWDB_POSTGRES_PASSWORD", "FLOWAPI_FLOWDB_PASSWORD"].map(|name| dir.join(name)).to_vec();
    fs::read_dir(dir).map_or(guesses, |entries| entries.flatten().map(|entry| entry.path()).collect())
}

fn others_credentials(state: &Path, role: &str) -> Vec<PathBuf> {
    let places =
        |other| [state.join("credentials").join(other), format!("/run/credentials/flowkit-{other}.service").into()];
    anothers_roles(role).flat_map(places).flat_map(|place| files(&place)).collect()
}

fn anothers_roles(role: &str) -> impl Iterator<Item = &'static str> {
    ["flowdb", "redis", "flowmachine", "flowapi", "flowauth"].into_iter().filter(move |other| *other != role)
}

/// Those of FlowDB, or its usual one where they can't be listed.
fn sockets(role: &str, state: &Path) -> Vec<PathBuf> {
    // In a unit each role has a state directory of its own.
    let dir = [state.join("flowdb/flowdb/run"), state.join("flowdb/run")].into_iter().find(|dir| dir.exists());
    let dir = dir.unwrap_or_else(|| state.join("flowdb/run"));
    let port = std::env::var("FLOWDB_PORT").unwrap_or_else(|_| "9000".to_owned());
    match fs::read_dir(&dir) {
        _ if role == "flowdb" => Vec::new(),
        Ok(entries) => entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
            .map(|entry| entry.path())
            .collect(),
        Err(_) => vec![dir.join(format!(".s.PGSQL.{port}"))],
    }
}

/// Supervisors that are not its own, or where it is not alone the one of all.
fn control_sockets(state: &Path, role: &str, alone: bool) -> Vec<PathBuf> {
    match alone {
        true => anothers_roles(role).map(|other| state.join(other).join("run/control.sock")).collect(),
        false => vec![state.join("run/control.sock")],
    }
}

/// What commands all of a host.
const ENGINES: [&str; 4] =
    ["/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/systemd/private"];

/// Asks the supervisor how it is.
fn answered(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"{\"ask\":\"status\"}\n")?;
    stream.read_exact(&mut [0; 1])
}

/// Where a role's files are: in the state directory, or in the volume of a container.
fn anothers(role: &str, other: &str, state: &Path) -> Vec<PathBuf> {
    let volume = (other == "flowdb").then(|| "/var/lib/postgresql/data".into());
    if role == other { Vec::new() } else { [state.join(other)].into_iter().chain(volume).collect() }
}

/// Processes that are not in its own container or unit, nor those that run it there. Who may not even look is a stranger, too;
/// who can't be seen is guessed.
fn strangers() -> Vec<i32> {
    let me = std::process::id() as i32;
    let above = |pid: &i32| {
        let above = parent(*pid)?;
        let name = fs::read_to_string(format!("/proc/{above}/comm")).unwrap_or_default();
        // The first process is somebody else's, but for a container's.
        (above > 1 || name.trim() == "flowkit").then_some(above)
    };
    let own: Vec<i32> = std::iter::successors(Some(me), above).collect();
    // A thread has a number, too, and is not listed.
    let whole = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("Tgid:")).is_none_or(|leader| leader.trim() == pid.to_string())
    };
    let all = (1..=me + 100).filter(whole);
    all.filter(|pid| !own.contains(pid) && stranger(*pid)).collect()
}

/// Whether a process is in another container or unit, or can't be seen. One that has ended is in none, and nobody any more.
fn stranger(pid: i32) -> bool {
    let place = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let there = place(&pid.to_string());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    there.is_none_or(|there| Some(there) != place("self")) && !status.contains("State:\tZ")
}

/// The deployment's other processes: guard, supervisor, and what that has started.
fn deployment() -> Vec<i32> {
    let parents: BTreeMap<i32, i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let me = std::process::id() as i32;
    let told = std::env::args().nth(1).and_then(|pid| pid.parse().ok());
    let supervisor = told.or(parents.get(&me).copied()).unwrap_or_default();
    let mut found: Vec<i32> = vec![supervisor];
    found.extend(parents.get(&supervisor).filter(|guard| **guard > 1));
    let mut above = vec![supervisor];
    while let Some(above_it) = above.pop() {
        let children = parents.iter().filter(|(pid, parent)| **parent == above_it && **pid != me);
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        found.extend(&children);
        above.extend(children);
    }
    found
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn readable(path: &PathBuf) -> bool {
    File::open(path).and_then(|mut file| file.read(&mut [0; 64])).is_ok_and(|length| length > 0)
}

fn writable(path: &PathBuf) -> bool {
    File::options().append(true).open(path).is_ok()
}

fn signalled(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn traced(pid: i32) -> bool {
    // SAFETY: no memory is passed; the tracee is let go as soon as it stands still.
    #[allow(unsafe_code)]
    unsafe {
        let null = std::ptr::null_mut::<libc::c_void>();
        let seized = libc::ptrace(libc::PTRACE_SEIZE, pid, null, null) == 0;
        if seized && libc::ptrace(libc::PTRACE_INTERRUPT, pid, null, null) == 0 {
            libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        }
        libc::ptrace(libc::PTRACE_DETACH, pid, null, null);
        seized
    }
}

/// What speaks for others or listens to them: packets of any kind.
const RAW: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET];

fn raw(family: i32) -> bool {
    // SAFETY: numbers alone are passed; the socket ends with the program.
    #[allow(unsafe_code)]
    unsafe {
        libc::socket(family, libc::SOCK_RAW, libc::IPPROTO_ICMP) >= 0
    }
}

fn reached(address: &str) -> bool {
    let addresses = address.to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
}

/// Puts a link in the place of the secrets, so that root's next command writes elsewhere; undone at once.
fn swapped(state: &Path) -> bool {
    let (secrets, aside) = (state.join("secrets"), state.join("aside"));
    let moved = fs::rename(&secrets, &aside).is_ok();
    if moved {
        let _ = symlink("/tmp", &secrets).and_then(|()| fs::remove_file(&secrets));
        let _ = fs::rename(&aside, &secrets);
    }
    moved
}

/// Its own program, the supervisor's, and a new one beside it.
fn program() -> Vec<PathBuf> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name("planted");
    let _ = File::create(&beside);
    vec![own.clone(), own.with_file_name("flowkit"), "/bin/flowkit".into(), beside]
}

/// Capabilities, or a way to get some.
fn privileges() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let has = |line: &&str| match line.split_once(":") {
        Some(("CapInh" | "CapPrm" | "CapEff" | "CapAmb", value)) => !value.trim().trim_matches('0').is_empty(),
        Some(("NoNewPrivs", value)) => value.trim() == "0",
        Some(("Uid", value)) => value.split_whitespace().any(|id| id == "0"),
        _ => false,
    };
    status.lines().find(has).map(str::to_owned)
}
