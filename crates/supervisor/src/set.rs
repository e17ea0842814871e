//! All services together, still without clock or process: who may start, who must stop first, and when it is over.

use std::collections::HashSet;
use std::time::Duration;

use super::error::Error;
use super::exit::Exit;
use super::machine::{Action, Event, Limit, Machine, Policy, State, Time};
use super::service::{OnDependency, Service};

/// After a second request to stop, everything has this long.
const HURRIED: Duration = Duration::from_secs(2);

/// Shares of the stop budget never add up to more than this part of it: the rest is for those that stop first.
const RESERVED: f64 = 0.6;

/// What the set is there for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    Run,
    Stop { until: Time, asked: u32 },
}

/// All services together.
pub struct Set {
    machines: Vec<Machine>,
    names: Vec<String>,
    needs: Vec<Vec<usize>>,
    users: Vec<Vec<usize>>,
    /// For each service the instances of its needs with which it was started.
    with: Vec<Vec<u64>>,
    goal: Goal,
    gave_up: Option<(usize, Exit)>,
    budget: Duration,
    chance: Box<dyn FnMut() -> u64 + Send>,
}

impl Set {
    /// Checks names and dependencies: unique, known, without a circle.
    pub fn new(services: &[Service], budget: Duration, chance: Box<dyn FnMut() -> u64 + Send>) -> Result<Set, Error> {
        let names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
        let mut needs = Vec::new();
        for (i, service) in services.iter().enumerate() {
            if names[..i].contains(&service.name) {
                return Err(Error::Services(format!("there are two named {}", service.name)));
            }
            let place = |need: &String| {
                let missing = || Error::Services(format!("{} needs {need}, which is not in the set", service.name));
                names.iter().position(|name| name == need).ok_or_else(missing)
            };
            needs.push(service.needs.iter().map(place).collect::<Result<Vec<_>, _>>()?);
        }
        if let Some(i) = (0..names.len()).find(|i| reaches(&needs, *i, *i, &mut HashSet::new())) {
            return Err(Error::Services(format!("{} needs itself, through others or directly", names[i])));
        }
        let users = (0..names.len()).map(|i| (0..names.len()).filter(|j| needs[*j].contains(&i)).collect()).collect();
        Ok(Set {
            machines: services.iter().map(|service| Machine::new(Policy::from(service))).collect(),
            with: vec![Vec::new(); names.len()],
            names,
            needs,
            users,
            goal: Goal::Run,
            gave_up: None,
            budget,
            chance,
        })
    }

    pub fn machine(&self, i: usize) -> &Machine {
        &self.machines[i]
    }

    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// The needs of a service that are not ready.
    pub fn missing(&self, i: usize) -> impl Iterator<Item = &str> {
        self.needs[i].iter().filter(|need| !self.machines[**need].is_ready()).map(|need| self.names[*need].as_str())
    }

    /// Whether everything that should answer does.
    pub fn all_ready(&self) -> bool {
        self.goal == Goal::Run && self.machines.iter().all(Machine::is_ready)
    }

    pub fn is_stopping(&self) -> bool {
        self.goal != Goal::Run
    }

    /// The moment by which everything must be down.
    pub fn stop_deadline(&self) -> Option<Time> {
        match self.goal {
            Goal::Run => None,
            Goal::Stop { until, .. } => Some(until),
        }
    }

    /// The service that could not be kept up, and its last end.
    pub fn gave_up(&self) -> Option<&(usize, Exit)> {
        self.gave_up.as_ref()
    }

    /// Nothing runs and nothing will.
    pub fn is_over(&self) -> bool {
        let finished = |machine: &Machine| *machine.state() == State::Finished;
        match self.goal {
            Goal::Run => self.machines.iter().all(finished),
            Goal::Stop { .. } => self.machines.iter().all(Machine::is_down),
        }
    }

    /// When [`Event::Tick`] is due for some service.
    pub fn deadline(&self) -> Option<Time> {
        self.machines.iter().filter_map(Machine::deadline).min()
    }

    /// Starts what can be started: the first call sets everything going.
    pub fn begin(&mut self, now: Time) -> Vec<(usize, Action)> {
        let mut out = Vec::new();
        self.settle(now, &mut out);
        out
    }

    /// Tells one service something; returns what is to be done for it and others.
    pub fn tell(&mut self, i: usize, event: Event, now: Time) -> Vec<(usize, Action)> {
        let mut out = Vec::new();
        if self.goal == Goal::Run || !matches!(event, Event::Start | Event::Restart) {
            self.pass(i, event, now, &mut out);
        }
        self.settle(now, &mut out);
        out
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) -> Vec<(usize, Action)> {
        let mut out = Vec::new();
        for i in 0..self.machines.len() {
            if self.machines[i].deadline().is_some_and(|at| now >= at) {
                self.pass(i, Event::Tick, now, &mut out);
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// A request to stop everything. The first gives the whole budget, the second shortens it, the third kills.
    pub fn stop(&mut self, now: Time) -> Vec<(usize, Action)> {
        let mut out = Vec::new();
        let asked = match self.goal {
            Goal::Run => {
                self.begin_stop(now, 1);
                1
            }
            Goal::Stop { until, asked } => {
                let until = until.min(now + HURRIED);
                self.goal = Goal::Stop { until, asked: asked + 1 };
                self.share(now, until);
                asked + 1
            }
        };
        if asked > 2 {
            for i in 0..self.machines.len() {
                self.pass(i, Event::Kill, now, &mut out);
            }
        }
        self.settle(now, &mut out);
        out
    }

    fn begin_stop(&mut self, now: Time, asked: u32) {
        let until = now + self.budget;
        self.goal = Goal::Stop { until, asked };
        self.share(now, until);
    }

    fn pass(&mut self, i: usize, event: Event, now: Time, out: &mut Vec<(usize, Action)>) {
        let mut actions = Vec::new();
        let chance = (self.chance)();
        self.machines[i].handle(event, now, chance, &mut actions);
        for action in actions {
            if let Action::GiveUp(exit) = &action {
                self.gave_up.get_or_insert((i, exit.clone()));
                // Nobody has asked yet: the next request is the first.
                if self.goal == Goal::Run {
                    self.begin_stop(now, 0);
                }
            }
            out.push((i, action));
        }
    }

    /// Draws the consequences of the last events until there are none.
    fn settle(&mut self, now: Time, out: &mut Vec<(usize, Action)>) {
        loop {
            let moves: Vec<(usize, Event)> =
                (0..self.machines.len()).filter_map(|i| Some((i, self.next(i)?))).collect();
            if moves.is_empty() {
                return;
            }
            for (i, event) in moves {
                if let Event::Start = event {
                    self.with[i] = self.needs[i].iter().map(|need| self.machines[*need].instance()).collect();
                }
                self.pass(i, event, now, out);
            }
        }
    }

    /// What a service must be told because of the others.
    fn next(&self, i: usize) -> Option<Event> {
        let machine = &self.machines[i];
        let stopping = self.goal != Goal::Run;
        match machine.state() {
            State::Waiting { .. } | State::Delayed { .. } if stopping => Some(Event::Stop),
            State::Waiting { .. } => self.needs[i].iter().all(|n| self.machines[*n].is_ready()).then_some(Event::Start),
            State::Running(_) if stopping => {
                self.users[i].iter().all(|user| self.machines[*user].is_down()).then_some(Event::Stop)
            }
            State::Running(_) | State::Finished if !stopping => {
                let lost =
                    || self.needs[i].iter().zip(&self.with[i]).any(|(need, with)| !self.machines[*need].has(*with));
                (machine.policy().on_dependency == OnDependency::Restart && lost()).then_some(Event::DependencyLost)
            }
            _ => None,
        }
    }

    /// Gives each service its share of the time until `until`.
    ///
    /// What a service's dependencies will need after it is kept back for them: for each its last stop step (PostgreSQL's
    /// immediate shutdown) and as much again for the one before. Where that is more than [`RESERVED`] of the whole, all
    /// shares shrink alike.
    fn share(&mut self, now: Time, until: Time) {
        let whole = until.saturating_sub(now);
        // A twentieth is left for the last SIGKILL to do its work.
        let end = until.saturating_sub((whole / 20).min(Duration::from_millis(300)));
        let longest = (0..self.machines.len()).map(|i| self.after(i) + self.need(i)).max().unwrap_or_default();
        let scale = if longest.is_zero() {
            1.0
        } else {
            (whole.mul_f64(RESERVED).as_secs_f64() / longest.as_secs_f64()).min(1.0)
        };
        for i in 0..self.machines.len() {
            let kill = end.saturating_sub(self.after(i).mul_f64(scale)).max(now);
            let last_step = kill.saturating_sub(self.last(i).mul_f64(scale)).max(now);
            self.machines[i].set_limit(Limit { last_step, kill });
        }
    }

    /// Time that must remain after a service is down, for those that it needs.
    fn after(&self, i: usize) -> Duration {
        self.needs[i].iter().map(|need| self.need(*need) + self.after(*need)).max().unwrap_or_default()
    }

    fn need(&self, i: usize) -> Duration {
        match (self.machines[i].is_down(), self.machines[i].policy().stop.len()) {
            (true, _) | (_, 0) => Duration::ZERO,
            (_, 1) => self.last(i).min(Duration::from_secs(1)),
            _ => self.last(i) * 2,
        }
    }

    fn last(&self, i: usize) -> Duration {
        self.machines[i].policy().stop.last().map_or(Duration::ZERO, |step| step.patience)
    }
}

fn reaches(needs: &[Vec<usize>], from: usize, to: usize, seen: &mut HashSet<usize>) -> bool {
    needs[from].iter().any(|next| *next == to || (seen.insert(*next) && reaches(needs, *next, to, seen)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Command, Kind, Restart, StopStep};

    const SECOND: Duration = Duration::from_secs(1);

    fn service(name: &str, needs: &[&str], stop: &[(i32, u64)]) -> Service {
        let command = Command {
            program: "/x".into(),
            args: vec![],
            env: Default::default(),
            dir: "/".into(),
            user: None,
            confinement: None,
        };
        Service {
            name: name.into(),
            kind: Kind::Daemon,
            before: vec![],
            command,
            needs: needs.iter().map(|need| need.to_string()).collect(),
            on_dependency: OnDependency::Keep,
            ready: None,
            alive: None,
            stop: stop
                .iter()
                .map(|(signal, s)| StopStep { signal: *signal, patience: Duration::from_secs(*s) })
                .collect(),
            restart: Restart::default(),
            success: vec![0],
            hopeless: vec![],
            address: None,
            oom_score_adj: None,
            open_files: 64,
            memory: None,
        }
    }

    /// A database as PostgreSQL is stopped, a server that needs it; nobody reacts to any signal. When each signal is sent,
    /// in milliseconds after the request.
    fn signals(budget: Duration) -> Vec<(u128, usize, Action)> {
        let services = [service("db", &[], &[(2, 60), (3, 5)]), service("server", &["db"], &[(15, 10)])];
        let mut set = Set::new(&services, budget, Box::new(|| 0)).expect("a sound set");
        let begin = 100 * SECOND;
        set.begin(begin);
        set.tell(0, Event::Reached, begin);
        set.tell(1, Event::Reached, begin);
        let mut all = Vec::new();
        let (mut now, mut actions) = (begin, set.stop(begin));
        while !set.is_over() {
            for (i, action) in actions {
                all.push(((now - begin).as_millis(), i, action.clone()));
                if action == Action::KillAll {
                    let exit = Exit::Signal(9);
                    let more = set.tell(i, Event::Exited { exit, left: false }, now);
                    all.extend(more.into_iter().map(|(i, action)| ((now - begin).as_millis(), i, action)));
                }
            }
            now = set.deadline().unwrap_or(now);
            actions = set.tick(now);
        }
        all
    }

    #[test]
    fn the_budget_leaves_a_database_time_for_both_of_its_signals() {
        let expected = |server, last, kill| {
            vec![
                (0, 1, Action::Signal(15)),
                (server, 1, Action::KillAll),
                (server, 0, Action::Signal(2)),
                (last, 0, Action::Signal(3)),
                (kill, 0, Action::KillAll),
            ]
        };
        assert_eq!(signals(8 * SECOND), expected(3336, 5518, 7700));
        assert_eq!(signals(3 * SECOND), expected(1213, 2031, 2850));
        // With time enough, the database's last signal has the patience that it asks for.
        assert_eq!(signals(120 * SECOND), expected(10_000, 70_000, 75_000));
    }
}
