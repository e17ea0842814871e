//! The first start, the next one, and what interrupts them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use flowkit::flowdb::schema::Applied;
use flowkit::flowdb::{cluster, probe};
use flowkit_core::config::{Origin, StateDir};
use rand::RngExt;
use supervisor::Probe;

use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::programs::open_to_all;

#[test]
fn a_first_start_makes_everything_and_a_second_changes_nothing() {
    let mut cluster = Cluster::new();
    assert!(cluster.prepare().unwrap().created);
    cluster.start();
    let applied = cluster.apply().unwrap();
    assert!(applied.created && applied.migrations > 0);
    assert_eq!(cluster.ask(FLOWMACHINE, "SELECT * FROM flowdb_version()"), [["1.34.0", "2025-10-15"]]);
    let configuration = ["flowkit.conf", "postgresql.conf", "pg_hba.conf", "pg_ident.conf"];
    let inodes = |cluster: &Cluster| configuration.map(|file| fs::metadata(cluster.data().join(file)).unwrap().ino());
    let before = inodes(&cluster);
    cluster.stop();
    assert!(!cluster.prepare().unwrap().created);
    cluster.start();
    assert_eq!(cluster.apply().unwrap(), Applied::default());
    assert_eq!(inodes(&cluster)[1], before[1], "postgresql.conf is the administrator's after the first start");
    cluster.kill();
    assert!(!cluster.prepare().unwrap().created);
    cluster.start();
    let probe = probe::schema(&cluster.site);
    cluster.as_user(|| probe.check(Duration::from_secs(10))).unwrap();
}

#[test]
fn the_cluster_is_as_the_contract_wants_it() {
    let cluster = Cluster::started();
    let ask = |sql: &str| cluster.value("flowdb", sql);
    let database = "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate || ' ' || datctype FROM pg_database WHERE datname = 'flowdb'";
    assert_eq!(ask(database), "UTF8 C C.UTF-8");
    assert_eq!(ask("SELECT string_agg(x, '' ORDER BY x) FROM (VALUES ('a'), ('B'), ('é'), ('Z')) t (x)"), "BZaé");
    assert_eq!(ask("SHOW data_checksums"), "on");
    assert_eq!(ask("SHOW timezone"), "UTC");
    assert_eq!(ask("SHOW password_encryption"), "scram-sha-256");
    assert_ne!(ask("SHOW wal_level"), "minimal");
    let methods =
        "SELECT string_agg(DISTINCT auth_method, ' ' ORDER BY auth_method) FROM pg_hba_file_rules WHERE error IS NULL";
    assert_eq!(ask(methods), "peer scram-sha-256");
    assert_eq!(ask("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL"), "0");
    assert_eq!(ask("SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL"), "0");
    assert_eq!(ask("SELECT srvname FROM pg_foreign_server"), "csv_fdw");
    let missing = "SELECT string_agg(name, ' ') FROM unnest('{postgis,postgis_raster,uuid-ossp,tsm_system_rows,file_fdw,pgrouting,ogr_fdw,pg_stat_statements,fuzzystrmatch,postgis_topology}'::text[]) name WHERE name NOT IN (SELECT extname FROM pg_extension)";
    assert_eq!(ask(missing), "-");
    let tables = "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM available_tables()";
    assert_eq!(ask(tables), "calls forwards location_ids mds sms topups");
    assert_eq!(ask("SELECT location_table FROM location_table()"), "infrastructure.cells");
}

/// Those that FlowDB does not need: `make setup` installs them where Debian has them.
#[test]
fn extensions_are_added_where_they_are_installed_and_the_debugger_where_it_is_asked_for() {
    let mut cluster = Cluster::started();
    let added =
        "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE extname IN ('tds_fdw', 'pldbgapi')";
    assert_eq!(cluster.value("flowdb", added), "tds_fdw");
    cluster.stop();
    cluster.site.settings.set("FLOWDB_ENABLE_POSTGRES_DEBUG_MODE", "true", Origin::Flag).unwrap();
    cluster.prepare().unwrap();
    cluster.start();
    cluster.apply().unwrap();
    assert_eq!(cluster.value("flowdb", added), "pldbgapi tds_fdw");
    assert_eq!(cluster.value("flowdb", "SELECT count(*) FROM pldbg_get_proxy_info()"), "1", "its library is loaded");
}

/// What an extension's script calls by its plain name is whoever's the schema is, and runs as the superuser.
#[test]
fn an_extension_is_not_made_in_somebody_elses_schema() {
    let cluster = Cluster::started();
    let made = "SELECT count(*) FROM pg_extension WHERE extname = 'postgis_topology'";
    let again = |owner: &str| {
        let sql = format!(
            "DROP EXTENSION IF EXISTS postgis_topology; DROP SCHEMA topology; CREATE SCHEMA topology AUTHORIZATION {owner}"
        );
        cluster.run("flowdb", &sql).unwrap();
        (cluster.apply().unwrap().warnings, cluster.value("flowdb", made))
    };
    let (warnings, made) = again(FLOWMACHINE);
    assert!(warnings[0].contains("the schema topology belongs to flowkit_flowmachine"), "{warnings:?}");
    assert_eq!(made, "0");
    assert_eq!(again("flowdb"), (vec![], "1".to_owned()));
}

/// Whoever may act as FlowMachine's login may give it settings; they last until the next start.
#[test]
fn settings_that_somebody_gave_flowmachines_login_are_taken_away() {
    let cluster = Cluster::started();
    let settings = "SELECT string_agg(array_to_string(setconfig, ' '), ' ') FROM pg_db_role_setting WHERE setrole = 'flowkit_flowmachine'::regrole";
    let ours = cluster.value("flowdb", settings);
    for place in ["", "IN DATABASE flowdb"] {
        cluster.run("flowdb", &format!("ALTER ROLE {FLOWMACHINE} {place} SET statement_timeout = '1ms'")).unwrap();
    }
    cluster.apply().unwrap();
    assert_eq!(cluster.value("flowdb", settings), ours);
}

/// FlowMachine stores by a utility statement; PostgreSQL leaves the constants of those out from 16 on.
#[test]
fn what_flowmachine_stores_is_counted_without_subscribers_numbers() {
    let cluster = Cluster::started();
    let number = "0770900461";
    let query = format!("SELECT count(*) FROM events.calls WHERE msisdn = '{number}' OR msisdn IN ('{number}', '1')");
    let explain = "EXPLAIN (ANALYZE TRUE, TIMING FALSE, FORMAT JSON) CREATE TABLE cache.stored AS";
    cluster.run(FLOWMACHINE, &format!("{explain} ({query})")).unwrap();
    cluster.run("flowdb", &format!("DO $do$ BEGIN PERFORM '{number}'; END $do$")).unwrap();
    let counted = |text: &str| {
        let sql = format!("SELECT count(*) FROM pg_stat_statements WHERE strpos(query, '{text}') > 0");
        cluster.value("flowdb", &sql)
    };
    let shown = cluster.value("flowdb", "SELECT current_setting('server_version_num')::int >= 160000") == "t";
    assert_eq!(counted("CREATE TABLE cache.stored AS (SELECT"), if shown { "1" } else { "0" });
    assert_eq!(counted(number), "0");
}

/// A notebook left open must not hold its locks for ever; how long it may is the operator's to say.
#[test]
fn a_transaction_that_stands_idle_is_ended_after_the_time_that_is_set() {
    let mut cluster = Cluster::new();
    cluster.site.settings.set("FLOWKIT_IDLE_TRANSACTION_SECONDS", "1", Origin::Flag).unwrap();
    cluster.prepare().unwrap();
    cluster.start();
    cluster.apply().unwrap();
    let notebook = cluster.connect(FLOWMACHINE);
    let state = |sql: &str| cluster.runtime.block_on(notebook.batch_execute(sql));
    state("BEGIN; LOCK TABLE cache.cached").unwrap();
    cluster.run("flowdb", "SET lock_timeout = '20s'; LOCK TABLE cache.cached").unwrap();
    assert!(state("SELECT 1").is_err(), "the session is gone");
}

#[test]
fn settings_given_are_set_again_and_an_administrators_word_stays() {
    let mut cluster = Cluster::started();
    let half_life = |cluster: &Cluster| cluster.value(FLOWMACHINE, "SELECT cache_half_life()");
    assert_eq!(half_life(&cluster), "1000");
    assert_eq!(cluster.value(FLOWMACHINE, "SELECT cache_protected_period()"), "86400");
    assert!(cluster.value(FLOWMACHINE, "SELECT cache_max_size()").parse::<u64>().unwrap() > 0);
    cluster.run(FLOWMACHINE, "UPDATE cache.cache_config SET value = '77' WHERE key = 'half_life'").unwrap();
    cluster.apply().unwrap();
    assert_eq!(half_life(&cluster), "77");
    cluster.site.settings.set("CACHE_HALF_LIFE", "5000", Origin::Flag).unwrap();
    cluster.site.settings.set("CACHE_SIZE", "10GB", Origin::Flag).unwrap();
    cluster.site.settings.set("LOCATION_TABLE", "infrastructure.sites", Origin::Flag).unwrap();
    cluster.apply().unwrap();
    assert_eq!(half_life(&cluster), "5000");
    assert_eq!(cluster.value(FLOWMACHINE, "SELECT cache_max_size()"), (10u64 << 30).to_string());
    assert_eq!(cluster.ask("flowdb", "SELECT * FROM location_table"), [["infrastructure.sites", "t"]]);
}

/// Started by the test below as a process that can be killed.
#[test]
#[ignore = "not a test: a part of `a_start_killed_at_any_moment_is_finished_by_the_next`"]
fn only_prepare() {
    let Some(root) = std::env::var_os("FLOWKIT_TEST_STATE") else { return };
    let mut cluster = Cluster::of(StateDir::new(root));
    let port = std::env::var("FLOWKIT_TEST_PORT").unwrap();
    cluster.site.settings.set("FLOWDB_PORT", &port, Origin::Flag).unwrap();
    cluster::prepare(&cluster.site).unwrap();
}

#[test]
fn a_start_killed_at_any_moment_is_finished_by_the_next() {
    let mut cluster = Cluster::new();
    let mut random = rand::rng();
    let mut whole = 0;
    for round in 0..20 {
        let mut child = prepare_in_a_process(&cluster).spawn().unwrap();
        // A whole preparation takes about a second; the last rounds are let go on for longer.
        thread::sleep(Duration::from_millis(random.random_range(0..=100 * (round + 1))));
        child.kill().unwrap();
        child.wait().unwrap();
        whole += u32::from(cluster.data().join("flowkit.cluster").exists());
        if whole > 3 {
            break;
        }
    }
    cluster.prepare().unwrap();
    cluster.start();
    assert!(cluster.apply().unwrap().created);
    assert_eq!(cluster.value("flowdb", "SHOW data_checksums"), "on");
    let left: Vec<_> = fs::read_dir(cluster.data()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name != "flowkit.new"), "{left:?}");
}

fn prepare_in_a_process(cluster: &Cluster) -> Command {
    let mut command = Command::new(open_to_all(&std::env::current_exe().unwrap()));
    command
        .args(["--exact", "flowdb::start::only_prepare", "--include-ignored"])
        .env("FLOWKIT_TEST_STATE", cluster.site.state.root())
        .env("FLOWKIT_TEST_PORT", cluster.site.settings.port("FLOWDB_PORT").to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    cluster.as_service_user(&mut command);
    command
}
