//! The shape of `roles/<role>.toml`. Unknown keys are refused in every table.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Make, Secret, Setting};
use crate::config::Settings;

/// What a role is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Role {
    /// `flowdb`, as on the command line.
    pub name: String,
    /// `FlowDB`, as in a sentence.
    pub title: String,
    /// What it does, in one line.
    pub summary: String,
    /// Whether this program can run it; data about roles to come is here already.
    pub built: bool,
    /// Ways of deploying FlowKit, of those that its guide describes, that this role is part of.
    pub scenarios: Vec<Scenario>,
    /// Secrets that this role owns.
    #[serde(default, rename = "secret")]
    pub secrets: Vec<Secret>,
    /// Names of secrets and settings that other roles own and this one reads.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Prefixes of settings that its program knows and this catalogue does not: they are handed on as they are.
    #[serde(default)]
    pub passes: Vec<String>,
    /// Whether its programs may be given any other variable, each as a secret of its name.
    #[serde(default)]
    pub any_variable: bool,
    /// Settings that this role owns.
    #[serde(default, rename = "setting")]
    pub settings: Vec<Setting>,
    /// Where it listens.
    #[serde(default, rename = "port")]
    pub ports: Vec<Port>,
    /// What it keeps or reads on disk.
    #[serde(default, rename = "volume")]
    pub volumes: Vec<Volume>,
    /// Roles that it opens connections to.
    #[serde(default)]
    pub talks_to: Vec<Talk>,
    /// Parts of it that may run on machines of their own.
    #[serde(default, rename = "component")]
    pub components: Vec<Component>,
    /// With which setting they may.
    pub apart: Option<Apart>,
    /// What it needs from the machine.
    pub needs: Needs,
}

/// When the components of a role may run apart, and what a stack tells its services then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Apart {
    /// The setting.
    pub setting: String,
    /// Its value.
    pub value: String,
    /// Settings of the service that has the role's name: where it listens for the others.
    pub first: BTreeMap<String, String>,
    /// Settings of the others: where that one is.
    pub others: BTreeMap<String, String>,
}

/// A part of a role that may run on a machine of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Component {
    /// As on the command line.
    pub name: String,
    /// What it does.
    pub purpose: String,
    /// The service of a stack that it is in. The one with the role's name is where the others find it.
    pub service: String,
    /// The role's secrets that it needs; it is given no others.
    pub secrets: Vec<String>,
    /// Whether it runs programs of the operator's, which may read any variable and reach what is outside.
    #[serde(default)]
    pub any_variable: bool,
    /// The ports at which it listens, by their names.
    #[serde(default)]
    pub ports: Vec<String>,
    /// What it keeps or reads on disk, by the paths in a container.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Those of the role's neighbours that it opens connections to.
    #[serde(default)]
    pub talks_to: Vec<String>,
    /// The setting that says how many of it there are; else there is one.
    pub count: Option<String>,
    /// Memory with which it is of use, in MiB.
    pub memory_mib: u32,
}

/// The ways of deploying FlowKit that its guide describes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Scenario {
    /// FlowDB and FlowETL: a database for SQL
    FlowdbEtl,
    /// The same and redis, for analysts who use FlowMachine as a library
    Library,
    /// Everything inside the firewall, and FlowAuth
    Complete,
    /// FlowAuth alone, outside the firewall
    Flowauth,
}

impl Role {
    /// Whether it hands settings of that name on to its program without knowing them.
    pub fn passes(&self, name: &str) -> bool {
        self.passes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Whether its components may run apart with these settings.
    pub fn is_apart(&self, settings: &Settings) -> bool {
        self.apart.as_ref().is_some_and(|apart| settings.text(&apart.setting) == Some(&apart.value))
    }

    /// Whether it can't do without a secret with these settings.
    pub fn needs_secret(&self, secret: &Secret, settings: &Settings) -> bool {
        // A connection string that nobody made leads to what is the role's own, and what only the operator can have is theirs to leave out.
        let of_component = |component: &Component| component.secrets.contains(&secret.name);
        let apart = || self.is_apart(settings) && self.components.iter().any(of_component);
        !secret.optional || (!matches!(secret.make, Make::Template(_) | Make::Operator(_)) && apart())
    }

    /// Whether a deployment hands it a secret, where `there` knows those that the operator has: one that it can't do without, or an optional one
    /// that nobody but the operator could have put there.
    pub fn is_given(&self, secret: &Secret, settings: &Settings, there: impl Fn(&str) -> bool) -> bool {
        let other = |name: &Option<String>| name.as_ref().is_some_and(|name| there(name));
        (matches!(secret.make, Make::Operator(_)) && there(&secret.name))
            || other(&secret.with)
            || (self.needs_secret(secret, settings) && !other(&secret.instead))
    }

    /// Settings that were given and have no effect because its components may not run apart, in sentences.
    pub fn without_effect(&self, settings: &Settings) -> Vec<String> {
        let Some(apart) = self.apart.as_ref().filter(|_| !self.is_apart(settings)) else { return Vec::new() };
        let counts = self.components.iter().filter_map(|component| component.count.as_deref());
        let ports = self.ports.iter().filter(|port| port.apart).map(|port| port.setting.as_str());
        let given = counts.chain(ports).filter(|name| settings.given_text(name).is_some());
        given.map(|name| format!("{name} has no effect without {}={}", apart.setting, apart.value)).collect()
    }

    /// Bytes of memory that are kept for all of it in a deployment that has some secrets: one of them may say that its database is elsewhere.
    pub fn memory(&self, settings: &Settings, has: impl Fn(&str) -> bool) -> u64 {
        let elsewhere = self.needs.database_unless.as_ref().is_some_and(|secret| has(secret));
        let database = if elsewhere { 0 } else { self.needs.database_mib };
        let programs = match self.is_apart(settings) {
            true => self.components.iter().map(|component| component.memory_mib * component.count(settings)).sum(),
            false => self.needs.memory_mib,
        };
        u64::from(programs + database) << 20
    }
}

impl Component {
    /// How many of it there are.
    pub fn count(&self, settings: &Settings) -> u32 {
        let given = self.count.as_ref().and_then(|name| settings.int(name));
        given.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
    }
}

/// Where a name comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// FlowKit's deployment guide.
    Guide,
    /// Upstream's programs or stack files, which know more names than the guide.
    Upstream,
    /// This project.
    Ours,
}

/// Where a role listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    /// Unique in the role.
    pub name: String,
    /// The setting that moves it; its default is the number on a plain host.
    pub setting: String,
    /// The setting with the address that it listens on. Without one that is the loopback's; or, where others come from elsewhere, every one.
    pub listen: Option<String>,
    /// The number inside a container.
    pub container: u16,
    /// The setting with the port of the host at which a stack publishes it; without it a stack keeps it private.
    pub published: Option<String>,
    /// Whether passwords come there in clear: it is published only where that setting is given, on one engine at its loopback.
    #[serde(default)]
    pub plain: bool,
    /// Whether somebody listens there only where the role's components may run apart.
    #[serde(default)]
    pub apart: bool,
    /// Whether only the role's own components on other machines come there.
    #[serde(default)]
    pub between: bool,
    /// What is spoken there, and how it is protected.
    pub protocol: String,
}

/// What a role keeps or reads on disk.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Volume {
    /// Path below the state directory of a plain host; `None` when the operator names it.
    pub state: Option<String>,
    /// Path inside a container.
    pub container: String,
    /// The setting with the directory of the host, for whoever lays out a deployment.
    pub setting: Option<String>,
    /// The setting that tells the role's own programs where it is; without it they look below the state directory.
    pub place: Option<String>,
    /// Whether the role only reads it.
    #[serde(default)]
    pub read_only: bool,
    /// What is in it, and whether it must be kept.
    pub purpose: String,
}

/// Another role that a role opens connections to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Talk {
    /// The other role's name.
    pub role: String,
    /// The setting that says where it is; without it that is the other role's own `ROLE_HOST` with its port.
    pub setting: Option<String>,
    /// What that setting is, where `{host}` and `{port}` stand for the other role's: `https://{host}:{port}`.
    pub form: Option<String>,
    /// The certificate that it knows the other by: handed to it where it is at hand.
    pub certificate: Option<String>,
    /// Whether it does without: then it talks to the other in the same deployment, or where its setting says.
    #[serde(default)]
    pub optional: bool,
    /// What for.
    pub why: String,
}

/// What a role needs from the machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Needs {
    /// Least memory with which it is of use, in MiB.
    pub memory_mib: u32,
    /// The share of the small database that it has of its own, in MiB; it comes on top.
    #[serde(default)]
    pub database_mib: u32,
    /// The secret that says where its database is elsewhere: then it has no such share.
    #[serde(default)]
    pub database_unless: Option<String>,
    /// What it needs disk for.
    pub disk: String,
    /// Programs that are not part of this one.
    pub programs: Vec<String>,
}

impl Needs {
    /// All the memory that is kept for it, in bytes.
    pub fn memory(&self) -> u64 {
        u64::from(self.memory_mib + self.database_mib) << 20
    }
}
