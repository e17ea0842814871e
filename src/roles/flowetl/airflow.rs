//! Airflow's processes: what they are told, and whether they work.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use supervisor::{Command, Probe};

use super::places::{Place, Places};
use super::{OWN, celery, dags, logs};
use crate::roles::{CREDENTIALS, Deployment, command, wait};
use flowkit_core::config::bracketed;

/// What flowetl, which was written for Airflow 2, needs of Airflow 3, and what an appliance does. What the operator gives wins.
const TOLD: &[(&str, &str)] = &[
    // Passwords that are kept hashed, users and roles, as in Airflow 2.
    ("AIRFLOW__CORE__AUTH_MANAGER", "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"),
    // A run is of the day that has ended when it begins, and days since the start are caught up with, as in Airflow 2.
    ("AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS", "True"),
    ("AIRFLOW__SCHEDULER__CREATE_DELTA_DATA_INTERVALS", "True"),
    ("AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT", "True"),
    // A task bears that the server it talks to is away for a minute; 5 are for a quarter of one.
    ("AIRFLOW__WORKERS__EXECUTION_API_RETRIES", "12"),
    // Seconds between two looks for tasks whose scheduler was killed; Airflow has 300.
    ("AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL", "60"),
    // Seconds until a new DAG file is seen; Airflow has 300.
    ("AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL", "30"),
    // Seconds after which a broker gives a task that is not done to another worker; Airflow has a day, and warns of that each time.
    ("AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT", "604800"),
    // DAG files in a directory have no versions to clean up: a process of 87 MiB beside each worker.
    ("AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_INTERVAL", "0"),
    // One process: it sleeps most of the day, and each takes 280 MiB.
    ("AIRFLOW__API__WORKERS", "1"),
    ("AIRFLOW__CORE__LOAD_EXAMPLES", "False"),
    // flowetl writes a DAG's parameters into SQL and into a shell's line as they stand: with them, who may only begin a run would be
    // FlowDB's superuser.
    ("AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS", "False"),
];

/// Names of earlier versions, which Airflow still reads with a warning each time.
const RENAMED: &[(&str, &str)] = &[("AIRFLOW__WEBSERVER__WORKERS", "AIRFLOW__API__WORKERS")];

/// Settings that the programs read by their own names, beside Airflow's.
const READ: &[&str] = &[
    "FLOWETL_AIRFLOW_PG_POOL_SLOT_COUNT",
    "FLOWETL_AIRFLOW_ADMIN_EMAIL",
    "FLOWETL_AIRFLOW_ADMIN_FIRSTNAME",
    "FLOWETL_AIRFLOW_ADMIN_LASTNAME",
];

/// What the server of the pages is asked: it writes no line of it.
pub(super) const HEALTH: &str = "/api/v2/monitor/health";

/// How Airflow's processes are started.
pub(super) struct Program {
    pub python: PathBuf,
    pub places: Places,
}

impl Program {
    /// One of them.
    pub fn command(&self, deployment: &Deployment, args: &[&str]) -> Command {
        let (settings, home) = (&deployment.site.settings, deployment.site.state.role("flowetl"));
        let args: Vec<&str> = ["-m", "flowkit_flowetl"].iter().chain(args).copied().collect();
        // Its directory is no place for programs, and that of the DAG files need not be its own.
        // In a container its user may have no name, without which Airflow does nothing.
        let env = [
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONSAFEPATH", "1"),
            ("LOGNAME", "flowetl"),
        ];
        let mut made = command(deployment, self.python.clone(), &args, &env, home.clone());
        let mut tell = |name: &str, value: &str| made.env.insert(name.into(), value.into());
        for (name, value) in TOLD {
            tell(name, value);
        }
        tell("AIRFLOW_HOME", &home.join("airflow").to_string_lossy());
        tell("AIRFLOW__CORE__DAGS_FOLDER", &dags(deployment).to_string_lossy());
        tell("AIRFLOW__CORE__PARALLELISM", &celery::parallelism(deployment).to_string());
        tell("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", &format!("http://{}/execution/", self.places.pages));
        let logs = logs::directory(deployment);
        tell("AIRFLOW__LOGGING__BASE_LOG_FOLDER", &logs.to_string_lossy());
        let parsing = logs.join("dag_processor");
        tell("AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY", &parsing.to_string_lossy());
        for (name, value) in settings.explicit().filter(|(name, _)| name.starts_with("AIRFLOW__")) {
            let renamed = RENAMED.iter().find(|(old, _)| *old == name);
            tell(renamed.map_or(name, |(_, new)| new), value);
        }
        // One task at a time is what the sequential one did, which is no more.
        tell("AIRFLOW__CORE__EXECUTOR", if celery::is_used(deployment) { "CeleryExecutor" } else { "LocalExecutor" });
        for name in READ {
            tell(name, settings.text(name).expect("it has a default"));
        }
        // Without the passwords, which are among the secrets.
        if let Some(place) = &self.places.database {
            let role = OWN.role;
            tell("FLOWKIT_FLOWETL_DATABASE", &format!("postgresql+psycopg2://{role}:{{}}@{place}/{role}"));
        }
        if let Some(place) = &self.places.broker {
            tell("FLOWKIT_FLOWETL_BROKER", &format!("redis://:{{}}@{place}/0"));
        }
        if self.places.results_elsewhere {
            tell("FLOWKIT_FLOWETL_RESULTS_ELSEWHERE", "1");
        }
        if deployment.roles.iter().any(|role| role == "flowdb") {
            let (host, port) = (settings.text("FLOWDB_HOST").expect("it has a default"), settings.port("FLOWDB_PORT"));
            tell("FLOWKIT_FLOWETL_FLOWDB", &format!("{}:{port}", bracketed(host)));
        }
        made.env.insert(CREDENTIALS.into(), deployment.credentials_of("flowetl").into());
        made
    }
}

/// One of Airflow's processes, by what its health is called.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Scheduler,
    DagProcessor,
    Triggerer,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Scheduler => "scheduler",
            Part::DagProcessor => "dag_processor",
            Part::Triggerer => "triggerer",
        }
    }

    /// Whether it has told the database of late that it is at work, as the server of the pages knows.
    pub fn probe(self, pages: Place) -> impl Probe + use<> {
        move |patience: Duration| {
            let asked = async { tokio::time::timeout(patience, health(&pages)).await };
            let health = match wait(asked) {
                Ok(Ok(health)) => health?,
                Ok(Err(_)) => return Err("no answer in time".to_owned()),
                Err(error) => return Err(error.to_string()),
            };
            match &health[self.name()]["status"] {
                Value::String(status) if status == "healthy" => Ok(()),
                Value::String(status) => Err(format!("Airflow says that it is {status}")),
                _ => Err("Airflow does not know it yet".to_owned()),
            }
        }
    }
}

/// What the pages say of all processes.
pub(super) async fn health(pages: &Place) -> Result<Value, String> {
    const MOST: usize = 64 << 10;
    let request = Request::get(HEALTH).body(Bytes::new()).map_err(|error| error.to_string())?;
    let client = https::Client::plain(pages.host.clone(), pages.port);
    let answer = client.send(request, MOST).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("GET {HEALTH} answers {}", answer.status()));
    }
    serde_json::from_slice(answer.body()).map_err(|error| error.to_string())
}
