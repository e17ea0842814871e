//! A PostgreSQL of a test's own, on a socket in its temporary directory.

use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use results::{Error, Format, Query};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// The user `nobody` of every Linux: PostgreSQL refuses root.
const NOBODY: u32 = 65534;
/// Longest wait for a server to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The id of every query here.
pub const ID: &str = "0123456789abcdef0123456789abcdef";

/// One server. It is stopped, and its directory removed, when it goes.
pub struct Server {
    pub runtime: Runtime,
    child: Child,
    address: Address,
    _root: tempfile::TempDir,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Address {
    /// The directory of its socket.
    pub socket: PathBuf,
    pub port: u16,
}

impl Server {
    /// A running server with an empty database `postgres`, in UTF-8.
    pub fn start() -> Server {
        // On no port: it is a part of the socket's name.
        Server::start_with(5432, &[])
    }

    /// The same with more settings, each as `name=value`.
    pub fn start_with(port: u16, settings: &[&str]) -> Server {
        let root = tempfile::Builder::new().prefix("fk").tempdir().expect("a temporary directory");
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
        server
            .args(["-p", &port.to_string()])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .arg("-D")
            .arg(&data);
        let child = server.spawn().expect("postgres starts");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let address = Address { socket: root.path().to_owned(), port };
        let mut started = Server { runtime, child, address, _root: root };
        started.wait_ready();
        started
    }

    fn wait_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        while let Err(why) = self.runtime.block_on(self.address.connect()) {
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < until, "{why}\n{}", log(&self.address.socket));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection as the superuser.
    pub fn connect(&self) -> Client {
        self.runtime.block_on(self.address.connect()).expect("a connection")
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Runs statements.
    pub fn run(&self, sql: &str) {
        self.runtime.block_on(self.connect().batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The whole file of a query's result.
    pub fn try_file(&self, sql: &str, format: Format) -> Result<Vec<u8>, Error> {
        let client = self.connect();
        self.runtime.block_on(async {
            let mut rows = results::open(client, &Query { sql, format, query_id: ID, timeout: None }).await?;
            let mut file = Vec::new();
            while let Some(chunk) = rows.next().await {
                file.extend_from_slice(&chunk?);
            }
            Ok(file)
        })
    }

    /// The same where nothing fails.
    pub fn file(&self, sql: &str, format: Format) -> Vec<u8> {
        self.try_file(sql, format).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The same as text.
    pub fn text(&self, sql: &str, format: Format) -> String {
        String::from_utf8(self.file(sql, format)).expect("UTF-8")
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

impl Address {
    /// A connection as the superuser.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket).port(self.port).user("postgres").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
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
