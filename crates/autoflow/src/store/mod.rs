//! Which workflow has run for which parameters, over SQLite or PostgreSQL, by one set of queries; several AutoFlows may share one database.
//!
//! ```text
//! workflow_runs    upstream's table: a row when a run begins and when it ends; kept as upstream's programs read it
//! autoflow_runs    ours: one row for a workflow and its parameters, with who runs it, how often it was tried, what came of it
//! autoflow_sensor  when days were asked for last, and what came of it
//!
//! runs             what is asked and told of runs
//! looks            the same of the days
//! schema           the tables, and what the two databases say differently
//! ```
//! A run belongs to whoever claimed it for as long as it says that it lives (a heartbeat, by the database's clock); one that has fallen
//! silent is free again. What has ended is written down before its files are put in their place: a kill in between loses nothing.

mod looks;
mod runs;
mod schema;
#[cfg(test)]
mod tests;

use std::str::FromStr as _;
use std::time::Duration;

pub use flowkit_core::database::Address;
use flowkit_core::database::Kind;
pub use looks::NOT_YET;
pub use runs::{Dead, End, Retry, Run, STALE, State};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, ConnectOptions as _, SqlStr, Transaction};

/// Longest wait for a connection, or for another's transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at once. One would do; the page reads beside the engine.
const CONNECTIONS: u32 = 3;

/// Names our lock among PostgreSQL's advisory locks: "autoflow", in short.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310575217300)";

/// Why something can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database says no.
    #[error("AutoFlow's database can't do that")]
    Database(#[from] sqlx::Error),
    /// Its schema is not one of ours, or a newer program's.
    #[error(
        "the schema of AutoFlow's database can't be brought up to date; one of a newer program's needs that program"
    )]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The directory of a file can't be made.
    #[error("{0} can't be made")]
    Directory(String, #[source] std::io::Error),
}

/// The result of a query.
pub type Result<T> = std::result::Result<T, Error>;

/// The database.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    kind: Kind,
}

impl Store {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    /// The database can't be reached, or is another program's or a newer one's.
    pub async fn open(address: &Address) -> Result<Store> {
        sqlx::any::install_default_drivers();
        if let Some(directory) = address.directory() {
            let made = std::fs::create_dir_all(directory);
            made.map_err(|source| Error::Directory(directory.display().to_string(), source))?;
        }
        let kind = address.kind();
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| Box::pin(schema::prepare(kind, connection)))
            .connect_with(AnyConnectOptions::from_str(address.uri().expose())?.disable_statement_logging())
            .await?;
        schema::run(kind, &pool).await?;
        Ok(Store { pool, kind })
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins to write, once nobody else does.
    async fn change(&self) -> Result<Transaction<'static, Any>> {
        match self.kind {
            Kind::Sqlite => Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?),
            Kind::Postgres => {
                let mut change = self.pool.begin().await?;
                sqlx::query(LOCK).execute(&mut *change).await?;
                Ok(change)
            }
        }
    }

    /// A statement, with the [database's own words](schema::sql).
    fn sql(&self, text: &str) -> SqlStr {
        schema::sql(self.kind, text)
    }
}
