//! Why loading stops.

use crate::read::Unfit;
use crate::session::BoxedError;

/// Why loading stops. The days that are there already stay; the others are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FlowDB is away, or refuses the user.
    #[error("cannot connect to FlowDB")]
    Connect(#[source] BoxedError),
    /// A statement failed.
    #[error("cannot {what}")]
    Database {
        /// What was to be done.
        what: String,
        /// What PostgreSQL says.
        source: tokio_postgres::Error,
    },
    /// Queries that read the day that is to be replaced.
    #[error("cannot replace {0}: queries have been reading it, or its table, all the while; its old rows are kept")]
    Busy(String),
    /// The table that was filled does not have what was sent. Attaching it would lose rows.
    #[error("sent {sent} rows to {table}, and it has {there}; it is not attached")]
    Lost {
        /// The table.
        table: String,
        /// Rows.
        sent: u64,
        /// Rows.
        there: u64,
    },
    /// Where a cell was before a day that nobody has named would be lost.
    #[error(
        "nothing was changed: {cells} cells have moved, such as \"{cell}\"; say with --date from which day on they are where the list says"
    )]
    Moved {
        /// How many.
        cells: u64,
        /// One of them.
        cell: String,
    },
    /// Its history would run backwards.
    #[error(
        "nothing was changed: cell \"{cell}\" has moved, and FlowDB knows where it was on {date} and after; give a later --date"
    )]
    TooEarly {
        /// The cell.
        cell: String,
        /// The day that was given.
        date: time::Date,
    },
    /// A place that is none, in degrees.
    #[error(
        "nothing was changed: cell \"{cell}\" is at {place}, which is nowhere: are its coordinates counted in what --srid says?"
    )]
    Nowhere {
        /// The cell.
        cell: String,
        /// Longitude and latitude.
        place: String,
    },
    /// The machine's disk.
    #[error("cannot prepare a day")]
    Disk(#[source] Unfit),
    /// What was put aside can't be read again, a file of a day went away.
    #[error("cannot {what}")]
    File {
        /// What was to be done.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The process can't have what it needs of the system.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}

impl Error {
    /// Turns what PostgreSQL says into what could not be done.
    pub fn when(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
        let what = what.into();
        move |source| Error::Database { what, source }
    }

    /// The same of the system.
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::File { what, source }
    }
}

/// The first of many, a line each.
pub(crate) fn listed(faults: &[String]) -> String {
    const SHOWN: usize = 20;
    let more = if faults.len() > SHOWN { format!("\n  and {} more", faults.len() - SHOWN) } else { String::new() };
    faults.iter().take(SHOWN).map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n") + &more
}
