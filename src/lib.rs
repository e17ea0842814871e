//! FlowKit appliance: one supervisor that turns a bare machine into a working, tuned, secured FlowKit.
//!
//! Dependencies point downwards only; `tests/it/layers.rs` holds this picture against the code.
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
//! flowdb         cluster, migrations, users and grants, demo data
//!    |
//! tuning         what PostgreSQL should be told
//! secrets        lookup, generation, rotation, checks
//! config         the deployment's settings, validated once
//!    |
//! catalogue      reads `roles/*.toml`: every name, default and port is said there once
//! hardware       what the machine, or its cgroup, has
//! supervisor     services, as data and in action; knows no FlowKit
//! image          OCI images out of Nix closures; knows no FlowKit
//!    |
//! say            what is said on stdout and stderr, by whoever it is
//! ```

pub mod catalogue;
pub mod commands;
pub mod config;
pub mod flowdb;
pub mod flowmachine;
pub mod hardware;
pub mod image;
pub mod redis_server;
pub mod roles;
pub mod say;
pub mod secrets;
pub mod stack;
pub mod supervisor;
pub mod tuning;
pub mod verify;
