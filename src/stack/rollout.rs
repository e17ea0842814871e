//! A stack brought up on an engine: a swarm, images, the stack itself, and waiting until everything is healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::compose::File;
use super::engine::{Docker, Error};
use super::parts::{role_of, services_of};
pub use super::services::Progress;
use super::services::{of_stack, progress};
use super::wish::Wish;

/// How many tasks of one service may fail before it is given up: Swarm itself would go on for ever.
const FAILURES: usize = 5;

/// What the engine says about its swarm.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Swarm {
    /// `active`, `inactive`, `pending`, `locked` or `error`.
    pub local_node_state: String,
    /// Whether this node is a manager.
    pub control_available: bool,
    /// Why not, when something is wrong.
    #[serde(default)]
    pub error: String,
    /// Nodes in all; only managers know.
    #[serde(default)]
    pub nodes: u32,
}

/// What was done about the swarm.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// A new one, with this node alone.
    Made,
    /// It was in one.
    There {
        /// Its nodes.
        nodes: u32,
    },
}

/// Why a stack did not come up.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The operator has to do something first.
    #[error("{0}")]
    Refused(String),
    /// Services that did not become healthy.
    #[error("{0}")]
    NotHealthy(String),
}

/// Sees to it that this node manages a swarm: of its own, if it is in none.
///
/// # Errors
/// A node that can't manage; an address that can't be chosen.
pub fn swarm(docker: &Docker, advertise: Option<&str>) -> Result<Joined, RolloutError> {
    let swarm: Swarm = docker.json(&["info", "--format", "{{json .Swarm}}"])?;
    match swarm.local_node_state.as_str() {
        "active" if swarm.control_available => Ok(Joined::There { nodes: swarm.nodes }),
        "active" => {
            let what = "this node is a worker of its swarm; run this on a manager, or make it one: docker node promote";
            Err(RolloutError::Refused(what.to_owned()))
        }
        "inactive" => {
            let mut args = vec!["swarm", "init"];
            args.extend(advertise.map(|address| ["--advertise-addr", address]).into_iter().flatten());
            docker.ask(&args).map(|_| Joined::Made).map_err(|error| match error {
                error if error.says(&["--advertise-addr"]) => RolloutError::Refused(format!(
                    "{error}\n  say with --advertise-addr by which address of this machine other nodes would reach it; on \
                     a single node any of its own will do, such as 127.0.0.1"
                )),
                error => error.into(),
            })
        }
        state => {
            let hint = if state == "locked" { "docker swarm unlock" } else { "docker info" };
            Err(RolloutError::Refused(format!("this node's swarm is {state} {}; see `{hint}`", swarm.error)))
        }
    }
}

/// Brings every image of the wish: from `dir` (files named `ROLE-image`), else it must be there. Says what was loaded.
///
/// # Errors
/// An image that is nowhere.
pub fn images(
    docker: &Docker,
    wish: &Wish,
    dir: Option<&Path>,
    told: &mut dyn FnMut(String),
) -> Result<(), RolloutError> {
    let mut missing = Vec::new();
    for role in &wish.roles {
        let image = wish.image(&role.name);
        let archive = dir.map(|dir| dir.join(format!("{}-image", role.name))).filter(|path| path.exists());
        if let Some(archive) = &archive {
            let path = archive.display().to_string();
            docker.ask(&["load", "--quiet", "--input", &path])?;
        }
        match docker.ask(&["image", "inspect", "--format", "{{.Id}}", &image]) {
            Ok(_) if archive.is_some() => told(format!("loaded {image}")),
            Ok(_) => {}
            Err(error) if error.says(&["No such image"]) => missing.push(image),
            Err(error) => return Err(error.into()),
        }
    }
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(RolloutError::Refused(format!(
            "the engine has no image {}; build it (nix build .#ROLE-image) and give the directory of the results with \
             --images, where each is called ROLE-image",
            missing.join(", ")
        ))),
    }
}

/// Deploys the stack file.
///
/// # Errors
/// The engine's.
pub fn deploy(docker: &Docker, stack: &str, text: &str) -> Result<(), Error> {
    // Networks of a stack that was just removed go slowly, and Docker takes them for there until it needs them.
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        // Images are the engine's own: a registry has nothing to say about them.
        let args = ["stack", "deploy", "--resolve-image", "never", "--compose-file", "-", stack];
        match docker.tell(&args, text.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if error.says(&["network", "not found"]) && Instant::now() < until => {
                std::thread::sleep(Duration::from_secs(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Restarts services whose image has been loaded anew under the same name. Gives their names.
///
/// # Errors
/// The engine's.
pub fn refresh(docker: &Docker, stack: &str, wish: &Wish) -> Result<Vec<String>, Error> {
    let mut restarted = Vec::new();
    let there = of_stack(docker, stack)?;
    let services =
        wish.roles.iter().flat_map(|role| services_of(role).map(move |name| (role, format!("{stack}_{name}"))));
    for (role, service) in services.filter(|(_, service)| there.contains(service)) {
        let wanted = docker.ask(&["image", "inspect", "--format", "{{.Id}}", &wish.image(&role.name)])?;
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let containers = docker.lines(&["ps", "--quiet", "--filter", &filter])?;
        let mut stale = false;
        for container in &containers {
            stale |= docker.ask(&["inspect", "--format", "{{.Image}}", container])?.trim() != wanted.trim();
        }
        if stale {
            docker.ask(&["service", "update", "--quiet", "--detach", "--force", "--no-resolve-image", &service])?;
            restarted.push(service);
        }
    }
    Ok(restarted)
}

/// Services of FlowKit's that an earlier deployment had and this one has not, which goes on without them. A part of a role that is whole now, or
/// in other parts, is of no use and removed; a role that was not asked for may be somebody's still. Gives the names of both. Their volumes stay.
///
/// # Errors
/// The engine's.
pub fn left_over(docker: &Docker, stack: &str, wish: &Wish, file: &File) -> Result<(Vec<String>, Vec<String>), Error> {
    let (mut removed, mut others) = (Vec::new(), Vec::new());
    for service in of_stack(docker, stack)? {
        let name = name_in(stack, &service);
        let Some(role) = role_of(name).filter(|_| !file.services.contains_key(name)) else { continue };
        if wish.has(&role.name) {
            docker.ask(&["service", "rm", &service])?;
            removed.push(service);
        } else {
            others.push(service);
        }
    }
    Ok((removed, others))
}

/// A service's name in the stack's file.
fn name_in<'a>(stack: &str, service: &'a str) -> &'a str {
    service.strip_prefix(stack).and_then(|rest| rest.strip_prefix('_')).unwrap_or_default()
}

/// Waits until every service of the file is healthy; `tell` gets each change of state.
///
/// # Errors
/// A service whose tasks fail again and again, or that is not healthy in time, with its last lines of log.
pub fn wait(
    docker: &Docker,
    stack: &str,
    file: &File,
    patience: Duration,
    tell: &mut dyn FnMut(&Progress),
) -> Result<(), RolloutError> {
    let until = Instant::now() + patience;
    let mut last: BTreeMap<String, Progress> = BTreeMap::new();
    // Tasks that failed for reasons of the past: an earlier deployment, or a neighbour that was not ready.
    let mut excused: BTreeSet<String> = BTreeSet::new();
    let mut counted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    loop {
        let first = last.is_empty();
        for service in of_stack(docker, stack)?.into_iter().filter(|it| file.services.contains_key(name_in(stack, it)))
        {
            let now = progress(docker, &service)?;
            if last.get(&service).is_none_or(|last| last.state != now.state) {
                tell(&now);
            }
            last.insert(service, now);
        }
        if !last.is_empty() && last.values().all(|progress| progress.ready) {
            return Ok(());
        }
        for progress in last.values() {
            let ids = progress.failures.iter().map(|(id, _)| id.clone());
            if first || !neighbours_ready(stack, &progress.service, &last) {
                excused.extend(ids);
            } else {
                let counted = counted.entry(progress.service.clone()).or_default();
                counted.extend(ids.filter(|id| !excused.contains(id)));
            }
        }
        let often = |progress: &&Progress| counted.get(&progress.service).is_some_and(|ids| ids.len() >= FAILURES);
        let hopeless = last.values().filter(|progress| !progress.ready).find(often);
        let late = (Instant::now() > until).then(|| last.values().find(|p| !p.ready)).flatten();
        if let Some(progress) = hopeless.or(late) {
            return Err(RolloutError::NotHealthy(obituary(docker, progress)));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Whether the roles that a service talks to, and that are in the stack, are healthy.
fn neighbours_ready(stack: &str, service: &str, all: &BTreeMap<String, Progress>) -> bool {
    let name = name_in(stack, service);
    let role = role_of(name);
    let talks = role.iter().flat_map(|role| &role.talks_to).filter(|talk| !talk.optional);
    // And the first of its own role's services.
    let own = role.iter().map(|role| role.name.as_str()).filter(|first| *first != name);
    let neighbours = talks.map(|talk| talk.role.as_str()).chain(own);
    neighbours.filter_map(|name| all.get(&format!("{stack}_{name}"))).all(|progress| progress.ready)
}

fn obituary(docker: &Docker, progress: &Progress) -> String {
    let Progress { service, state, failures, .. } = progress;
    let (out, err) = docker.talk(&["service", "logs", "--raw", "--tail", "5", service]);
    let why = failures.first().map_or_else(String::new, |(_, why)| format!(", before that: {why}"));
    // The newest task's come last.
    let lines: Vec<&str> = out.lines().chain(err.lines()).collect();
    let end: String = lines[lines.len().saturating_sub(15)..].iter().map(|line| format!("\n  {line}")).collect();
    format!("{service} does not become healthy: {state}{why}{end}\nmore: docker service logs {service}")
}
