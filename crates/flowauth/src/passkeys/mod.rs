//! Passkeys (WebAuthn, level 2): what a browser brings back is read and checked. No I/O.
//!
//! No attestation is asked for: whoever has signed in says which key is theirs. So there is no certificate of a maker to be read, which
//! is most of the work of the libraries for it. Those that there are want openssl (`webauthn-rs`), or have had no release for long and
//! bring an older copy of every cryptographic crate that is here already (`webauthn_rp`); `ring`, by which TLS is served, verifies all
//! three kinds of signatures that are asked for.
//!
//! ```text
//! made      a new passkey, when it is added      (7.1 of the specification)
//! used      its signature, when somebody signs in   (7.2)
//! cose      public keys as authenticators write them
//! ```

mod cose;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub use cose::ALGORITHMS;

/// The longest id of a credential, in bytes, by the specification.
const LONGEST_ID: usize = 1023;

/// Flags of an authenticator: somebody was there, it may be copied, it was copied, a key follows.
const PRESENT: u8 = 1;
const COPYABLE: u8 = 1 << 3;
const COPIED: u8 = 1 << 4;
const KEY_FOLLOWS: u8 = 1 << 6;

/// Why what was brought is refused. For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not to be read.
    #[error("it can't be read: {0}")]
    Unreadable(&'static str),
    /// Of another ceremony.
    #[error("it was made for something else")]
    Kind,
    /// Of another time.
    #[error("it answers another question")]
    Challenge,
    /// Of another site, or of a page inside of another's.
    #[error("it is another site's")]
    Site,
    /// The authenticator says that nobody has touched it.
    #[error("nobody was there")]
    Nobody,
    /// The key is of no kind that was asked for.
    #[error("its key is of a kind that is not taken")]
    Key,
    /// Not signed by this passkey.
    #[error("the signature is not this passkey's")]
    Signature,
    /// It has counted less than the one that was used before.
    #[error("its counter went back: there is a copy of it")]
    Counter,
}

/// What is expected of a browser's answer.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The question that it was asked, in base64.
    pub challenge: &'a str,
    /// The name under which the site is known.
    pub site: &'a str,
}

/// A new passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its id, in base64.
    pub credential: String,
    /// Its public key in COSE, in base64.
    pub key: String,
    /// How often it was used.
    pub counter: u32,
}

/// What a browser has sent when a passkey was used: all in base64.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Which passkey.
    pub credential: &'a str,
    /// What the browser says.
    pub client: &'a str,
    /// What the authenticator says.
    pub authenticator: &'a str,
    /// Its signature of both.
    pub signature: &'a str,
}

/// Bytes as browsers are given them.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Unreadable(what))
}

/// The name under which a site may have passkeys: that of an address, which no number is.
pub fn site(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    let host = uri.host()?.to_ascii_lowercase();
    let is_safe = uri.scheme_str() == Some("https") || host == "localhost";
    let is_name = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err();
    (is_safe && is_name).then_some(host)
}

/// Reads a new passkey.
///
/// # Errors
/// [`Refusal`].
pub fn made(expected: Expected<'_>, client: &str, authenticator: &str) -> Result<Made, Refusal> {
    says(expected, &decode(client, "client")?, "webauthn.create")?;
    let bytes = decode(authenticator, "authenticator")?;
    let data = Data::read(&bytes)?;
    data.check(expected.site)?;
    if data.flags & KEY_FOLLOWS == 0 {
        return Err(Refusal::Unreadable("no key"));
    }
    // Sixteen bytes say of what make it is, if at all.
    let (_, rest) = data.rest.split_at_checked(16).ok_or(Refusal::Unreadable("make"))?;
    let (length, rest) = rest.split_first_chunk().ok_or(Refusal::Unreadable("length of the id"))?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (credential, rest) = rest.split_at_checked(length).ok_or(Refusal::Unreadable("id"))?;
    if credential.is_empty() || length > LONGEST_ID {
        return Err(Refusal::Unreadable("length of the id"));
    }
    let (_, after) = cose::Key::read(rest)?;
    let key = &rest[..rest.len() - after.len()];
    Ok(Made { credential: encode(credential), key: encode(key), counter: data.counter })
}

/// Checks that a passkey was used, which had this key and this counter; gives its new counter.
///
/// # Errors
/// [`Refusal`].
pub fn used(expected: Expected<'_>, key: &str, counter: u32, answer: Answer<'_>) -> Result<u32, Refusal> {
    let (client, authenticator) = (decode(answer.client, "client")?, decode(answer.authenticator, "authenticator")?);
    says(expected, &client, "webauthn.get")?;
    let data = Data::read(&authenticator)?;
    data.check(expected.site)?;
    let key = decode(key, "key")?;
    let signed = [&authenticator[..], &Sha256::digest(&client)[..]].concat();
    cose::Key::read(&key)?.0.verify(&signed, &decode(answer.signature, "signature")?)?;
    // One that does not count says nought each time.
    if (data.counter != 0 || counter != 0) && data.counter <= counter {
        return Err(Refusal::Counter);
    }
    Ok(data.counter)
}

/// What a browser says of what it has done.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

fn says(expected: Expected<'_>, client: &[u8], kind: &str) -> Result<(), Refusal> {
    let client: Client = serde_json::from_slice(client).map_err(|_| Refusal::Unreadable("client"))?;
    if client.kind != kind {
        return Err(Refusal::Kind);
    }
    if client.challenge != expected.challenge {
        return Err(Refusal::Challenge);
    }
    if client.cross_origin || site(&client.origin).as_deref() != Some(expected.site) {
        return Err(Refusal::Site);
    }
    Ok(())
}

/// What an authenticator says.
struct Data<'a> {
    site: &'a [u8; 32],
    flags: u8,
    counter: u32,
    rest: &'a [u8],
}

impl Data<'_> {
    fn read(bytes: &[u8]) -> Result<Data<'_>, Refusal> {
        let short = || Refusal::Unreadable("authenticator");
        let (site, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let (&flags, rest) = rest.split_first().ok_or_else(short)?;
        let (counter, rest) = rest.split_first_chunk().ok_or_else(short)?;
        Ok(Data { site, flags, counter: u32::from_be_bytes(*counter), rest })
    }

    fn check(&self, site: &str) -> Result<(), Refusal> {
        if self.site[..] != Sha256::digest(site)[..] {
            return Err(Refusal::Site);
        }
        if self.flags & PRESENT == 0 {
            return Err(Refusal::Nobody);
        }
        if self.flags & COPIED != 0 && self.flags & COPYABLE == 0 {
            return Err(Refusal::Unreadable("flags"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    const SITE: &str = "flow.example";
    const EXPECTED: Expected<'static> = Expected { challenge: "Y2hhbGxlbmdl", site: SITE };

    fn client(kind: &str, challenge: &str, origin: &str) -> String {
        let text = serde_json::json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false });
        encode(text.to_string().as_bytes())
    }

    fn says(site: &str, flags: u8, counter: u32, rest: &[u8]) -> Vec<u8> {
        [&Sha256::digest(site)[..], &[flags], &counter.to_be_bytes(), rest].concat()
    }

    fn key() -> EcdsaKeyPair {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap()
    }

    fn cose(key: &EcdsaKeyPair) -> Vec<u8> {
        let point = key.public_key().as_ref();
        [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32], &point[1..33], &[0x22, 0x58, 32], &point[33..]].concat()
    }

    #[test]
    fn a_site_has_a_name_and_is_safe() {
        for (origin, expected) in [
            ("https://Flow.example:8443", Some("flow.example")),
            ("http://localhost:9091", Some("localhost")),
            ("http://flow.example", None),
            ("https://10.0.0.1", None),
            ("https://[::1]:9091", None),
            ("", None),
        ] {
            assert_eq!(site(origin).as_deref(), expected, "{origin}");
        }
    }

    #[test]
    fn a_new_one_is_read_and_everything_else_refused() {
        let key = key();
        let attested = [&[0; 16][..], &[0, 3], b"abc", &cose(&key)].concat();
        let good = client("webauthn.create", EXPECTED.challenge, "https://flow.example:8443");
        let try_with = |client: &str, data: &[u8]| made(EXPECTED, client, &encode(data));
        // What follows the key is an extension's.
        let data = says(SITE, 0x41, 7, &[&attested[..], &[0xa0]].concat());
        let expected = Made { credential: "YWJj".to_owned(), key: encode(&cose(&key)), counter: 7 };
        assert_eq!(try_with(&good, &data), Ok(expected));
        for (client, data, refusal) in [
            (
                client("webauthn.get", EXPECTED.challenge, "https://flow.example"),
                says(SITE, 0x41, 7, &attested),
                Refusal::Kind,
            ),
            (
                client("webauthn.create", "x", "https://flow.example"),
                says(SITE, 0x41, 7, &attested),
                Refusal::Challenge,
            ),
            (
                client("webauthn.create", EXPECTED.challenge, "https://evil.example"),
                says(SITE, 0x41, 7, &attested),
                Refusal::Site,
            ),
            (good.clone(), says("evil.example", 0x41, 7, &attested), Refusal::Site),
            (good.clone(), says(SITE, 0x40, 7, &attested), Refusal::Nobody),
            (good.clone(), says(SITE, 0x01, 7, &[]), Refusal::Unreadable("no key")),
            (good.clone(), says(SITE, 0x51, 7, &attested), Refusal::Unreadable("flags")),
            (good.clone(), says(SITE, 0x41, 7, &attested[..40]), Refusal::Key),
        ] {
            assert_eq!(try_with(&client, &data).unwrap_err(), refusal);
        }
    }

    #[test]
    fn its_signature_is_checked_and_its_counter_goes_up() {
        let (own, other) = (key(), key());
        let client = client("webauthn.get", EXPECTED.challenge, "https://flow.example");
        let answer = |signer: &EcdsaKeyPair, counter: u32, had: u32| {
            let data = says(SITE, 1, counter, &[]);
            let signed = [&data[..], &Sha256::digest(decode(&client, "").unwrap())[..]].concat();
            let signature = encode(signer.sign(&SystemRandom::new(), &signed).unwrap().as_ref());
            let answer =
                Answer { credential: "YWJj", client: &client, authenticator: &encode(&data), signature: &signature };
            used(EXPECTED, &encode(&cose(&own)), had, answer)
        };
        assert_eq!(answer(&own, 8, 7), Ok(8));
        assert_eq!(answer(&own, 0, 0), Ok(0), "many do not count");
        assert_eq!(answer(&other, 8, 7), Err(Refusal::Signature));
        for (counter, had) in [(7, 7), (6, 7), (0, 7)] {
            assert_eq!(answer(&own, counter, had), Err(Refusal::Counter));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..160, to in any::<u8>()) {
            let good = client("webauthn.create", EXPECTED.challenge, "https://flow.example");
            let _ = made(EXPECTED, &good, &encode(&bytes));
            let mut data = says(SITE, 0x41, 7, &[&[0; 16][..], &[0, 3], b"abc", &cose(&key())].concat());
            if let Some(byte) = data.get_mut(at) {
                *byte = to;
            }
            let _ = made(EXPECTED, &good, &encode(&data));
            let _ = made(EXPECTED, &encode(&bytes), &encode(&data));
        }
    }
}
