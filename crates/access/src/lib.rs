//! Who may ask FlowMachine what. Tokens are checked and made here, with the roles and scopes in them; query specs are read,
//! bounded and guarded; the rule that joins the two is [`Token::permit`]. Wire formats and answers are upstream's, so that a
//! token of either side works on the other.
//!
//! | step of a server | here |
//! |---|---|
//! | the header of a request | [`bearer`] |
//! | the token in it | [`Verifier::verify`], then [`Revocations::check`] |
//! | the body of a `run`, or a spec that FlowMachine has kept | [`Spec::parse`] |
//! | before FlowMachine is asked anything | [`Token::precheck`] |
//! | once FlowMachine has said the aggregation unit | [`Token::permit`] |
//! | everything that is no query | [`Token::permit_geography`], [`Token::permit_dates`], [`Token::permit_quality`] |
//!
//! Nothing here does I/O, waits, or asks for the time: what is needed is handed in.

// A dependency that nothing uses.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod bearer;
mod claims;
mod dates;
mod inspect;
mod jws;
mod keys;
mod mint;
mod permit;
#[cfg(test)]
mod properties;
mod refused;
mod revocations;
mod spec;
#[cfg(test)]
mod testing;
mod token;
mod verifier;

pub use bearer::bearer;
pub use dates::{Dates, Moment, Reach};
pub use inspect::{Inspection, Queries};
pub use keys::{KeyError, Keys};
pub use mint::{MintError, Minter, Wish};
pub use permit::{Act, Denied, Grant};
pub use refused::{Expired, Refused};
pub use revocations::Revocations;
pub use spec::{Bounds, Fault, Spec, Tables};
pub use token::{Role, Token};
pub use verifier::Verifier;
