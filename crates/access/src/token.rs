//! What a token has been found to say, once its signature has been checked.

use std::collections::HashSet;

use crate::Dates;

/// A token that a key of ours has signed, for this server, and for now. Only [`crate::Verifier`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Whose it is: `sub`.
    pub user: String,
    /// Its own name: `jti`, by which it can be revoked. Foreign tokens may have none.
    pub id: Option<String>,
    /// Who says that they have made it: `iss`. Nothing depends on it.
    pub issuer: Option<String>,
    /// When it was made: `iat`, in seconds since 1970.
    pub issued: Option<i64>,
    /// From when on it is good: `nbf`, in seconds since 1970.
    pub not_before: Option<i64>,
    /// Until when it is good: `exp`, in seconds since 1970; `None` for ever.
    pub expires: Option<i64>,
    /// Its roles, in the token's order.
    pub roles: Vec<Role>,
    /// The days of data that none of its roles may leave.
    pub dates: Dates,
}

/// A role as the token carries it. Scopes of different roles are never put together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Role {
    /// Its name.
    pub name: String,
    /// All that it allows, by exact names.
    pub scopes: HashSet<String>,
    /// The days of data that it may see: its own limit within the token's.
    pub dates: Dates,
}

impl Role {
    /// Whether it has all of these.
    pub fn holds<'a>(&self, scopes: impl IntoIterator<Item = &'a str>) -> bool {
        scopes.into_iter().all(|scope| self.scopes.contains(scope))
    }
}
