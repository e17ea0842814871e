//! New secrets by chance, all from the operating system's generator.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use rand::TryRng;
use rand::rngs::SysRng;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use zeroize::Zeroizing;

use super::Secret;

/// 32 of 62 letters and digits: 190 bits, and nothing that needs quoting in SQL, a shell, an URL or a file.
const LENGTH: usize = 32;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What upstream's own generator makes.
const RSA_BITS: usize = 4096;

/// The operating system gave no random bytes, or a library made no key of them.
#[derive(Debug, thiserror::Error)]
pub enum RandomError {
    /// The generator failed.
    #[error("the operating system gives no random bytes")]
    System(#[source] rand::rngs::SysError),
    /// The RSA library failed.
    #[error("cannot make an RSA key")]
    Rsa(#[source] rsa::Error),
    /// A key could not be written as text.
    #[error("cannot encode an RSA key")]
    Encode(#[source] rsa::pkcs8::Error),
    /// The TLS library failed.
    #[error("cannot make a TLS key")]
    Tls(#[source] rcgen::Error),
}

/// A password of letters and digits.
pub fn password() -> Result<Secret, RandomError> {
    let mut text = String::with_capacity(LENGTH);
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while text.len() < LENGTH {
        fill(&mut *bytes)?;
        // 6 bits give 64 values; the two that are no letter are thrown away, so that all letters are equally likely.
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 63)));
        text.extend(letters.take(LENGTH - text.len()).map(|letter| char::from(*letter)));
    }
    Ok(Secret::new(text))
}

/// A Fernet key: 32 bytes in URL-safe base64.
pub fn fernet() -> Result<Secret, RandomError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    fill(&mut *bytes)?;
    Ok(Secret::new(URL_SAFE.encode(*bytes)))
}

/// An RSA key as PKCS#8 PEM. Takes seconds.
pub fn rsa_key() -> Result<Secret, RandomError> {
    let key = rsa::PrivateKey::new(&mut SysRng, RSA_BITS).map_err(RandomError::Rsa)?;
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(RandomError::Encode)?;
    Ok(Secret::new(pem.to_string()))
}

/// A TLS key (ECDSA on P-256, which every TLS library speaks) as PKCS#8 PEM.
pub fn tls_key() -> Result<Secret, RandomError> {
    let key = rcgen::KeyPair::generate().map_err(RandomError::Tls)?;
    Ok(Secret::new(key.serialize_pem()))
}

fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    SysRng.try_fill_bytes(bytes).map_err(RandomError::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_letters_and_digits_and_differ() {
        let one = password().unwrap();
        assert_eq!(one.expose().len(), LENGTH);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, password().unwrap());
        assert!((LENGTH as f64) * 62_f64.log2() >= 128.0);
    }

    #[test]
    fn every_letter_is_about_as_likely() {
        let mut counts = [0_u32; 256];
        for _ in 0..1000 {
            password().unwrap().expose().bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        // 32,000 letters, 516 of each expected, with a standard deviation of 23: seven of those on either side.
        assert!(LETTERS.iter().all(|letter| (355..=677).contains(&counts[usize::from(*letter)])), "{counts:?}");
    }

    #[test]
    fn fernet_keys_have_44_characters() {
        let key = fernet().unwrap();
        assert_eq!(key.expose().len(), 44);
        assert_eq!(URL_SAFE.decode(key.expose()).unwrap().len(), 32);
    }
}
