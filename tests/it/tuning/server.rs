//! A PostgreSQL server of a test's own: data and socket in a temporary directory, no port.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

/// Long enough for a slow machine; only a broken server takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory, made by initdb, and the user that owns it.
pub struct Cluster {
    dir: tempfile::TempDir,
    bin: PathBuf,
    user: Option<(u32, u32)>,
}

/// A running server; dropped, it is killed.
pub struct Server<'a> {
    cluster: &'a Cluster,
    child: Child,
}

impl Cluster {
    /// Runs initdb as somebody who is not root.
    pub fn new() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().is_root().then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let cluster = Cluster { dir, bin: programs(), user };
        let out = cluster
            .command("initdb")
            .args(["-N", "-U", "flowdb", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(out.status.success(), "initdb: {}", String::from_utf8_lossy(&out.stderr));
        cluster
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// PostgreSQL's major version.
    pub fn major(&self) -> u32 {
        fs::read_to_string(self.data().join("PG_VERSION")).unwrap().trim().parse().unwrap()
    }

    /// Where PostgreSQL's programs are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Where the server writes its log when nobody else does.
    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Everything that was logged: to stderr and to files of the collector.
    pub fn logged(&self) -> String {
        let mut text = fs::read_to_string(self.log_path()).unwrap_or_default();
        for entry in fs::read_dir(self.data().join("log")).into_iter().flatten().flatten() {
            text.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
        }
        text
    }

    /// Puts `conf` into force for the next start, in place of the last one.
    pub fn configure(&self, conf: &str) {
        let main = self.data().join("postgresql.conf");
        fs::write(self.data().join("ours.conf"), conf).unwrap();
        let text = fs::read_to_string(&main).unwrap();
        if !text.contains("ours.conf") {
            fs::write(&main, format!("{text}\ninclude 'ours.conf'\nlisten_addresses = ''\n")).unwrap();
        }
        if let Some((uid, gid)) = self.user {
            chown(self.data().join("ours.conf"), Some(uid), Some(gid)).unwrap();
        }
    }

    /// Asks the server for one value under the present configuration, without starting it.
    pub fn ask(&self, name: &str) -> Result<String, String> {
        let out = self.command("postgres").arg("-D").arg(self.data()).args(["-C", name]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }

    /// Starts the server and waits until it answers.
    pub async fn start(&self) -> Server<'_> {
        let log = fs::File::create(self.log_path()).unwrap();
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Server { cluster: self, child };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended: {status}\n{}", self.logged());
            }
            match server.connect().await {
                Ok(_) => return server,
                Err(error) if Instant::now() > deadline => panic!("no answer: {error}\n{}", self.logged()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// A program of PostgreSQL, run by the cluster's user, that ends when this test does.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if let Some((uid, gid)) = self.user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.arg(self.bin.join(program)).env("LC_ALL", "C").env("TZ", "UTC").current_dir(self.dir.path());
        command
    }
}

impl Server<'_> {
    /// A connection as the superuser.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.host_path(self.cluster.dir.path()).user("flowdb").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Stops the server in an orderly way.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::INT);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // "Immediate shutdown": the postmaster takes its children along.
            self.signal(rustix::process::Signal::QUIT);
            let _ = self.child.wait();
        }
    }
}

/// User and group of `postgres`, else of `nobody`: PostgreSQL refuses to run as root.
fn unprivileged() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("a user postgres or nobody")
}

/// PostgreSQL's programs, the oldest installed of Debian's: that is the one with the most traps.
fn programs() -> PathBuf {
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let oldest = found.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()).filter(|m| *m >= 15).min();
    let major = oldest.expect("PostgreSQL 15 or newer is needed: run `make setup`");
    format!("/usr/lib/postgresql/{major}/bin").into()
}
