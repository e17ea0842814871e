//! ID tokens: signed by the provider, for us, for this sign-in, and now. No I/O.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Seconds by which the provider's clock may differ from ours.
const LEEWAY: i64 = 60;

/// Longest token, in bytes.
const LONGEST: usize = 64 << 10;

/// Why a token is not taken. For the log; nothing of the token is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It can't be read.
    #[error("the ID token can't be read: {0}")]
    Unreadable(&'static str),
    /// It is signed in a way that is not taken.
    #[error("the ID token is signed by {0}: RS256, RS384, RS512, PS256, ES256, ES384 and EdDSA are taken")]
    Algorithm(String),
    /// The provider has published no such key.
    #[error("the ID token is signed by a key that the provider has not published")]
    UnknownKey,
    /// Somebody else has signed it.
    #[error("the ID token's signature is not the provider's")]
    Signature,
    /// A claim is not what it must be.
    #[error("the ID token's claim {0} is not what it must be")]
    Claim(&'static str),
    /// Too late, or too early.
    #[error("the ID token is over, or not yet good: are the clocks of both machines right?")]
    Time,
}

/// What a token has to say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who has issued it.
    pub issuer: &'a str,
    /// For whom.
    pub client: &'a str,
    /// In answer to what.
    pub nonce: &'a str,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// The provider's public keys (RFC 7517). One of a kind that is not known is no reason to refuse the others.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Keys {
    keys: Vec<Key>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// The claims of a token that is good.
///
/// # Errors
/// [`Fault`]; [`Fault::UnknownKey`] may be mended by fetching the keys again.
pub fn claims(token: &str, keys: &Keys, expected: Expected<'_>) -> Result<Map<String, Value>, Fault> {
    if token.len() > LONGEST {
        return Err(Fault::Unreadable("length"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts[..] else { return Err(Fault::Unreadable("parts")) };
    let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| Fault::Unreadable("header"))?;
    if header.crit.is_some() {
        return Err(Fault::Unreadable("crit"));
    }
    let algorithm =
        Algorithm::of(&header.alg).ok_or_else(|| Fault::Algorithm(header.alg.chars().take(20).collect()))?;
    let signed = &token[..head.len() + 1 + body.len()];
    let signature = decode(signature)?;
    let mut candidates = keys.keys.iter().filter(|key| key.may(&header, &algorithm)).peekable();
    candidates.peek().ok_or(Fault::UnknownKey)?;
    if !candidates.any(|key| algorithm.verify(key, signed.as_bytes(), &signature).is_some()) {
        return Err(Fault::Signature);
    }
    let claims: Map<String, Value> = serde_json::from_slice(&decode(body)?).map_err(|_| Fault::Unreadable("claims"))?;
    check(&claims, expected)?;
    Ok(claims)
}

fn check(claims: &Map<String, Value>, expected: Expected<'_>) -> Result<(), Fault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let is = |name: &'static str, right: bool| if right { Ok(()) } else { Err(Fault::Claim(name)) };
    is("iss", text("iss") == Some(expected.issuer))?;
    let (for_us, for_others) = match claims.get("aud") {
        Some(Value::String(one)) => (one == expected.client, false),
        Some(Value::Array(all)) => (all.iter().any(|one| one == expected.client), all.len() > 1),
        _ => (false, false),
    };
    is("aud", for_us)?;
    // One for several says for whom it was asked.
    let party = claims.get("azp").map(|party| party == expected.client);
    is("azp", party.unwrap_or(!for_others))?;
    is("nonce", text("nonce") == Some(expected.nonce))?;
    is("sub", text("sub").is_some_and(|sub| (1..=255).contains(&sub.len()) && !sub.contains('\0')))?;
    // A moment may have a fraction.
    #[expect(clippy::cast_possible_truncation, reason = "a time beyond an i64 ends there")]
    let moment = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let end = moment("exp").ok_or(Fault::Claim("exp"))?;
    let begins = moment("iat").ok_or(Fault::Claim("iat"))?.max(moment("nbf").unwrap_or(i64::MIN));
    match end.saturating_add(LEEWAY) > expected.now && begins <= expected.now + LEEWAY {
        true => Ok(()),
        false => Err(Fault::Time),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Unreadable("base64"))
}

impl Key {
    /// Whether it may have signed what has this header.
    fn may(&self, header: &Header, algorithm: &Algorithm) -> bool {
        let kind = match algorithm {
            Algorithm::Rsa(_) => ("RSA", ""),
            Algorithm::Curve(_, curve) if *curve == "Ed25519" => ("OKP", *curve),
            Algorithm::Curve(_, curve) => ("EC", *curve),
        };
        (self.kty.as_str(), self.crv.as_str()) == kind
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.alg.as_deref().is_none_or(|alg| alg == header.alg)
            && (header.kid.is_none() || self.kid.is_none() || header.kid == self.kid)
    }
}

enum Algorithm {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm, &'static str),
}

impl Algorithm {
    /// By name. No secret is shared with the provider that could sign, and `none` signs nothing.
    fn of(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Algorithm::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Algorithm::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Algorithm::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Algorithm::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "ES256" => Algorithm::Curve(&signature::ECDSA_P256_SHA256_FIXED, "P-256"),
            "ES384" => Algorithm::Curve(&signature::ECDSA_P384_SHA384_FIXED, "P-384"),
            "EdDSA" => Algorithm::Curve(&signature::ED25519, "Ed25519"),
            _ => return None,
        })
    }

    fn verify(&self, key: &Key, signed: &[u8], signature: &[u8]) -> Option<()> {
        match self {
            Algorithm::Rsa(parameters) => {
                let (n, e) = (decode(&key.n).ok()?, decode(&key.e).ok()?);
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).ok()
            }
            Algorithm::Curve(algorithm, curve) => {
                let point = match *curve {
                    "Ed25519" => decode(&key.x).ok()?,
                    _ => [&[4][..], &decode(&key.x).ok()?, &decode(&key.y).ok()?].concat(),
                };
                UnparsedPublicKey::new(*algorithm, point).verify(signed, signature).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'static> =
        Expected { issuer: "https://id.example", client: "flowauth", nonce: "n", now: NOW };

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Signer {
            let random = SystemRandom::new();
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Signer(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap())
        }

        fn keys(&self, kid: &str) -> Keys {
            let point = self.0.public_key().as_ref();
            let own = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": encode(&point[1..33]), "y": encode(&point[33..]) });
            serde_json::from_value(json!({ "keys": [{ "kty": "new", "q": 1 }, own] })).unwrap()
        }

        fn sign(&self, header: Value, claims: &Value) -> String {
            let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
            let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
            format!("{text}.{}", encode(signature.as_ref()))
        }
    }

    fn good() -> Value {
        json!({ "iss": "https://id.example", "aud": "flowauth", "sub": "7", "nonce": "n", "iat": NOW, "exp": NOW + 300 })
    }

    #[test]
    fn a_token_is_taken_as_long_as_all_of_it_is_right() {
        let (signer, other) = (Signer::new(), Signer::new());
        let keys = signer.keys("a");
        let header = || json!({ "alg": "ES256", "kid": "a" });
        assert_eq!(claims(&signer.sign(header(), &good()), &keys, EXPECTED).unwrap()["sub"], "7");
        assert!(
            claims(&signer.sign(json!({ "alg": "ES256" }), &good()), &keys, EXPECTED).is_ok(),
            "one key needs no name"
        );
        for (changed, fault) in [
            (json!({ "iss": "https://id.example/" }), Fault::Claim("iss")),
            (json!({ "aud": "other" }), Fault::Claim("aud")),
            (json!({ "aud": ["flowauth", "other"] }), Fault::Claim("azp")),
            (json!({ "azp": "other" }), Fault::Claim("azp")),
            (json!({ "nonce": "m" }), Fault::Claim("nonce")),
            (json!({ "sub": "" }), Fault::Claim("sub")),
            (json!({ "sub": 7 }), Fault::Claim("sub")),
            (json!({ "exp": null }), Fault::Claim("exp")),
            (json!({ "exp": NOW - 61 }), Fault::Time),
            (json!({ "iat": NOW + 61 }), Fault::Time),
            (json!({ "nbf": NOW + 61 }), Fault::Time),
        ] {
            let mut all = good();
            all.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
            assert_eq!(claims(&signer.sign(header(), &all), &keys, EXPECTED).unwrap_err(), fault, "{changed}");
        }
        let mut several = good();
        several["aud"] = json!(["flowauth", "other"]);
        several["azp"] = json!("flowauth");
        assert!(claims(&signer.sign(header(), &several), &keys, EXPECTED).is_ok());

        assert_eq!(claims(&other.sign(header(), &good()), &keys, EXPECTED).unwrap_err(), Fault::Signature);
        let unknown = signer.sign(json!({ "alg": "ES256", "kid": "b" }), &good());
        assert_eq!(claims(&unknown, &keys, EXPECTED).unwrap_err(), Fault::UnknownKey);
        let critical = signer.sign(json!({ "alg": "ES256", "crit": ["b64"] }), &good());
        assert_eq!(claims(&critical, &keys, EXPECTED).unwrap_err(), Fault::Unreadable("crit"));
        // A key of one kind signs for no other.
        for algorithm in ["none", "HS256", "RS1"] {
            let token = signer.sign(json!({ "alg": algorithm, "kid": "a" }), &good());
            assert_eq!(claims(&token, &keys, EXPECTED).unwrap_err(), Fault::Algorithm(algorithm.to_owned()));
        }
        assert_eq!(
            claims(&signer.sign(json!({ "alg": "RS256", "kid": "a" }), &good()), &keys, EXPECTED).unwrap_err(),
            Fault::UnknownKey
        );
    }

    #[test]
    fn keys_of_other_kinds_sign_too() {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) }] });
        let text = format!("{}.{}", encode(r#"{"alg":"EdDSA"}"#), encode(good().to_string()));
        let token = format!("{text}.{}", encode(key.sign(text.as_bytes()).as_ref()));
        assert!(claims(&token, &serde_json::from_value(keys).unwrap(), EXPECTED).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_.-]{0,200}", any in ".{0,100}") {
            let keys = Keys::default();
            let _ = claims(&text, &keys, EXPECTED);
            let _ = claims(&any, &keys, EXPECTED);
        }
    }
}
