//! States of queries: many who ask for the same one cost FlowMachine one question.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep_until};

use crate::flowmachine::{Asker, Error, FlowMachine, Reply};

/// An answer holds for this long. FlowMachine looks at every part of an unfinished query for each.
const FRESH: Duration = Duration::from_millis(250);

/// The longest pause between two questions of somebody who waits for a query's end.
const PAUSE: Duration = Duration::from_secs(1);

/// Queries that are remembered before old ones are looked through.
const MANY: usize = 1024;

/// Queries that failed lately, of which it is remembered.
const FAILURES: usize = 20;

/// The last answer about one query, and when it came.
type Last = Arc<AsyncMutex<Option<(Instant, Reply)>>>;

/// What FlowMachine has said lately.
#[derive(Default)]
pub struct Polls {
    last: Mutex<HashMap<String, Last>>,
    failed: Mutex<VecDeque<Failed>>,
}

/// A query that came to nothing.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its id.
    pub id: String,
    /// When that was seen first.
    pub at: SystemTime,
}

impl Polls {
    /// The state of a query, asked now or a moment ago.
    ///
    /// # Errors
    /// FlowMachine does not say.
    pub async fn ask(&self, flowmachine: &FlowMachine, asker: &Asker, id: &str) -> Result<Reply, Error> {
        const ACTION: &str = "poll_query";
        let last = self.of(id);
        // One asks at a time; who waits gets its answer.
        let held = tokio::time::timeout_at(asker.until, last.lock()).await;
        let mut last = held.map_err(|_| Error::Late(ACTION))?;
        if let Some((at, reply)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(reply.clone());
        }
        let reply = flowmachine.about(asker, ACTION, &[("query_id", id)]).await?;
        if reply.state().as_deref() == Some("errored") {
            self.fail(id);
        }
        *last = Some((Instant::now(), reply.clone()));
        Ok(reply)
    }

    /// The same as soon as the query is no longer on its way, or at the end of `wait`.
    ///
    /// # Errors
    /// As [`Polls::ask`].
    pub async fn wait(
        &self,
        flowmachine: &FlowMachine,
        asker: &Asker,
        id: &str,
        wait: Duration,
    ) -> Result<Reply, Error> {
        // FlowMachine's share of the time is not what is waited for.
        let asker = &Asker { until: asker.until + wait, ..asker.clone() };
        let end = Instant::now() + wait;
        let mut pause = FRESH;
        loop {
            let reply = self.ask(flowmachine, asker, id).await?;
            let now = Instant::now();
            if now >= end || !reply.state().as_deref().is_some_and(is_on_its_way) {
                return Ok(reply);
            }
            sleep_until(end.min(now + pause)).await;
            pause = PAUSE.min(pause * 2);
        }
    }

    /// What was said of a query is not to be trusted any more: it was run again.
    pub fn forget(&self, id: &str) {
        lock(&self.last).remove(id);
        lock(&self.failed).retain(|failed| failed.id != id);
    }

    /// Those that failed lately and were not run again, the last one first.
    pub fn failed(&self) -> Vec<Failed> {
        lock(&self.failed).iter().rev().cloned().collect()
    }

    fn fail(&self, id: &str) {
        let mut all = lock(&self.failed);
        if !all.iter().any(|failed| failed.id == id) {
            all.push_back(Failed { id: id.to_owned(), at: SystemTime::now() });
            let many = all.len().saturating_sub(FAILURES);
            all.drain(..many);
        }
    }

    fn of(&self, id: &str) -> Last {
        let mut all = lock(&self.last);
        if all.len() >= MANY {
            // Nobody asks for these at the moment.
            all.retain(|_, last| Arc::strong_count(last) > 1);
        }
        all.entry(id.to_owned()).or_default().clone()
    }
}

/// Whether a query will be something else by itself.
pub fn is_on_its_way(state: &str) -> bool {
    matches!(state, "executing" | "queued")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
