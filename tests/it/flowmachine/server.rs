//! The server as the appliance starts it.

use std::fs;
use std::time::{Duration, Instant};

use flowkit::flowmachine::{Reply, Status};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::flowmachine::{FlowMachine, REDIS_PASSWORD, daily_location, spatial_aggregate, wait_for};

#[test]
fn the_server_answers_each_request_in_its_form() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);

    assert_eq!(
        machine.request("ping", json!({})),
        Reply { status: Status::Success, msg: "pong".into(), payload: json!({}) }
    );
    let kinds = machine.request("get_available_queries", json!({})).payload;
    assert_eq!(kinds["available_queries"].as_array().unwrap().len(), 27);
    let dates = machine.request("get_available_dates", json!({})).payload;
    assert_eq!(dates["calls"].as_array().unwrap_or_else(|| panic!("{dates}")).len(), 7);

    let id = machine.complete(spatial_aggregate(1, "last"));
    let sql = machine.request("get_sql_for_query_result", json!({ "query_id": id })).payload;
    assert_eq!(sql["sql"], format!("SELECT * FROM cache.x{id}"));
    // 10,000 calls of 2,000 people on one day: everybody is somewhere, at 55 or 56 in each of 36 places.
    let people = format!("SELECT sum(value) FROM cache.x{id}");
    assert_eq!(machine.cluster.value(FLOWMACHINE, &people), "2000");

    let unknown = json!({"query_id": "none", "query_state": "awol"});
    let refusals: [(&str, Value, &str, Value); 5] = [
        ("poll_query", json!({"query_id": "none"}), "Unknown query id: 'none'", unknown.clone()),
        ("get_sql_for_query_result", json!({"query_id": "none"}), "Unknown query id: 'none'", unknown),
        (
            "ping",
            json!({"more": 1}),
            "Internal flowmachine server error: wrong arguments passed to handler for action 'ping'.",
            json!({}),
        ),
        (
            "get_geography",
            json!({"aggregation_unit": "moon"}),
            "Parameter validation failed.",
            json!({"aggregation_unit": ["Must be one of: admin0, admin1, admin2, admin3, lon-lat."]}),
        ),
        // A table that is not there: the general answer to whatever goes wrong inside.
        ("get_geography", json!({"aggregation_unit": "admin2"}), "Could not get reply for message", json!({})),
    ];
    for (action, params, message, payload) in refusals {
        let reply = machine.request(action, params.clone());
        assert_eq!(reply, Reply { status: Status::Error, msg: message.into(), payload }, "{action} {params}");
    }
    let no_action = machine.request("fly", json!({}));
    assert_eq!(no_action.msg, "Invalid action request.");
    assert!(no_action.payload["action"][0].as_str().unwrap().starts_with("Must be one of: "), "{no_action:?}");
    let no_kind = machine.request("run_query", json!({"query_kind": "none"}));
    assert!(no_kind.msg.starts_with("Parameter validation failed."), "{no_kind:?}");
    for (field, name) in [
        ("geom_table", "x'); ALTER ROLE flowmachine PASSWORD 'm'; COMMIT; SELECT EXISTS(SELECT 1 WHERE 'a'='a"),
        ("mapping_table", "geography.admin3; SELECT 1"),
        ("geom_table_join_column", "id\n"),
    ] {
        let mut query = spatial_aggregate(1, "last");
        query["locations"][field] = json!(name);
        let injected = machine.request("run_query", query);
        assert_eq!(injected.msg.lines().next(), Some("Parameter validation failed."), "{injected:?}");
        assert!(injected.payload.to_string().contains("Not the name of a table or column."), "{injected:?}");
    }
    let mut named = spatial_aggregate(1, "last");
    named["locations"]["geom_table"] = json!("geography.nowhere");
    assert_ne!(machine.request("run_query", named).msg.lines().next(), Some("Parameter validation failed."));
    let no_date = machine.request("run_query", spatial_aggregate(30, "last"));
    assert_eq!(no_date.msg, "Unable to create query object.", "{no_date:?}");
}

#[test]
fn the_server_listens_on_one_address_keeps_its_secrets_and_stops_at_once() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);

    let port = machine.cluster.site.settings.port("FLOWMACHINE_PORT");
    assert_eq!(listeners(port), ["0100007F"], "127.0.0.1 in the byte order of /proc/net/tcp");

    for file in ["environ", "cmdline"] {
        let text = fs::read(format!("/proc/{}/{file}", machine.pid())).unwrap();
        for secret in [REDIS_PASSWORD, "machine-Pass-2", "super-Pass-1"] {
            assert!(!text.windows(secret.len()).any(|part| part == secret.as_bytes()), "{file} holds {secret}");
        }
    }
    machine.request("get_available_queries", json!({}));
    let log = machine.log();
    assert!(log.contains("get_available_queries") && !log.contains("ping") && !log.contains("GeoPandas"), "{log}");
    assert!(!machine.log().contains("machine-Pass-2") && !machine.log().contains(REDIS_PASSWORD));
    let sessions = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = 'flowkit_flowmachine'";
    assert_eq!(machine.cluster.ask("flowdb", sessions), [["flowkit-flowmachine"]]);

    // A query that can't go on keeps a thread waiting inside PostgreSQL's client library.
    let lock = machine.cluster.connect("flowdb");
    machine.cluster.runtime.block_on(lock.batch_execute("BEGIN; LOCK events.calls_20160102")).unwrap();
    let id = machine.run(spatial_aggregate(2, "last"));
    let storing =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'EXPLAIN%CREATE TABLE%' AND wait_event_type = 'Lock'";
    wait_for("the query to wait", || match machine.cluster.value("flowdb", storing).as_str() {
        "1" => Ok(()),
        other => Err(format!("{other}, the query is {}", machine.state(&id))),
    });
    let started = Instant::now();
    assert_eq!(machine.end(Signal::TERM).code(), Some(0));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    wait_for("the statement to be cancelled", || match machine.cluster.value("flowdb", storing).as_str() {
        "0" => Ok(()),
        other => Err(other.into()),
    });
}

#[test]
fn what_can_not_work_is_refused_in_one_line() {
    let machine = FlowMachine::new();
    let run = |program: &str, settings: &[(&str, &str)]| {
        let mut python = machine.python(settings);
        python.args(["-m", "flowkit_flowmachine", program]);
        python.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let output = python.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };

    for nowhere in ["*", "", "localhost"] {
        let (status, _, why) = run("server", &[("FLOWKIT_FLOWMACHINE_LISTEN", nowhere)]);
        assert_eq!(why, format!("flowmachine server: FLOWKIT_FLOWMACHINE_LISTEN={nowhere}: not an IP address\n"));
        assert_eq!(status, 2);
    }

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, _, why) = run("server", &[("FLOWMACHINE_PORT", &port)]);
    assert_eq!(why, format!("flowmachine server: can't listen on 127.0.0.1:{port}: Address already in use\n"));
    assert_eq!(status, 1);

    let empty = tempfile::tempdir().unwrap();
    let (status, _, why) = run("cache-cleanup", &[("FLOWKIT_SECRETS_DIR", empty.path().to_str().unwrap())]);
    assert_eq!(
        why,
        "flowmachine cache-cleanup: FLOWMACHINE_FLOWDB_PASSWORD is missing; REDIS_PASSWORD is missing \
         (`flowkit secrets check` says what belongs where)\n"
    );
    assert_eq!(status, 2);

    assert_eq!(
        run("cache-cleanup", &[("FLOWMACHINE_CACHE_PRUNING_FREQUENCY", "-1")]),
        (0, "cache-cleanup is off (FLOWMACHINE_CACHE_PRUNING_FREQUENCY=-1)\n".into(), String::new())
    );
    assert_eq!(run("cache-cleanup", &[("FLOWMACHINE_CACHE_PRUNING_FREQUENCY", "0")]).0, 2);
}

#[test]
fn a_lost_connection_costs_no_request() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    machine.complete(spatial_aggregate(1, "last"));
    let cut =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'flowkit_flowmachine'";
    assert_ne!(machine.cluster.value("flowdb", cut), "0");
    machine.complete(json!({"query_kind": "spatial_aggregate", "locations": daily_location(3, "last")}));
}

#[test]
fn without_redis_requests_fail_at_once_and_work_again_with_it() {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    machine.complete(spatial_aggregate(1, "last"));
    machine.kill_redis();
    let started = Instant::now();
    let reply = machine.request("poll_query", json!({"query_id": "any"}));
    assert_eq!(reply.msg, "Could not get reply for message");
    // redis-py from 6.0 on tries again for some four seconds, and lets nobody else be answered meanwhile.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    machine.start_redis();
    machine.complete(spatial_aggregate(1, "last"));
}

/// Addresses that this machine listens on at a port, as /proc/net/tcp and tcp6 spell them.
fn listeners(port: u16) -> Vec<String> {
    let port = format!("{port:04X}");
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap().lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (address, local_port) = columns[1].split_once(':').unwrap();
            const LISTEN: &str = "0A";
            if local_port == port && columns[3] == LISTEN {
                found.push(address.to_owned());
            }
        }
    }
    found
}

/// Whoever has taken FlowDB's port and asks for the password in clear, as PostgreSQL's protocol lets a server do, hears
/// neither ours nor FlowMachine's.
#[test]
fn a_password_is_told_to_nobody() {
    use std::io::{Read as _, Write as _};
    let mut machine = FlowMachine::new();
    machine.cluster.stop();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // Nobody is to come here: a name stands for one address only.
    let aside = std::net::TcpListener::bind(format!("[::1]:{port}")).unwrap();
    aside.set_nonblocking(true).unwrap();
    machine.cluster.site.settings.set("FLOWDB_PORT", &port, flowkit_core::config::Origin::Flag).unwrap();
    let heard = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for connection in taken.incoming().take(3) {
            let mut connection = connection.unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = connection.read(&mut buffer) {
                heard.extend_from_slice(&buffer[..read]);
                const ENCRYPT: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
                let answer: &[u8] = if &buffer[..read] == ENCRYPT { b"N" } else { b"R\0\0\0\x08\0\0\0\x03" };
                let _ = connection.write_all(answer);
            }
        }
        heard
    });
    let error = machine.cluster.runtime.block_on(flowkit::flowmachine::repair::repair(machine.sources())).unwrap_err();
    let why = std::error::Error::source(&error).and_then(|error| error.source()).expect("what was wrong").to_string();
    assert_eq!(why, "whoever answers there wants the password itself: that is not FlowDB, and it was told nothing");
    let Cluster { site, runtime, .. } = &machine.cluster;
    assert!(runtime.block_on(flowkit::flowdb::connect(site, FLOWMACHINE)).is_err());
    let mut python = machine.python(&[]);
    python.args(["-m", "flowkit_flowmachine", "cache-cleanup"]).stderr(std::process::Stdio::piped());
    let output = python.output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("server requested a cleartext password"), "{why}");
    let heard = String::from_utf8_lossy(&heard.join().unwrap()).into_owned();
    assert!(heard.contains("flowmachine") && !heard.contains("machine-Pass-2"), "{heard}");
    assert!(aside.accept().is_err(), "somebody came to the other address");
}
