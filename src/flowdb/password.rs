//! Passwords as PostgreSQL keeps them.

use postgres_protocol::password::scram_sha_256;

use flowkit_core::secrets::Secret;

/// `PASSWORD '...'` with the salted verifier of SCRAM (RFC 5803) instead of the password, so that the password itself
/// never reaches the server, its log or its list of running statements.
pub fn clause(password: &Secret) -> String {
    // The verifier is letters, digits and `$:+/=`: nothing that a quoted literal could trip over.
    format!("PASSWORD '{}'", scram_sha_256(password.expose().as_bytes()))
}
