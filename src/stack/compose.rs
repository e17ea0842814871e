//! The shape of a Compose file, version 3.8: what `docker stack deploy` of Docker 20.10 and later takes.
//!
//! Only the keys that Swarm honours and that we use; names are the format's own.

use std::collections::BTreeMap;

use serde::Serialize;

/// A stack file.
#[derive(Debug, Serialize)]
pub struct File {
    /// Compose calls it obsolete, but a stack needs it: without, `docker stack deploy` of Docker 20.10.24 ends with
    /// "unsupported Compose file version: 1.0"; with it, that of 28.2 says nothing. (One engine's file, `alone`, has none.)
    pub(super) version: &'static str,
    /// By name; the order of the text is the alphabet's.
    pub services: BTreeMap<String, Service>,
    pub(super) networks: BTreeMap<String, Network>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) volumes: BTreeMap<String, Volume>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) secrets: BTreeMap<String, External>,
}

/// One role, or some of its components.
#[derive(Debug, Serialize)]
pub struct Service {
    /// The role.
    #[serde(skip)]
    pub(super) role: &'static str,
    /// Repository and tag.
    pub image: String,
    /// What follows the image's own command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) command: Vec<String>,
    pub(super) user: String,
    pub(super) read_only: bool,
    pub(super) cap_drop: Vec<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) environment: BTreeMap<String, String>,
    pub(super) networks: BTreeMap<String, Member>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<Port>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) volumes: Vec<Mount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<SecretFile>,
    pub(super) healthcheck: HealthCheck,
    pub(super) stop_grace_period: String,
    pub(super) deploy: Deploy,
}

/// A service in a network.
#[derive(Debug, Default, Serialize)]
pub struct Member {
    /// Further names by which the others reach it there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) aliases: Vec<String>,
}

/// A published port, in the long form.
#[derive(Debug, Serialize)]
pub struct Port {
    pub(super) target: u16,
    pub(super) published: u16,
    pub(super) protocol: &'static str,
    pub(super) mode: &'static str,
    /// Whether only the loopback of the one engine's host leads there; a swarm can't say so.
    #[serde(skip)]
    pub(super) near: bool,
    /// The setting that says where it is published.
    #[serde(skip)]
    pub(super) setting: &'static str,
}

impl Port {
    /// As one engine is told.
    pub(super) fn alone(&self) -> String {
        let Port { target, published, protocol, near, .. } = self;
        format!("{}{published}:{target}/{protocol}", if *near { "127.0.0.1:" } else { "" })
    }
}

/// Something mounted, in the long form.
#[derive(Debug, Serialize)]
pub struct Mount {
    pub(super) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    pub(super) target: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tmpfs: Option<Tmpfs>,
}

/// How large a file system in memory may become.
#[derive(Debug, Serialize)]
pub struct Tmpfs {
    pub(super) size: u64,
}

/// A secret as a file in `/run/secrets`.
#[derive(Debug, Serialize)]
pub struct SecretFile {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) uid: String,
    pub(super) gid: String,
    /// Permission bits. YAML's octal numbers differ between its versions, so this is a decimal one.
    pub(super) mode: u32,
}

/// When the image's own health check is run.
#[derive(Debug, Serialize)]
pub struct HealthCheck {
    pub(super) interval: &'static str,
    pub(super) timeout: &'static str,
    pub(super) retries: u32,
    pub(super) start_period: &'static str,
}

/// What Swarm does with a service.
#[derive(Debug, Serialize)]
pub struct Deploy {
    pub(super) replicas: u32,
    pub(super) endpoint_mode: &'static str,
    #[serde(skip_serializing_if = "Placement::is_anywhere")]
    pub(super) placement: Placement,
    pub(super) resources: Resources,
    pub(super) restart_policy: RestartPolicy,
    pub(super) update_config: UpdateConfig,
    pub(super) rollback_config: UpdateConfig,
}

/// On which nodes.
#[derive(Debug, Default, Serialize)]
pub struct Placement {
    pub(super) constraints: Vec<String>,
}

impl Placement {
    fn is_anywhere(&self) -> bool {
        self.constraints.is_empty()
    }
}

/// What is kept free, and what may be used at most.
#[derive(Debug, Default, Serialize)]
pub struct Resources {
    pub(super) reservations: Amount,
    #[serde(skip_serializing_if = "Amount::is_nothing")]
    pub(super) limits: Amount,
}

/// Of memory and CPUs.
#[derive(Debug, Default, Serialize)]
pub struct Amount {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpus: Option<String>,
}

impl Amount {
    fn is_nothing(&self) -> bool {
        self.memory.is_none() && self.cpus.is_none()
    }
}

/// What happens when a container ends.
#[derive(Debug, Serialize)]
pub struct RestartPolicy {
    pub(super) condition: &'static str,
    pub(super) delay: &'static str,
}

/// How a new version takes the place of an old one.
#[derive(Debug, Serialize)]
pub struct UpdateConfig {
    pub(super) order: &'static str,
    pub(super) parallelism: u32,
    pub(super) failure_action: &'static str,
    pub(super) monitor: &'static str,
}

/// A network of the stack.
#[derive(Debug, Serialize)]
pub struct Network {
    pub(super) driver: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) internal: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) driver_opts: BTreeMap<&'static str, &'static str>,
}

/// A volume of the stack, made by Docker on the node where it is first used.
#[derive(Debug, Default, Serialize)]
pub struct Volume {}

/// A secret that is in the swarm already, and its name there.
#[derive(Debug, Serialize)]
pub struct External {
    pub(super) external: bool,
    pub(super) name: String,
}

impl File {
    /// The text, under a comment of these lines.
    pub fn text(&self, head: &str) -> String {
        text(self, head)
    }
}

/// A file's text under a comment.
pub(super) fn text(file: &impl Serialize, head: &str) -> String {
    let comment: String = head.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    let body = serde_saphyr::to_string(file).expect("maps, lists and scalars are always YAML");
    format!("{comment}\n{}\n", body.trim_end())
}

/// A value as it must be written: a dollar sign would begin a variable.
pub fn literal(value: &str) -> String {
    value.replace('$', "$$")
}
