//! What a cluster's server is told: settings as data, each with its reason and where it came from.
//!
//! ```text
//! small        all that a small database of an application is told: a fixed share of the machine
//! safety       what every cluster is told beside its tuning: what must not reach the log, what must not wait for ever
//! conf         settings as lines of `postgresql.conf`
//! Database     what is known of programs and data while no server runs
//! ```
//!
//! A large database plans for itself, with the rules of what it is asked; it leaves to small ones what [`small::SHARE`] says.

mod conf;
mod safety;
mod server;
pub mod small;
mod value;

use std::fmt;

pub use conf::{comment, lines};
use flowkit_core::hardware;
pub use safety::Safety;
pub use value::{Value, Word};

/// What is known of the server's programs and of the data before the server starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Major version of PostgreSQL.
    pub major: u32,
    /// Size of the data in bytes; 0 for a new one.
    pub bytes: u64,
    /// Partitions of its tables; 0 for a new one.
    pub partitions: u64,
    /// Was this build made with lz4? Debian's and nixpkgs' are.
    pub lz4: bool,
    /// Is the library of pgAdmin's debugger installed?
    pub debugger: bool,
    /// Is the library of pg_stat_statements installed? It is part of every usual package.
    pub statements: bool,
}

impl Database {
    /// A database without data, of a usual build.
    pub fn new(major: u32) -> Database {
        Database { major, bytes: 0, partitions: 0, lz4: true, debugger: false, statements: true }
    }
}

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", content = "detail", rename_all = "lowercase")]
pub enum Origin {
    /// The same everywhere.
    Default,
    /// The machine.
    Hardware(String),
    /// A control group's limit.
    Cgroup(String),
    /// A variable or a flag.
    Given(String),
    /// What is in the database.
    Data(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Hardware(what) => write!(f, "hardware: {what}"),
            Origin::Data(what) => write!(f, "data: {what}"),
            Origin::Cgroup(what) | Origin::Given(what) => f.write_str(what),
        }
    }
}

impl From<&hardware::Origin> for Origin {
    fn from(origin: &hardware::Origin) -> Origin {
        match origin {
            hardware::Origin::Machine(what) | hardware::Origin::Unknown(what) => Origin::Hardware(what.clone()),
            hardware::Origin::Cgroup(what) => Origin::Cgroup(what.clone()),
            hardware::Origin::Given(what) => Origin::Given(what.clone()),
        }
    }
}

/// One setting of the server.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Setting {
    /// PostgreSQL's name for it.
    pub name: &'static str,
    /// Its value.
    pub value: Value,
    /// Why this value.
    pub reason: String,
    /// What the value hangs on.
    pub origin: Origin,
}

/// A setting.
pub fn set(name: &'static str, value: Value, origin: Origin, reason: impl Into<String>) -> Setting {
    Setting { name, value, reason: reason.into(), origin }
}

/// A whole number without a unit.
pub fn count(n: impl Into<i64>) -> Value {
    Value::Count(n.into())
}

/// A value that a person gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// The variable.
    pub name: &'static str,
    /// Where it was set, for people: `environment`.
    pub place: String,
}

impl<T> Given<T> {
    /// `MAX_CPUS (environment)`
    pub fn origin(&self) -> String {
        format!("{} ({})", self.name, self.place)
    }
}

/// Where the server's log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// To whoever started the server.
    Stderr,
    /// JSON files in the data directory.
    Json,
    /// CSV files in the data directory.
    Csv,
}

impl LogDestination {
    /// By PostgreSQL's name for it.
    pub fn of(choice: &str) -> Option<LogDestination> {
        match choice {
            "stderr" => Some(LogDestination::Stderr),
            "jsonlog" => Some(LogDestination::Json),
            "csvlog" => Some(LogDestination::Csv),
            _ => None,
        }
    }
}
