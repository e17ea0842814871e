//! FlowDB: its cluster, its schema, its users and the demo data.
//!
//! ```text
//! cluster            FlowDB among the clusters that `postgres` can make, and its tuning
//! schema::apply      once it answers: database, migrations, logins, grants, cache settings
//! logins             of programs, and what groups of people may take
//! unhindered         the superuser's work, which anybody could hold up
//! connect, probe     to talk to it, and to ask whether it is ready
//! users              logins of people
//! demo               a made-up country and its call records
//! ```
//!
//! All of it can be done again at any time; every start does.

pub mod cluster;
mod connect;
pub mod demo;
mod logins;
pub mod migrations;
pub mod probe;
pub mod schema;
pub mod unhindered;
pub mod users;

pub use connect::connect;
pub use postgres::Error;

/// The database. FlowMachine knows no other name.
pub const DATABASE: &str = "flowdb";

/// The superuser, owner of everything.
pub const SUPERUSER: &str = "flowdb";

/// The owner of stored results. FlowMachine hands every table it stores to a role of exactly this name, so that analysts are
/// members of it and can act as it: nobody logs in as it, unless told so.
pub const FLOWMACHINE: &str = "flowmachine";

/// The login of FlowMachine's server, unless another is given.
const FLOWMACHINE_LOGIN: &str = "flowkit_flowmachine";
