//! Who gets which signal: from a terminal, from outside, at a stop.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, kill, pid, service, svc, until, with};
use supervisor::client;

/// The supervisor on a terminal of its own, in front, with what is typed there.
struct Terminal {
    script: Child,
}

impl Terminal {
    fn new(rig: &Rig) -> Terminal {
        let supervise = rig.command();
        // The shell gets each Ctrl-C too, and some shells (dash) would end of it before they report:
        // it traps the signal, which (unlike ignoring it) is not handed down to the supervisor.
        let line = format!(
            "trap : INT; {} run {}; echo status $? > {}",
            supervise.get_program().display(),
            rig.file().display(),
            rig.path("status").display()
        );
        let mut command = Command::new("script");
        command.args(["-qfc", &line]).arg(rig.path("out")).stdin(Stdio::piped()).stdout(Stdio::null());
        Terminal { script: command.spawn().expect("script, of the package bsdutils, is there") }
    }

    fn ctrl_c(&mut self) {
        let stdin = self.script.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\x03").and_then(|()| stdin.flush()).expect("typed");
    }

    fn status(&mut self, rig: &Rig) -> String {
        let text = until("the status", || match rig.lines("status").first() {
            Some(line) => Ok(line.clone()),
            None => Err(rig.out()),
        });
        self.script.wait().expect("script ends");
        text
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn ctrl_c_reaches_a_service_only_as_its_own_stop_signal() {
    let rig = Rig::new(json!([with(svc("one", "serve @/one"), json!({ "stop": [[10, 5000]] }))]));
    let mut terminal = Terminal::new(&rig);
    rig.ready();
    rig.hear(&["one"]);
    terminal.ctrl_c();
    assert_eq!(terminal.status(&rig), "status 130");
    assert_eq!(rig.lines("one"), ["serving", "10"]);
    rig.nothing_left();
}

#[test]
fn a_second_ctrl_c_shortens_the_patience_and_a_third_kills() {
    for (presses, at_least, at_most) in [(2, 1500, 4000), (3, 0, 1500)] {
        let one = with(svc("one", "fork [ serve @/child 15 ] serve @/one 15"), json!({ "stop": [[15, 60_000]] }));
        let rig = Rig::with(json!([one]), json!({ "budget_ms": 60_000 }));
        let mut terminal = Terminal::new(&rig);
        rig.ready();
        until("both", || {
            (rig.lines("one").len() == 1 && rig.lines("child").len() == 1).then_some(()).ok_or(String::new())
        });
        let start = Instant::now();
        for press in 1..=presses {
            terminal.ctrl_c();
            let heard = || rig.out().matches("stopping everything").count();
            until("each Ctrl-C to be heard", || (heard() == press).then_some(()).ok_or(rig.out()));
        }
        assert_eq!(terminal.status(&rig), "status 130");
        let took = start.elapsed();
        let bounds = Duration::from_millis(at_least)..Duration::from_millis(at_most);
        assert!(bounds.contains(&took), "{presses} times: {took:?}");
        rig.nothing_left();
    }
}

#[test]
fn a_closing_terminal_stops_everything_in_order() {
    let rig = Rig::new(json!([svc("one", "serve @/one")]));
    let mut terminal = Terminal::new(&rig);
    let status = rig.ready();
    rig.hear(&["one"]);
    kill(terminal.script.id(), libc::SIGKILL);
    terminal.script.wait().expect("killed");
    rig.nothing_left();
    assert_eq!(rig.lines("one"), ["serving", "15"]);
    until("the guard to be gone", || match std::fs::read(format!("/proc/{}/stat", status.guard)) {
        Ok(stat) if !String::from_utf8_lossy(&stat).contains(") Z ") => Err("there".into()),
        _ => Ok(()),
    });
}

#[test]
fn hangup_is_ignored_under_nohup_and_stops_otherwise() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let supervise = rig.command();
    let mut nohup = Command::new("nohup");
    nohup.arg(supervise.get_program()).args(supervise.get_args());
    rig.start_as(nohup);
    let status = rig.ready();
    kill(status.guard, libc::SIGHUP);
    kill(status.supervisor, libc::SIGHUP);
    kill(status.guard, libc::SIGUSR1);
    kill(status.guard, libc::SIGWINCH);
    // An answer after the signals: they have been read, or the stop would show.
    client::restart(&rig.state(), "one").expect("restarting");
    let status = rig.see("the restart", |status| status.ready && service(status, "one").restarts == 1);
    assert!(!status.stopping);
    rig.stop();
    assert_eq!(rig.end_code(), 0);

    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let status = rig.start_ready();
    kill(status.guard, libc::SIGHUP);
    assert_eq!(rig.end_code(), 0);
}

#[test]
fn each_service_gets_its_own_signals_first_process_only_and_once() {
    let steps = json!({ "stop": [[10, 150], [12, 150], [15, 5000]] });
    let one = with(svc("one", "many 3 [ serve @/child ] serve @/one 10 12"), steps);
    let mut rig = Rig::new(json!([one]));
    rig.start_ready();
    until("the children", || {
        (rig.lines("child").len() == 3 && rig.lines("one").len() == 1).then_some(()).ok_or(String::new())
    });
    rig.stop();
    let signals: Vec<String> = rig.lines("one").into_iter().filter(|line| line != "18").collect();
    assert_eq!(signals, ["serving", "10", "12", "15"]);
    assert_eq!(rig.lines("child"), ["serving"; 3]);
}

#[test]
fn a_service_that_was_stopped_by_the_kernel_still_hears_its_signal() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let status = rig.start_ready();
    rig.hear(&["one"]);
    kill(pid(&status, "one"), libc::SIGSTOP);
    let took = rig.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(rig.lines("one").contains(&"15".to_owned()));
}

#[test]
fn what_is_needed_is_stopped_last_and_all_within_the_budget() {
    // The first to stop ignores its signal for longer than the whole budget; the last needs half a second after its second.
    let base = with(svc("base", "serve @/base 2"), json!({ "stop": [[2, 60_000], [3, 5000]] }));
    let stubborn = with(svc("stubborn", "serve @/stubborn 15"), json!({ "needs": ["base"], "stop": [[15, 60_000]] }));
    let mut rig = Rig::with(json!([base, stubborn]), json!({ "budget_ms": 2000 }));
    let status = rig.start_ready();
    rig.hear(&["base", "stubborn"]);
    let start = Instant::now();
    kill(status.guard, libc::SIGTERM);
    assert_eq!(rig.end_code(), 0);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(
        rig.lines("base"),
        ["serving", "2", "18", "3"].map(str::to_owned),
        "the immediate step came before SIGKILL"
    );
}
