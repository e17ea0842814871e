//! What the random steps of `model.rs` can't say: how long, how often, in which order exactly.

use super::*;
use crate::service::{OnDependency, Restart, StopStep};

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy {
        kind: Kind::Daemon,
        before: 0,
        probed: false,
        alive: None,
        stop: vec![StopStep { signal: 2, patience: 60 * SECOND }, StopStep { signal: 3, patience: 5 * SECOND }],
        restart: Restart { first: SECOND, cap: 5 * SECOND, reset_after: 10 * SECOND, limit: 8, window: 100 * SECOND },
        success: vec![0],
        hopeless: vec![2],
        on_dependency: OnDependency::Keep,
    }
}

/// A machine with its clock, and the highest chance, which makes each delay its upper bound.
struct Life {
    machine: Machine,
    now: Time,
}

impl Life {
    fn new(policy: Policy) -> Life {
        Life { machine: Machine::new(policy), now: 1000 * SECOND }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.machine.handle(event, self.now, u64::MAX, &mut out);
        out
    }

    fn up(&mut self) {
        assert_eq!(self.tell(Event::Start), [Action::Spawn(Phase::Main)]);
        self.tell(Event::Reached);
    }

    /// Dies; waits out the delay, which it returns in whole milliseconds.
    fn die(&mut self) -> Option<u128> {
        let actions = self.tell(Event::Exited { exit: Exit::Code(1), left: false });
        if actions == [Action::GiveUp(Exit::Code(1))] {
            return None;
        }
        let delay = self.machine.deadline().map_or(Duration::ZERO, |at| at - self.now);
        self.now += delay;
        self.tell(Event::Tick);
        Some((delay + Duration::from_micros(1)).as_millis())
    }
}

#[test]
fn a_status_after_which_nothing_can_help_ends_it_at_once() {
    let mut life = Life::new(policy());
    life.up();
    let exit = Exit::Code(2);
    assert_eq!(life.tell(Event::Exited { exit: exit.clone(), left: false }), [Action::GiveUp(exit)]);
}

#[test]
fn delays_double_up_to_the_cap_and_the_limit_ends_it() {
    let mut life = Life::new(policy());
    let mut delays = Vec::new();
    loop {
        life.up();
        match life.die() {
            Some(delay) => delays.push(delay),
            None => break,
        }
    }
    assert_eq!(delays, [1000, 2000, 4000, 5000, 5000, 5000, 5000]);
    assert_eq!(*life.machine.state(), State::Failed);
}

#[test]
fn a_delay_is_any_part_of_its_bound() {
    let delay = |chance: u64| {
        let mut out = Vec::new();
        let mut machine = Machine::new(policy());
        machine.handle(Event::Start, SECOND, 0, &mut out);
        machine.handle(Event::Exited { exit: Exit::Code(1), left: false }, SECOND, chance, &mut out);
        machine.delay()
    };
    assert_eq!(delay(0), Duration::ZERO);
    assert_eq!(delay(1 << 63), SECOND / 2);
    assert!(delay(u64::MAX) <= SECOND && delay(u64::MAX) > SECOND * 99 / 100);
}

#[test]
fn a_stable_life_is_followed_by_another_at_once_and_forgets() {
    let mut life = Life::new(policy());
    for _ in 0..3 {
        life.up();
        life.die();
    }
    life.up();
    life.now += 10 * SECOND;
    assert_eq!(life.die(), Some(0));
    life.up();
    assert_eq!(life.die(), Some(1000), "the back-off begins anew");
}

#[test]
fn deaths_outside_the_window_do_not_count() {
    let mut life = Life::new(policy());
    for _ in 0..50 {
        life.up();
        life.now += 9 * SECOND;
        assert!(life.die().is_some());
        life.now += 20 * SECOND;
    }
}

#[test]
fn restarts_that_were_asked_for_are_no_deaths() {
    let mut life = Life::new(policy());
    for _ in 0..50 {
        life.up();
        assert_eq!(life.tell(Event::Restart), [Action::Signal(2)]);
        life.tell(Event::Exited { exit: Exit::Signal(2), left: false });
    }
    assert_eq!((life.machine.deaths(), life.machine.restarts()), (0, 49));
}

#[test]
fn stop_steps_follow_one_another_then_sigkill_until_nothing_is_left() {
    let mut life = Life::new(policy());
    life.up();
    assert_eq!(life.tell(Event::Stop), [Action::Signal(2)]);
    life.now += 60 * SECOND;
    assert_eq!(life.tell(Event::Tick), [Action::Signal(3)]);
    life.now += 5 * SECOND;
    assert_eq!(life.tell(Event::Tick), [Action::KillAll]);
    life.now += AGAIN;
    assert_eq!(life.tell(Event::Tick), [Action::KillAll]);
    assert_eq!(life.tell(Event::Exited { exit: Exit::Signal(9), left: true }), []);
    assert!(life.machine.is_clearing() && !life.machine.is_down());
    life.tell(Event::Emptied);
    assert_eq!(*life.machine.state(), State::Stopped);
}

#[test]
fn an_answer_to_an_earlier_instance_counts_for_nothing() {
    let mut life = Life::new(Policy { probed: true, ..policy() });
    life.up();
    assert!(matches!(life.tell(Event::Tick)[..], [Action::Ask { instance: 1, .. }]));
    life.die();
    life.up();
    assert_eq!(life.tell(Event::Tick), [], "the first question is still open");
    life.tell(Event::Answered { instance: 1, ok: true });
    assert!(!life.machine.is_ready());
    assert!(matches!(life.tell(Event::Tick)[..], [Action::Ask { instance: 2, .. }]));
    life.tell(Event::Answered { instance: 2, ok: true });
    assert!(life.machine.is_ready());
}

#[test]
fn a_dip_of_readiness_is_no_restart() {
    let mut life = Life::new(Policy { probed: true, ..policy() });
    life.up();
    life.tell(Event::Tick);
    life.tell(Event::Answered { instance: 1, ok: true });
    life.now += 10 * SECOND;
    assert!(matches!(life.tell(Event::Tick)[..], [Action::Ask { .. }]));
    assert_eq!(life.tell(Event::Answered { instance: 1, ok: false }), []);
    assert!(!life.machine.is_ready() && life.machine.has(1));
    let soon = life.machine.deadline().expect("it is asked again");
    assert!(soon - life.now <= Duration::from_millis(10));
}

#[test]
fn an_endless_start_is_never_cut_short() {
    let mut life = Life::new(Policy { probed: true, ..policy() });
    life.up();
    let mut asked = 0;
    while life.now < 1000 * SECOND + 3600 * SECOND {
        life.now = life.machine.deadline().expect("it is asked again");
        if let [Action::Ask { .. }] = life.tell(Event::Tick)[..] {
            asked += 1;
            life.tell(Event::Answered { instance: 1, ok: false });
        }
    }
    assert!(matches!(life.machine.state(), State::Running(_)));
    assert!((3600..3700).contains(&asked), "about once a second in the long run: {asked}");
}
