//! Everything that is wrong with a directory of secrets, in one go. No text of it holds a value.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::certificate::Certificate;
use super::files::{self, Access};
use super::init::wanted;
use super::{LookupError, Secret, Store, derive};
use crate::catalogue::{Make, Role, Secret as Spec, catalogue};
use crate::config::Settings;

/// A certificate that ends sooner than this is reported.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a directory of secrets is like.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Whose secrets were looked for.
    pub roles: Vec<&'static str>,
    /// Each secret that was looked for.
    pub secrets: Vec<State>,
    /// All that is wrong.
    pub findings: Vec<Finding>,
}

/// One secret.
#[derive(Debug, Serialize)]
pub struct State {
    /// Its name.
    pub name: &'static str,
    /// Roles that read it.
    pub roles: Vec<&'static str>,
    /// Its kind.
    pub kind: &'static str,
    /// Whether nothing is wrong with it.
    pub ok: bool,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The secret, or `.` for the directory itself.
    pub name: String,
    /// What is wrong, in one word for machines.
    pub problem: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Checks the secrets that these roles need. One that only the operator can have is asked for when `strict`.
pub fn check(dir: &Path, roles: &[&'static Role], strict: bool) -> Checked {
    let store = Store::only(dir);
    let wanted = wanted(roles);
    let mut findings = Vec::from_iter(directory(dir));
    for spec in &wanted {
        findings.extend(of_secret(dir, &store, spec, strict));
    }
    findings.extend(relations(&store, dir));
    let states = wanted.iter().map(|spec| State {
        name: &spec.name,
        roles: catalogue().users(&spec.name).map(|role| role.name.as_str()).collect(),
        kind: spec.kind.name(),
        ok: findings.iter().all(|finding| finding.name != spec.name),
    });
    let roles = roles.iter().map(|role| role.name.as_str()).collect();
    Checked { secrets: states.collect(), ok: findings.is_empty(), roles, findings }
}

/// systemd's credentials are 0440 and Docker's secrets 0444 by design, in directories that are closed otherwise.
fn is_mounted(dir: &Path) -> bool {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    dir.starts_with("/run/secrets")
        || dir.starts_with("/run/credentials")
        || credentials.is_some_and(|mounted| dir == mounted)
}

fn directory(dir: &Path) -> Option<Finding> {
    let finding = |problem, what: &str, hint: String| Finding {
        name: ".".into(),
        problem,
        message: format!("{} {what}", dir.display()),
        hint,
    };
    let Some(access) = files::access(dir) else {
        return Some(finding(
            "missing",
            "does not exist",
            format!("make it: flowkit secrets init --dir {}", dir.display()),
        ));
    };
    let open = access.mode & 0o077 != 0 && !is_mounted(dir);
    open.then(|| {
        let what = format!("is open to others (mode {:04o})", access.mode);
        finding("open", &what, format!("chmod 700 {}", dir.display()))
    })
}

fn of_secret(dir: &Path, store: &Store, spec: &'static Spec, strict: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in spec.spellings() {
        let path = dir.join(name);
        if let Some(access) = files::access(&path).filter(|_| path.is_file() && !is_mounted(dir)) {
            findings.extend(of_access(dir, &path, spec, &access));
        }
    }
    if let Err(error) = store.get(&spec.name) {
        let missing = matches!(error, LookupError::Missing { .. });
        let later = matches!(spec.make, Make::Operator(_)) && !strict;
        if !(missing && (later || spec.optional)) {
            findings.push(of_lookup(&error));
        }
    }
    findings
}

fn of_lookup(error: &LookupError) -> Finding {
    let problem = match error {
        LookupError::Missing { .. } => "missing",
        LookupError::Empty { .. } => "empty",
        LookupError::Directory { .. } => "directory",
        LookupError::Unreadable { .. } => "unreadable",
        LookupError::Malformed { .. } => "malformed",
        LookupError::Differ { .. } => "differ",
    };
    let told = error.problem();
    Finding { name: error.name().to_string(), problem, message: told.what, hint: told.hint }
}

/// Who may read the file: its owner, who is the directory's, and nobody else.
fn of_access(dir: &Path, path: &Path, spec: &Spec, access: &Access) -> Vec<Finding> {
    let finding = |problem, what: String, hint: String| Finding {
        name: spec.name.clone(),
        problem,
        message: format!("{} {what}: {}", spec.name, path.display()),
        hint,
    };
    let mode = access.mode;
    let chmod = format!("chmod 400 {}", path.display());
    let mut findings = Vec::new();
    if mode & 0o077 != 0 {
        findings.push(finding("open", format!("can be read or changed by others (mode {mode:04o})"), chmod.clone()));
    }
    // Root reads everything; whoever runs the services does not.
    if mode & 0o400 == 0 && rustix::process::geteuid().is_root() {
        findings.push(finding("unreadable", format!("can't be read by its owner (mode {mode:04o})"), chmod));
    }
    if let Some(owner) = files::access(dir).map(|access| access.owner).filter(|owner| *owner != access.owner) {
        let what = format!("belongs to user {}, the directory to user {owner}", access.owner);
        findings.push(finding("owner", what, format!("chown {owner} {}", path.display())));
    }
    findings
}

/// What must fit together: keys, certificates, connection strings. What is missing or malformed is told elsewhere.
fn relations(store: &Store, dir: &Path) -> Vec<Finding> {
    let there = |name: &str| store.find(name).ok().filter(|found| found.place.is_file()).map(|found| found.secret);
    let derived = catalogue().secrets().filter_map(|spec| Some((spec, there(&spec.name)?)));
    derived.flat_map(|(spec, secret)| relation(spec, &secret, &there, dir)).collect()
}

fn relation(spec: &Spec, secret: &Secret, there: &dyn Fn(&str) -> Option<Secret>, dir: &Path) -> Vec<Finding> {
    let finding = |problem, message: String| Finding {
        name: spec.name.clone(),
        problem,
        message: format!("{} {message}", spec.name),
        hint: make_again(spec, dir),
    };
    match &spec.make {
        Make::PublicHalfOf(private) => {
            let other = there(private).filter(|key| !derive::is_pair(key, secret));
            other.map(|_| finding("wrong-pair", format!("does not belong to {private}"))).into_iter().collect()
        }
        Make::Template(template) => {
            let lookup = |name: &str| there(name).ok_or(LookupError::Missing { name: "", directory: None });
            let expected = derive::connection(template, &Settings::default(), &lookup).ok();
            let other = expected.filter(|expected| !derive::same_login(expected, secret));
            let sources = derive::sources(&spec.make).join(" and ");
            let message = format!("does not hold the user, password and database that follow from {sources}");
            other.map(|_| finding("disagrees", message)).into_iter().collect()
        }
        Make::CertificateFor(key) => {
            let Some(certificate) = Certificate::read(secret) else { return Vec::new() };
            let wrong = there(key).is_some_and(|key| !certificate.is_of(&key));
            let wrong = wrong.then(|| finding("wrong-pair", format!("does not belong to {key}")));
            let time = of_time(&certificate, SystemTime::now());
            wrong.into_iter().chain(time.map(|(problem, message)| finding(problem, message))).collect()
        }
        Make::Generate | Make::Fixed(_) | Make::Operator(_) => Vec::new(),
    }
}

/// A certificate is made again for the key that is there; what follows from other secrets, once it is gone.
fn make_again(spec: &Spec, dir: &Path) -> String {
    let dir = dir.display();
    let role = catalogue().owner(&spec.name).map_or("", |role| role.name.as_str());
    match &spec.make {
        Make::CertificateFor(_) => {
            format!("put the right one there, or: flowkit secrets rotate {} --dir {dir}", spec.name)
        }
        _ => format!("put the right one there, or remove it and: flowkit secrets init --dir {dir} --role {role}"),
    }
}

fn of_time(certificate: &Certificate, now: SystemTime) -> Option<(&'static str, String)> {
    let days = |time: Duration| time.as_secs() / (24 * 3600);
    if let Ok(ago) = now.duration_since(certificate.ends) {
        return Some(("expired", format!("expired {} days ago", days(ago))));
    }
    if certificate.begins > now {
        return Some(("not-yet", "is not valid yet: is this machine's clock right?".into()));
    }
    let left = certificate.ends.duration_since(now).unwrap_or_default();
    (left < SOON).then(|| ("expires", format!("expires in {} days", days(left))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_seen_in_time() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let valid = |begins, ends| of_time(&Certificate::of_times(begins, ends), now).map(|(problem, _)| problem);
        assert_eq!(valid(now - day, now + 31 * day), None);
        assert_eq!(valid(now - day, now + 29 * day), Some("expires"));
        assert_eq!(valid(now - 9 * day, now - day), Some("expired"));
        assert_eq!(valid(now + day, now + 90 * day), Some("not-yet"));
    }
}
