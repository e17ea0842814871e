//! A signed text in three parts, as JWT has it (RFC 7515): made and opened, with one algorithm only.
//!
//! The crates that do all of JWT ask the clock themselves, have their own words for what is wrong, and bring a second RSA
//! library or a C compiler along. What remains beside the signature is two calls of base64.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs1v15::SigningKey;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::Sha256;

use crate::{Keys, Refused, claims};

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: Option<String>,
    /// Names extensions that a reader must understand; we know of none.
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// The three parts of a signed text, nothing of which has been checked.
struct Parts<'a> {
    signed: &'a str,
    header: Header,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Takes a text apart. The texts of errors, here and below, are PyJWT's.
fn parts(text: &str, longest: usize) -> Result<Parts<'_>, Refused> {
    if text.len() > longest {
        return Err(Refused::invalid(format!("Token is longer than {longest} bytes")));
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(Refused::invalid("Not enough segments"))?;
    let (header, payload) = signed.split_once('.').ok_or(Refused::invalid("Not enough segments"))?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Refused::invalid("Invalid header padding"))?;
    let header: Header = claims::read("header", &header)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Refused::invalid("Invalid payload padding"))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::invalid("Invalid crypto padding"))?;
    Ok(Parts { signed, header, payload, signature })
}

/// The payload, once the header asks for RS256 and one of the keys has signed.
pub(crate) fn open(keys: &Keys, text: &str, longest: usize) -> Result<Vec<u8>, Refused> {
    let Parts { signed, header, payload, signature } = parts(text, longest)?;
    if header.alg.as_deref() != Some("RS256") {
        return Err(Refused::invalid("The specified alg value is not allowed"));
    }
    if header.crit.is_some() {
        return Err(Refused::invalid("Unsupported critical extension"));
    }
    if !keys.signed(signed.as_bytes(), &signature) {
        return Err(Refused::invalid("Signature verification failed"));
    }
    Ok(payload)
}

/// The payload, whoever has signed it. Only to be shown.
pub(crate) fn unchecked(text: &str, longest: usize) -> Result<Vec<u8>, Refused> {
    parts(text, longest).map(|parts| parts.payload)
}

/// The signed text. The random numbers blind the private key's work against who measures its time.
pub(crate) fn sign(
    key: &SigningKey<Sha256>,
    payload: &[u8],
    random: &mut impl rand::rand_core::TryCryptoRng,
) -> Result<String, rsa::signature::Error> {
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let signature = key.try_sign_with_rng(random, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_vec())))
}
