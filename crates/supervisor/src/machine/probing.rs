//! When a service is asked whether it is ready, and whether it is alive: part of the pure state machine.

use std::time::Duration;

use super::Time;

/// Between two questions while a service starts: an eighth of the time that it has taken, within these bounds. Waiting for
/// it then costs at most an eighth on top; doubling the wait would cost up to as much again.
const FASTEST: Duration = Duration::from_millis(10);
const SLOWEST: Duration = Duration::from_secs(1);
const PART: u32 = 8;
/// Between questions to a service that is ready.
const STEADY: Duration = Duration::from_secs(10);
/// Longest wait for an answer about readiness.
const PATIENCE: Duration = Duration::from_secs(5);
/// A probe keeps its own patience; past this on top it is taken for stuck.
const GRACE: Duration = Duration::from_secs(1);

/// Which question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Do you answer?
    Ready,
    /// Must you be restarted?
    Alive,
}

/// The questions to one instance of a service: at most one is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Probing {
    ready_at: Option<Time>,
    alive_at: Option<Time>,
    /// Since when readiness is waited for.
    began: Time,
    alive: Option<(Duration, Duration, u32)>,
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Debug, PartialEq)]
struct Open {
    asked: Asked,
    until: Time,
    /// Counted as a failure already; its answer will not count.
    stuck: bool,
}

impl Probing {
    /// No questions.
    pub fn idle() -> Probing {
        Probing { ready_at: None, alive_at: None, began: Time::ZERO, alive: None, failures: 0, open: None }
    }

    /// The program was just reached.
    pub fn begin(now: Time, ready: bool, alive: Option<(Duration, Duration, u32)>) -> Probing {
        Probing { ready_at: ready.then_some(now), alive, began: now, ..Probing::idle() }
    }

    /// Slow questions from here.
    pub fn became_ready(&mut self, now: Time) {
        self.ready_at = self.ready_at.map(|_| now + STEADY);
        self.alive_at = self.alive.map(|(every, ..)| now + every);
        self.failures = 0;
    }

    /// Quick questions again. Liveness goes on being asked: a hung service is not ready either.
    pub fn became_unready(&mut self, now: Time) {
        self.began = now;
        self.ready_at = Some(now + FASTEST);
    }

    /// The open question has had its time.
    pub fn is_stuck(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.stuck)
    }

    /// When something is due. Nothing is while `asking`, unless the open question is this instance's.
    pub fn deadline(&self, asking: bool) -> Option<Time> {
        match &self.open {
            Some(open) => Some(open.until),
            None if asking => None,
            None => [self.ready_at, self.alive_at].into_iter().flatten().min(),
        }
    }

    /// The question to ask now, with its patience.
    pub fn ask(&mut self, now: Time, ready: bool) -> Option<(Asked, Duration)> {
        if self.open.is_some() {
            return None;
        }
        let due = |at: Option<Time>| at.is_some_and(|at| now >= at);
        let (asked, patience) = match self.alive {
            Some((every, patience, _)) if due(self.alive_at) => {
                self.alive_at = Some(now + every);
                (Asked::Alive, patience)
            }
            _ if due(self.ready_at) => {
                let quick = (now.saturating_sub(self.began) / PART).clamp(FASTEST, SLOWEST);
                self.ready_at = Some(now + if ready { STEADY } else { quick });
                (Asked::Ready, PATIENCE)
            }
            _ => return None,
        };
        self.open = Some(Open { asked, until: now + patience + GRACE, stuck: false });
        Some((asked, patience))
    }

    /// An answer came: to which question, unless its time was over.
    pub fn answered(&mut self, now: Time) -> Option<Asked> {
        let open = self.open.take()?;
        // The wait between two questions starts at the answer, or a slow service would be asked without a pause.
        if let Some(at) = &mut self.ready_at {
            *at = (*at).max(now + FASTEST);
        }
        (!open.stuck).then_some(open.asked)
    }

    /// The open question has had its time: it counts as a failure now, and once more after each further patience.
    pub fn overdue(&mut self, now: Time) -> Option<Asked> {
        let patience = self.alive.map_or(PATIENCE, |(_, patience, _)| patience.max(FASTEST));
        let open = self.open.as_mut()?;
        if now < open.until {
            return None;
        }
        open.stuck = true;
        open.until = now + patience;
        Some(open.asked)
    }

    /// Counts an answer about liveness; whether it was the last failure that is borne.
    pub fn alive_answer(&mut self, ok: bool) -> bool {
        self.failures = if ok { 0 } else { self.failures + 1 };
        self.alive.is_some_and(|(.., borne)| self.failures >= borne.max(1))
    }
}
