//! What people do, once for the JSON routes and for the pages: what is refused, what is changed, and what the log says of it.
//!
//! Whoever refuses says it in upstream's words, and by a `reason` that pages have words for in every language.

pub mod account;
pub mod keys;
pub mod passkeys;
pub mod provider;
pub mod roles;
pub mod servers;
pub mod signin;
pub mod users;

use std::collections::BTreeSet;

use http::StatusCode;
use web::Error;

use crate::store;

/// Longest name of a user, server or role, in characters: as many as upstream's database takes.
pub const LONGEST_NAME: usize = 75;

/// What a field of the request can't be.
pub fn wrong(field: &str, text: impl Into<String>) -> Error {
    Error::new(StatusCode::BAD_REQUEST, text.into()).with("bad_field", field)
}

/// The same by a reason.
pub fn wrong_as(reason: &str, field: &str, text: impl Into<String>) -> Error {
    wrong(field, text).with("reason", reason)
}

/// There is no such thing.
pub fn missing() -> Error {
    Error::of(StatusCode::NOT_FOUND)
}

/// A name that is taken, in upstream's form, beside ours.
pub fn taken(field: &str, text: &'static str) -> Error {
    wrong_as("taken", field, text).with("status", 400).with("statusText", "Name already exists")
}

/// The same where the database says so.
pub fn or_taken(error: store::Error, field: &str, text: &'static str) -> Error {
    if error.is_taken() { taken(field, text) } else { error.into() }
}

/// A name as it may be. Tokens, logs and pages carry it.
pub fn name(text: Option<&str>, field: &str, too_short: &'static str) -> Result<String, Error> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| wrong_as("empty", field, too_short))?;
    if text.chars().count() > LONGEST_NAME {
        return Err(wrong_as("too-long", field, format!("A name has at most {LONGEST_NAME} characters.")));
    }
    // What turns the direction of a line makes one name look like another. Names of several languages need the two joiners.
    if text.chars().any(|c| say::is_unseen(c) && !matches!(c, '\u{200c}' | '\u{200d}')) {
        return Err(wrong_as("control", field, "A name has no characters that can't be seen."));
    }
    Ok(text.to_owned())
}

/// What somebody has changed in a set that they saw: what others have changed meanwhile stays.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// What they want in it.
    pub added: BTreeSet<i64>,
    /// What they do not want in it any more.
    pub removed: BTreeSet<i64>,
}

impl Moved {
    /// The set as they want it.
    pub fn of(&self, had: &BTreeSet<i64>) -> BTreeSet<i64> {
        &(had - &self.removed) | &self.added
    }
}

/// Not now, but then.
pub fn later(seconds: i64) -> Error {
    let text = format!("Too many attempts failed. Try again in {seconds} seconds.");
    let error = Error::new(StatusCode::TOO_MANY_REQUESTS, text).with("reason", "later").with("seconds", seconds);
    error.header(http::header::RETRY_AFTER, seconds.unsigned_abs())
}

/// Too many passwords are being checked.
pub fn busy(error: crate::passwords::Failure) -> Error {
    Error::of(StatusCode::SERVICE_UNAVAILABLE).because(error)
}
