//! Makes redis and the database agree about queries, before the server starts.
//!
//! Upstream heals nothing by itself: a query whose server died stays `executing` for ever, one that failed stays
//! `errored`, a result that came back with a restored database is not known, and one that redis has forgotten can never
//! be dropped from the cache. After a repair, a query is `completed` exactly if its result is there, and unknown, so that
//! it runs when it is asked for, otherwise. Only queries that somebody else runs at this moment keep their state.
//!
//! The look-ups between ids and queries, and the states of other databases, are never touched. Running it again changes
//! nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Sources;
use super::records::{Records, SERVER_SESSIONS, Stored};
use flowkit_core::Site;
use flowkit_core::config::Problems;

/// Longest wait for redis to answer, and for sessions of a dead server to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries where FlowDB does not let us in.
const PAUSE: Duration = Duration::from_secs(2);

/// After so long the reason for waiting is said again.
const REMIND: Duration = Duration::from_secs(60);

/// Why the records could not be put right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Secrets are missing or malformed.
    #[error(transparent)]
    Secrets(#[from] Problems),
    /// FlowDB did not answer.
    #[error("cannot {what} in FlowDB")]
    Database {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// redis did not answer.
    #[error("cannot {what} in redis")]
    Redis {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: redis::RedisError,
    },
    /// Sessions of the dead server would not end.
    #[error("{0} sessions of an earlier FlowMachine server do not end; is another server at work on this FlowDB?")]
    StillThere(i64),
}

impl Error {
    /// Whether the operator has to change something before trying again makes sense.
    pub fn is_mistake(&self) -> bool {
        matches!(self, Error::Secrets(_))
    }

    /// What FlowDB says that does not let us in: a password that is not the right one yet or no more, or no connection left.
    /// Others bring that about and mend it, so it is waited for.
    fn locked_out(&self) -> Option<&str> {
        const LOCKED_OUT: [SqlState; 3] =
            [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION, SqlState::TOO_MANY_CONNECTIONS];
        let Error::Database { source, .. } = self else { return None };
        source.as_db_error().filter(|told| LOCKED_OUT.contains(told.code())).map(|told| told.message())
    }
}

pub(super) fn database(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |source| Error::Database { what, source }
}

pub(super) fn redis_error(what: &'static str) -> impl FnOnce(redis::RedisError) -> Error {
    move |source| Error::Redis { what, source }
}

/// What was put right: numbers of queries, but for `sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions of the dead server that were ended.
    pub sessions: i64,
    /// Made `completed`: the result is there.
    pub completed: usize,
    /// Made unknown: there is no result, whatever redis said.
    pub forgotten: usize,
    /// Rows of `cache.cached` removed: their table is gone.
    pub rows: u64,
    /// Left as they are, because somebody runs them now.
    pub running: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sessions, completed, forgotten, rows, running } = self;
        if *self == Report::default() {
            return write!(f, "redis and FlowDB agree about all queries");
        }
        write!(
            f,
            "queries put right: {completed} completed, {forgotten} to run again when asked for, {rows} without a table \
             removed, {running} left to who runs them; {sessions} sessions of a dead server ended"
        )
    }
}

/// The step `flowmachine-repair`. The server must not be running. Where FlowDB does not let us in, it is tried again for as long as
/// it takes; `say` hears why, at once and then once in a while.
///
/// # Errors
/// See [`Error`].
pub async fn run(site: &Site, say: impl Fn(&str)) -> Result<Report, Error> {
    let mut said: Option<Instant> = None;
    loop {
        // Looked up each time: a secret may be replaced.
        let error = match repair(Sources::of(site)?).await {
            Err(error) if error.locked_out().is_some() => error,
            done => return done,
        };
        if said.is_none_or(|at| at.elapsed() > REMIND) {
            said = Some(Instant::now());
            let why = error.locked_out().unwrap_or_default();
            say(&format!(
                "FlowDB does not let FlowMachine in ({why}): trying until it does; what the password should be is set at each start of \
                 FlowDB, and by `flowkit restart flowdb-schema`"
            ));
        }
        sleep(PAUSE).await;
    }
}

/// [`run`], with the places given.
pub async fn repair(sources: Sources) -> Result<Report, Error> {
    let (client, connection) = scram::connect(&sources.flowdb).await.map_err(database("log in"))?;
    tokio::spawn(connection);
    // Blocking requests to redis, as nothing else is to be done meanwhile.
    let mut records = Records::open(sources.redis, &sources.database_id, PATIENCE).map_err(redis_error("log in"))?;

    let sessions = end_sessions(&client).await?;
    let stored = Stored::read(&client).await.map_err(database("read cache.cached"))?;
    let mut report = Report { sessions, ..Report::default() };
    report.rows = remove_rows(&client, &stored).await?;
    put_right(&mut records, &stored, &mut report)?;
    Ok(report)
}

/// Ends what the dead server left behind. What it was storing is rolled back.
async fn end_sessions(client: &Client) -> Result<i64, Error> {
    let what = "end the sessions of the dead server";
    let count = "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = $1 AND usename = current_user AND datname = current_database()";
    let end = "SELECT cache.end_sessions($1)";
    let ended = client.query_one(end, &[&SERVER_SESSIONS]).await.map_err(database(what))?.get(0);
    let started = Instant::now();
    loop {
        let left: i64 = client.query_one(count, &[&SERVER_SESSIONS]).await.map_err(database(what))?.get(0);
        if left == 0 {
            return Ok(ended);
        }
        if started.elapsed() > PATIENCE {
            return Err(Error::StillThere(left));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes the rows whose table is gone, and with them what hangs on them in `cache.dependencies`.
async fn remove_rows(client: &Client, stored: &Stored) -> Result<u64, Error> {
    let ids: Vec<&String> =
        stored.rows.iter().filter(|(id, table)| !**table && !stored.running.contains(*id)).map(|(id, _)| id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    client
        .execute("DELETE FROM cache.cached WHERE query_id = ANY($1)", &[&ids])
        .await
        .map_err(database("remove rows without a table"))
}

fn put_right(records: &mut Records, stored: &Stored, report: &mut Report) -> Result<(), Error> {
    let states = records.states().map_err(redis_error("read the states of queries"))?;
    // While somebody else runs queries, what is queued may be theirs, and waits behind those.
    let others_at_work = !stored.running.is_empty();
    let ids: BTreeSet<&String> = states.keys().chain(stored.rows.keys()).collect();
    for id in ids {
        let seen = states.get(id).map(String::as_str);
        let verdict = verdict(seen, stored.rows.get(id) == Some(&true), stored.running.contains(id), others_at_work);
        let new = match verdict {
            Verdict::Right => continue,
            Verdict::LeaveAlone => {
                report.running += 1;
                continue;
            }
            Verdict::RightIfWhole => {
                if !records.is_broken(id).map_err(redis_error("look at the state of a query"))? {
                    continue;
                }
                None
            }
            Verdict::Complete => Some("completed"),
            Verdict::Forget => None,
        };
        if records.replace(id, seen, new).map_err(redis_error("change the state of a query"))? {
            *(if new.is_some() { &mut report.completed } else { &mut report.forgotten }) += 1;
        }
    }
    Ok(())
}

/// What is to be done about one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    RightIfWhole,
    LeaveAlone,
    Complete,
    Forget,
}

fn verdict(state: Option<&str>, result_is_there: bool, running: bool, others_at_work: bool) -> Verdict {
    match state {
        _ if running => Verdict::LeaveAlone,
        Some("completed") if result_is_there => Verdict::Right,
        _ if result_is_there => Verdict::Complete,
        None => Verdict::Right,
        Some("known") => Verdict::RightIfWhole,
        Some("queued") if others_at_work => Verdict::LeaveAlone,
        Some(_) => Verdict::Forget,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    #[test]
    fn what_is_done_about_a_query() {
        // state, result is there, somebody runs it, somebody runs another one
        let table = [
            (Some("completed"), true, false, false, Right),
            (Some("executing"), true, false, false, Complete),
            (Some("errored"), true, false, false, Complete),
            (Some("resetting"), true, false, false, Complete),
            (Some("known"), true, false, false, Complete),
            (None, true, false, false, Complete),
            (Some("completed"), false, false, false, Forget),
            (Some("executing"), false, false, false, Forget),
            (Some("executing"), false, false, true, Forget),
            (Some("errored"), false, false, false, Forget),
            (Some("cancelled"), false, false, false, Forget),
            (Some("resetting"), false, false, false, Forget),
            (Some("queued"), false, false, false, Forget),
            (Some("queued"), false, false, true, LeaveAlone),
            (Some("known"), false, false, false, RightIfWhole),
            (Some("executing"), false, true, true, LeaveAlone),
            (Some("resetting"), true, true, true, LeaveAlone),
            (None, false, false, false, Right),
        ];
        for (state, there, running, others, expected) in table {
            assert_eq!(verdict(state, there, running, others), expected, "{state:?} {there} {running} {others}");
        }
    }

    #[test]
    fn a_report_is_one_line() {
        assert_eq!(Report::default().to_string(), "redis and FlowDB agree about all queries");
        let report = Report { sessions: 1, completed: 2, forgotten: 3, rows: 4, running: 5 };
        assert_eq!(
            report.to_string(),
            "queries put right: 2 completed, 3 to run again when asked for, 4 without a table removed, 5 left to who \
             runs them; 1 sessions of a dead server ended"
        );
    }
}
