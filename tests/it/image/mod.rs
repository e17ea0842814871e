//! Images: the same bytes whatever changes that should not matter, read by others, and never believed unread.

mod bytes;
mod docker;
mod engine;
mod hostile;
mod layers;
mod oci;
mod others;
mod rig;
mod saved;
