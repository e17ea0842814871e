//! What several modules' tests start from.

pub mod client;
pub mod deployment;
pub mod engine;
pub mod flowapi;
pub mod flowauth;
pub mod flowdb;
pub mod flowmachine;
pub mod notebooks;
pub mod poll;
pub mod ports;
pub mod programs;
pub mod skip;
pub mod tmpfs;
