//! A Docker engine for images alone: no network, its own directories, gone with the test.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the engine to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running engine.
pub struct Engine {
    /// Sockets have short paths; what is in it goes with it.
    dir: tempfile::TempDir,
    /// On a disk that the kernel can lay file systems over.
    data: tempfile::TempDir,
    daemon: Child,
}

impl Engine {
    /// Starts one; nothing when the environment says that tests shall do without.
    pub fn start() -> Option<Engine> {
        if std::env::var("FLOWKIT_SKIP_DOCKER").is_ok_and(|value| value == "1") {
            flowkit::tell!("SKIPPED: FLOWKIT_SKIP_DOCKER=1, so nothing is tried on a Docker engine");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("fki").tempdir_in("/tmp").unwrap();
        let data = tempfile::Builder::new().prefix("images-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        // Killed together with the test; in a network of its own, as an engine without a bridge takes that of another away.
        let mut start = Command::new("setpriv");
        start.args(["--pdeathsig", "TERM", "unshare", "--net", "dockerd", "--bridge", "none", "--iptables=false"]);
        start.env("PATH", PATH);
        start.arg("--exec-root").arg(dir.path().join("exec")).arg("--pidfile").arg(dir.path().join("pid"));
        start.arg("--data-root").arg(data.path()).arg("--host").arg(format!("unix://{}/sock", dir.path().display()));
        start.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = start.spawn().expect("setpriv of util-linux");
        let mut engine = Engine { dir, data, daemon };
        let until = Instant::now() + PATIENCE;
        while !engine.try_docker(&["version"]).status.success() {
            let ended = engine.daemon.try_wait().unwrap();
            let log = fs::read_to_string(engine.dir.path().join("log")).unwrap_or_default();
            assert!(
                ended.is_none() && Instant::now() < until,
                "dockerd does not start ({ended:?}): it is installed by `make setup` and needs root; FLOWKIT_SKIP_DOCKER=1 \
                 does without\n{log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(engine)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("HOME", self.dir.path()).stdin(Stdio::null());
        command.env("DOCKER_HOST", format!("unix://{}/sock", self.dir.path().display()));
        command
    }

    /// Runs `docker`.
    pub fn try_docker(&self, arguments: &[&str]) -> Output {
        self.command("docker").args(arguments).output().expect("docker; `make setup` installs it")
    }

    /// Runs `docker`, which must succeed; gives what it printed without the last line's end.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.try_docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs `flowkit` with this engine, which must succeed; gives stdout and stderr.
    pub fn flowkit(&self, arguments: &[&str]) -> (String, String) {
        let output = self.command(env!("CARGO_BIN_EXE_flowkit")).args(arguments).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "flowkit {arguments:?}: {err}");
        (out, err)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // The engine's own mounts are gone with it; what is left is files.
        let _ = fs::remove_dir_all(self.data.path());
    }
}
