//! What every program of a deployment knows.
//!
//! ```text
//! site        the three that go together: state directory, settings, secrets
//!    |
//! secrets     lookup, generation, rotation, checks
//! config      the deployment's settings, validated once, and its state directory
//!    |
//! catalogue   reads `src/roles/*.toml`: every name, default and port is said there once
//! hardware    what the machine, or its cgroup, has
//! room        what is kept free of a disk
//! size        sizes as people write them
//! room        what is free on a disk, and how much of it is kept
//! database    where a server of ours keeps its data
//! takeover    which FlowAuth another one takes over, as both programs that do it are told
//! ```

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod catalogue;
pub mod config;
pub mod database;
pub mod hardware;
pub mod room;
pub mod secrets;
mod site;
pub mod size;
pub mod takeover;

pub use site::Site;
