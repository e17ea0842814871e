//! What a service inherits, and what happens when its program can't be started.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::rig::{Rig, pid, service, svc, until, with};
use supervisor::ServiceState;

/// The fields of `/proc/PID/status`, as a program sees its own.
fn fields(text: &str) -> BTreeMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once("| ")?.1.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// A task that prints what it was given.
fn report(more: serde_json::Value) -> serde_json::Value {
    let script = "cat /proc/self/status /proc/self/limits; umask; ls -l /proc/self/fd; pwd; env; cat /proc/self/oom_score_adj; echo END";
    let task = json!({ "name": "report", "task": true, "command": ["/bin/sh", "-c", script], "needs": ["direct"] });
    // A shell clears the signal mask, so that is read by a program run directly.
    let direct = json!({ "name": "direct", "task": true, "command": ["/bin/cat", "/proc/self/status"] });
    json!([direct, with(task, more), svc("stay", "serve /dev/null")])
}

/// Runs the supervisor through a shell that spoils what is inherited.
fn spoiled(rig: &mut Rig, spoil: &str) {
    let supervise = rig.command();
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["-c", &format!("{spoil}; exec \"$@\""), "bash"])
        .arg(supervise.get_program())
        .args(supervise.get_args());
    shell.env("LEAK", "secret").env("NOTIFY_SOCKET", "/nowhere");
    rig.start_as(shell);
}

#[test]
fn nothing_is_inherited_by_chance() {
    let mut rig = Rig::new(report(json!({ "dir": "/tmp", "open_files": 321, "env": { "ONE": "1" } })));
    let leak = "umask 0; trap '' HUP USR1 PIPE; for i in $(seq 20 40); do eval \"exec $i</dev/null\"; done; ulimit -c unlimited";
    // A signal mask can't be set from a shell: `env` does it.
    spoiled(&mut rig, &format!("{leak}; set -- env --block-signal=TERM \"$@\""));
    rig.ready();
    // A task has ended before the last of what it said is written.
    rig.says("direct     | nonvoluntary_ctxt_switches");
    rig.says("report     | END");
    let out = rig.out();
    let of = |name: &str| -> String {
        out.lines().filter(|line| line.contains(&format!(" {name}"))).map(|line| format!("{line}\n")).collect()
    };
    let direct = fields(&of("direct"));
    for (name, value) in
        [("SigBlk", "0000000000000000"), ("SigIgn", "0000000000000000"), ("NoNewPrivs", "1"), ("Umask", "0077")]
    {
        assert_eq!(direct.get(name).map(String::as_str), Some(value), "{name}: {out}");
    }
    let report = of("report");
    let descriptors: Vec<&str> = report.lines().filter_map(|line| Some(line.split_once(" -> ")?.1)).collect();
    let kinds: Vec<&str> = descriptors.iter().map(|to| to.split(':').next().unwrap_or_default()).collect();
    // The last is `ls` reading the directory.
    let expected = ["/dev/null", "pipe", "pipe", &rig.state().join("alive.lock").display().to_string(), "/proc/"];
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    assert!(kinds.iter().zip(expected).all(|(is, should)| is.starts_with(should)), "{kinds:?}");
    let says = |text: &str| report.lines().any(|line| line.split("| ").nth(1).is_some_and(|line| line == text));
    assert!(says("/tmp") && says("ONE=1") && says("0077"), "{report}");
    assert!(!report.contains("LEAK") && !report.contains("NOTIFY_SOCKET") && !report.contains("PATH="), "{report}");
    let limit = |name: &str| {
        report.lines().find(|line| line.contains(name)).map(|line| {
            line.split(name).nth(1).unwrap_or_default().split_ascii_whitespace().next().unwrap_or_default().to_owned()
        })
    };
    assert_eq!(limit("Max open files").as_deref(), Some("321"));
    assert_eq!(limit("Max core file size").as_deref(), Some("0"));
    rig.stop();
}

#[test]
fn the_death_signal_survives_the_change_of_user() {
    assert!(rustix::process::geteuid().is_root(), "this test changes users and must run as root");
    let one = json!({ "name": "one", "command": ["/bin/sleep", "1000"], "user": [65534, 65534, 7, 8] });
    let two = with(svc("two", "serve @/two"), json!({}));
    let mut rig = Rig::new(json!([one, two]));
    let status = rig.start_ready();
    let main = pid(&status, "one");
    let seen = fs::read_to_string(format!("/proc/{main}/status")).expect("a status");
    let field = |name: &str| {
        seen.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(field("Uid:").as_deref(), Some("65534 65534 65534 65534"));
    assert_eq!(field("Gid:").as_deref(), Some("65534 65534 65534 65534"));
    assert_eq!(field("Groups:").as_deref(), Some("7 8"));
    // The guard is stopped, so only the death signal can end the service.
    super::rig::kill(status.guard, libc::SIGSTOP);
    super::rig::kill(status.supervisor, libc::SIGKILL);
    until(
        "the death of both",
        || if rig.processes().is_empty() { Ok(()) } else { Err(format!("{:?}", rig.processes())) },
    );
}

#[test]
fn nothing_dies_unasked_while_probe_threads_come_and_go() {
    let services: Vec<_> = (0..20)
        .map(|i| {
            with(
                svc(&format!("s{i}"), "serve /dev/null"),
                json!({ "ready": { "file": "@/go" }, "alive": { "file": "@/go" }, "alive_ms": 10 }),
            )
        })
        .collect();
    let mut rig = Rig::new(json!(services));
    rig.start();
    fs::write(rig.path("go"), "").expect("written");
    let first = rig.ready();
    // Each service is asked a hundred times, each time on a thread of its own.
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let second = rig.status();
    assert_eq!(first.services, second.services);
    rig.stop();
}

#[test]
fn a_hundred_thousand_open_files_cost_nothing_and_the_limit_is_ours() {
    let mut rig = Rig::new(json!([json!({ "name": "one", "command": ["/bin/sleep", "1000"], "open_files": 777 })]));
    spoiled(&mut rig, "ulimit -Sn $(ulimit -Hn)");
    let status = rig.ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid(&status, "one"))).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_ascii_whitespace().nth(3), Some("777"));
    rig.stop();
}

#[test]
fn a_program_that_cannot_run_is_named_at_once_and_not_tried_again() {
    let plain = tempfile::NamedTempFile::new().expect("a file");
    fs::set_permissions(plain.path(), fs::Permissions::from_mode(0o644)).expect("a mode");
    let plain = plain.path().display().to_string();
    let cases = [
        (json!({ "command": ["/nowhere/program"] }), 127, "run /nowhere/program: No such file or directory".to_owned()),
        (json!({ "command": [plain] }), 126, format!("run {plain}: Permission denied")),
        (
            json!({ "command": ["/bin/true"], "dir": "/nowhere" }),
            127,
            "change to directory /nowhere: No such file".to_owned(),
        ),
        (
            json!({ "command": ["/bin/true"], "before": [["/nowhere/step"]] }),
            127,
            "run /nowhere/step: No such file".to_owned(),
        ),
    ];
    for (more, status, text) in cases {
        let other = svc("other", "serve @/other");
        let mut rig = Rig::new(json!([other, with(json!({ "name": "one" }), more)]));
        rig.start();
        assert_eq!(rig.end_code(), status, "{}", rig.err());
        assert!(
            rig.err().starts_with("one can't be kept up: not started: ") && rig.err().contains(&text),
            "{}",
            rig.err()
        );
        assert_eq!(rig.out().matches("one: failed").count(), 1, "{}", rig.out());
        assert_eq!(rig.processes(), [] as [i32; 0]);
    }
}

#[test]
fn a_user_that_we_may_not_become_is_an_error_at_once() {
    let one = json!({ "name": "one", "command": ["/bin/sleep", "1000"], "user": [12345, 12345] });
    let mut rig = Rig::new(json!([one]));
    let supervise = rig.command();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(supervise.get_program())
        .args(supervise.get_args());
    fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o777)).expect("a mode");
    rig.start_as(command);
    assert_eq!(rig.end_code(), 126);
    assert!(rig.err().contains("become user 12345, group 12345: Operation not permitted"), "{}", rig.err());
    assert_eq!(rig.out().matches("one: failed").count(), 1, "{}", rig.out());
}

#[test]
fn orphans_by_the_thousand_are_reaped_and_every_exit_status_is_right() {
    let services = json!([
        svc("storm", "orphans 20 1"),
        with(svc("seven", "sleep 5 exit 7"), json!({ "first_ms": 1, "cap_ms": 5, "limit": 1000 })),
    ]);
    let mut rig = Rig::new(services);
    let status = rig.start_ready();
    rig.see("a hundred ends", |status| service(status, "seven").restarts > 100);
    let seven = service(&rig.status(), "seven").clone();
    assert_eq!(seven.last_exit.as_deref(), Some("exit status 7"));
    // A moment's zombie is one that is just being reaped.
    until("no zombie of the supervisor's", || {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", status.supervisor)).unwrap_or_default();
        let zombie =
            |pid: &&str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        match children.split_ascii_whitespace().filter(zombie).count() {
            0 => Ok(()),
            n => Err(format!("{n} zombies")),
        }
    });
    assert_eq!(service(&rig.status(), "storm").state, ServiceState::Ready);
    rig.stop();
}
