//! `flowkit check-config ROLE FILE`: are these settings right? For builds that make units and stacks: nothing is started
//! and nothing but the file is looked at, so the answer is the same on every machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::Failure;
use crate::roles;
use flowkit_core::catalogue::{Role, catalogue};
use flowkit_core::config::{Origin, Pools, Problem, Problems, Settings, file};
use say::tell;

/// Tell whether a role takes these settings, all that is wrong at once
///
/// FILE is a JSON object of names and values: {"FLOWDB_PORT": 9000}. Flags and numbers may be written as such or as text;
/// null counts as not given. Exit status 0: the role takes them; 2: it does not, and stderr says why.
#[derive(Args)]
pub struct CheckConfig {
    /// Role that is to read them
    role: String,
    /// File with the settings
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The most bytes of a file of settings.
const LONGEST: u64 = 1 << 20;

impl CheckConfig {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Some(role) = catalogue().role(&self.role) else {
            let Problems(unknown) = Problems(roles::unknown_roles(&[self.role]));
            return Err(Failure::mistake(Problems(unknown)));
        };
        let values = read(&self.file).map_err(Failure::mistake)?;
        let settings = check(role, values, &Origin::File(self.file)).map_err(Failure::mistake)?;
        let (pools, idle) = (Pools::of(&settings).warnings(), role.without_effect(&settings));
        settings.warnings().iter().chain(&pools).chain(&idle).for_each(|warning| tell!("warning: {warning}"));
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> Result<serde_json::Map<String, Value>, Problem> {
    let text = file::read_anyones(path, LONGEST).map_err(|error| {
        Problem::new(format!("the settings can't be read: {error}"), "give a file of JSON").origin(path.display())
    })?;
    // The parser names no value, only a place in the file.
    let hint = r#"write an object of names and values: {"NAME": "value"}"#;
    serde_json::from_slice(&text)
        .map_err(|error| Problem::new(format!("the settings are no JSON object: {error}"), hint).origin(path.display()))
}

/// The settings, if each of them is right, this role reads it, and together they make sense on a host.
fn check(role: &Role, values: serde_json::Map<String, Value>, origin: &Origin) -> Result<Settings, Problems> {
    let mut settings = Settings::default();
    let mut problems = Problems::default();
    let mut texts = Vec::new();
    for (name, value) in values {
        match value {
            Value::Null => {}
            Value::String(text) => texts.push((name, text)),
            Value::Bool(_) | Value::Number(_) => texts.push((name, value.to_string())),
            Value::Array(_) | Value::Object(_) => {
                let problem = Problem::new(format!("{name} is no single value"), "give text, a number or a flag");
                problems.0.push(problem.origin(origin));
            }
        }
    }
    problems.0.extend(texts.iter().filter_map(|(name, _)| not_read(role, name)).map(|problem| problem.origin(origin)));
    settings.take(&texts, origin, &mut problems);
    problems.0.extend(roles::check(&role.name, &settings, false));
    problems.or(settings)
}

/// A name that is right and of no use to this role: whoever wrote it meant something by it.
fn not_read(role: &Role, name: &str) -> Option<Problem> {
    let setting = catalogue().setting(name)?;
    if catalogue().settings_of(role).any(|read| read.name == setting.name) {
        return None;
    }
    let readers: Vec<&str> = catalogue().users(&setting.name).map(|role| role.name.as_str()).collect();
    let hint = format!("it belongs to {}", readers.join(", "));
    Some(Problem::new(format!("{name} is no setting that {} reads", role.name), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(role: &str, json: &str) -> Result<Settings, String> {
        let role = catalogue().role(role).unwrap();
        let origin = Origin::File("settings.json".into());
        check(role, serde_json::from_str(json).unwrap(), &origin).map_err(|problems| problems.to_string())
    }

    #[test]
    fn values_of_every_spelling_are_taken() {
        assert_eq!(checked("redis", "{}").unwrap().explicit().count(), 0);
        let json = r#"{"FLOWDB_PORT": 9001, "CACHE_HALF_LIFE": 2.5, "NO_USE_JIT": true, "CACHE_SIZE": "10GB", "MAX_CPUS": null}"#;
        let settings = checked("flowdb", json).unwrap();
        assert_eq!(settings.port("FLOWDB_PORT"), 9001);
        assert_eq!(settings.number("CACHE_HALF_LIFE"), Some(2.5));
        assert_eq!(settings.int("CACHE_SIZE"), Some(10 << 30));
        assert!(settings.flag("NO_USE_JIT"));
        assert_eq!(settings.explicit().count(), 4);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let json = r#"{"FLOWDB_PROT": 1, "REDIS_PASSWORD": "hunter2", "FLOWDB_PORT": [9000], "MAX_CPUS": 2, "MAX_WORKERS": 4,
            "CACHE_SIZE": "big", "FLOWMACHINE_LOG_LEVEL": "error"}"#;
        assert_eq!(
            checked("flowdb", json).unwrap_err(),
            "6 things are wrong\n  \
             FLOWDB_PORT is no single value (settings.json); give text, a number or a flag\n  \
             FLOWMACHINE_LOG_LEVEL is no setting that flowdb reads (settings.json); it belongs to flowmachine\n  \
             CACHE_SIZE is wrong: \"big\" (settings.json); give a size such as 512MB or 16GB, at \
             least 0\n  \
             FLOWDB_PROT is not a setting (settings.json); did you mean FLOWDB_PORT?\n  \
             REDIS_PASSWORD is a secret, not a setting (settings.json); put it into a file named REDIS_PASSWORD in the \
             secrets directory\n  \
             MAX_WORKERS is wrong: \"4\" (settings.json); at most MAX_CPUS = 2: lower the one or raise the other"
        );
    }

    #[test]
    fn what_a_role_would_refuse_to_start_with_is_refused() {
        let json = r#"{"FLOWKIT_FLOWMACHINE_LISTEN": "0.0.0.0", "FLOWMACHINE_CACHE_PRUNING_FREQUENCY": 0}"#;
        let told = checked("flowmachine", json).unwrap_err();
        assert!(told.starts_with("2 things are wrong"), "{told}");
        assert!(told.contains("reached from everywhere") && told.contains("may not be 0"), "{told}");
    }
}
