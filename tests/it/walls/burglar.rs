//! A burglar in the place of a service (`examples/burglar.rs`) gets nothing, and everything where the walls are off.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::geteuid;

use crate::support::deployment::{Deployment, wait};
use crate::support::programs;

/// A user that nothing else runs as.
const SOMEBODY: u32 = 4_000_777;

/// The example, where every user may start it.
fn burglar() -> PathBuf {
    programs::open_to_all(&crate::supervisor::rig::example("burglar"))
}

/// What the burglar says that it got, in the directory of its role; everything that it tried is in there.
fn burglary(deployment: &Deployment, role: &str) -> Vec<String> {
    let path = deployment.state().join(role).join("burglary");
    wait(Duration::from_secs(60), "the burglary", || path.exists());
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 15, "{text}");
    text.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect()
}

/// Starts a deployment with the burglar in the place of `program`; it never becomes ready.
fn break_in(deployment: &Deployment, program: &str) -> Child {
    let setting = format!("{program}={}", burglar().display());
    let mut up = deployment.command(&["up", "--detach", "--set", &setting]);
    up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn gets_nothing(program: &str, role: &str) {
    assert!(geteuid().is_root(), "roles are users of their own where root starts them: run this test as root");
    let deployment = Deployment::new();
    let mut up = break_in(&deployment, program);
    let got = burglary(&deployment, role);
    deployment.done(&["down"]);
    up.wait().unwrap();
    assert_eq!(got, [""; 0], "{role}");
    assert!(fs::symlink_metadata(deployment.state().join("secrets")).unwrap().is_dir());
}

#[test]
fn redis_broken_into_yields_nothing_of_others() {
    gets_nothing("FLOWKIT_REDIS_SERVER", "redis");
}

#[test]
fn flowmachine_broken_into_yields_nothing_of_others() {
    gets_nothing("FLOWKIT_PYTHON", "flowmachine");
}

/// The same burglar, as the one user that runs and owns everything, held by nothing.
#[test]
fn a_burglar_without_walls_gets_it_all() {
    assert!(geteuid().is_root(), "this test runs services as somebody else: run it as root");
    let deployment = Deployment::new();
    chown(deployment.state(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    deployment.done(&["up", "--detach", "--as-owner", "--role", "redis"]);
    let supervisor = deployment.status().unwrap()["supervisor"].as_u64().unwrap();
    let (role, report) = (deployment.state().join("redis"), deployment.state().join("redis/burglary"));
    fs::create_dir_all(deployment.state().join("flowdb")).unwrap();
    let mut burglar = Command::new(burglar()).current_dir(&role).uid(SOMEBODY).gid(SOMEBODY).spawn().unwrap();
    wait(Duration::from_secs(10), "the burglary", || report.exists());
    let said = fs::read_to_string(&report).unwrap();
    burglar.kill().and_then(|()| burglar.wait()).unwrap();
    for got in ["secrets: ", "control socket: ", "swap of the secrets: "] {
        assert!(said.contains(&format!("got {got}")), "{got} of {supervisor}: {said}");
    }
    assert!(Path::new(&role).exists());
}
