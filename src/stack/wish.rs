//! What the operator asked for, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};

use flowkit_core::catalogue::{Make, Role, Scenario, Secret, catalogue};
use flowkit_core::config::{Problem, Problems, Settings};
use flowkit_core::size::{self, rounded};
use image::reference;

use super::parts::services_of;

/// As it was typed.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Roles by name.
    pub roles: Vec<String>,
    /// Roles beside those, or beside those of the scenario.
    pub with: Vec<String>,
    /// A scenario in their place.
    pub scenario: Option<Scenario>,
    /// Tag of the images.
    pub tag: String,
    /// What stands before `flowkit/ROLE`, with its slash.
    pub registry: String,
    /// What stands before the names of secrets in the swarm, without its underscore.
    pub prefix: Option<String>,
    /// `ROLE=LABEL`, `ROLE=LABEL=VALUE` or `ROLE=node.…==…`.
    pub placement: Vec<String>,
    /// `ROLE=SIZE`.
    pub memory: Vec<String>,
    /// `ROLE=NUMBER`.
    pub cpus: Vec<String>,
    /// Roles whose ports are not published.
    pub private: Vec<String>,
    /// `NAME=NUMBER`.
    pub secret_versions: Vec<String>,
    /// Whether traffic between nodes is encrypted.
    pub encrypted: bool,
}

/// A role, and one of its services.
type Named = (&'static Role, &'static str);

/// What the operator asked for.
#[derive(Debug)]
pub struct Wish {
    /// In the order of the catalogue; all have an image.
    pub roles: Vec<&'static Role>,
    /// Roles of the scenario that have no image yet.
    pub left_out: Vec<&'static Role>,
    pub(super) tag: String,
    pub(super) registry: String,
    pub(super) prefix: Option<String>,
    pub(super) placement: BTreeMap<&'static str, Vec<String>>,
    pub(super) memory: BTreeMap<&'static str, u64>,
    pub(super) cpus: BTreeMap<&'static str, f64>,
    pub(super) private: Vec<&'static str>,
    pub(super) secret_versions: BTreeMap<&'static str, u32>,
    secrets: BTreeSet<&'static str>,
    pub(super) encrypted: bool,
}

impl Wish {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Everything that is wrong with it, in one report.
    pub fn new(given: &Given) -> Result<Wish, Problems> {
        let mut problems = Problems::default();
        let (roles, left_out) = chosen(given, &mut problems);
        let mut wish = Wish {
            roles,
            left_out,
            tag: given.tag.clone(),
            registry: given.registry.clone(),
            prefix: given.prefix.clone(),
            placement: BTreeMap::new(),
            memory: BTreeMap::new(),
            cpus: BTreeMap::new(),
            private: Vec::new(),
            secret_versions: BTreeMap::new(),
            secrets: BTreeSet::new(),
            encrypted: given.encrypted,
        };
        for text in &given.placement {
            match wish.split(text, "--placement", "flowdb=LABEL").and_then(|(role, at)| Ok((role, constraint(at)?))) {
                Ok(((_, name), constraint)) => wish.placement.entry(name).or_default().push(constraint),
                Err(problem) => problems.0.push(problem),
            }
        }
        for text in &given.memory {
            match wish.split(text, "--memory", "flowdb=8GiB").and_then(|(role, size)| memory(role, size)) {
                Ok((role, bytes)) => _ = wish.memory.insert(role, bytes),
                Err(problem) => problems.0.push(problem),
            }
        }
        for text in &given.cpus {
            match wish.split(text, "--cpus", "flowdb=4").and_then(|(role, number)| cpus(role, number)) {
                Ok((role, number)) => _ = wish.cpus.insert(role, number),
                Err(problem) => problems.0.push(problem),
            }
        }
        for name in &given.private {
            match wish.role(name, "--private") {
                Ok((_, name)) => wish.private.push(name),
                Err(problem) => problems.0.push(problem),
            }
        }
        for text in &given.secret_versions {
            match version(text) {
                Ok((name, number)) => _ = wish.secret_versions.insert(name, number),
                Err(problem) => problems.0.push(problem),
            }
        }
        if !reference::is_tag(&wish.tag) {
            let hint = "give --tag, or CONTAINER_TAG, letters, digits, dots, dashes and underscores";
            problems.0.push(Problem::new("the images can't have this tag", hint).value(&wish.tag));
        }
        if !reference::is_repository(&wish.repository("flowkit")) {
            let hint = "write it like registry.example.org:5000/path, without https:// before it";
            problems.0.push(Problem::new("--registry is not where images can be", hint).value(&wish.registry));
        }
        if let Some(bad) = given.prefix.as_ref().filter(|prefix| !is_name(prefix)) {
            let hint = "use letters, digits, dots, dashes and underscores, at most 20";
            problems.0.push(Problem::new("--prefix can't begin the name of a secret", hint).value(bad));
        }
        problems.or(wish)
    }

    /// The name of a secret in the swarm.
    pub fn secret(&self, name: &str) -> String {
        versioned(self.prefix.as_deref(), name, self.secret_versions.get(name).copied().unwrap_or(1))
    }

    /// The image of a role.
    pub fn image(&self, role: &str) -> String {
        format!("{}:{}", self.repository(role), self.tag)
    }

    fn repository(&self, role: &str) -> String {
        format!("{}flowkit/{role}", self.registry)
    }

    /// What stands before the names of secrets.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Takes these versions of secrets where none was asked for.
    pub fn take_versions(&mut self, versions: BTreeMap<&'static str, u32>) {
        for (name, version) in versions {
            self.secret_versions.entry(name).or_insert(version);
        }
    }

    /// Takes these secrets for there. Those that nobody but the operator can have made are given to roles that can do without them.
    pub fn take_secrets(&mut self, names: impl IntoIterator<Item = &'static str>) {
        let is_operators =
            |name: &&'static str| catalogue().secret(name).is_some_and(|spec| matches!(spec.make, Make::Operator(_)));
        self.secrets.extend(names.into_iter().filter(is_operators));
    }

    /// Whether the operator has this secret, which nobody else can have made.
    pub(super) fn has_secret(&self, name: &str) -> bool {
        self.secrets.contains(name)
    }

    /// Secrets that a role gets: those that it can't do without, and those that the operator has for it.
    pub(super) fn secrets_of(&self, role: &'static Role, settings: &Settings) -> impl Iterator<Item = &'static Secret> {
        catalogue().secrets_of(role).filter(|secret| role.is_given(secret, settings, |name| self.has_secret(name)))
    }

    /// Of those the ones that a role could do without, with its name: what it is depends on whether they are there.
    pub fn optional_secrets(&self, settings: &Settings) -> Vec<(&'static str, &'static str)> {
        let of = |role: &'static Role| {
            let optional = self.secrets_of(role, settings).filter(|secret| !role.needs_secret(secret, settings));
            optional.map(|secret| (role.name.as_str(), secret.name.as_str()))
        };
        self.roles.iter().flat_map(|role| of(role)).collect()
    }

    /// Whether a role is in the stack.
    pub fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|other| other.name == role)
    }

    /// A role, or one of the services that its components are in, by that name.
    fn role(&self, name: &str, flag: &str) -> Result<(&'static Role, &'static str), Problem> {
        let services = self.roles.iter().flat_map(|role| services_of(role).map(|service| (*role, service)));
        services.into_iter().find(|(_, service)| *service == name).ok_or_else(|| {
            let names: Vec<&str> = self.roles.iter().map(|role| role.name.as_str()).collect();
            Problem::new(
                format!("{flag} is for a role that is not in this stack"),
                format!("in it: {}", names.join(", ")),
            )
            .value(name)
        })
    }

    /// `ROLE=REST` of a flag.
    fn split<'a>(&self, text: &'a str, flag: &str, example: &str) -> Result<(Named, &'a str), Problem> {
        let (role, rest) = text.split_once('=').filter(|(_, rest)| !rest.is_empty()).ok_or_else(|| {
            Problem::new(format!("{flag} is not understood"), format!("write it like {flag} {example}")).value(text)
        })?;
        Ok((self.role(role, flag)?, rest))
    }
}

/// The roles that have an image, and those that have none.
fn chosen(given: &Given, problems: &mut Problems) -> (Vec<&'static Role>, Vec<&'static Role>) {
    for name in given.roles.iter().chain(&given.with) {
        match catalogue().role(name) {
            Some(role) if role.built => {}
            Some(_) => problems.0.push(
                Problem::new("this role is described but not built yet", "leave it out of the stack").value(name),
            ),
            None => {
                let names = catalogue().roles().iter().filter(|role| role.built).map(|role| role.name.as_str());
                let hint = format!("roles that run: {}", names.collect::<Vec<_>>().join(", "));
                problems.0.push(Problem::new("there is no such role", hint).value(name));
            }
        }
    }
    let scenario = given.scenario.unwrap_or(Scenario::Complete);
    let asked_for = |role: &Role| match given.roles.as_slice() {
        [] => role.scenarios.contains(&scenario),
        names => names.contains(&role.name),
    };
    let wanted = |role: &&Role| asked_for(role) || given.with.contains(&role.name);
    let (roles, left_out): (Vec<_>, Vec<_>) = catalogue().roles().iter().filter(wanted).partition(|role| role.built);
    if roles.is_empty() && problems.0.is_empty() {
        let names: Vec<&str> = left_out.iter().map(|role: &&Role| role.name.as_str()).collect();
        problems
            .0
            .push(Problem::new("no role of this scenario has an image yet", "choose another").value(names.join(", ")));
    }
    (roles, left_out)
}

/// What a constraint of Docker's may be about, beside labels.
const ABOUT: &[&str] = &["node.id", "node.hostname", "node.role", "node.ip", "node.platform.os", "node.platform.arch"];
const LABELS: &[&str] = &["node.labels.", "engine.labels."];

/// A label of the node that must be `true`, or a constraint in Docker's own words, which it has to take: a stack is deployed
/// role by role, and the others would be there already.
fn constraint(place: &str) -> Result<String, Problem> {
    let wrong = |hint: String| Err(Problem::new("--placement is no constraint of Docker's", hint).value(place));
    let operator = ["==", "!="].into_iter().find_map(|operator| place.split_once(operator));
    let Some((about, value)) = operator.map(|(about, value)| (about.trim(), value.trim())) else {
        let (label, value) = place.split_once('=').unwrap_or((place, "true"));
        return match (ABOUT.contains(&label) || LABELS.iter().any(|labels| label.starts_with(labels)), value) {
            (true, "true") => wrong(format!("write it like {label}==VALUE")),
            (true, _) => wrong(format!("write {label}=={value}")),
            (false, _) if !is_key(label) => wrong("a label is letters, digits, dots, dashes and underscores".into()),
            (false, _) if !is_value(value) => wrong("the label's value has signs that Docker does not take".into()),
            (false, _) => Ok(format!("node.labels.{label} == {value}")),
        };
    };
    let label = LABELS.iter().find_map(|labels| about.strip_prefix(labels));
    match (about, value) {
        ("node.role", "manager" | "worker") => Ok(place.to_owned()),
        ("node.role", _) => wrong("a node's role is manager or worker".into()),
        _ if !ABOUT.contains(&about) && !label.is_some_and(is_key) => {
            wrong(format!("it can be about {}, node.labels.LABEL or engine.labels.LABEL", ABOUT.join(", ")))
        }
        _ if !is_value(value) => wrong("its value is missing, or has signs that Docker does not take".into()),
        _ => Ok(place.to_owned()),
    }
}

/// A key as Swarm reads it.
fn is_key(key: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    key.len() > 1 && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.chars().all(inner)
}

/// A value as Swarm reads it.
fn is_value(value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == ' ' || ":-_.*()?+[]\\^$|/".contains(c);
    !value.is_empty() && value.chars().all(allowed)
}

/// The name of a stack, which begins the names of its services: those can have 63 letters.
///
/// # Errors
/// What to write in its place.
pub fn stack_name(name: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let edge = |c: char| c.is_ascii_alphanumeric();
    match name.len() <= 40 && name.starts_with(edge) && name.ends_with(edge) && name.chars().all(inner) {
        true => Ok(name.to_owned()),
        false => Err("a stack's name is letters, digits, dashes and underscores, 40 at most".to_owned()),
    }
}

fn memory((role, name): Named, text: &str) -> Result<(&'static str, u64), Problem> {
    let own = role.components.iter().filter(|component| component.service == name);
    let own: u64 = own.map(|component| u64::from(component.memory_mib) << 20).sum();
    // One that is whole has its name, too.
    let least = if name == role.name { role.needs.memory() } else { own };
    let wrong =
        |hint: String| Problem::new(format!("--memory of {name} is wrong"), hint).value(text).origin("command line");
    match size::parse(text) {
        Some(bytes) if bytes >= least => Ok((name, bytes)),
        Some(_) => Err(wrong(format!("it is of no use with less than {}", rounded(least)))),
        None => Err(wrong("give a size, such as 8GiB".into())),
    }
}

fn cpus((_, name): Named, number: &str) -> Result<(&'static str, f64), Problem> {
    match number.parse::<f64>() {
        Ok(cpus) if (0.01..=4096.0).contains(&cpus) => Ok((name, cpus)),
        _ => {
            Err(Problem::new(format!("--cpus of {name} is wrong"), "give a number of CPUs, such as 2 or 0.5")
                .value(number))
        }
    }
}

fn version(text: &str) -> Result<(&'static str, u32), Problem> {
    let number = |text: &str| text.parse().ok().filter(|&number: &u32| number > 0);
    let Some((name, number)) = text.split_once('=').and_then(|(name, rest)| Some((name, number(rest)?))) else {
        let hint = "write it like --secret-version REDIS_PASSWORD=2";
        return Err(Problem::new("--secret-version is not understood", hint).value(text));
    };
    match catalogue().secret(name) {
        Some(spec) => Ok((&spec.name, number)),
        None => Err(Problem::new(format!("{name} is not a secret"), "`flowkit secrets list` names all of them")),
    }
}

/// Docker's limit is 64 letters, of which our longest name and a version take 41.
fn is_name(prefix: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    prefix.len() <= 20 && prefix.starts_with(|c: char| c.is_ascii_alphanumeric()) && prefix.chars().all(allowed)
}

/// `PREFIX_NAME`, and from the second version on `PREFIX_NAME_vNUMBER`.
pub(super) fn versioned(prefix: Option<&str>, name: &str, version: u32) -> String {
    let name = prefix.map_or_else(|| name.to_owned(), |prefix| format!("{prefix}_{name}"));
    if version > 1 { format!("{name}_v{version}") } else { name }
}
