//! Images: the same bytes whatever changes that should not matter, read by others, and never believed unread.

mod bytes;
mod rig;
