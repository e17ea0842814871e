//! Celery: workers that run the tasks which the scheduler hands them by a redis, and the page that shows them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use supervisor::{Alive, OnDependency, Probe, Service, StopStep, glance};

use super::airflow::Program;
use super::places::{Places, is_own};
use super::{DATABASE, OWN, SERVER, alive, daemon, needs_others};
use crate::failure::Failure;
use crate::redis_server::{Conf, Ping, Use};
use crate::roles::{Deployment, command, redis, step};
use flowkit_core::Site;
use flowkit_core::config::{Problem, Problems, Settings, from_here};
use flowkit_core::hardware;
use https::Get;

pub(super) const REDIS: &str = "flowetl-redis";
pub(super) const CONFIGURE: &str = "flowetl-redis-prepare";
pub(super) const FLOWER: &str = "flowetl-flower";

pub(super) const BROKER: &str = "AIRFLOW__CELERY__BROKER_URL";
pub(super) const RESULTS: &str = "AIRFLOW__CELERY__RESULT_BACKEND";
pub(super) const REDIS_LISTEN: &str = "FLOWKIT_FLOWETL_REDIS_LISTEN";
pub(super) const REDIS_PORT: &str = "FLOWKIT_FLOWETL_REDIS_PORT";
pub(super) const FLOWER_PORT: &str = "FLOWETL_CELERY_PORT";

/// Where a worker on another machine than the pages serves the logs of its tasks to them.
pub(super) const LOG_PORT: &str = "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT";

/// Bytes that the broker's data may take: a task that waits has about 4 KiB.
const MEMORY: u64 = 64 << 20;

/// Seconds after which a worker that has written nothing does not work; it writes every 5.
const LATE: f64 = 30.0;

/// Bytes that may be in its pulse: it has two numbers.
const PULSE: usize = 128;

/// Tasks that run at once where nobody says: Airflow makes a process for each beforehand.
const FEWEST: u32 = 2;
const MOST: u32 = 8;

/// Whether tasks are run by Celery's workers.
pub(super) fn is_used(deployment: &Deployment) -> bool {
    deployment.site.settings.text("AIRFLOW__CORE__EXECUTOR") == Some("CeleryExecutor")
}

/// Tasks that run at once: as many as the machine has processors, or all workers run, or as the operator says.
pub(super) fn parallelism(deployment: &Deployment) -> u32 {
    let settings = &deployment.site.settings;
    let all = match settings.text("AIRFLOW__CORE__EXECUTOR") {
        Some("SequentialExecutor") => return 1,
        // A task that waits in the broker for ten minutes counts as lost: no more are handed out than are run.
        Some("CeleryExecutor") => concurrency(deployment).saturating_mul(workers(settings)),
        _ => processors(),
    };
    number(settings, "AIRFLOW__CORE__PARALLELISM").unwrap_or(all)
}

/// How many tasks one worker runs at once. Those of a whole deployment share its machine; else each is taken to have one of its own.
fn concurrency(deployment: &Deployment) -> u32 {
    let settings = &deployment.site.settings;
    let sharing = if deployment.components.is_empty() { workers(settings) } else { 1 };
    number(settings, "AIRFLOW__CELERY__WORKER_CONCURRENCY").unwrap_or_else(|| processors().div_ceil(sharing))
}

fn processors() -> u32 {
    hardware::detect("/".as_ref()).cpus.value.clamp(FEWEST, MOST)
}

fn workers(settings: &Settings) -> u32 {
    number(settings, "FLOWETL_WORKER_COUNT").unwrap_or(1)
}

fn number(settings: &Settings, name: &str) -> Option<u32> {
    settings.int(name).and_then(|given| u32::try_from(given).ok())
}

/// Where the redis keeps its tasks: beside the role's own database, so that in a container they are in the volume, and outlive it. Not
/// where there is no such database: the directory has to be empty for one that may come.
fn queue(deployment: &Deployment) -> Result<PathBuf, Problem> {
    let Site { state, settings, .. } = &deployment.site;
    let data = settings.text("FLOWKIT_FLOWETL_DATA").map(Path::new);
    match data {
        Some(data) if is_own(deployment, DATABASE, OWN.listen)? => Ok(data.join("redis")),
        _ => Ok(state.role("flowetl").join("redis")),
    }
}

/// The redis between scheduler and workers.
fn conf(deployment: &Deployment) -> Result<Conf, Problem> {
    let settings = &deployment.site.settings;
    let listen = settings.text(REDIS_LISTEN).expect("it has a default");
    Ok(Conf {
        listen: listen.parse().expect("the settings hold only addresses there"),
        port: settings.port(REDIS_PORT),
        directory: queue(deployment)?,
        max_memory: MEMORY,
        password: "FLOWETL_REDIS_PASSWORD",
        used_for: Use::Queue,
    })
}

/// Writes its configuration.
pub(super) fn configure(deployment: &Deployment) -> Result<ExitCode, Failure> {
    conf(deployment).map_err(Failure::mistake)?.prepare(&deployment.site.store)?;
    Ok(ExitCode::SUCCESS)
}

/// It, where it is the role's own.
pub(super) fn broker(deployment: &Deployment, places: &Places) -> Result<Option<Service>, Problems> {
    if places.broker.is_none() {
        return Ok(None);
    }
    let (site, conf) = (&deployment.site, conf(deployment)?);
    let ping = || Arc::new(Ping::asking(&conf, &site.store));
    let file = conf.file().to_string_lossy().into_owned();
    let run = command(deployment, redis::server(deployment)?, &[&file], &[("LANG", "C")], site.state.role("flowetl"));
    // A cluster is made in an empty directory only; the tasks may be in it afterwards.
    let needs: &[&str] = if places.database.is_some() { &[SERVER] } else { &[] };
    Ok(Some(Service {
        before: vec![step(deployment, "flowetl", CONFIGURE)],
        on_dependency: OnDependency::Keep,
        ready: Some(ping()),
        alive: Some(Alive {
            probe: ping(),
            every: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            failures: 4,
        }),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        address: Some(format!("{}:{}", conf.listen, conf.port)),
        memory: Some(4 * MEMORY),
        ..daemon(REDIS, run, needs)
    }))
}

/// The workers and flower, as far as they run here.
pub(super) fn services(deployment: &Deployment, run: &Program) -> Result<Vec<Service>, Problems> {
    let mut services = Vec::new();
    if !is_used(deployment) {
        return Ok(services);
    }
    if deployment.runs("worker") {
        // An engine counts its containers itself, and whoever starts one worker has one.
        let count = if deployment.components.is_empty() { workers(&deployment.site.settings) } else { 1 };
        services.extend((1..=count).map(|number| worker(deployment, run, number)));
    }
    if deployment.runs("flower") {
        services.push(flower(deployment, run)?);
    }
    Ok(services)
}

fn worker(deployment: &Deployment, run: &Program, number: u32) -> Service {
    let name = format!("flowetl-worker-{number}");
    let pulse = deployment.site.state.role("flowetl").join(format!("{name}.pulse"));
    let (host, concurrency) = (format!("worker-{number}@%h"), concurrency(deployment).to_string());
    let mut args = vec!["celery", "worker", "--celery-hostname", &host, "--concurrency", &concurrency];
    // The pages read the logs themselves, if they are here.
    if deployment.components.is_empty() {
        args.push("--skip-serve-logs");
    }
    let mut command = run.command(deployment, &args);
    command.env.insert("FLOWKIT_FLOWETL_PULSE".into(), pulse.clone().into());
    let felt = |missing| Arc::new(Pulse { file: pulse.clone(), missing });
    let mut service = Service {
        ready: Some(felt(Err("it is not connected with its broker yet"))),
        // One that looks for its broker has none; nobody is served better by another one.
        alive: Some(alive(felt(Ok(())))),
        // It waits for its tasks: a long statement in FlowDB may have begun.
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(40) }],
        ..daemon(&name, command, &[])
    };
    needs_others(deployment, &mut service, true);
    service.needs.push(REDIS.to_owned());
    // It bears that they are away; started anew it would end its tasks.
    service.on_dependency = OnDependency::Keep;
    service
}

fn flower(deployment: &Deployment, run: &Program) -> Result<Service, Problems> {
    let address = deployment.socket("FLOWKIT_FLOWETL_FLOWER_LISTEN", FLOWER_PORT)?;
    let (listen, port) = (address.ip().to_string(), address.port().to_string());
    let args = ["celery", "flower", "--hostname", &listen, "--port", &port];
    let mut command = run.command(deployment, &args);
    // It shows. Else its login would put any task before the workers, and stop them.
    command.env.insert("FLOWER_READ_ONLY".into(), "true".into());
    let reached = std::net::SocketAddr::new(from_here(address.ip()), address.port());
    let lives = || Arc::new(Get::http(reached, "/healthcheck"));
    let mut service = Service {
        ready: Some(lives()),
        alive: Some(alive(lives())),
        stop: vec![StopStep { signal: libc::SIGTERM, patience: Duration::from_secs(5) }],
        address: Some(address.to_string()),
        ..daemon(FLOWER, command, &[])
    };
    needs_others(deployment, &mut service, false);
    Ok(service)
}

/// The file in which a worker's event loop writes its process and the time on the clock that nobody sets, while it is connected with its
/// broker: what `celery inspect ping` would tell, without seven seconds of a processor for each time it is asked.
struct Pulse {
    file: PathBuf,
    /// What it means that there is none.
    missing: Result<(), &'static str>,
}

impl Probe for Pulse {
    fn check(&self, _: Duration) -> Result<(), String> {
        // The worker writes it, and the supervisor reads it.
        let text = glance(&self.file, PULSE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text else { return self.missing.map_err(str::to_owned) };
        let now = clock_gettime(ClockId::Monotonic);
        felt(&text, now.tv_sec as f64 + now.tv_nsec as f64 / 1e9, |pid| PathBuf::from(format!("/proc/{pid}")).exists())
            .unwrap_or_else(|| self.missing.map_err(str::to_owned))
    }
}

/// Whether it is fresh; `None` where it is another process's, or of before the machine was started.
fn felt(text: &str, now: f64, is_there: impl Fn(u32) -> bool) -> Option<Result<(), String>> {
    let (pid, at) = text.trim().split_once(' ')?;
    let (pid, at) = (pid.parse().ok()?, at.parse::<f64>().ok()?);
    if !is_there(pid) || at > now {
        return None;
    }
    let age = now - at;
    Some(if age < LATE { Ok(()) } else { Err(format!("its event loop stands still since {age:.0} s")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowkit_core::config::Origin;
    use flowkit_core::secrets::Store;

    #[test]
    fn a_worker_lives_as_long_as_its_event_loop_writes() {
        let felt = |text: &str| felt(text, 100.0, |pid| pid == 7);
        assert_eq!(felt("7 99.5\n"), Some(Ok(())));
        assert_eq!(felt("7 60"), Some(Err("its event loop stands still since 40 s".to_owned())));
        for of_another in ["8 99.5", "7 101", "", "7", "x y"] {
            assert_eq!(felt(of_another), None, "{of_another}");
        }
    }

    #[test]
    fn the_queue_is_where_the_own_database_is() {
        let dir = tempfile::tempdir().unwrap();
        let of = |given: &[(&str, &str)]| {
            let mut settings = Settings::default();
            given.iter().for_each(|(name, value)| settings.set(name, value, Origin::Flag).unwrap());
            conf(&Deployment::of_test(settings, Store::only(dir.path()))).unwrap().directory
        };
        let volume = [("FLOWKIT_FLOWETL_DATA", "/srv/data")];
        assert_eq!(of(&[]), Path::new("/nowhere/flowetl/redis"));
        assert_eq!(of(&volume), Path::new("/srv/data/redis"));
        std::fs::write(dir.path().join(DATABASE), "postgresql://airflow:word@db.example.org/airflow").unwrap();
        assert_eq!(of(&volume), Path::new("/nowhere/flowetl/redis"));
    }

    #[test]
    fn flower_only_shows() {
        let dir = tempfile::tempdir().unwrap();
        let deployment = Deployment::of_test(Settings::default(), Store::only(dir.path()));
        let run = Program { python: "python".into(), places: Places::of(&deployment).unwrap() };
        let flower = flower(&deployment, &run).unwrap();
        assert_eq!(flower.command.env[std::ffi::OsStr::new("FLOWER_READ_ONLY")], "true");
    }

    #[test]
    fn no_more_tasks_are_handed_out_than_are_run() {
        let of = |components: &[&str], given: &[(&str, &str)]| {
            let mut settings = Settings::default();
            given.iter().for_each(|(name, value)| settings.set(name, value, Origin::Flag).unwrap());
            let mut deployment = Deployment::of_test(settings, Store::only("/nowhere".as_ref()));
            deployment.components = components.iter().map(|name| (*name).to_owned()).collect();
            (parallelism(&deployment), concurrency(&deployment))
        };
        let celery = ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor");
        let three = ("FLOWETL_WORKER_COUNT", "3");
        let (all, _) = of(&[], &[]);
        assert!((FEWEST..=MOST).contains(&all), "{all}");
        assert_eq!(of(&[], &[celery, three]), (3 * all.div_ceil(3), all.div_ceil(3)), "on one machine");
        assert_eq!(of(&["scheduler"], &[celery, three]), (3 * all, all), "each on its own");
        assert_eq!(of(&[], &[celery, three, ("AIRFLOW__CELERY__WORKER_CONCURRENCY", "5")]), (15, 5));
        assert_eq!(of(&[], &[celery, ("AIRFLOW__CORE__PARALLELISM", "7")]).0, 7);
        let sequential = ("AIRFLOW__CORE__EXECUTOR", "SequentialExecutor");
        assert_eq!(of(&[], &[sequential, ("AIRFLOW__CORE__PARALLELISM", "7")]).0, 1);
    }
}
