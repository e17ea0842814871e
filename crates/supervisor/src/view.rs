//! How the set looks from outside: the published status, and a line of log for each change.

use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use super::exit::Exit;
use super::log;
use super::machine::{Machine, Phase, State};
use super::service::{OnDependency, Service};
use super::set::Set;
use super::status::{ServiceState, ServiceStatus, Status};

/// What is known beside the machines.
pub struct View {
    status: Status,
    shared: Arc<Mutex<Status>>,
    /// What was wrong at the last question.
    complaints: Vec<Option<String>>,
    summary: String,
}

impl View {
    pub fn new(services: &[Service], mut status: Status) -> View {
        status.services = services
            .iter()
            .map(|service| ServiceStatus {
                name: service.name.clone(),
                state: ServiceState::Waiting,
                pid: None,
                since: status.since.clone(),
                follows: match service.on_dependency {
                    OnDependency::Restart => service.needs.clone(),
                    OnDependency::Keep => Vec::new(),
                },
                restarts: 0,
                address: service.address.clone(),
                message: None,
                last_exit: None,
            })
            .collect();
        let shared = Arc::new(Mutex::new(status.clone()));
        View { status, shared, complaints: vec![None; services.len()], summary: String::new() }
    }

    /// What the control socket answers from.
    pub fn shared(&self) -> Arc<Mutex<Status>> {
        self.shared.clone()
    }

    /// One line for systemd's STATUS.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// A probe's answer.
    pub fn answered(&mut self, i: usize, answer: &Result<(), String>) {
        self.complaints[i] = answer.as_ref().err().map(|text| first_line(text));
    }

    /// A service's first process ended.
    pub fn ended(&mut self, i: usize, exit: &Exit) {
        self.status.services[i].last_exit = Some(exit.to_string());
        self.complaints[i] = None;
    }

    /// Brings the published status up to date and says what changed.
    pub fn publish(&mut self, set: &Set, pids: &[Option<u32>]) {
        let mut changed = false;
        let mut lines = Vec::new();
        for (i, pid) in pids.iter().enumerate() {
            let before = self.status.services[i].clone();
            let now = self.look(set, i, *pid);
            if now.state != before.state || now.pid != before.pid {
                lines.push((is_consequence(now.state), line(&now, set.machine(i))));
            }
            changed |= now != before;
            self.status.services[i] = now;
        }
        // What one event caused is told in the order of cause and consequence.
        lines.sort_by_key(|(consequence, _)| *consequence);
        lines.iter().for_each(|(_, line)| tracing::info!("{line}"));
        let (ready, stopping) = (set.all_ready(), set.is_stopping());
        changed |= (ready, stopping) != (self.status.ready, self.status.stopping);
        if ready && !self.status.ready {
            tracing::info!("everything is ready");
        }
        self.status.ready = ready;
        self.status.stopping = stopping;
        if changed || self.summary.is_empty() {
            self.summary = summary(&self.status);
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.status);
        }
    }

    fn look(&self, set: &Set, i: usize, pid: Option<u32>) -> ServiceStatus {
        let machine = set.machine(i);
        let mut service = self.status.services[i].clone();
        let state = state(machine);
        if state != service.state {
            service.since = log::stamp(OffsetDateTime::now_utc());
        }
        service.message = match state {
            ServiceState::Waiting => Some(format!("for {}", set.missing(i).collect::<Vec<_>>().join(", "))),
            ServiceState::BackingOff => Some(format!("again within {:.1?}", machine.delay())),
            ServiceState::Starting if machine.is_unanswered() => {
                Some("the question whether it is ready is not answered".into())
            }
            ServiceState::Starting | ServiceState::Ready => self.complaints[i].clone(),
            _ => None,
        };
        service.state = state;
        service.pid = pid;
        service.restarts = machine.restarts();
        service
    }
}

fn state(machine: &Machine) -> ServiceState {
    match machine.state() {
        State::Waiting { .. } => ServiceState::Waiting,
        State::Delayed { .. } => ServiceState::BackingOff,
        State::Running(running) if matches!(running.phase, Phase::Before(_)) => ServiceState::Preparing,
        State::Running(running) if running.ready => ServiceState::Ready,
        State::Running(_) => ServiceState::Starting,
        State::Ending(_) => ServiceState::Stopping,
        State::Finished => ServiceState::Finished,
        State::Stopped => ServiceState::Stopped,
        State::Failed => ServiceState::Failed,
    }
}

/// Whether a service came there because of another, where both changed at once.
fn is_consequence(state: ServiceState) -> bool {
    use ServiceState::{BackingOff, Failed, Finished, Preparing, Ready, Starting, Stopped, Stopping, Waiting};
    match state {
        Ready | Finished | Stopped | Failed | BackingOff => false,
        Waiting | Preparing | Starting | Stopping => true,
    }
}

fn line(service: &ServiceStatus, machine: &Machine) -> String {
    let mut text = format!("{}: {}", service.name, service.state);
    if let Some(pid) = service.pid {
        text.push_str(&format!(" (process {pid})"));
    }
    if let Some(message) = &service.message {
        text.push_str(&format!(" {message}"));
    }
    if let (ServiceState::BackingOff | ServiceState::Failed | ServiceState::Waiting, Some(exit)) =
        (service.state, &service.last_exit)
    {
        text.push_str(&format!("; last: {exit}"));
        if machine.deaths() > 0 {
            text.push_str(&format!(", death {} of {}", machine.deaths(), machine.policy().restart.limit));
        }
    }
    text
}

fn summary(status: &Status) -> String {
    let all = status.services.len();
    let is_up = |service: &&ServiceStatus| matches!(service.state, ServiceState::Ready | ServiceState::Finished);
    let others: Vec<String> = status
        .services
        .iter()
        .filter(|service| !is_up(service))
        .map(|service| format!("{} {}", service.name, service.state))
        .collect();
    match (status.stopping, others.is_empty()) {
        (true, _) => format!("stopping: {}", others.join(", ")),
        (false, true) => format!("{all} of {all} ready"),
        (false, false) => format!("{} of {all} ready; {}", all - others.len(), others.join(", ")),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
