//! The server against a FlowMachine that does as a test says.

mod answers;
mod flowmachine;
mod rig;
mod routes;
mod start;
