//! A service that has been broken into: it tries whatever somebody would who runs code there, and writes down what worked.
//!
//! Started in the place of a role's program, it works from the role's own directory and leaves `burglary` there, a line for
//! each thing that it tried: `got NAME: WHAT` or `no NAME`. Then it stands still, as a server would. The tests of the walls
//! (`tests/it/walls`) start it; with the walls off it gets everything. Outside of a deployment it is told the supervisor's
//! process id.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let own = std::env::current_dir()?;
    let state = own.parent().expect("a role's directory is below the state directory").to_owned();
    let role = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tries: [(&str, Option<String>); 15] = [
        ("secrets", first(files(&state.join("secrets")), readable)),
        ("others' credentials", first(others_credentials(&state, &role), readable)),
        ("environments", first(others("environ"), readable)),
        ("memory", first(others("mem"), |path| File::options().read(true).write(true).open(path).is_ok())),
        ("ptrace", first(pids(), |pid| traced(*pid)).map(|pid| pid.to_string())),
        ("signals", first(pids(), |pid| signalled(*pid)).map(|pid| pid.to_string())),
        ("FlowDB's files", first(strangers(&role, "flowdb", &state), |path| fs::read_dir(path).is_ok())),
        ("FlowDB's socket", first(sockets(&role, &state), |path| UnixStream::connect(path).is_ok())),
        ("redis' files", first(strangers(&role, "redis", &state), |path| fs::read_dir(path).is_ok())),
        ("control socket", first(vec![state.join("run/control.sock")], |path| answered(path).is_ok())),
        ("settings", first(vec![state.join("flowkit.toml")], writable)),
        ("swap of the secrets", swapped(&state).then(|| "a link in their place".to_owned())),
        ("program", first(program(), writable)),
        ("terminal", first(vec![PathBuf::from("/dev/tty")], writable)),
        ("privileges", privileges()),
    ];
    let line = |(name, got): &(&str, Option<String>)| match got {
        Some(what) => format!("got {name}: {what}\n"),
        None => format!("no {name}\n"),
    };
    fs::write(own.join("burglary.new"), tries.iter().map(line).collect::<String>())?;
    fs::rename(own.join("burglary.new"), own.join("burglary"))?;
    loop {
        std::thread::park();
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
        format!("process {self}")
    }
}

/// Its files, or guesses where it can't be listed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let guesses = ["FLOWDB_POSTGRES_PASSWORD", "FLOWAPI_FLOWDB_PASSWORD"].map(|name| dir.join(name)).to_vec();
    fs::read_dir(dir).map_or(guesses, |entries| entries.flatten().map(|entry| entry.path()).collect())
}

fn others_credentials(state: &Path, role: &str) -> Vec<PathBuf> {
    let others = ["flowdb", "redis", "flowmachine", "flowapi"].into_iter().filter(|other| *other != role);
    others.flat_map(|other| files(&state.join("credentials").join(other))).collect()
}

/// Those of FlowDB, or its usual one where they can't be listed.
fn sockets(role: &str, state: &Path) -> Vec<PathBuf> {
    let dir = state.join("flowdb/run");
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

/// Asks the supervisor how it is.
fn answered(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"{\"ask\":\"status\"}\n")?;
    stream.read_exact(&mut [0; 1])
}

fn strangers(role: &str, other: &str, state: &Path) -> Vec<PathBuf> {
    if role == other { Vec::new() } else { vec![state.join(other)] }
}

/// The deployment's other processes: guard, supervisor, and what that has started.
fn pids() -> Vec<i32> {
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

fn others(file: &str) -> Vec<PathBuf> {
    pids().into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}/{file}"))).collect()
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
    // SAFETY: no memory is passed; the tracee is let go at once.
    #[allow(unsafe_code)]
    unsafe {
        let null = std::ptr::null_mut::<libc::c_void>();
        let seized = libc::ptrace(libc::PTRACE_SEIZE, pid, null, null) == 0;
        libc::ptrace(libc::PTRACE_DETACH, pid, null, null);
        seized
    }
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
    vec![own.clone(), own.with_file_name("flowkit"), beside]
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
