//! What others do to it: it is killed, another one shares its database, FlowAPI is away.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::all;
use crate::rig::{Rig, processes_with, wait};

#[tokio::test]
async fn killed_at_any_moment_it_loses_nothing_and_runs_nothing_twice() {
    let days: Vec<String> = (1..=12).map(|day| format!("2016-01-{day:02}")).collect();
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&days, &all(&["a"], "'0 0 1 1 *'"), &[("a", "import time; time.sleep(0.05)")]);
    rig.settings.insert("FLOWKIT_AUTOFLOW_ATTEMPTS".to_owned(), "100".to_owned());
    rig.settings.insert("FLOWKIT_AUTOFLOW_CONCURRENCY".to_owned(), "2".to_owned());
    let wanted: Vec<String> = days.iter().map(|day| format!("a {day} success")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for round in 0..6u64 {
        let mut running = rig.start();
        if round == 0 {
            // Once: from then on what waits is made up for, whatever the schedule says.
            rig.come_due().await;
        }
        std::thread::sleep(std::time::Duration::from_millis(120 + round * 130 % 500));
        running.signal(if round % 3 == 2 { Signal::TERM } else { Signal::KILL });
        let _ = running.child.wait();
    }
    let running = rig.start();
    running.wait_for(&rig, &wanted);
    wait(&rig, "all is in its place", || {
        rig.outputs("notebooks").len() == days.len() && rig.outputs(".running").is_empty()
    });
    wait(&rig, "nothing is left", || processes_with(&rig.path("env")).is_empty());
    running.stop();
    assert_eq!(rig.outputs("notebooks").len(), days.len(), "each once");
}

#[tokio::test]
async fn what_waits_for_its_place_is_not_lost_when_it_is_run_again_by_hand() {
    let rig = Rig::new(&[], &all(&["a"], "null"), &[("a", "")]);
    let by_hand = || rig.autoflow(&["run", "a", "--dates", "2016-01-01"]);
    let first = by_hand();
    assert!(first.status.success(), "{first:?}");
    // As if it had been killed when the run had just ended.
    let status = rig.autoflow(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_else(|_| panic!("{status:?}"));
    let running = rig.path("outputs/.running").join(status["runs"][0]["run"].as_str().unwrap());
    let [name] = &rig.outputs("notebooks")[..] else { panic!("one") };
    fs::create_dir_all(running.join("notebooks")).unwrap();
    fs::rename(rig.path("outputs/notebooks").join(name), running.join("notebooks").join(name)).unwrap();
    rig.change("UPDATE autoflow_runs SET published = 0").await;
    let second = by_hand();
    assert!(second.status.success(), "{second:?}");
    let names = rig.outputs("notebooks");
    assert!(names.len() == 2 && names.contains(name) && !running.exists(), "{names:?}");

    // It is on another machine that shares the database.
    rig.change("UPDATE autoflow_runs SET published = 0").await;
    let third = by_hand();
    let said = String::from_utf8_lossy(&third.stderr);
    let why = "a 2016-01-01: what it made last is not in its place yet: try again in some minutes";
    assert!(third.status.code() == Some(1) && said.contains(why), "{third:?}");
    rig.change("UPDATE autoflow_runs SET ended = ended - 900").await;
    let fourth = by_hand();
    assert!(fourth.status.success() && rig.outputs("notebooks").len() == 3, "{fourth:?}");
}

#[test]
fn two_on_one_database_share_the_work() {
    let days: Vec<String> = (1..=8).map(|day| format!("2016-01-{day:02}")).collect();
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    let mut rig = Rig::new(
        &days,
        &all(&["a"], "null"),
        &[("a", "import os, time; time.sleep(0.1); open(os.environ['TMPDIR'] + '/x', 'w')")],
    );
    let uri = format!("sqlite:///{}", rig.path("shared.sqlite").display());
    rig.put("secrets/AUTOFLOW_DB_URI", &uri);
    let first = rig.start();
    let refused = rig.autoflow(&[]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("another AutoFlow runs with this directory"),
        "{refused:?}"
    );
    // What one keeps for a moment is not the other's to remove.
    let other = rig.path("other-state");
    fs::create_dir(&other).unwrap();
    rig.settings.insert("STATE_DIRECTORY".to_owned(), other.to_str().unwrap().to_owned());
    let second = rig.start();
    let wanted: Vec<String> = days.iter().map(|day| format!("a {day} success")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let runs = second.wait_for(&rig, &wanted);
    assert!(runs.iter().all(|run| run["attempts"] == 1), "{runs:?}");
    wait(&rig, "all is in its place", || rig.outputs("notebooks").len() == days.len());
    first.stop();
    second.stop();
    assert_eq!(rig.outputs("notebooks").len(), days.len(), "each once");
}

#[tokio::test]
async fn while_flowapi_is_away_nothing_is_tried_and_all_else_goes_on() {
    let notebook = "import os\nassert os.path.exists(os.path.dirname(__import__('sys').argv[4]) + '/flag'), 'not yet'";
    let rig = Rig::new(&["2016-01-01"], &all(&["a"], "'0 0 1 1 *'"), &[("a", notebook)]);
    rig.hang(true);
    let running = rig.start();
    rig.come_due().await;
    wait(&rig, "the question", || rig.asked() == 1);
    assert!(running.get("/", "localhost").unwrap().contains("Nothing has run yet."), "the page answers meanwhile");
    let began = std::time::Instant::now();
    running.stop();
    assert!(began.elapsed().as_secs() < 12, "it stops in time: {:?}", began.elapsed());

    // By another start it is asked anew; the run fails once.
    rig.hang(false);
    let running = rig.start();
    rig.come_due().await;
    let failed = running.wait_for(&rig, &["a 2016-01-01 failed"]);
    assert_eq!(failed[0]["attempts"], 1, "{failed:?}");
    let good = fs::read_to_string(rig.path("secrets/FLOWAPI_TOKEN")).unwrap();
    rig.take_token("another");
    wait(&rig, "it is said", || rig.log().contains("FlowAPI does not say which days there are: it answers 401"));
    assert!(running.get("/", "localhost").unwrap().contains("failed: it answers 401"));
    rig.put("inputs/flag", "");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(running.runs()[0]["attempts"], 1, "no attempt is wasted");
    rig.take_token(&good);
    let runs = running.wait_for(&rig, &["a 2016-01-01 success"]);
    assert_eq!(runs[0]["attempts"], 2, "{runs:?}");

    // A clock that was ten years ahead must not put off the next look by as many.
    let now = autoflow::engine::now();
    rig.looked(now + 3650 * 86_400).await;
    let latest = time::OffsetDateTime::from_unix_timestamp(now + 367 * 86_400).unwrap().year();
    wait(&rig, "the next look", || {
        let page = running.get("/", "localhost").unwrap();
        let next = page.split("asked for next at ").nth(1).and_then(|rest| rest.get(..4)?.parse::<i32>().ok());
        next.is_some_and(|year| year <= latest)
    });
    running.stop();
}
