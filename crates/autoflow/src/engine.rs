//! What runs when. One task looks for new days and starts runs; each run is a task that says that it lives.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use time::Date;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::attempt::attempt;
use crate::execute::stopped;
use crate::flowapi::{self, counted};
use crate::places::Tries;
use crate::run::hash;
use crate::start::Given;
use crate::store::{self, Dead, NOT_YET, Store};
use crate::workflows::{self, FILE, Faults, Workflow, Workflows};

/// Time between two looks at whether there is something to do.
const EVERY: Duration = Duration::from_secs(1);

/// Time between two looks for runs whose owner is dead, for files that it has left, and for what is to be tried again.
const REAP: Duration = Duration::from_secs(10);

/// Seconds after which FlowAPI is asked again where it did not answer; doubled each time.
const AGAIN: u64 = 15;

/// At most so many.
const AGAIN_AT_MOST: u64 = 900;

/// The longest file with workflows, in bytes.
const LONGEST: u64 = 4 << 20;

/// How AutoFlow stands, beside what the database says.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What runs, out of the file as it was when it was last whole.
    pub workflows: Option<Arc<Workflows>>,
    /// What is wrong with the file as it is.
    pub broken: Option<String>,
    /// Why no days are known.
    pub away: Option<String>,
    /// What there is to say of the token.
    pub token: Option<String>,
    /// When days are asked for next.
    pub next: Option<SystemTime>,
}

/// AutoFlow at work.
pub struct Engine {
    given: Arc<Given>,
    store: Store,
    owner: String,
    standing: Arc<Mutex<Standing>>,
    stop: watch::Receiver<bool>,
    runs: JoinSet<()>,
    /// Their names.
    alive: Alive,
    /// What of runs before could not be put right.
    tries: Tries,
    queue: VecDeque<Task>,
    /// The file as it was seen last.
    seen: Option<Result<String, String>>,
    looked: Looked,
}

/// Names of the runs that have a task here.
type Alive = Arc<Mutex<BTreeSet<String>>>;

/// One of them, for as long as its task is there.
struct Living(Alive, String);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.lock().expect("nobody panics with it").remove(&self.1);
    }
}

/// When days were asked for.
#[derive(Default)]
struct Looked {
    /// By this AutoFlow, for the file as it is.
    ever: bool,
    failures: u32,
    /// Not before, for it went wrong.
    wait: Option<Instant>,
}

/// A run to come.
struct Task {
    workflow: String,
    notebooks: Workflow,
    reference: Date,
    parameters: Map<String, Value>,
}

/// The time, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Reads the file with workflows.
///
/// # Errors
/// In words: it can't be read, or what is wrong with it.
pub fn file(path: &Path) -> Result<String, String> {
    let text = flowkit_core::config::file::read_anyones(path, LONGEST)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    String::from_utf8(text.to_vec()).map_err(|_| format!("{} is not text", path.display()))
}

impl Engine {
    /// One that stops when `stop` is true.
    pub fn new(given: Arc<Given>, store: Store, owner: String, stop: watch::Receiver<bool>) -> Engine {
        let standing = Arc::default();
        let (runs, queue, looked) = (JoinSet::new(), VecDeque::new(), Looked::default());
        let (alive, tries) = (Alive::default(), Tries::new());
        Engine { given, store, owner, standing, stop, runs, alive, tries, queue, seen: None, looked }
    }

    /// How it stands; others look at it.
    pub fn standing(&self) -> Arc<Mutex<Standing>> {
        self.standing.clone()
    }

    /// Reads the file for the first time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn begin(&mut self) -> Result<(), String> {
        self.reread();
        let standing = self.standing.lock().expect("nobody panics with it");
        standing.broken.clone().map_or(Ok(()), Err)
    }

    /// Works until it is stopped; then no run of its own is left.
    ///
    /// # Errors
    /// The database has gone for good.
    pub async fn run(mut self) -> Result<(), store::Error> {
        let freed = self.store.reap(Dead::Owner(&self.owner), "AutoFlow was killed", true, self.given.retry).await?;
        if freed > 0 {
            tracing::warn!(runs = freed, "runs that an AutoFlow before this one did not end are tried again");
        }
        self.store.begin_looking().await?;
        let mut reaped: Option<Instant> = None;
        while !*self.stop.borrow() {
            self.reread();
            if reaped.is_none_or(|at| at.elapsed() >= REAP) {
                reaped = Some(Instant::now());
                self.tidy().await;
                self.line_up_again().await;
            }
            if self.is_due().await {
                self.look().await;
            }
            self.fill().await;
            let mut stop = self.stop.clone();
            tokio::select! {
                () = stopped(&mut stop) => {}
                Some(_) = self.runs.join_next() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        // Each ends its child and then itself.
        while self.runs.join_next().await.is_some() {}
        self.store.reap(Dead::Owner(&self.owner), "AutoFlow was stopped", false, self.given.retry).await?;
        Ok(())
    }

    fn standing_now(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().expect("nobody panics with it"));
    }

    /// Looks at the file. One that is broken changes nothing.
    fn reread(&mut self) {
        let path = self.given.means.inputs.join(FILE);
        let text = file(&path);
        if self.seen.as_ref() == Some(&text) {
            return;
        }
        let again = self.seen.is_some();
        let read = text.clone().and_then(|text| {
            let named = |Faults(faults): Faults| {
                faults.iter().map(|fault| format!("{}, {fault}", path.display())).collect::<Vec<_>>().join("\n")
            };
            workflows::read(&text, &self.given.means.inputs).map_err(named)
        });
        self.seen = Some(text);
        match read {
            Ok(read) => {
                if again {
                    tracing::info!("{FILE} has changed, and is what counts from now on");
                    // What waits was made of the old one, and is made anew of this one.
                    self.queue.clear();
                    self.looked = Looked::default();
                }
                self.standing_now(|standing| {
                    standing.workflows = Some(Arc::new(read));
                    standing.broken = None;
                });
            }
            Err(why) => {
                if again {
                    tracing::error!("{FILE} has changed and is broken; what it said before still counts: {why}");
                }
                self.standing_now(|standing| standing.broken = Some(why));
            }
        }
    }

    fn workflows(&self) -> Option<Arc<Workflows>> {
        self.standing.lock().expect("nobody panics with it").workflows.clone()
    }

    /// Frees what dead owners have left.
    async fn tidy(&mut self) {
        let alive = self.alive.lock().expect("nobody panics with it").clone();
        match self
            .store
            .reap(Dead::Silent { but: &alive }, "whoever ran it has fallen silent", true, self.given.retry)
            .await
        {
            Ok(0) => {}
            Ok(runs) => tracing::warn!(runs, "runs whose AutoFlow has fallen silent are tried again"),
            Err(error) => tracing::error!("{}", say::in_full(&error)),
        }
        let means = &self.given.means;
        if let Err(error) = means.places.recover(&self.store, &means.scratch, &mut self.tries).await {
            tracing::error!("what was left of runs can't be put right: {}", say::in_full(&error));
        }
    }

    /// Whether days are to be asked for: the schedule says so, or has while nobody was here; and once by each AutoFlow and for each file, for
    /// what waited before is known to nobody else. What was never asked for waits for its moment, if there is one.
    async fn is_due(&self) -> bool {
        let Some(workflows) = self.workflows() else { return false };
        let waits = self.looked.wait.is_some_and(|until| Instant::now() < until);
        let Some(schedule) = &workflows.sensor.schedule else {
            self.standing_now(|standing| standing.next = None);
            return !self.looked.ever && !waits;
        };
        // Whoever shares the database may have asked.
        let (last, said) = match self.store.last_look().await {
            Ok(last) => last.unwrap_or_default(),
            Err(error) => {
                tracing::error!("{}", say::in_full(&error));
                return false;
            }
        };
        // By a clock that was wrong, it may have been in what is the future again.
        let last = last.clamp(0, now());
        let next = schedule.after(UNIX_EPOCH + Duration::from_secs(last.unsigned_abs()));
        self.standing_now(|standing| standing.next = next);
        let backlog = !self.looked.ever && said != NOT_YET;
        (backlog || next.is_some_and(|next| next <= SystemTime::now())) && !waits
    }

    /// Lines up what failed and has waited long enough, as far as the file still says that it runs; unless FlowAPI is away, which would cost
    /// each of them an attempt.
    async fn line_up_again(&mut self) {
        let Some(workflows) = self.workflows() else { return };
        let due = match self.store.due_again().await {
            Ok(due) => due,
            Err(error) => return tracing::error!("{}", say::in_full(&error)),
        };
        let mut again = Vec::new();
        for run in due {
            let Some(reference) = workflows::iso(&run.reference) else { continue };
            let same = |configured: &&workflows::Configured| {
                configured.name == run.workflow
                    && configured.run_of(reference).is_some_and(|(parameters, _)| hash(&parameters) == run.hash)
            };
            let waits = self.queue.iter().any(|task| task.workflow == run.workflow && task.reference == reference);
            if let Some(configured) = workflows.sensor.workflows.iter().find(same).filter(|_| !waits) {
                let notebooks = workflows.workflows[&configured.name].clone();
                again.push(Task { workflow: run.workflow, notebooks, reference, parameters: run.parameters });
            }
        }
        if again.is_empty() || self.looked.wait.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.look().await;
        if self.looked.wait.is_none() {
            let lined_up = |task: &Task| {
                self.queue.iter().any(|other| other.workflow == task.workflow && other.parameters == task.parameters)
            };
            again.retain(|task| !lined_up(task));
            self.queue.extend(again);
        }
    }

    /// Asks for days, and lines up what is to run.
    async fn look(&mut self) {
        let Some(workflows) = self.workflows() else { return };
        let handed = self.given.handed();
        let token = self.given.tokens.note(now());
        if let Some(token) = &token {
            // Where only errors are logged, too: nothing runs once it has ended.
            tracing::error!("{token}");
        }
        let days = match &handed {
            Ok(handed) => {
                let days = flowapi::days(&self.given.place, handed.certificate.as_deref(), &handed.token).await;
                match &days {
                    Ok(_) => self.given.tokens.was_taken(),
                    Err(away) if away.refuses => self.given.tokens.was_refused(&handed.token, now()),
                    Err(_) => {}
                }
                days.map_err(|away| away.why)
            }
            Err(why) => Err(why.clone()),
        };
        let said = match &days {
            Ok(days) => format!("{} days", days.values().flatten().collect::<BTreeSet<_>>().len()),
            Err(why) => format!("failed: {why}"),
        };
        if let Err(error) = self.store.looked(&said, days.is_ok()).await {
            tracing::error!("{}", say::in_full(&error));
        }
        self.standing_now(|standing| {
            standing.token = token;
            standing.away = days.as_ref().err().cloned();
        });
        match days {
            Ok(days) => {
                self.looked = Looked { ever: true, ..Looked::default() };
                let (days, warnings) = counted(&days, &workflows.sensor);
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.queue = line_up(&workflows, &days).into();
            }
            Err(why) => {
                let wait = AGAIN.checked_shl(self.looked.failures).unwrap_or(AGAIN_AT_MOST).min(AGAIN_AT_MOST);
                self.looked.failures = (self.looked.failures + 1).min(16);
                self.looked.wait = Some(Instant::now() + Duration::from_secs(wait));
                tracing::error!(again_in_seconds = wait, "FlowAPI does not say which days there are: {why}");
            }
        }
    }

    /// Starts as many runs as there may be.
    async fn fill(&mut self) {
        while self.runs.len() < self.given.concurrency {
            let Some(task) = self.queue.pop_front() else { return };
            match self.store.claim(&task.workflow, task.reference, &task.parameters, &self.owner, false).await {
                Ok(Some(run)) => {
                    let (given, store, owner, stop) =
                        (self.given.clone(), self.store.clone(), self.owner.clone(), self.stop.clone());
                    self.alive.lock().expect("nobody panics with it").insert(run.id.clone());
                    let living = Living(self.alive.clone(), run.id.clone());
                    self.runs.spawn(async move {
                        let _living = living;
                        attempt(&given, &store, &owner, &run, &task.notebooks, stop).await;
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("a run can't be begun: {}", say::in_full(&error));
                    self.queue.push_front(task);
                    return;
                }
            }
        }
    }
}

/// What is to run for these days, the earliest first.
fn line_up(workflows: &Workflows, days: &BTreeSet<Date>) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for configured in &workflows.sensor.workflows {
        let notebooks = &workflows.workflows[&configured.name];
        tasks.extend(configured.due(days).map(|(reference, parameters)| Task {
            workflow: configured.name.clone(),
            notebooks: notebooks.clone(),
            reference,
            parameters,
        }));
    }
    tasks.sort_by_key(|task| task.reference);
    tasks
}
