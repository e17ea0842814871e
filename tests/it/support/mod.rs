//! What several modules' tests start from.

pub mod flowdb;
pub mod flowmachine;
