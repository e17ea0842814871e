//! FlowMachine's server and its redis: requests, secrets, addresses, repair, hangs.

mod hangs;
mod objects;
mod redis;
mod repair;
mod server;
