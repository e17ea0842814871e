//! What can go wrong with a cluster and its databases, each with what to do.

use std::io;
use std::path::PathBuf;

use flowkit_core::config::{Problem, Problems};
use flowkit_core::secrets::LookupError;

/// What can go wrong with a cluster and its databases.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings or secrets of the operator's are wrong or missing.
    #[error(transparent)]
    Problems(#[from] Problems),

    /// A secret can't be had.
    #[error(transparent)]
    Secret(#[from] LookupError),

    /// No PostgreSQL at all, or none new enough.
    #[error(
        "no PostgreSQL from version {oldest} on was found in {looked}; install it{with} (`make setup` does), \
         or set FLOWKIT_POSTGRES_BIN to the directory of its programs"
    )]
    NoPostgres {
        /// Where it was looked for.
        looked: String,
        /// The oldest version that will do.
        oldest: u32,
        /// ` with …`, what else it takes.
        with: String,
    },

    /// The library that makes keys failed.
    #[error("cannot make a certificate for the database's server")]
    Certificate(#[source] rcgen::Error),

    /// What is in `FLOWKIT_POSTGRES_BIN` is not PostgreSQL's programs.
    #[error("{path} could not be asked for its version; does FLOWKIT_POSTGRES_BIN name a directory of PostgreSQL's?")]
    NotPostgres {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: Option<io::Error>,
    },

    /// It would start, and then lack what the schema is made of.
    #[error(
        "PostgreSQL in {bin} has no {extension} (no {extension}.control in {looked}); install it for this version of \
         PostgreSQL"
    )]
    NoExtension {
        /// The directory of its programs.
        bin: PathBuf,
        /// What it lacks.
        extension: &'static str,
        /// Where extensions were looked for.
        looked: String,
    },

    /// Another major version's data: to start it would be refused, to initialise would destroy it.
    #[error(
        "{data} holds data of PostgreSQL {made_by}, and {installed} is what is installed; install PostgreSQL \
         {made_by}{with}, or move the data with pg_upgrade or dump and restore. Nothing was touched"
    )]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// Its major version.
        made_by: String,
        /// What there is.
        installed: String,
        /// ` with …`, what else it takes.
        with: String,
    },

    /// Somebody else's cluster, or no cluster: to initialise there, or to rewrite its access rules, would destroy it.
    #[error(
        "{data} is not empty and was not made by flowkit ({found}); give an empty directory, or move its data with dump \
         and restore. Nothing was touched"
    )]
    Foreign {
        /// The data directory.
        data: PathBuf,
        /// What was found there.
        found: String,
    },

    /// A server runs there: a second one would destroy the data.
    #[error("{data} is in use by {holder}; stop that server first. Nothing was touched")]
    InUse {
        /// The data directory.
        data: PathBuf,
        /// Who, as far as it can be known.
        holder: String,
    },

    /// PostgreSQL refuses a directory that belongs to somebody else.
    #[error("{path} belongs to user id {owner}, not to {me}, who runs this; change it with chown, or run as its owner")]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Us.
        me: u32,
    },

    /// Nothing can be made in a directory.
    #[error(
        "{path} belongs to user id {owner}, and {me}, who runs this, may make nothing in it; change that with chown or \
         chmod 1777, or run as its owner"
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Us.
        me: u32,
    },

    /// PostgreSQL refuses to be root.
    #[error("PostgreSQL does not run as root; start this as another user (`flowkit up` makes one)")]
    Root,

    /// initdb wants a name for the user.
    #[error(
        "user id {uid} has no name here and PostgreSQL's initdb needs one; add the user to /etc/passwd, or install \
         nss_wrapper (Debian: libnss-wrapper)"
    )]
    NoUserName {
        /// The effective user id.
        uid: u32,
    },

    /// A path of a Unix socket has a limit that the kernel sets.
    #[error(
        "the socket {path} would be {length} bytes long and the system's limit is 107; use a shorter state directory"
    )]
    SocketPath {
        /// The socket.
        path: PathBuf,
        /// Its length.
        length: usize,
    },

    /// A database that fills its disk stops for good; one that was begun on a full disk never starts.
    #[error("{data} has {free} MiB of free space, and an empty {of} needs {needed}; make room, or use another disk")]
    NoRoom {
        /// What the cluster is called.
        of: &'static str,
        /// The data directory.
        data: PathBuf,
        /// MiB that there are.
        free: u64,
        /// MiB that it takes.
        needed: u64,
    },

    /// initdb, or what follows it, failed; the directory was left as it was.
    #[error("making the cluster failed ({status}); the data directory was left as it was. PostgreSQL said:\n{output}")]
    Initdb {
        /// Exit status or signal.
        status: String,
        /// The end of what it printed.
        output: String,
    },

    /// A file or directory.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },

    /// Nobody answers, or not to us.
    #[error("cannot connect to {of} at {address} as {user}")]
    Connect {
        /// What the cluster is called.
        of: &'static str,
        /// Host and port, or socket directory and port.
        address: String,
        /// The database user.
        user: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },

    /// Somebody answers, but it is another server than this deployment's.
    #[error("the server at {address} is not the one of {data}; is its port taken by another PostgreSQL?")]
    OtherServer {
        /// Where it answered.
        address: String,
        /// Our data directory.
        data: PathBuf,
    },

    /// A statement failed.
    #[error("cannot {action}")]
    Sql {
        /// What was tried.
        action: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },

    /// A newer flowkit has migrated this database: an older one would break what it does not know.
    #[error(
        "the database is at schema version {database} (brought there by flowkit {by}), and flowkit {} knows versions up \
         to {known}; install the newer flowkit. Nothing was touched", env!("CARGO_PKG_VERSION")
    )]
    NewerDatabase {
        /// Its version.
        database: i32,
        /// Who brought it there.
        by: String,
        /// The newest version known here.
        known: i32,
    },

    /// A migration that was applied is not the one known here.
    #[error(
        "the database's schema was made by another edition of flowkit ({0}); use the edition that made it. Nothing was \
         touched"
    )]
    Divergent(String),

    /// A migration failed and was undone.
    #[error("a migration failed and was undone")]
    Migration(#[source] refinery_core::Error),

    /// There is no such user, or it is not one of ours to change.
    #[error("{0}")]
    User(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }

    /// For `map_err` on statements.
    pub fn sql(action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
        let action = action.into();
        move |source| Error::Sql { action, source }
    }

    /// Whether the operator has to change something before trying again makes sense.
    pub fn is_mistake(&self) -> bool {
        match self {
            Error::Problems(_)
            | Error::Secret(_)
            | Error::NoPostgres { .. }
            | Error::NotPostgres { .. }
            | Error::OtherMajor { .. }
            | Error::Foreign { .. }
            | Error::NoExtension { .. }
            | Error::WrongOwner { .. }
            | Error::NotOurs { .. }
            | Error::Root
            | Error::NoUserName { .. }
            | Error::SocketPath { .. }
            | Error::NewerDatabase { .. }
            | Error::Divergent(_)
            | Error::User(_) => true,
            Error::InUse { .. }
            | Error::NoRoom { .. }
            | Error::Initdb { .. }
            | Error::Certificate(_)
            | Error::File { .. }
            | Error::Connect { .. }
            | Error::OtherServer { .. }
            | Error::Sql { .. }
            | Error::Migration(_) => false,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        Error::Problems(problem.into())
    }
}
