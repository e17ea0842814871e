//! Passwords as PostgreSQL keeps them.

use postgres_protocol::password::scram_sha_256;
use sha2::{Digest, Sha256};

use flowkit_core::secrets::Secret;

/// Whom the readiness probe logs in as: it may connect, and nothing else.
pub const MONITOR: &str = "flowkit_monitor";

/// Connections that it may have: it keeps one, and a few end late.
pub const MONITOR_CONNECTIONS: u32 = 4;

/// The password of [`MONITOR`], made out of the superuser's, which can't be had from it: whoever asks whether the
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
