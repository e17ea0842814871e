//! What is loaded, kept, replaced; who waits.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{HEADER, Rig, SUPERUSER, Said, calls, gzip};
use crate::support::flowdb::FLOWMACHINE;
use crate::support::poll::wait;

#[test]
fn days_are_loaded_once_and_replaced_when_told() {
    let rig = Rig::started();
    let first = rig.file("calls_20160101.csv", calls(1, 500));
    let second = rig.file("calls_20160102.csv.gz", gzip(&calls(2, 400)));
    let third = rig.file("calls_20160103.csv.zst", zstd::encode_all(calls(3, 300).as_bytes(), 1).expect("zstd"));
    let said = rig.run(&["load", "calls"], &[&third, &first, &second]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("loaded 3 days, 1,200 rows, in "), "{said:?}");
    assert!(said.stderr.contains("2016-01-02: 400 rows\n"), "{said:?}");
    assert_eq!(
        rig.ask("SELECT datetime::date, count(*) FROM events.calls GROUP BY 1 ORDER BY 1"),
        ["2016-01-01 500", "2016-01-02 400", "2016-01-03 300"]
    );
    let days = rig.cluster.ask(FLOWMACHINE, "SELECT cdr_date FROM etl.available_dates ORDER BY 1").concat();
    assert_eq!(days, ["2016-01-01", "2016-01-02", "2016-01-03"]);
    assert_eq!(rig.value("SELECT reltuples FROM pg_class WHERE oid = 'events.calls'::regclass"), "1200");
    // By subscriber, then by time; and no vacuum has to look at the rows again.
    let sorted =
        "SELECT count(*) FROM (SELECT (msisdn, datetime) < lag((msisdn, datetime)) OVER (ORDER BY ctid) AS wrong
                  FROM events.calls_20160101) AS pair WHERE wrong";
    assert_eq!(rig.value(sorted), "0");

    // The same files again change nothing.
    let before =
        rig.ask("SELECT oid::text, relname::text FROM pg_class WHERE relnamespace = 'events'::regnamespace ORDER BY 1");
    let said = rig.run(&["load", "calls", "--replace"], &[&first, &second, &third]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "3 there already\n"), "{said:?}");
    let after =
        rig.ask("SELECT oid::text, relname::text FROM pg_class WHERE relnamespace = 'events'::regnamespace ORDER BY 1");
    assert_eq!(before, after);
    assert_eq!(rig.value("SELECT count(*) FROM etl.etl_records"), "3");
    assert_eq!(rig.value("SELECT count(*) FROM etl.post_etl_queries"), "72");

    // The day delivered again, with other rows.
    let again = rig.file("calls_20160101.csv", calls(1, 510));
    let said = rig.load(&["calls"], &[&again]);
    assert_eq!(
        said,
        "2016-01-01: there already, out of other files or by FlowETL, and kept (--replace loads it again)\n"
    );
    assert_eq!(rig.value("SELECT count(*) FROM events.calls_20160101"), "500");
    let said = rig.load(&["calls", "--replace"], &[&again]);
    assert_eq!(said, "2016-01-01: 510 rows in place of those that were there\n");
    assert_eq!(rig.value("SELECT count(*) FROM events.calls"), "1210");
    let outcome = "SELECT outcome FROM etl.deduped_post_etl_queries WHERE cdr_date = '2016-01-01' AND type_of_query_or_check = 'count_added_rows'";
    assert_eq!(rig.value(outcome), "510");

    // Checks that a killed loader did not come to.
    rig.cluster.run(SUPERUSER, "DELETE FROM etl.post_etl_queries WHERE cdr_date = '2016-01-02'").expect("a deletion");
    rig.load(&["calls"], &[&second]);
    assert_eq!(rig.value("SELECT count(*) FROM etl.post_etl_queries WHERE cdr_date = '2016-01-02'"), "24");

    status_shows_what_is_there(&rig);
}

fn status_shows_what_is_there(rig: &Rig) {
    let late = rig.file("calls_20160106.csv", format!("{HEADER}\n"));
    assert_eq!(rig.run(&["load", "calls"], &[&late]).status, Some(1));
    let more = "CREATE TABLE etl.extract_calls_20160107 (); INSERT INTO etl.etl_records (cdr_type, cdr_date, state, \"timestamp\")
                VALUES ('calls', '2016-01-08', 'ingested', now()), ('calls', '2016-01-09', 'archive', now())";
    rig.cluster.run(SUPERUSER, more).expect("other states");
    let calendar = rig.run(&["status"], &[]);
    assert_eq!(calendar.status, Some(0), "{calendar:?}");
    assert!(calendar.stdout.contains("\ncalls   2016-01  ###..q!??\n"), "{calendar:?}");
    let list = rig.run(&["status", "--format", "list"], &[]).stdout;
    assert_eq!(
        list,
        "calls 2016-01-04 missing\ncalls 2016-01-05 missing\ncalls 2016-01-06 quarantine\ncalls 2016-01-07 unfinished\n\
         calls 2016-01-08 gone\ncalls 2016-01-09 archive\n"
    );
}

#[test]
fn each_kind_is_indexed_by_subscriber_cell_and_time() {
    let rig = Rig::started();
    for (kind, columns, indexes) in [
        ("sms", "datetime,msisdn", "datetime location_id msisdn"),
        ("mds", "datetime,msisdn", "datetime location_id msisdn"),
        ("topups", "datetime,msisdn", "datetime location_id msisdn"),
    ] {
        // Through a pipe, as a program that fetches the day would give it.
        let mut child = rig
            .command(&["load", kind, "-", "--date", "2016-01-01"], &[])
            .stdin(Stdio::piped())
            .spawn()
            .expect("flowkit");
        let text = format!("{columns}\n2016-01-01 12:00:00,somebody\n");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
        let said = Said::of(child.wait_with_output().expect("it ends"));
        assert_eq!(said.status, Some(0), "{said:?}");
        let sql = format!(
            "SELECT string_agg(attname, ' ' ORDER BY attname COLLATE \"C\") FROM pg_index JOIN pg_attribute ON attrelid = indexrelid
             WHERE indrelid = 'events.{kind}_20160101'::regclass"
        );
        assert_eq!(rig.value(&sql), indexes, "{kind}");
    }
    let flags = rig.ask(
        "SELECT table_name, has_locations, has_subscribers, has_counterparts FROM available_tables()
                         WHERE table_name IN ('sms', 'mds', 'topups') ORDER BY 1",
    );
    assert_eq!(flags, ["mds t t f", "sms t t t", "topups t t f"]);
    assert_eq!(rig.value("SELECT count(*) FROM etl.post_etl_queries WHERE cdr_type = 'sms'"), "21");
    assert_eq!(rig.value("SELECT count(*) FROM etl.post_etl_queries WHERE cdr_type = 'topups'"), "16");
}

/// Somebody reads the day that is to be replaced, for longer than anybody should have to wait; others ask meanwhile.
#[test]
fn nobody_waits_long_for_a_day_that_is_attached() {
    let rig = Rig::started();
    let first = rig.file("calls_20160101.csv", calls(1, 200));
    rig.load(&["calls"], &[&first]);
    let other = rig.file("calls_20160101.csv", calls(1, 300));
    let next = rig.file("calls_20160102.csv", calls(2, 300));

    let reader = rig.cluster.connect(FLOWMACHINE);
    let begin = "BEGIN; SELECT count(*) FROM events.calls_20160101";
    rig.cluster.runtime.block_on(reader.batch_execute(begin)).expect("a reader");
    let loader = rig.command(&["load", "calls", "--replace"], &[&other, &next]).spawn().expect("flowkit starts");
    // A new day takes no lock that a reader minds.
    wait(Duration::from_secs(60), "the day that nobody reads", || {
        rig.value("SELECT count(*) FROM etl.available_dates WHERE cdr_date = '2016-01-02'") == "1"
    });
    // The replaced one waits, and gives way, again and again; who asks meanwhile never waits for longer than a second.
    let (site, done) = (&rig.cluster.site, AtomicBool::new(false));
    let questions = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = flowkit::flowdb::connect(site, FLOWMACHINE).await.expect("a reader");
                client.batch_execute("SET lock_timeout = '1s'").await.expect("a setting");
                let mut questions = 0;
                while !done.load(Ordering::Relaxed) {
                    let asked =
                        client.query("SELECT count(*) FROM events.calls WHERE datetime < '2016-01-02'", &[]).await;
                    asked.expect("an answer in time");
                    questions += 1;
                }
                questions
            })
        });
        let tries = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted";
        for _ in 0..3 {
            wait(Duration::from_secs(60), "a try", || rig.value(tries) != "0");
            wait(Duration::from_secs(60), "its end", || rig.value(tries) == "0");
        }
        done.store(true, Ordering::Relaxed);
        asking.join().expect("nobody waited for longer than a second")
    });
    assert!(questions > 0);
    rig.cluster.runtime.block_on(reader.batch_execute("COMMIT")).expect("the reader ends");
    let said = Said::of(loader.wait_with_output().expect("it ends"));
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(rig.value("SELECT count(*) FROM events.calls"), "600");
}
