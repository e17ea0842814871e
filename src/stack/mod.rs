//! A deployment on Docker Swarm: the stack file, the secrets in the engine, and how both are brought up.
//!
//! ```text
//! wish       what the operator asked for, checked: roles, tags, memory, placement
//! parts      what of the catalogue a stack asks for
//! plan       a role of the catalogue as a service, its networks, volumes, secrets
//! shm        the memory that FlowDB's processes share
//! compose    the shape of a Compose 3.8 file, and its text
//! alone      the same for one engine without Swarm
//! quadlet    the same for podman under systemd
//! engine     the `docker` command: what is asked of it, and its errors
//! vault      secrets in the swarm: made, kept
//! inventory  which secrets are in the swarm, and which belong together
//! rotation   new values for them, as one step that can be repeated
//! services   what runs in a stack, how it goes, and what it was given
//! rollout    images, deployment, waiting until everything is healthy
//! job        one command run to its end inside a deployed stack
//! ```
//!
//! The stack file is a pure function of the wish, the settings and the catalogue; it never asks an engine.

mod alone;
mod compose;
mod engine;
mod inventory;
mod job;
mod parts;
mod plan;
mod quadlet;
pub mod rollout;
pub mod rotation;
pub mod services;
mod shm;
pub mod vault;
mod wish;

#[cfg(test)]
mod tests;

pub use alone::{ComposeFile, Here, alone};
pub use compose::File;
pub use engine::{Docker, Error};
pub use job::{Job, Outcome};
pub use plan::{inside, plan};
pub use quadlet::{KINDS, PREFIX, Unit, quadlet};
pub use wish::{Given, Wish, stack_name};
