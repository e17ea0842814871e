//! The two ways in which upstream's server stops for good: provoked, noticed, healed.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flowkit::flowmachine::{Client, Hung, Sources};
use rustix::process::Signal;
use serde_json::{Value, json};
use supervisor::Probe as _;

use crate::support::flowmachine::{FlowMachine, PATIENCE, spatial_aggregate, wait_for};

/// Queries on random samples, each different from the others.
fn sampling_queries(number: usize) -> Vec<Value> {
    let query = |n: usize| {
        json!({"query_kind": "spatial_aggregate", "locations": {
            "query_kind": "daily_location", "date": format!("2016-01-{:02}", n % 7 + 1), "aggregation_unit": "admin3",
            "method": if n < 7 { "last" } else { "most-common" },
            "sampling": {"sampling_method": "bernoulli", "size": 1500, "estimate_count": false, "seed": 0.5},
        }})
    };
    (0..number).map(query).collect()
}

/// Sends all at once; the ids of those that were answered in time.
fn run_together(machine: &FlowMachine, queries: Vec<Value>, patience: Duration) -> Vec<String> {
    let address: Arc<str> = machine.address().into();
    let requests: Vec<_> = queries
        .into_iter()
        .map(|query| {
            let address = address.clone();
            thread::spawn(move || Client::request_blocking(&address, "run_query", query, patience))
        })
        .collect();
    let replies = requests.into_iter().filter_map(|request| request.join().unwrap().ok());
    replies.map(|reply| reply.payload["query_id"].as_str().expect("an id").to_owned()).collect()
}

/// The probe with which the supervisor watches; `still` in place of its minutes.
fn hung(machine: &FlowMachine, still: Duration) -> Hung {
    let sources: Sources = machine.sources();
    Hung::new(machine.address().parse().unwrap(), still, move || Ok(sources.clone()))
}

#[test]
fn samplers_that_wait_for_each_other_are_noticed_and_healed() {
    let mut machine = FlowMachine::new();
    machine.start_upstream(&[("DB_CONNECTION_POOL_SIZE", "2")]);
    let probe = hung(&machine, Duration::from_secs(3));
    let patience = Duration::from_secs(30);
    assert_eq!(probe.check(patience), Ok(()), "nothing to do is no hang");

    let ids = run_together(&machine, sampling_queries(8), PATIENCE);
    assert_eq!(ids.len(), 8);
    let mut why = String::new();
    wait_for("the hang to be noticed", || {
        why = probe.check(patience).err().ok_or("all is well")?;
        Ok(())
    });
    assert!(why.contains("queries have been unfinished for"), "{why}");
    machine.request("ping", json!({})).success("ping").expect("the server itself still answers");

    machine.end(Signal::KILL);
    assert!(machine.repair().forgotten > 0);
    // The same queries, on the server as the appliance starts it, with a pool as small as can be.
    machine.start(&[("DB_CONNECTION_POOL_SIZE", "1")]);
    assert_eq!(probe.check(patience), Ok(()));
    let mut again = run_together(&machine, sampling_queries(8), PATIENCE);
    again.iter().for_each(|id| machine.wait(id, "completed"));
    again.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(again, ids);
    assert_eq!(probe.check(patience), Ok(()));
}

#[test]
fn builders_without_connections_are_noticed_and_healed() {
    let mut machine = FlowMachine::new();
    // Building holds a connection and asks for another. With one more than this, chance would decide.
    let starved = [("DB_CONNECTION_POOL_SIZE", "1"), ("DB_CONNECTION_POOL_OVERFLOW", "0")];
    machine.start(&starved);
    let probe = hung(&machine, PATIENCE);
    let queries: Vec<Value> =
        (1..=7).flat_map(|day| ["last", "most-common"].map(|method| spatial_aggregate(day, method))).collect();
    let answered = run_together(&machine, queries.clone(), Duration::from_secs(10));
    assert!(answered.len() < queries.len(), "it did not hang");
    let why = probe.check(Duration::from_secs(3)).unwrap_err();
    assert_eq!(why, format!("FlowMachine at {} did not answer `ping` within 3 s", machine.address()));

    // Its main thread waits for a connection, and still it ends at once.
    let started = Instant::now();
    assert_eq!(machine.end(Signal::TERM).code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    machine.repair();
    // As little as can't hang: as many as there are threads (one stores, eight build, one answers), and one more.
    machine.start(&[("DB_CONNECTION_POOL_SIZE", "1"), ("DB_CONNECTION_POOL_OVERFLOW", "10")]);
    let ids = run_together(&machine, queries, PATIENCE);
    assert_eq!(ids.len(), 14);
    ids.iter().for_each(|id| machine.wait(id, "completed"));
}

#[test]
fn what_a_deployment_gives_by_default_does_not_hang() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    let probe = hung(&machine, Duration::from_secs(20));
    let ordinary = (1..=7).flat_map(|day| ["last", "most-common"].map(|method| spatial_aggregate(day, method)));
    let queries: Vec<Value> = sampling_queries(14).into_iter().chain(ordinary).collect();
    let ids = run_together(&machine, queries, PATIENCE);
    assert_eq!(ids.len(), 28);
    ids.iter().for_each(|id| machine.wait(id, "completed"));
    assert_eq!(probe.check(PATIENCE), Ok(()));
}
