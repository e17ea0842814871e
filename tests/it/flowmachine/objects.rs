//! What is stored beside results is Python that runs when it is read: the server reads its own only.

use std::fs;
use std::path::PathBuf;

use flowkit::flowdb::users::{self, Role};
use flowkit_core::secrets::Secret;
use rustix::process::Signal;
use serde_json::json;

use crate::support::flowdb::FLOWMACHINE;
use crate::support::flowmachine::{FlowMachine, daily_location, spatial_aggregate, wait_for};

/// Puts an object into every row of the cache that makes a file when it is unpickled; as an analyst can, who may not
/// change rows but remove and add them.
fn plant(machine: &FlowMachine) -> PathBuf {
    let file = machine.cluster.site.state.root().join("it-ran");
    // The oldest pickle there is: os.system, one argument, call.
    let pickle = format!("cos\nsystem\n(S'touch {}'\ntR.", file.display());
    let hex: String = pickle.bytes().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "SET ROLE flowmachine;
         CREATE TEMP TABLE row AS SELECT * FROM cache.cached;
         CREATE TEMP TABLE need AS SELECT * FROM cache.dependencies;
         UPDATE row SET obj = '\\x{hex}';
         DELETE FROM cache.cached;
         INSERT INTO cache.cached SELECT * FROM row;
         INSERT INTO cache.dependencies SELECT * FROM need"
    );
    machine.cluster.run(FLOWMACHINE, &sql).unwrap();
    file
}

#[test]
fn what_an_analyst_puts_beside_a_result_does_not_run() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    let id = machine.complete(spatial_aggregate(1, "last"));
    let sql_of = |machine: &FlowMachine| machine.request("get_sql_for_query_result", json!({ "query_id": id }));
    let answer = sql_of(&machine).success("get_sql").unwrap();
    let file = plant(&machine);
    assert_eq!(sql_of(&machine).success("get_sql").unwrap(), answer, "the query is made anew");
    machine.request("poll_query", json!({ "query_id": id })).success("poll_query").unwrap();
    machine.complete(spatial_aggregate(2, "last"));
    assert!(!file.exists(), "the server ran it");

    machine.cluster.run("flowdb", "UPDATE cache.cache_config SET value = '0' WHERE key <> 'half_life'").unwrap();
    machine.cluster.run("flowdb", "SELECT pg_sleep(1)").unwrap();
    let mut cleanup = machine.python(&[]).args(["-m", "flowkit_flowmachine", "cache-cleanup"]).spawn().unwrap();
    let left = "SELECT count(*) FROM cache.cached WHERE class NOT IN ('Table', 'GeoTable')";
    wait_for("the cache to be emptied", || match machine.cluster.value(FLOWMACHINE, left).as_str() {
        "0" => Ok(()),
        left => Err(format!("{left} left\n{}", machine.log())),
    });
    cleanup.kill().and_then(|()| cleanup.wait()).unwrap();
    assert!(!file.exists(), "the cache cleaner ran it");

    // Without the wall: upstream's own server runs it.
    machine.end(Signal::TERM);
    machine.repair();
    machine.start_upstream(&[]);
    assert_eq!(machine.complete(spatial_aggregate(1, "last")), id);
    let file = plant(&machine);
    sql_of(&machine);
    assert!(fs::exists(&file).unwrap(), "this test shows nothing");
}

/// A signature is that of one query under one password; objects with one are read by everybody as before.
#[test]
fn results_of_people_and_of_other_days_are_still_used() {
    let mut machine = FlowMachine::new();
    let mut admin = machine.cluster.connect("flowdb");
    let password = Secret::new("ana-Pass-5".into());
    let ana = users::add(&mut admin, "ana", Role::Analyst, &password);
    machine.cluster.runtime.block_on(ana).unwrap();
    machine.start(&[]);
    let id = machine.complete(spatial_aggregate(1, "last"));
    let script = format!(
        "
import flowmachine
from flowmachine.core.cache import get_query_object_by_id
from flowmachine.core.context import get_db
from flowmachine.features import daily_location
flowmachine.connect(flowdb_user='ana', flowdb_password='ana-Pass-5', redis_password='redis-Pass-4')
assert get_query_object_by_id(get_db(), '{id}').query_id == '{id}'
print('ana has stored ' + daily_location('2016-01-03').store().result().query_id)
"
    );
    let mut library = machine.python(&[]).args(["-c", &script]).spawn().unwrap();
    assert!(library.wait().unwrap().success(), "{}", machine.log());
    let log = machine.log();
    let stored = log.split("ana has stored ").nth(1).unwrap().lines().next().unwrap();
    let mut locations = daily_location(2, "last");
    locations["subscriber_subset"] = json!(stored);
    let of_some = machine.complete(json!({"query_kind": "spatial_aggregate", "locations": locations}));
    let sql = machine.request("get_sql_for_query_result", json!({ "query_id": of_some })).success("get_sql").unwrap();
    machine.cluster.run("flowapi", sql["sql"].as_str().unwrap()).unwrap();

    // Another row's object, though we have signed it, is not this query's.
    let swap = "SELECT obj FROM cache.cached WHERE class <> 'Table' AND query_id <> ";
    machine
        .cluster
        .run("flowdb", &format!("UPDATE cache.cached SET obj = ({swap} '{id}' LIMIT 1) WHERE query_id = '{id}'"))
        .unwrap();
    let sql = machine.request("get_sql_for_query_result", json!({ "query_id": id })).success("get_sql").unwrap();
    assert!(sql["sql"].as_str().unwrap().contains(&id), "{sql}");
}
