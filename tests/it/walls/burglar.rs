//! A burglar in the place of a service (`examples/burglar.rs`) gets nothing, and everything where the walls are off.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::geteuid;

use crate::support::deployment::Deployment;
use crate::support::poll::wait;
use crate::support::programs;

/// A user that nothing else runs as.
const SOMEBODY: u32 = 4_000_777;

/// The example, where every user may start it.
fn burglar() -> PathBuf {
    programs::open_to_all(&crate::supervisor::rig::example("burglar"))
}

/// What the burglar says that it got, in the directory of its role; everything that it tried is in there.
fn burglary(deployment: &Deployment, role: &str) -> Vec<String> {
    let places = ["burglary", "tmp/burglary"].map(|file| deployment.state().join(role).join(file));
    let mut text = String::new();
    wait(Duration::from_secs(60), "the burglary", || {
        text = places.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        !text.is_empty()
    });
    assert_eq!(text.lines().count(), 18, "{text}");
    text.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect()
}

/// Starts a deployment with the burglar in the place of `program`; it never becomes ready.
fn break_in(deployment: &Deployment, program: &str, stands: &Path) -> Child {
    let setting = format!("{program}={}", stands.display());
    let mut up = deployment.command(&["up", "--detach", "--set", &setting]);
    up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn gets_nothing(program: &str, role: &str) {
    assert!(geteuid().is_root(), "roles are users of their own where root starts them: run this test as root");
    let deployment = Deployment::new();
    let stands = if role == "flowdb" { postgres_with(&own_burglar(&deployment, 0, None)) } else { burglar() };
    let mut up = break_in(&deployment, program, &stands);
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

#[test]
fn flowapi_broken_into_yields_nothing_of_others() {
    gets_nothing("FLOWKIT_FLOWAPI_SERVER", "flowapi");
}

#[test]
fn flowauth_broken_into_yields_nothing_of_others() {
    gets_nothing("FLOWKIT_FLOWAUTH_SERVER", "flowauth");
}

#[test]
fn flowdb_broken_into_yields_nothing_of_others() {
    gets_nothing("FLOWKIT_POSTGRES_BIN", "flowdb");
}

/// Where one user runs everything, as root's `--as-owner` has it.
fn one_user(deployment: &Deployment) {
    assert!(geteuid().is_root(), "this test runs services as somebody else: run it as root");
    for path in [deployment.state(), deployment.state().join("flowkit.toml")] {
        chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
}

/// A copy of the burglar that a user could change, and that knows where somebody else listens.
fn own_burglar(deployment: &Deployment, user: u32, other: Option<&TcpListener>) -> PathBuf {
    let bin = deployment.state().with_file_name("programs");
    fs::create_dir(&bin).unwrap();
    for (from, name) in [(burglar(), "burglar"), (programs::flowkit(), "flowkit")] {
        fs::copy(from, bin.join(name)).unwrap();
        chown(bin.join(name), Some(user), Some(user)).unwrap();
    }
    chown(&bin, Some(user), Some(user)).unwrap();
    if let Some(other) = other {
        fs::write(bin.join("others"), format!("port {}\n", other.local_addr().unwrap())).unwrap();
    }
    bin.join("burglar")
}

/// A directory of PostgreSQL's programs in which the burglar stands for the server, beside itself.
fn postgres_with(burglar: &Path) -> PathBuf {
    let real = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|entry| entry.path().join("bin"));
    let real = real.filter(|bin| bin.join("postgres").exists()).max().expect("PostgreSQL is installed");
    let bin = burglar.parent().unwrap();
    for entry in fs::read_dir(&real).unwrap().flatten() {
        if entry.file_name() != "postgres" {
            symlink(entry.path(), bin.join(entry.file_name())).unwrap();
        }
    }
    // As the server it is told where to listen.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *listen_addresses=*) exec {} ;; *) exec {}/postgres \"$@\" ;; esac\n",
        burglar.display(),
        real.display()
    );
    fs::write(bin.join("postgres"), script).unwrap();
    fs::set_permissions(bin.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
    // The sign of PostGIS, which is looked for beside.
    let extensions = bin.with_file_name("share").join("postgresql/extension");
    fs::create_dir_all(&extensions).unwrap();
    fs::write(extensions.join("postgis.control"), "").unwrap();
    bin.to_owned()
}

/// Breaks into one role of a deployment whose others run, all as one user.
fn gets_nothing_of_its_own_users(program: &str, role: &str, others: &[&str]) {
    let deployment = Deployment::new();
    one_user(&deployment);
    // FlowDB may be told to read tables of any server.
    let other = (role != "flowdb").then(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let burglar = own_burglar(&deployment, SOMEBODY, other.as_ref());
    let stands = if role == "flowdb" { postgres_with(&burglar) } else { burglar };
    let setting = format!("{program}={}", stands.display());
    let mut up = deployment.command(&["up", "--detach", "--as-owner", "--set", &setting, "--role", role]);
    up.args(others.iter().flat_map(|other| ["--role", other]));
    let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let got = burglary(&deployment, role);
    deployment.done(&["down"]);
    up.wait().unwrap();
    assert_eq!(got, [""; 0], "{role}");
}

#[test]
fn redis_broken_into_yields_nothing_of_its_own_users() {
    gets_nothing_of_its_own_users("FLOWKIT_REDIS_SERVER", "redis", &["flowdb"]);
}

#[test]
fn flowmachine_broken_into_yields_nothing_of_its_own_users() {
    gets_nothing_of_its_own_users("FLOWKIT_PYTHON", "flowmachine", &["flowdb", "redis"]);
}

#[test]
fn flowapi_broken_into_yields_nothing_of_its_own_users() {
    let others = ["flowdb", "redis", "flowmachine", "flowauth"];
    gets_nothing_of_its_own_users("FLOWKIT_FLOWAPI_SERVER", "flowapi", &others);
}

#[test]
fn flowauth_broken_into_yields_nothing_of_its_own_users() {
    gets_nothing_of_its_own_users("FLOWKIT_FLOWAUTH_SERVER", "flowauth", &["flowdb", "redis"]);
}

#[test]
fn flowdb_broken_into_yields_nothing_of_its_own_users() {
    gets_nothing_of_its_own_users("FLOWKIT_POSTGRES_BIN", "flowdb", &["redis"]);
}

/// The same burglar, as the same user, held by nothing and at a terminal.
#[test]
fn a_burglar_without_walls_gets_it_all() {
    let deployment = Deployment::new();
    one_user(&deployment);
    deployment.done(&["up", "--detach", "--as-owner", "--role", "redis", "--role", "flowdb"]);
    let supervisor = deployment.status().unwrap()["supervisor"].as_u64().unwrap();
    let role = deployment.state().join("flowmachine");
    fs::create_dir(&role).unwrap();
    chown(&role, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let burglar = own_burglar(&deployment, SOMEBODY, Some(&other));
    // The shell is the leader of the terminal's session.
    let line = format!("{} {supervisor}; true", burglar.display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).current_dir(&role).uid(SOMEBODY).gid(SOMEBODY);
    let port = deployment.ports[0].to_string();
    let mut terminal = terminal.env("FLOWDB_PORT", port).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let got = burglary(&deployment, "flowmachine");
    terminal.kill().and_then(|()| terminal.wait()).unwrap();
    // Nobody but root has raw sockets or reaches an engine: `docker::burglary` shows these. Some systems let no user trace
    // what is not below it.
    let traced = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0");
    let expected = if traced { 14 } else { 16 };
    assert_eq!(got.len(), expected, "{got:#?}");
}
