//! The catalogue's secrets as a whole.

use super::{derive::placeholders, plain};
use crate::catalogue::{Kind, Make, catalogue};

#[test]
fn secrets_are_made_of_what_is_there() {
    let all = catalogue();
    for secret in all.secrets() {
        match &secret.make {
            Make::Fixed(value) => {
                let plain = plain(secret, value).unwrap_or_else(|fault| panic!("{}: {fault}", secret.name));
                assert_eq!(plain.expose(), value);
            }
            Make::Template(template) => {
                for name in placeholders(template) {
                    assert!(all.secret(name).is_some() || all.setting(name).is_some(), "{}: {name}", secret.name);
                }
            }
            Make::PublicHalfOf(other) => assert_eq!(all.secret(other).unwrap().kind, Kind::RsaPrivate),
            Make::CertificateFor(other) => assert_eq!(all.secret(other).unwrap().kind, Kind::TlsKey),
            Make::Operator(from) => assert!(!from.is_empty()),
            Make::Generate => {
                let made = [Kind::Password, Kind::Fernet, Kind::RsaPrivate, Kind::TlsKey];
                assert!(made.contains(&secret.kind), "{} can't be made by chance", secret.name);
            }
        }
    }
}
