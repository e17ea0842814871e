//! What no restart of upstream's server heals, and the repair step does.

use flowkit::flowdb::users;
use flowkit::flowmachine::repair::Report;
use flowkit_core::secrets::Secret;
use rustix::process::Signal;

use crate::support::flowdb::FLOWMACHINE;
use crate::support::flowmachine::{FlowMachine, spatial_aggregate, wait_for};

#[test]
fn a_redis_that_has_forgotten_everything_learns_what_is_stored() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    let id = machine.complete(spatial_aggregate(1, "last"));
    machine.end(Signal::TERM);
    assert_eq!(machine.repair(), Report::default(), "nothing to do after a clean run");

    machine.kill_redis();
    machine.start_redis();
    // The aggregate, the location it counts, that one's parts, and the tables they read.
    let rows: usize = machine.cluster.value(FLOWMACHINE, "SELECT count(*) FROM cache.cached").parse().unwrap();
    assert!(rows > 3, "{rows}");
    assert_eq!(machine.repair(), Report { completed: rows, ..Report::default() });
    assert_eq!(machine.repair(), Report::default());

    machine.start(&[]);
    assert_eq!(machine.state(&id), "awol", "what the id stood for is lost");
    assert_eq!(machine.complete(spatial_aggregate(1, "last")), id, "until it is asked for again");
    // Only what redis calls completed can be dropped from the cache.
    machine.cluster.run("flowdb", "UPDATE cache.cache_config SET value = '0' WHERE key <> 'half_life'").unwrap();
    machine.cluster.run("flowdb", "SELECT pg_sleep(1)").unwrap();
    let mut cleanup = machine.python(&[]).args(["-m", "flowkit_flowmachine", "cache-cleanup"]).spawn().unwrap();
    wait_for("the cache to be emptied", || {
        match machine.cluster.value(FLOWMACHINE, "SELECT count(*) FROM cache.cached WHERE schema = 'cache'").as_str() {
            "0" => Ok(()),
            left => Err(format!("{left} left\n{}", machine.log())),
        }
    });
    cleanup.kill().and_then(|()| cleanup.wait()).unwrap();
}

#[test]
fn a_restored_database_is_believed() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    let kept = machine.complete(spatial_aggregate(1, "last"));
    let lost = machine.complete(spatial_aggregate(2, "last"));
    let half_lost = machine.complete(spatial_aggregate(3, "last"));
    machine.end(Signal::TERM);

    // A backup from before two of the results; and one whose table was dropped by hand.
    let sql =
        format!("DROP TABLE cache.x{lost}, cache.x{half_lost}; DELETE FROM cache.cached WHERE query_id = '{lost}'");
    machine.cluster.run("flowdb", &sql).unwrap();
    let state = state_key(&machine, &kept);
    machine.redis::<()>(&["SET", &state, "executing"]).unwrap();
    assert_eq!(machine.repair(), Report { completed: 1, forgotten: 2, rows: 1, ..Report::default() });
    assert_eq!(machine.repair(), Report::default());

    machine.start(&[]);
    assert_eq!(machine.state(&kept), "completed");
    for (day, id) in [(2, lost), (3, half_lost)] {
        assert_eq!(machine.state(&id), "known");
        assert_eq!(machine.complete(spatial_aggregate(day, "last")), id);
    }
}

#[test]
fn a_query_that_failed_can_be_run_again() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    machine
        .cluster
        .run("flowdb", "REVOKE ALL ON SCHEMA cache FROM flowmachine; GRANT USAGE ON SCHEMA cache TO flowmachine")
        .unwrap();
    let id = machine.run(spatial_aggregate(1, "last"));
    machine.wait(&id, "errored");
    machine.cluster.run("flowdb", "GRANT ALL ON SCHEMA cache TO flowmachine").unwrap();
    machine.run(spatial_aggregate(1, "last"));
    assert_eq!(machine.state(&id), "errored", "upstream does not try again");
    machine.end(Signal::TERM);

    assert!(machine.repair().forgotten > 0);
    machine.start(&[]);
    assert_eq!(machine.complete(spatial_aggregate(1, "last")), id);
}

#[test]
fn what_a_library_user_runs_is_left_alone() {
    let mut machine = FlowMachine::new();
    let mut admin = machine.cluster.connect("flowdb");
    machine
        .cluster
        .runtime
        .block_on(users::add(&mut admin, "ana", users::Role::Analyst, &Secret::new("ana-Pass-5".into())))
        .unwrap();
    machine.cluster.runtime.block_on(admin.batch_execute("BEGIN; LOCK events.calls_20160102")).unwrap();

    let script = "
import flowmachine
from flowmachine.features import daily_location
flowmachine.connect(flowdb_user='ana', flowdb_password='ana-Pass-5', redis_password='redis-Pass-4')
daily_location('2016-01-02').store(store_dependencies=True).result()
print('the library is done')
";
    let mut library = machine.python(&[]).args(["-c", script]).spawn().unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ana' AND wait_event_type = 'Lock'";
    wait_for("the library to run a query", || match machine.cluster.value("flowdb", running).as_str() {
        "0" => Err(machine.log()),
        _ => Ok(()),
    });
    // A query of a dead server beside it, and a state machine that a crash left half made.
    let states = ["0".repeat(32), "1".repeat(32)].map(|id| state_key(&machine, &id));
    machine.redis::<()>(&["SET", &states[0], "executing"]).unwrap();
    machine.redis::<()>(&["SET", &states[1], "known"]).unwrap();
    // Another database's, and a look-up.
    machine.redis::<()>(&["SET", "finist:other:2-state", "executing"]).unwrap();
    machine.redis::<()>(&["SET", "{\"query_kind\":\"x\"}", "2"]).unwrap();

    let report = machine.repair();
    assert!(report.running > 0, "{report:?}");
    assert_eq!(report.forgotten, 2, "{report:?}");
    assert_eq!(machine.redis::<String>(&["GET", "finist:other:2-state"]).unwrap(), "executing");
    assert_eq!(machine.redis::<String>(&["GET", "{\"query_kind\":\"x\"}"]).unwrap(), "2");

    machine.cluster.runtime.block_on(admin.batch_execute("ROLLBACK")).unwrap();
    assert!(library.wait().unwrap().success(), "{}", machine.log());
    assert!(machine.log().contains("the library is done"));
    let rows = "SELECT count(*) FROM cache.cached WHERE schema = 'cache'";
    assert_ne!(machine.cluster.value(FLOWMACHINE, rows), "0");
    assert_eq!(machine.repair(), Report::default());

    // The server finds the library's result.
    machine.start(&[]);
    machine.complete(spatial_aggregate(2, "last"));
}

/// The redis key of a query's state.
fn state_key(machine: &FlowMachine, id: &str) -> String {
    format!("finist:{}:{id}-state", machine.sources().database_id)
}

#[test]
fn a_killed_server_leaves_no_query_unfinished() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    let done = machine.complete(spatial_aggregate(1, "last"));

    let lock = machine.cluster.connect("flowdb");
    machine.cluster.runtime.block_on(lock.batch_execute("BEGIN; LOCK events.calls_20160102")).unwrap();
    let id = machine.run(spatial_aggregate(2, "last"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowkit-flowmachine' \
                   AND wait_event_type = 'Lock'";
    wait_for("the query to run", || match machine.cluster.value("flowdb", waiting).as_str() {
        "0" => Err(machine.state(&id)),
        _ => Ok(()),
    });
    machine.end(Signal::KILL);

    // The dead server's statement still waits for the lock.
    assert_ne!(machine.cluster.value("flowdb", waiting), "0");
    let report = machine.repair();
    assert!(report.sessions > 0 && report.forgotten > 0, "{report:?}");
    assert_eq!((report.rows, report.running), (0, 0));
    assert_eq!(machine.cluster.value("flowdb", waiting), "0");
    assert_eq!(machine.repair(), Report::default(), "a second repair finds nothing");
    machine.cluster.runtime.block_on(lock.batch_execute("ROLLBACK")).unwrap();

    machine.start(&[]);
    assert_eq!(machine.state(&done), "completed");
    assert_eq!(machine.state(&id), "known", "its look-up is kept");
    assert_eq!(machine.complete(spatial_aggregate(2, "last")), id);
}
