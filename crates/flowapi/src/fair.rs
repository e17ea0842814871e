//! What one user may have at once, so that no analyst starves the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{StatusCode, header};
use web::Error;

use crate::app::App;
use crate::caller::Caller;
use crate::flowmachine::Asker;
use crate::polls::is_on_its_way;

/// Users' queries on their way, and results on theirs.
#[derive(Default)]
pub struct Fair {
    queries: Mutex<HashMap<String, Vec<String>>>,
    results: Arc<Mutex<HashMap<String, usize>>>,
}

/// One result on its way, until it is dropped.
pub struct Seat {
    results: Arc<Mutex<HashMap<String, usize>>>,
    user: String,
}

impl Fair {
    /// Whether the user may start another query: those that have ended don't count, which FlowMachine is asked when it matters.
    ///
    /// # Errors
    /// 429; FlowMachine does not say.
    pub async fn query(&self, app: &App, caller: &Caller, asker: &Asker) -> Result<(), Error> {
        let most = app.options.queries_per_user;
        let ids = lock(&self.queries).get(caller.user()).cloned().unwrap_or_default();
        if ids.len() < most {
            return Ok(());
        }
        let mut running = Vec::new();
        for id in ids {
            let state = app.polls.ask(&app.flowmachine, asker, &id).await?.state();
            if state.as_deref().is_some_and(is_on_its_way) {
                running.push(id);
            }
        }
        let free = running.len() < most;
        lock(&self.queries).insert(caller.user().to_owned(), running);
        free.then_some(()).ok_or_else(|| too_many(format!("{most} of your queries run already; wait for one to end.")))
    }

    /// A query of the user's was started, or was known already.
    pub fn started(&self, caller: &Caller, id: &str) {
        let mut queries = lock(&self.queries);
        let ids = queries.entry(caller.user().to_owned()).or_default();
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }

    /// A seat for another result of the user's.
    ///
    /// # Errors
    /// 429.
    pub fn result(&self, app: &App, caller: &Caller) -> Result<Seat, Error> {
        let most = app.options.results_per_user;
        let mut results = lock(&self.results);
        let count = results.entry(caller.user().to_owned()).or_default();
        if *count >= most {
            return Err(too_many(format!("{most} results are on their way to you already; wait for one to end.")));
        }
        *count += 1;
        Ok(Seat { results: self.results.clone(), user: caller.user().to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut results = lock(&self.results);
        if let Some(count) = results.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                results.remove(&self.user);
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
