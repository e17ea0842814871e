//! Certificates and keys as our secrets hold them, and whether an HTTPS server of ours answers. Nothing here needs a runtime
//! or a web framework: what asks is not what serves.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod get;
mod pem;
mod pinned;

pub use get::{Get, Source};
pub use pem::{Pair, PemError, chain, ends, pair};
pub use pinned::{trusting, trusting_issuer};
