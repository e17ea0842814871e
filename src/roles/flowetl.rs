//! FlowETL: upstream's flowetl on Apache Airflow, whose processes are services of their own, over a PostgreSQL of the role's own unless the
//! operator names another.
//!
//! ```text
//! flowetl-database       PostgreSQL
//! flowetl-prepare        schema, administrator, pool: a task
//! flowetl                Airflow's api-server: its pages, and what every task talks to
//! flowetl-scheduler      and the tasks, which are its children
//! flowetl-dag-processor  reads DAG files
//! flowetl-triggerer      waits for what deferred tasks wait for
//! flowetl-logs           keeps the logs of tasks within bounds
//! ```

mod airflow;
mod logs;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use supervisor::{Alive, Command, Kind, OnDependency, Restart, Service, StopStep};

use self::airflow::{Part, Program};
use super::database::Own;
use super::walls::is_asked_for;
use crate::roles::{Deployment, Held, MISTAKE, Needs, Role, Step, interpreter, step};
use flowkit_core::Site;
use flowkit_core::config::{Problem, Problems, Settings, from_here};
use flowkit_core::database::Way;
use flowkit_core::secrets::{self, LookupError};
use https::Get;

/// The secret that says where Airflow's database is.
const DATABASE: &str = "AIRFLOW__CORE__SQL_ALCHEMY_CONN";

const SERVER: &str = "flowetl-database";
const PREPARE: &str = "flowetl-prepare";
const PAGES: &str = "flowetl";
const LOGS: &str = "flowetl-logs";

/// What Airflow's pages listen at.
const LISTEN: &str = "FLOWKIT_FLOWETL_LISTEN";
const PORT: &str = "FLOWETL_HOST_PORT";

const OWN: Own = Own {
    role: "flowetl",
    title: "FlowETL's database",
    server: SERVER,
    prepare: "flowetl-cluster",
    data: Some("FLOWKIT_FLOWETL_DATA"),
    port: "FLOWKIT_FLOWETL_DB_PORT",
    password: "FLOWETL_POSTGRES_PASSWORD",
    // As FlowAuth's, and Airflow's schema.
    room: 192 << 20,
    elsewhere: "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, a secret, to a database elsewhere",
};

pub(super) static ROLE: Role = Role {
    name: "flowetl",
    services,
    check,
    // Everything else of it is started anew with this task.
    restart: PREPARE,
    follows: false,
    held: Held::Everywhere,
    needs,
    steps: &[
        Step { name: OWN.prepare, before_listening: false, run: |of| OWN.prepare(of) },
        Step { name: SERVER, before_listening: false, run: |of| OWN.serve(of) },
        Step { name: "flowetl-login", before_listening: false, run: |of| OWN.make_login(of) },
        Step { name: "flowetl-await", before_listening: true, run: |_| Ok(ExitCode::SUCCESS) },
        Step { name: LOGS, before_listening: false, run: logs::keep_within_bounds },
    ],
};

/// Tasks run on this machine; several machines need Celery, which is not built.
fn check(settings: &Settings, _in_container: bool) -> Vec<Problem> {
    let executor = settings.text("AIRFLOW__CORE__EXECUTOR").expect("it has a default");
    if executor != "CeleryExecutor" {
        return Vec::new();
    }
    let what = "FlowETL runs its tasks on one machine: workers on several, by Celery, are not built";
    let problem = Problem::new(what, "leave AIRFLOW__CORE__EXECUTOR out, or give LocalExecutor");
    vec![problem.value(executor).origin(settings.origin("AIRFLOW__CORE__EXECUTOR"))]
}

/// Whether Airflow's database is the role's own: as long as its secret is what would be made for it, and names this machine. Its port is the
/// setting's, whatever it was when the secret was made.
fn is_own(Site { store, settings, .. }: &Site) -> Result<bool, Problem> {
    let uri = match store.get(DATABASE) {
        Ok(uri) => uri,
        // Said elsewhere.
        Err(LookupError::Missing { .. }) => return Ok(true),
        Err(error) => return Err(error.problem()),
    };
    let rest = uri.expose().split_once("://").map_or("", |(_, rest)| rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let here = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|host| place.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
    let own = here && secrets::is_as_made(store, DATABASE, settings);
    let user = store.get("FLOWETL_POSTGRES_USER").map_err(|error| error.problem())?;
    if own && user.expose() != OWN.role {
        let hint = format!("leave it out, or name a database elsewhere with {DATABASE}");
        return Err(Problem::new("FLOWETL_POSTGRES_USER is flowetl where flowkit runs FlowETL's database", hint));
    }
    Ok(own)
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    Problems(check(&deployment.site.settings, false)).or(())?;
    let python = interpreter(deployment, "FLOWKIT_FLOWETL_PYTHON", "etl", "FlowETL")?;
    let address = deployment.socket(LISTEN, PORT)?;
    let reached = reached(deployment)?;
    let own = is_own(&deployment.site)?;
    let run = Program { python, address, reached, own };
    let mut prepare = Service {
        name: PREPARE.to_owned(),
        kind: Kind::Task,
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        restart: Restart { limit: 3, ..Restart::default() },
        // Nothing is prepared anew because a database has crashed and come back.
        on_dependency: OnDependency::Keep,
        // The first tasks find FlowDB's schema: one that fails is tried again a day later.
        ..daemon(PREPARE, run.command(deployment, &["prepare"]), &["flowdb-schema"])
    };
    let mut services = Vec::new();
    if own {
        services.push(OWN.service(deployment)?);
        prepare.before.push(step(deployment, "flowetl", "flowetl-login"));
        prepare.needs.push(SERVER.to_owned());
    }
    services.push(prepare);
    services.push(pages(deployment, &run));
    let parts = [
        // It waits for its tasks: a long statement in FlowDB may have begun.
        ("flowetl-scheduler", &["scheduler", "--skip-serve-logs"][..], Part::Scheduler, 40),
        ("flowetl-dag-processor", &["dag-processor"], Part::DagProcessor, 15),
        ("flowetl-triggerer", &["triggerer", "--skip-serve-logs"], Part::Triggerer, 20),
    ];
    services.extend(parts.map(|(name, args, part, seconds)| Service {
        ready: Some(Arc::new(part.probe(reached))),
        alive: Some(Alive {
            probe: Arc::new(part.probe(reached)),
            every: Duration::from_secs(30),
            patience: Duration::from_secs(20),
            // Ten minutes: to start a busy one anew is worse than to wait.
            failures: 20,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(seconds) }],
        // Both databases stop after the tasks that still run.
        ..daemon(name, run.command(deployment, args), &[PAGES, "flowdb"])
    }));
    let logs = step(deployment, "flowetl", LOGS);
    let stop = vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(1) }];
    services.push(Service { open_files: 1_024, stop, ..daemon(LOGS, logs, &[]) });
    Ok(services)
}

fn pages(deployment: &Deployment, run: &Program) -> Service {
    let lives = || Arc::new(Get::http(run.reached, airflow::HEALTH));
    let port = run.address.port().to_string();
    let listen = run.address.ip().to_string();
    let args = ["api-server", "--host", &listen, "--port", &port];
    Service {
        before: vec![step(deployment, "flowetl", "flowetl-await")],
        ready: Some(lives()),
        alive: Some(Alive {
            probe: lives(),
            every: Duration::from_secs(15),
            patience: Duration::from_secs(20),
            failures: 12,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(20) }],
        address: Some(run.address.to_string()),
        ..daemon(PAGES, run.command(deployment, &args), &[PREPARE, SERVER])
    }
}

fn daemon(name: &str, command: Command, needs: &[&str]) -> Service {
    Service {
        name: name.to_owned(),
        kind: Kind::Daemon,
        before: Vec::new(),
        command,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        on_dependency: OnDependency::Restart,
        ready: None,
        alive: None,
        stop: Vec::new(),
        restart: Restart::default(),
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: None,
        oom_score_adj: None,
        open_files: 4_096,
        memory: None,
    }
}

/// DAG files are programs of the operator's, which fetch files from wherever they are: what reads and runs them may connect anywhere. The
/// server of the pages reaches the database alone.
fn needs(view: &Deployment, name: &str) -> Needs {
    let needs =
        Needs { listen: Vec::new(), connect: Some(Vec::new()), asks_names: false, ..Needs::of(view, "flowetl") };
    let settings = &view.site.settings;
    let own = settings.port(OWN.port);
    let place = match view.site.store.get(DATABASE) {
        Ok(uri) if !is_own(&view.site).unwrap_or(false) => Way::of(uri.expose()),
        _ => Way::Tcp { host: "localhost".to_owned(), port: own },
    };
    let (port, named) = match place {
        Way::Tcp { host, port } => (port, is_asked_for(&host)),
        Way::Socket | Way::File(_) => (own, false),
    };
    // Python's queues between processes are memory shared by name, and Airflow's processes speak by unix sockets.
    let airflow = Needs { connect: Some(vec![port]), asks_names: named, is_database: true, ..needs };
    match name {
        LOGS => Needs { connect: Some(Vec::new()), asks_names: false, is_database: false, ..airflow },
        SERVER | "flowetl-cluster" | "flowetl-login" => {
            Needs { listen: vec![own], connect: Some(vec![own]), asks_names: false, ..airflow }
        }
        PREPARE => airflow,
        PAGES | "flowetl-await" => Needs { listen: vec![settings.port(PORT)], ..airflow },
        _ => Needs { connect: None, asks_names: true, ..airflow },
    }
}

/// Where Airflow's pages are reached from this machine.
pub(crate) fn reached(deployment: &Deployment) -> Result<SocketAddr, Problem> {
    let address = deployment.socket(LISTEN, PORT)?;
    Ok(SocketAddr::new(from_here(address.ip()), address.port()))
}

/// Where DAG files are: what a setting names, else a directory of the role's own.
pub(crate) fn dags(deployment: &Deployment) -> PathBuf {
    let settings = &deployment.site.settings;
    let given = ["AIRFLOW__CORE__DAGS_FOLDER", "FLOWETL_HOST_DAG_DIR"].into_iter().find_map(|name| settings.text(name));
    given.map_or_else(|| deployment.site.state.role("flowetl").join("dags"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowkit_core::config::StateDir;
    use flowkit_core::secrets::Store;

    #[test]
    fn its_database_is_its_own_until_the_secret_names_another() {
        let dir = tempfile::tempdir().unwrap();
        let of = |uri: &str, user: &str| {
            for (name, value) in
                [(DATABASE, uri), ("FLOWETL_POSTGRES_PASSWORD", "p@ss"), ("FLOWETL_POSTGRES_USER", user)]
            {
                std::fs::write(dir.path().join(name), value).unwrap();
            }
            let state = StateDir::new(dir.path());
            is_own(&Site { state, settings: Settings::default(), store: Store::only(dir.path()) })
                .map_err(|problem| problem.to_string())
        };
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@localhost:9001/flowetl", "flowetl"), Ok(true));
        // Made when the port was another.
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@localhost:5432/flowetl", "flowetl"), Ok(true));
        assert_eq!(of("postgresql+psycopg2://flowetl:p%40ss@db.example.org:9001/flowetl", "flowetl"), Ok(false));
        assert_eq!(of("postgresql://airflow:other@localhost/airflow", "flowetl"), Ok(false));
        let refused = of("postgresql+psycopg2://ann:p%40ss@localhost:9001/flowetl", "ann").unwrap_err();
        assert!(refused.contains("FLOWETL_POSTGRES_USER is flowetl"), "{refused}");
        std::fs::remove_file(dir.path().join(DATABASE)).unwrap();
        let state = StateDir::new(dir.path());
        let site = Site { state, settings: Settings::default(), store: Store::only(dir.path()) };
        assert!(is_own(&site).unwrap(), "what is missing is said elsewhere");
    }
}
