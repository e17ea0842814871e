//! PEM texts, which may be wrapped into base64, and what they must hold to be served.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::default_provider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

/// How often base64 may be wrapped around a text, as with all our secrets.
const WRAPPINGS: usize = 4;

/// Why a certificate and its key can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no certificate in it.
    #[error("the certificate is not the PEM of one, nor base64 of it")]
    NoCertificate,
    /// One of the certificates makes no sense.
    #[error("certificate {0} of the file can't be read")]
    Certificate(usize),
    /// The chain is out of order.
    #[error(
        "certificate {0} of the file did not issue the one before it: the server's own comes first, each then its issuer"
    )]
    Order(usize),
    /// It was valid once.
    #[error("the certificate ended on {0}")]
    Ended(String),
    /// It will be valid, if the clock is right.
    #[error("the certificate begins only on {0}: is the clock right?")]
    Future(String),
    /// There is no key in it that can be used.
    #[error("the key is not the PEM of a private key without a passphrase, nor base64 of it")]
    NoKey,
    /// Another key's certificate.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// The key is of a kind that can't sign here.
    #[error("the key is of a kind that can't be used: RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519")]
    Kind,
}

/// A certificate with its chain, and its key: texts in PEM, or base64 of that.
#[derive(Clone)]
pub struct Pair {
    /// The server's own certificate, then each one's issuer.
    pub certificate: Zeroizing<String>,
    /// The private key.
    pub key: Zeroizing<String>,
}

/// Checks that a pair can be served now.
///
/// # Errors
/// What is wrong with it.
pub fn pair(pair: &Pair, now: SystemTime) -> Result<CertifiedKey, PemError> {
    let chain = chain(&pair.certificate)?;
    let text = unwrapped(&pair.key);
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| PemError::NoKey)?;
    in_order(&chain)?;
    in_time(&chain[0], now)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => PemError::Mismatch,
        _ => PemError::Kind,
    })
}

/// A pair as it is. One by which an authority's question is answered has an extension that nobody else understands, so that the library
/// would not look into it.
///
/// # Errors
/// It can't be read.
pub fn unchecked(pair: &Pair) -> Result<CertifiedKey, PemError> {
    let key = PrivateKeyDer::from_pem_slice(unwrapped(&pair.key).as_bytes()).map_err(|_| PemError::NoKey)?;
    let key = any_supported_type(&key).map_err(|_| PemError::Kind)?;
    Ok(CertifiedKey::new(chain(&pair.certificate)?, key))
}

/// The certificates of a text, the server's own first.
///
/// # Errors
/// There is none.
pub fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = unwrapped(text);
    let blocks: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    blocks.ok().filter(|chain| !chain.is_empty()).ok_or(PemError::NoCertificate)
}

/// The last moment at which a certificate is valid.
pub fn ends(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    validity(certificate).map(|(_, ends)| ends)
}

/// The first and the last moment at which a certificate is valid.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some((moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?))
}

/// The text, or what base64 hides in it. Line breaks in base64 are ignored.
fn unwrapped(text: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(text.trim().to_owned());
    for _ in 0..WRAPPINGS {
        if text.contains("-----BEGIN") {
            break;
        }
        let packed = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>());
        let Ok(bytes) = STANDARD.decode(packed.as_bytes()).map(Zeroizing::new) else { break };
        let Ok(inner) = std::str::from_utf8(&bytes) else { break };
        text = Zeroizing::new(inner.trim().to_owned());
    }
    text
}

/// Some clients take a chain only in its order, so that one out of order works for a part of the users.
fn in_order(chain: &[CertificateDer<'_>]) -> Result<(), PemError> {
    let mut issuer: Option<Vec<u8>> = None;
    for (at, der) in chain.iter().enumerate() {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| PemError::Certificate(at + 1))?;
        if issuer.is_some_and(|issuer| issuer != parsed.subject().as_raw()) {
            return Err(PemError::Order(at + 1));
        }
        issuer = Some(parsed.issuer().as_raw().to_vec());
    }
    Ok(())
}

fn in_time(der: &CertificateDer<'_>, now: SystemTime) -> Result<(), PemError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| PemError::Certificate(1))?;
    let validity = parsed.validity();
    if moment(validity.not_after.timestamp()).is_some_and(|end| end < now) {
        return Err(PemError::Ended(validity.not_after.to_string()));
    }
    if moment(validity.not_before.timestamp()).is_some_and(|begin| begin > now) {
        return Err(PemError::Future(validity.not_before.to_string()));
    }
    Ok(())
}

fn moment(seconds: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    fn made() -> (Pair, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["flow.api".into()]).unwrap().self_signed(&key).unwrap();
        (Pair { certificate: certificate.pem().into(), key: key.serialize_pem().into() }, key)
    }

    #[test]
    fn a_pair_is_taken_wrapped_or_not_and_only_with_its_own_key() {
        let (one, _) = made();
        let now = SystemTime::now();
        assert!(pair(&one, now).is_ok());
        let wrapped = |text: &str| Zeroizing::new(STANDARD.encode(STANDARD.encode(text)));
        assert!(pair(&Pair { certificate: wrapped(&one.certificate), key: wrapped(&one.key) }, now).is_ok());
        let (other, _) = made();
        assert_eq!(pair(&Pair { key: other.key, ..one.clone() }, now).unwrap_err(), PemError::Mismatch);
        assert_eq!(pair(&Pair { key: one.certificate.clone(), ..one.clone() }, now).unwrap_err(), PemError::NoKey);
        assert_eq!(pair(&Pair { certificate: one.key.clone(), ..one }, now).unwrap_err(), PemError::NoCertificate);
    }

    #[test]
    fn a_chain_begins_with_the_servers_own_and_goes_upwards() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["flow.api".into()]).unwrap().signed_by(&key, &authority).unwrap();
        let with = |certificate: String| Pair { certificate: certificate.into(), key: key.serialize_pem().into() };
        let now = SystemTime::now();
        assert_eq!(pair(&with(own.pem() + &authority.pem()), now).unwrap().cert.len(), 2);
        assert_eq!(pair(&with(authority.pem() + &own.pem()), now).unwrap_err(), PemError::Order(2));
    }

    #[test]
    fn one_that_has_ended_is_named() {
        let (one, _) = made();
        let end = ends(&chain(&one.certificate).unwrap()[0]).unwrap();
        assert!(matches!(pair(&one, end + Duration::from_secs(1)).unwrap_err(), PemError::Ended(_)));
        assert!(matches!(pair(&one, SystemTime::UNIX_EPOCH).unwrap_err(), PemError::Future(_)));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,400}", cut in 0_usize..900) {
            let (one, _) = made();
            let cut: String = one.certificate.chars().take(cut).chain(text.chars()).collect();
            let _ = pair(&Pair { certificate: cut.clone().into(), key: cut.into() }, SystemTime::now());
        }
    }
}
