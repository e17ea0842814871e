//! What one user may have at once, so that no analyst starves the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{StatusCode, header};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};
use web::Error;

use crate::app::App;
use crate::caller::Caller;
use crate::flowmachine::Asker;
use crate::polls::is_on_its_way;

/// How long a query counts of which it is not known whether FlowMachine has started it.
const DOUBT: Duration = Duration::from_secs(300);

/// Requests of one user at once that may ask FlowMachine, which is a share of the questions that wait for it.
const ASKING: usize = 64;

/// Between two looks whether a random sample has ended.
const LOOK: Duration = Duration::from_secs(1);

/// Queries on their way, users' results on theirs, and requests that ask FlowMachine.
#[derive(Default)]
pub struct Fair {
    queries: Arc<Mutex<HashMap<Bound, Queries>>>,
    results: Counts,
    asking: Counts,
    /// Who waits for a place of a random sample: one after the other, in their order.
    waiting: AsyncMutex<()>,
}

/// How many each user has.
type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// What queries are counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bound {
    /// One user's.
    User(String),
    /// Random samples, whosever: FlowMachine's threads wait for each other over too many of them, for good.
    Samples,
}

/// Queries that count for one bound.
#[derive(Default)]
struct Queries {
    /// Those that were started, and may have ended; with what each counts.
    ids: Vec<(String, usize)>,
    /// Those that are being started: [`Place`]s.
    starting: usize,
}

/// A query that is being started, until it is dropped.
pub struct Place {
    queries: Arc<Mutex<HashMap<Bound, Queries>>>,
    bound: Bound,
    counts: usize,
}

/// One result on its way, or one request that asks, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    counts: Counts,
    user: String,
}

impl Fair {
    /// A place for another query of the user's: those that have ended don't count, which FlowMachine is asked when it matters.
    ///
    /// # Errors
    /// 429; FlowMachine does not say.
    pub async fn query(&self, app: &App, caller: &Caller, asker: &Asker) -> Result<Place, Error> {
        let (bound, most) = (Bound::User(caller.user().to_owned()), app.options.queries_per_user);
        if let Some(place) = self.place(&bound, 1, most) {
            return Ok(place);
        }
        self.look(app, asker, &bound).await?;
        let full = || too_many(format!("{most} of your queries run already; wait for one to end."));
        self.place(&bound, 1, most).ok_or_else(full)
    }

    /// A place for a query with so many random samples, when it is its turn. `None` for one without any.
    ///
    /// # Errors
    /// 400: it has more than may be at once; 429: its turn does not come in time; FlowMachine does not say.
    pub async fn samples(&self, app: &App, samples: usize, asker: &Asker) -> Result<Option<Place>, Error> {
        let most = app.options.samples;
        if samples == 0 {
            return Ok(None);
        }
        if samples > most {
            let text = format!("The query spec has more than {most} random samples.");
            return Err(Error::new(StatusCode::BAD_REQUEST, text));
        }
        let full = || too_many("Other queries on random samples run; try again when they have ended.".to_owned());
        let turn = async {
            let _turn = self.waiting.lock().await;
            loop {
                if let Some(place) = self.place(&Bound::Samples, samples, most) {
                    return Ok(Some(place));
                }
                self.look(app, asker, &Bound::Samples).await?;
                if let Some(place) = self.place(&Bound::Samples, samples, most) {
                    return Ok(Some(place));
                }
                sleep(LOOK).await;
            }
        };
        // Time is left to start it.
        let half = asker.until.saturating_duration_since(Instant::now()) / 2;
        timeout(half, turn).await.unwrap_or_else(|_| Err(full()))
    }

    /// Lets go of those that have ended.
    async fn look(&self, app: &App, asker: &Asker, bound: &Bound) -> Result<(), Error> {
        let ids = lock(&self.queries).get(bound).map(|queries| queries.ids.clone()).unwrap_or_default();
        for (id, _) in ids {
            let state = app.polls.ask(&app.flowmachine, asker, &id).await?.state();
            if !state.as_deref().is_some_and(is_on_its_way)
                && let Some(queries) = lock(&self.queries).get_mut(bound)
            {
                queries.ids.retain(|(other, _)| *other != id);
            }
        }
        Ok(())
    }

    /// Taken under the lock that counts, so that many at once get no more than one after the other.
    fn place(&self, bound: &Bound, counts: usize, most: usize) -> Option<Place> {
        let mut all = lock(&self.queries);
        let queries = all.entry(bound.clone()).or_default();
        let taken = queries.starting + queries.ids.iter().map(|(_, counts)| counts).sum::<usize>();
        if taken + counts > most {
            return None;
        }
        queries.starting += counts;
        Some(Place { queries: self.queries.clone(), bound: bound.clone(), counts })
    }

    /// A seat for another result of the user's.
    ///
    /// # Errors
    /// 429.
    pub fn result(&self, app: &App, caller: &Caller) -> Result<Seat, Error> {
        let most = app.options.results_per_user;
        let full = || too_many(format!("{most} results are on their way to you already; wait for one to end."));
        seat(&self.results, caller, most).ok_or_else(full)
    }

    /// A seat for another request of the user's that asks FlowMachine.
    ///
    /// # Errors
    /// 429.
    pub fn asking(&self, caller: &Caller) -> Result<Seat, Error> {
        let full = || too_many(format!("{ASKING} of your requests wait already; wait for one to be answered."));
        seat(&self.asking, caller, ASKING).ok_or_else(full)
    }
}

fn seat(counts: &Counts, caller: &Caller, most: usize) -> Option<Seat> {
    let mut all = lock(counts);
    let count = all.entry(caller.user().to_owned()).or_default();
    if *count >= most {
        return None;
    }
    *count += 1;
    Some(Seat { counts: counts.clone(), user: caller.user().to_owned() })
}

impl Place {
    /// The query was started, or was known already.
    pub fn started(self, id: &str) {
        if let Some(Queries { ids, .. }) = lock(&self.queries).get_mut(&self.bound)
            && !ids.iter().any(|(known, _)| known == id)
        {
            ids.push((id.to_owned(), self.counts));
        }
    }

    /// Nobody knows whether it was started: it counts for a while.
    pub fn doubted(self) {
        tokio::spawn(async move {
            tokio::time::sleep(DOUBT).await;
            drop(self);
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.queries);
        if let Some(queries) = all.get_mut(&self.bound) {
            queries.starting -= self.counts;
            if queries.starting == 0 && queries.ids.is_empty() {
                all.remove(&self.bound);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

fn too_many(text: String) -> Error {
    Error::new(StatusCode::TOO_MANY_REQUESTS, text).with("status", "error").header(header::RETRY_AFTER, 5)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
