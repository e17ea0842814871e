//! Whether a test that can't run here is counted, and fails where it must be able to.

use std::process::{Command, Output};

use crate::support::deployment::show;

/// Runs one test of this program in an environment that keeps it from running.
fn run(test: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env_remove("NIXPKGS_LIB").env_remove("FLOWKIT_CI").env_remove("FLOWKIT_TEST_SKIPS");
    command.envs(environment.iter().copied()).output().unwrap()
}

const DOCKER: &str = "image::docker::load_sends_what_is_missing";

#[test]
fn a_skipped_test_is_counted_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let skips = dir.path().join("skips");
    let path = skips.to_str().unwrap();
    for (test, environment) in
        [("substrate::so_does_the_lib_of_nixpkgs", ("FLOWKIT_CI", "1")), (DOCKER, ("FLOWKIT_SKIP_DOCKER", "1"))]
    {
        let output = run(test, &[("FLOWKIT_TEST_SKIPS", path), environment]);
        assert!(output.status.success(), "{}", show(&output));
    }
    let said = std::fs::read_to_string(&skips).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("skipped: substrate::so_does_the_lib_of_nixpkgs: NIXPKGS_LIB names no "), "{said}");
    assert!(lines[1].starts_with(&format!("skipped: {DOCKER}: FLOWKIT_SKIP_DOCKER=1")), "{said}");
    assert_eq!(lines.len(), 2, "{said}");
}

#[test]
fn what_ci_can_do_is_not_skipped_there() {
    let output = run(DOCKER, &[("FLOWKIT_CI", "1"), ("FLOWKIT_SKIP_DOCKER", "1")]);
    assert!(!output.status.success(), "{}", show(&output));
    assert!(show(&output).contains("Docker is to be had here"), "{}", show(&output));
}
