//! A FlowDB of its own for a test: state directory, secrets, server, schema.
//!
//! PostgreSQL refuses root, so tests that run as root start it as `nobody`.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flowkit::flowdb::{self, cluster, schema};
use flowkit_core::Site;
use flowkit_core::config::{Origin, Settings, StateDir, Variables};
use flowkit_core::secrets::Store;
use postgres::Prepared;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use supervisor::Probe;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::poll::until;
use super::ports::free_port;

/// The user `nobody` of every Linux.
const NOBODY: u32 = 65534;

/// Longest wait for a server to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The login of FlowMachine's server.
pub const FLOWMACHINE: &str = "flowkit_flowmachine";

/// The secrets that every cluster here has, each with its value.
pub const SECRETS: &[(&str, &str)] = &[
    ("FLOWDB_POSTGRES_PASSWORD", "super-Pass-1"),
    ("FLOWMACHINE_FLOWDB_PASSWORD", "machine-Pass-2"),
    ("FLOWAPI_FLOWDB_PASSWORD", "api-Pass-3"),
];

/// One FlowDB. Its server is stopped, and its directory removed, when it goes.
pub struct Cluster {
    pub site: Site,
    /// For the asynchronous parts.
    pub runtime: Runtime,
    /// Who the server runs as.
    pub uid: u32,
    server: Option<Child>,
    root: Option<tempfile::TempDir>,
}

impl Cluster {
    /// A state directory with secrets and a port of its own; nothing is made or started yet.
    pub fn new() -> Cluster {
        Cluster::owned_by(if geteuid().is_root() { NOBODY } else { geteuid().as_raw() })
    }

    /// The same for a user id; ids other than our own are for root only.
    pub fn owned_by(uid: u32) -> Cluster {
        let root = tempfile::Builder::new().prefix("fk").tempdir().expect("a temporary directory");
        let mut cluster = Cluster::of(StateDir::new(root.path()));
        cluster.uid = uid;
        cluster.root = Some(root);
        cluster.site.settings.set("FLOWDB_PORT", &free_port().to_string(), Origin::Flag).expect("a port");
        fs::create_dir(cluster.site.state.secrets()).expect("a directory for secrets");
        SECRETS.iter().for_each(|(name, value)| cluster.set_secret(name, value));
        for path in [cluster.site.state.root().to_owned(), cluster.site.state.secrets()] {
            cluster.give(&path);
        }
        cluster
    }

    /// One that somebody else has made, seen from here.
    pub fn of(state: StateDir) -> Cluster {
        Cluster {
            site: Site {
                settings: Settings::load(None, &Variables::new(), None).expect("no settings are no problem"),
                store: Store::with(Some(state.secrets()), state.root().join("none"), Arc::new(|_| None)),
                state,
            },
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            server: None,
            uid: geteuid().as_raw(),
            root: None,
        }
    }

    /// A running server with everything that `flowkit` does to one.
    pub fn started() -> Cluster {
        let mut cluster = Cluster::new();
        cluster.prepare().unwrap_or_else(|error| panic!("{error}; run `make setup`"));
        cluster.start();
        cluster.apply().expect("the schema");
        cluster
    }

    /// Its data directory, unless a setting names another.
    pub fn data(&self) -> PathBuf {
        self.site.state.role("flowdb").join("data")
    }

    /// Step `flowdb-prepare`, as the user that the server runs as.
    pub fn prepare(&self) -> Result<Prepared, flowdb::Error> {
        self.as_user(|| cluster::prepare(&self.site))
    }

    /// Step `flowdb-schema`, as the user that the server runs as.
    pub fn apply(&self) -> Result<schema::Applied, flowdb::Error> {
        self.as_user(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(schema::apply(&self.site))
        })
    }

    /// Starts the server on the prepared directory and waits until it answers.
    pub fn start(&mut self) {
        self.start_with(self.server_command());
    }

    /// The same with a command of the caller's that turns into the server.
    pub fn start_with(&mut self, mut command: Command) {
        assert!(self.server.is_none(), "it runs already");
        self.server = Some(command.spawn().expect("postgres starts"));
        let probe = flowdb::probe::server(&self.site);
        until(PATIENCE, "a server that is ready", || {
            let why = self.as_user(|| probe.check(Duration::from_secs(5)));
            let ended = self.server.as_mut().expect("it was started").try_wait().expect("it is our child");
            if ended.is_some() {
                // Processes of one that was killed leave by themselves, and until then the next is started again, as the supervisor does.
                let log = self.log();
                let last = log.rsplit("starting PostgreSQL").next().unwrap_or_default();
                assert!(last.contains("pre-existing shared memory block"), "{why:?}\n{log}");
                self.server = Some(command.spawn().expect("postgres starts"));
            }
            why.map_err(|why| format!("{why}\n{}", self.log()))
        });
    }

    /// The server, as the right user, logging into a file.
    pub fn server_command(&self) -> Command {
        let server = self.as_user(|| cluster::cluster(&self.site).server_command());
        let mut command = server.expect("PostgreSQL; run `make setup`");
        self.log_into(&mut command);
        self.as_service_user(&mut command);
        command
    }

    /// Has a program print into the server's log.
    pub fn log_into(&self, command: &mut Command) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        command.current_dir("/");
        command.stderr(log.try_clone().expect("a second handle")).stdout(log);
    }

    /// Has a program run as the user that the server runs as.
    pub fn as_service_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.uid != geteuid().as_raw() {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    /// Stops the server in an orderly way.
    pub fn stop(&mut self) {
        self.signal(Signal::INT);
        self.wait();
    }

    /// Kills the server's first process; the others leave by themselves.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// A connection as a user, made the way the product makes it.
    pub fn connect(&self, user: &str) -> Client {
        self.runtime
            .block_on(flowdb::connect(&self.site, user))
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    /// A connection over TCP with a password of the caller's choice, as any program would make it.
    pub fn log_in(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        let port = self.site.settings.port("FLOWDB_PORT");
        config.host("127.0.0.1").port(port).dbname("flowdb").user(user).password(password);
        self.runtime.block_on(async {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
    }

    /// Runs statements as a user; the error of the first that fails.
    pub fn run(&self, user: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
        let client = self.connect(user);
        self.runtime.block_on(client.batch_execute(sql))
    }

    /// Asks as a user: every row's columns as text, "-" for null.
    pub fn ask(&self, user: &str, sql: &str) -> Vec<Vec<String>> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let client = self.connect(user);
        let messages = self.runtime.block_on(client.simple_query(sql)).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let text = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|i| row.get(i).unwrap_or("-").to_owned()).collect::<Vec<_>>()
        };
        messages.iter().filter_map(|m| if let Row(row) = m { Some(text(row)) } else { None }).collect()
    }

    /// The one value of a question's one row.
    pub fn value(&self, user: &str, sql: &str) -> String {
        match self.ask(user, sql).as_slice() {
            [row] if row.len() == 1 => row[0].clone(),
            other => panic!("{sql}: not one value but {other:?}"),
        }
    }

    /// Writes a secret's file.
    pub fn set_secret(&self, name: &str, value: &str) {
        let path = self.site.state.secrets().join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, value).expect("a secret's file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("its mode");
        self.give(&path);
    }

    /// What the server printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Runs something as the user that the server runs as: credentials belong to a thread, so it gets one of its own.
    pub fn as_user<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let uid = (self.uid != geteuid().as_raw()).then_some(self.uid);
        thread::scope(|scope| {
            let work = scope.spawn(move || {
                if let Some(uid) = uid {
                    become_user(uid);
                }
                work()
            });
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Gives a file to the user that the server runs as.
    pub fn give(&self, path: &std::path::Path) {
        if self.uid != geteuid().as_raw() {
            chown(path, Some(self.uid), Some(self.uid)).expect("root may give a file away");
        }
    }

    fn log_path(&self) -> PathBuf {
        self.site.state.root().join("server.log")
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("it runs");
        kill_process(Pid::from_child(server), signal).expect("it is our child");
    }

    fn wait(&mut self) {
        let mut server = self.server.take().expect("it runs");
        until(PATIENCE, "the server's end", || {
            server.try_wait().expect("it is our child").map(drop).ok_or_else(|| self.log())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = kill_process(Pid::from_child(server), Signal::INT);
            let until = Instant::now() + PATIENCE;
            while server.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = server.kill();
        }
    }
}

fn become_user(uid: u32) {
    let (user, group) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(uid));
    set_thread_groups(&[]).expect("root may drop groups");
    set_thread_res_gid(group, group, group).expect("root may change group");
    set_thread_res_uid(user, user, user).expect("root may change user");
}
