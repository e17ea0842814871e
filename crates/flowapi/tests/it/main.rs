//! The server against a FlowMachine that does as a test says.

mod answers;
mod audit;
mod database;
#[allow(dead_code)] // the tests of results need more of it
#[path = "../../../results/tests/it/rig.rs"]
mod flowdb;
mod flowmachine;
mod fuzz;
mod guard;
mod many;
mod rig;
mod routes;
mod start;
