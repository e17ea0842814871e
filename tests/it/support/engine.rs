//! A Docker engine of its own for a test: its images, containers, networks and ports are nobody else's.
//!
//! It runs in a network namespace of its own, so that it neither meets nor disturbs an engine that is there, and published
//! ports can't collide. What it keeps is in a directory that goes with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::deployment::show;
use super::poll::{until, wait};
use super::skip::{Lack, skip};

/// Longest wait for the engine itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes the engine: a swarm wants an address that is not loopback's. All of its containers would share what one program gets beside
/// others, and these tests are what all wait for: where a control group's share can be told, theirs is that of three.
const START: &str = "group=flowkit-tests
if [ -e /sys/fs/cgroup/cpu/cpu.shares ]; then
    mkdir -p /sys/fs/cgroup/cpu/$group
    echo 3072 >/sys/fs/cgroup/cpu/$group/cpu.shares
    set -- --cgroup-parent /$group \"$@\"
fi
ip link set lo up
ip link add fk0 type veth peer name fk1
ip addr add 10.199.0.1/24 dev fk0
ip link set fk0 up
ip link set fk1 up
exec dockerd \"$@\"";

/// A running engine.
pub struct Engine {
    dir: tempfile::TempDir,
    data: PathBuf,
    daemon: Child,
}

impl Engine {
    /// Starts one; `None` when the environment says that tests shall do without.
    #[track_caller]
    pub fn start() -> Option<Engine> {
        if std::env::var("FLOWKIT_SKIP_DOCKER").is_ok_and(|value| value == "1") {
            skip(Lack::Docker, "FLOWKIT_SKIP_DOCKER=1, so nothing is tried on a Docker engine");
            return None;
        }
        assert!(
            rustix::process::geteuid().is_root(),
            "a Docker engine needs root (FLOWKIT_SKIP_DOCKER=1 does without)"
        );
        // Sockets have short paths; images need a disk that the kernel can lay file systems over.
        let dir = tempfile::Builder::new().prefix("fkd").tempdir_in("/tmp").unwrap();
        let data = tempfile::Builder::new().prefix("docker-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        // Killed together with the test.
        let mut start = Command::new("setpriv");
        start.args(["--pdeathsig", "TERM", "unshare", "--net", "bash", "-e", "-c", START, "dockerd"]);
        for (flag, path) in [("--exec-root", "exec"), ("--pidfile", "pid")] {
            start.arg(flag).arg(dir.path().join(path));
        }
        start.arg("--data-root").arg(&data).arg("--host").arg(format!("unix://{}/sock", dir.path().display()));
        start.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        start.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = start.spawn().expect("setpriv of util-linux");
        let mut engine = Engine { dir, data, daemon };
        until(
            PATIENCE,
            "an engine (`make setup-tests` installs docker.io, FLOWKIT_SKIP_DOCKER=1 does without)",
            || {
                let ended = engine.daemon.try_wait().unwrap();
                assert!(ended.is_none(), "dockerd ended ({ended:?})\n{}", engine.log());
                engine.try_docker(&["version"]).status.success().then_some(()).ok_or_else(|| engine.log())
            },
        );
        Some(engine)
    }

    /// Where it is asked.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// A program that talks to this engine.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command.env("HOME", self.dir.path()).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs `docker`.
    pub fn try_docker(&self, args: &[&str]) -> Output {
        self.command("docker").args(args).output().expect("docker; `make setup-tests` installs it")
    }

    /// Runs `docker`, which must succeed; gives stdout without its last line's end.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        assert!(output.status.success(), "docker {args:?}: {}\n{}", output.status, show(&output));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs `flowkit` with this engine, which must succeed; gives stdout and stderr.
    #[track_caller]
    pub fn flowkit(&self, args: &[&str]) -> (String, String) {
        let output = self.try_flowkit(args);
        assert!(output.status.success(), "flowkit {args:?}: {}\n{}", output.status, show(&output));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Runs `flowkit` with this engine.
    pub fn try_flowkit(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_flowkit")).args(args).output().unwrap()
    }

    /// A program in the network of the node, where published ports are.
    pub fn on_node(&self, program: &str) -> Command {
        let mut command = self.command("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.daemon.id())).arg(program);
        command
    }

    /// Waits until a container is healthy.
    pub fn wait_healthy(&self, container: &str, patience: Duration) {
        let health = || self.docker(&["inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", container]);
        let log = || show(&self.try_docker(&["logs", container]));
        until(patience, &format!("{container} is healthy"), || {
            let state = health();
            assert!(state.starts_with("running"), "{container} is {state}\n{}", log());
            if state == "running healthy" { Ok(()) } else { Err(format!("{state}\n{}", log())) }
        });
    }

    /// The container of a service's task, if one is healthy: Swarm calls only such a task running.
    pub fn container_of(&self, service: &str) -> Option<String> {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let args = ["ps", "--quiet", "--no-trunc", "--filter", &filter, "--filter", "health=healthy"];
        let found = self.docker(&args);
        found.lines().next().map(str::to_owned)
    }

    /// The end of the engine's log.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its containers end with it; tasks of a swarm would be started again.
        let _ = self.try_docker(&["swarm", "leave", "--force"]);
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // The namespaces of its networks stay mounted, and with them what they are mounted in.
        for mounted in fs::read_to_string("/proc/self/mounts").unwrap_or_default().lines() {
            let place = mounted.split(' ').nth(1).map(Path::new);
            if let Some(place) =
                place.filter(|place| [self.dir.path(), &self.data].iter().any(|own| place.starts_with(own)))
            {
                let _ = Command::new("umount").arg("--lazy").arg(place).status();
            }
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// The directory with every role's image.
pub fn images() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nix");
    for role in ROLES {
        let image = dir.join(format!("{role}-image"));
        assert!(image.exists(), "{} is not there: run scripts/nix-artefacts.sh", image.display());
    }
    dir
}

/// Roles that have images, those before that are talked to.
pub const ROLES: [&str; 7] = ["flowdb", "redis", "flowmachine", "flowapi", "flowauth", "flowetl", "autoflow"];

/// Waits for a container of a service other than `before`.
pub fn wait_for_another(engine: &Engine, service: &str, before: &str) {
    wait(Duration::from_secs(240), &format!("another container of {service}"), || {
        engine.container_of(service).is_some_and(|now| now != before)
    });
}
