//! What the tests of this crate have in common.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::SysRng;
use rsa::PrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::signature::{SignatureEncoding, Signer};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Bounds, Keys, Refused, Spec, Token, Verifier};

/// Made once a process: a key takes a while.
pub static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::new(&mut SysRng, 2048).unwrap());
pub const AUDIENCE: &str = "TEST_SERVER";
pub const NOW: i64 = 1_795_478_387;

pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
}

pub fn private_pem() -> String {
    KEY.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

pub fn public_pem() -> String {
    KEY.to_public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

pub fn verifier() -> Verifier {
    Verifier::new(Keys::from(KEY.to_public_key()), AUDIENCE)
}

/// Any header and payload, signed with RS256 whatever the header says.
pub fn signed(header: &str, payload: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = SigningKey::<Sha256>::new(KEY.clone()).sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_vec()))
}

/// A good token's claims.
pub fn claims() -> Value {
    json!({ "sub": "alice", "aud": AUDIENCE, "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "an id",
            "user_claims": { "analyst": ["run", "get_result"] } })
}

pub fn verify(claims: &Value) -> Result<Token, Refused> {
    let token = signed(r#"{"alg":"RS256","typ":"JWT"}"#, claims.to_string().as_bytes());
    verifier().verify(&token, now())
}

/// A token with these roles and no limit but that of the claim `data_dates`, where there is one.
pub fn token(roles: Value, dates: Option<Value>) -> Token {
    let mut claims = claims();
    claims["user_claims"] = roles;
    if let Some(dates) = dates {
        claims["data_dates"] = dates;
    }
    verify(&claims).unwrap()
}

pub fn spec(text: &Value) -> Spec {
    Spec::parse(text.to_string().as_bytes(), &Bounds::default()).unwrap()
}
