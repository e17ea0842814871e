//! FlowMachine as we run it: asking its server, putting its records right, and noticing when it hangs.
//!
//! ```text
//! client   one request over ZeroMQ, with a limit to the wait
//! records  what redis and `cache.cached` say about queries, and the names upstream gives to that
//! repair   makes the two agree, before each start of the server
//! forget   takes results out of the cache
//! sources  where these two are
//! neighbours  waiting for them, and noticing their restarts, when they run somewhere else
//! health   is it ready? has it hung?
//! ```
//!
//! The server itself is upstream's Python, started by `python/flowkit_flowmachine`.

mod client;
mod forget;
mod health;
pub mod neighbours;
mod records;
pub mod repair;
mod sources;

pub use client::{Client, Error, Reply, Status};
pub use forget::forget;
pub use health::{Hung, Ready};
pub use records::{Records, States, database_id};
pub use sources::{Sources, address_of};
