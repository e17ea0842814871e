//! FlowAPI: the HTTPS front of FlowMachine. Upstream's `flowclient` and upstream's tokens can't tell it from upstream's.
//!
//! ```text
//! routes        what is asked and answered, on the crate `web`'s ground
//! gate, caller  tokens and permissions, by the crate `access`: nothing reaches FlowMachine before them
//! revoked       lists of what was revoked, of files and of FlowAuth
//! fair          what one user may have at once
//! known, polls  what FlowMachine was asked already, or a moment ago
//! flowmachine   questions to FlowMachine: bounded, in time, over connections that are used again
//! zmtp          ZeroMQ's wire protocol
//! database      connections to FlowDB, over which results stream, by the crate `results`
//! spec          the OpenAPI document (document), made of FlowMachine's schemas; packed, pages that are compressed once
//! audit, metrics, health    what is told of it all
//! ```

// A dependency that nothing uses. The program has some more.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use say as _; // of the program

mod app;
mod audit;
mod caller;
pub mod database;
mod document;
mod fair;
pub mod flowmachine;
mod gate;
mod health;
mod known;
mod metrics;
mod packed;
mod polls;
mod revoked;
mod routes;
mod spec;
pub mod start;
pub mod zmtp;

pub use app::{App, Options};
pub use document::scopes;
pub use gate::Gate;
pub use revoked::List;
pub use routes::router;
