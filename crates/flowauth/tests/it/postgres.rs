//! A PostgreSQL of a test's own, on a socket in its temporary directory.

use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use flowauth::store::Address;
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The user `nobody` of every Linux: PostgreSQL refuses root.
const NOBODY: u32 = 65534;
/// Longest wait for a server to start or stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// One server. It is stopped, and its directory removed, when it goes.
pub struct Server {
    child: Child,
    root: tempfile::TempDir,
}

impl Server {
    /// A running server.
    pub fn start() -> Server {
        let root = tempfile::Builder::new().prefix("fka").tempdir().expect("a temporary directory");
        if geteuid().is_root() {
            chown(root.path(), Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
        }
        let data = root.path().join("data");
        let mut initdb = program(root.path(), "initdb");
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--username=postgres", "--auth=trust", "-D"])
            .arg(&data);
        assert!(initdb.status().expect("initdb starts").success(), "{}", log(root.path()));
        let mut server = program(root.path(), "postgres");
        server
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=Asia/Kathmandu", "-k"])
            .arg(root.path());
        let child = server.arg("-D").arg(&data).spawn().expect("postgres starts");
        Server { child, root }
    }

    /// A new database, once the server answers.
    pub fn database(&self, name: &str) -> Address {
        let until = Instant::now() + PATIENCE;
        let mut createdb = program(self.root.path(), "createdb");
        createdb.args(["--username=postgres", "-h"]).arg(self.root.path()).arg(name);
        while !createdb.status().expect("createdb starts").success() {
            assert!(Instant::now() < until, "{}", log(self.root.path()));
            std::thread::sleep(Duration::from_millis(50));
        }
        let socket = self.root.path().display().to_string().replace('/', "%2F");
        Address::parse(&format!("postgresql://postgres@{socket}/{name}"), None).expect("an address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The way of SIGINT: without waiting for its clients.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A program of PostgreSQL's, as a user that it accepts, logging beside its data.
fn program(root: &Path, name: &str) -> Command {
    let log = File::options().create(true).append(true).open(root.join("log")).expect("a log file");
    let mut command = Command::new(programs().join(name));
    command.current_dir("/").stdout(log.try_clone().expect("a second handle")).stderr(log);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Where they are: where the product looks for them too, in short.
fn programs() -> PathBuf {
    if let Some(named) = std::env::var_os("FLOWKIT_POSTGRES_BIN") {
        return named.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    bins.max().expect("PostgreSQL; run `make setup`")
}

fn log(root: &Path) -> String {
    std::fs::read_to_string(root.join("log")).unwrap_or_default()
}
