//! A supervisor of its own for a test, run through `examples/supervise.rs`.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use supervisor::{ServiceState, ServiceStatus, Status, client};
use tempfile::TempDir;

use crate::support::poll;

/// Longest wait for anything that should happen soon, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// A supervisor and its directory. Whatever it started is killed when it goes.
pub struct Rig {
    dir: TempDir,
    run: Value,
    child: Option<Child>,
}

/// A program beside the test.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let path = test.parent().and_then(Path::parent).expect("target/debug").join("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --examples`", path.display());
    crate::support::programs::open_to_all(&path)
}

/// Asks until there is an answer; fails with what was waited for and the last state seen.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    poll::until(SOON, what, ask)
}

/// How often a test that depends on chance is repeated.
pub fn rounds(usual: usize) -> usize {
    std::env::var("FLOWKIT_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A service made of `svc` instructions, separated by spaces.
pub fn svc(name: &str, instructions: &str) -> Value {
    let mut command = vec![example("svc").display().to_string()];
    command.extend(instructions.split_ascii_whitespace().map(str::to_owned));
    json!({ "name": name, "command": command })
}

/// Adds fields to a JSON object.
pub fn with(mut object: Value, more: Value) -> Value {
    let (Value::Object(into), Value::Object(from)) = (&mut object, more) else { panic!("objects") };
    into.extend(from);
    object
}

impl Rig {
    /// `services` may name files as `@/NAME`, which stands for the rig's directory.
    pub fn new(services: Value) -> Rig {
        Rig::with(services, json!({}))
    }

    pub fn with(services: Value, more: Value) -> Rig {
        let dir = tempfile::Builder::new().prefix("fks").tempdir().expect("a directory");
        let run = with(json!({ "state": "@/run", "services": services }), more);
        let text = run.to_string().replace("@/", &format!("{}/", dir.path().display()));
        let mut run: Value = serde_json::from_str(&text).expect("JSON");
        for service in run["services"].as_array_mut().expect("a list") {
            let mark = dir.path().display().to_string();
            let env = service.as_object_mut().expect("a service").entry("env").or_insert_with(|| json!({}));
            env["FK_RIG"] = mark.into();
        }
        Rig { dir, run, child: None }
    }

    /// A file in the rig's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("run")
    }

    /// The command that runs it, not started yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(example("supervise"));
        command.arg("run").arg(self.file());
        command
    }

    /// The file with the set, written.
    pub fn file(&self) -> PathBuf {
        let file = self.path("run.json");
        fs::write(&file, self.run.to_string()).expect("written");
        file
    }

    pub fn start(&mut self) {
        let command = self.command();
        self.start_as(command);
    }

    /// Starts a command that runs the supervisor; its output goes to files.
    pub fn start_as(&mut self, mut command: Command) {
        let open = |name| File::options().append(true).create(true).open(self.path(name)).expect("a file");
        command.stdin(Stdio::null()).stdout(open("out")).stderr(open("err"));
        self.child = Some(command.spawn().expect("started"));
    }

    /// The process id of the started command.
    pub fn child_id(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    pub fn start_ready(&mut self) -> Status {
        self.start();
        self.ready()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("out")).unwrap_or_default()).into_owned()
    }

    pub fn err(&self) -> String {
        fs::read_to_string(self.path("err")).unwrap_or_default()
    }

    pub fn status(&self) -> Status {
        until("an answer", || client::status(&self.state()).map_err(|error| format!("{error}; {}", self.err())))
    }

    /// Waits until a status is as wanted.
    pub fn see(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        until(what, || match client::status(&self.state()) {
            Ok(status) if wanted(&status) => Ok(status),
            Ok(status) => Err(format!("{:?}\n{}", status.services, self.out())),
            Err(error) => Err(format!("{error}\n{}{}", self.out(), self.err())),
        })
    }

    pub fn ready(&self) -> Status {
        self.see("everything to be ready", |status| status.ready)
    }

    pub fn see_state(&self, name: &str, state: ServiceState) -> ServiceStatus {
        let status = self.see(&format!("{name} to be {state}"), |status| service(status, name).state == state);
        service(&status, name).clone()
    }

    /// Waits for the end of the started command.
    pub fn end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it was started");
        until("the end of the supervisor", || match child.try_wait().expect("a child") {
            Some(status) => Ok(status),
            None => Err(self.out()),
        })
    }

    /// Exit status, or 128 + signal.
    pub fn end_code(&mut self) -> i32 {
        let status = self.end();
        status.code().or(status.signal().map(|signal| 128 + signal)).expect("one of the two")
    }

    pub fn stop(&self) -> Duration {
        let start = Instant::now();
        client::stop(&self.state(), SOON).expect("stopped");
        start.elapsed()
    }

    /// The lines of a file that a service writes.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until services hear their signals: from the first line of the file that each serves.
    pub fn hear(&self, files: &[&str]) {
        for file in files {
            until(&format!("{file} to hear"), || (!self.lines(file).is_empty()).then_some(()).ok_or(self.out()));
        }
    }

    /// Waits until the log has a text: it is written by a thread of its own.
    pub fn says(&self, text: &str) {
        until(text, || self.out().contains(text).then_some(()).ok_or(self.out()));
    }

    /// Every living process that a service of this rig started: by its environment, or by its directory, since PostgreSQL
    /// writes over its environment.
    pub fn processes(&self) -> Vec<i32> {
        let mark = format!("FK_RIG={}", self.dir.path().display());
        let marked = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let inside = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir.starts_with(self.dir.path()));
            let mine = environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes());
            (mine || inside()) && !is_zombie(*pid)
        };
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(marked).collect()
    }

    /// Waits until no process is left; how long that took.
    pub fn nothing_left(&self) -> Duration {
        let start = Instant::now();
        until("no process to be left", || match self.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        });
        start.elapsed()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in self.processes() {
            kill(pid as u32, libc::SIGKILL);
        }
        if std::thread::panicking() {
            say::tell!("--- log\n{}\n--- stderr\n{}", self.out(), self.err());
        }
    }
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

pub fn service<'a>(status: &'a Status, name: &str) -> &'a ServiceStatus {
    status.services.iter().find(|service| service.name == name).expect("the service is in the set")
}

pub fn pid(status: &Status, name: &str) -> u32 {
    service(status, name).pid.expect("it has a process")
}

/// Sends a signal; a process that is gone is fine.
pub fn kill(pid: u32, signal: i32) {
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a named signal");
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).expect("a pid"), signal);
}
