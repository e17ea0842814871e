//! FlowAuth: who may ask which FlowAPI what, and for how long. Users, roles, servers, and the tokens that say so.
//!
//! Wire-compatible with upstream's: its routes and their JSON are here, its FlowAPI takes our tokens. Its faults are not here; each has
//! a test.
//!
//! ```text
//! routes          what programs ask and are answered. Each is entered in one table with whom it is for
//! pages           the same for people: pages and forms that need no script, in several languages; entered in the same table
//! acts            what both do: what is refused, what is changed, what the log says of it
//! caller          who asks: session, forged requests, rights, before any handler
//! mint            tokens, within the limits of server and roles, made by the crate `access`
//! app             what they share; the first administrator; revocation list; a new sealing key
//! store           everything kept, over SQLite or PostgreSQL by one set of queries, with the log of who did what
//! acme            a certificate from an authority, where one is wanted
//! local           the FlowAPI of the same deployment, if there is one, and others as administrators add them
//! deployment      what administrators are told of it all
//! oidc            the OpenID Connect provider of an organisation, if it has one
//! vault           sealing what is kept (FLOWAUTH_FERNET_KEY)
//! passwords, codes, passkeys, specification, times     no I/O: Argon2id, second factors, openapi.json, dates
//! start           from settings and secrets to all this
//! import          an upstream FlowAuth's database, taken over
//! ```
//!
//! What holds it together:
//!
//! - **Nothing is changed that the log lacks.** A transaction that writes ([`store::Change`]) is committed with its line or not at all; the
//!   database refuses to change a line. A token is in the books before anybody has it.
//! - **Who writes is alone.** On both databases there is one writing transaction at a time, so what it has read stays true: the last
//!   administrator stays, a code is taken once, two instances behind one PostgreSQL are as one.
//! - **Whom a route is for is said where it is entered**, and the matrix in `tests/it/matrix.rs` has to know it too.
//! - **What is stolen is of little use.** The database holds digests of sessions, Argon2id of passwords, and the rest sealed.
//! - **Guessing costs time**, by user and address, counted in the database before a guess is looked at.
//! - **Roles are never pooled**, and are looked up on their own server alone: FlowAPI grants by single roles, so does a token.

// A dependency that nothing uses.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use {clap as _, say as _, tempfile as _}; // of the program

pub mod acme;
mod acts;
mod app;
mod caller;
pub mod codes;
mod deployment;
pub mod import;
mod local;
mod mint;
pub mod oidc;
mod pages;
pub mod passkeys;
pub mod passwords;
mod routes;
pub mod specification;
pub mod start;
pub mod store;
mod times;
pub mod vault;

pub use app::{App, Beginning, Keys, Options};
pub use caller::Access;
pub use local::{Local, Pem};
pub use routes::{Table, error, table};
