//! The same roles for podman under systemd: Quadlet files, one for each container, network and volume.
//!
//! They are made from the stack's file, as `alone` is. Keys are those that podman knows from 5.0 on. podman reads no health
//! check from an OCI image, and gives one that is a text to a shell, which our images don't have: it is said here, as a list.

use std::fmt::{Display, Write};

use super::alone::check;
use super::compose::{File, Mount, SecretFile, Service};

/// What stands before the names of units, containers, networks and volumes.
pub const PREFIX: &str = "flowkit-";

/// How a Quadlet file's name may end, of those that are made here.
pub const KINDS: [&str; 3] = [".container", ".network", ".volume"];

/// A Quadlet file.
#[derive(Debug)]
pub struct Unit {
    /// Its name, by whose end podman knows what it is.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

impl Unit {
    fn new(name: &str, kind: &str, head: &str) -> Unit {
        let comment: String = head.lines().map(|line| format!("# {line}\n")).collect();
        Unit { name: format!("{PREFIX}{name}{kind}"), text: comment }
    }

    fn section(&mut self, name: &str) {
        writeln!(self.text, "\n[{name}]").expect("a text takes any text");
    }

    /// One line. A per cent sign would begin one of systemd's specifiers; the stack's file has doubled the dollar signs, which
    /// systemd wants so too.
    fn key(&mut self, key: &str, value: impl Display) {
        let value = value.to_string().replace('%', "%%");
        writeln!(self.text, "{key}={value}").expect("a text takes any text");
    }
}

/// The stack's file as Quadlet files, each under a comment of these lines.
pub fn quadlet(stack: &File, head: &str) -> Vec<Unit> {
    let networks = stack.networks.iter().map(|(name, network)| {
        let mut unit = Unit::new(name, ".network", head);
        unit.section("Network");
        unit.key("NetworkName", format!("{PREFIX}{name}"));
        unit.key("Internal", network.internal);
        unit
    });
    let volumes = stack.volumes.keys().map(|name| {
        let mut unit = Unit::new(name, ".volume", head);
        unit.section("Volume");
        unit.key("VolumeName", format!("{PREFIX}{name}"));
        unit
    });
    let containers = stack.services.iter().flat_map(|(name, service)| {
        let number = move |number: u32| match service.deploy.replicas {
            1 => name.clone(),
            _ => format!("{name}-{number}"),
        };
        (1..=service.deploy.replicas).map(move |one| container(stack, &number(one), service, head))
    });
    containers.chain(networks).chain(volumes).collect()
}

fn container(stack: &File, name: &str, service: &Service, head: &str) -> Unit {
    let mut unit = Unit::new(name, ".container", head);
    unit.section("Unit");
    unit.key("Description", format!("FlowKit's {name}"));
    // Whose networks it is in.
    for other in service.networks.keys().filter(|other| *other != name && stack.services.contains_key(*other)) {
        unit.key("Wants", format!("{PREFIX}{other}.service"));
        unit.key("After", format!("{PREFIX}{other}.service"));
    }
    unit.section("Container");
    unit.key("ContainerName", format!("{PREFIX}{name}"));
    image(&mut unit, &service.image);
    if !service.command.is_empty() {
        unit.key("Exec", service.command.join(" "));
    }
    let (user, group) = service.user.split_once(':').expect("the plan names both");
    unit.key("User", user);
    unit.key("Group", group);
    unit.key("ReadOnly", service.read_only);
    service.cap_drop.iter().for_each(|capability| unit.key("DropCapability", capability.to_lowercase()));
    unit.key("NoNewPrivileges", true);
    for (name, value) in &service.environment {
        unit.key("Environment", format!("\"{name}={}\"", value.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    for (network, member) in &service.networks {
        let names = (network == name).then_some(name).into_iter().chain(member.aliases.iter().map(String::as_str));
        let aliases: Vec<String> = names.map(|name| format!("alias={name}")).collect();
        let aliases = if aliases.is_empty() { String::new() } else { format!(":{}", aliases.join(",")) };
        unit.key("Network", format!("{PREFIX}{network}.network{aliases}"));
    }
    for port in &service.ports {
        unit.key("PublishPort", port.alone());
    }
    service.volumes.iter().for_each(|mount| mounted(&mut unit, mount));
    for SecretFile { source, target, uid, gid, mode } in &service.secrets {
        let name = &stack.secrets[source].name;
        unit.key("Secret", format!("{name},type=mount,target={target},uid={uid},gid={gid},mode=0{mode:o}"));
    }
    healthy(&mut unit, service);
    let limits = &service.deploy.resources.limits;
    let limits = [("memory", &limits.memory), ("cpus", &limits.cpus)];
    for (name, limit) in limits.iter().filter_map(|(name, limit)| Some((name, limit.as_ref()?))) {
        unit.key("PodmanArgs", format!("--{name}={limit}"));
    }
    under_systemd(&mut unit, service);
    unit
}

/// One that comes from no registry was loaded: nobody else's of its name may be fetched in its place.
fn image(unit: &mut Unit, image: &str) {
    match image.starts_with("flowkit/") {
        true => {
            unit.key("Image", format!("docker.io/{image}"));
            unit.key("Pull", "never");
        }
        false => unit.key("Image", image),
    }
}

/// A directory of the host is labelled for all containers where SELinux asks for it.
fn mounted(unit: &mut Unit, mount: &Mount) {
    let Mount { r#type, source, target, read_only, tmpfs } = mount;
    match source {
        None => {
            let size = tmpfs.as_ref().map(|tmpfs| format!(":size={}", tmpfs.size)).unwrap_or_default();
            unit.key("Tmpfs", format!("{target}{size}"));
        }
        Some(name) if *r#type == "volume" => unit.key("Volume", format!("{PREFIX}{name}.volume:{target}")),
        Some(path) => unit.key("Volume", format!("{path}:{target}:{}z", if *read_only { "ro," } else { "" })),
    }
}

/// A unit is started when its role is healthy; one that falls ill later is stopped in order, and systemd starts it again.
fn healthy(unit: &mut Unit, service: &Service) {
    let test = &check(service.role)[1..];
    let list = serde_json::to_string(test).expect("texts are always JSON");
    unit.key("HealthCmd", list);
    unit.key("HealthInterval", service.healthcheck.interval);
    unit.key("HealthTimeout", service.healthcheck.timeout);
    unit.key("HealthRetries", service.healthcheck.retries);
    unit.key("HealthStartPeriod", service.healthcheck.start_period);
    unit.key("HealthOnFailure", "stop");
    unit.key("Notify", "healthy");
}

fn under_systemd(unit: &mut Unit, service: &Service) {
    let grace = service.stop_grace_period.trim_end_matches('s');
    unit.key("StopTimeout", grace);
    unit.section("Service");
    unit.key("Restart", service.deploy.restart_policy.condition.replace("any", "always"));
    unit.key("RestartSec", service.deploy.restart_policy.delay);
    // systemd's own 90 s would end a first start, and a last checkpoint. podman has 30 s more than the role.
    unit.key("TimeoutStartSec", service.healthcheck.start_period);
    unit.key("TimeoutStopSec", grace.parse::<u32>().expect("the plan says seconds") + 30);
    unit.section("Install");
    unit.key("WantedBy", "default.target");
}
