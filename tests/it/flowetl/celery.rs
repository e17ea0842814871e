//! FlowETL with Celery, its components as on machines of their own: one place each, reached by its address.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use flowkit_core::config::{Origin, StateDir};
use serde_json::Value;

use super::{PATIENCE, python};
use crate::deployment::no_secret_is_in_the_open;
use crate::support::deployment::{Deployment, kill};
use crate::support::flowdb::Cluster;
use crate::support::poll::{until, wait};
use crate::support::ports::free_port;

/// Two days, one after the other, whose extraction takes 40 seconds the first time it is tried, in a worker that says which it is. A task beside
/// it waits in the broker where there is one worker.
const DAG: &str = r#"
import os
from datetime import datetime, timedelta

from airflow import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from flowetl.operators.add_constraints_operator import AddConstraintsOperator
from flowetl.operators.attach_operator import AttachOperator
from flowetl.operators.create_staging_view_operator import CreateStagingViewOperator
from flowetl.operators.extract_from_view_operator import ExtractFromViewOperator
from flowetl.operators.update_etl_table_operator import UpdateETLTableOperator

ROWS = """SELECT i::text AS id, '{{ ds }}'::timestamptz + i * '1 minute'::interval AS datetime, NULL::numeric AS duration,
    NULL::numeric AS volume_total, NULL::numeric AS volume_upload, NULL::numeric AS volume_download, 'm' || i AS msisdn, NULL::text AS location_id,
    NULL::text AS imsi, NULL::text AS imei, NULL::numeric(8) AS tac, NULL::numeric AS operator_code, NULL::numeric AS country_code
    FROM generate_series(1, 200) AS i"""
WAIT = "/* {{ ds }} in " + os.environ.get("WORKER", "none") + " */ SELECT rows.* FROM {{ staging_table }} AS rows, (SELECT pg_sleep({{ 60 if ti.try_number == 1 else 0 }})) AS wait"

with DAG(
    dag_id="slow",
    schedule="@daily",
    start_date=datetime(2016, 3, 1),
    end_date=datetime(2016, 3, 2),
    max_active_runs=1,
    params={"cdr_type": "mds"},
    is_paused_upon_creation=False,
    default_args={"conn_id": "flowdb", "retries": 3, "retry_delay": timedelta(seconds=1)},
):
    view = CreateStagingViewOperator(task_id="create_staging_view", sql=ROWS)
    extract = ExtractFromViewOperator(task_id="extract", sql=WAIT)
    attach = AttachOperator(task_id="attach")
    view >> extract >> AddConstraintsOperator(task_id="add_constraints") >> attach >> UpdateETLTableOperator(task_id="update_records")
    view >> SQLExecuteQueryOperator(task_id="beside", sql="SELECT 1") >> attach
"#;

/// A place in which `flowkit run flowetl` runs some components.
struct Machine {
    deployment: Deployment,
    components: Vec<&'static str>,
    log: PathBuf,
    run: Option<Child>,
}

impl Machine {
    /// `first` is where FlowDB runs, whose secrets were made there.
    fn new(first: &Deployment, settings: &str, name: &str, components: &[&'static str]) -> Machine {
        let deployment = Deployment::new();
        deployment.configure(settings);
        let log = first.state().join("log").join(format!("{name}.log"));
        let machine = Machine { deployment, components: components.to_vec(), log, run: None };
        fs::create_dir(machine.secrets()).unwrap();
        fs::set_permissions(machine.secrets(), fs::Permissions::from_mode(0o700)).unwrap();
        machine.take_secrets(first);
        fs::write(machine.secrets().join("WORKER"), name).unwrap();
        machine
    }

    fn secrets(&self) -> PathBuf {
        self.deployment.state().join("secrets")
    }

    /// Copies those of another machine.
    fn take_secrets(&self, from: &Deployment) {
        let files = fs::read_dir(from.state().join("secrets")).unwrap().flatten();
        for file in files.filter(|file| file.file_name() != "WORKER") {
            let place = self.secrets().join(file.file_name());
            // Nobody may write to one that is there.
            let _ = fs::remove_file(&place);
            fs::copy(file.path(), place).unwrap();
        }
    }

    /// Has services started anew, and waits until all is ready again.
    fn restart(&mut self, services: &[&str]) {
        let before: Vec<_> = services.iter().map(|service| self.started(service)).collect();
        services.iter().for_each(|service| _ = self.deployment.done(&["restart", service]));
        wait(PATIENCE, "their new start", || {
            services
                .iter()
                .zip(&before)
                .all(|(service, before)| self.started(service).is_some_and(|now| Some(now) != *before))
        });
        self.wait_ready();
    }

    /// How often a service was started.
    fn started(&self, service: &str) -> Option<u64> {
        let status = self.deployment.status()?;
        let found = status["services"].as_array()?.iter().find(|found| found["name"] == service)?;
        found["restarts"].as_u64()
    }

    fn start(&mut self) {
        let args = self.components.iter().flat_map(|component| ["--component", component]);
        let args: Vec<&str> = ["run", "flowetl"].into_iter().chain(args).collect();
        let log = fs::File::create(&self.log).unwrap();
        let mut run = self.deployment.command(&args);
        self.run = Some(run.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_ready(&mut self) {
        until(PATIENCE, "its components ready", || {
            let ended = self.run.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}\n{}", self.log());
            let status = self.deployment.status().ok_or("none")?;
            if status["ready"] == true { Ok(()) } else { Err(self.log().lines().last().unwrap_or("").to_owned()) }
        });
    }

    /// The secrets that were given to what runs here.
    fn held(&self) -> Vec<String> {
        let place = self.deployment.state().join("credentials/flowetl");
        let mut names: Vec<String> =
            fs::read_dir(place).unwrap().flatten().map(|file| file.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut run) = self.run.take() {
            if let Ok(pid) = i32::try_from(run.id()) {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = run.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            say::tell!("{}:\n{}", self.log.display(), lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Whose extraction of a day runs, and the process in FlowDB that is at it.
fn extraction(cluster: &Cluster, day: &str) -> Option<(String, String)> {
    let sql = format!(
        "SELECT worker, pid FROM (SELECT substring(query FROM '/. {day} in (worker-.) ./') AS worker, pid FROM pg_stat_activity) AS all_
         WHERE worker IS NOT NULL"
    );
    let [worker, pid] = cluster.ask("flowdb", &sql).pop()?.try_into().ok()?;
    Some((worker, pid))
}

/// The day is there, and each of its rows once.
fn await_whole(cluster: &Cluster, day: &str) {
    let records =
        format!("SELECT count(*) || ' ' || coalesce(max(state), '') FROM etl.etl_records WHERE cdr_date = '{day}'");
    until(PATIENCE, "the day, whole", || match cluster.value("flowdb", &records) {
        seen if seen == "1 ingested" => Ok(()),
        seen => Err(seen),
    });
    let table = format!("mds_{}", day.replace('-', ""));
    let rows = format!("SELECT count(*) || ' ' || count(DISTINCT id) FROM events.{table}");
    assert_eq!(cluster.value("flowdb", &rows), "200 200");
    let left =
        format!("SELECT count(*) FROM pg_class WHERE relnamespace = 'etl'::regnamespace AND relname LIKE '%{table}%'");
    assert_eq!(cluster.value("flowdb", &left), "0", "nothing half done is left");
}

#[test]
fn a_worker_and_a_broker_that_are_killed_lose_and_double_nothing() {
    let first = Deployment::new();
    let ports: [u16; 4] = std::array::from_fn(|_| free_port());
    let [pages, database, redis, flower] = ports;
    let dags = first.state().with_file_name("dags");
    fs::create_dir(&dags).unwrap();
    fs::write(dags.join("slow.py"), DAG).unwrap();
    let settings = format!(
        "AIRFLOW__CORE__EXECUTOR = \"CeleryExecutor\"\nFLOWETL_WORKER_COUNT = 2\nAIRFLOW__CELERY__WORKER_CONCURRENCY = 1\n\
         FLOWETL_HOST_PORT = {pages}\nFLOWKIT_FLOWETL_DB_PORT = {database}\nFLOWKIT_FLOWETL_REDIS_PORT = {redis}\n\
         FLOWETL_CELERY_PORT = {flower}\nFLOWETL_HOST_DAG_DIR = {dags:?}\nFLOWKIT_FLOWETL_PYTHON = {:?}\n\
         FLOWDB_HOST = \"127.0.0.1\"\n\
         AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT = \"15\"\n\
         AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL = \"3\"\n",
        python()
    );
    first.configure(&settings);
    let secrets = first.state().join("secrets");
    let mut init = Command::new(first.state().with_file_name("flowkit"));
    init.args(["secrets", "init", "--role", "flowdb", "--role", "flowetl", "--dir"]).arg(&secrets);
    init.env_clear().env("FLOWDB_HOST", "127.0.0.1").env("FLOWDB_PORT", first.ports[0].to_string());
    assert!(init.output().unwrap().status.success());
    fs::create_dir_all(first.state().join("log")).unwrap();
    let machine = |name, components: &[&'static str]| Machine::new(&first, &settings, name, components);
    let mut centre = machine("centre", &["api-server", "scheduler", "dag-processor"]);
    let mut workers = [machine("worker-a", &["worker"]), machine("worker-b", &["worker"])];
    // The workers first: they wait for the pages, and then for FlowDB.
    workers.iter_mut().for_each(Machine::start);
    let waits = format!("waiting for FlowETL's api-server at localhost:{pages}: ");
    wait(PATIENCE, "word of whom they wait for", || workers.iter().all(|worker| worker.log().contains(&waits)));
    centre.start();
    let waits = format!("waiting for FlowDB at 127.0.0.1:{}: ", first.ports[0]);
    wait(PATIENCE, "word of the other", || workers.iter().all(|worker| worker.log().contains(&waits)));
    first.done(&["up", "--detach", "--role", "flowdb"]);
    workers.iter_mut().chain([&mut centre]).for_each(Machine::wait_ready);

    let held = workers[0].held();
    assert!(held.contains(&"AIRFLOW_CONN_FLOWDB".to_owned()) && held.contains(&"WORKER".to_owned()), "{held:?}");
    for other in ["AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "FLOWETL_AIRFLOW_ADMIN_PASSWORD"] {
        assert!(!held.contains(&other.to_owned()) && centre.held().contains(&other.to_owned()), "{other}: {held:?}");
    }
    assert!(!centre.held().iter().any(|name| name == "AIRFLOW_CONN_FLOWDB"), "its tasks alone reach FlowDB");

    let mut cluster = Cluster::of(StateDir::new(first.state()));
    cluster.site.settings.set("FLOWDB_PORT", &first.ports[0].to_string(), Origin::Flag).unwrap();
    let day = "2016-03-01";
    let (which, _) = until(PATIENCE, "the day's extraction", || extraction(&cluster, day).ok_or("none"));
    no_secret_is_in_the_open(&first);
    let at = usize::from(which == "worker-b");
    let begun = Instant::now();
    // All of that machine at once, for good.
    workers[at].deployment.processes().into_iter().for_each(kill);
    let _ = workers[at].run.take().unwrap().wait();
    wait(Duration::from_secs(20), "nothing left of it", || workers[at].deployment.processes().is_empty());

    await_whole(&cluster, day);
    say::tell!("the day was in {} s after its worker was killed", begun.elapsed().as_secs());
    assert_eq!(extraction(&cluster, day), None, "nobody is at it twice");
    let worker = &workers[1 - at];
    let status: Value = worker.deployment.status().unwrap();
    assert_eq!(status["ready"], true, "{status}");

    let password = fs::read_to_string(secrets.join("FLOWETL_REDIS_PASSWORD")).unwrap();
    let address = format!("redis://:{}@127.0.0.1:{redis}/0", password.trim());
    let broker = Broker { centre: &centre, address: address.clone() };
    broker.is_killed_while_a_task_runs_and_another_waits(&cluster, worker);

    let [a, b] = &mut workers;
    new_secrets_are_taken(&mut centre, if at == 0 { b } else { a });
    let of_redis = |secrets: PathBuf| fs::read_to_string(secrets.join("FLOWETL_REDIS_PASSWORD")).unwrap();
    let old = Broker { centre: &centre, address };
    assert!(old.waiting().is_err() && of_redis(centre.secrets()) != password, "the old password is good no more");
    // A day more, and quick.
    let next = DAG.replace("datetime(2016, 3, 2)", "datetime(2016, 3, 3)").replace("60 if", "0 if");
    fs::write(dags.join("slow.py"), next).unwrap();
    await_whole(&cluster, "2016-03-03");
}

/// All of FlowETL's own, made new where the pages are and brought to the worker: what is named there is what has to be started anew.
fn new_secrets_are_taken(centre: &mut Machine, worker: &mut Machine) {
    let mut rotate = Command::new(centre.deployment.state().with_file_name("flowkit"));
    rotate.args(["secrets", "rotate", "--lose-data", "FLOWETL_REDIS_PASSWORD", "FLOWETL_POSTGRES_PASSWORD"]);
    rotate.args(["AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__WEBSERVER__SECRET_KEY"]);
    let output = rotate.arg("--dir").arg(centre.secrets()).env_clear().output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let named = said.lines().find_map(|line| line.strip_prefix("run       flowkit restart ")?.split_once(" --dir "));
    let named: Vec<&str> = named.map(|(named, _)| named.split(' ').collect()).unwrap_or_default();
    assert_eq!(named, ["flowetl-redis", "flowetl-prepare"], "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    worker.take_secrets(&centre.deployment);
    centre.restart(&named);
    worker.restart(&["flowetl-worker-1"]);
}

/// The redis between the scheduler and its workers.
struct Broker<'a> {
    centre: &'a Machine,
    address: String,
}

impl Broker<'_> {
    fn pid(&self) -> Option<u32> {
        self.centre.deployment.pid("flowetl-redis")
    }

    /// How many tasks wait in it.
    fn waiting(&self) -> redis::RedisResult<u32> {
        let mut connection = redis::Client::open(self.address.as_str())?.get_connection()?;
        redis::cmd("LLEN").arg("default").query(&mut connection)
    }

    /// Another one takes its place, and has what waited; the task that runs does not notice.
    fn is_killed_while_a_task_runs_and_another_waits(&self, cluster: &Cluster, worker: &Machine) {
        let day = "2016-03-02";
        let running = until(PATIENCE, "the next day's extraction", || extraction(cluster, day).ok_or("none"));
        wait(Duration::from_secs(20), "the task beside it in the broker", || self.waiting() == Ok(1));
        let (before, runs, begun) = (self.pid().unwrap(), worker.deployment.pid("flowetl-worker-1"), Instant::now());
        kill(before);
        wait(Duration::from_secs(20), "another redis with the task that waited", || {
            self.pid().is_some_and(|now| now != before) && self.waiting() == Ok(1)
        });
        assert_eq!(extraction(cluster, day), Some(running), "it goes on");
        await_whole(cluster, day);
        say::tell!("the day was in {} s after its broker was killed", begun.elapsed().as_secs());
        assert_eq!(worker.deployment.pid("flowetl-worker-1"), runs, "the worker is the same");
        assert_eq!(self.waiting(), Ok(0));
        // A task that was lost would be missed after ten minutes.
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    }
}
