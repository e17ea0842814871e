//! As the first process of a container, played by a process namespace.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, kill, service, svc, with};

/// Starts the rig as process 1 of a namespace; returns the process id of that process outside.
fn start(rig: &mut Rig) -> u32 {
    let supervise = rig.command();
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(supervise.get_program())
        .args(supervise.get_args());
    rig.start_as(unshare);
    let outer = rig.child_id();
    rig.ready();
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).expect("its child");
    children.trim().parse().expect("one child")
}

#[test]
fn a_containers_stop_signal_stops_everything_in_order() {
    let mut rig =
        Rig::new(json!([svc("one", "serve @/one"), with(svc("two", "serve @/two"), json!({ "needs": ["one"] }))]));
    let first = start(&mut rig);
    assert_eq!(rig.status().guard, 1);
    rig.hear(&["one", "two"]);
    kill(first, libc::SIGTERM);
    assert_eq!(rig.end_code(), 0);
    assert_eq!(
        (rig.lines("one"), rig.lines("two")),
        (vec!["serving".into(), "15".into()], vec!["serving".into(), "15".into()])
    );
}

#[test]
fn strangers_orphans_are_reaped_and_a_death_of_the_supervisor_ends_the_container() {
    let mut rig = Rig::new(json!([
        svc("storm", "orphans 20 1"),
        with(svc("seven", "sleep 5 exit 7"), json!({ "first_ms": 1, "cap_ms": 5, "limit": 1000 })),
    ]));
    let first = start(&mut rig);
    rig.see("a hundred ends", |status| service(status, "seven").restarts > 100);
    assert_eq!(service(&rig.status(), "seven").last_exit.as_deref(), Some("exit status 7"));
    let below = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).expect("the supervisor");
    kill(below.trim().parse().expect("one child"), libc::SIGKILL);
    let start = Instant::now();
    assert_eq!(rig.end_code(), 137);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(rig.processes(), [] as [i32; 0]);
}
