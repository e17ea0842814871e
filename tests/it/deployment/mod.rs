//! A whole deployment through the real command: up, verify, kill, recover, down.

mod room;
mod starting;
mod whole;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use flowkit_core::config::{Origin, StateDir};

use crate::support::deployment::{Deployment, kill, pids, show};
use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::poll::wait;
use crate::support::skip::{Lack, skip};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(output: &Output, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(2), "{}", show(output));
    let said = text(&output.stderr);
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

/// Its password may be another one for a while, or no connection may be left: the rest goes on, and so does FlowMachine then.
#[test]
fn a_flowmachine_that_is_not_let_in_waits_and_ends_nobody() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach"]);
    let mut cluster = Cluster::of(StateDir::new(deployment.state()));
    cluster.site.settings.set("FLOWDB_PORT", &deployment.ports[0].to_string(), Origin::Flag).unwrap();
    let supervisor = deployment.status().unwrap()["supervisor"].clone();
    cluster.run("flowdb", &format!("ALTER ROLE {FLOWMACHINE} PASSWORD 'another-one'")).unwrap();
    kill(deployment.pid("flowmachine").unwrap());
    let refused =
        "FlowDB does not let FlowMachine in (password authentication failed for user \"flowkit_flowmachine\")";
    wait(Duration::from_secs(90), "FlowMachine to say that it waits", || deployment.log().contains(refused));
    let status = deployment.status().expect("the rest runs");
    assert_eq!(status["supervisor"], supervisor);
    deployment.done(&["health", "redis"]);
    deployment.done(&["restart", "flowdb-schema"]);
    deployment.wait_ready(Duration::from_secs(90));
    assert_eq!(deployment.status().unwrap()["supervisor"], supervisor);
}

/// Every secret's value against what other users could see of any process, and against everything that was logged.
pub fn no_secret_is_in_the_open(deployment: &Deployment) {
    let values: Vec<(String, Vec<u8>)> = fs::read_dir(deployment.state().join("secrets"))
        .unwrap()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        // A user name is no secret, and a public key is meant to be seen.
        .filter(|(name, value)| value.len() >= 16 && !name.ends_with("_USER") && !name.starts_with("PUBLIC_"))
        .collect();
    assert!(values.len() >= 4, "secrets were made");
    let mut places = vec![("log".to_string(), deployment.log().into_bytes())];
    places.push(("status".to_string(), deployment.done(&["status", "--format", "json"]).into_bytes()));
    for pid in pids() {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            if let Ok(bytes) = fs::read(&path) {
                places.push((path, bytes));
            }
        }
    }
    let logs = ["log", "flowdb/data/log", "flowetl/logs"].map(|logs| walk(&deployment.state().join(logs)));
    places.extend(
        logs.into_iter().flatten().map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default())),
    );
    for (place, bytes) in &places {
        for (name, value) in &values {
            let value = value.trim_ascii();
            let found = bytes.windows(value.len()).any(|window| window == value);
            assert!(!found, "the value of {name} stands in {place}");
        }
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Where roles share a host, who is reached follows where it listens; nobody has to say it twice.
#[test]
fn all_roles_may_listen_on_ipv6_or_on_another_address() {
    for (listen, host) in [("::1", "::1"), ("::1", "localhost"), ("127.0.0.2", "localhost")] {
        let deployment = Deployment::new();
        let set = [
            format!("FLOWKIT_FLOWDB_LISTEN={listen}"),
            format!("FLOWKIT_REDIS_LISTEN={listen}"),
            format!("FLOWKIT_FLOWMACHINE_LISTEN={listen}"),
            format!("FLOWKIT_FLOWAPI_LISTEN={listen}"),
            format!("FLOWDB_HOST={host}"),
            format!("REDIS_HOST={host}"),
        ];
        let set = set.iter().flat_map(|one| ["--set", one]);
        deployment.done(&["up", "--detach"].into_iter().chain(set).collect::<Vec<_>>());
        if host == "localhost" {
            deployment.done(&["db", "demo", "--days", "3", "--subscribers", "2000", "--sites", "60"]);
            deployment.done(&["verify"]);
        }
        deployment.done(&["down"]);
    }
}

/// The same with an address that is no loopback, in a network of the test's own.
#[test]
fn all_roles_may_listen_on_an_address_of_the_machine() {
    if !rustix::process::geteuid().is_root() {
        return skip(Lack::Root, "a network of its own takes root to make");
    }
    let deployment = Deployment::new();
    deployment.configure("FLOWKIT_FLOWDB_LISTEN = \"192.0.2.2\"\nFLOWKIT_REDIS_LISTEN = \"192.0.2.2\"\n");
    let script = "ip link set lo up; ip address add 192.0.2.2/32 dev lo
        ./flowkit up --detach --dir state; ./flowkit db demo --dir state --days 3 --subscribers 2000 --sites 60
        ./flowkit verify --dir state; ./flowkit db user list --dir state; ./flowkit down --dir state";
    let mut inside = Command::new("unshare");
    inside.args(["--net", "sh", "-ec", script]).current_dir(deployment.state().parent().unwrap());
    let output = inside.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(output.status.success(), "{}\n{}", show(&output), deployment.log());
}

/// Whoever starts something else has not sealed anew what the old key has sealed.
#[test]
fn a_start_without_flowauth_leaves_it_the_key_that_opens_its_data() {
    let deployment = Deployment::new();
    let previous = |name: &str| deployment.state().join(format!("secrets/{name}.previous")).exists();
    let up = |roles: &[&str]| {
        let roles = roles.iter().flat_map(|role| ["--role", *role]);
        deployment.done(&["up", "--detach"].into_iter().chain(roles).collect::<Vec<_>>());
        deployment.done(&["down"]);
    };
    up(&["flowauth", "redis"]);
    let secrets = deployment.state().join("secrets");
    let mut rotate = Command::new(deployment.state().parent().unwrap().join("flowkit"));
    rotate.args(["secrets", "rotate", "FLOWAUTH_FERNET_KEY", "SECRET_KEY", "--lose-data", "--dir"]).arg(&secrets);
    let output = rotate.env_clear().output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    up(&["redis"]);
    assert!(previous("FLOWAUTH_FERNET_KEY") && previous("SECRET_KEY"));
    up(&["flowauth"]);
    assert!(!previous("FLOWAUTH_FERNET_KEY") && !previous("SECRET_KEY"));
}

/// What a rotation says is all that has to be done.
#[test]
fn a_rotation_says_what_puts_the_new_secrets_in_force() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach"]);
    // All or none.
    let redis = deployment.pid("redis");
    let refused = deployment.flowkit(&["restart", "redis", "radis"]);
    assert_eq!(refused.status.code(), Some(2), "{}", show(&refused));
    assert!(text(&refused.stderr).contains("there is no service \"radis\""), "{}", show(&refused));
    assert_eq!(deployment.pid("redis"), redis);
    let secrets = deployment.state().join("secrets");
    for names in [&["FLOWMACHINE_FLOWDB_PASSWORD"][..], &["REDIS_PASSWORD", "FLOWDB_POSTGRES_PASSWORD"]] {
        let before = deployment.pid("flowmachine").unwrap();
        let program = deployment.state().parent().unwrap().join("flowkit");
        let mut rotate = Command::new(program);
        let output = rotate.args(["secrets", "rotate"]).args(names).arg("--dir").arg(&secrets).env_clear().output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", show(&output));
        let said = text(&output.stdout);
        let state = format!(" --dir {}", deployment.state().display());
        let named = said.lines().find_map(|line| line.strip_prefix("run       flowkit restart ")?.strip_suffix(&state));
        let named: Vec<&str> = named.map(|named| named.split(' ').collect()).unwrap_or_default();
        let expected = if names.len() == 1 { &["flowdb-schema"][..] } else { &["flowdb-schema", "redis"] };
        assert_eq!(named, expected, "{}", show(&output));
        deployment.done(&[&["restart"], &named[..]].concat());
        wait(Duration::from_secs(60), "FlowMachine anew", || {
            deployment.pid("flowmachine").is_some_and(|pid| pid != before)
        });
        deployment.wait_ready(Duration::from_secs(90));
        assert!(!deployment.log().contains("password authentication failed"), "with one password for another");
    }
    // Who sets a password has it: the values that were handed out are those that are accepted.
    deployment.done(&["db", "demo", "--days", "3", "--subscribers", "2000", "--sites", "60"]);
    deployment.done(&["verify"]);
}
