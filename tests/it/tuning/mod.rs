//! `flowkit tune` and its configurations on a real PostgreSQL.

mod server;

use std::process::Command;
use std::time::Duration;

use flowkit::tuning::overrides::Overrides;
use flowkit::tuning::{self, Database, Plan};
use flowkit_core::config::{Origin, Settings};
use flowkit_core::hardware::{self, Fact, Hardware};
use server::{Cluster, Server};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A subscriber's number that must not be found in a log.
const MSISDN: &str = "447700900123";

/// This machine with another amount of memory and number of CPUs.
fn machine(cluster: &Cluster, memory: u64, cpus: u32) -> Hardware {
    let mut hardware = hardware::detect(&cluster.data());
    hardware.memory = Fact::given(memory, "the test");
    hardware.cpus = Fact::given(cpus, "the test");
    hardware
}

fn plan(cluster: &Cluster, memory: u64, cpus: u32, bytes: u64, overrides: &Overrides) -> Plan {
    let database = Database { bytes, ..Database::look(cluster.bin(), cluster.major(), &cluster.data()) };
    tuning::plan_with(&machine(cluster, memory, cpus), overrides, &database).expect("a plan")
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn postgresql_takes_every_configuration_and_needs_the_memory_we_say() {
    let cluster = Cluster::new();
    for memory in [512 * MIB, GIB, 4 * GIB, 16 * GIB] {
        for cpus in [1, 2, 8, 32] {
            for bytes in [0, u64::MAX] {
                let plan = plan(&cluster, memory, cpus, bytes, &Overrides::default());
                cluster.configure(&plan.conf());
                let place = format!("{} MiB, {cpus} CPUs", memory / MIB);
                let shared = cluster.ask("shared_memory_size").unwrap_or_else(|e| panic!("{place}: {e}"));
                let shared: u64 = shared.parse::<u64>().unwrap() * MIB;
                let model = plan.budget.shared;
                // An upper bound, within 5 %.
                assert!(shared <= model && model <= shared * 105 / 100, "{place}: {shared} against {model}");
            }
        }
    }
}

#[test]
fn a_bad_value_would_be_noticed_by_the_check_above() {
    let cluster = Cluster::new();
    cluster.configure("shared_buffers = 'lots'\n");
    assert!(cluster.ask("shared_memory_size").unwrap_err().contains("shared_buffers"));
}

/// The smallest machines start, and what was planned is what the server says of itself.
#[test]
fn servers_for_512_mib_start_and_run_what_was_planned() {
    let cluster = Cluster::new();
    for cpus in [1, 2] {
        let plan = plan(&cluster, 512 * MIB, cpus, 0, &Overrides::default());
        cluster.configure(&plan.conf());
        run(async {
            let server = cluster.start().await;
            let client = server.connect().await.unwrap();
            for setting in &plan.settings {
                let told: String =
                    client.query_one("SELECT current_setting($1)", &[&setting.name]).await.unwrap().get(0);
                // Keepalives are of TCP, and this connection is of another kind.
                if setting.name != "tcp_keepalives_idle" {
                    assert_eq!(told, setting.value.to_string(), "{}", setting.name);
                }
            }
            // Parallel workers, dynamic shared memory and the lock table are there.
            client
                .batch_execute(
                    "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT g AS id, g % 100 AS k FROM generate_series(1, 200000) g; ANALYZE t; \
                     SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0",
                )
                .await
                .unwrap();
            let row =
                client.query_one("SELECT count(*) FROM t a JOIN t b USING (id) WHERE a.k < 50", &[]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), 100_000);
            drop(client);
            assert!(server.stop().success(), "{}", cluster.logged());
        });
    }
}

/// Everything that is known to write statements or values of rows into a log.
async fn misbehave(server: &Server<'_>) {
    let client = server.connect().await.unwrap();
    client
        .batch_execute("CREATE TABLE calls (msisdn text PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
        .await
        .unwrap();
    let fail = async |sql: String| assert!(client.batch_execute(&sql).await.is_err(), "{sql} must fail");
    // In the first line of the error, in DETAIL, in the statement, in CONTEXT.
    fail(format!("SELECT '{MSISDN}x'::bigint")).await;
    fail(format!("SELECT {MSISDN}::int")).await;
    fail(format!("SELECT * FROM \"{MSISDN}\"")).await;
    fail(format!("SELEKT '{MSISDN}'")).await;
    fail(format!("INSERT INTO calls VALUES ('{MSISDN}'), ('{MSISDN}')")).await;
    fail(format!("DO $$ BEGIN EXECUTE 'SELECT 1/0 -- {MSISDN}'; END $$")).await;
    fail(format!("SET statement_timeout = 50; SELECT pg_sleep(5), '{MSISDN}'")).await;
    client
        .batch_execute(&format!("RESET statement_timeout; DO $$ BEGIN RAISE WARNING '{MSISDN}'; END $$"))
        .await
        .unwrap();
    assert!(client.query("SELECT 1 / length(left($1, 0))", &[&MSISDN]).await.is_err());
    // A slow statement, with and without parameters.
    client.batch_execute(&format!("SELECT pg_sleep(0.3), '{MSISDN}'")).await.unwrap();
    client.query("SELECT pg_sleep(0.3)::text, $1::text", &[&MSISDN]).await.unwrap();
    client.batch_execute(&format!("CREATE TABLE u AS SELECT '{MSISDN}' AS msisdn")).await.unwrap();
    deadlock(server).await;
    crash(server).await;
}

/// Two sessions that wait for each other; the loser's report names both statements.
async fn deadlock(server: &Server<'_>) {
    let (a, b) = (server.connect().await.unwrap(), server.connect().await.unwrap());
    a.batch_execute("INSERT INTO other VALUES (1), (2)").await.unwrap();
    let touch = |id: u32| format!("UPDATE other SET id = id WHERE id = {id} AND '{MSISDN}' <> ''");
    a.batch_execute(&format!("BEGIN; {}", touch(1))).await.unwrap();
    b.batch_execute(&format!("BEGIN; {}", touch(2))).await.unwrap();
    let (first, second) = (touch(2), touch(1));
    let (first, second) = tokio::join!(a.batch_execute(&first), b.batch_execute(&second));
    assert!(first.is_err() != second.is_err(), "one of them must lose");
    let _ = tokio::join!(a.batch_execute("ROLLBACK"), b.batch_execute("ROLLBACK"));
}

/// A backend killed in the middle of a statement: the postmaster reports what it was doing, and recovers.
async fn crash(server: &Server<'_>) {
    let victim = server.connect().await.unwrap();
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let sleep = format!("SELECT pg_sleep(30), '{MSISDN}'");
    let kill = async {
        let aside = server.connect().await.unwrap();
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        while aside.query_one(sleeps, &[&pid]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let (result, ()) = tokio::join!(victim.batch_execute(&sleep), kill);
    assert!(result.is_err());
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while server.connect().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "no recovery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts `cluster` under `conf`, misbehaves, and gives the log.
fn log_after_misbehaviour(conf: &str) -> String {
    let cluster = Cluster::new();
    cluster.configure(conf);
    run(async {
        let server = cluster.start().await;
        misbehave(&server).await;
        server.stop();
    });
    cluster.logged()
}

#[test]
fn subscribers_numbers_do_not_reach_the_log() {
    let cluster = Cluster::new();
    for destination in ["stderr", "jsonlog", "csvlog"] {
        let mut settings = Settings::default();
        settings.set("FLOWDB_LOG_DEST", destination, Origin::Flag).unwrap();
        let overrides = Overrides::from_settings(&settings);
        let log = log_after_misbehaviour(&plan(&cluster, 512 * MIB, 2, 0, &overrides.unwrap()).conf());
        // The server did log, and the crash was noticed.
        assert!(log.contains("ready to accept connections"), "{destination}: {log}");
        assert!(log.contains("terminated by signal 9"), "{destination}: {log}");
        let leaks: Vec<&str> = log.lines().filter(|l| l.contains(MSISDN)).collect();
        assert!(leaks.is_empty(), "{destination}: {leaks:#?}");
    }
}

/// The same misbehaviour under settings like upstream's does fill the log: otherwise the test above would prove nothing.
#[test]
fn subscribers_numbers_reach_the_log_without_our_settings() {
    let log = log_after_misbehaviour("log_min_duration_statement = '250ms'\nlog_connections = on\n");
    for place in ["ERROR: ", "DETAIL: ", "STATEMENT: ", "WARNING: ", "duration: ", "CONTEXT: "] {
        let leaks = log.lines().any(|l| l.contains(place) && l.contains(MSISDN));
        assert!(leaks, "{place} was expected to leak: {log}");
    }
}

/// pg_stat_statements keeps texts: without constants, and none of statements that it can't take constants out of.
#[test]
fn statistics_of_statements_hold_no_subscribers_numbers() {
    let cluster = Cluster::new();
    cluster.configure(&plan(&cluster, 512 * MIB, 2, 0, &Overrides::default()).conf());
    run(async {
        let server = cluster.start().await;
        let client = server.connect().await.unwrap();
        client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
        client.batch_execute(&format!("SELECT '{MSISDN}'::text")).await.unwrap();
        client.batch_execute(&format!("CREATE TABLE v AS SELECT '{MSISDN}' AS msisdn")).await.unwrap();
        client.batch_execute(&format!("ALTER ROLE flowdb PASSWORD '{MSISDN}'")).await.unwrap();
        // What FlowMachine stores, and other statements inside of statements.
        for outer in [
            "EXPLAIN (ANALYZE TRUE, TIMING FALSE, FORMAT JSON) CREATE TABLE stored AS ({})",
            "BEGIN; DECLARE c CURSOR FOR {}; FETCH ALL FROM c; COMMIT",
            "PREPARE p AS {}; EXECUTE p",
            "DO $$ BEGIN PERFORM * FROM ({}) x; EXECUTE $q$ {} $q$; END $$",
            "COPY ({}) TO '/dev/null'",
            "CREATE MATERIALIZED VIEW m AS {}",
        ] {
            let inner = format!("SELECT count(*) FROM pg_class WHERE relname = '{MSISDN}'");
            client.batch_execute(&outer.replace("{}", &inner)).await.unwrap();
        }
        let rows = client.query("SELECT query FROM pg_stat_statements", &[]).await.unwrap();
        let texts: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
        assert!(texts.iter().any(|t| t == "SELECT $1::text"), "{texts:#?}");
        assert!(!texts.iter().any(|t| t.contains(MSISDN)), "{texts:#?}");
        drop(client);
        server.stop();
    });
}

/// `flowkit tune`, with a cleared environment and the variables given.
fn tune(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let out = Command::new(crate::support::programs::flowkit())
        .arg("tune")
        .args(["--dir", "/nonexistent/flowkit"])
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_command_prints_a_file_that_postgresql_takes() {
    let cluster = Cluster::new();
    let (status, conf, _) = tune(&["--memory", "1GiB", "--cpus", "2", "--format", "conf"], &[("STATS_TARGET", "99")]);
    assert_eq!(status, 0);
    cluster.configure(&conf);
    assert_eq!(cluster.ask("default_statistics_target").unwrap(), "99");
    assert_eq!(cluster.ask("shared_buffers").unwrap(), "32768");
}

#[test]
fn the_command_gives_value_reason_and_origin() {
    let arguments = ["--memory", "1GiB", "--cpus", "2", "--disk", "hdd", "--data", "10GB", "--postgres", "18"];
    let (status, json, _) = tune(&[&arguments[..], &["--format", "json"]].concat(), &[("MAX_WORKERS", "1")]);
    assert_eq!(status, 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let find = |name: &str| settings.iter().find(|s| s["name"] == name).unwrap();
    for (name, value, kind, detail) in [
        ("shared_buffers", "256MB", "given", "--memory"),
        ("max_parallel_workers", "1", "given", "MAX_WORKERS (environment)"),
        ("effective_io_concurrency", "16", "given", "--disk"),
        ("io_method", "worker", "default", ""),
    ] {
        let setting = find(name);
        assert_eq!(setting["value"], value, "{name}");
        assert_eq!(setting["origin"]["kind"], kind, "{name}");
        assert_eq!(setting["origin"]["detail"].as_str().unwrap_or_default(), detail, "{name}");
        assert!(!setting["reason"].as_str().unwrap().is_empty(), "{name}");
    }
    let (status, table, _) = tune(&arguments, &[]);
    assert_eq!(status, 0);
    assert!(
        table.starts_with("memory     1024 MiB (--memory)\nCPUs       2 (--cpus)\ndisk       hdd (--disk)\n"),
        "{table}"
    );
}

#[test]
fn mistakes_are_named_and_exit_with_2() {
    let (status, out, err) = tune(&["--memory", "1GiB"], &[("MAX_WORKERS", "-1"), ("FLOWDB_LOG_DEST", "syslog")]);
    assert_eq!((status, out.as_str()), (2, ""));
    let wanted = "flowkit: 2 things are wrong\n  \
                  FLOWDB_LOG_DEST is wrong: \"syslog\" (environment); give one of stderr, jsonlog, csvlog\n  \
                  MAX_WORKERS is wrong: \"-1\" (environment); give a whole number from 1 to 1024\n";
    assert_eq!(err, wanted);
    let (status, _, err) = tune(&["--memory", "128MiB"], &[]);
    assert_eq!(status, 2);
    assert!(err.starts_with("flowkit: too little memory: \"128 MiB\" (--memory); FlowDB may come to need"), "{err}");
    assert_eq!(tune(&["--memory", "12"], &[]).0, 2);
    assert_eq!(tune(&["--postgres", "14"], &[]).0, 2);
}
