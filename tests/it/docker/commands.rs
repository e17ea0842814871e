//! The commands where there is no engine: what they print, and how they end.

use std::process::{Command, Output};

use crate::support::deployment::show;

/// `flowkit` with an empty state directory, no engine, and these variables.
fn flowkit(args: &[&str], env: &[(&str, &str)]) -> Output {
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowkit"));
    command.args(args).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", state.path());
    command.env("XDG_STATE_HOME", state.path()).env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    command.envs(env.iter().copied()).output().unwrap()
}

#[test]
fn the_stack_is_data_and_the_rest_is_talk() {
    let output = flowkit(&["stack", "--dir", "/nonexistent"], &[("FLOWDB_HOST_PORT", "9123")]);
    assert!(output.status.success(), "{}", show(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("# FlowKit on Docker Swarm: "), "{text}");
    let file: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(file["services"]["flowdb"]["ports"][0]["published"], 9123);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().all(|line| line.starts_with("note: ")), "{said}");
}

#[test]
fn quadlet_files_are_written_again_and_what_is_left_over_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("units");
    let write = |roles: &[&str]| {
        let output = flowkit(&[&["quadlet", "--dir", "/nonexistent", units.to_str().unwrap()], roles].concat(), &[]);
        assert!(output.status.success(), "{}", show(&output));
        let wrote = String::from_utf8(output.stdout).unwrap();
        assert!(wrote.lines().all(|path| std::fs::read_to_string(path).unwrap().starts_with("# FlowKit on podman: ")));
        (wrote.lines().count(), String::from_utf8(output.stderr).unwrap())
    };
    std::fs::create_dir(&units).unwrap();
    std::fs::write(units.join("other.container"), "").unwrap();
    let (all, said) = write(&["--role", "flowdb", "--role", "redis", "--role", "flowmachine"]);
    assert_eq!((all, said.as_str()), (9, ""));
    let (less, said) = write(&["--role", "flowdb"]);
    assert_eq!((less, said.lines().count()), (4, 5), "{said}");
    assert!(said.contains("flowkit-redis.container is of no role here"), "{said}");
    let output = flowkit(&["quadlet", "--dir", "/nonexistent", "/proc/units"], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
}

#[test]
fn mistakes_end_with_2_before_an_engine_is_asked() {
    for command in [&["stack"][..], &["quickstart"], &["quadlet", "/nonexistent/units"]] {
        let output = flowkit(&[command, &["--dir", "/nonexistent", "--role", "flowbd"]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{}", show(&output));
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such role: \"flowbd\""));
    }
    let output = flowkit(&["secrets", "swarm", "--update"], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", show(&output));
}

#[test]
fn a_missing_engine_is_named() {
    for command in [&["quickstart", "--dir", "/nonexistent"][..], &["secrets", "swarm"], &["verify", "--stack", "x"]] {
        let output = flowkit(command, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", show(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("unix:///nonexistent/docker.sock"), "{said}");
        let output = flowkit(command, &[("PATH", "/nonexistent")]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("`docker` is not there"), "{}", show(&output));
    }
}
