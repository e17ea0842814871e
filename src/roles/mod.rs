//! Which services each role runs, and in what order.
//!
//! A role is two files side by side: `<role>.toml` says what it *is* (the catalogue reads it), `<role>.rs` which
//! services it *runs*. This file is the list of the roles that are built, and what they share: how a service's command
//! is put together, and which environment it gets.

mod accounts;
pub(crate) mod autoflow;
mod database;
mod deployment;
pub(crate) mod flowapi;
pub(crate) mod flowauth;
mod flowdb;
pub(crate) mod flowetl;
pub(crate) mod flowmachine;
mod host;
mod ours;
mod ports;
mod redis;
mod takeover;
mod walls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use accounts::find as user_by_name;
pub use deployment::{Deployment, Failed, started};
pub use host::{HostError, become_owner, enter_owners, make_above};
pub use ports::free_ports;
pub use walls::Walls;
use walls::{Held, Needs};

use crate::failure::Failure;
use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Problem, Problems, Settings};
use say::show;
use serde_json::Value;
use supervisor::{Command, Service, ServiceStatus, Status};

/// The roles that run, in the order in which a person thinks of them.
static ROLES: [&Role; 7] =
    [&flowdb::ROLE, &redis::ROLE, &flowmachine::ROLE, &flowapi::ROLE, &flowauth::ROLE, &flowetl::ROLE, &autoflow::ROLE];

/// What a role runs. Each has one, in its own file.
struct Role {
    /// As in the catalogue.
    name: &'static str,
    /// Its services; an error names programs that are missing and settings that contradict each other.
    services: fn(&Deployment) -> Result<Vec<Service>, Problems>,
    /// What is wrong with settings that are right one by one, in a container or on a host.
    check: fn(&Settings, bool) -> Vec<Problem>,
    /// Its services that need no new start for new secrets: a database, which a task tells them; what has none, or reads them each time.
    stays: &'static [&'static str],
    /// Where its services are confined.
    held: Held,
    /// What a service of it, or a step, may reach then.
    needs: fn(&Deployment, &str) -> Needs,
    /// What its services need FlowKit's knowledge for at run time.
    steps: &'static [Step],
}

/// A part of a service's life that needs to know FlowKit: run by the supervisor as a child, `flowkit step NAME`.
struct Step {
    name: &'static str,
    /// Whether the role listens once this has ended: its ports are waited for first.
    before_listening: bool,
    run: fn(&Deployment) -> Result<ExitCode, Failure>,
}

fn role(name: &str) -> Option<&'static Role> {
    ROLES.into_iter().find(|role| role.name == name)
}

/// Names of the roles that can be run.
pub fn built() -> impl Iterator<Item = &'static str> {
    ROLES.iter().map(|role| role.name)
}

/// Names of the roles that a deployment has where nobody names any: all but FlowETL, which takes more memory than the others together and is of
/// no use without files to load, and AutoFlow, which needs workflows and a token.
pub fn usual() -> impl Iterator<Item = &'static str> {
    built().filter(|role| ![flowetl::ROLE.name, autoflow::ROLE.name].contains(role))
}

/// Names of all steps of all roles.
pub fn steps() -> impl Iterator<Item = &'static str> {
    ROLES.iter().flat_map(|role| role.steps).map(|step| step.name)
}

/// Runs a step of a role. `deployment` is as [`Deployment::open_step`] gives it.
///
/// # Errors
/// What the step says; a mistake where the operator has to change something before it is tried again.
///
/// # Panics
/// When there is no such step.
pub fn run_step(name: &str, deployment: &Deployment) -> Result<ExitCode, Failure> {
    let all = ROLES.iter().flat_map(|role| role.steps.iter().map(move |step| (role, step)));
    let (role, step) = all.into_iter().find(|(_, step)| step.name == name).expect("a name out of `steps`");
    if step.before_listening {
        ports::await_free(deployment, role.name, |line| show!("{line}"));
    }
    (step.run)(deployment)
}

/// What is wrong with a role's settings that are right one by one. In a container some things are allowed that a host
/// refuses.
pub fn check(role: &str, settings: &Settings, in_container: bool) -> Vec<Problem> {
    self::role(role).map_or(Vec::new(), |role| (role.check)(settings, in_container))
}

/// Whether this process is what a container was made for: its first process, or the child of a small init that the engine
/// has put there (Docker and Podman leave a mark in the root of what they made).
pub fn in_container() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let below_first = rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == 1);
    std::process::id() == 1 || (marked && below_first)
}

/// The running services to restart so that new secrets of `roles` take effect: theirs, but for those that are started anew with another of them.
pub fn to_restart<'a>(roles: &[&str], running: &'a Status) -> Vec<&'a str> {
    let of_role = |role: &&str| running.facts["roles"][*role].as_array();
    let names = roles.iter().filter_map(of_role).flatten().filter_map(Value::as_str);
    let stays = |name: &str| ROLES.iter().any(|role| role.stays.contains(&name));
    let names: Vec<&str> = names.filter(|name| !stays(name)).collect();
    let services = running.services.iter();
    let ours = services.filter(|one| names.contains(&&*one.name) && !follows(one, &names, &running.services));
    ours.map(|service| &*service.name).collect()
}

/// Whether a service is started anew with one of these, or with what is.
fn follows(service: &ServiceStatus, names: &[&str], all: &[ServiceStatus]) -> bool {
    let follows_too = |name: &String| all.iter().any(|other| other.name == *name && follows(other, names, all));
    service.follows.iter().any(|name| names.contains(&&**name) || follows_too(name))
}

/// A problem for each of `roles` that does not exist or is not built.
pub fn unknown_roles(roles: &[String]) -> Vec<Problem> {
    roles.iter().filter(|role| built().all(|name| name != role.as_str())).map(|role| unknown(role)).collect()
}

/// The variable that tells a program where its secrets are files; systemd's name for it.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// How our own steps and FlowMachine's launcher end when the operator has to change something first.
const MISTAKE: i32 = 2;

/// What a set of roles runs.
pub struct Plan {
    /// All services, in the order of their roles.
    pub services: Vec<Service>,
    /// The names of each role's services.
    pub roles: BTreeMap<String, Vec<String>>,
}

/// The services of the deployment's roles, needing only one another: what is not in the set is somewhere else, and waited for by the
/// steps themselves.
///
/// # Errors
/// A role that does not exist or is not built yet; programs that are missing; settings that contradict each other. All
/// of them in one report.
pub fn plan(deployment: &Deployment) -> Result<Plan, Problems> {
    let mut problems = Vec::new();
    let mut plan = Plan { services: Vec::new(), roles: BTreeMap::new() };
    for role in &deployment.roles {
        let made = match self::role(role) {
            Some(runs) => deployment.view_of(role).map_err(Problems::from).and_then(|view| {
                let mut made = (runs.services)(&view)?;
                if let Some(role) = catalogue().role(role) {
                    walls::confine(deployment, &view, role, &mut made);
                }
                Ok(made)
            }),
            None => Err(Problems(vec![unknown(role)])),
        };
        match made {
            Ok(made) => {
                let names = made.iter().map(|service| service.name.clone()).collect();
                plan.roles.insert(role.clone(), names);
                plan.services.extend(made);
            }
            Err(Problems(more)) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let here: Vec<&String> = plan.roles.values().flatten().collect();
    for service in &mut plan.services {
        service.needs.retain(|need| here.contains(&need));
    }
    Ok(plan)
}

fn unknown(role: &str) -> Problem {
    let hint = match catalogue().role(role) {
        Some(_) => "this role is described but not built yet; its secrets and settings are known".to_string(),
        None => format!("roles that run: {}", built().collect::<Vec<_>>().join(", ")),
    };
    Problem::new("this role cannot be run", hint).value(role)
}

/// A service's program, as its role's user, with the environment that every service gets and `env` on top of it.
fn command(deployment: &Deployment, program: PathBuf, args: &[&str], env: &[(&str, &str)], dir: PathBuf) -> Command {
    let mut all: BTreeMap<OsString, OsString> = BTreeMap::from([
        ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
        ("HOME".into(), dir.clone().into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("TZ".into(), "UTC".into()),
    ]);
    all.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    Command {
        program,
        args: args.iter().map(Into::into).collect(),
        env: all,
        dir,
        user: deployment.user.clone(),
        confinement: None,
    }
}

/// A program on the path that services get.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    places.map(|dir| dir.join(name)).find(|file| is_program(file))
}

/// Whether it can be run.
fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The Python that `make setup` puts beside this program under that name for a role, unless a setting names another.
fn interpreter(deployment: &Deployment, setting: &str, name: &str, title: &str) -> Result<PathBuf, Problem> {
    let below = |prefix: &Path| prefix.join("lib/flowkit").join(name).join("bin/python");
    let beside = deployment.program.ancestors().nth(2).map(below).filter(|path| path.exists());
    let path = match deployment.site.settings.text(setting) {
        Some(path) => PathBuf::from(path),
        None => beside.unwrap_or_else(|| below(Path::new("/usr/local"))),
    };
    if path.exists() {
        return Ok(path);
    }
    let problem = Problem::new(format!("{title}'s Python is not there"), format!("run `make setup`, or set {setting}"));
    Err(problem.value(path.display().to_string()))
}

/// One of our own steps: `flowkit step NAME --dir STATE --role ROLE...`, given the settings of its role and told where the
/// role's secrets are.
fn step(deployment: &Deployment, role: &str, name: &str) -> Command {
    let (state, dir) = (deployment.site.state.root(), deployment.site.state.role(role));
    let mut step = command(deployment, deployment.program.clone(), &["step", name, "--dir"], &[], dir);
    step.args.push(state.into());
    step.args.extend(deployment.roles.iter().flat_map(|role| ["--role".into(), role.into()]));
    step.env.extend(deployment.site.settings.explicit().map(|(name, value)| (name.into(), value.into())));
    step.env.insert(CREDENTIALS.into(), deployment.credentials_of(role).into());
    step
}

/// Runs a future to its end on this thread.
///
/// # Errors
/// The system gives no epoll.
pub fn wait<F: Future>(future: F) -> std::io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervisor::ServiceState;

    #[test]
    fn the_roles_that_run_are_those_that_the_catalogue_calls_built() {
        let built_there = catalogue().roles().iter().filter(|role| role.built).map(|role| role.name.as_str());
        assert_eq!(built().collect::<Vec<_>>(), built_there.collect::<Vec<_>>());
        assert!(
            steps().all(|step| ROLES.iter().any(|role| step.starts_with(role.name))),
            "a step is named after its role"
        );
    }

    /// Services, each with those that it follows.
    type Services<'a> = &'a [(&'a str, &'a [&'a str])];

    /// What a supervisor tells of them, by their roles.
    fn running(all: &[(&str, Services<'_>)]) -> Status {
        let service = |(name, follows): &(&str, &[&str])| ServiceStatus {
            name: (*name).to_owned(),
            state: ServiceState::Ready,
            pid: None,
            since: String::new(),
            follows: follows.iter().map(|name| (*name).to_owned()).collect(),
            restarts: 0,
            address: None,
            message: None,
            last_exit: None,
        };
        let of_role = |(role, services): &(&str, Services<'_>)| {
            let names: Vec<String> = services.iter().map(|(name, _)| (*name).to_owned()).collect();
            ((*role).to_owned(), names)
        };
        let roles: BTreeMap<String, Vec<String>> = all.iter().map(of_role).collect();
        Status {
            ready: true,
            stopping: false,
            since: String::new(),
            supervisor: 2,
            guard: 1,
            services: all.iter().flat_map(|(_, services)| *services).map(service).collect(),
            facts: serde_json::json!({ "roles": roles }),
            lines_lost: 0,
            log_trouble: None,
        }
    }

    #[test]
    fn new_secrets_reach_whoever_uses_them_with_as_few_restarts_as_can_be() {
        let of_flowdb: &[_] = &[("flowdb", &[][..]), ("flowdb-schema", &[])];
        let of_flowmachine: &[_] = &[
            ("neighbours", &[][..]),
            ("flowmachine", &["flowdb-schema", "redis", "neighbours"]),
            ("cache-cleanup", &["flowmachine"]),
        ];
        let all = running(&[
            ("flowdb", of_flowdb),
            ("redis", &[("redis", &[])]),
            ("flowmachine", of_flowmachine),
            ("flowapi", &[("flowapi", &[])]),
        ]);
        assert_eq!(to_restart(&["flowdb", "redis", "flowmachine"], &all), ["flowdb-schema", "redis"]);
        assert_eq!(to_restart(&["flowdb", "flowmachine"], &all), ["flowdb-schema"]);
        assert_eq!(to_restart(&["flowmachine"], &all), ["flowmachine"]);
        assert_eq!(to_restart(&["redis", "flowetl"], &all), ["redis"], "FlowETL is not here");
        assert_eq!(to_restart(&["flowdb", "flowapi"], &all), ["flowdb-schema", "flowapi"]);
    }

    #[test]
    fn of_flowetl_what_others_outlive_is_restarted_too() {
        let of_pages: &[_] = &[
            ("flowetl-database", &[][..]),
            ("flowetl-redis", &[]),
            ("flowetl-prepare", &[]),
            ("flowetl", &["flowetl-prepare", "flowetl-database"]),
            ("flowetl-scheduler", &["flowetl"]),
            ("flowetl-logs", &[]),
        ];
        let worker: (&str, &[&str]) = ("flowetl-worker-1", &[]);
        let whole = [of_pages, &[worker, ("flowetl-flower", &["flowetl"])]].concat();
        let to_restart = |services: Services<'_>| {
            let running = running(&[("flowetl", services)]);
            to_restart(&["flowetl"], &running).join(" ")
        };
        assert_eq!(to_restart(&whole), "flowetl-redis flowetl-prepare flowetl-worker-1");
        assert_eq!(to_restart(&[worker, ("flowetl-logs", &[])]), "flowetl-worker-1", "elsewhere than the pages");
        assert_eq!(
            to_restart(&[("flowetl-scheduler", &[]), ("flowetl-triggerer", &[])]),
            "flowetl-scheduler flowetl-triggerer"
        );
    }
}
