//! Certificates and keys as our secrets hold them, and questions to HTTPS servers of ours: whether one answers, without a
//! runtime, and with the feature `client` whatever else, on tokio. No web framework: what asks is not what serves.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

#[cfg(feature = "client")]
mod client;
mod get;
mod pem;
mod pinned;

#[cfg(feature = "client")]
pub use client::{Client, Place};
pub use get::{Get, Source};
pub use pem::{Pair, PemError, chain, ends, pair, unchecked, validity};
pub use pinned::{trusting, trusting_issuer};
