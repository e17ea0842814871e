//! `flowkit verify` against real services.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use flowkit::flowdb::users::{self, Role};
use flowkit::verify::{Check, Target, verify};

use flowkit_core::secrets::Secret;

use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::flowmachine::{FlowMachine, python_program, wait_for};

/// One value, as the superuser.
fn value(machine: &FlowMachine, sql: &str) -> String {
    machine.cluster.value("flowdb", sql)
}

/// Each check with what came of it.
fn checks(machine: &FlowMachine) -> Vec<(String, Result<String, String>)> {
    let cluster = &machine.cluster;
    let python = python_program();
    let target = Target {
        site: &cluster.site,
        flowmachine: Ok(machine.address().parse::<SocketAddr>().expect("an address")),
        flowetl: None,
        autoflow: None,
        flowapi: Err("there is none".to_owned()),
        flowauth: Err("there is none".to_owned()),
        python_as: None,
        python: &python,
        patience: Duration::from_secs(120),
    };
    let told = |check: Check| {
        let whole = |error: flowkit::verify::Error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                text += &format!(": {error}");
                source = error.source();
            }
            text
        };
        (check.what, check.outcome.map_err(whole))
    };
    cluster.as_user(|| verify(&target, None, |_| {}).into_iter().map(told).collect())
}

#[test]
fn right_answers_are_called_right_and_wrong_ones_wrong() {
    // The server has looked which days there are before there are any.
    let mut machine = FlowMachine::on(Cluster::started());
    machine.start(&[]);
    let days = || machine.request("get_available_dates", json!({})).payload;
    assert_eq!(days(), json!({}));
    super::load(&machine.cluster, 3, 2_000, 100);
    wait_for("the new days", || if days() == json!({}) { Err("no day".into()) } else { Ok(()) });

    let good = checks(&machine);
    let said: Vec<(&str, &str)> = good
        .iter()
        .map(|(what, outcome)| (what.as_str(), outcome.as_deref().unwrap_or_else(|e| panic!("{what}: {e}"))))
        .collect();
    assert_eq!(said.len(), 8, "{said:?}");
    assert_eq!(said[1], ("days that are ingested", "3 from 2016-01-01 to 2016-01-03"));
    assert_eq!(said[3].0, "where people were on 2016-01-03, asked of the server");
    assert!(said[4].1.starts_with("equal in "), "{said:?}");
    assert_eq!(said[5], ("where people were on 2016-01-03, asked of FlowAPI", "not asked: there is none"));
    assert_eq!(said[6], ("the same with a token of FlowAuth's, which is revoked then", "not asked: there is none"));
    assert_eq!(said[7].0, "where people were on 2016-01-02, asked with the library by a new analyst");
    assert!(said[7].1.starts_with("equal in "), "{said:?}");

    // The library's user is gone; what it stored is FlowMachine's.
    assert_eq!(value(&machine, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'verify%'"), "0");
    assert_eq!(
        value(
            &machine,
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'cache' AND tablename LIKE 'x%' AND tableowner <> 'flowmachine'"
        ),
        "0"
    );

    // A record that FlowMachine has not counted: the stored answer is no longer right.
    let newest = "events.calls_20160103";
    let forged = format!(
        "INSERT INTO {newest} SELECT 'x', true, '2016-01-03 23:59:59.999999', 1, 'x', msisdn || g, msisdn, location_id, 'x', 'x', tac, 1, 999 \
         FROM (SELECT * FROM {newest} ORDER BY datetime LIMIT 1) c, generate_series(1, 20) g"
    );
    machine.cluster.run("flowdb", &forged).expect("one person more");
    let bad = checks(&machine);
    let outcome = bad[4].1.as_ref().expect_err("twenty people more in an area");
    assert!(outcome.starts_with("1 areas differ\n  VD"), "{outcome}");
    assert!(bad[7].1.is_ok(), "the day before is as it was: {:?}", bad[7]);

    machine.kill_redis();
    let without = checks(&machine);
    assert!(without[3].1.is_err() && without.len() == 8, "{without:?}");
    assert_eq!(value(&machine, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'verify%'"), "0");
}

/// A view runs the functions in it with the rights of whoever looks at it, so that is never the superuser; and a person's login
/// is the person's, whatever its name.
#[test]
fn what_an_analyst_plants_runs_as_nobody_stronger_and_a_login_of_hers_stays() {
    let mut machine = FlowMachine::on(Cluster::started());
    super::load(&machine.cluster, 2, 500, 40);
    machine.start(&[]);
    let mut admin = machine.cluster.connect("flowdb");
    for name in ["mallory", "verify_me"] {
        let password = Secret::new("its-Pass".to_owned());
        machine.cluster.runtime.block_on(users::add(&mut admin, name, Role::Analyst, &password)).unwrap();
    }
    // One of a run that was killed.
    let killed =
        "CREATE ROLE verify_00000000; COMMENT ON ROLE verify_00000000 IS 'The analyst of one run of flowkit verify'";
    machine.cluster.run("flowdb", killed).unwrap();
    // Every area that is looked at tells who looks.
    let planted = "ALTER TABLE geography.admin3 RENAME TO admin3_of_the_owner;
        SET SESSION AUTHORIZATION mallory;
        CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
        CREATE TABLE evil.seen (who text); GRANT INSERT ON evil.seen TO PUBLIC;
        CREATE FUNCTION evil.look(geometry) RETURNS geometry LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO evil.seen VALUES (current_user), (session_user); RETURN $1; END $$;
        CREATE VIEW geography.admin3 AS SELECT admin3pcod, admin3name, evil.look(geom) AS geom FROM geography.admin3_of_the_owner;
        GRANT SELECT ON geography.admin3 TO PUBLIC";
    machine.cluster.run("flowdb", planted).unwrap();
    let found = checks(&machine);
    assert!(found.len() == 8, "{found:?}");
    // Who was it, but for the analyst that `verify` makes?
    let seen = "SELECT string_agg(DISTINCT who, ' ') FROM evil.seen WHERE who !~ '^verify_[0-9a-f]{8}$'";
    assert_eq!(value(&machine, seen), FLOWMACHINE);
    let logins = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname LIKE 'verify\\_%'";
    assert_eq!(value(&machine, logins), "verify_me");
}
