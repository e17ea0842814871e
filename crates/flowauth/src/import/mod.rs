//! Taking over an upstream FlowAuth: users, roles, servers, second factors and tokens out of its database, SQLite or PostgreSQL.
//!
//! ```text
//! read      what is there, in one snapshot, which is not written to; what another key has sealed, opened
//! write     the same among our own, in one transaction: all of it or nothing
//! ```
//! Passwords stay as they are hashed; backup codes, too, for upstream keeps no more than that. Times in it are taken for UTC, as its image has it.

mod read;
mod write;

use std::path::PathBuf;

use crate::store::{self, Address, Store};
use crate::vault::Vault;
pub use read::Upstream;

/// Where it is.
pub enum Source {
    /// A database's file.
    File(PathBuf),
    /// A PostgreSQL.
    Server(Address),
}

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("the database to import can't be read")]
    Source(#[source] sqlx::Error),
    /// It is none of upstream's, or one that we do not know.
    #[error("the database to import is of no version that is known here: {0}")]
    Version(String),
    /// Another key has sealed it.
    #[error(
        "FLOWAUTH_FERNET_KEY does not open what the database to import has sealed ({0}): give the key that its FlowAuth has with --fernet-key-file"
    )]
    Sealed(String),
    /// A name that there can't be here.
    #[error("the database to import has a {0} of a name that can't be one here: {1:?}")]
    Name(&'static str, String),
    /// It has been here.
    #[error(
        "there is a server {0:?} here already: has this database been imported before? Remove the server here to import it again"
    )]
    Known(String),
    /// Our own fault.
    #[error("FlowAuth's own database")]
    Store(#[from] store::Error),
    /// Its own is another's.
    #[error(
        "FlowAuth's own database was sealed by another FLOWAUTH_FERNET_KEY: put that key back, as the backups have it"
    )]
    OtherKey,
}

/// What was taken over, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// New users.
    pub users: usize,
    /// Of those, how many have a second factor.
    pub factors: usize,
    /// New servers.
    pub servers: usize,
    /// Their scopes.
    pub scopes: usize,
    /// Their roles.
    pub roles: usize,
    /// Tokens that were made.
    pub tokens: usize,
    /// What is not as it was there.
    pub notes: Vec<String>,
}

/// Takes over all of it, or, on trial, says what that would be.
///
/// # Errors
/// [`Error`]: then nothing has changed.
pub async fn import(
    store: &Store,
    vault: &Vault,
    source: &Source,
    theirs: &Vault,
    on_trial: bool,
) -> Result<Report, Error> {
    let upstream = Upstream::read(source, theirs).await?;
    write::write(store, vault, upstream, on_trial).await
}
