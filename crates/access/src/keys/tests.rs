use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::SysRng;
use rsa::PrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::pkcs8::LineEnding;

use super::*;
use crate::testing::{KEY, private_pem, public_pem};

fn count(text: &str) -> Result<usize, KeyError> {
    Keys::parse(text).map(|keys| keys.count())
}

#[test]
fn keys_are_found_in_every_wrapping() {
    let pem = public_pem();
    let once = STANDARD.encode(&pem);
    let lines: String = once.as_bytes().chunks(76).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
    let pkcs1 = KEY.to_public_key().to_pkcs1_pem(LineEnding::LF).unwrap();
    let crlf = pem.replace('\n', "\r\n");
    for text in [&pem, &format!("\n {pem}\n"), pem.trim(), &once, &lines, &STANDARD.encode(&once), &pkcs1, &crlf] {
        assert_eq!(count(text), Ok(1), "{text}");
    }
    let several = format!("# the old one\n{pem}\nthe new one:\n{pkcs1}");
    assert_eq!(count(&several), Ok(2));
    assert_eq!(count(&STANDARD.encode(&several)), Ok(2));
}

#[test]
fn what_is_no_public_key_is_named() {
    let pem = public_pem();
    let cut = &pem[..pem.len() / 2];
    let short = PrivateKey::new(&mut SysRng, 1024).unwrap().to_public_key().to_pkcs1_pem(LineEnding::LF).unwrap();
    for (text, error) in [
        (String::new(), KeyError::NotPem),
        ("abc".into(), KeyError::NotPem),
        (STANDARD.encode([0xff; 40]), KeyError::NotPem),
        (cut.to_owned(), KeyError::NotPublic(1)),
        (format!("{cut}\n{pem}"), KeyError::NotPublic(1)),
        (format!("{pem}{cut}"), KeyError::NotPublic(2)),
        (format!("{pem}{}", private_pem()), KeyError::Private(2)),
        (short, KeyError::Short(1)),
        (pem.repeat(9), KeyError::Many),
        ("-----BEGIN -----BEGIN ".into(), KeyError::NotPublic(1)),
    ] {
        assert_eq!(count(&text), Err(error), "{text}");
    }
}

#[test]
fn both_forms_of_private_keys_are_read() {
    let pkcs1 = KEY.to_pkcs1_pem(LineEnding::LF).unwrap();
    for text in [private_pem(), pkcs1.to_string(), STANDARD.encode(&*pkcs1)] {
        assert!(private(&text).is_ok());
    }
    assert!(matches!(private(&public_pem()), Err(KeyError::NotPem)));
}

#[test]
fn any_of_several_keys_may_have_signed() {
    let other = PrivateKey::new(&mut SysRng, 2048).unwrap().to_public_key();
    let text = crate::testing::signed(r#"{"alg":"RS256"}"#, b"{}");
    let (message, signature) = text.rsplit_once('.').unwrap();
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
    let pem = |key: &PublicKey| key.to_pkcs1_pem(LineEnding::LF).unwrap();
    let both = Keys::parse(&format!("{}{}", pem(&other), public_pem())).unwrap();
    assert!(both.signed(message.as_bytes(), &signature));
    assert!(!Keys::from(other).signed(message.as_bytes(), &signature));
}
