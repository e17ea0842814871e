//! What FlowMachine answers, and what it means that it does not.

use std::fmt;
use std::io;

use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::WAITING;

/// The message of every failure of FlowMachine's that is not the query's: database away, redis away, a bug.
const GENERIC: &str = "Could not get reply for message";

/// Actions whose parameters are a query as a client wrote it.
const OF_QUERIES: [&str; 2] = ["get_aggregation_unit", "run_query"];

/// What FlowMachine says of parameters that an action can't take.
const MISFIT: &str = "Internal flowmachine server error: wrong arguments";

/// What a client is told to wait before it asks again, in seconds.
const LATER: u16 = 5;

/// Why FlowMachine's answer can't be had. No `std::error::Error`: those become a 500 by `?`, and these shall not.
#[derive(Debug)]
pub enum Error {
    /// Nobody answers there, at `host:port`.
    Away(String, io::Error),
    /// It took longer than the request has.
    Late(&'static str),
    /// Too many wait already.
    Full,
    /// It failed for reasons of its own.
    Failed(&'static str, String),
    /// The answer is not FlowMachine's.
    Strange(&'static str, serde_json::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Away(address, why) => write!(f, "FlowMachine does not answer at {address}: {why}"),
            Error::Late(action) => write!(f, "FlowMachine did not answer `{action}` in time"),
            Error::Full => write!(f, "{WAITING} questions wait for FlowMachine already"),
            Error::Failed(action, msg) => write!(f, "FlowMachine answered `{action}` with an error of its own: {msg}"),
            Error::Strange(action, why) => write!(f, "FlowMachine's answer to `{action}` can't be read: {why}"),
        }
    }
}

impl From<Error> for web::Error {
    /// All of them pass: the client is told to try again, and never that a query is unknown, which would make it run the query anew.
    fn from(error: Error) -> web::Error {
        let text = match &error {
            Error::Away(..) | Error::Strange(..) => "FlowMachine is not there; try again later.",
            Error::Late(_) => "FlowMachine is busy and did not answer in time; try again later.",
            Error::Full => "Too many requests wait for FlowMachine; try again later.",
            Error::Failed(..) => "FlowMachine can't answer now: its database or redis may be away; try again later.",
        };
        web::Error::new(StatusCode::SERVICE_UNAVAILABLE, text)
            .with("status", "error")
            .header(header::RETRY_AFTER, LATER)
            .because(error.to_string())
    }
}

/// Whether FlowMachine did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Success,
    /// It did not.
    Error,
}

/// An answer that says something about what was asked.
#[derive(Clone, Debug, Deserialize)]
pub struct Reply {
    /// Whether it did what was asked.
    pub status: Status,
    /// For people; may be empty.
    pub msg: String,
    /// For programs, as it was written: the order of a query's keys matters to FlowMachine.
    pub payload: Box<RawValue>,
}

/// What payloads have in common: which query, in which state.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct State {
    /// The state's name; an answer about no query has none.
    pub query_state: Option<String>,
}

/// What kept FlowMachine from making a query.
#[derive(Default, Deserialize)]
struct Exception {
    exception: Option<String>,
}

impl Reply {
    /// The payload's members.
    ///
    /// # Errors
    /// They are not there, or of another kind.
    pub fn read<'a, T: Deserialize<'a>>(&'a self, action: &'static str) -> Result<T, Error> {
        serde_json::from_str(self.payload.get()).map_err(|error| Error::Strange(action, error))
    }

    /// Whether it did what was asked.
    pub fn is_success(&self) -> bool {
        self.status == Status::Success
    }

    /// Whether what was asked is of a form that the action can't take.
    pub fn is_misfit(&self) -> bool {
        self.status == Status::Error && self.msg.starts_with(MISFIT)
    }

    /// Whether a query could not be made for a reason that sounds like its database or redis being away.
    pub(super) fn may_be_an_outage(&self) -> bool {
        let Exception { exception } = serde_json::from_str(self.payload.get()).unwrap_or_default();
        let sounds = ["(psycopg2.", "onnect", "Error while ", "Redis is "];
        !self.is_success() && exception.is_some_and(|why| sounds.iter().any(|sound| why.contains(sound)))
    }

    /// The reply that it should have been.
    pub(super) fn misfit(action: &'static str) -> Result<Reply, Error> {
        let msg = format!("{MISFIT} passed to handler for action '{action}'.");
        let nothing = RawValue::from_string("{}".to_owned());
        Ok(Reply { status: Status::Error, msg, payload: nothing.map_err(|error| Error::Strange(action, error))? })
    }

    /// The state of the query that it is about.
    pub fn state(&self) -> Option<String> {
        serde_json::from_str::<State>(self.payload.get()).unwrap_or_default().query_state
    }
}

/// The answer to `action`, where it says something about what was asked.
///
/// # Errors
/// It does not, or is no answer of FlowMachine's.
pub(super) fn read(answer: &Bytes, action: &'static str) -> Result<Reply, Error> {
    let reply: Reply = serde_json::from_slice(answer).map_err(|error| Error::Strange(action, error))?;
    // These say nothing about the query, but that a query's own members can be of no use.
    let generic = reply.msg == GENERIC || reply.is_misfit() && !OF_QUERIES.contains(&action);
    match reply.status {
        Status::Error if generic => Err(Error::Failed(action, reply.msg)),
        _ => Ok(reply),
    }
}
