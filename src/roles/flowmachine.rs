//! FlowMachine: upstream's server, mended before every start and watched for hangs, and the process that keeps its
//! cache within bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::flowmachine::neighbours::{Neighbour, Neighbours};
use crate::flowmachine::{Hung, Ready, Sources, address_of, repair};
use crate::roles::{Deployment, Held, MISTAKE, Needs, Role, Step, command, in_container, interpreter, step, wait};
use flowkit_core::config::{Pools, Problem, Problems, Settings, bracketed, from_here, is_private};
use say::show;
use supervisor::{Alive, Kind, OnDependency, Restart, Service, StopStep};

/// Settings that upstream's programs read from their environment; the connection settings are added to them.
const VARIABLES: &[&str] = &[
    "FLOWMACHINE_PORT",
    "FLOWKIT_FLOWMACHINE_LISTEN",
    "FLOWMACHINE_SERVER_DEBUG_MODE",
    "FLOWMACHINE_SERVER_DISABLE_DEPENDENCY_CACHING",
    "FLOWMACHINE_SERVER_THREADPOOL_SIZE",
    "FLOWMACHINE_CACHE_PRUNING_FREQUENCY",
    "FLOWMACHINE_CACHE_PRUNING_TIMEOUT",
    "FLOWMACHINE_LOG_LEVEL",
    "DB_CONNECTION_POOL_SIZE",
    "FLOWDB_PORT",
    "REDIS_HOST",
    "REDIS_PORT",
];

/// Time between two shrinkings of the cache.
const PRUNING: &str = "FLOWMACHINE_CACHE_PRUNING_FREQUENCY";

/// The service that stands for those who run somewhere else.
const NEIGHBOURS: &str = "neighbours";

/// Where the server listens.
const LISTEN: &str = "FLOWKIT_FLOWMACHINE_LISTEN";

pub(super) static ROLE: Role = Role {
    name: "flowmachine",
    services,
    check,
    // It reads them each time that it asks.
    stays: &[NEIGHBOURS],
    held: Held::Everywhere,
    needs: |view, _| Needs::of(view, "flowmachine"),
    steps: &[
        Step { name: "flowmachine-repair", before_listening: true, run: repair },
        Step { name: "flowmachine-await", before_listening: false, run: await_neighbours },
        Step { name: "flowmachine-watch", before_listening: false, run: watch_neighbours },
    ],
};

/// Makes redis and the database agree on what is cached.
fn repair(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let report = wait(repair::run(&deployment.site, |line| show!("{line}")))?;
    let failure = |error: repair::Error| if error.is_mistake() { Failure::mistake(error) } else { error.into() };
    show!("{}", report.map_err(failure)?);
    Ok(ExitCode::SUCCESS)
}

/// Waits for FlowDB and redis where they run somewhere else.
fn await_neighbours(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let mut neighbours = Neighbours::new(&deployment.site, &deployment.roles);
    wait(neighbours.wait(|line| show!("{line}")))?.map_err(Failure::mistake)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends when one of them was started anew.
fn watch_neighbours(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let mut neighbours = Neighbours::new(&deployment.site, &deployment.roles);
    show!("{}", wait(neighbours.watch())?.map_err(Failure::mistake)?);
    Ok(ExitCode::FAILURE)
}

/// Only a container may listen everywhere, or at a public address: who
/// reaches it there is up to the networks that it was given.
fn check(settings: &Settings, in_container: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let listen = settings.text(LISTEN).expect("it has a default");
    if !listen.parse().is_ok_and(is_private) && !in_container {
        let what = format!(
            "{LISTEN} may not be reached from everywhere: whoever reaches it can run any query, without a password"
        );
        let hint = "give 127.0.0.1, or one address of this machine in a private network";
        let problem = Problem::new(what, hint);
        problems.push(problem.value(listen).origin(settings.origin(LISTEN)));
    }
    // Upstream spins when it is given 0.
    if settings.int(PRUNING) == Some(0) {
        let problem = Problem::new(format!("{PRUNING} may not be 0"), "give seconds, or -1 for no pruning");
        problems.push(problem.origin(settings.origin(PRUNING)));
    }
    problems
}

fn services(deployment: &Deployment) -> Result<Vec<Service>, Problems> {
    let settings = &deployment.site.settings;
    let python = python(deployment)?;
    let secrets = deployment.credentials_of("flowmachine");
    let pools = Pools::of(settings);
    let address = address(deployment)?;
    Problems(check(settings, in_container())).or(())?;
    let reached = reached(deployment)?;
    let run = |what: &str| {
        let mut command = command(
            deployment,
            python.clone(),
            &["-m", "flowkit_flowmachine", what],
            // Its directory is no place for programs: what is planted there would run at every start.
            &[("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONSAFEPATH", "1")],
            deployment.site.state.role("flowmachine"),
        );
        command.env.insert("FLOWKIT_SECRETS_DIR".into(), secrets.clone().into());
        let given = VARIABLES.iter().filter_map(|name| Some((name.into(), settings.text(name)?.into())));
        command.env.extend(given);
        // Upstream's own default is the owner of stored results, as whom nobody logs in. A file of that name wins.
        if let Ok(name) = deployment.site.store.get("FLOWMACHINE_FLOWDB_USER") {
            command.env.insert("FLOWMACHINE_FLOWDB_USER".into(), name.expose().into());
        }
        // Upstream's program puts it into an URL as it is.
        let host = settings.text("FLOWDB_HOST").expect("it has a default");
        command.env.insert("FLOWDB_HOST".into(), bracketed(host).into());
        // A name may stand for an address where somebody else listens. FlowDB's is kept beside it: redis tells databases
        // apart by it.
        if let Some(ip) = address_of(settings, "FLOWDB_HOST") {
            command.env.insert("FLOWKIT_FLOWDB_ADDRESS".into(), ip.to_string().into());
        }
        if let Some(ip) = address_of(settings, "REDIS_HOST") {
            command.env.insert("REDIS_HOST".into(), ip.to_string().into());
        }
        // Upstream's default can block the server for ever; ours is worked out from the other sizes.
        command.env.insert("DB_CONNECTION_POOL_OVERFLOW".into(), pools.overflow.to_string().into());
        command
    };
    let server = Service {
        name: "flowmachine".to_string(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "flowmachine", "flowmachine-repair")],
        command: run("server"),
        // The database itself too: the schema's task does not run again when the database has crashed and come back.
        needs: ["flowdb", "flowdb-schema", "redis", NEIGHBOURS].map(String::from).to_vec(),
        // Queries that ran when the database or redis went away end "errored", and stay so until the repair step.
        on_dependency: OnDependency::Restart,
        ready: Some(Arc::new(Ready { address: reached })),
        alive: Some(Alive {
            probe: Arc::new(hung(deployment, reached)),
            every: Duration::from_secs(15),
            patience: Duration::from_secs(30),
            // Six minutes: while it builds a query with thousands of parts, the server answers nobody for over three.
            failures: 8,
        }),
        // It ends within a second, having cancelled what it runs in the database.
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(10) }],
        restart: Restart::default(),
        success: vec![0, 1],
        hopeless: vec![MISTAKE],
        address: Some(address.to_string()),
        oom_score_adj: None,
        open_files: 4_096,
        memory: None,
    };
    let mut services: Vec<Service> = neighbours(deployment).into_iter().collect();
    services.push(server.clone());
    // Upstream documents a negative frequency as "off", and spins when it is given one.
    let seconds = settings.int(PRUNING).expect("it has a default");
    if seconds > 0 {
        services.push(Service {
            name: "cache-cleanup".to_string(),
            before: vec![],
            command: run("cache-cleanup"),
            // Once the server is up: two of these programs that load at the same time make each other late, and there is
            // no hurry to prune.
            needs: vec![server.name.clone()],
            ready: None,
            alive: None,
            // A pass ends it where FlowDB lets nobody in for want of room.
            restart: Restart { limit: u32::MAX, ..Restart::default() },
            address: None,
            ..server.clone()
        });
    }
    Ok(services)
}

/// Stands for FlowDB and redis where they run somewhere else: waits for them before it starts, and ends when one of them
/// was started anew, so that the server is mended and started again too.
fn neighbours(deployment: &Deployment) -> Option<Service> {
    let who = Neighbour::elsewhere(&deployment.roles);
    let addresses: Vec<String> = who.iter().map(|who| who.address(&deployment.site.settings)).collect();
    (!who.is_empty()).then(|| Service {
        name: NEIGHBOURS.to_string(),
        kind: Kind::Daemon,
        before: vec![step(deployment, "flowmachine", "flowmachine-await")],
        command: step(deployment, "flowmachine", "flowmachine-watch"),
        needs: vec![],
        on_dependency: OnDependency::Keep,
        ready: None,
        alive: None,
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(1) }],
        // It ends whenever a neighbour does, however often that is.
        restart: Restart { limit: u32::MAX, ..Restart::default() },
        success: vec![0],
        hopeless: vec![MISTAKE],
        address: Some(addresses.join(", ")),
        oom_score_adj: None,
        open_files: 1_024,
        memory: None,
    })
}

/// Where the server listens.
fn address(deployment: &Deployment) -> Result<SocketAddr, Problem> {
    deployment.socket(LISTEN, "FLOWMACHINE_PORT")
}

/// Where the server is reached from this machine.
pub(crate) fn reached(deployment: &Deployment) -> Result<SocketAddr, Problem> {
    let address = address(deployment)?;
    Ok(SocketAddr::new(from_here(address.ip()), address.port()))
}

/// Building the SQL of a query takes minutes at worst; one that stands still for longer will not go on by itself.
fn hung(deployment: &Deployment, address: SocketAddr) -> Hung {
    let site = deployment.site.clone();
    let sources = move || Sources::of(&site).map_err(|problems| problems.to_string());
    let still = deployment.site.settings.int("FLOWKIT_FLOWMACHINE_HANG_SECONDS").unwrap_or(300);
    Hung::new(address, Duration::from_secs(still.unsigned_abs()), sources)
}

/// FlowMachine's own Python: what `FLOWKIT_PYTHON` names, else the one that `make setup` puts beside this program.
pub(crate) fn python(deployment: &Deployment) -> Result<PathBuf, Problems> {
    Ok(interpreter(deployment, "FLOWKIT_PYTHON", "python", "FlowMachine")?)
}
