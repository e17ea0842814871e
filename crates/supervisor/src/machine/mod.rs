//! One service's life as a pure state machine: no clock, no process, no randomness of its own.
//!
//! Time and chance come in with each event, what is to be done goes out as [`Action`]s. `set.rs` holds the machines of
//! all services together; `engine.rs` acts. A process that was asked for is followed by exactly one [`Event::Exited`], and
//! when that said that descendants are left, by one [`Event::Emptied`].

mod deaths;
mod probing;
#[cfg(test)]
mod tests;
mod types;

use std::time::Duration;

use super::exit::Exit;
use super::service::Kind;
use deaths::{Deaths, fraction};
pub use probing::Asked;
use probing::Probing;
use types::Then;
pub use types::{Action, Ending, Event, Limit, Phase, Policy, Running, State};

/// A point on the monotonic clock.
pub type Time = Duration;

/// How soon SIGKILL is repeated while something is left: a fork may have escaped the last round.
const AGAIN: Duration = Duration::from_millis(20);

/// What an orderly end leaves behind has this much of the rest of the patience. Nobody has told these processes to end.
const LEFTOVERS: Duration = Duration::from_secs(2);

/// Upper bound of the wait before a start that a dependency's return has caused, so that its dependents don't all come
/// at once.
const SPREAD: Duration = Duration::from_millis(100);

/// One service's life.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    state: State,
    instance: u64,
    restarts: u64,
    deaths: Deaths,
    limit: Option<Limit>,
    /// A question is open, perhaps one to an earlier instance: there is never a second one.
    asking: bool,
}

impl Machine {
    /// A service that waits for its dependencies.
    pub fn new(policy: Policy) -> Machine {
        Machine {
            policy,
            state: State::Waiting { spread: false },
            instance: 0,
            restarts: 0,
            deaths: Deaths::default(),
            limit: None,
            asking: false,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Counts starts: what was true of one instance says nothing of the next.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Starts after the first.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Early deaths that count towards the limit.
    pub fn deaths(&self) -> usize {
        self.deaths.recent()
    }

    /// The delay that the last death caused.
    pub fn delay(&self) -> Duration {
        self.deaths.delay()
    }

    /// Whether what needs it may start.
    pub fn is_ready(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.ready) || self.state == State::Finished
    }

    /// Whether this instance is still there: ready or not, but not gone.
    pub fn has(&self, instance: u64) -> bool {
        self.instance == instance && matches!(self.state, State::Running(_) | State::Finished)
    }

    /// Whether no process of it exists.
    pub fn is_down(&self) -> bool {
        !matches!(self.state, State::Running(_) | State::Ending(_))
    }

    /// Whether its first process is gone and others are not.
    pub fn is_clearing(&self) -> bool {
        matches!(&self.state, State::Ending(ending) if !ending.main)
    }

    /// Whether a question has had no answer for longer than its patience.
    pub fn is_unanswered(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.probing.is_stuck())
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Delayed { until } => Some(*until),
            State::Running(running) => running.probing.deadline(self.asking),
            State::Ending(ending) => Some(ending.until),
            _ => None,
        }
    }

    /// Sets the time in which it must be down; takes effect on an end that has begun, too.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = Some(limit);
        let last = self.policy.stop.len().saturating_sub(1);
        if let State::Ending(ending) = &mut self.state
            && !ending.killed
        {
            ending.until =
                ending.until.min(if ending.step < last && ending.main { limit.last_step } else { limit.kill });
        }
    }

    /// The only way in. `chance` is any random number.
    pub fn handle(&mut self, event: Event, now: Time, chance: u64, out: &mut Vec<Action>) {
        match event {
            Event::Start => self.start(now, chance, out),
            Event::DependencyLost => self.dependency_lost(now, out),
            Event::Restart => self.restart(now, out),
            Event::Stop => self.stop(now, out),
            Event::Reached => self.reached(now),
            Event::Exited { exit, left } => self.exited(exit, left, now, chance, out),
            Event::Emptied => self.emptied(now, out),
            Event::Answered { instance, ok } => self.answered(instance, ok, now, out),
            Event::Tick => self.tick(now, out),
            Event::Kill => self.kill(now, out),
        }
    }

    fn start(&mut self, now: Time, chance: u64, out: &mut Vec<Action>) {
        match self.state {
            State::Waiting { spread: true } => {
                self.state = State::Delayed { until: now + fraction(SPREAD, chance) };
            }
            State::Waiting { spread: false } => {
                self.restarts += u64::from(self.instance > 0);
                self.instance += 1;
                self.run(if self.policy.before > 0 { Phase::Before(0) } else { Phase::Main }, out);
            }
            _ => {}
        }
    }

    fn run(&mut self, phase: Phase, out: &mut Vec<Action>) {
        self.state = State::Running(Running {
            phase,
            reached: false,
            ready: false,
            ready_since: None,
            probing: Probing::idle(),
        });
        out.push(Action::Spawn(phase));
    }

    fn reached(&mut self, now: Time) {
        let policy = &self.policy;
        let State::Running(running) = &mut self.state else { return };
        if running.phase == Phase::Main && policy.kind == Kind::Daemon && !running.reached {
            running.reached = true;
            running.probing = Probing::begin(now, policy.probed, policy.alive);
            if !policy.probed {
                running.ready = true;
                running.ready_since = Some(now);
                running.probing.became_ready(now);
            }
        }
    }

    fn dependency_lost(&mut self, now: Time, out: &mut Vec<Action>) {
        match self.state {
            State::Running(_) => self.end(Then::Start { spread: true }, now, out),
            State::Finished => self.state = State::Waiting { spread: true },
            _ => {}
        }
    }

    fn restart(&mut self, now: Time, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Running(_) => self.end(Then::Start { spread: false }, now, out),
            State::Ending(ending) => ending.then = Then::Start { spread: false },
            _ => self.state = State::Waiting { spread: false },
        }
    }

    fn stop(&mut self, now: Time, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Running(_) => self.end(Then::Stop, now, out),
            State::Ending(Ending { then: Then::Fail, .. }) => {}
            State::Ending(ending) => ending.then = Then::Stop,
            State::Waiting { .. } | State::Delayed { .. } => self.state = State::Stopped,
            State::Finished | State::Stopped | State::Failed => {}
        }
    }

    /// Begins the stop sequence.
    fn end(&mut self, then: Then, now: Time, out: &mut Vec<Action>) {
        self.state = State::Ending(Ending { then, step: 0, until: now, main: true, killed: false });
        match self.policy.stop.first() {
            Some(first) => {
                out.push(Action::Signal(first.signal));
                self.set_patience(now);
            }
            None => self.kill(now, out),
        }
    }

    fn set_patience(&mut self, now: Time) {
        let State::Ending(ending) = &mut self.state else { return };
        let last = ending.step + 1 >= self.policy.stop.len();
        let natural = self.policy.stop.get(ending.step).map_or(now, |step| now + step.patience);
        ending.until = match self.limit {
            Some(limit) => natural.min(if last { limit.kill } else { limit.last_step }),
            None => natural,
        };
    }

    fn kill(&mut self, now: Time, out: &mut Vec<Action>) {
        if let State::Running(_) = self.state {
            self.state = State::Ending(Ending { then: Then::Stop, step: 0, until: now, main: true, killed: true });
        }
        if let State::Ending(ending) = &mut self.state {
            ending.killed = true;
            ending.until = now + AGAIN;
            out.push(Action::KillAll);
        }
    }

    fn exited(&mut self, exit: Exit, left: bool, now: Time, chance: u64, out: &mut Vec<Action>) {
        let (then, planned) = match &self.state {
            State::Running(running) => (self.after_exit(running.clone(), &exit, now, chance), false),
            State::Ending(ending) if ending.then == Then::Dead => (self.died(None, &exit, now, chance), false),
            State::Ending(ending) => (ending.then, true),
            _ => return,
        };
        if then == Then::Fail && !planned {
            out.push(Action::GiveUp(exit));
        }
        match &mut self.state {
            // Its end was asked for: what it leaves behind may go on ending by itself, for a while.
            State::Ending(ending) if planned => {
                ending.main = false;
                ending.until = ending.until.min(now + LEFTOVERS);
            }
            state => {
                *state = State::Ending(Ending { then, step: 0, until: now + AGAIN, main: false, killed: left });
                if left {
                    out.push(Action::KillAll);
                }
            }
        }
        if !left {
            self.emptied(now, out);
        }
    }

    /// What follows the end of a process that nobody had asked to end.
    fn after_exit(&mut self, running: Running, exit: &Exit, now: Time, chance: u64) -> Then {
        match (running.phase, exit) {
            (Phase::Before(step), Exit::Code(0)) if step + 1 < self.policy.before => {
                Then::Next(Phase::Before(step + 1))
            }
            (Phase::Before(_), Exit::Code(0)) => Then::Next(Phase::Main),
            (Phase::Main, Exit::Code(code)) if self.is_task() && self.policy.success.contains(code) => {
                self.deaths.end_streak();
                Then::Finish
            }
            _ => self.died(running.ready_since, exit, now, chance),
        }
    }

    fn is_task(&self) -> bool {
        self.policy.kind == Kind::Task
    }

    /// Counts a death and decides between another try and none.
    fn died(&mut self, ready_since: Option<Time>, exit: &Exit, now: Time, chance: u64) -> Then {
        let restart = &self.policy.restart;
        let stable = ready_since.is_some_and(|since| now.saturating_sub(since) >= restart.reset_after);
        let hopeless = matches!(exit, Exit::Code(code) if self.policy.hopeless.contains(code));
        if hopeless || exit.is_permanent() || restart.limit == 0 {
            return Then::Fail;
        }
        self.deaths.count(restart, stable, now, chance).map_or(Then::Fail, Then::Delay)
    }

    fn emptied(&mut self, now: Time, out: &mut Vec<Action>) {
        let State::Ending(ending) = &self.state else { return };
        if ending.main {
            return;
        }
        self.state = match ending.then {
            Then::Stop => State::Stopped,
            // Everything has been asked to stop meanwhile.
            Then::Next(_) if self.limit.is_some() => State::Stopped,
            Then::Fail => State::Failed,
            Then::Finish => State::Finished,
            Then::Start { spread } => State::Waiting { spread },
            Then::Delay(Duration::ZERO) | Then::Dead => State::Waiting { spread: false },
            Then::Delay(delay) => State::Delayed { until: now + delay },
            Then::Next(phase) => return self.run(phase, out),
        };
    }

    fn answered(&mut self, instance: u64, ok: bool, now: Time, out: &mut Vec<Action>) {
        self.asking = false;
        if instance != self.instance {
            return;
        }
        if let State::Running(running) = &mut self.state {
            let asked = running.probing.answered(now);
            self.judge(asked, ok, now, out);
        }
    }

    /// Draws the consequence of an answer, or of none in time.
    fn judge(&mut self, asked: Option<Asked>, ok: bool, now: Time, out: &mut Vec<Action>) {
        let State::Running(running) = &mut self.state else { return };
        match asked {
            Some(Asked::Ready) if ok && !running.ready => {
                running.ready = true;
                running.ready_since.get_or_insert(now);
                running.probing.became_ready(now);
            }
            Some(Asked::Ready) if !ok && running.ready => {
                running.ready = false;
                running.probing.became_unready(now);
            }
            // While everything stops, each service keeps its turn.
            Some(Asked::Alive) if self.limit.is_none() && running.probing.alive_answer(ok) => {
                let since = running.ready_since;
                self.end(Then::Dead, now, out);
                // A service that hung after a long good life is not punished for it.
                if since.is_some_and(|since| now.saturating_sub(since) >= self.policy.restart.reset_after)
                    && let State::Ending(ending) = &mut self.state
                {
                    self.deaths.end_streak();
                    ending.then = Then::Delay(Duration::ZERO);
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Delayed { until } if now >= *until => self.state = State::Waiting { spread: false },
            State::Running(running) => {
                if let Some(asked) = running.probing.overdue(now) {
                    self.judge(Some(asked), false, now, out);
                }
                self.ask(now, out);
            }
            State::Ending(ending) if now >= ending.until => {
                if !ending.killed && ending.main && ending.step + 1 < self.policy.stop.len() {
                    ending.step += 1;
                    out.push(Action::Signal(self.policy.stop[ending.step].signal));
                    self.set_patience(now);
                } else {
                    self.kill(now, out);
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, now: Time, out: &mut Vec<Action>) {
        if let State::Running(running) = &mut self.state
            && !self.asking
            && let Some((asked, patience)) = running.probing.ask(now, running.ready)
        {
            self.asking = true;
            out.push(Action::Ask { asked, instance: self.instance, patience });
        }
    }
}
