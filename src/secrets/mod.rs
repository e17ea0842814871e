//! Secrets: lookup, generation, rotation and checks.
//!
//! A secret is looked for as a systemd credential, then as a Docker or Podman secret, then in the deployment's directory,
//! then in the file that `NAME_FILE` names, then in the environment ([`Store`]). Every spelling that the catalogue knows is
//! accepted. No value is ever part of an error, a log line or a `Debug` text: values live in [`Secret`], which prints
//! nothing and is wiped when it goes.

mod form;
mod secret;
mod store;

pub use form::plain;
pub use secret::Secret;
pub use store::{Found, LookupError, Place, Store};
