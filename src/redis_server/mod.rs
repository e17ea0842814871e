//! A redis: the one of a deployment, where FlowMachine's server, its cache cleaner and library users share the states of queries; and one as
//! FlowETL has it for Celery.
//!
//! ```text
//! conf    redis.conf: what it says and why; written whole or not at all
//! probe   is it there, is it ours, does it know the password?
//! ```

mod conf;
mod probe;

pub use conf::{Conf, Error, MAX_MEMORY, MAX_PROCESS, Use, prepare, write};
pub use probe::{Ping, connection_info};

/// The secret that FlowMachine's redis asks for.
const PASSWORD: &str = "REDIS_PASSWORD";
