//! Passwords: rotated ones take effect, and none is ever to be seen.

use std::fs;

use flowkit::flowdb;
use tokio_postgres::Client;

use crate::support::flowdb::{Cluster, FLOWMACHINE, SECRETS};

fn can_log_in(cluster: &Cluster, user: &str) -> bool {
    cluster.runtime.block_on(flowdb::connect(&cluster.site, user)).is_ok()
}

/// Over TCP with a password of our choice, as any program would.
fn tcp(cluster: &Cluster, user: &str, password: &str) -> Result<(), String> {
    let ask = |client: Client| cluster.runtime.block_on(client.simple_query("SELECT 1")).map(drop);
    cluster.log_in(user, password).and_then(ask).map_err(|error| format!("{error:?}"))
}

#[test]
fn rotated_passwords_take_effect_at_the_next_start() {
    let mut cluster = Cluster::started();
    for (name, _) in SECRETS {
        cluster.set_secret(name, &format!("{name}/new@:+'\"$\\"));
    }
    assert!(!can_log_in(&cluster, FLOWMACHINE), "the new password is not set yet");
    cluster.stop();
    cluster.prepare().unwrap();
    cluster.start(); // ready although the superuser's new password is not set yet
    cluster.apply().unwrap();
    for (user, (name, old)) in ["flowdb", FLOWMACHINE, "flowapi"].iter().zip(SECRETS) {
        tcp(&cluster, user, &format!("{name}/new@:+'\"$\\")).unwrap();
        assert!(tcp(&cluster, user, old).is_err(), "the old password of {user} still works");
        assert!(tcp(&cluster, user, "").is_err());
    }
}

#[test]
fn a_former_login_of_flowapi_is_closed() {
    let cluster = Cluster::started();
    assert!(can_log_in(&cluster, "flowapi"));
    cluster.run(FLOWMACHINE, "CREATE TABLE cache.x1 AS SELECT 1").unwrap();
    cluster.set_secret("FLOWAPI_FLOWDB_USER", "api_two");
    cluster.apply().unwrap();
    assert!(tcp(&cluster, "flowapi", SECRETS[2].1).is_err());
    cluster.run("api_two", "SELECT FROM cache.x1").unwrap();
    cluster.set_secret("FLOWAPI_FLOWDB_USER", "flowmachine");
    let error = cluster.apply().unwrap_err().to_string();
    assert!(error.contains("FLOWAPI_FLOWDB_USER is FlowMachine's user"), "{error}");
}

/// What somebody changed about the programs' logins by hand is put right at the next start.
#[test]
fn logins_that_were_shut_are_opened_again() {
    let cluster = Cluster::started();
    let shut = "ALTER ROLE flowkit_flowmachine VALID UNTIL '2020-01-01';
        ALTER ROLE flowapi NOLOGIN CONNECTION LIMIT 0; ALTER ROLE flowdb VALID UNTIL '2020-01-01';
        ALTER DATABASE flowdb CONNECTION LIMIT 0";
    cluster.run("flowdb", shut).unwrap();
    for user in [FLOWMACHINE, "flowapi"] {
        assert!(!can_log_in(&cluster, user), "{user}");
    }
    cluster.apply().unwrap();
    for (user, (_, password)) in ["flowdb", FLOWMACHINE, "flowapi"].iter().zip(SECRETS) {
        tcp(&cluster, user, password).unwrap();
    }
}

#[test]
fn flowmachines_login_may_have_another_name() {
    let cluster = Cluster::started();
    cluster.set_secret("FLOWMACHINE_FLOWDB_USER", "fm");
    cluster.apply().unwrap();
    assert!(tcp(&cluster, FLOWMACHINE, SECRETS[1].1).is_err());
    cluster
        .run("fm", "CREATE TABLE cache.x1 AS SELECT 1; ALTER TABLE cache.x1 OWNER TO flowmachine; ANALYZE cache.x1")
        .unwrap();
    cluster.run("flowapi", "SELECT FROM cache.x1").unwrap();
}

#[test]
fn no_password_and_no_msisdn_reaches_a_log_or_a_file() {
    let mut cluster = Cluster::started();
    cluster.apply().unwrap();
    let insert = "CREATE TABLE events.day PARTITION OF events.calls FOR VALUES FROM ('2016-01-01') TO ('2016-01-02');
        INSERT INTO events.calls (datetime, msisdn) VALUES ('2016-01-01', 'msisdn-447700900123')";
    cluster.run("flowdb", insert).unwrap();
    for failing in
        ["SELECT 1/0 FROM events.calls WHERE msisdn = 'msisdn-447700900123'", "SELECT 'msisdn-447700900123'::int"]
    {
        assert!(cluster.run(FLOWMACHINE, failing).is_err());
    }
    assert!(tcp(&cluster, FLOWMACHINE, "not-the-Pass-9").is_err());
    cluster.stop();
    let log = cluster.log();
    assert!(log.contains("password authentication failed"), "the log is the right one:\n{log}");
    let mut files = vec![cluster.site.state.root().join("flowdb")];
    let mut texts = vec![log];
    while let Some(path) = files.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => files.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => texts.push(String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned()),
        }
    }
    for (name, value) in SECRETS {
        assert!(texts.iter().all(|text| !text.contains(value)), "{name} is written down");
    }
    assert!(!texts[0].contains("not-the-Pass-9") && !texts[0].contains("447700900123"), "{}", texts[0]);
}
