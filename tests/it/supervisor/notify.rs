//! What systemd hears; it is played by a socket of the test's.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, SOON, kill, svc, with};

struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    fn new(rig: &Rig) -> Systemd {
        let socket = UnixDatagram::bind(rig.path("notify")).expect("bound");
        socket.set_read_timeout(Some(SOON)).expect("a patience");
        Systemd { socket }
    }

    /// Everything until a message contains a text, that one included.
    fn until(&self, text: &str) -> String {
        let mut all = String::new();
        let mut buffer = [0; 4096];
        while !all.contains(text) {
            let n = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error} after {all:?}"));
            all.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        all
    }
}

fn start(rig: &mut Rig, watchdog: Option<Duration>) {
    let mut command = rig.command();
    command.env("NOTIFY_SOCKET", rig.path("notify"));
    if let Some(interval) = watchdog {
        command.env("WATCHDOG_USEC", interval.as_micros().to_string());
    }
    rig.start_as(command);
}

#[test]
fn ready_is_said_when_all_are_and_stopping_at_the_stop() {
    let one = with(svc("one", "serve @/one"), json!({ "ready": { "file": "@/up" } }));
    let two = with(svc("two", "serve @/two"), json!({ "needs": ["one"] }));
    let mut rig = Rig::new(json!([one, two]));
    let systemd = Systemd::new(&rig);
    start(&mut rig, None);
    let before = systemd.until("STATUS=0 of 2 ready; one starting, two waiting\n");
    assert!(before.contains("EXTEND_TIMEOUT_USEC=30000000\n") && !before.contains("READY=1"), "{before}");
    fs::write(rig.path("up"), "").expect("written");
    let started = systemd.until("STATUS=2 of 2 ready\n");
    assert_eq!(started.matches("READY=1\n").count(), 1, "{started}");
    rig.stop();
    let stopped = systemd.until("STOPPING=1\n");
    assert!(!stopped.contains("READY=1"), "{stopped}");
}

#[test]
fn the_watchdog_is_fed_by_the_main_loop_alone() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let systemd = Systemd::new(&rig);
    start(&mut rig, Some(Duration::from_millis(200)));
    let status = rig.ready();
    let start = Instant::now();
    for _ in 0..5 {
        systemd.until("WATCHDOG=1\n");
    }
    assert!(start.elapsed() < Duration::from_secs(15));
    // Probe, log and client threads are of no help to a main loop that stands still.
    kill(status.supervisor, libc::SIGSTOP);
    systemd.socket.set_read_timeout(Some(Duration::from_millis(600))).expect("a patience");
    let mut buffer = [0; 4096];
    // What was sent before the stop may still be there.
    let silence = (0..3).any(|_| systemd.socket.recv(&mut buffer).is_err());
    assert!(silence, "a frozen main loop must be silent");
    kill(status.supervisor, libc::SIGCONT);
    systemd.socket.set_read_timeout(Some(SOON)).expect("a patience");
    systemd.until("WATCHDOG=1\n");
    rig.stop();
}
