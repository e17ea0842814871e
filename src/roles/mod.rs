//! Which services each role runs, and in what order.
//!
//! A role is two files side by side: `<role>.toml` says what it *is* (the catalogue reads it), `<role>.rs` which
//! services it *runs*. This file is the list of the roles that are built, and what they share: how a service's command
//! is put together, and which environment it gets.

mod accounts;
mod deployment;
mod flowdb;
pub(crate) mod flowmachine;
mod host;
mod ports;
mod redis;
mod takeover;
mod walls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use deployment::{Deployment, Failed};
pub use host::{HostError, enter_owners};
pub use ports::{await_free, free_ports};

use flowkit_core::catalogue::catalogue;
use flowkit_core::config::{Problem, Problems, Settings};
use supervisor::{Command, Service};

type Make = fn(&Deployment) -> Result<Vec<Service>, Problems>;

/// The roles that run, in the order in which a person thinks of them.
const BUILT: &[(&str, Make)] =
    &[("flowdb", flowdb::services), ("redis", redis::services), ("flowmachine", flowmachine::services)];

/// Names of the roles that can be run.
pub fn built() -> impl Iterator<Item = &'static str> {
    BUILT.iter().map(|(name, _)| *name)
}

/// What is wrong with a role's settings that are right one by one. In a container some things are allowed that a host
/// refuses.
pub fn check(role: &str, settings: &Settings, in_container: bool) -> Vec<Problem> {
    match role {
        "flowdb" => flowdb::check(settings),
        "flowmachine" => flowmachine::check(settings, in_container),
        _ => Vec::new(),
    }
}

/// Whether this process is what a container was made for: its first process, or the child of a small init that the engine
/// has put there (Docker and Podman leave a mark in the root of what they made).
pub fn in_container() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let below_first = rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == 1);
    std::process::id() == 1 || (marked && below_first)
}

/// The services to restart so that new secrets of `roles`, which run together, take effect. FlowDB itself needs none of
/// its secrets, its schema's task sets them; FlowMachine is started anew with either.
pub fn to_restart(roles: &[&str]) -> Vec<&'static str> {
    let neighbours = [("flowdb", "flowdb-schema"), ("redis", "redis")];
    let services: Vec<_> = neighbours.iter().filter(|(role, _)| roles.contains(role)).map(|(_, name)| *name).collect();
    if services.is_empty() && roles.contains(&"flowmachine") { vec!["flowmachine"] } else { services }
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
        let made = match BUILT.iter().find(|(name, _)| name == role) {
            Some((_, make)) => deployment.view_of(role).map_err(Problems::from).and_then(|view| {
                let mut made = make(&view)?;
                if let Some(role) = catalogue().role(role).filter(|_| deployment.confined) {
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

/// One of our own steps: `flowkit step NAME --dir STATE --role ROLE...`, given the settings of its role and told where the
/// role's secrets are.
fn step(deployment: &Deployment, role: &str, name: &str) -> Command {
    let (state, dir) = (deployment.state.root(), deployment.state.role(role));
    let mut step = command(deployment, deployment.program.clone(), &["step", name, "--dir"], &[], dir);
    step.args.push(state.into());
    step.args.extend(deployment.roles.iter().flat_map(|role| ["--role".into(), role.into()]));
    step.env.extend(deployment.settings.explicit().map(|(name, value)| (name.into(), value.into())));
    step.env.insert(CREDENTIALS.into(), deployment.credentials_of(role).into());
    step
}
