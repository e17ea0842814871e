//! What can go wrong with a result.

use tokio_postgres::error::SqlState;

/// Why a result can't be had, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL refused the query, failed in it or went away.
    #[error("PostgreSQL, {doing}")]
    Database {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// The library that writes Arrow or Parquet refused something.
    #[error("the writer, at row {row}")]
    Writer {
        /// The last row that it was given, counted from 1.
        row: u64,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A type of file for features was asked for, and the columns are not a feature's.
    #[error("the columns are not those of a feature: type, id, geometry, properties")]
    NotFeatures,
    /// What came is no binary COPY.
    #[error("after row {row} comes what is no part of a binary COPY, or nothing")]
    Copy {
        /// The rows that were seen.
        row: u64,
    },
    /// Bytes that PostgreSQL does not send: a bug of ours, or another program at the other end.
    #[error("column {column:?} of row {row}: bytes that are no {expected}")]
    Malformed {
        /// The column's name.
        column: String,
        /// Counted from 1.
        row: u64,
        /// The type that they were read as.
        expected: &'static str,
    },
}

impl Error {
    /// PostgreSQL's own code of the fault, where it gave one.
    pub fn sql_state(&self) -> Option<&SqlState> {
        match self {
            Error::Database { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether the query ran into its time limit (or somebody cancelled it: PostgreSQL has one code for both).
    pub fn is_timeout(&self) -> bool {
        self.sql_state() == Some(&SqlState::QUERY_CANCELED)
    }

    /// Whether the connection is gone, so that the same query may succeed on another one.
    pub fn is_closed(&self) -> bool {
        match self {
            Error::Database { source, .. } => {
                let ended = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
                source.is_closed() || source.code().is_some_and(|code| ended.contains(code))
            }
            _ => false,
        }
    }
}
