//! FlowDB and redis, when they run somewhere else: waiting for them, and noticing that they were started anew.
//!
//! In a stack everything starts in any order, and each part may be replaced at any time. What the server had in the works
//! then ends in error and stays so, and what redis knew is gone: only a restart of the server, with the repair before it,
//! mends that. So a small process stands for the neighbours among the services: it is there while they are.

use std::fmt;
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Sources;
use flowkit_core::Site;
use flowkit_core::config::{Problems, Settings, bracketed};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Between two questions to neighbours that are there.
const STEADY: Duration = Duration::from_secs(3);

/// Between two questions to one that is not, at most.
const SLOWEST: Duration = Duration::from_secs(2);

/// After so long the reason for waiting is said again.
const REMIND: Duration = Duration::from_secs(60);

/// How long a neighbour that answered may be silent before it counts as gone: a network has short breaks.
const SILENCE: Duration = Duration::from_secs(5);

/// How long refusing our password is taken for a rotation that has not come to the neighbour yet: a rolling update stops
/// and starts one service after the other, a database with a long checkpoint among them.
const ROTATION: Duration = Duration::from_secs(600);

/// A role that FlowMachine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// The database.
    Flowdb,
    /// The states of queries.
    Redis,
}

impl Neighbour {
    /// Those that `here` lacks.
    pub fn elsewhere(here: &[String]) -> Vec<Neighbour> {
        let all = [("flowdb", Neighbour::Flowdb), ("redis", Neighbour::Redis)];
        all.into_iter().filter(|(name, _)| here.iter().all(|role| role != name)).map(|(_, found)| found).collect()
    }

    /// Where it is reached, `host:port`; an IPv6 address in brackets.
    pub fn address(self, settings: &Settings) -> String {
        let (host, port) = match self {
            Neighbour::Flowdb => ("FLOWDB_HOST", "FLOWDB_PORT"),
            Neighbour::Redis => ("REDIS_HOST", "REDIS_PORT"),
        };
        format!("{}:{}", bracketed(settings.text(host).expect("it has a default")), settings.port(port))
    }

    fn name(self) -> &'static str {
        match self {
            Neighbour::Flowdb => "FlowDB",
            Neighbour::Redis => "redis",
        }
    }

    fn password(self) -> &'static str {
        match self {
            Neighbour::Flowdb => "FLOWMACHINE_FLOWDB_PASSWORD",
            Neighbour::Redis => "REDIS_PASSWORD",
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why waiting has ended without the neighbours.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Secrets are missing or malformed.
    #[error(transparent)]
    Secrets(#[from] Problems),
    /// It has had time enough to learn a new password.
    #[error("{who} at {address} refuses {password}: give both the same value ({why})")]
    Refused {
        /// Who refuses.
        who: &'static str,
        /// Where it answers.
        address: String,
        /// The secret.
        password: &'static str,
        /// What it said.
        why: String,
    },
}

/// Why a neighbour is not to be had just now.
pub(crate) enum Away {
    /// It does not answer, or not yet as it will.
    Absent(String),
    /// It does not know the password.
    Refused(String),
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Away::Absent(why) | Away::Refused(why)) = self;
        f.write_str(why)
    }
}

/// Asks until there is an answer, for as long as it takes; `say` hears what is waited for, at once and then once in a while.
///
/// # Errors
/// What asking ends with, and a password that is refused for longer than a rotation takes.
pub(crate) async fn patiently<T>(
    who: &'static str,
    address: &str,
    password: &'static str,
    mut ask: impl AsyncFnMut() -> Result<Result<T, Away>, Error>,
    say: impl Fn(&str),
) -> Result<T, Error> {
    let (mut pause, mut said, mut refused) = (Duration::from_millis(50), None, None);
    loop {
        let away = match ask().await? {
            Ok(answer) => return Ok(answer),
            Err(away) => away,
        };
        let line = match &away {
            Away::Absent(why) => format!("waiting for {who} at {address}: {why}"),
            Away::Refused(why) => format!(
                "{who} at {address} refuses {password}: {why}; if it was just rotated, {who} takes it at its next start"
            ),
        };
        match away {
            Away::Absent(_) => refused = None,
            Away::Refused(why) if refused.get_or_insert_with(Instant::now).elapsed() > ROTATION => {
                return Err(Error::Refused { who, address: address.to_owned(), password, why });
            }
            Away::Refused(_) => {}
        }
        let again = |(before, at): &(String, Instant)| *before == line && at.elapsed() < REMIND;
        if !said.as_ref().is_some_and(again) {
            say(&line);
            said = Some((line, Instant::now()));
        }
        sleep(pause).await;
        pause = (pause * 2).min(SLOWEST);
    }
}

/// The neighbours, with the sessions that are kept to them.
pub struct Neighbours<'a> {
    site: &'a Site,
    who: Vec<Neighbour>,
    flowdb: Option<Client>,
    redis: Option<redis::Connection>,
}

impl Neighbours<'_> {
    /// The neighbours that are not among the roles `here`.
    pub fn new<'a>(site: &'a Site, here: &[String]) -> Neighbours<'a> {
        Neighbours { site, who: Neighbour::elsewhere(here), flowdb: None, redis: None }
    }

    /// Waits until all of them answer, for as long as it takes; `say` hears what is waited for, at once and then once in a
    /// while.
    ///
    /// # Errors
    /// Secrets that can't be had, and a password that is refused for longer than a rotation takes.
    pub async fn wait(&mut self, say: impl Fn(&str)) -> Result<(), Error> {
        for who in self.who.clone() {
            let address = who.address(&self.site.settings);
            patiently(who.name(), &address, who.password(), async || self.identity(who).await, &say).await?;
        }
        Ok(())
    }

    /// Returns when one of them was started anew, or has been away for a while: what happened, in a sentence.
    ///
    /// # Errors
    /// Secrets that can't be had.
    pub async fn watch(&mut self) -> Result<String, Error> {
        let mut known: Vec<Option<String>> = vec![None; self.who.len()];
        let mut heard = vec![Instant::now(); self.who.len()];
        loop {
            for (at, who) in self.who.clone().into_iter().enumerate() {
                let address = who.address(&self.site.settings);
                match self.identity(who).await? {
                    Ok(now) if known[at].as_ref().is_some_and(|before| *before != now) => {
                        return Ok(format!("{who} at {address} was started anew"));
                    }
                    Ok(now) => (known[at], heard[at]) = (Some(now), Instant::now()),
                    Err(away) if heard[at].elapsed() > SILENCE => {
                        return Ok(format!("{who} at {address} is gone: {away}"));
                    }
                    Err(_) => {}
                }
            }
            sleep(STEADY).await;
        }
    }

    /// What tells one start of a neighbour from the next, asked over the kept session or a new one.
    async fn identity(&mut self, who: Neighbour) -> Result<Result<String, Away>, Error> {
        // Looked up each time: a secret may be replaced, and is not kept.
        let sources = Sources::of(self.site)?;
        Ok(match who {
            Neighbour::Flowdb => self.of_flowdb(sources).await,
            Neighbour::Redis => self.of_redis(sources),
        })
    }

    async fn of_flowdb(&mut self, sources: Sources) -> Result<String, Away> {
        // The second column is what FlowMachine asks first: it is there once the schema is.
        let question = "SELECT pg_postmaster_start_time()::text, (SELECT count(*) FROM flowdb_version())";
        if let Some(client) = self.flowdb.take()
            && let Ok(Ok(row)) = timeout(ANSWER, client.query_one(question, &[])).await
        {
            self.flowdb = Some(client);
            return Ok(row.get(0));
        }
        let ask = async {
            let (client, connection) = scram::connect(&sources.flowdb).await?;
            tokio::spawn(connection);
            let row = client.query_one(question, &[]).await?;
            Ok((client, row.get(0)))
        };
        let (client, identity) = match timeout(ANSWER, ask).await {
            Ok(answer) => answer.map_err(|error| away(&error))?,
            Err(_) => return Err(Away::Absent("no answer".into())),
        };
        self.flowdb = Some(client);
        Ok(identity)
    }

    fn of_redis(&mut self, sources: Sources) -> Result<String, Away> {
        if let Some(mut connection) = self.redis.take()
            && let Ok(identity) = run_id(&mut connection)
        {
            self.redis = Some(connection);
            return Ok(identity);
        }
        let open = || {
            let mut connection = redis::Client::open(sources.redis)?.get_connection_with_timeout(ANSWER)?;
            connection.set_read_timeout(Some(ANSWER))?;
            connection.set_write_timeout(Some(ANSWER))?;
            let identity = run_id(&mut connection)?;
            Ok((connection, identity))
        };
        let (connection, identity) = open().map_err(|error| of_states(&error))?;
        self.redis = Some(connection);
        Ok(identity)
    }
}

/// The number that redis gives itself at each start.
fn run_id(connection: &mut redis::Connection) -> Result<String, RedisError> {
    let info: String = redis::cmd("INFO").arg("server").query(connection)?;
    Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned())
}

/// The same of a database.
pub(crate) fn away(error: &tokio_postgres::Error) -> Away {
    let refused = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    match error.as_db_error() {
        Some(told) if refused.contains(told.code()) => Away::Refused(told.message().to_owned()),
        Some(told)
            if *told.code() == SqlState::UNDEFINED_FUNCTION || *told.code() == SqlState::INVALID_CATALOG_NAME =>
        {
            Away::Absent(format!("it is not set up yet ({})", told.message()))
        }
        Some(told) => Away::Absent(told.message().to_owned()),
        None => Away::Absent(std::error::Error::source(error).map_or(error.to_string(), ToString::to_string)),
    }
}

fn of_states(error: &RedisError) -> Away {
    let refused = error.kind() == redis::ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| ["WRONGPASS", "NOAUTH", "NOPERM"].contains(&code));
    if refused { Away::Refused(error.to_string()) } else { Away::Absent(error.to_string()) }
}
