//! OCI images out of Nix closures. Knows nothing of FlowKit.
//!
//! ```text
//! spec ──> graph ──> layering ──> stream ──> pipeline ──> output
//! what is  who needs  what shares  the bytes  read, hash,  archive or
//! asked    whom       a layer      of a layer compress     directory
//! ```

mod build;
mod codec;
mod digest;
mod error;
mod graph;
mod layering;
mod output;
mod pipeline;
mod spec;
mod stream;
mod tar;

pub use build::{Built, Options, build};
pub use codec::Codec;
pub use digest::Digest;
pub use error::Error;
pub use output::Format;
pub use pipeline::Blob;
pub use spec::Spec;
