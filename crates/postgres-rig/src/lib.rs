//! A PostgreSQL of a test's own, on a socket in its temporary directory. Whatever fails here fails the test.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The user `nobody` of every Linux: PostgreSQL refuses root.
const NOBODY: u32 = 65534;

/// Longest wait for a server to start or stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// Its superuser, who needs no password.
pub const SUPERUSER: &str = "postgres";

/// One server. It is stopped, and its directory removed, when it goes.
pub struct Server {
    child: Child,
    root: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// A server that answers, with an empty database `postgres` in UTF-8, in a time zone that nobody expects.
    pub fn start() -> Server {
        // On no port: it is a part of the socket's name.
        Server::start_with(5432, &[])
    }

    /// The same with more settings, each as `name=value`.
    pub fn start_with(port: u16, settings: &[&str]) -> Server {
        let root = tempfile::Builder::new().prefix("fkp").tempdir().expect("a temporary directory");
        if geteuid().is_root() {
            chown(root.path(), Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
        }
        let data = root.path().join("data");
        let mut initdb = program(root.path(), "initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username", SUPERUSER]);
        let made = initdb.arg("-D").arg(&data).status().expect("initdb starts").success();
        assert!(made, "{}", log(root.path()));
        let mut server = program(root.path(), "postgres");
        server.arg("-D").arg(&data).arg("-k").arg(root.path()).args(["-p", &port.to_string()]);
        let ours = ["listen_addresses=", "fsync=off", "timezone=Asia/Kathmandu"];
        server.args(ours.iter().chain(settings).flat_map(|setting| ["-c", setting]));
        let mut started = Server { child: server.spawn().expect("postgres starts"), root, port };
        started.wait_ready();
        started
    }

    fn wait_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.program("pg_isready").status().expect("pg_isready starts").success() {
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < until, "{}", log(self.root.path()));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        self.root.path()
    }

    /// The port in the name of its socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client of PostgreSQL's that connects to it as the superuser: `psql`, `createdb`.
    pub fn program(&self, name: &str) -> Command {
        let mut command = program(self.root.path(), name);
        command.env("PGHOST", self.root.path()).env("PGPORT", self.port.to_string()).env("PGUSER", SUPERUSER);
        command
    }

    /// A new database.
    pub fn create(&self, name: &str) {
        let made = self.program("createdb").arg(name).status().expect("createdb starts").success();
        assert!(made, "{}", log(self.root.path()));
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
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    bins.max().expect("PostgreSQL; run `make setup`")
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("log")).unwrap_or_default()
}
