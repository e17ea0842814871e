//! The services of a deployed stack: what runs, how it goes, and what it was given.

use serde::Deserialize;

use super::engine::{Docker, Error};

/// Where Docker notes to which stack something belongs.
const STACK: &str = "com.docker.stack.namespace";

/// A service of a stack and how it is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its name in the swarm, `STACK_ROLE`.
    pub service: String,
    /// Its tasks that should run, in words: `running`, `starting`, `no suitable node (...)`.
    pub state: String,
    /// Whether it is healthy, and nothing is being changed about it.
    pub ready: bool,
    /// What went wrong with tasks that have ended, by their ids, the newest first. Swarm remembers five.
    pub failures: Vec<(String, String)>,
}

/// One secret of a service, as the engine tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Held {
    /// Its name in the swarm.
    pub secret_name: String,
    /// The file that it is.
    pub file: HeldFile,
}

/// The file of a secret in a container.
#[derive(Debug, Deserialize)]
pub struct HeldFile {
    /// Its name below `/run/secrets`.
    #[serde(rename = "Name")]
    pub name: String,
    /// Its owner.
    #[serde(rename = "UID")]
    pub uid: String,
    /// Its group.
    #[serde(rename = "GID")]
    pub gid: String,
    /// Its permission bits.
    #[serde(rename = "Mode")]
    pub mode: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(rename = "ID")]
    id: String,
    current_state: String,
    desired_state: String,
    #[serde(default)]
    error: String,
}

/// The names of a stack's services.
///
/// # Errors
/// The engine's.
pub fn of_stack(docker: &Docker, stack: &str) -> Result<Vec<String>, Error> {
    let filter = format!("label={STACK}={stack}");
    let mut names = docker.lines(&["service", "ls", "--filter", &filter, "--format", "{{.Name}}"])?;
    names.sort();
    Ok(names)
}

/// How a service is doing.
///
/// # Errors
/// The engine's.
pub fn progress(docker: &Docker, service: &str) -> Result<Progress, Error> {
    let lines = docker.lines(&["service", "ps", "--no-trunc", "--format", "{{json .}}", service])?;
    let tasks = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
    let format = "{{if .UpdateStatus}}{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}{{end}}";
    let update = docker.ask(&["service", "inspect", "--format", format, service])?;
    Ok(judged(service, &tasks.collect::<Vec<Task>>(), update.trim()))
}

/// What tasks and an update say about a service. Swarm calls a task running when its container is healthy.
fn judged(service: &str, tasks: &[Task], update: &str) -> Progress {
    let wanted: Vec<&Task> = tasks.iter().filter(|task| task.desired_state == "Running").collect();
    let running = !wanted.is_empty() && wanted.iter().all(|task| task.current_state.starts_with("Running"));
    let changing = update.starts_with("updating") || update.starts_with("rollback_started");
    let mut states: Vec<String> = wanted.iter().map(|task| told(task)).collect();
    states.dedup();
    let mut state = if states.is_empty() { "waiting for a task".to_owned() } else { states.join(", ") };
    // A rollback is news even when what was there before runs again.
    if changing || update.starts_with("rollback") || update.starts_with("paused") {
        state = format!("{state} ({update})");
    }
    let ended = tasks.iter().filter(|task| !task.error.is_empty() && task.desired_state != "Running");
    let failures = ended.map(|task| (task.id.clone(), task.error.clone())).collect();
    Progress { service: service.to_owned(), state, ready: running && !changing, failures }
}

/// `Preparing 3 seconds ago` without the time, which changes at every look.
fn told(task: &Task) -> String {
    let state = task.current_state.split_whitespace().next().unwrap_or("unknown").to_lowercase();
    if task.error.is_empty() { state } else { format!("{state}: {}", task.error) }
}

/// The secrets that a service was given.
///
/// # Errors
/// The engine's.
pub fn secrets(docker: &Docker, service: &str) -> Result<Vec<Held>, Error> {
    let format = "{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}";
    Ok(docker.json::<Option<Vec<Held>>>(&["service", "inspect", "--format", format, service])?.unwrap_or_default())
}

/// The settings that a service was given.
///
/// # Errors
/// The engine's.
pub fn environment(docker: &Docker, service: &str) -> Result<Vec<(String, String)>, Error> {
    let format = "{{json .Spec.TaskTemplate.ContainerSpec.Env}}";
    let env: Option<Vec<String>> = docker.json(&["service", "inspect", "--format", format, service])?;
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(env.unwrap_or_default().iter().filter_map(pair).collect())
}

/// The image of a service.
///
/// # Errors
/// The engine's.
pub fn image(docker: &Docker, service: &str) -> Result<String, Error> {
    let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
    Ok(docker.ask(&["service", "inspect", "--format", format, service])?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(desired: &str, current: &str, error: &str) -> Task {
        Task { id: "t".into(), current_state: current.into(), desired_state: desired.into(), error: error.into() }
    }

    #[test]
    fn a_service_is_ready_when_its_task_is_healthy() {
        let ready = |tasks: &[Task], update| judged("s", tasks, update).ready;
        assert!(ready(&[task("Running", "Running 3 seconds ago", "")], ""));
        assert!(ready(&[task("Running", "Running 3 seconds ago", "")], "completed: update completed"));
        assert!(!ready(&[task("Running", "Running 3 seconds ago", "")], "updating: update in progress"));
        assert!(!ready(&[task("Running", "Starting 3 seconds ago", "")], ""));
        assert!(!ready(&[task("Shutdown", "Failed 3 seconds ago", "x")], ""));
        assert!(!ready(&[], ""));
    }

    #[test]
    fn what_went_wrong_is_told() {
        let tasks = [
            task("Running", "Pending 2 seconds ago", "no suitable node"),
            task("Shutdown", "Failed 9 seconds ago", "task: non-zero exit (2)"),
        ];
        let progress = judged("s", &tasks, "");
        assert_eq!(progress.state, "pending: no suitable node");
        assert_eq!(progress.failures, [("t".to_owned(), "task: non-zero exit (2)".to_owned())]);
        let back =
            judged("s", &[task("Running", "Running 1 second ago", "")], "rollback_completed: rollback completed");
        assert_eq!(back.state, "running (rollback_completed: rollback completed)");
    }
}
