//! Whatever is killed, a day is there whole or not at all, and the next run ends the work.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Rig, Said, calls};
use crate::support::poll::wait;

const DAYS: u32 = 4;
const ROWS: u32 = 3000;

/// All that must be the same whoever was killed on the way.
fn digest(rig: &Rig) -> Vec<String> {
    rig.ask(
        "SELECT 'rows', md5(string_agg(c::text, ';' ORDER BY tableoid::regclass::text, ctid)) FROM events.calls c
         UNION ALL SELECT 'locations', md5(string_agg(l::text, ';' ORDER BY location_id)) FROM events.location_ids l
         UNION ALL SELECT 'checks', md5(string_agg(concat_ws(' ', cdr_date, type_of_query_or_check, outcome), ';' ORDER BY 1, cdr_date, type_of_query_or_check))
             FROM etl.deduped_post_etl_queries GROUP BY 1
         UNION ALL SELECT 'records', string_agg(concat_ws(' ', cdr_date, state), ';' ORDER BY cdr_date) FROM etl.etl_records
         UNION ALL SELECT 'indexes', string_agg(indexname::text, ' ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'events' AND tablename ~ '^calls_'
         UNION ALL SELECT 'left behind', count(*)::text FROM pg_class WHERE relname LIKE 'load\\_%'
         ORDER BY 1",
    )
}

/// Days that are offered have all their rows, others none.
fn whole_days_only(rig: &Rig) {
    let wrong = format!(
        "SELECT count(*) FROM etl.available_dates FULL JOIN (SELECT datetime::date AS cdr_date, count(*) FROM events.calls GROUP BY 1) AS there
         USING (cdr_date) WHERE cdr_type IS NULL OR count IS DISTINCT FROM {ROWS}"
    );
    assert_eq!(rig.value(&wrong), "0");
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_doubled() {
    let files = |rig: &Rig| -> Vec<_> {
        (1..=DAYS).map(|day| rig.file(&format!("calls_201601{day:02}.csv"), calls(day, ROWS))).collect()
    };
    let undisturbed = Rig::started();
    let all = files(&undisturbed);
    let paths: Vec<_> = all.iter().map(|file| file.as_path()).collect();
    let began = Instant::now();
    undisturbed.load(&["calls"], &paths);
    let whole = began.elapsed();
    let expected = digest(&undisturbed);
    drop(undisturbed);

    let mut rig = Rig::started();
    let all = files(&rig);
    let paths: Vec<_> = all.iter().map(|file| file.as_path()).collect();
    // The loader, at moments spread over what its work takes here.
    let mut interrupted = 0;
    for part in 1..=8 {
        let mut loader = rig.command(&["load", "calls"], &paths).spawn().expect("flowkit starts");
        thread::sleep(whole * part / 10);
        let _ = kill_process(Pid::from_child(&loader), Signal::KILL);
        interrupted += u32::from(!loader.wait().expect("it is our child").success());
        whole_days_only(&rig);
    }
    assert!(interrupted >= 1, "it was never killed");

    // PostgreSQL, while days are loaded anew.
    let mut said = None;
    let other: Vec<_> =
        (1..=DAYS).map(|day| rig.file(&format!("calls_201601{day:02}.csv"), calls(day, ROWS))).collect();
    assert_eq!(other, all);
    let mut loader = rig.command(&["load", "calls", "--replace"], &paths).spawn().expect("flowkit starts");
    wait(Duration::from_secs(120), "a day that is being filled, or the loader's end", || {
        if loader.try_wait().expect("it is our child").is_some() {
            return true;
        }
        rig.value("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'flowkit-etl' AND locktype = 'relation' AND mode = 'AccessExclusiveLock'") != "0"
    });
    rig.cluster.kill();
    let ended = Said::of(loader.wait_with_output().expect("it ends"));
    if ended.status != Some(0) {
        said = Some(ended);
    }
    rig.cluster.start();
    whole_days_only(&rig);
    if let Some(said) = said {
        assert_eq!(said.status, Some(1), "{said:?}");
        assert!(said.stderr.contains("flowkit: cannot "), "{said:?}");
    }

    rig.load(&["calls", "--replace"], &paths);
    // Days that were replaced have two records, as with FlowETL.
    let mut found = digest(&rig);
    let records = |digest: &mut Vec<String>| {
        let at = digest.iter().position(|line| line.starts_with("records ")).expect("there are records");
        let line = digest.remove(at);
        let mut days: Vec<String> = line["records ".len()..].split(';').map(String::from).collect();
        days.dedup();
        days
    };
    let mut expected = expected;
    assert_eq!(records(&mut found), records(&mut expected));
    assert_eq!(found, expected);
}
