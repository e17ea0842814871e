//! Who clears up temporary files takes the supervisor's away, and not the supervisor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, SOON, example, kill, svc};
use supervisor::{Error, Stopped, client};

/// One of two may be seen at a look: gone, or there again.
fn remove(rig: &Rig, what: &[&str]) {
    for name in what {
        let path = rig.path(name);
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        assert!(gone.is_ok() || !path.exists(), "{name}: {gone:?}");
    }
}

#[test]
fn whatever_is_removed_the_running_supervisor_is_found_and_makes_it_anew() {
    for what in [&["run/control.sock"][..], &["run"], &["run.lock"], &["run", "run.lock"]] {
        let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
        let before = rig.start_ready();
        rig.hear(&["one"]);
        remove(&rig, what);
        // At once, before it can have looked: nobody can start beside it.
        let start = example("supervise");
        let second = std::process::Command::new(start).arg("run").arg(rig.file()).output().expect("runs");
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(2), "{what:?}: {said}");
        assert!(said.starts_with(&format!("already running under {}", rig.state().display())), "{what:?}: {said}");
        rig.says("made anew what was removed");
        // Then it is found again, and all that belongs to it.
        let after = rig.status();
        assert_eq!(
            (after.supervisor, after.guard, &after.services),
            (before.supervisor, before.guard, &before.services)
        );
        assert_eq!(fs::metadata(rig.state()).expect("a directory").permissions().mode() & 0o777, 0o700);
        for name in ["run.lock", "run/control.sock"] {
            assert!(rig.path(name).exists(), "{what:?}: {name}");
        }
        assert_eq!(client::stop(&rig.state(), SOON).expect("stopped"), Stopped::Now, "{what:?}");
        assert_eq!(rig.end_code(), 0);
        assert_eq!(rig.lines("one"), ["serving", "15"], "it was stopped in order");
    }
}

#[test]
fn a_supervisor_that_no_client_can_reach_is_found_by_its_lock_and_stopped_in_order() {
    let mut rig = Rig::new(json!([svc("one", "serve @/one")]));
    let before = rig.start_ready();
    rig.hear(&["one"]);
    remove(&rig, &["run"]);
    fs::write(rig.path("run"), "in the way").expect("written");
    match client::status(&rig.state()) {
        Err(Error::Deaf { pid, .. }) => assert_eq!(pid, before.guard),
        other => panic!("{other:?}"),
    }
    assert_eq!(client::stop(&rig.state(), SOON).expect("stopped"), Stopped::Now);
    assert_eq!(rig.end_code(), 0);
    assert_eq!(rig.lines("one"), ["serving", "15"], "it was stopped in order");
}

/// The guard clears up for some milliseconds: that is waited for, not refused.
#[test]
fn kill_9_of_the_supervisor_is_no_obstacle_to_the_next_at_once() {
    let mut rig =
        Rig::new(json!([svc("one", "many 30 [ serve /dev/null 15 ] serve @/one"), svc("two", "serve @/two")]));
    for round in 0..super::rig::rounds(30) {
        let status = rig.start_ready();
        let begun = Instant::now();
        kill(status.supervisor, libc::SIGKILL);
        if round % 2 == 0 {
            kill(status.guard, libc::SIGKILL);
        }
        // Cleared by whoever comes first.
        client::clear(&rig.state()).expect("nobody runs there");
        assert_eq!(rig.processes(), [] as [i32; 0], "left when the directory was free");
        assert!(begun.elapsed() < Duration::from_secs(10));
        rig.end();
    }
}
