//! Random lives of random sets of services: a million steps against the rules that must always hold.
//!
//! The world here is the engine's and the machine's opposite: it starts, ends and leaves behind processes as it likes, but
//! honours SIGKILL. Time and chance are its own, so a seed tells a failure exactly. `FLOWKIT_TEST_STEPS` sets the number.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::exit::Exit;
use super::machine::{Action, Event, State, Time};
use super::service::{Alive, Command, Kind, OnDependency, Restart, Service, StopStep};
use super::set::Set;
use std::sync::Arc;

/// What really runs of a service.
#[derive(Clone, Default, Debug)]
struct Real {
    main: bool,
    reached: bool,
    /// Descendants beside the first process.
    others: u32,
    killed: bool,
    /// The instance of an open question, by the machine's count.
    asked: Option<u64>,
}

struct World {
    rng: ChaCha8Rng,
    set: Set,
    needs: Vec<Vec<usize>>,
    real: Vec<Real>,
    now: Time,
    budget: Duration,
    /// Once everything is to stop: which services were ending already, for reasons of their own.
    ending: Option<Vec<bool>>,
    seed: u64,
    starts: u64,
}

fn command() -> Command {
    Command {
        program: "/x".into(),
        args: vec![],
        env: Default::default(),
        dir: "/".into(),
        user: None,
        confinement: None,
    }
}

fn services(rng: &mut ChaCha8Rng) -> Vec<Service> {
    let count = rng.random_range(1..6);
    let millis = |rng: &mut ChaCha8Rng, most: u64| Duration::from_millis(rng.random_range(0..=most));
    (0..count)
        .map(|i: usize| Service {
            name: format!("s{i}"),
            kind: if rng.random_ratio(1, 4) { Kind::Task } else { Kind::Daemon },
            before: vec![command(); rng.random_range(0..3)],
            command: command(),
            needs: (0..i).filter(|_| rng.random_ratio(1, 3)).map(|need| format!("s{need}")).collect(),
            on_dependency: if rng.random() { OnDependency::Keep } else { OnDependency::Restart },
            ready: rng.random::<bool>().then(|| Arc::new(|_: Duration| Ok(())) as _),
            alive: rng.random_ratio(1, 3).then(|| Alive {
                probe: Arc::new(|_: Duration| Ok(())),
                every: millis(rng, 2000),
                patience: millis(rng, 2000),
                failures: rng.random_range(0..4),
            }),
            stop: (0..rng.random_range(0..4)).map(|_| StopStep { signal: 15, patience: millis(rng, 60_000) }).collect(),
            restart: Restart {
                first: millis(rng, 500),
                cap: millis(rng, 5000),
                reset_after: millis(rng, 5000),
                limit: rng.random_range(0..50),
                window: millis(rng, 60_000),
            },
            success: vec![0],
            hopeless: vec![],
            address: None,
            oom_score_adj: None,
            open_files: 64,
            memory: None,
        })
        .collect()
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let services = services(&mut rng);
        let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 1);
        let place = |name: &String| services.iter().position(|service| service.name == *name).expect("known");
        let needs = services.iter().map(|service| service.needs.iter().map(place).collect()).collect();
        let budget = Duration::from_millis(rng.random_range(10..10_000));
        let set = Set::new(&services, budget, Box::new(move || chance.random())).expect("a sound set");
        let real = vec![Real::default(); services.len()];
        World { rng, set, needs, real, now: Duration::from_secs(1), budget, ending: None, seed, starts: 0 }
    }

    fn fail(&self, what: &str, i: usize) -> ! {
        panic!("seed {}: {what}: service {i}, {:?}, really {:?}", self.seed, self.set.machine(i).state(), self.real[i]);
    }

    fn act(&mut self, actions: Vec<(usize, Action)>) {
        for (i, action) in actions {
            match action {
                Action::Spawn(_) => {
                    if self.real[i].main || self.real[i].others > 0 {
                        self.fail("started beside an earlier instance", i);
                    }
                    if self.ending.is_some() {
                        self.fail("started after the request to stop", i);
                    }
                    self.starts += 1;
                    self.real[i] = Real { main: true, asked: self.real[i].asked, ..Real::default() };
                }
                Action::Signal(_) => self.may_signal(i),
                Action::KillAll => self.real[i].killed = true,
                Action::Ask { instance, .. } => {
                    if self.real[i].asked.is_some() {
                        self.fail("asked while a question is open", i);
                    }
                    if !self.real[i].main || !self.real[i].reached {
                        self.fail("asked though it does not run", i);
                    }
                    self.real[i].asked = Some(instance);
                }
                Action::GiveUp(_) => self.note_ending(),
            }
        }
    }

    /// While everything stops, a service is asked to end after all that need it.
    fn may_signal(&self, i: usize) {
        let Some(ending) = &self.ending else { return };
        let busy = |j: usize| self.real[j].main || self.real[j].others > 0;
        if !ending[i] && (0..self.needs.len()).any(|j| self.needs[j].contains(&i) && busy(j)) {
            self.fail("asked to end before what needs it was down", i);
        }
    }

    fn note_ending(&mut self) {
        let ending = |i: usize| matches!(self.set.machine(i).state(), State::Ending(_));
        if self.ending.is_none() {
            self.ending = Some((0..self.real.len()).map(ending).collect());
        }
    }

    fn tell(&mut self, i: usize, event: Event) {
        let actions = self.set.tell(i, event, self.now);
        self.act(actions);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        // Stop steps without patience follow one another at once, but not for ever.
        for _ in 0..8 {
            let actions = self.set.tick(self.now);
            self.act(actions);
            if self.set.deadline().is_none_or(|at| at > self.now) {
                return;
            }
        }
        self.fail("time has passed and something is still due: the main loop would spin", 0);
    }

    /// One thing happens.
    fn step(&mut self) {
        let i = self.rng.random_range(0..self.real.len());
        match self.rng.random_range(0..12) {
            0..4 => {
                let most = self.set.deadline().map_or(1000, |at| at.saturating_sub(self.now).as_millis() as u64 + 1);
                let by = self.rng.random_range(0..=most.min(20_000));
                self.advance(Duration::from_millis(by));
            }
            4 | 5 if self.real[i].main && !self.real[i].reached => {
                self.real[i].reached = true;
                self.tell(i, Event::Reached);
            }
            6 if self.real[i].main => self.exit(i),
            7 if self.real[i].main && self.real[i].reached => self.real[i].others += 1,
            8 if self.real[i].others > 0 => self.other_ends(i),
            9 | 10 => {
                if let Some(instance) = self.real[i].asked.take() {
                    let ok = self.rng.random_ratio(3, 4);
                    self.tell(i, Event::Answered { instance, ok });
                }
            }
            11 if self.rng.random_ratio(1, 20) => self.tell(i, Event::Restart),
            _ => {}
        }
        self.obey();
        self.check();
    }

    fn exit(&mut self, i: usize) {
        let exit = match self.rng.random_range(0..20) {
            0 if !self.real[i].reached => Exit::NotStarted { step: "run /x".into(), errno: libc::ENOENT },
            0..12 => Exit::Code(0),
            12..16 => Exit::Code(1),
            _ => Exit::Signal(11),
        };
        self.real[i].main = false;
        let left = self.real[i].others > 0;
        self.tell(i, Event::Exited { exit, left });
    }

    fn other_ends(&mut self, i: usize) {
        self.real[i].others -= 1;
        if self.real[i].others == 0 && !self.real[i].main && self.set.machine(i).is_clearing() {
            self.tell(i, Event::Emptied);
        }
    }

    /// SIGKILL is obeyed, sooner or later; a fork may escape one round.
    fn obey(&mut self) {
        for i in 0..self.real.len() {
            while self.real[i].killed && self.rng.random_ratio(2, 3) {
                if self.real[i].main {
                    self.exit(i);
                } else if self.real[i].others > 0 {
                    self.other_ends(i);
                } else {
                    break;
                }
            }
        }
    }

    fn check(&self) {
        for (i, real) in self.real.iter().enumerate() {
            let machine = self.set.machine(i);
            if machine.is_down() && (real.main || real.others > 0) {
                self.fail("said to be down while something runs", i);
            }
            if matches!(machine.state(), State::Running(_)) && !real.main {
                self.fail("said to run while nothing does", i);
            }
            if machine.is_clearing() && real.others == 0 {
                self.fail("said to be clearing while nothing is left", i);
            }
        }
        let someone = self.real.iter().any(|real| real.main || real.others > 0);
        if !someone && self.set.deadline().is_none() && !self.set.is_over() {
            self.fail("stuck: nothing runs, nothing is due, and it is not over", 0);
        }
    }

    /// From wherever it is, everything can be stopped within the budget, whatever the services do.
    fn stop(&mut self) {
        let end = self.now + self.budget;
        self.note_ending();
        let actions = self.set.stop(self.now);
        self.act(actions);
        let mut rounds = 0;
        while !self.set.is_over() {
            // Nobody ends by himself any more: the worst case.
            self.obey();
            self.check();
            if self.set.is_over() {
                return;
            }
            rounds += 1;
            let due = self.set.deadline().filter(|_| rounds < 100_000);
            let Some(at) = due else { self.fail("can't be stopped", 0) };
            let by = at.saturating_sub(self.now).max(Duration::from_micros(1));
            self.advance(by);
            // Rounds of SIGKILL that a process survives cost a little.
            if self.now > end + Duration::from_secs(2) {
                self.fail("not down within the budget", 0);
            }
        }
    }
}

#[test]
fn a_million_random_steps_never_break_a_rule() {
    let steps: u64 = std::env::var("FLOWKIT_TEST_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    const LIFE: u64 = 250;
    let mut starts = 0;
    let (mut done, mut lives) = (0, 0);
    while done < steps {
        let mut world = World::new(lives);
        let actions = world.set.begin(world.now);
        world.act(actions);
        for _ in 0..LIFE {
            world.step();
            done += 1;
            if world.set.is_over() {
                break;
            }
        }
        if !world.set.is_over() {
            world.stop();
        }
        starts += world.starts;
        lives += 1;
    }
    // The model must have lived: on average several starts a life.
    assert!(starts > 2 * lives, "{starts} starts in {lives} lives");
}
