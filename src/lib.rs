//! FlowKit appliance: one supervisor that turns a bare machine into a working, tuned, secured FlowKit.
//!
//! Dependencies point downwards only; `tests/layers.rs` holds this picture against the code.
//!
//! ```text
//! commands    one file a subcommand of `flowkit`: arguments, help, one function
//!    |
//! roles       which services a role runs, and in what order (`roles/<role>.toml` says what the role *is*)
//!    |
//! verify      does a deployment give right answers?
//!    |
//! flowdb      cluster, migrations, users and grants, demo data      flowmachine   client, repair, health
//! tuning      what PostgreSQL should be told                        supervisor    services, knows no FlowKit
//! secrets     lookup, generation, rotation, checks
//! hardware    what the machine, or its cgroup, has
//! config      the deployment's settings, validated once
//!    |
//! catalogue   reads `roles/*.toml`: every name, default and port is said there once
//! ```

pub mod catalogue;
pub mod commands;
pub mod config;
pub mod flowdb;
pub mod flowmachine;
pub mod hardware;
pub mod redis_server;
pub mod roles;
pub mod secrets;
pub mod supervisor;
pub mod tuning;
pub mod verify;
