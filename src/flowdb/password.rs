//! Passwords as PostgreSQL keeps them.

use postgres_protocol::password::scram_sha_256;
use sha2::{Digest, Sha256};

use super::MONITOR;
use flowkit_core::secrets::Secret;

/// The password of [`super::MONITOR`], made out of the superuser's, which can't be had from it: whoever asks whether the
/// server is ready need not be able to do anything else there.
pub fn of_monitor(superuser: &Secret) -> Secret {
    let digest = Sha256::new().chain_update(MONITOR).chain_update([0]).chain_update(superuser.expose()).finalize();
    Secret::new(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `PASSWORD '...'` with the salted verifier of SCRAM (RFC 5803) instead of the password, so that the password itself
/// never reaches the server, its log or its list of running statements.
pub fn clause(password: &Secret) -> String {
    // The verifier is letters, digits and `$:+/=`: nothing that a quoted literal could trip over.
    format!("PASSWORD '{}'", scram_sha_256(password.expose().as_bytes()))
}
