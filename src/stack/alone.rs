//! The same roles without Swarm: a Compose file for one engine, of Docker or podman.
//!
//! It is made from the stack's file, so that both say the same of a role. What only a swarm has (overlay networks, secrets in
//! the engine, placement, updates) is left out or has its place taken.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_saphyr::DoubleQuoted;

use super::compose::{self, Member, Mount, Volume, literal};

/// A Compose file.
#[derive(Debug, Serialize)]
pub struct ComposeFile {
    services: BTreeMap<String, Service>,
    networks: BTreeMap<String, Network>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Volume>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, SecretFile>,
}

/// Where the values are, and who may read them.
#[derive(Clone, Debug)]
pub struct Here {
    /// Directory of the secrets' values, as the file says it: relative to the file, or absolute.
    pub secrets: String,
    /// Numbers of user and group that every role runs as: secrets are files of the host, so it is their owner.
    pub user: (u32, u32),
}

#[derive(Debug, Serialize)]
struct Service {
    image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    /// In quotes: YAML 1.1 takes `1000:50` for a number in base 60.
    user: DoubleQuoted<String>,
    read_only: bool,
    cap_drop: Vec<&'static str>,
    security_opt: Vec<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    networks: BTreeMap<String, Member>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<Mount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    healthcheck: HealthCheck,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<u32>,
    restart: &'static str,
    stop_grace_period: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<String>,
}

/// Said whole, as a list: podman reads none from an OCI image, and gives a text to a shell that our images don't have.
#[derive(Debug, Serialize)]
struct HealthCheck {
    test: [String; 6],
    interval: &'static str,
    timeout: &'static str,
    retries: u32,
    start_period: &'static str,
}

#[derive(Debug, Serialize)]
struct Network {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    internal: bool,
}

#[derive(Debug, Serialize)]
struct SecretFile {
    file: String,
}

/// Where the images keep a run's state.
const RUN: &str = "/dev/shm/flowkit";

/// The health check of a role, as Compose says it.
pub(super) fn check(role: &str) -> [&str; 6] {
    ["CMD", "/bin/flowkit", "health", role, "--dir", RUN]
}

/// The stack's file for one engine.
pub fn alone(stack: compose::File, here: &Here) -> ComposeFile {
    let network = |network: compose::Network| Network { internal: network.internal };
    let secret = |name: &String| SecretFile { file: literal(&format!("{}/{name}", here.secrets)) };
    ComposeFile {
        networks: stack.networks.into_iter().map(|(name, made)| (name, network(made))).collect(),
        volumes: stack.volumes,
        secrets: stack.secrets.keys().map(|name| (name.clone(), secret(name))).collect(),
        services: stack.services.into_iter().map(|(name, made)| (name, service(made, here))).collect(),
    }
}

fn service(made: compose::Service, here: &Here) -> Service {
    let compose::HealthCheck { interval, timeout, retries, start_period } = made.healthcheck;
    let limits = made.deploy.resources.limits;
    Service {
        image: made.image,
        command: made.command,
        user: DoubleQuoted(format!("{}:{}", here.user.0, here.user.1)),
        read_only: made.read_only,
        cap_drop: made.cap_drop,
        security_opt: vec!["no-new-privileges:true"],
        environment: made.environment,
        networks: made.networks,
        ports: made.ports.iter().map(compose::Port::alone).collect(),
        volumes: made.volumes,
        secrets: made.secrets.into_iter().map(|secret| secret.source).collect(),
        healthcheck: HealthCheck {
            test: check(made.role).map(str::to_owned),
            interval,
            timeout,
            retries,
            start_period,
        },
        scale: Some(made.deploy.replicas).filter(|&replicas| replicas > 1),
        restart: "unless-stopped",
        stop_grace_period: made.stop_grace_period,
        mem_limit: limits.memory,
        cpus: limits.cpus,
    }
}

impl ComposeFile {
    /// The text, under a comment of these lines.
    pub fn text(&self, head: &str) -> String {
        compose::text(self, head)
    }
}
