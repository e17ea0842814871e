//! Keys as secrets hold them: PEM, several blocks where keys are being rotated, or base64 of that.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use rsa::{PrivateKey, PublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

/// How often base64 may be wrapped around keys: upstream decodes until it finds one.
const WRAPPINGS: usize = 4;
/// Every key may have to be tried on every forged token.
const MOST: usize = 8;
/// The shortest key, in bytes: 2048 bits.
const SHORTEST: usize = 256;

/// What is wrong with a key. No text of a key is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor base64 of PEM.
    #[error("it is not the PEM of an RSA key, nor base64 of it")]
    NotPem,
    /// A block of PEM that isn't what is wanted here.
    #[error("block {0} of its PEM is not an RSA public key")]
    NotPublic(usize),
    /// A private key where a public one belongs.
    #[error("block {0} of its PEM is a private key: only the public half belongs here")]
    Private(usize),
    /// A key that can be broken.
    #[error("block {0} of its PEM is an RSA key of fewer than 2048 bits")]
    Short(usize),
    /// Each of them could be tried on each forged token.
    #[error("it holds more than {MOST} keys")]
    Many,
}

/// The public keys that tokens are checked with. Several of them while keys are rotated: a token is good when any one has
/// signed it.
#[derive(Clone, Debug)]
pub struct Keys(Vec<VerifyingKey<Sha256>>);

impl Keys {
    /// Reads PEM blocks (`PUBLIC KEY`, `RSA PUBLIC KEY`), or base64 of them, line breaks ignored, wrapped up to four times.
    ///
    /// # Errors
    /// What is wrong, with the number of the block.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = unwrapped(text).ok_or(KeyError::NotPem)?;
        let blocks = blocks(&text);
        if blocks.len() > MOST {
            return Err(KeyError::Many);
        }
        let keys =
            blocks.iter().zip(1..).map(|(block, number)| public(block, number)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::NotPem) } else { Ok(Self(keys)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them has signed this.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::try_from(signature) else { return false };
        self.0.iter().any(|key| key.verify(message, &signature).is_ok())
    }
}

impl From<PublicKey> for Keys {
    fn from(key: PublicKey) -> Self {
        Self(vec![VerifyingKey::new(key)])
    }
}

fn public(pem: &str, number: usize) -> Result<VerifyingKey<Sha256>, KeyError> {
    let label = pem.lines().next().unwrap_or_default();
    if label.contains("PRIVATE KEY") {
        return Err(KeyError::Private(number));
    }
    let key = PublicKey::from_public_key_pem(pem).or_else(|_| PublicKey::from_pkcs1_pem(pem));
    let key = key.map_err(|_| KeyError::NotPublic(number))?;
    if key.size() < SHORTEST { Err(KeyError::Short(number)) } else { Ok(VerifyingKey::new(key)) }
}

/// A private key: PKCS#1 or PKCS#8, one block, without a passphrase.
pub(crate) fn private(text: &str) -> Result<PrivateKey, KeyError> {
    let text = unwrapped(text).ok_or(KeyError::NotPem)?;
    let key = PrivateKey::from_pkcs8_pem(&text).or_else(|_| PrivateKey::from_pkcs1_pem(&text));
    let key = key.map_err(|_| KeyError::NotPem)?;
    if key.size() < SHORTEST { Err(KeyError::Short(1)) } else { Ok(key) }
}

/// The PEM itself, out of as many wrappings as it has.
fn unwrapped(text: &str) -> Option<Zeroizing<String>> {
    let forgiving = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, forgiving);
    let mut text = Zeroizing::new(text.trim().to_string());
    for _ in 0..=WRAPPINGS {
        if text.contains("-----BEGIN ") {
            return Some(text);
        }
        let packed = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>());
        let bytes = Zeroizing::new(engine.decode(packed.as_bytes()).ok()?);
        text = Zeroizing::new(std::str::from_utf8(&bytes).ok()?.trim().to_string());
    }
    None
}

/// Each block from its `BEGIN` to the next one or the end; what stands between blocks is not looked at.
fn blocks(pem: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some(start) = rest.find("-----BEGIN ") {
        let block = &rest[start..];
        let next = block[1..].find("-----BEGIN ").map_or(block.len(), |at| at + 1);
        let end = block[..next].find("-----END ").map_or(next, |at| {
            let label = at + "-----END ".len();
            block[label..next].find("-----").map_or(next, |dashes| label + dashes + "-----".len())
        });
        blocks.push(format!("{}\n", &block[..end]));
        rest = &block[next..];
    }
    blocks
}

#[cfg(test)]
mod tests;
