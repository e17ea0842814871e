//! The list of tokens and users that are no longer let in, as FlowAuth publishes it: signed as tokens are, by the same keys.
//!
//! The payload is `{"type": "revocations", "iat": 1795478387, "max_age": 3600, "tokens": ["<jti>"], "users": {"alice": null,
//! "bob": 1795478000}}`. All tokens of alice are revoked; of bob's, those made up to that second. `max_age` is how many
//! seconds the list may be used. The type keeps a list from passing for a token, upstream too, and a token for a list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::verifier::unix;
use crate::{Refused, Token, Verifier, claims, jws};

/// The longest list, in bytes: some 100 000 tokens.
const LONGEST: usize = 8 << 20;
const KIND: &str = "revocations";

/// Whom and what not to let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// When the list was made, in seconds since 1970.
    pub issued: i64,
    /// For how many seconds from then on it may be relied on.
    pub max_age: i64,
    /// Tokens, by `jti`.
    pub tokens: BTreeSet<String>,
    /// Users. With a time, in seconds since 1970, only what was made until then; else all of theirs.
    pub users: BTreeMap<String, Option<i64>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    iat: i64,
    max_age: i64,
    #[serde(default)]
    tokens: BTreeSet<String>,
    #[serde(default)]
    users: BTreeMap<String, Option<i64>>,
}

impl Revocations {
    /// Reads a list that one of the verifier's keys has signed. One that is past its age is read all the same: an old list
    /// is better than none, and [`Self::stale`] tells.
    ///
    /// # Errors
    /// Not such a list, or one from the future.
    pub fn parse(text: &str, verifier: &Verifier, now: SystemTime) -> Result<Self, Refused> {
        let payload = jws::open(&verifier.keys, text.trim(), LONGEST)?;
        let Payload { kind, iat, max_age, tokens, users } = claims::read("payload", &payload)?;
        if kind != KIND {
            return Err(Refused::invalid(format!("Invalid claim: type: {kind:?} instead of {KIND:?}")));
        }
        if iat > unix(now).saturating_add(verifier.leeway) {
            return Err(Refused::invalid("The list is not yet valid (iat)"));
        }
        Ok(Self { issued: iat, max_age, tokens, users })
    }

    /// Whether it may no longer be relied on.
    pub fn stale(&self, now: SystemTime) -> bool {
        self.issued.saturating_add(self.max_age) < unix(now)
    }

    /// Whether it may stand in for an older list: one that is put back in place of a newer one would let tokens in again.
    pub fn replaces(&self, other: &Self) -> bool {
        self.issued >= other.issued
    }

    /// Whether this token is on it, or its user. A token that doesn't say when it was made counts as made early.
    pub fn is_revoked(&self, token: &Token) -> bool {
        let named = token.id.as_ref().is_some_and(|id| self.tokens.contains(id));
        let early = |until: i64| token.issued.is_none_or(|issued| issued <= until);
        named || self.users.get(&token.user).is_some_and(|until| until.is_none_or(early))
    }

    /// Lets pass whoever is not on it.
    ///
    /// # Errors
    /// [`Refused::Revoked`].
    pub fn check(&self, token: &Token) -> Result<(), Refused> {
        if self.is_revoked(token) { Err(Refused::Revoked { user: token.user.clone() }) } else { Ok(()) }
    }

    pub(crate) fn payload(&self) -> serde_json::Result<Vec<u8>> {
        let Self { issued: iat, max_age, tokens, users } = self.clone();
        serde_json::to_vec(&Payload { kind: KIND.into(), iat, max_age, tokens, users })
    }
}

#[cfg(test)]
mod tests;
