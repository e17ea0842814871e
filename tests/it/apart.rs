//! Each role under a supervisor of its own, as in containers and units: started in any order, replaced at any time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use flowkit_core::catalogue::catalogue;
use flowkit_core::secrets;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::deployment::Deployment;
use crate::support::poll::{until, wait};

const PATIENCE: Duration = Duration::from_secs(90);

const SECRETS: [(&str, &str); 4] = [
    ("FLOWDB_POSTGRES_PASSWORD", "super-Pass-1"),
    ("FLOWMACHINE_FLOWDB_PASSWORD", "machine-Pass-2"),
    ("FLOWAPI_FLOWDB_PASSWORD", "api-Pass-3"),
    ("REDIS_PASSWORD", "redis-Pass-4"),
];

/// A role with a state directory of its own, and `flowkit run` on it while it runs.
struct Role {
    name: &'static str,
    deployment: Deployment,
    run: Option<Child>,
}

impl Role {
    fn new(name: &'static str, ports: [u16; 6]) -> Role {
        let mut deployment = Deployment::new();
        deployment.ports = ports;
        deployment.configure("");
        let role = Role { name, deployment, run: None };
        let dir = role.deployment.state().join("secrets");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        SECRETS.iter().for_each(|(name, value)| role.set_secret(name, value));
        // FlowAPI's certificate and keys, whose private half is FlowAuth's.
        let signs = (name == "flowapi").then_some("flowauth");
        let own: Vec<_> = [Some(name), signs].into_iter().flatten().filter_map(|name| catalogue().role(name)).collect();
        secrets::init(&dir, &own, &secrets::Options::default()).unwrap();
        role
    }

    fn set_secret(&self, name: &str, value: &str) {
        let path = self.deployment.state().join("secrets").join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, value).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }

    fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut run = self.deployment.command(&["run", self.name]);
        run.stdout(log.try_clone().unwrap()).stderr(Stdio::from(log));
        self.run = Some(run.spawn().unwrap());
    }

    fn started(name: &'static str, ports: [u16; 6]) -> Role {
        let mut role = Role::new(name, ports);
        role.start();
        role
    }

    fn ready(&self) {
        until(PATIENCE, &format!("{} is ready", self.name), || {
            let ready = self.deployment.status().is_some_and(|status| status["ready"] == true);
            if ready { Ok(()) } else { Err(self.log()) }
        });
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut run) = self.run.take() {
            let _ = kill_process(Pid::from_child(&run), signal);
            run.wait().unwrap();
        }
    }

    fn says(&self, text: &str) {
        wait(PATIENCE, &format!("{} says: {text}", self.name), || self.log().contains(text));
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.deployment.state().with_file_name("run.log")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.end(Signal::TERM);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            say::tell!("the end of {}'s log:\n{}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

#[test]
fn flowmachine_waits_for_its_neighbours_and_follows_their_restarts_and_rotations() {
    let ports = Deployment::new().ports;
    let flowapi = Role::started("flowapi", ports);
    flowapi.ready();
    let mut flowmachine = Role::started("flowmachine", ports);
    flowmachine.says(&format!("waiting for FlowDB at localhost:{}: ", ports[0]));
    assert_eq!(flowmachine.deployment.flowkit(&["health", "flowmachine"]).status.code(), Some(1));
    let mut flowdb = Role::started("flowdb", ports);
    flowmachine.says(&format!("waiting for redis at localhost:{}: ", ports[1]));
    let mut redis = Role::started("redis", ports);
    flowmachine.ready();
    flowmachine.deployment.done(&["health", "flowmachine"]);
    let front = flowapi.deployment.pid("flowapi").unwrap();

    // A database that is killed and comes back: the server is mended and started again.
    let before = flowmachine.deployment.pid("flowmachine").unwrap();
    flowdb.end(Signal::KILL);
    wait(PATIENCE, "FlowDB's end", || flowdb.deployment.processes().is_empty());
    flowdb.start();
    flowdb.ready();
    wait(PATIENCE, "another server", || flowmachine.deployment.pid("flowmachine").is_some_and(|pid| pid != before));
    flowmachine.ready();

    // A password is rotated in FlowMachine first, and in redis later.
    flowmachine.end(Signal::TERM);
    flowmachine.set_secret("REDIS_PASSWORD", "redis-Pass-5");
    flowmachine.start();
    flowmachine.says("refuses REDIS_PASSWORD");
    redis.end(Signal::TERM);
    redis.set_secret("REDIS_PASSWORD", "redis-Pass-5");
    redis.start();
    flowmachine.ready();

    // Another one in FlowDB first, and in FlowMachine later.
    flowdb.set_secret("FLOWMACHINE_FLOWDB_PASSWORD", "machine-Pass-6");
    flowdb.end(Signal::TERM);
    flowdb.start();
    flowmachine.says("refuses FLOWMACHINE_FLOWDB_PASSWORD");
    flowmachine.end(Signal::TERM);
    flowmachine.set_secret("FLOWMACHINE_FLOWDB_PASSWORD", "machine-Pass-6");
    flowmachine.start();
    flowmachine.ready();
    // FlowAPI has seen it all, and copes.
    flowapi.deployment.done(&["health", "flowapi"]);
    assert_eq!(flowapi.deployment.pid("flowapi"), Some(front));
    assert!(["Pass-2", "Pass-4", "Pass-5", "Pass-6"].iter().all(|secret| !flowmachine.log().contains(secret)));
}
