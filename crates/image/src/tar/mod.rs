//! Tar archives: the headers that we write, and a reader that believes nothing.

mod header;
mod read;

pub use header::{BLOCK, Header, Kind, padded};
pub use read::{Entry, Reader, TarError};
