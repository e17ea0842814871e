//! Questions to FlowMachine's server, over connections that are used again.
//!
//! It answers one message at a time, blocks for seconds while it builds a query, and tells a database that is away and a bug
//! of its own by the same words. So: a bounded number of questions at once, a bounded number that wait, one deadline for all
//! of a request's, and an error that says "try again" wherever the answer says nothing about the query.

mod reply;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use self::reply::{Error, Reply, State, Status};
use crate::fair::Seat;
use crate::zmtp::Connection;

/// Questions at once. FlowMachine works on one at a time but for those that wait for its threads, of which it has eight.
const AT_ONCE: usize = 32;

/// Questions that may wait for one of these places; with more, the client is better off asking again later.
const WAITING: usize = 512;

/// The longest answer in bytes: all schemas together have 44 kB, and a query is stored as it was sent.
const LONGEST: usize = 16 << 20;

/// The id of no query.
const NO_QUERY: &str = "00000000000000000000000000000000";

/// How long after one answer a query is asked for again that may have failed by an outage: whatever has just come back settles.
const AGAIN: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

#[derive(Serialize)]
struct Question<'a> {
    action: &'a str,
    request_id: &'a str,
    params: &'a RawValue,
}

/// Where FlowMachine is, and the connections to it. A clone is the same.
#[derive(Clone)]
pub struct FlowMachine(Arc<Shared>);

struct Shared {
    host: String,
    port: u16,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
    waiting: AtomicUsize,
    /// Counts connections that broke: a server that was started anew shows by it.
    lost: AtomicU64,
    /// The first answer after the last connection that broke.
    answers: Mutex<Option<Answers>>,
    asked: AtomicU64,
    failed: AtomicU64,
}

/// Whose question it is, and how long that request has left.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The request's id, which FlowMachine logs too.
    pub request: String,
    /// Past it nobody waits any more.
    pub until: Instant,
    /// Its user's seat; the server itself has none.
    pub(crate) seat: Option<Arc<Seat>>,
}

impl Asker {
    /// One with all of `patience` before it.
    pub fn new(request: impl Into<String>, patience: Duration) -> Asker {
        Asker { request: request.into(), until: Instant::now() + patience, seat: None }
    }
}

/// Since when it answers over connections of which none broke.
#[derive(Clone, Copy)]
struct Answers {
    /// How many had broken then.
    lost: u64,
    since: SystemTime,
}

/// What was asked and failed since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Questions.
    pub asked: u64,
    /// Those without an answer that says something.
    pub failed: u64,
    /// Connections that broke.
    pub lost: u64,
    /// Questions that wait for a place.
    pub waiting: usize,
}

impl FlowMachine {
    /// The server at a host's name or address.
    pub fn new(host: &str, port: u16) -> FlowMachine {
        FlowMachine(Arc::new(Shared {
            host: host.to_owned(),
            port,
            idle: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            answers: Mutex::default(),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }

    /// Asks, and waits for the answer for as long as the request has. `params` is an object.
    ///
    /// The question runs on when its asker goes: it holds its place until FlowMachine is done with it, so that clients that
    /// come and go can't heap up work there.
    ///
    /// # Errors
    /// There is no answer that says something about what was asked.
    pub async fn ask(&self, asker: &Asker, action: &'static str, params: &RawValue) -> Result<Reply, Error> {
        let question = Question { action, request_id: &asker.request, params };
        let question = serde_json::to_vec(&question).map_err(|error| Error::Strange(action, error))?;
        let (shared, until, seat) = (self.0.clone(), asker.until, asker.seat.clone());
        let work = tokio::spawn(async move {
            let _seat = seat;
            shared.asked.fetch_add(1, Ordering::Relaxed);
            let answer = timeout_at(until, shared.exchange(&question, action)).await;
            let reply = answer.unwrap_or(Err(Error::Late(action)));
            if reply.is_err() {
                shared.failed.fetch_add(1, Ordering::Relaxed);
            }
            reply
        });
        work.await.unwrap_or_else(|error| Err(self.0.away(io::Error::other(error))))
    }

    /// Asks something of a query as a client wrote it.
    ///
    /// FlowMachine has one word for a query that it stumbles over (of a table that is not there) and for its database and redis being
    /// away, and where one of them goes while it makes a query it says that there is no such query. Where both answer, and it says
    /// the same of the query again and again, it is the query: a client that is told to come back would do so for ever.
    ///
    /// # Errors
    /// As [`FlowMachine::ask`].
    pub async fn of_query(&self, asker: &Asker, action: &'static str, spec: &RawValue) -> Result<Reply, Error> {
        let mut reply = self.ask(asker, action, spec).await;
        for pause in AGAIN {
            match &reply {
                Err(Error::Failed(..)) => {}
                Ok(reply) if reply.may_be_an_outage() => {}
                _ => return reply,
            }
            self.check(asker).await?;
            tokio::time::sleep(pause).await;
            reply = self.ask(asker, action, spec).await;
        }
        match reply {
            Err(Error::Failed(action, _)) => Reply::misfit(action),
            reply => reply,
        }
    }

    /// Asks for what its database and what its redis has.
    async fn check(&self, asker: &Asker) -> Result<(), Error> {
        self.about(asker, "list_qa_checks", &[]).await?;
        self.about(asker, "poll_query", &[("query_id", NO_QUERY)]).await?;
        Ok(())
    }

    /// Asks with one member as parameter.
    ///
    /// # Errors
    /// As [`FlowMachine::ask`].
    pub async fn about(&self, asker: &Asker, action: &'static str, members: &[(&str, &str)]) -> Result<Reply, Error> {
        let members: std::collections::BTreeMap<_, _> = members.iter().copied().collect();
        let params = serde_json::value::to_raw_value(&members);
        self.ask(asker, action, &params.map_err(|error| Error::Strange(action, error))?).await
    }

    /// How it went so far.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { asked, failed, lost, waiting, .. } = &*self.0;
        Counts { asked: of(asked), failed: of(failed), lost: of(lost), waiting: waiting.load(Ordering::Relaxed) }
    }

    /// Since when FlowMachine answers without a break. It does not say when it was started: that was then, or while nobody here had
    /// asked yet. `None` where it has not answered since a connection broke.
    pub fn answers_since(&self) -> Option<SystemTime> {
        let lost = self.generation();
        self.0.answers().filter(|answers| answers.lost == lost).map(|answers| answers.since)
    }

    /// A number that changes when FlowMachine was started anew: what it told before may not hold any more.
    pub fn generation(&self) -> u64 {
        let mut idle = self.0.idle();
        let before = idle.len();
        idle.retain(Connection::is_idle);
        self.0.lost.fetch_add((before - idle.len()) as u64, Ordering::Relaxed);
        drop(idle);
        self.0.lost.load(Ordering::Relaxed)
    }
}

/// Counts who waits, for as long as it waits.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn exchange(&self, question: &[u8], action: &'static str) -> Result<Reply, Error> {
        let place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(_) => {
                let before = self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waits = Waits(&self.waiting);
                if before >= WAITING {
                    return Err(Error::Full);
                }
                self.places.acquire().await.map_err(|closed| self.away(io::Error::other(closed)))?
            }
        };
        let mut connection = self.connection().await.map_err(|error| self.gone(error))?;
        let answer = connection.exchange(question, LONGEST).await.map_err(|error| self.gone(error))?;
        self.idle().push(connection);
        self.answered();
        drop(place);
        reply::read(&answer, action)
    }

    /// One that waits for its next question, or a new one.
    async fn connection(&self) -> io::Result<Connection> {
        loop {
            let idle = self.idle().pop();
            match idle {
                Some(connection) if connection.is_idle() => return Ok(connection),
                Some(_) => _ = self.lost.fetch_add(1, Ordering::Relaxed),
                None => return Connection::open(self.address().await?).await,
            }
        }
    }

    fn answered(&self) {
        let lost = self.lost.load(Ordering::Relaxed);
        let mut answers = self.answers();
        if answers.is_none_or(|answers| answers.lost != lost) {
            *answers = Some(Answers { lost, since: SystemTime::now() });
        }
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Option<Answers>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self, source: io::Error) -> Error {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.away(source)
    }

    /// Upstream's server listens by IPv4 only, so that comes first where a name has both. A name is looked up each time: in a
    /// stack it stands for another address tomorrow.
    async fn address(&self) -> io::Result<SocketAddr> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let best = found.min_by_key(SocketAddr::is_ipv6);
        best.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self, source: io::Error) -> Error {
        Error::Away(format!("{}:{}", self.host, self.port), source)
    }
}
