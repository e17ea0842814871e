//! Why demo data could not be loaded.

use super::load::BoxedError;

/// Why demo data could not be loaded.
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
    /// Going on would have mixed made-up records with other ones, perhaps a real country's.
    #[error(
        "{what} holds data that `flowkit db demo` did not make; nothing was changed. Demo data goes into a FlowDB of its \
         own (`flowkit up --dir DIR --demo`)"
    )]
    Foreign {
        /// The table, or part of one.
        what: String,
    },
    /// Going on would have mixed the records of two sets of subscribers.
    #[error(
        "this FlowDB holds demo data made with other options; nothing was changed. There is: {found}. Asked for: {wanted}"
    )]
    Different {
        /// The marker that is there.
        found: String,
        /// The marker that was expected.
        wanted: String,
    },
    /// Two at once would wait for each other's tables.
    #[error("another `flowkit db demo` is loading into this FlowDB; wait until it is done")]
    Busy,
    /// The process can't have what it needs of the system.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}

impl Error {
    /// Turns what PostgreSQL says into what could not be done.
    pub(super) fn when(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
        let what = what.into();
        move |source| Error::Database { what, source }
    }
}
