//! FlowETL: upstream's flowetl on Apache Airflow, whose processes are services of their own, over a PostgreSQL of the role's own unless the
//! operator names another.
//!
//! ```text
//! flowetl-database       PostgreSQL
//! flowetl-redis          redis, between the scheduler and Celery's workers
//! flowetl-prepare        schema, administrator, pool: a task
//! flowetl                Airflow's api-server: its pages, and what every task talks to
//! flowetl-scheduler      and the tasks, which are its children; with Celery they are the workers'
//! flowetl-dag-processor  reads DAG files
//! flowetl-triggerer      waits for what deferred tasks wait for
//! flowetl-worker-1       Celery: runs tasks
//! flowetl-flower         Celery: the page of its workers
//! flowetl-logs           keeps the logs of tasks within bounds
//! ```
//!
//! With Celery each of Airflow's processes may run on a machine of its own (`flowkit run flowetl --component NAME`). Database, redis and
//! `flowetl-prepare` are then where the api-server is, and everybody else waits until that answers: the schema is there by then.

mod airflow;
mod celery;
mod logs;
mod neighbours;
mod places;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use supervisor::{Alive, Command, Kind, OnDependency, Restart, Service, StopStep};

use self::airflow::{Part, Program};
use self::places::{Places, is_own};
use super::database::Own;
use super::walls::is_asked_for;
use crate::roles::{Deployment, Held, MISTAKE, Needs, Role, Step, interpreter, step};
use flowkit_core::config::{Problem, Problems, from_here};
use flowkit_core::database::Way;
use https::Get;

/// The secret that says where Airflow's database is.
const DATABASE: &str = "AIRFLOW__CORE__SQL_ALCHEMY_CONN";
const DATABASE_ASYNC: &str = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC";

/// What its own listens at.
const DB_LISTEN: &str = "FLOWKIT_FLOWETL_DB_LISTEN";

const SERVER: &str = "flowetl-database";
const PREPARE: &str = "flowetl-prepare";

const PAGES: &str = "flowetl";
const LOGS: &str = "flowetl-logs";

/// Steps that wait for others.
const AWAIT_FLOWDB: &str = "flowetl-await-flowdb";
const AWAIT_PAGES: &str = "flowetl-await-pages";

/// What Airflow's pages listen at.
const LISTEN: &str = "FLOWKIT_FLOWETL_LISTEN";
const PORT: &str = "FLOWETL_HOST_PORT";

const OWN: Own = Own {
    role: "flowetl",
    title: "FlowETL's database",
    server: SERVER,
    prepare: "flowetl-cluster",
    data: Some("FLOWKIT_FLOWETL_DATA"),
    listen: Some(DB_LISTEN),
    port: "FLOWKIT_FLOWETL_DB_PORT",
    password: "FLOWETL_POSTGRES_PASSWORD",
    // As FlowAuth's, and Airflow's schema.
    room: 192 << 20,
    elsewhere: "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, a secret, to a database elsewhere",
};

pub(super) static ROLE: Role = Role {
    name: "flowetl",
    services,
    check: |_, _| Vec::new(),
    stays: &[SERVER, LOGS],
    held: Held::Everywhere,
    needs,
    steps: &[
        Step { name: OWN.prepare, before_listening: false, run: |of| OWN.prepare(of) },
        Step { name: SERVER, before_listening: false, run: |of| OWN.serve(of) },
        Step { name: "flowetl-login", before_listening: false, run: |of| OWN.make_login(of) },
        Step { name: celery::CONFIGURE, before_listening: false, run: celery::configure },
        Step { name: "flowetl-await", before_listening: true, run: |_| Ok(ExitCode::SUCCESS) },
        Step { name: AWAIT_FLOWDB, before_listening: false, run: neighbours::await_flowdb },
        Step { name: AWAIT_PAGES, before_listening: false, run: neighbours::await_pages },
        Step { name: LOGS, before_listening: false, run: logs::keep_within_bounds },
    ],
};

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let python = interpreter(deployment, "FLOWKIT_FLOWETL_PYTHON", "etl", "FlowETL")?;
    let run = Program { python, places: Places::of(deployment)? };
    let mut services = Vec::new();
    if deployment.runs(places::CENTRE) {
        services.extend(centre(deployment, &run)?);
    }
    let parts = [
        // It waits for its tasks: a long statement in FlowDB may have begun.
        ("scheduler", &["scheduler", "--skip-serve-logs"][..], Part::Scheduler, 40),
        ("dag-processor", &["dag-processor"], Part::DagProcessor, 15),
        ("triggerer", &["triggerer", "--skip-serve-logs"], Part::Triggerer, 20),
    ];
    let parts = parts.into_iter().filter(|(component, ..)| deployment.runs(component));
    services.extend(parts.map(|(component, args, part, seconds)| {
        let probe = || Arc::new(part.probe(run.places.pages.clone()));
        let name = format!("flowetl-{component}");
        let mut service = Service {
            ready: Some(probe()),
            alive: Some(alive(probe())),
            stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(seconds) }],
            ..daemon(&name, run.command(deployment, args), &[])
        };
        needs_others(deployment, &mut service, matches!(part, Part::Scheduler) && !celery::is_used(deployment));
        service
    }));
    services.extend(celery::services(deployment, &run)?);
    if deployment.components != ["flower"] {
        let logs = step(deployment, "flowetl", LOGS);
        let stop = vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(1) }];
        services.push(Service { open_files: 1_024, stop, ..daemon(LOGS, logs, &[]) });
    }
    Ok(services)
}

/// What is there once: the database, if it is the role's own, the broker likewise, and Airflow's pages.
fn centre(deployment: &Deployment, run: &Program) -> Result<Vec<Service>, Problems> {
    let mut prepare = Service {
        name: PREPARE.to_owned(),
        kind: Kind::Task,
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        restart: Restart { limit: 3, ..Restart::default() },
        // Nothing is prepared anew because a database has crashed and come back.
        on_dependency: OnDependency::Keep,
        // The first tasks find FlowDB's schema: one that fails is tried again a day later.
        ..daemon(PREPARE, run.command(deployment, &["prepare"]), &["flowdb-schema", celery::REDIS])
    };
    let mut services = Vec::new();
    if run.places.database.is_some() {
        services.push(OWN.service(deployment)?);
        prepare.before.push(step(deployment, "flowetl", "flowetl-login"));
        prepare.needs.push(SERVER.to_owned());
    }
    services.extend(celery::broker(deployment, &run.places)?);
    services.push(prepare);
    services.push(pages(deployment, run)?);
    Ok(services)
}

/// A part needs the pages: here, or elsewhere, where they are waited for. Who runs tasks needs FlowDB likewise.
fn needs_others(deployment: &Deployment, service: &mut Service, runs_tasks: bool) {
    // Both databases stop after the tasks that still run.
    service.needs = [PAGES, "flowdb"].map(str::to_owned).to_vec();
    if !deployment.runs(places::CENTRE) {
        service.before.push(step(deployment, "flowetl", AWAIT_PAGES));
    }
    if runs_tasks && deployment.roles.iter().all(|role| role != "flowdb") {
        service.before.push(step(deployment, "flowetl", AWAIT_FLOWDB));
    }
}

/// Ten minutes: to start a busy one anew is worse than to wait.
fn alive(probe: Arc<dyn supervisor::Probe>) -> Alive {
    Alive { probe, every: Duration::from_secs(30), patience: Duration::from_secs(20), failures: 20 }
}

fn pages(deployment: &Deployment, run: &Program) -> Result<Service, Problem> {
    let address = deployment.socket(LISTEN, PORT)?;
    let reached = reached(deployment)?;
    let lives = || Arc::new(Get::http(reached, airflow::HEALTH));
    let port = address.port().to_string();
    let listen = address.ip().to_string();
    let args = ["api-server", "--host", &listen, "--port", &port];
    Ok(Service {
        before: vec![step(deployment, "flowetl", "flowetl-await")],
        ready: Some(lives()),
        alive: Some(Alive {
            probe: lives(),
            every: Duration::from_secs(15),
            patience: Duration::from_secs(20),
            failures: 12,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(20) }],
        address: Some(address.to_string()),
        ..daemon(PAGES, run.command(deployment, &args), &[PREPARE, SERVER])
    })
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
/// server of the pages reaches the database alone, and the logs of workers on other machines.
fn needs(view: &Deployment, name: &str) -> Needs {
    let needs =
        Needs { listen: Vec::new(), connect: Some(Vec::new()), asks_names: false, ..Needs::of(view, "flowetl") };
    let settings = &view.site.settings;
    let own = settings.port(OWN.port);
    let place = match view.site.store.get(DATABASE) {
        Ok(uri) if !is_own(view, DATABASE, OWN.listen).unwrap_or(false) => Way::of(uri.expose()),
        _ => Way::Tcp { host: "localhost".to_owned(), port: own },
    };
    // It may be asked at another address, too.
    let other = view.site.store.get(DATABASE_ASYNC).ok().map(|uri| Way::of(uri.expose()));
    let reached = |way| match way {
        Way::Tcp { host, port } => Some((port, is_asked_for(&host))),
        Way::Socket | Way::File(_) => None,
    };
    let (ports, named): (Vec<u16>, Vec<bool>) = [place].into_iter().chain(other).filter_map(reached).unzip();
    let named = named.contains(&true);
    // Python's queues between processes are memory shared by name, and Airflow's processes speak by unix sockets.
    let airflow = Needs { connect: Some(ports.clone()), asks_names: named, is_database: true, ..needs };
    let elsewhere = (!view.components.is_empty()).then(|| settings.port(celery::LOG_PORT));
    match name {
        LOGS | celery::REDIS | celery::CONFIGURE => {
            let listen = if name == LOGS { Vec::new() } else { vec![settings.port(celery::REDIS_PORT)] };
            Needs { listen, connect: Some(Vec::new()), asks_names: false, is_database: false, ..airflow }
        }
        SERVER | "flowetl-cluster" | "flowetl-login" => {
            Needs { listen: vec![own], connect: Some(vec![own]), asks_names: false, ..airflow }
        }
        PREPARE => airflow,
        PAGES | "flowetl-await" => Needs {
            listen: vec![settings.port(PORT)],
            connect: Some(ports.into_iter().chain(elsewhere).collect()),
            asks_names: named || elsewhere.is_some(),
            ..airflow
        },
        celery::FLOWER => {
            Needs { listen: vec![settings.port(celery::FLOWER_PORT)], connect: None, asks_names: true, ..airflow }
        }
        _ => Needs { listen: elsewhere.into_iter().collect(), connect: None, asks_names: true, ..airflow },
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
