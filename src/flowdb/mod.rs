//! FlowDB: the cluster, its schema, its users and the demo data.
//!
//! ```text
//! cluster::prepare   before the server starts: initdb when there is nothing yet, configuration at every start
//! cluster::serve     becomes the server, holding the data directory's lock
//! schema::apply      once it answers: database, migrations, roles, passwords, grants, cache settings
//! scram              to log in without ever sending a password
//! connect, ProbeSql  to talk to it, and to ask whether it is ready and is ours
//! users              logins of people
//! demo               a made-up country and its call records
//! ```
//!
//! All of it can be done again at any time; every start does.

pub mod cluster;
mod connect;
pub mod demo;
mod error;
pub mod migrations;
mod password;
mod probe;
mod programs;
pub mod schema;
pub mod scram;
pub mod users;

pub use connect::{Endpoint, connect};
pub use error::Error;
pub use probe::ProbeSql;
pub use programs::Postgres;

/// The database. FlowMachine knows no other name.
pub const DATABASE: &str = "flowdb";

/// The superuser, owner of everything.
pub const SUPERUSER: &str = "flowdb";

/// Whom the readiness probe logs in as: it may connect, and nothing else.
const MONITOR: &str = "flowkit_monitor";

/// Connections that it may have: it keeps one, and a few end late.
const MONITOR_CONNECTIONS: u32 = 4;

/// The owner of stored results. FlowMachine hands every table it stores to a role of exactly this name.
pub const FLOWMACHINE: &str = "flowmachine";
