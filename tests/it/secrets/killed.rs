//! Whatever ends the command, and however many there are: whole files, whole sets.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::RngExt;

use super::rig::Sandbox;

/// Kills the command after a time below `longest`; whether it was still running.
fn killed(command: &mut Command, longest: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(rand::rng().random_range(Duration::ZERO..longest));
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_file() {
    let mut killed_midway = 0;
    for round in 0..20 {
        let sandbox = Sandbox::new();
        // With and without the key that takes most of the time, so that kills hit its making and the writing.
        let (roles, longest) = if round % 10 == 0 { ("", 800) } else { ("--role flowetl --role flowdb", 30) };
        for _ in 0..5 {
            let midway = killed(&mut sandbox.command(&format!("init {roles}")), Duration::from_millis(longest));
            killed_midway += u32::from(midway);
            if !sandbox.dir().exists() {
                continue;
            }
            let findings = sandbox.findings(roles);
            assert!(findings.iter().all(|(_, problem)| problem == "missing"), "{findings:?}");
        }
        sandbox.run(&format!("init {roles}")).succeeded();
        assert_eq!(sandbox.findings(roles), []);
        assert!(sandbox.files().keys().all(|name| !name.starts_with('.')), "{:?}", sandbox.files().keys());
    }
    assert!(killed_midway >= 10, "only {killed_midway} of the kills came before the end");
}

#[test]
fn a_kill_in_the_middle_of_a_write_leaves_no_half_file() {
    let sandbox = Sandbox::new();
    // The kernel kills whoever writes beyond a kilobyte; the private key has three.
    let script = format!(
        "ulimit -c 0; ulimit -f 2; exec {} secrets init --role flowauth --dir {}",
        crate::support::programs::flowkit().display(),
        sandbox.dir().display()
    );
    let status = Command::new("/bin/sh").args(["-c", &script]).env_clear().stdout(Stdio::null()).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGXFSZ));
    let half = fs::metadata(sandbox.path(".PRIVATE_JWT_SIGNING_KEY.new")).unwrap().len();
    assert!((512..3000).contains(&half), "{half} bytes were written");
    let findings = sandbox.findings("--role flowauth");
    let missing = |name: &str| (name.to_string(), "missing".to_string());
    let later = ["PRIVATE_JWT_SIGNING_KEY", "PUBLIC_JWT_SIGNING_KEY", "cert-flowauth.pem", "key-flowauth.pem"];
    assert_eq!(findings, later.map(missing));
    sandbox.run("init --role flowauth").succeeded();
    assert_eq!(sandbox.findings("--role flowauth"), []);
    assert!(!sandbox.path(".PRIVATE_JWT_SIGNING_KEY.new").exists());
}

#[test]
fn a_killed_rotation_is_all_or_nothing() {
    let sandbox = Sandbox::with("--role flowdb --role flowetl");
    let mut changed = 0;
    for _ in 0..30 {
        let before = sandbox.files();
        let names = "rotate FLOWDB_POSTGRES_PASSWORD FLOWETL_POSTGRES_PASSWORD FLOWETL_REDIS_PASSWORD";
        killed(&mut sandbox.command(names), Duration::from_millis(30));
        sandbox.run("init --role flowdb --role flowetl").succeeded();
        assert_eq!(sandbox.findings("--role flowdb --role flowetl"), []);
        let after = sandbox.files();
        let new = before.iter().filter(|(name, text)| after[*name] != **text).map(|(name, _)| name.as_str());
        let new = new.collect::<Vec<_>>();
        // Three passwords and the four connection strings that hold them.
        assert!(new.is_empty() || new.len() == 7, "{new:?}");
        changed += new.len() / 7;
    }
    assert!(changed < 30, "all {changed} rotations came through: the kills hit nothing");
}

#[test]
fn two_at_once_make_one_set() {
    let sandbox = Sandbox::new();
    let start = || sandbox.command("init --role flowapi --role flowauth").stdout(Stdio::null()).spawn().unwrap();
    let mut running = [start(), start(), start()];
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    assert_eq!(sandbox.findings("--role flowapi --role flowauth"), []);
}
