//! OCI images out of Nix closures. Knows nothing of FlowKit.
//!
//! ```text
//! spec ──> graph ──> layering ──> stream ──> pipeline ──> output
//! what is  who needs  what shares  the bytes  read, hash,  archive or
//! asked    whom       a layer      of a layer compress     directory
//!
//! store ──> open ──> unpack ──> inspect, diff, verify, load
//! files     documents layers
//! ```
//!
//! What is written is the same bytes for the same input, whatever the machine; what is read may be hostile.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod build;
mod codec;
mod diff;
mod digest;
mod documents;
mod error;
mod graph;
mod inspect;
mod layering;
mod load;
mod open;
mod output;
mod parallel;
mod pipeline;
pub mod reference;
mod runtime;
mod sbom;
mod spec;
mod store;
mod stream;
mod tar;
mod unpack;
mod verify;

pub use build::{Built, Options, build};
pub use codec::Codec;
pub use diff::{Difference, PathDifference, diff};
pub use digest::Digest;
pub use error::Error;
pub use inspect::{LayerSummary, PathSummary, Summary, inspect};
pub use load::{Engine, Loaded, load};
pub use open::Image;
pub use output::Format;
pub use pipeline::Blob;
pub use spec::Spec;
pub use verify::{Maker, Problem, Report, verify};
