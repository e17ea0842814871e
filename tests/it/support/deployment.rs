//! A deployment of its own for a test: a state directory, free ports, the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::poll::wait;
use super::ports::free_port;
use super::programs;

/// State, program and ports of one deployment; whatever it still runs is stopped when it is dropped.
pub struct Deployment {
    dir: tempfile::TempDir,
    /// Ports of flowdb, redis, flowmachine, flowapi, flowauth and its database.
    pub ports: [u16; 6],
}

impl Deployment {
    /// Makes an empty state directory with a `flowkit.toml` that says which ports to use.
    pub fn new() -> Deployment {
        let dir = tempfile::Builder::new().prefix("flowkit-it-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Root's checkout may be closed to the user that the services run as.
        let program = dir.path().join("flowkit");
        copy_program(Path::new(env!("CARGO_BIN_EXE_flowkit")), &program);
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let deployment = Deployment { dir, ports: std::array::from_fn(|_| free_port()) };
        deployment.configure("");
        deployment
    }

    /// Writes `flowkit.toml` with the ports, our servers' programs and `more` lines of settings.
    pub fn configure(&self, more: &str) {
        let [flowdb, redis, flowmachine, flowapi, flowauth, database] = self.ports;
        let servers = (programs::flowapi(), programs::flowauth());
        let text = format!(
            "FLOWDB_PORT = {flowdb}\nREDIS_PORT = {redis}\nFLOWMACHINE_PORT = {flowmachine}\nFLOWAPI_PORT = {flowapi}\n\
             FLOWKIT_FLOWAUTH_PORT = {flowauth}\nFLOWKIT_FLOWAUTH_DB_PORT = {database}\n\
             FLOWKIT_FLOWAPI_SERVER = {:?}\nFLOWKIT_FLOWAUTH_SERVER = {:?}\n{more}",
            servers.0, servers.1
        );
        fs::write(self.state().join("flowkit.toml"), text).unwrap();
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A `flowkit` command with a cleared environment, on this deployment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join("flowkit"));
        command.args(args).arg("--dir").arg(self.state());
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs `flowkit` to its end.
    #[must_use]
    pub fn flowkit(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs `flowkit`, which must succeed; gives stdout.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.flowkit(args);
        assert!(output.status.success(), "flowkit {args:?}: {}\n{}", output.status, show(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `flowkit status --format json`, or `None` when nothing runs.
    pub fn status(&self) -> Option<Value> {
        let output = self.flowkit(&["status", "--format", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Pid of a service that runs.
    pub fn pid(&self, service: &str) -> Option<u32> {
        let status = self.status()?;
        let services = status["services"].as_array()?;
        let found = services.iter().find(|found| found["name"] == service)?;
        found["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Waits until everything is ready again.
    pub fn wait_ready(&self, patience: Duration) {
        wait(patience, "everything ready", || self.status().is_some_and(|status| status["ready"] == true));
    }

    /// Everything that the services have logged.
    pub fn log(&self) -> String {
        fs::read(self.state().join("log/flowkit.log")).map_or(String::new(), |log| String::from_utf8_lossy(&log).into())
    }

    /// Processes that have anything under this deployment open, as their working directory, or in their command line.
    pub fn processes(&self) -> Vec<u32> {
        let ours = |pid: u32| {
            let under = |path: &Path| path.starts_with(self.dir.path());
            let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|path| under(&path));
            let open = || fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            link("cwd") || link("exe") || open().any(|fd| fs::read_link(fd.path()).is_ok_and(|path| under(&path)))
        };
        pids().filter(|&pid| pid != std::process::id() && ours(pid)).collect()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = self.flowkit(&["down"]);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            say::tell!("the end of the deployment's log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// All processes that can be seen.
pub fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Copies a program for everybody to start. In a process of its own: what is started elsewhere in this one meanwhile would
/// hold the copy open for writing, and nobody can start a file that is ("Text file busy").
pub fn copy_program(from: &Path, to: &Path) {
    let done = Command::new("install").args(["-m", "755", "--"]).args([from, to]).status().unwrap();
    assert!(done.success(), "{} is not copied to {}", from.display(), to.display());
}

/// What a command printed, for a failed assertion.
pub fn show(output: &Output) -> String {
    format!("stdout: {}\nstderr: {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// SIGKILL.
pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
