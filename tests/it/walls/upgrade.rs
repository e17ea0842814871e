//! A state directory of 0.1.0, in which one user ran and owned everything, becomes one with a user a role.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

use crate::support::deployment::{Deployment, show};

/// The user that 0.1.0 made.
fn former() -> u32 {
    assert!(geteuid().is_root(), "this test plays root: run it as root");
    let _ = Command::new("useradd").args(["--system", "--user-group", "--no-create-home", "flowkit"]).output();
    user("flowkit")
}

fn user(name: &str) -> u32 {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name)).expect(name);
    line.split(':').nth(2).unwrap().parse().unwrap()
}

#[test]
fn a_directory_of_the_former_user_is_taken_over_whole() {
    let former = former();
    let deployment = Deployment::new();
    let (up, state) = (["up", "--detach", "--role", "flowdb", "--role", "redis"], deployment.state());
    chown(&state, Some(former), Some(former)).unwrap();
    deployment.done(&[&up[..], &["--as-owner"]].concat());
    deployment.done(&["db", "demo", "--days", "1", "--subscribers", "100", "--sites", "20"]);
    let password = fs::read(state.join("secrets/REDIS_PASSWORD")).unwrap();

    // While it runs it is not pulled away from under anybody.
    let output = deployment.flowkit(&up);
    assert_eq!(output.status.code(), Some(2), "{}", show(&output));
    assert!(show(&output).contains("flowkit down"), "{}", show(&output));
    deployment.done(&["down"]);

    // What a service could have planted for root to follow is named, and nothing is changed.
    symlink("/etc/shadow", state.join("log/flowkit.log.1")).unwrap();
    let output = deployment.flowkit(&up);
    assert_eq!(output.status.code(), Some(2), "{}", show(&output));
    assert!(show(&output).contains("flowkit.log.1"), "{}", show(&output));
    assert_eq!(fs::metadata(&state).unwrap().uid(), former);
    fs::remove_file(state.join("log/flowkit.log.1")).unwrap();

    deployment.done(&up);
    let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
    for (path, name) in [("flowdb/data/base", "flowkit-flowdb"), ("redis", "flowkit-redis"), ("secrets", "root")] {
        assert_eq!(owner(&state.join(path)), user(name), "{path}");
    }
    assert_eq!(left(&state, former), [""; 0], "still the former user's");
    assert_eq!(fs::read(state.join("secrets/REDIS_PASSWORD")).unwrap(), password);
    let again = deployment.done(&["db", "demo", "--days", "1", "--subscribers", "100", "--sites", "20"]);
    assert!(again.contains("nothing to do"), "the data are there: {again}");
}

fn left(dir: &Path, owner: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.uid() == owner {
            found.push(entry.path().display().to_string());
        }
        if meta.is_dir() {
            found.extend(left(&entry.path(), owner));
        }
    }
    found
}
