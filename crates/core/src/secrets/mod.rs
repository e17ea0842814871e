//! Secrets: lookup, generation, rotation and checks.
//!
//! A secret is looked for as a systemd credential, then as a Docker or Podman secret, then in the deployment's directory,
//! then in the file that `NAME_FILE` names, then in the environment ([`Store`]). Every spelling that the catalogue knows is
//! accepted. No value is ever part of an error, a log line or a `Debug` text: values live in [`Secret`], which prints
//! nothing and is wiped when it goes.

mod certificate;
mod check;
mod derive;
mod files;
mod form;
mod init;
mod lookup;
mod random;
mod rotate;
mod secret;
mod store;

#[cfg(test)]
mod tests;

pub use certificate::is_for as certificate_is_for;
pub use check::{Checked, Finding, State, check};
pub use derive::{is_as_made, moved, sources};
pub use files::FileError;
pub use form::{plain, unseen};
pub use init::{MakeError, Missing, Options, Report, init, made_from};
pub use lookup::{LookupError, Place};
pub use random::{RandomError, password};
pub use rotate::{RotateError, Rotation, aside, rotate, set_aside, take_over};
pub use secret::Secret;
pub use store::{Found, MaterialiseError, Store};
