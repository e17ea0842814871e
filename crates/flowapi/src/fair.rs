//! What one user may have at once, so that no analyst starves the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{StatusCode, header};
use web::Error;

use crate::app::App;
use crate::caller::Caller;
use crate::flowmachine::Asker;
use crate::polls::is_on_its_way;

/// How long a query counts of which it is not known whether FlowMachine has started it.
const DOUBT: Duration = Duration::from_secs(300);

/// Requests of one user at once that may ask FlowMachine, which is a share of the questions that wait for it.
const ASKING: usize = 64;

/// Users' queries on their way, results on theirs, and requests that ask FlowMachine.
#[derive(Default)]
pub struct Fair {
    queries: Arc<Mutex<HashMap<String, Queries>>>,
    results: Counts,
    asking: Counts,
}

/// How many each user has.
type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// Queries of one user.
#[derive(Default)]
struct Queries {
    /// Those that were started, and may have ended.
    ids: Vec<String>,
    /// Those that are being started: [`Place`]s.
    starting: usize,
}

/// A query that is being started, until it is dropped.
pub struct Place {
    queries: Arc<Mutex<HashMap<String, Queries>>>,
    user: String,
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
        let most = app.options.queries_per_user;
        if let Some(place) = self.place(caller, most) {
            return Ok(place);
        }
        let ids = lock(&self.queries).get(caller.user()).map(|queries| queries.ids.clone()).unwrap_or_default();
        for id in ids {
            let state = app.polls.ask(&app.flowmachine, asker, &id).await?.state();
            if !state.as_deref().is_some_and(is_on_its_way)
                && let Some(queries) = lock(&self.queries).get_mut(caller.user())
            {
                queries.ids.retain(|other| *other != id);
            }
        }
        let full = || too_many(format!("{most} of your queries run already; wait for one to end."));
        self.place(caller, most).ok_or_else(full)
    }

    /// Taken under the lock that counts, so that many at once get no more than one after the other.
    fn place(&self, caller: &Caller, most: usize) -> Option<Place> {
        let mut all = lock(&self.queries);
        let queries = all.entry(caller.user().to_owned()).or_default();
        if queries.ids.len() + queries.starting >= most {
            return None;
        }
        queries.starting += 1;
        Some(Place { queries: self.queries.clone(), user: caller.user().to_owned() })
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
        if let Some(Queries { ids, .. }) = lock(&self.queries).get_mut(&self.user)
            && !ids.iter().any(|known| known == id)
        {
            ids.push(id.to_owned());
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
        if let Some(queries) = all.get_mut(&self.user) {
            queries.starting -= 1;
            if queries.starting == 0 && queries.ids.is_empty() {
                all.remove(&self.user);
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
