//! FlowKit appliance: one supervisor that turns a bare machine into a working, tuned, secured FlowKit.
//!
//! Dependencies point downwards only. What stands below the line is a crate each, so that the compiler keeps it; for the modules
//! above it `tests/it/layers.rs` holds this picture against the code.
//!
//! ```text
//! commands       one file a subcommand of `flowkit`: arguments, help, one function
//!    |
//! roles          which services a role runs, and in what order (`roles/<role>.toml` says what the role *is*)
//! stack          a deployment on Docker Swarm
//! verify         does a deployment give right answers?
//!    |
//! flowmachine    upstream's server: asking it, mending its records, noticing when it hangs
//! redis_server   its configuration, and whether it is ours
//! flowdb         its cluster, migrations, users and grants, demo data
//!    |
//! tuning         what FlowDB's PostgreSQL should be told
//! failure        how a command, or a step of a service, ends badly
//! ---------------------------------------------------------------------------------------------- crates/
//! flowkit-core   catalogue of the roles, settings, secrets, what the machine has
//! etl            files of call detail records into FlowDB; knows its schema, and nothing else of FlowKit
//! postgres       clusters of PostgreSQL; knows no FlowDB
//! access         tokens, permissions, and what may be asked of FlowMachine
//! supervisor     services, as data and in action; knows no FlowKit
//! image          OCI images out of Nix closures; knows no FlowKit
//! web, https     the ground of our web servers, which is no part of this program, and whether one answers; know no FlowKit
//! trace          what our servers log
//!    |
//! say            what is said on stdout and stderr, by whoever it is
//! ```

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod commands;
mod failure;
pub mod flowdb;
pub mod flowmachine;
pub mod redis_server;
pub mod roles;
pub mod stack;
pub mod tuning;
pub mod verify;
