//! FlowDB as an image runs it, without an engine: first process of a process namespace, a user that nobody knows, no
//! capabilities, a read-only root, a volume of root's, state in `/dev/shm`. The engine itself is tried in `docker`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::support::deployment::{Deployment, show};
use crate::support::poll::wait;
use crate::support::ports::free_port;
use crate::support::skip::{Lack, skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// What an engine does before it starts the first process. $1 is the program, $2 the volume, $3 the secrets.
const CONTAINER: &str = r#"set -e
mount --make-rprivate /
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/secrets
mount --bind "$3" /run/secrets
mount --bind "$2" "$2"
mount -o remount,bind,ro /
cd /
exec setpriv --reuid 12345 --regid 12345 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \
    "$1" run flowdb --dir /dev/shm/flowkit
"#;

struct Container {
    /// For its program and its directory.
    deployment: Deployment,
    port: u16,
    run: Option<Child>,
}

impl Container {
    fn new() -> Container {
        let container = Container { deployment: Deployment::new(), port: free_port(), run: None };
        for (name, mode) in [("volume", 0o1777), ("secrets", 0o755)] {
            fs::create_dir(container.path(name)).unwrap();
            fs::set_permissions(container.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for name in ["FLOWDB_POSTGRES_PASSWORD", "FLOWMACHINE_FLOWDB_PASSWORD", "FLOWAPI_FLOWDB_PASSWORD"] {
            container.set_secret(name, "Pass-1");
        }
        // A setting may be given like a secret, as to upstream's programs; it beats the variable.
        container.set_secret("FLOWDB_PORT", &container.port.to_string());
        container
    }

    fn path(&self, name: &str) -> PathBuf {
        self.deployment.state().parent().unwrap().join(name)
    }

    fn set_secret(&self, name: &str, value: &str) {
        let path = self.path("secrets").join(name);
        fs::write(&path, value).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    }

    fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut run = Command::new("unshare");
        run.args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh", "-c", CONTAINER, "sh"]);
        run.arg(self.path("flowkit")).arg(self.path("volume")).arg(self.path("secrets"));
        run.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        run.env("FLOWKIT_FLOWDB_DATA", self.path("volume")).env("FLOWDB_PORT", "1");
        run.env("FLOWKIT_FLOWDB_LISTEN", "0.0.0.0");
        run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.run = Some(run.spawn().expect("unshare of util-linux"));
        wait(PATIENCE, "the container is healthy", || {
            let ended = self.run.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}\n{}", self.log());
            self.inside(&["health", "flowdb", "--dir", "/dev/shm/flowkit"]).status.success()
        });
    }

    /// The container's first process, seen from here.
    fn first(&self) -> Option<Pid> {
        let outer = self.run.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        Pid::from_raw(children.trim().parse().ok()?)
    }

    /// `flowkit` as an engine's health check runs it.
    fn inside(&self, args: &[&str]) -> Output {
        self.run_inside(&self.path("flowkit"), args)
    }

    /// A program beside the first process, as its user.
    fn run_inside(&self, program: &Path, args: &[&str]) -> Output {
        let first = self.first().map_or(0, |pid| pid.as_raw_nonzero().get());
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--pid", "--mount", "setpriv", "--reuid", "12345", "--regid"]);
        command.args(["12345", "--clear-groups", "--"]).arg(program).args(args);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("FLOWDB_PORT", "1").stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Sends a signal to the first process; exit status and time of the whole.
    fn end(&mut self, signal: Signal) -> (i32, Duration) {
        let since = Instant::now();
        kill_process(self.first().expect("it runs"), signal).unwrap();
        let status = self.run.take().unwrap().wait().unwrap();
        (status.code().unwrap(), since.elapsed())
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut run) = self.run.take() {
            // --kill-child takes the rest along.
            let _ = run.kill().and_then(|()| run.wait());
        }
        if std::thread::panicking() {
            say::tell!("the container's log:\n{}", self.log());
        }
    }
}

#[test]
fn flowdb_runs_in_a_container_as_anybody_with_nothing_and_survives_its_ends() {
    if !geteuid().is_root() {
        return skip(Lack::Root, "namespaces of an engine's kind take root to make");
    }
    let mut container = Container::new();
    container.start();
    let data = container.path("volume/pgdata");
    let found = fs::metadata(&data).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (12345, 0o700), "PostgreSQL's own directory in root's volume");
    assert!(data.join("PG_VERSION").exists());
    let query = |container: &Container| {
        let shown = container.inside(&["db", "user", "list", "--dir", "/dev/shm/flowkit"]);
        assert!(shown.status.success(), "{}", show(&shown));
    };
    query(&container);
    let states = container.run_inside(Path::new("/bin/sh"), &["-c", "cat /proc/[0-9]*/status"]);
    let states = String::from_utf8_lossy(&states.stdout).into_owned();
    assert!(states.contains("Name:\tpostgres") && !states.contains("State:\tZ"), "{states}");

    // What `docker stop` does: in order, within the ten seconds that it allows.
    let (status, took) = container.end(Signal::TERM);
    assert_eq!(status, 0, "{}", container.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(container.log().contains("database system is shut down"));

    // A new container on the old volume, with the superuser's password rotated, and then one after `docker kill`.
    container.set_secret("FLOWDB_POSTGRES_PASSWORD", "Pass-2");
    container.start();
    query(&container);
    let (status, took) = container.end(Signal::KILL);
    assert!(status != 0 && took < Duration::from_secs(10), "{status} after {took:?}");
    container.start();
    query(&container);
    assert_eq!(container.end(Signal::TERM).0, 0);
    assert!(!Path::new("/dev/shm/flowkit").exists(), "it was the container's own");
}
