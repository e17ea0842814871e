//! Images: the same bytes whatever changes that should not matter, read by others, and never believed unread.

mod bytes;
mod docker;
mod hostile;
mod layers;
mod oci;
mod others;
pub mod rig;
mod saved;
