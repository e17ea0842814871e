//! A cluster with the data, and the server started on it again and again with everybody's settings.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

use crate::cgroup::{Group, Place};
use crate::data::Size;
use crate::rivals::Settings;

const PATIENCE: Duration = Duration::from_secs(120);

/// A data directory and the programs for it.
pub struct Cluster {
    dir: PathBuf,
    data: PathBuf,
    database: &'static str,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    pub major: u32,
    pub version: String,
}

/// A running server. Dropped, it is stopped, at once.
pub struct Server<'a> {
    cluster: &'a Cluster,
    child: Child,
    /// Which database is asked.
    pub database: String,
    // Removed after the server has gone.
    pub group: Option<Group>,
}

impl Cluster {
    /// The cluster in `dir`, made there if need be, and what was loaded into it, if it was.
    pub fn open(dir: &Path, bin: &Path) -> io::Result<(Cluster, Option<Size>)> {
        let user = rustix::process::geteuid().is_root().then(unprivileged);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        if let Some((uid, gid)) = user {
            chown(dir, Some(uid), Some(gid))?;
        }
        let cluster = Cluster::with(dir, bin, user, dir.join("data"), "postgres")?;
        let loaded = cluster.what_was_loaded();
        if loaded.is_none() {
            let _ = fs::remove_dir_all(&cluster.data);
            let status = cluster
                .command("initdb", None)
                .args(["-U", "flowdb", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums", "-D"])
                .arg(&cluster.data)
                .stdout(Stdio::null())
                .status()?;
            if !status.success() {
                return Err(io::Error::other("initdb failed"));
            }
        }
        Ok((cluster, loaded))
    }

    /// The cluster of a deployment that is not running. Its sockets and logs are in `dir`.
    pub fn of_deployment(dir: &Path, bin: &Path, data: PathBuf) -> io::Result<Cluster> {
        let owner = fs::metadata(&data)?;
        let user = rustix::process::geteuid().is_root().then(|| (owner.uid(), owner.gid()));
        if let Some((uid, gid)) = user {
            chown(dir, Some(uid), Some(gid))?;
        }
        Cluster::with(dir, bin, user, data, "flowdb")
    }

    fn with(
        dir: &Path,
        bin: &Path,
        user: Option<(u32, u32)>,
        data: PathBuf,
        database: &'static str,
    ) -> io::Result<Cluster> {
        let out = Command::new(bin.join("postgres")).arg("--version").output()?;
        let version = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        let major = digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
        let major = major.ok_or_else(|| io::Error::other(format!("{} is not PostgreSQL", bin.display())))?;
        Ok(Cluster { dir: dir.to_owned(), data, database, bin: bin.to_owned(), user, major, version })
    }

    /// How much was loaded, if it was.
    pub fn what_was_loaded(&self) -> Option<Size> {
        fs::read(self.dir.join("loaded")).ok().and_then(|text| serde_json::from_slice(&text).ok())
    }

    /// Remembers that the data are complete.
    pub fn loaded(&self, size: Size) -> io::Result<()> {
        fs::write(self.dir.join("loaded"), serde_json::to_vec(&size)?)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the last server logged, its last lines.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }

    /// Starts a server with `settings`, in a cgroup of `limit` bytes if there is a place for one. The files of the
    /// data are dropped from the page cache first, so that they are charged to the new group.
    pub async fn start(&self, settings: &Settings, limit: Option<(&Place, u64)>) -> Result<Server<'_>, String> {
        let say = |e: io::Error| e.to_string();
        let own = "listen_addresses = ''\nport = 5432\nautovacuum = off\nlog_destination = 'stderr'\nlogging_collector = off\n";
        let lines = settings.iter().map(|(name, value)| format!("{name} = '{value}'\n"));
        let (conf, hba) = (self.dir.join("postgresql.conf"), self.dir.join("pg_hba.conf"));
        fs::write(&conf, lines.chain([own.to_owned()]).collect::<String>()).map_err(say)?;
        // The data are made up: whoever is on this machine may ask.
        fs::write(&hba, "local all all trust\n").map_err(say)?;
        forget(&self.data).map_err(say)?;
        let group = limit.map(|(place, bytes)| place.group(bytes)).transpose().map_err(say)?;
        let log = fs::File::create(self.dir.join("log")).map_err(say)?;
        let child = self
            .command("postgres", group.as_ref())
            .arg("-D")
            .arg(&self.data)
            .arg(format!("--config_file={}", conf.display()))
            .arg(format!("--hba_file={}", hba.display()))
            .arg("-k")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(say)?)
            .stderr(log)
            .spawn()
            .map_err(say)?;
        let mut server = Server { cluster: self, child, database: self.database.to_owned(), group };
        server.wait().await.map(|_| server)
    }

    fn command(&self, program: &str, group: Option<&Group>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "if [ -n \"$0\" ]; then echo $$ > \"$0\" || exit 1; fi; exec \"$@\""]);
        command.arg(group.map(Group::procs).unwrap_or_default());
        command.args(["setpriv", "--pdeathsig", "INT"]);
        if let Some((uid, gid)) = self.user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.arg(self.bin.join(program)).env("LC_ALL", "C").env("TZ", "UTC").current_dir(&self.dir);
        command
    }
}

impl Server<'_> {
    /// A connection, as soon as the server gives one.
    pub async fn wait(&mut self) -> Result<Client, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("the server ended ({status}): {}", self.cluster.last_words()));
            }
            match self.connect().await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > deadline => return Err(format!("no answer: {error}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// A connection, now.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.host_path(&self.cluster.dir).user("flowdb").dbname(&self.database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// CPU time of the server and all its processes so far: what others do on the machine moves it little.
    pub fn cpu(&self) -> Duration {
        // Fields of /proc/PID/stat after the name: parent, own time in user and system mode, that of children that have ended.
        let fields = |pid: u32| -> Option<Vec<u64>> {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, fields) = text.rsplit_once(')')?;
            Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
        };
        let postmaster = self.child.id();
        let mut ticks: u64 = fields(postmaster).map_or(0, |fields| fields[11..15].iter().sum());
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            ticks += fields(pid).filter(|f| f[1] == u64::from(postmaster)).map_or(0, |fields| fields[11] + fields[12]);
        }
        // The kernel tells programs hundredths of a second, whatever it counts itself.
        Duration::from_millis(ticks * 10)
    }

    /// Stops the server in order, so that the next one has nothing to recover.
    pub async fn stop(mut self) {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::INT);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = self.child.wait();
        }
    }
}

/// Writes everything below `dir` to disk and drops it from the page cache.
fn forget(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget(&entry.path())?;
        } else if kind.is_file() {
            // A server that is just going takes files along.
            let Ok(file) = fs::File::open(entry.path()) else { continue };
            rustix::fs::fdatasync(&file)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn unprivileged() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("a user postgres or nobody")
}
