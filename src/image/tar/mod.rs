//! Tar archives: the headers that we write, and a reader that believes nothing.

mod header;

pub use header::{BLOCK, Header, Kind, padded};
