//! Why demo data could not be loaded.

/// Why demo data could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FlowDB is away, or a statement fails.
    #[error(transparent)]
    FlowDb(#[from] etl::Error),
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
}

impl Error {
    /// Turns what PostgreSQL says into what could not be done.
    pub(super) fn when(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
        let when = etl::Error::when(what);
        move |source| when(source).into()
    }
}
