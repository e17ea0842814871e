//! Nothing is left behind, whatever is killed.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::json;

use super::rig::{Rig, kill, pid, rounds, service, svc, until, with};
use supervisor::{ServiceState, Stopped, client};

/// A service with a child, a grandchild in a session of its own, and one that keeps no descriptor.
fn family() -> serde_json::Value {
    json!([
        svc(
            "one",
            "fork [ setsid fork [ append @/here far sleep 600000 ] sleep 600000 ] \
             fork [ bare [ append @/here bare sleep 600000 ] exit 0 ] serve @/one"
        ),
        with(svc("two", "serve @/two"), json!({ "needs": ["one"] })),
    ])
}

/// Waits for the last of each line, and for the end of the one that only starts another: who counts the family before
/// that counts one that goes for one that comes.
fn see_family(rig: &Rig) {
    until("the whole family", || match (rig.lines("here").len(), rig.processes().len()) {
        (2, 5) => Ok(()),
        (here, n) => Err(format!("{here} of 2 at the ends, {n} processes")),
    });
}

#[test]
fn kill_9_of_the_supervisor_at_random_moments_leaves_nothing_and_the_next_start_works() {
    let mut rig = Rig::new(family());
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds(20) {
        rig.start();
        let status = rig.status();
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..60)));
        kill(status.supervisor, libc::SIGKILL);
        let start = Instant::now();
        assert_eq!(rig.end_code(), 137);
        slowest = slowest.max(start.elapsed());
        assert_eq!(rig.processes(), [] as [i32; 0], "left when the guard was gone");
    }
    // Twenty milliseconds on a quiet machine; the bound is for one that compiles beside it, and far below any patience.
    assert!(slowest < Duration::from_secs(60), "{slowest:?}");
    assert!(rig.err().contains("the supervisor itself ended: signal 9 (SIGKILL)"), "{}", rig.err());
    rig.start_ready();
    rig.stop();
}

#[test]
fn kill_9_of_the_guard_stops_everything_in_order() {
    let mut rig = Rig::new(family());
    let status = rig.start_ready();
    see_family(&rig);
    rig.hear(&["one"]);
    kill(status.guard, libc::SIGKILL);
    assert_eq!(rig.end_code(), 137);
    rig.nothing_left();
    assert!(rig.out().contains("stopping everything (the guard is gone)"), "{}", rig.out());
    assert_eq!(rig.lines("one"), ["serving", "15"]);
    let (two, one) = (rig.out().find("two: stopped"), rig.out().find("one: stopping"));
    assert!(two.is_some() && two < one, "what needs a service stops before it: {}", rig.out());
}

#[test]
fn kill_9_of_both_leaves_survivors_that_the_next_start_clears() {
    let mut rig = Rig::new(family());
    let status = rig.start_ready();
    see_family(&rig);
    kill(status.guard, libc::SIGSTOP);
    kill(status.supervisor, libc::SIGKILL);
    kill(status.guard, libc::SIGKILL);
    assert_eq!(rig.end_code(), 137);
    // The death signal takes the first processes; three others live on.
    until("the survivors alone", || match rig.processes().len() {
        3 => Ok(()),
        n => Err(format!("{n} processes")),
    });
    let survivors = rig.processes();
    rig.start_ready();
    rig.says("ended 3 processes that an earlier run had left behind");
    assert!(rig.processes().iter().all(|pid| !survivors.contains(pid)));
    rig.stop();
    rig.nothing_left();
}

/// Whoever runs as a service can hand its descriptors to anybody: that somebody is neither ended nor in the way.
#[test]
fn whoever_was_given_the_lock_of_the_services_is_left_alone() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let status = rig.start_ready();
    let lock = File::open(rig.path("run/alive.lock")).expect("the lock");
    flock(&lock, FlockOperation::LockShared).expect("shared");
    let mut stranger = Command::new("sleep").arg("1000").stdin(lock).spawn().expect("sleep");
    for process in [status.guard, status.supervisor] {
        kill(process, libc::SIGKILL);
    }
    rig.end();
    rig.start_ready();
    rig.says(&format!("none of ours, left alone: [{}]", stranger.id()));
    assert!(stranger.try_wait().expect("our child").is_none(), "the stranger was ended");
    rig.stop();
    assert_eq!(rig.end_code(), 0);
    stranger.kill().and_then(|()| stranger.wait()).expect("our child");
}

/// The very descriptor that a service has holds the lock for as long as somebody keeps it, unless the lock is let go.
#[test]
fn after_an_orderly_end_nobody_holds_the_lock_of_the_services() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let status = rig.start_ready();
    rig.hear(&["one"]);
    let one = i32::try_from(pid(&status, "one")).ok().and_then(Pid::from_raw).expect("a process");
    let one = pidfd_open(one, PidfdFlags::empty()).expect("it runs");
    let handed = pidfd_getfd(one, 3, PidfdGetfdFlags::empty()).expect("its descriptor of the lock");
    let path = rig.path("run/alive.lock");
    let take = || flock(File::open(&path).expect("the lock"), FlockOperation::NonBlockingLockExclusive);
    assert!(take().is_err(), "the service is alive");
    rig.stop();
    assert_eq!(rig.end_code(), 0);
    assert_eq!(take(), Ok(()), "nobody holds it");
    drop(handed);
}

/// A program may set the limit that carries the cookie; the one above it stays.
#[test]
fn a_survivor_without_its_cookie_is_still_known() {
    let instructions = "fork [ setsid unmark append @/here far sleep 600000 ] serve @/one";
    let mut rig = Rig::new(json!([svc("one", instructions)]));
    let status = rig.start_ready();
    rig.hear(&["one"]);
    until("the other one", || if rig.lines("here") == ["far"] { Ok(()) } else { Err("nobody".into()) });
    kill(status.guard, libc::SIGSTOP);
    kill(status.supervisor, libc::SIGKILL);
    kill(status.guard, libc::SIGKILL);
    rig.end();
    until("the survivor alone", || (rig.processes().len() == 1).then_some(()).ok_or(String::new()));
    assert_eq!(client::clear(&rig.state()).expect("nobody runs there"), 1);
    assert_eq!(rig.processes(), [] as [i32; 0]);
}

#[test]
fn stop_without_a_supervisor_clears_what_it_left_behind() {
    let mut rig = Rig::new(family());
    let status = rig.start_ready();
    see_family(&rig);
    kill(status.guard, libc::SIGSTOP);
    kill(status.supervisor, libc::SIGKILL);
    kill(status.guard, libc::SIGKILL);
    rig.end();
    until("the survivors alone", || (rig.processes().len() == 3).then_some(()).ok_or(String::new()));
    let stopped = client::stop(&rig.state(), Duration::from_secs(60)).expect("cleared");
    assert_eq!(stopped, Stopped::Before { left_behind: 3 });
    assert_eq!(rig.processes(), [] as [i32; 0]);
}

#[test]
fn stop_returns_when_a_double_forked_session_is_gone_too() {
    let mut rig = Rig::new(json!([svc("one", "fork [ setsid fork [ serve @/far 15 1 ] exit 0 ] serve @/one")]));
    rig.start_ready();
    rig.hear(&["one", "far"]);
    rig.stop();
    assert_eq!(rig.processes(), [] as [i32; 0]);
    assert_eq!(rig.end_code(), 0);
    assert_eq!(rig.lines("one"), ["serving", "15"]);
    assert_eq!(rig.lines("far"), ["serving"], "only the first process is told to end");
}

#[test]
fn a_child_that_outlives_its_parent_is_killed_before_stopped_is_said() {
    let one = with(svc("one", "fork [ serve @/child 15 ] serve @/one"), json!({ "stop": [[15, 300]] }));
    let mut rig = Rig::new(json!([one]));
    rig.start_ready();
    rig.hear(&["child"]);
    let took = rig.stop();
    assert!(took >= Duration::from_millis(300), "the child had its patience: {took:?}");
    assert_eq!(rig.processes(), [] as [i32; 0]);
    assert_eq!(rig.end_code(), 0);
}

#[test]
fn a_dead_service_is_started_again_only_when_its_children_are_gone() {
    let mut rig = Rig::new(json!([svc("one", "fork [ setsid serve @/child 15 1 2 3 ] append @/starts x serve @/one")]));
    let first = rig.start_ready();
    rig.hear(&["child"]);
    let old = rig.processes();
    kill(pid(&first, "one"), libc::SIGKILL);
    let second = rig.see("the second instance", |status| status.ready && service(status, "one").restarts == 1);
    assert!(rig.processes().iter().all(|pid| !old.contains(pid)), "nothing of the first instance is left");
    assert_eq!(service(&second, "one").last_exit.as_deref(), Some("signal 9 (SIGKILL)"));
    rig.stop();
}

#[test]
fn five_hundred_processes_are_gone_long_before_their_patience_is() {
    let one = with(svc("one", "many 500 [ serve /dev/null 15 ] serve @/one"), json!({ "stop": [[15, 100]] }));
    let mut rig = Rig::with(json!([one]), json!({ "budget_ms": 3_600_000 }));
    rig.start_ready();
    until("all of them", || match rig.processes().len() {
        501.. => Ok(()),
        n => Err(format!("{n} processes")),
    });
    let took = rig.stop();
    assert_eq!(rig.processes(), [] as [i32; 0]);
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn a_frozen_supervisor_is_killed_by_its_guard_past_the_budget() {
    let mut rig = Rig::with(family(), json!({ "budget_ms": 100 }));
    let status = rig.start_ready();
    kill(status.supervisor, libc::SIGSTOP);
    kill(status.guard, libc::SIGTERM);
    assert_eq!(rig.end_code(), 137);
    rig.nothing_left();
}

#[test]
fn the_watchdogs_signal_ends_a_frozen_supervisor_at_once() {
    let mut rig = Rig::with(family(), json!({ "budget_ms": 3_600_000 }));
    let status = rig.start_ready();
    kill(status.supervisor, libc::SIGSTOP);
    kill(status.guard, libc::SIGABRT);
    let start = Instant::now();
    assert_eq!(rig.end_code(), 137);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(rig.processes(), [] as [i32; 0]);
}

#[test]
fn a_service_in_any_state_can_be_stopped() {
    let phases = [
        (
            "preparing",
            with(svc("one", "serve @/one"), json!({ "before": [[super::rig::example("svc"), "serve", "@/before"]] })),
        ),
        ("starting", with(svc("one", "serve @/one"), json!({ "ready": { "file": "@/never" } }))),
        (
            "backing-off",
            with(
                svc("one", "exit 1"),
                json!({ "first_ms": 3_600_000, "cap_ms": 3_600_000, "limit": 9, "ready": { "file": "@/never" } }),
            ),
        ),
        ("stopping", with(svc("one", "serve @/one 15"), json!({ "stop": [[15, 3_600_000]] }))),
    ];
    for (phase, one) in phases {
        let two = with(svc("two", "serve @/two"), json!({ "needs": ["one"] }));
        let mut rig = Rig::with(json!([one, two]), json!({ "budget_ms": 1000 }));
        rig.start();
        let state: ServiceState = serde_json::from_value(phase.into()).expect("a state");
        if phase == "stopping" {
            rig.hear(&["one"]);
            client::restart(&rig.state(), "one").expect("restarting");
        }
        rig.see_state("one", state);
        if phase == "preparing" {
            rig.hear(&["before"]);
        }
        let took = rig.stop();
        // The budget of one second, not the hour that the phase would take.
        assert!(took < Duration::from_secs(60), "{phase}: {took:?}");
        assert_eq!(rig.end_code(), 0, "{phase}");
        assert_eq!(rig.processes(), [] as [i32; 0], "{phase}");
        assert!(
            phase == "stopping" || rig.lines("two").is_empty(),
            "{phase}: two was started though one was never ready"
        );
    }
}
