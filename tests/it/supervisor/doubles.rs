//! One supervisor a directory.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use super::rig::{Rig, example, kill, svc};
use supervisor::client;

#[test]
fn a_second_one_is_told_who_is_there_and_touches_nothing() {
    let mut rig = Rig::new(json!([svc("one", "append @/starts x serve @/one")]));
    let status = rig.start_ready();
    let second = rig.command().output().expect("runs");
    assert_eq!(second.status.code(), Some(2));
    let dir = rig.state();
    let expected =
        format!("already running under {}: process {}, since {}\n", dir.display(), status.guard, status.since);
    assert_eq!(String::from_utf8_lossy(&second.stderr), expected);
    assert_eq!(rig.status(), status);
    assert_eq!(rig.lines("starts"), ["x"]);
    rig.stop();
}

#[test]
fn of_twenty_at_once_one_wins() {
    let rig = Rig::new(json!([svc("one", "append @/starts x serve @/one")]));
    let file = rig.file();
    let start = |_| {
        let mut command = Command::new(example("supervise"));
        command.arg("detach").arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
    };
    let all: Vec<_> = (0..20).map(start).collect();
    let ends: Vec<_> = all.into_iter().map(|child| child.wait_with_output().expect("ends")).collect();
    let codes: Vec<_> = ends.iter().map(|end| end.status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(2)).count(), 19, "{codes:?}");
    rig.ready();
    rig.stop();
    assert_eq!(rig.lines("starts"), ["x"]);
}

#[test]
fn a_detached_one_outlives_its_starter_and_logs_to_its_file() {
    let rig = Rig::with(json!([svc("one", "say hello serve @/one")]), json!({ "log": "@/out" }));
    let started = Command::new(example("supervise")).arg("detach").arg(rig.file()).output().expect("runs");
    assert!(started.status.success(), "{started:?}");
    let status = rig.status();
    assert_eq!(String::from_utf8_lossy(&started.stdout).trim(), status.guard.to_string());
    rig.says("one        | hello\n");
    let terminal = fs::read_to_string(format!("/proc/{}/stat", status.guard)).expect("it is there");
    assert_eq!(
        terminal.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(4)),
        Some("0"),
        "no terminal"
    );
    rig.stop();
    assert_eq!(rig.processes(), [] as [i32; 0]);
}

#[test]
fn what_a_detached_start_finds_wrong_is_told_by_the_starter() {
    let rig = Rig::with(json!([svc("one", "serve @/one")]), json!({ "log": "@/missing/log" }));
    let started = Command::new(example("supervise")).arg("detach").arg(rig.file()).output().expect("runs");
    assert_eq!(started.status.code(), Some(1));
    let expected =
        format!("cannot open {}: No such file or directory (os error 2)\n", rig.path("missing/log").display());
    assert_eq!(String::from_utf8_lossy(&started.stderr), expected);
}

#[test]
fn what_a_crash_left_is_no_obstacle() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    fs::create_dir(rig.state()).expect("made");
    for name in ["run.lock", "run/alive.lock", "run/control.sock", "run/control.new"] {
        fs::write(rig.path(name), "left by a crash").expect("written");
    }
    rig.start_ready();
    rig.stop();
    let status = rig.start_ready();
    kill(status.supervisor, libc::SIGKILL);
    kill(status.guard, libc::SIGKILL);
    rig.end();
    rig.start_ready();
    rig.stop();
}

#[test]
fn a_path_too_long_for_a_socket_is_refused_before_anything_starts() {
    let long = "x".repeat(100);
    let mut rig =
        Rig::with(json!([svc("one", "append @/starts x serve @/one")]), json!({ "state": format!("@/{long}") }));
    rig.start();
    assert_eq!(rig.end_code(), 2);
    let path = rig.path(&long).join("control.sock");
    let expected = format!(
        "{} is {} bytes long and a socket's path may have 107: choose a shorter directory\n",
        path.display(),
        path.as_os_str().len()
    );
    assert_eq!(rig.err(), expected);
    assert!(rig.lines("starts").is_empty());
}

#[test]
fn a_set_that_makes_no_sense_is_refused() {
    let needs = |name: &str, need: &str| json!({ "name": name, "command": ["/bin/true"], "needs": [need] });
    let cases = [
        (json!([needs("a", "b")]), "a needs b, which is not in the set"),
        (json!([needs("a", "b"), needs("b", "a")]), "a needs itself, through others or directly"),
        (json!([svc("a", "serve @/a"), svc("a", "serve @/a")]), "there are two named a"),
    ];
    for (services, text) in cases {
        let mut rig = Rig::new(services);
        rig.start();
        assert_eq!(rig.end_code(), 1);
        assert_eq!(rig.err(), format!("the set of services is wrong: {text}\n"));
    }
}

#[test]
fn nobody_there_is_told_as_such() {
    let rig = Rig::new(json!([]));
    let error = client::status(&rig.state()).expect_err("nobody is there");
    assert_eq!(error.to_string(), format!("nothing is running under {}", rig.state().display()));
}
