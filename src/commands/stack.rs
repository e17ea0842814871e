//! `flowkit stack`: the stack file of a deployment on Docker Swarm.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use crate::roles::{self, Deployment};
use crate::stack::{self, Given, Wish, vault};
use flowkit_core::catalogue::{Port, Scenario};
use flowkit_core::config::{Origin, Problems, Settings};
use say::tell;

/// Print the stack file of a deployment on Docker Swarm
///
/// For `docker stack deploy --compose-file -` of Docker 20.10 and later. Everything in it comes from the same description
/// of the roles as the rest of FlowKit: images, users, secrets (by name only; `flowkit secrets swarm` makes them), networks,
/// volumes, health checks. Settings are read from the environment and from flowkit.toml in the state directory: those of
/// the guide that are about the host (FLOWDB_HOST_PORT, FLOWDB_DATA_DIR, FLOWDB_ETL_DIR, FLOWDB_HOST_USER_ID, ...) lay
/// out the stack, those that a role reads (CACHE_SIZE, ...) are handed to it.
#[derive(Args)]
pub struct Stack {
    #[command(flatten)]
    layout: Layout,
}

/// Which roles, and how they are laid out on any engine.
#[derive(Args)]
pub(super) struct Roles {
    /// Role to include; may be given several times [default: those of the scenario]
    #[arg(long = "role", value_name = "ROLE", conflicts_with = "scenario")]
    roles: Vec<String>,
    /// Role to include beside those, as --with autoflow; may be given several times
    #[arg(long, value_name = "ROLE")]
    with: Vec<String>,
    /// Which of the guide's deployments [default: complete]
    #[arg(long, value_enum, value_name = "SCENARIO")]
    scenario: Option<Scenario>,
    /// Tag of the images [default: CONTAINER_TAG, else this version]
    #[arg(long)]
    tag: Option<String>,
    /// Registry that nodes pull the images from, as HOST[:PORT][/PATH] [default: images that the nodes have]
    #[arg(long, value_name = "REGISTRY")]
    registry: Option<String>,
    /// Memory that a role may use at most; FlowDB is tuned to it [default: no limit]
    #[arg(long, value_name = "ROLE=SIZE")]
    memory: Vec<String>,
    /// CPUs that a role may use at most [default: no limit]
    #[arg(long, value_name = "ROLE=NUMBER")]
    cpus: Vec<String>,
    /// Role whose ports are not published; may be given several times
    #[arg(long, value_name = "ROLE")]
    private: Vec<String>,
    /// State directory with flowkit.toml [default: /var/lib/flowkit for root, the XDG state directory for others]
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// Change a setting for this stack
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// What a stack is made of.
#[derive(Args)]
pub(super) struct Layout {
    #[command(flatten)]
    roles: Roles,
    /// Directory of the secrets' values; optional ones that are there are given to the roles that read them [default: no
    /// value is looked at; quickstart makes them for the swarm alone, and forgets them]
    #[arg(long, value_name = "DIR")]
    pub(super) secrets: Option<PathBuf>,
    /// What stands before the names of the secrets in the swarm
    #[arg(long)]
    prefix: Option<String>,
    /// A version of a secret that was rotated, as NAME=NUMBER; may be given several times
    #[arg(long = "secret-version", value_name = "NAME=NUMBER")]
    secret_versions: Vec<String>,
    /// Nodes that a role may run on: a label that is true there, LABEL=VALUE, or a constraint as Docker writes it
    /// (node.hostname==db1); may be given several times [default: a manager for roles that keep data, else any]
    #[arg(long, value_name = "ROLE=LABEL")]
    placement: Vec<String>,
    /// Encrypt what goes from node to node
    #[arg(long)]
    encrypted: bool,
}

impl Roles {
    /// What was typed, and the settings.
    fn read(&self) -> Result<(Given, Settings), Failure> {
        let settings = Deployment::settings_only(self.dir.as_deref(), &self.settings).map_err(Failure::mistake)?;
        let tag = self.tag.clone().unwrap_or_else(|| match settings.origin("CONTAINER_TAG") {
            Origin::Default => env!("CARGO_PKG_VERSION").to_owned(),
            _ => settings.text("CONTAINER_TAG").unwrap_or_default().to_owned(),
        });
        let registry = self.registry.as_ref().map(|host| host.trim_end_matches('/').to_owned() + "/");
        let given = Given {
            roles: self.roles.clone(),
            with: self.with.clone(),
            scenario: self.scenario,
            tag,
            registry: registry.unwrap_or_default(),
            memory: self.memory.clone(),
            cpus: self.cpus.clone(),
            private: self.private.clone(),
            ..Given::default()
        };
        Ok((given, settings))
    }

    /// The wish and the settings, both checked.
    pub(super) fn wish(&self) -> Result<(Wish, Settings), Failure> {
        let (given, settings) = self.read()?;
        Ok((checked(&given, &settings)?, settings))
    }
}

impl Layout {
    /// The wish and the settings, both checked.
    pub(super) fn read(&self) -> Result<(Wish, Settings), Failure> {
        let (given, settings) = self.roles.read()?;
        let given = Given {
            prefix: self.prefix.clone(),
            placement: self.placement.clone(),
            secret_versions: self.secret_versions.clone(),
            encrypted: self.encrypted,
            ..given
        };
        let mut wish = checked(&given, &settings)?;
        if let Some(dir) = &self.secrets {
            wish.take_secrets(vault::of_directory(dir).map_err(Failure::mistake)?);
        }
        Ok((wish, settings))
    }
}

/// Says which secrets roles are given that could be left out: a role without its database's address begins one of its own.
pub(super) fn tell_of_optional(wish: &Wish, settings: &Settings) {
    wish.optional_secrets(settings).iter().for_each(|(role, secret)| tell!("{role} is given {secret}, as it is there"));
}

/// Says which places the operator has named in a directory where a container finds nobody. `inner`: the settings inside of the stack.
pub(super) fn tell_of_places(wish: &Wish, dir: &Path, inner: &Settings) {
    if let Some(why) = vault::unnamed(wish, dir, inner) {
        tell!("note: {why}");
    }
    for name in vault::at_home(wish, dir, inner) {
        let file = dir.join(name);
        tell!(
            "note: {} leads to this host itself, where a container finds nothing: write the name or address by which \
             others reach it",
            file.display()
        );
    }
}

/// Says what is wrong with values in a directory that containers are to have as they are.
pub(super) fn tell_of_values(wish: &Wish, dir: &Path, settings: &Settings) -> Result<(), Failure> {
    let inner = stack::inside(wish, settings).map_err(Failure::mistake)?;
    tell_of_places(wish, dir, &inner);
    for name in vault::misled(wish, dir, &inner) {
        let (file, host) = (dir.join(name), inner.text("FLOWDB_HOST").unwrap_or("flowdb"));
        let port = inner.port("FLOWDB_PORT");
        tell!(
            "note: {} leads to this host itself, where a container finds nothing: remove it, and have it made again by \
             FLOWDB_HOST={host} FLOWDB_PORT={port} flowkit secrets init --dir {}",
            file.display(),
            dir.display()
        );
    }
    Ok(())
}

fn checked(given: &Given, settings: &Settings) -> Result<Wish, Failure> {
    let wish = Wish::new(given).map_err(Failure::mistake)?;
    let wrong = wish.roles.iter().flat_map(|role| roles::check(&role.name, settings, true));
    Problems(wrong.collect()).or(()).map_err(Failure::mistake)?;
    let idle = wish.roles.iter().flat_map(|role| role.without_effect(settings));
    idle.for_each(|warning| tell!("warning: {warning}"));
    for role in &wish.left_out {
        tell!("note: {} has no image yet and is left out", role.name);
    }
    let given = |name: &str| settings.given_text(name).is_some();
    for role in &wish.roles {
        let listens = |port: &&Port| port.plain && (!port.apart || role.is_apart(settings));
        let ports = role.ports.iter().filter(listens).filter_map(|port| port.published.as_deref());
        for name in ports.filter(|name| !given(name)) {
            tell!("note: {} speaks HTTP and is not published; where that is safe: --set {name}=PORT", role.title);
        }
    }
    if wish.has("flowetl") && !given("FLOWETL_HOST_DAG_DIR") {
        tell!("note: FlowETL has no DAG files; they are in the directory that FLOWETL_HOST_DAG_DIR names");
    }
    Ok(wish)
}

impl Stack {
    /// Prints the file.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let (wish, settings) = self.layout.read()?;
        settings.warnings().iter().for_each(|warning| tell!("warning: {warning}"));
        let file = stack::plan(&wish, &settings).map_err(Failure::mistake)?;
        tell_of_optional(&wish, &settings);
        let inner = stack::inside(&wish, &settings).map_err(Failure::mistake)?;
        if let Some(dir) = &self.layout.secrets {
            tell_of_places(&wish, dir, &inner);
        }
        say::product(file.text(&head(&wish)).as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

/// What a reader of the file should know.
pub(super) fn head(wish: &Wish) -> String {
    let roles: Vec<&str> = wish.roles.iter().map(|role| role.name.as_str()).collect();
    format!(
        "FlowKit on Docker Swarm: {}. Made by `flowkit stack` {}; make it again instead of changing it.\n\
         Deploy it with: docker stack deploy --compose-file THIS-FILE --resolve-image never flowkit\n\
         (leave out --resolve-image when the images come from a registry)\n\
         It holds no secret: they are in the swarm, made by `flowkit secrets swarm`. A secret is a file in /run/secrets,\n\
         readable by its service only: mode 256 is 0400.",
        roles.join(", "),
        env!("CARGO_PKG_VERSION")
    )
}
