//! Integration tests over real services, one module for each part of the manual.
//!
//! What they need comes with `make setup`; where it is missing they fail and say so, they never skip in silence:
//! the little that may be lacking is `support/skip.rs`'s to say.

mod apart;
mod auth;
mod autoflow;
mod check_config;
mod container;
mod demo;
mod deployment;
mod docker;
mod etl;
mod flowapi;
mod flowdb;
mod flowetl;
mod flowmachine;
mod image;
mod layers;
mod notebooks;
mod postgres;
mod said;
mod secrets;
mod skips;
mod substrate;
mod supervisor;
mod support;
mod token;
mod tuning;
mod unit;
mod vm;
mod walls;
