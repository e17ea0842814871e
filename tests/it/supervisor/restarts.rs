//! Order, readiness, restarts and giving up.

use std::fs;

use serde_json::json;

use super::rig::{Rig, kill, pid, rounds, service, svc, until, with};
use supervisor::{ServiceState, client};

/// Milliseconds since midnight of the first log line that contains a text.
fn at(rig: &Rig, text: &str) -> f64 {
    let out = rig.out();
    let line = out.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in\n{out}"));
    let time = &line[11..23];
    let number = |range: std::ops::Range<usize>| time[range].parse::<f64>().expect("digits");
    (number(0..2) * 3600.0 + number(3..5) * 60.0 + number(6..12)) * 1000.0
}

#[test]
fn independent_services_start_together_and_dependents_after() {
    let slow = |name: &str| with(svc(name, "sleep 400 append @/{} x serve @/served"), json!({}));
    let made = |name: &str, needs: &[&str]| {
        let text = slow(name).to_string().replace("{}", name);
        let service: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        with(service, json!({ "ready": { "file": format!("@/{name}") }, "needs": needs }))
    };
    let mut rig = Rig::new(json!([
        made("top", &["left", "right"]),
        made("left", &["base"]),
        made("right", &["base"]),
        made("base", &[])
    ]));
    rig.start_ready();
    rig.says("everything is ready");
    let [starting, ready] = ["starting", "ready"].map(|what| move |name: &str| format!("{name}: {what}"));
    let base = at(&rig, &ready("base"));
    let (left, right) = (at(&rig, &starting("left")), at(&rig, &starting("right")));
    assert!(left >= base && right >= base, "{}", rig.out());
    assert!(left < at(&rig, &ready("right")) && right < at(&rig, &ready("left")), "together: {}", rig.out());
    assert!(at(&rig, &starting("top")) >= at(&rig, &ready("left")).max(at(&rig, &ready("right"))));
    rig.stop();
}

#[test]
fn a_task_gates_what_needs_it_and_is_done_once() {
    let task = with(svc("task", "append @/task x sleep 100"), json!({ "task": true }));
    let one = with(svc("one", "append @/task y serve @/one"), json!({ "needs": ["task"] }));
    let mut rig = Rig::new(json!([one, task]));
    let status = rig.start_ready();
    assert_eq!(service(&status, "task").state, ServiceState::Finished);
    until("both lines", || (rig.lines("task") == ["x", "y"]).then_some(()).ok_or(format!("{:?}", rig.lines("task"))));
    rig.stop();
}

#[test]
fn a_set_of_tasks_ends_when_they_are_done() {
    let mut rig = Rig::new(json!([with(svc("task", "exit 0"), json!({ "task": true }))]));
    rig.start();
    assert_eq!(rig.end_code(), 0);
}

#[test]
fn steps_come_before_every_start_one_after_the_other() {
    let step = |text: &str| json!([super::rig::example("svc"), "append", "@/steps", text]);
    let one =
        with(svc("one", "append @/steps main serve @/one"), json!({ "before": [step("a"), step("b")], "reset_ms": 0 }));
    let mut rig = Rig::new(json!([one]));
    let status = rig.start_ready();
    until("the first start", || {
        (rig.lines("steps").len() == 3).then_some(()).ok_or(format!("{:?}", rig.lines("steps")))
    });
    kill(pid(&status, "one"), libc::SIGKILL);
    until("both starts", || (rig.lines("steps").len() == 6).then_some(()).ok_or(format!("{:?}", rig.lines("steps"))));
    assert_eq!(rig.lines("steps"), ["a", "b", "main", "a", "b", "main"]);
    rig.stop();
}

#[test]
fn a_stable_service_is_back_at_once() {
    // One that was waited for would be back within two hours, at some moment of them.
    let waits = json!({ "reset_ms": 0, "first_ms": 7_200_000, "cap_ms": 7_200_000 });
    let mut rig = Rig::new(json!([with(json!({ "name": "one", "command": ["/bin/sleep", "1000"] }), waits)]));
    let mut status = rig.start_ready();
    for round in 1..=rounds(20) as u64 {
        let old = pid(&status, "one");
        kill(old, libc::SIGKILL);
        status = rig.see("the next instance", |status| status.ready && service(status, "one").restarts == round);
    }
    assert_eq!(rig.status().services[0].state, ServiceState::Ready);
    rig.stop();
}

#[test]
fn a_service_that_always_dies_is_given_up_with_its_last_lines() {
    let one =
        with(svc("one", "flood 25 3 exit 3"), json!({ "first_ms": 10, "cap_ms": 40, "limit": 6, "needs": ["other"] }));
    let other = with(svc("other", "serve @/other"), json!({ "ready": { "file": "@/other" } }));
    let mut rig = Rig::new(json!([one, other]));
    rig.start();
    assert_eq!(rig.end_code(), 3);
    let lines: String = (5..25).map(|i| format!("    {i:0>3}\n")).collect();
    let expected = format!("one can't be kept up: it died 6 times (last: exit status 3); its last lines:\n{lines}");
    assert_eq!(rig.err(), expected);
    assert_eq!(rig.out().matches("one: starting").count(), 6);
    assert_eq!(rig.lines("other"), ["serving", "15"]);
    assert_eq!(rig.processes(), [] as [i32; 0]);
}

#[test]
fn a_service_that_must_not_die_ends_the_set_at_its_first_death() {
    let mut rig = Rig::new(json!([with(svc("one", "kill 6"), json!({ "limit": 0 }))]));
    rig.start();
    assert_eq!(rig.end_code(), 128 + 6);
    assert_eq!(rig.err(), "one can't be kept up: signal 6 (SIGABRT)\n");
}

#[test]
fn a_daemon_that_ends_well_unasked_is_a_death_too() {
    let mut rig = Rig::new(json!([with(svc("one", "exit 0"), json!({ "limit": 1 }))]));
    rig.start();
    assert_eq!(rig.end_code(), 1);
}

#[test]
fn dependents_act_by_their_rule_once() {
    let base = with(
        svc("base", "append @/up x serve @/base"),
        json!({ "ready": { "file": "@/up" }, "first_ms": 1, "cap_ms": 1 }),
    );
    let keeps = with(svc("keeps", "serve @/keeps"), json!({ "needs": ["base"] }));
    let follows =
        with(svc("follows", "serve @/follows"), json!({ "needs": ["base"], "restart_with_dependency": true }));
    let mut rig = Rig::new(json!([base, keeps, follows]));
    let first = rig.start_ready();
    fs::remove_file(rig.path("up")).expect("it was up");
    kill(pid(&first, "base"), libc::SIGKILL);
    let second = rig.see("everything again", |status| {
        status.ready && service(status, "base").restarts == 1 && service(status, "follows").restarts > 0
    });
    assert_eq!(service(&second, "follows").restarts, 1);
    assert_eq!(service(&second, "keeps").restarts, 0);
    assert_eq!(pid(&first, "keeps"), pid(&second, "keeps"));
    rig.stop();
}

#[test]
fn readiness_of_an_earlier_instance_starts_nobody() {
    let base = with(svc("base", "serve @/base"), json!({ "ready": { "file": "@/up" }, "first_ms": 1, "cap_ms": 1 }));
    let follows =
        with(svc("follows", "serve @/follows"), json!({ "needs": ["base"], "restart_with_dependency": true }));
    let mut rig = Rig::new(json!([base, follows]));
    rig.start();
    fs::write(rig.path("up"), "").expect("written");
    let first = rig.ready();
    rig.hear(&["follows"]);
    fs::remove_file(rig.path("up")).expect("it was up");
    kill(pid(&first, "base"), libc::SIGKILL);
    rig.see("the new instance", |status| {
        service(status, "base").restarts == 1 && service(status, "follows").state == ServiceState::Waiting
    });
    let waiting = rig.see_state("follows", ServiceState::Waiting);
    assert_eq!(waiting.message.as_deref(), Some("for base"));
    assert_eq!(rig.lines("follows").iter().filter(|line| *line == "serving").count(), 1);
    fs::write(rig.path("up"), "").expect("written");
    rig.ready();
    rig.stop();
}

#[test]
fn a_probe_that_hangs_is_asked_once_and_holds_up_nobody() {
    let hangs = with(svc("hangs", "serve @/hangs"), json!({ "ready": { "hang": "@/asked" } }));
    let mut rig = Rig::with(json!([hangs, svc("other", "serve @/other")]), json!({ "budget_ms": 1000 }));
    rig.start();
    rig.see_state("other", ServiceState::Ready);
    let said = "the question whether it is ready is not answered";
    let status = rig.see("the hang to be told", |status| service(status, "hangs").message.as_deref() == Some(said));
    assert_eq!(service(&status, "hangs").state, ServiceState::Starting);
    client::restart(&rig.state(), "hangs").expect("restarting");
    rig.see("the restart", |status| {
        service(status, "hangs").restarts == 1 && service(status, "hangs").state == ServiceState::Starting
    });
    assert_eq!(rig.lines("asked"), ["asked"]);
    rig.stop();
    assert_eq!(rig.end_code(), 0);
}

#[test]
fn a_service_that_is_no_more_alive_is_restarted() {
    let one = with(
        svc("one", "append @/good x serve @/one"),
        json!({ "alive": { "file": "@/good" }, "alive_ms": 30, "reset_ms": 0 }),
    );
    let mut rig = Rig::new(json!([one]));
    let first = rig.start_ready();
    rig.hear(&["one"]);
    fs::remove_file(rig.path("good")).expect("it was good");
    let second = rig.see("the restart", |status| status.ready && service(status, "one").restarts == 1);
    assert_ne!(pid(&first, "one"), pid(&second, "one"));
    assert_eq!(rig.lines("one")[..2], ["serving", "15"], "it was asked to end before");
    rig.stop();
}

#[test]
fn a_client_can_restart_one_service_and_not_one_that_is_unknown() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one"), svc("two", "serve @/two")]));
    let first = rig.start_ready();
    client::restart(&rig.state(), "one").expect("restarting");
    let second = rig.see("the restart", |status| status.ready && service(status, "one").restarts == 1);
    assert_eq!(pid(&first, "two"), pid(&second, "two"));
    let error = client::restart(&rig.state(), "three").expect_err("there is none");
    assert_eq!(error.to_string(), "refused: there is no service \"three\"");
    rig.stop();
}
