//! The catalogue's secrets as a whole.

use super::{Options, RotateError, aside, derive::placeholders, init, plain, rotate, set_aside, take_over};
use crate::catalogue::{Kind, Make, catalogue};

/// The key in between would be nowhere, and may have sealed something.
#[test]
fn a_key_with_data_is_not_rotated_twice_by_way_of_values_that_are_kept_aside() {
    const KEY: &str = "FLOWAUTH_FERNET_KEY";
    let (dir, names, options) = (tempfile::tempdir().unwrap(), [KEY.to_owned()], Options::default());
    let dir = dir.path().join("secrets");
    let file = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let refused = |outcome: Result<(), RotateError>| match outcome {
        Err(RotateError::Refused(problems)) => {
            assert!(problems.to_string().contains("was rotated already"), "{problems}")
        }
        other => panic!("{other:?}"),
    };
    init(&dir, &[catalogue().owner(KEY).unwrap()], &options).unwrap();
    let first = file(KEY);
    // Taken over once, and again where a kill came between.
    let begin = || rotate(&set_aside(&dir, &names).unwrap(), &names, &options, true).unwrap();
    begin();
    let copy = std::fs::read(aside(&dir).join(KEY)).unwrap();
    take_over(&dir, &[KEY]).unwrap();
    std::fs::create_dir(aside(&dir)).unwrap();
    std::fs::write(aside(&dir).join(KEY), copy).unwrap();
    take_over(&dir, &[KEY]).unwrap();
    assert!(file(&format!("{KEY}.previous")) == first && file(KEY) != first);

    let second = file(KEY);
    refused(set_aside(&dir, &names).map(drop));
    assert!(!aside(&dir).exists());
    // The directory's was rotated while the values were aside.
    std::fs::remove_file(dir.join(format!("{KEY}.previous"))).unwrap();
    begin();
    rotate(&dir, &names, &options, true).unwrap();
    let third = file(KEY);
    refused(take_over(&dir, &[KEY]));
    assert!(file(KEY) == third && file(&format!("{KEY}.previous")) == second && aside(&dir).join(KEY).exists());
    // Others are not held up by it.
    set_aside(&dir, &["SECRET_KEY".to_owned()]).unwrap();
}

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
