//! Whether a text has the form of its kind of secret. What is wrong is said without the text.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use rsa::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::Secret;
use crate::catalogue::{self, Kind};

/// How often base64 may be wrapped around a key: upstream decodes until it finds one, nobody needs more than two.
const WRAPPINGS: usize = 4;

/// The secret as it is used: trimmed at both ends, keys as PEM. The error says what is wrong, as in "NAME is ...".
pub fn plain(spec: &catalogue::Secret, text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if let Some(character) = text.chars().find(|c| say::is_unseen(*c) && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(unseen(character));
    }
    if let Some(character) = text.chars().find(|c| spec.forbid.contains(*c)) {
        return Err(match character {
            ' ' => "holding a space, which does not survive on the way to the database".into(),
            other => format!("holding the character {other:?}, which does not survive on the way to its reader"),
        });
    }
    match spec.kind {
        Kind::Password | Kind::Text => one_line(text)?,
        Kind::Fernet => fernet(text)?,
        Kind::UserName => user_name(text)?,
        Kind::Url => url(text)?,
        Kind::Token => token(text)?,
        Kind::RsaPrivate => {
            return unwrapped(text, |pem| rsa_private(pem).is_some()).ok_or_else(|| not("an RSA private key"));
        }
        Kind::RsaPublic => {
            return unwrapped(text, |pem| rsa_public(pem).is_some()).ok_or_else(|| not("RSA public keys"));
        }
        Kind::TlsCert => certificate(text)?,
        Kind::TlsKey => tls_key(text)?,
    }
    Ok(Secret::new(text.to_string()))
}

/// What an editor or a clipboard leaves, and nobody sees: other readers of the file would take it for a part of the secret.
pub fn unseen(character: char) -> String {
    let what = match character {
        '\u{feff}' => "a byte order mark, as editors of Windows write it: save it as UTF-8 without one",
        '\u{200b}'..='\u{200d}' | '\u{2060}' => "a zero-width character: type it anew instead of pasting it",
        _ => return format!("holding the character U+{:04X}, which can't be seen", u32::from(character)),
    };
    format!("holding {what}")
}

fn not(what: &str) -> String {
    format!("not the PEM of {what}, nor base64 of it")
}

fn one_line(text: &str) -> Result<(), String> {
    match text.chars().any(char::is_control) {
        true => Err("of more than one line, or holding control characters".into()),
        false => Ok(()),
    }
}

/// Both base64 alphabets, as Python's decoder takes them.
fn fernet(text: &str) -> Result<(), String> {
    let standard = Zeroizing::new(text.replace('-', "+").replace('_', "/"));
    match base64::engine::general_purpose::STANDARD.decode(standard.as_bytes()).map(Zeroizing::new) {
        Ok(bytes) if bytes.len() == 32 => Ok(()),
        _ => Err("not a Fernet key, which is 32 bytes in URL-safe base64 (44 characters)".into()),
    }
}

fn user_name(text: &str) -> Result<(), String> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match first && text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(()),
        false => Err("not a user name: up to 63 letters, digits and underscores, not beginning with a digit".into()),
    }
}

fn url(text: &str) -> Result<(), String> {
    one_line(text)?;
    match text.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() && !text.contains(' ') => Ok(()),
        _ => Err("not an address such as scheme://user:password@host:port/name".into()),
    }
}

/// Three parts in URL-safe base64; who signed it is the reader's business.
fn token(text: &str) -> Result<(), String> {
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match text.split('.').count() == 3 && text.split('.').all(part) {
        true => Ok(()),
        false => Err("not a token: three parts in URL-safe base64 with dots between".into()),
    }
}

/// The text, or what base64 hides in it, once it is what is looked for. Line breaks in base64 are ignored.
fn unwrapped(text: &str, is_it: impl Fn(&str) -> bool) -> Option<Secret> {
    let forgiving = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, forgiving);
    let mut text = Zeroizing::new(text.to_string());
    for _ in 0..=WRAPPINGS {
        if is_it(&text) {
            return Some(Secret::new(text.to_string()));
        }
        let packed = Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>());
        let bytes = Zeroizing::new(engine.decode(packed.as_bytes()).ok()?);
        text = Zeroizing::new(std::str::from_utf8(&bytes).ok()?.trim().to_string());
    }
    None
}

/// PKCS#8 or PKCS#1, without a passphrase.
pub(super) fn rsa_private(pem: &str) -> Option<PrivateKey> {
    let key = PrivateKey::from_pkcs8_pem(pem).or_else(|_| PrivateKey::from_pkcs1_pem(pem)).ok()?;
    (key.size() >= 256).then_some(key)
}

/// One or several, of which FlowAPI takes each: while the pair is changed the new key stands beside the old one.
pub(super) fn rsa_public(pem: &str) -> Option<Vec<PublicKey>> {
    const END: &str = "-----END PUBLIC KEY-----";
    let blocks = pem.trim().split_inclusive(END);
    let key = |block: &str| PublicKey::from_public_key_pem(block.trim_start()).ok().filter(|key| key.size() >= 256);
    blocks.map(key).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}

/// Every block must be a certificate, the first one the server's own.
fn certificate(text: &str) -> Result<(), String> {
    let mut count = 0;
    for block in x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|_| "not the PEM of a certificate".to_string())?;
        if block.label.ends_with("PRIVATE KEY") {
            return Err("holding a private key: the key belongs into key-flowkit.pem alone".into());
        }
        block.parse_x509().map_err(|_| "not the PEM of a certificate".to_string())?;
        count += 1;
    }
    if count == 0 { Err("not the PEM of a certificate".into()) } else { Ok(()) }
}

fn tls_key(text: &str) -> Result<(), String> {
    match public_of_tls_key(text) {
        Some(_) => Ok(()),
        None => Err("not the PEM of a private key without a passphrase".into()),
    }
}

/// What a private key tells about its public half.
pub(super) enum PublicOfKey {
    /// The DER of the SubjectPublicKeyInfo.
    Info(Vec<u8>),
    /// The DER of an elliptic key on a curve that our library lacks; the public point is somewhere in it.
    Within(Zeroizing<Vec<u8>>),
}

/// PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`).
pub(super) fn public_of_tls_key(text: &str) -> Option<PublicOfKey> {
    let block = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes())
        .filter_map(Result::ok)
        .find(|block| block.label.ends_with("PRIVATE KEY"))?;
    let der = Zeroizing::new(block.contents);
    match block.label.as_str() {
        "PRIVATE KEY" => match rcgen::KeyPair::try_from(der.as_slice()) {
            Ok(key) => Some(PublicOfKey::Info(rcgen::PublicKeyData::subject_public_key_info(&key))),
            Err(_) => is_sequence(&der).then_some(PublicOfKey::Within(der)),
        },
        "RSA PRIVATE KEY" => {
            let key = PrivateKey::from_pkcs1_der(&der).ok()?.to_public_key();
            Some(PublicOfKey::Info(key.to_public_key_der().ok()?.into_vec()))
        }
        "EC PRIVATE KEY" => is_sequence(&der).then_some(PublicOfKey::Within(der)),
        _ => None,
    }
}

/// Whether the bytes are one DER sequence, no more and no less.
fn is_sequence(der: &[u8]) -> bool {
    x509_parser::der_parser::parse_der(der).is_ok_and(|(rest, value)| rest.is_empty() && value.as_sequence().is_ok())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::catalogue;

    fn spec(name: &str) -> &'static catalogue::Secret {
        catalogue().secret(name).unwrap()
    }

    /// `None` for a good value.
    fn fault(name: &str, text: &str) -> Option<String> {
        plain(spec(name), text).err()
    }

    /// For every secret of the catalogue: what is not seen is not taken for a part of it.
    #[test]
    fn what_windows_editors_and_clipboards_leave_is_refused_or_taken_off() {
        for spec in catalogue().secrets() {
            for hidden in ['\u{feff}', '\u{200b}', '\u{202e}', '\u{7f}'] {
                for text in [format!("{hidden}value"), format!("value{hidden}\r\n"), format!("va{hidden}lue")] {
                    assert_eq!(plain(spec, &text).err(), Some(unseen(hidden)), "{}", spec.name);
                }
            }
        }
        assert!(unseen('\u{feff}').contains("byte order mark"));
        assert_eq!(plain(spec("REDIS_PASSWORD"), "value\r\n").unwrap().expose(), "value");
    }

    #[test]
    fn each_kind_takes_its_own_and_nothing_else() {
        for (name, good, bad) in [
            ("REDIS_PASSWORD", vec!["x", " p@ss word\n"], vec!["a\nb", "a\tb", "a\0b"]),
            ("FLOWMACHINE_FLOWDB_PASSWORD", vec!["p@ss"], vec!["p@ss word"]),
            ("FLOWAPI_FLOWDB_USER", vec!["flowapi", "_x9"], vec!["flow-api", "9x", "a b", "a;drop", "\u{e9}"]),
            ("AIRFLOW_CONN_FLOWDB", vec!["postgres://u:p@h/d"], vec!["flowdb", "postgres://", "://x", "a://b c"]),
            ("FLOWAPI_TOKEN", vec!["eyJ.eyJ.c2ln"], vec!["eyJ.eyJ", "a.b.c.d", "a..c", "a.b.c="]),
            (
                "FLOWAUTH_FERNET_KEY",
                vec!["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "__________________________________________8="],
                vec![
                    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
                    "AAEC",
                    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".repeat(2).leak(),
                ],
            ),
        ] {
            good.iter().for_each(|text| assert_eq!(fault(name, text), None, "{name}"));
            bad.iter().for_each(|text| assert!(fault(name, text).is_some(), "{name} takes {text:?}"));
        }
    }

    #[test]
    fn keys_come_back_as_pem_however_often_they_are_wrapped() {
        let key = super::super::random::rsa_key().unwrap();
        let mut text = key.expose().to_string();
        for wrapped in 0..=WRAPPINGS {
            assert_eq!(
                plain(spec("PRIVATE_JWT_SIGNING_KEY"), &text).unwrap().expose(),
                key.expose().trim(),
                "{wrapped}"
            );
            text = STANDARD.encode(text);
        }
        assert!(fault("PRIVATE_JWT_SIGNING_KEY", &text).is_some());
        assert!(fault("PUBLIC_JWT_SIGNING_KEY", key.expose()).is_some());
    }

    #[test]
    fn several_public_keys_may_stand_below_one_another() {
        let key = || rsa::PrivateKey::new(&mut rand::rngs::SysRng, 2048).unwrap().to_public_key();
        let [a, b] = [key(), key()].map(|key| key.to_public_key_pem(rsa::pkcs8::LineEnding::LF).unwrap());
        let both = format!("{a}\n{b}");
        for text in [both.clone(), STANDARD.encode(&both), both.replace('\n', "\r\n")] {
            assert_eq!(rsa_public(plain(spec("PUBLIC_JWT_SIGNING_KEY"), &text).unwrap().expose()).unwrap().len(), 2);
        }
        for text in [format!("{a}x"), format!("{a}{}", &b[..80]), format!("{a}{}", b.replace("PUBLIC", "PRIVATE"))] {
            assert!(fault("PUBLIC_JWT_SIGNING_KEY", &text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_short_key_is_refused() {
        let short = rsa::PrivateKey::new(&mut rand::rngs::SysRng, 1024).unwrap();
        let pem = rsa::pkcs8::EncodePrivateKey::to_pkcs8_pem(&short, rsa::pkcs8::LineEnding::LF).unwrap();
        assert_eq!(
            fault("PRIVATE_JWT_SIGNING_KEY", &pem).unwrap(),
            "not the PEM of an RSA private key, nor base64 of it"
        );
    }

    proptest! {
        /// Whatever is in a file, the answer is yes or no, and what is said does not repeat it.
        #[test]
        fn anything_is_answered_and_not_repeated(text in "\\PC{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let pem = |label: &str| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(&bytes));
            let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE"];
            let texts = labels.map(pem).into_iter().chain([text.clone(), STANDARD.encode(&text), STANDARD.encode(&bytes)]);
            for text in texts {
                for secret in catalogue().secrets() {
                    if let Err(fault) = plain(secret, &text) {
                        prop_assert!(text.trim().len() < 12 || !fault.contains(text.trim()));
                    }
                }
            }
        }

        #[test]
        fn any_line_survives_as_a_password(text in "[^\\p{Cc}]{1,60}") {
            match plain(spec("REDIS_PASSWORD"), &text) {
                Ok(secret) => prop_assert_eq!(secret.expose(), text.trim()),
                Err(_) => prop_assert!(text.trim().is_empty() || text.trim().contains(say::is_unseen)),
            }
        }

        #[test]
        fn thirty_two_bytes_are_a_fernet_key_and_other_numbers_are_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let key = base64::engine::general_purpose::URL_SAFE.encode(&bytes);
            prop_assert_eq!(fault("FLOWAUTH_FERNET_KEY", &key).is_none(), bytes.len() == 32);
        }
    }
}
