//! Clusters of PostgreSQL: each a value, and all that is done with it. Knows no database of ours.
//!
//! ```text
//! Cluster         which cluster: where it is, whose, where it answers, what its data need
//! Cluster::prepare   before the server starts: initdb when there is nothing yet, configuration at every start
//! Cluster::serve     becomes the server, holding the data directory's lock
//! Cluster::make_database, Migrations   once it answers: a database, and its schema version by version
//! Cluster::make_application   the database of an application that sees to its schema itself, and its login
//! Endpoint        to log in without ever sending a password
//! ProbeSql           is it ready, and is it ours?
//! Cluster::keep_room   while it runs: ends what would leave the server no room on its disk
//! tuning             settings as data; what a small database is told
//! ```
//!
//! All of it can be done again at any time; every start does.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod application;
mod cluster;
mod connect;
mod error;
mod migrations;
pub mod password;
mod probe;
mod programs;
mod room;
pub mod tuning;

pub use cluster::{Cluster, Prepared, write_whole};
pub use connect::{Endpoint, MAINTENANCE};
pub use error::Error;
pub use migrations::Migrations;
pub use password::{MONITOR, MONITOR_CONNECTIONS};
pub use probe::{Login, ProbeSql, Question};
pub use programs::Postgres;
pub use room::STEP;
