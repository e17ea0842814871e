//! FlowETL: upstream's flowetl on the real Airflow; and the way of a day through all seven roles, to a report of AutoFlow's.

mod report;

mod celery;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flowkit_core::config::{Origin, StateDir};
use serde_json::{Value, json};

use crate::deployment::no_secret_is_in_the_open;
use crate::support::deployment::{Deployment, kill, show};
use crate::support::flowdb::Cluster;
use crate::support::flowmachine::environment;
use crate::support::poll::{until, wait};
use crate::support::ports::free_port;

/// Airflow takes half a minute to start on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(900);

fn python() -> PathBuf {
    environment("etl")
}

/// Airflow's own reading of files, without a deployment.
fn read(dags: &Path) -> Value {
    let home = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/flowetl");
    let mut command = Command::new(python());
    command.args(["-P", "-W", "ignore"]).arg(source.join("parse.py")).arg(dags);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home.path()).env("AIRFLOW_HOME", home.path());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR");
    for setting in ["CREATE_CRON_DATA_INTERVALS", "CREATE_DELTA_DATA_INTERVALS"] {
        command.env(format!("AIRFLOW__SCHEDULER__{setting}"), "True");
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(last).unwrap_or_else(|_| panic!("{}", show(&output)))
}

#[test]
fn old_dag_files_are_read_and_what_cannot_be_is_refused_by_name() {
    let read = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/flowetl/dags"));
    let refused = read["errors"].as_object().unwrap();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for (file, words) in [
        ("refused_subdag.py", "SubDagOperator was removed in Airflow 3: use a TaskGroup"),
        ("refused_contrib.py", "airflow.contrib was removed in Airflow 2"),
    ] {
        assert!(refused[file].as_str().unwrap().contains(words), "{refused:?}");
    }
    let old = &read["dags"]["old_forms"];
    assert_eq!(old["tasks"].as_array().unwrap().len(), 13, "{old}");
    assert_eq!(old["max_active_tasks"], 2);
    assert_eq!(read["poke_interval"], 30, "no sensor that gives its place free asks more often");
    // Sixteen checks and what leads to them; calls and texts have more.
    let tasks = read["dags"]["mds_table_dag"]["tasks"].as_array().unwrap();
    assert!(
        ["attach", "check_not_in_flux", "count_duplicates"].iter().all(|task| tasks.contains(&json!(task))),
        "{tasks:?}"
    );
    assert_eq!(tasks.len(), 28, "{tasks:?}");
    let without = read["without_a_day"].as_str().unwrap();
    assert!(without.starts_with("AirflowFailException: this run has no logical date"), "{without}");
    let date = |name: &str| read["dates"][name].as_str().unwrap().to_owned();
    assert_eq!(date("tomorrow_ds"), "2016-03-02");
    assert_eq!(date("yesterday_ds_nodash"), "20160229");
    assert_eq!(date("next_ds"), "2016-03-02");
    assert_eq!(read["callback"], "a worker of FlowETL's runs tasks, and no object");
    assert_eq!(read["flower"], true);
    let (first, further) = ("?require_auth=scram-sha-256", "&require_auth=scram-sha-256");
    assert_eq!(read["addresses"], json!([first, further, "", "", "", "", further, further, first, further, further]));
    assert_eq!(read["told"], json!([false, false, false, false, true, true]));
    let by_psycopg = format!("postgresql+psycopg://airflow:word@pooler/airflow{first}");
    assert_eq!(read["another_way"], json!([by_psycopg, null]));
}

struct FlowEtl {
    deployment: Deployment,
    cluster: Cluster,
    ports: [u16; 2],
}

impl FlowEtl {
    fn new() -> FlowEtl {
        let deployment = Deployment::new();
        let ports = [free_port(), free_port()];
        let (dags, etl) = (deployment.state().with_file_name("dags"), deployment.state().with_file_name("etl"));
        fs::create_dir(&dags).unwrap();
        fs::create_dir(&etl).unwrap();
        deployment.configure(&format!(
            "FLOWETL_HOST_PORT = {}\nFLOWKIT_FLOWETL_DB_PORT = {}\nFLOWETL_HOST_DAG_DIR = {dags:?}\nFLOWDB_ETL_DIR = {etl:?}\n\
             FLOWKIT_FLOWETL_PYTHON = {:?}\n{}",
            ports[0],
            ports[1],
            python(),
            report::settings(&deployment.state().with_file_name("inputs"))
        ));
        let mut cluster = Cluster::of(StateDir::new(deployment.state()));
        cluster.site.settings.set("FLOWDB_PORT", &deployment.ports[0].to_string(), Origin::Flag).unwrap();
        FlowEtl { deployment, cluster, ports }
    }

    /// A file of a day, as it is delivered, and the DAG that is written by itself for such files.
    fn deliver(&self) {
        let lines = (0..200).map(|i| format!("{i},2016-03-01T{:02}:15:00Z,m{},c{},{i}.5\n", i % 24, i % 50, i % 7));
        let text = "id,datetime,msisdn,location_id,volume_total\n".to_owned() + &lines.collect::<String>();
        let etl = self.deployment.state().with_file_name("etl");
        let day = etl.join("mds_20160301.csv");
        fs::write(&day, text).unwrap();
        let mut new = Command::new(self.deployment.state().with_file_name("flowkit"));
        new.args(["etl", "new", "mds", "--csv"]).arg(&day).arg("--directory").arg(&etl);
        let output = new.env_clear().output().unwrap();
        assert!(output.status.success(), "{}", show(&output));
        let dag = String::from_utf8(output.stdout).unwrap();
        // One day alone, at once; and a variable that is a secret file.
        let shorter = "    end_date=datetime(2016, 3, 1),\n    flux_check_wait_interval=1,\n    indexes=[";
        assert!(dag.contains("    indexes=["), "{dag}");
        let dag = dag.replace("    indexes=[", shorter)
            + "\nimport os\ndag.is_paused_upon_creation = os.environ[\"DAGS_BEGIN_PAUSED\"] != \"no\"\n";
        fs::write(self.deployment.state().with_file_name("dags").join("mds.py"), dag).unwrap();
    }

    fn value(&self, sql: &str) -> String {
        self.cluster.value("flowdb", sql)
    }

    /// Waits until it is ingested, with all checks made.
    fn await_the_day(&self) {
        let sql = "SELECT (SELECT count(*) FROM etl.etl_records WHERE state = 'ingested' AND cdr_date = '2016-03-01') || ' days, '
                       || (SELECT count(*) FROM etl.post_etl_queries) || ' checks'";
        until(PATIENCE, "the day and its checks", || match self.value(sql) {
            seen if seen == "1 days, 16 checks" => Ok(()),
            seen => Err(seen),
        });
    }

    /// Everything that a day through FlowETL changes, and the answers that FlowMachine keeps.
    fn everything(&self) -> String {
        let tables =
            ["etl.etl_records", "etl.post_etl_queries", "events.location_ids", "public.available_tables", "events.mds"];
        let rows = tables.map(|table| format!("SELECT '{table}', t::text FROM {table} AS t"));
        self.value(&format!(
            "SELECT string_agg(concat_ws(' ', place, what), E'\n' ORDER BY place, what) FROM (
                 {} UNION ALL SELECT relnamespace::regnamespace::text, relname FROM pg_class
                 WHERE relnamespace::regnamespace::text IN ('etl', 'events', 'cache')
                 UNION ALL SELECT 'cached', query_id FROM cache.cached WHERE schema = 'cache') AS all_ (place, what)",
            rows.join(" UNION ALL ")
        ))
    }

    /// What `flowkit verify` says of the small day, check by check.
    fn verified(&self) -> Vec<(String, bool, String)> {
        self.verified_within("900")
    }

    fn verified_within(&self, patience: &str) -> Vec<(String, bool, String)> {
        let output = self.deployment.flowkit(&["verify", "--patience", patience, "--format", "json"]);
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", show(&output)));
        let text = |check: &Value, of: &str| check[of].as_str().unwrap().to_owned();
        let one = |check: &Value| (text(check, "check"), check["ok"] == true, text(check, "result"));
        checks.as_array().unwrap().iter().map(one).collect()
    }

    /// Signs in to Airflow's API as its administrator.
    fn sign_in(&self) -> bool {
        let password =
            fs::read_to_string(self.deployment.state().join("secrets/FLOWETL_AIRFLOW_ADMIN_PASSWORD")).unwrap();
        let body = json!({"username": "admin", "password": password.trim()}).to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = http::Request::post("/auth/token").header("content-type", "application/json").body(body.into());
        let client = https::Client::plain("127.0.0.1", self.ports[0]);
        let answer = runtime.block_on(client.send(request.unwrap(), 64 << 10)).unwrap();
        answer.status() == 201 && String::from_utf8_lossy(answer.body()).contains("access_token")
    }
}

#[test]
fn a_day_goes_through_a_real_dag_into_flowdb() {
    let etl = FlowEtl::new();
    let state = etl.deployment.state();
    etl.deliver();
    // Any variable may be a secret file of its name.
    fs::create_dir(state.join("secrets")).unwrap();
    fs::set_permissions(state.join("secrets"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(state.join("secrets/DAGS_BEGIN_PAUSED"), "no\n").unwrap();
    etl.deployment.done(&["up", "--detach", "--with", "flowetl", "--with", "autoflow"]);

    report::enrol(&etl);
    etl.await_the_day();
    assert_eq!(etl.value("SELECT count(*) FROM events.mds"), "200");
    let bounds = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'mds_20160301'";
    assert_eq!(etl.value(bounds), "FOR VALUES FROM ('2016-03-01 00:00:00+00') TO ('2016-03-02 00:00:00+00')");
    assert_eq!(
        etl.value("SELECT string_agg(cdr_date::text, ' ') FROM etl.available_dates WHERE cdr_type = 'mds'"),
        "2016-03-01"
    );
    let checked = "SELECT outcome FROM etl.post_etl_queries WHERE type_of_query_or_check = 'count_added_rows'";
    assert_eq!(etl.value(checked), "200");
    assert_eq!(etl.value("SELECT count(*) FROM events.location_ids WHERE cdr_type = 'mds'"), "7");
    assert_eq!(etl.value("SELECT has_subscribers FROM available_tables WHERE table_name = 'mds'"), "t");
    assert!(etl.sign_in(), "the administrator has the password of the secret");
    no_secret_is_in_the_open(&etl.deployment);
    report::it_is_made_of_the_day(&etl);
    verify_leaves_nothing_behind(&etl);
    report::nothing_else_was_run(&etl);

    let before = etl.deployment.pid("flowetl-scheduler").unwrap();
    kill(before);
    wait(PATIENCE, "another scheduler", || etl.deployment.pid("flowetl-scheduler").is_some_and(|pid| pid != before));
    etl.deployment.wait_ready(PATIENCE);
    etl.deployment.done(&["health", "flowetl"]);

    etl.deployment.done(&["down"]);
    assert_eq!(etl.deployment.processes(), Vec::<u32>::new(), "left running");
    for port in etl.ports {
        TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    }
}

/// A small day of its own through a real DAG, asked about, and gone; and the same where the DAG fails.
fn verify_leaves_nothing_behind(etl: &FlowEtl) {
    // The DAG says that there are locations, and everything is to be as it was.
    etl.cluster.run("flowdb", "UPDATE available_tables SET has_locations = false WHERE table_name = 'mds'").unwrap();
    let before = etl.everything();
    a_killed_one_has_left(etl);
    let checks = etl.verified();
    let names: Vec<&str> = checks.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(
        names[..6],
        [
            "FlowETL can be given a small day",
            "the small day, through FlowETL's DAG into FlowDB",
            "how often people are in it, asked of the server",
            "how often people are in it, asked of FlowAPI",
            "how often people are in it, in a report of AutoFlow's",
            "the small day, taken out again",
        ],
        "{checks:?}"
    );
    let went = "it can; views of others that read mds_19720615 went with it: public.second, public.\"First\"";
    assert_eq!(checks[0].2, went);
    let results: Vec<&str> = checks[..6].iter().map(|(.., result)| result.as_str()).collect();
    assert!(checks[..6].iter().all(|(_, ok, _)| *ok), "{checks:?}");
    assert!(results[1].ends_with(" records, 16 checks of them"), "{results:?}");
    assert!(results[2].starts_with("equal in all 3 groups, ") && results[3] == results[2], "{results:?}");
    assert_eq!(results[4], format!("{}, read in its PDF; a token of FlowAuth's", results[2]));
    assert_eq!(etl.everything(), before, "what is real is as it was, and nothing else is there");

    let refusal = "CREATE FUNCTION public.no_views() RETURNS event_trigger LANGUAGE plpgsql AS
                       $$ BEGIN RAISE EXCEPTION 'no views today'; END $$;
                   CREATE EVENT TRIGGER no_views ON ddl_command_start WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION public.no_views()";
    etl.cluster.run("flowdb", refusal).unwrap();
    let checks = etl.verified();
    let (name, ok, result) = &checks[1];
    assert!(name.starts_with("the small day, through") && !ok, "{checks:?}");
    assert!(result.contains("failed at create_staging_view: ") && result.contains("no views today"), "{result}");
    assert_eq!((checks[2].0.as_str(), checks[2].1), ("the small day, taken out again", true), "{checks:?}");
    etl.cluster.run("flowdb", "DROP EVENT TRIGGER no_views; DROP FUNCTION public.no_views()").unwrap();
    assert_eq!(etl.everything(), before, "nor does a day that was not loaded leave anything");

    let real = "INSERT INTO events.mds (id, datetime, msisdn) VALUES ('a', '1972-06-15 12:00+00', 'somebody')";
    let partition = "CREATE TABLE events.mds_odd PARTITION OF events.mds FOR VALUES FROM ('1972-06-15 00:00+00') TO ('1972-06-16 00:00+00')";
    etl.cluster.run("flowdb", &format!("{partition}; {real}")).unwrap();
    let (_, ok, result) = &etl.verified()[0];
    assert!(!ok && result.contains("events.mds has 1 records of 1972-06-15 that are not"), "{result}");
    assert_eq!(etl.value("SELECT count(*) FROM events.mds_odd"), "1");
}

/// The day, what is written down of it and what others made of it; a query is in the way of its table, and only of that.
fn a_killed_one_has_left(etl: &FlowEtl) {
    let left = "
        CREATE TABLE events.mds_19720615 PARTITION OF events.mds FOR VALUES FROM ('1972-06-15 00:00+00') TO ('1972-06-16 00:00+00');
        INSERT INTO events.mds (id, datetime, msisdn) VALUES ('a', '1972-06-15 12:00+00', 'flowkit-verify-1-1');
        INSERT INTO etl.etl_records (cdr_type, cdr_date, state, timestamp) VALUES ('mds', '1972-06-15', 'ingested', now());
        CREATE VIEW public.\"First\" AS SELECT msisdn FROM events.mds_19720615;
        CREATE MATERIALIZED VIEW public.second AS SELECT * FROM public.\"First\";
        CREATE TABLE etl.flowkit_verify_since AS SELECT now() AS moment, '{}'::int[] AS loads;
        CREATE TABLE cache.xundated (); CREATE TABLE cache.xdated ();
        INSERT INTO cache.cached (query_id, query, created, schema, tablename) VALUES
            ('undated', 'SELECT count(*) FROM events.mds', now(), 'cache', 'xundated'),
            ('dated', E'SELECT 1 FROM events.mds \\nWHERE events.mds.datetime >= ''2016-01-01 00:00:00''', now(), 'cache', 'xdated');
        ALTER TABLE cache.xundated OWNER TO flowmachine; ALTER TABLE cache.xdated OWNER TO flowmachine";
    etl.cluster.run("flowdb", left).unwrap();
    let reader = etl.cluster.connect("flowdb");
    let reads = reader.batch_execute("BEGIN; LOCK TABLE events.mds IN ACCESS SHARE MODE");
    etl.cluster.runtime.block_on(reads).unwrap();
    let checks = etl.verified_within("3");
    etl.cluster.runtime.block_on(reader.batch_execute("ROLLBACK")).unwrap();
    let (_, ok, result) = &checks[0];
    let told = "there is still in FlowDB: etl.flowkit_verify_since, events.mds_19720615; in use by flowdb (process ";
    assert!(!ok && result.contains(told) && result.contains("DROP TABLE IF EXISTS events.mds_19720615"), "{result}");
    assert_eq!(etl.value("SELECT count(*) FROM etl.etl_records WHERE cdr_date = '1972-06-15'"), "0");
    assert_eq!(etl.value("SELECT string_agg(query_id, ' ') FROM cache.cached WHERE query_id LIKE '%dated'"), "dated");
    etl.cluster.run("flowdb", "DROP TABLE cache.xdated; DELETE FROM cache.cached WHERE query_id = 'dated'").unwrap();
}

#[test]
fn what_flowetl_can_not_do_is_said_before_anything_is_started() {
    let deployment = Deployment::new();
    for (args, words) in [
        (
            &["up", "--detach", "--role", "flowetl", "--set", "FLOWKIT_FLOWETL_PYTHON=/nowhere/python"][..],
            &["FlowETL's Python is not there", "/nowhere/python", "make setup"][..],
        ),
        (
            &["run", "flowetl", "--component", "worker"],
            &["components of FlowETL run apart only with AIRFLOW__CORE__EXECUTOR=CeleryExecutor"],
        ),
        (
            &["run", "flowetl", "--component", "wroker", "--set", "AIRFLOW__CORE__EXECUTOR=CeleryExecutor"],
            &["FlowETL has no such component: \"wroker\"", "api-server, scheduler, dag-processor"],
        ),
        (&["run", "redis", "--component", "worker"], &["redis has no such component: \"worker\""]),
    ] {
        let output = deployment.flowkit(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    let alone = ["stack", "--scenario", "flowdb-etl", "--set", "FLOWETL_WORKER_COUNT=3"];
    let output = deployment.flowkit(&alone);
    let said = String::from_utf8_lossy(&output.stderr);
    let warning = "warning: FLOWETL_WORKER_COUNT has no effect without AIRFLOW__CORE__EXECUTOR=CeleryExecutor";
    assert!(output.status.success() && said.contains(warning), "{said}");
}
