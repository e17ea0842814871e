//! Everything that is kept, over SQLite or PostgreSQL, by one set of queries.
//!
//! The library is `sqlx` with its driver `Any`: queries stay SQL that a reader knows, both drivers are Rust's own or bundled, and
//! the database is chosen when the program runs. What `Any` does not have (dates, truth, JSON) is kept as whole numbers and texts,
//! the same on both. `diesel` chooses at run time too, but wants libpq; builders of queries (`sea-query`) hide the SQL, which both
//! databases understand in the form that is written here (`$1`, `RETURNING`, `ON CONFLICT`).
//!
//! ```text
//! Store     connections; migrations when it opens
//! Change    a transaction that writes. It is committed together with its line of the audit log, or not at all
//! ```
//! Functions that read take a connection, functions that write a [`Change`]: nothing is changed that the log lacks. Of what is no
//! decision of anybody's (when a session was seen last, how often a password was wrong) no log is kept.

pub mod attempts;
pub mod audit;
pub mod factors;
pub mod identities;
pub mod invitations;
pub mod keys;
pub mod known;
mod migrations;
pub mod passkeys;
pub mod roles;
pub mod sealed;
pub mod servers;
pub mod sessions;
pub mod tokens;
pub mod users;

use std::ops::{Deref, DerefMut};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

pub use audit::{Entry, Line};
pub use flowkit_core::database::{Address, Kind};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Transaction};

/// Longest wait for a connection, or for another's transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at once: a page takes one for a few milliseconds.
const CONNECTIONS: u32 = 8;

/// Names our lock among PostgreSQL's advisory locks: "flowauth", in short.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310575217299)";

/// Why something can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database says no.
    #[error("the database can't do that")]
    Database(#[from] sqlx::Error),
    /// Its schema is not one of ours, or a newer program's.
    #[error("the database's schema can't be brought up to date; one of a newer program's needs that program")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The directory of a file can't be made.
    #[error("{path} can't be made")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether there is such a name already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Error::Database(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()))
    }
}

/// The result of a query.
pub type Result<T> = std::result::Result<T, Error>;

/// The time, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The database.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    kind: Kind,
}

/// A transaction that writes; undone unless it is committed. There is one at a time, on both databases, so that what it has read
/// stays true until it ends.
pub struct Change(Transaction<'static, Any>);

impl Store {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    /// The database can't be reached, or is another program's or a newer one's.
    pub async fn open(address: &Address) -> Result<Store> {
        sqlx::any::install_default_drivers();
        if let Some(directory) = address.directory() {
            let made = std::fs::create_dir_all(directory);
            made.map_err(|source| Error::Directory { path: directory.display().to_string(), source })?;
        }
        let kind = address.kind();
        let options = AnyConnectOptions::from_str(address.uri().expose())?.disable_statement_logging();
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| Box::pin(prepare(kind, connection)))
            .connect_with(options)
            .await?;
        migrations::run(kind, &pool).await?;
        Ok(Store { pool, kind })
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A connection to read by.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn read(&self) -> Result<PoolConnection<Any>> {
        Ok(self.pool.acquire().await?)
    }

    /// Begins to write, once nobody else does. What somebody does who was let in earlier begins by `App::change`, which looks at them again.
    ///
    /// # Errors
    /// The others take too long; the database can't be reached.
    pub async fn change(&self) -> Result<Change> {
        match self.kind {
            Kind::Sqlite => Ok(Change(self.pool.begin_with("BEGIN IMMEDIATE").await?)),
            Kind::Postgres => {
                let mut change = self.pool.begin().await?;
                sqlx::query(LOCK).execute(&mut *change).await?;
                Ok(Change(change))
            }
        }
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Change {
    /// Keeps what was written together with what the log says of it. Once this has returned, neither is lost.
    ///
    /// # Errors
    /// Nothing was kept.
    pub async fn commit(mut self, entry: &Entry<'_>) -> Result<()> {
        audit::add(&mut self.0, entry).await?;
        Ok(self.0.commit().await?)
    }
}

impl Deref for Change {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.0
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.0
    }
}

async fn prepare(kind: Kind, connection: &mut AnyConnection) -> sqlx::Result<()> {
    let settings: &[&'static str] = match kind {
        // Readers and the one who writes don't wait for one another, and what is committed is on the disk.
        Kind::Sqlite => &[
            "PRAGMA busy_timeout = 10000",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
        ],
        // Whoever waits for the others reads what they have written: with any other isolation, what was before they began.
        Kind::Postgres => &[
            "SET default_transaction_isolation = 'read committed'",
            "SET statement_timeout = '30s'",
            "SET lock_timeout = '10s'",
            "SET synchronous_commit = on",
        ],
    };
    for setting in settings {
        sqlx::query(*setting).execute(&mut *connection).await?;
    }
    Ok(())
}
