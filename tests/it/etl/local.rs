//! Files of local days, and what a replacement leaves that was killed.

use std::time::Duration;

use super::{Rig, SUPERUSER, calls};
use crate::support::poll::wait;

/// A call for each hour of a local day, and what else stands there.
fn hours(day: u32, more: &str) -> String {
    let row = |hour: u32| format!("2016-01-{day:02} {hour:02}:30:00,a{hour},c1\n");
    format!("datetime,msisdn,location_id\n{}{more}", (0..24).map(row).collect::<String>())
}

#[test]
fn local_days_become_days_of_utc() {
    let rig = Rig::started();
    let first = rig.file("calls_20160101.csv", hours(1, ""));
    let second = rig.file("calls_20160102.csv", hours(2, "2016-01-20 00:00:00,late,c1\n"));
    let third = rig.file("calls_20160103.csv", hours(3, ""));
    let zone = ["--local-days", "--timezone", "America/Port-au-Prince", "--max-rejects", "10%"];
    let load = |options: &[&str], files: &[&std::path::Path]| {
        rig.run(&[&["load", "calls"], &zone[..], options].concat(), files)
    };
    let said = load(&[], &[&first, &second, &third]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("loaded 2 days, 48 rows, in "), "{said:?}");
    for line in [
        "2016-01-01: left for later: a part of it is in the file of the local day 2015-12-31\n",
        "2016-01-04: left for later: a part of it is in the file of the local day 2016-01-04\n",
        "2016-01-02: 24 rows; 1 lines refused, see ",
        "2016-01-03: 24 rows; 1 lines refused, see ",
    ] {
        assert!(said.stderr.contains(line), "{line}: {said:?}");
    }
    let there = "SELECT datetime::date, count(*), count(DISTINCT msisdn), min(msisdn) FILTER (WHERE extract(hour FROM datetime) = 0) FROM events.calls GROUP BY 1 ORDER BY 1";
    // Half past midnight of UTC is half past seven in the evening of the day before.
    assert_eq!(rig.ask(there), ["2016-01-02 24 24 a19", "2016-01-03 24 24 a19"]);
    let refused =
        std::fs::read_to_string(rig.cluster.site.state.root().join("etl/rejects/calls_20160102.rejects.csv")).unwrap();
    assert!(refused.contains("datetime is on 2016-01-20 in UTC, and not in the file's local day"), "{refused}");

    // The next night.
    let fourth = rig.file("calls_20160104.csv", hours(4, ""));
    let said = load(&[], &[&second, &third, &fourth]);
    assert!(said.stdout.contains("loaded 1 day, 24 rows") && said.stdout.contains("1 there already"), "{said:?}");
    assert_eq!(rig.ask(there).len(), 3);
    let said = load(&[], &[&first]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("no day of UTC is whole in these files"), "{said:?}");
    let said = load(&["--date", "2016-01-01"], &[std::path::Path::new("-")]);
    assert!(said.stderr.contains("standard input can be read but once"), "{said:?}");
    let check = rig.run(&[&["check", "calls"], &zone[..]].concat(), &[&third, &fourth]);
    assert!(check.stdout.contains("2016-01-04: 24 rows of 1 cells"), "{check:?}");
}

/// A delivery that failed: its day would be loaded by half.
#[test]
fn a_file_without_rows_leaves_its_days_as_they_are() {
    let rig = Rig::started();
    let first = rig.file("calls_20160101.csv", hours(1, ""));
    let third = rig.file("calls_20160103.csv", hours(3, ""));
    let zone = ["load", "calls", "--local-days", "--timezone", "America/Port-au-Prince"];
    for empty in ["", "datetime,msisdn,location_id\n"] {
        let second = rig.file("calls_20160102.csv", empty);
        let said = rig.run(&zone, &[&first, &second, &third]);
        assert_ne!(said.status, Some(0), "{said:?}");
        assert!(said.stderr.contains("calls_20160102.csv has no rows: was it delivered whole?"), "{said:?}");
        assert_eq!(rig.value("SELECT count(*) FROM events.calls"), "0", "{said:?}");
    }
    let second = rig.file("calls_20160102.csv", hours(2, ""));
    let said = rig.run(&zone, &[&first, &second, &third]);
    assert!(said.stdout.starts_with("loaded 2 days, 48 rows"), "{said:?}");
    // Nobody may have called in a part of a day, and then there is a header.
    let part = rig.file("a_20160110.csv", "datetime,msisdn,location_id\n2016-01-10 00:00:00,a,c\n");
    for (other, rows) in [("", "0"), ("datetime,msisdn,location_id\n", "1")] {
        let other = rig.file("b_20160110.csv", other);
        let said = rig.run(&["load", "calls", "--parts"], &[&part, &other]);
        assert_eq!(rig.value("SELECT count(*) FROM events.calls WHERE datetime >= '2016-01-10'"), rows, "{said:?}");
    }
}

#[test]
fn what_a_killed_replacement_leaves_is_shown_and_cleared_away() {
    let rig = Rig::started();
    let day = rig.file("calls_20160101.csv", calls(1, 200));
    rig.load(&["calls"], &[&day]);
    let other = rig.file("again_20160101.csv", calls(1, 300));
    let reader = rig.cluster.connect(SUPERUSER);
    let run = |sql: &str| rig.cluster.runtime.block_on(reader.batch_execute(sql)).expect("the reader reads");
    run("BEGIN; SELECT count(*) FROM events.calls");
    let mut loader = rig.command(&["load", "calls", "--replace"], &[&other]).spawn().expect("flowkit starts");
    let filled = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'etl' AND tablename = 'load_calls_20160101'";
    let indexes =
        rig.value("SELECT count(*) FROM pg_indexes WHERE schemaname = 'events' AND tablename = 'calls_20160101'");
    wait(Duration::from_secs(60), "a day that only waits for the reader", || rig.value(filled) == indexes);
    loader.kill().and_then(|()| loader.wait()).expect("it is our child");
    run("COMMIT");
    let said = rig.run(&["status"], &[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.stdout.contains(
            "calls: 1 ingested\ncalls 2016-01-01: rows that were to replace it are left in etl.load_calls_20160101 ("
        ),
        "{said:?}"
    );
    assert_eq!(rig.run(&["status", "--format", "list"], &[]).stdout, "calls 2016-01-01 left etl.load_calls_20160101\n");
    let json: serde_json::Value =
        serde_json::from_str(&rig.run(&["status", "--format", "json"], &[]).stdout).expect("JSON");
    let left = &json["leftovers"][0];
    assert_eq!((&left["date"], &left["table"]), (&"2016-01-01".into(), &"etl.load_calls_20160101".into()), "{json}");
    assert!(left["bytes"].as_u64() > Some(0), "{json}");
    let said = rig.load(&["calls"], &[&day]);
    assert_eq!(said, "2016-01-01: there already, out of the same files\n");
    assert_eq!(rig.run(&["status", "--format", "list"], &[]).stdout, "");
    assert_eq!(rig.value("SELECT count(*) FROM events.calls"), "200");
}
