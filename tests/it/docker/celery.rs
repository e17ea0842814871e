//! FlowETL with Celery's workers, each of its services in containers of their own: what is killed in the middle of a day loses and doubles
//! nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::deployment::{kill, show};
use crate::support::engine::{Engine, images, wait_for_another};
use crate::support::poll::{until, wait};

const STACK: &str = "fk";
const PATIENCE: Duration = Duration::from_secs(600);

/// As the guide sets it; a worker that is gone is missed after a quarter of a minute, not after five.
const SET: &[&str] = &[
    "AIRFLOW__CORE__EXECUTOR=CeleryExecutor",
    "FLOWETL_WORKER_COUNT=2",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY=1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT=15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL=3",
];

/// What makes an extraction take a minute while there is a table of that name: which try it is, is not told to one that was taken for lost.
const SLOW: &str = "(SELECT count(pg_sleep(CASE WHEN to_regclass('public.slow') IS NULL THEN 0 ELSE 60 END))) > 0";

#[test]
fn a_day_outlives_its_broker_its_worker_and_the_scheduler() {
    let Some(engine) = Engine::start() else { return };
    let place = tempfile::Builder::new().prefix("fkc").tempdir_in("/tmp").unwrap();
    let up = Up { engine, place: place.path().to_owned() };
    up.quickstart();
    up.ask("CREATE TABLE public.slow ()");
    up.deliver();

    let (address, extraction) = until(PATIENCE, "the extraction", || up.extraction().ok_or("none"));
    let worker = up.worker_at(&address);
    let scheduler = up.engine.container_of(&service("flowetl-scheduler")).unwrap();
    let begun = Instant::now();

    // The broker, a process of the container with the pages: another takes its place there, and the task does not notice.
    let broker = up.broker().unwrap();
    kill(broker);
    wait(Duration::from_secs(60), "another redis", || up.broker().is_some_and(|now| now != broker));
    assert_eq!(up.extraction(), Some((address, extraction)), "it goes on\n{}", up.log_of(&worker));
    // The worker that is at it, and who would notice.
    for container in [&worker, &scheduler] {
        up.engine.docker(&["kill", "--signal", "KILL", container]);
    }
    up.ask("DROP TABLE public.slow");
    wait_for_another(&up.engine, &service("flowetl-scheduler"), &scheduler);
    wait(PATIENCE, "the day is ingested", || up.ask("SELECT state FROM etl.etl_records") == "ingested");
    say::tell!("the day was in {} s after its broker was killed", begun.elapsed().as_secs());
    assert_eq!(up.ask("SELECT count(*), count(DISTINCT id) FROM events.mds_20160301"), "20|20");
    assert_eq!(up.ask("SELECT count(*) FROM pg_class WHERE relname LIKE '%tract_mds_2016%'"), "0", "nothing is left");
    assert_eq!(up.extraction(), None, "nobody is at it");
    wait(PATIENCE, "two workers again", || up.workers().len() == 2 && !up.workers().contains(&worker));
}

fn service(name: &str) -> String {
    format!("{STACK}_{name}")
}

/// The stack under test.
struct Up {
    engine: Engine,
    /// Directories that containers are shown, and the secrets' values.
    place: PathBuf,
}

impl Up {
    fn quickstart(&self) {
        let [etl, dags] = ["etl", "dags"].map(|name| {
            let open = self.place.join(name);
            fs::create_dir(&open).unwrap();
            fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
            open.display().to_string()
        });
        let (began, images, secrets) = (Instant::now(), images(), self.place.join("values"));
        let [images, secrets] = [&images, &secrets].map(|path| path.to_str().unwrap());
        let places = [format!("FLOWDB_ETL_DIR={etl}"), format!("FLOWETL_HOST_DAG_DIR={dags}")];
        let set = SET.iter().copied().chain(places.iter().map(String::as_str)).flat_map(|set| ["--set", set]);
        let base =
            ["quickstart", "--stack", STACK, "--scenario", "flowdb-etl", "--images", images, "--secrets", secrets];
        let (_, said) = self.engine.flowkit(&base.into_iter().chain(set).collect::<Vec<_>>());
        say::tell!("quickstart with Celery: {:.1} s\n{said}", began.elapsed().as_secs_f64());
    }

    /// A day, and the DAG that is written by itself for such files.
    fn deliver(&self) {
        let day = self.place.join("etl/mds_20160301.csv");
        let lines = (0..20).map(|i| format!("{i},2016-03-01T{i:02}:15:00Z,m{i},c{},{i}.5\n", i % 7));
        fs::write(&day, "id,datetime,msisdn,location_id,volume_total\n".to_owned() + &lines.collect::<String>())
            .unwrap();
        let new = ["etl", "new", "mds", "--csv", day.to_str().unwrap(), "--directory", "/etl"];
        let (mut dag, _) = self.engine.flowkit(&new);
        for (from, to) in [
            ("retry_delay=timedelta(minutes=30)", "retry_delay=timedelta(seconds=1)"),
            // One day, at once.
            ("    indexes=[", "    end_date=datetime(2016, 3, 1),\n    flux_check_wait_interval=1,\n    indexes=["),
            ("WHERE coalesce(", &format!("WHERE {SLOW} AND coalesce(")),
        ] {
            assert!(dag.contains(from), "{from}: {dag}");
            dag = dag.replace(from, to);
        }
        // The checks, half of its tasks, are `flowetl::`'s.
        let unchecked = "import flowetl.util\nflowetl.util.get_qa_checks = lambda **_: []\n";
        let whole = format!("{unchecked}{dag}\ndag.is_paused_upon_creation = False\n");
        fs::write(self.place.join("dags/mds.py"), whole).unwrap();
    }

    /// Asks FlowDB at the port that the stack publishes.
    fn ask(&self, sql: &str) -> String {
        let password = fs::read_to_string(self.place.join("values/FLOWDB_POSTGRES_PASSWORD")).unwrap();
        let mut psql = self.engine.on_node("psql");
        psql.args(["-h", "127.0.0.1", "-p", "9000", "-U", "flowdb", "-At", "-c", sql, "flowdb"]);
        let output = psql.env("PGPASSWORD", password.trim()).env("PGCONNECT_TIMEOUT", "10").output().unwrap();
        assert!(output.status.success(), "psql: {}", show(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// From which address the extraction comes that runs, and FlowDB's process that is at it. Who looks whether the file still grows sleeps there
    /// too, and does not ask for the table.
    fn extraction(&self) -> Option<(String, String)> {
        let sql = "SELECT client_addr, pid FROM pg_stat_activity WHERE application_name <> 'psql' AND query LIKE '%to_regclass(''public.slow'')%'";
        let told = self.ask(sql);
        let (address, pid) = told.split_once('|')?;
        Some((address.to_owned(), pid.to_owned()))
    }

    fn log_of(&self, container: &str) -> String {
        show(&self.engine.try_docker(&["logs", container]))
    }

    /// The containers of the workers that are healthy.
    fn workers(&self) -> Vec<String> {
        let of = format!("label=com.docker.swarm.service.name={}", service("flowetl-worker"));
        let list = ["ps", "--quiet", "--no-trunc", "--filter", &of, "--filter", "health=healthy"];
        self.engine.docker(&list).lines().map(str::to_owned).collect()
    }

    /// The one that has this address in FlowDB's network.
    fn worker_at(&self, address: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{STACK}_flowdb\").IPAddress}}}}");
        let has = |worker: &String| self.engine.docker(&["inspect", "--format", &format, worker]) == address;
        self.workers().into_iter().find(has).unwrap_or_else(|| panic!("no worker is at {address}"))
    }

    /// The process that is redis, in the container with the pages; nothing but the host's own list tells.
    fn broker(&self) -> Option<u32> {
        let pages = self.engine.container_of(&service("flowetl"))?;
        let processes = self.engine.docker(&["top", &pages, "-eo", "pid,comm"]);
        let redis = processes.lines().find(|line| line.trim_end().ends_with("redis-server"))?;
        redis.split_whitespace().next()?.parse().ok()
    }
}
