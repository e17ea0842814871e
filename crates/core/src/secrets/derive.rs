//! Secrets that follow from others: connection strings and public keys.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use zeroize::Zeroizing;

use super::{LookupError, Secret, Store, form};
use crate::catalogue::{Make, catalogue};
use crate::config::{Settings, bracketed};
use crate::database::Way;

/// What may stand in an URL as it is.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The names between braces.
pub fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The names of the secrets that a secret is made from.
pub fn sources(make: &Make) -> Vec<&str> {
    match make {
        Make::Template(template) => placeholders(template).filter(|name| catalogue().secret(name).is_some()).collect(),
        Make::PublicHalfOf(name) | Make::CertificateFor(name) => vec![name],
        Make::Generate | Make::Fixed(_) | Make::Operator(_) => Vec::new(),
    }
}

/// The connection string, each secret quoted for an URL.
pub fn connection(
    template: &str,
    settings: &Settings,
    lookup: &dyn Fn(&str) -> Result<Secret, LookupError>,
) -> Result<Secret, LookupError> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    let mut rest = template;
    while let Some((before, (name, after))) = rest.split_once('{').and_then(|(a, b)| Some((a, b.split_once('}')?))) {
        text.push_str(before);
        match catalogue().secret(name) {
            Some(_) => text.extend(utf8_percent_encode(lookup(name)?.expose(), QUOTED)),
            None => text.push_str(&bracketed(settings.text(name).unwrap_or_default())),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(Secret::new(text.to_string()))
}

/// Whether a connection string of a store's logs in as the one that would be made there now.
pub fn is_as_made(store: &Store, name: &str, settings: &Settings) -> bool {
    let Some(Make::Template(template)) = catalogue().secret(name).map(|secret| &secret.make) else { return false };
    let made = connection(template, settings, &|name| store.get(name));
    matches!((store.get(name), made), (Ok(there), Ok(made)) if same_login(&there, &made))
}

/// What would be made in the place of a connection string that logs in alike but leads to the host itself that it is read on, where its own
/// would not: made for a plain host, it leads to nothing in a container.
pub fn moved(store: &Store, name: &str, settings: &Settings) -> Option<Secret> {
    let Make::Template(template) = &catalogue().secret(name)?.make else { return None };
    let there = store.get(name).ok()?;
    let made = connection(template, settings, &|name| store.get(name)).ok()?;
    let leads_here = |uri: &Secret| Way::of(uri.expose()).leads_here();
    (same_login(&there, &made) && leads_here(&there) && !leads_here(&made)).then_some(made)
}

/// Whether two connection strings log in alike: the same user and password, and, for a database, the same one. Where it
/// is reached is the operator's choice and may differ.
pub fn same_login(a: &Secret, b: &Secret) -> bool {
    match (login(a.expose()), login(b.expose())) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// User, password, database.
fn login(url: &str) -> Option<(Secret, Secret, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, _) = authority.rsplit_once('@')?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |text| Some(Secret::new(percent_decode_str(text).decode_utf8().ok()?.into_owned()));
    let database = if scheme.starts_with("redis") { "" } else { path.split(['?', '#']).next()? };
    Some((decoded(user)?, decoded(password)?, database))
}

/// The public half of a private key, as PEM.
pub fn public_half(private: &Secret) -> Option<Secret> {
    let public = form::rsa_private(private.expose())?.to_public_key();
    public.to_public_key_pem(LineEnding::LF).ok().map(Secret::new)
}

/// Public keys one by one, as PEM.
pub fn public_keys(public: &Secret) -> Option<Vec<String>> {
    let keys = form::rsa_public(public.expose())?;
    keys.iter().map(|key| key.to_public_key_pem(LineEnding::LF).ok()).collect()
}

/// Whether one of the public keys belongs to a private one.
pub fn is_pair(private: &Secret, public: &Secret) -> bool {
    let private = form::rsa_private(private.expose()).map(|key| key.to_public_key());
    let public = form::rsa_public(public.expose()).unwrap_or_default();
    private.is_some_and(|private| public.contains(&private))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "postgres://flowdb:{FLOWDB_POSTGRES_PASSWORD}@{FLOWDB_HOST}:{FLOWDB_PORT}/flowdb";

    fn url(password: &str) -> Secret {
        connection(TEMPLATE, &Settings::default(), &|_| Ok(Secret::new(password.into()))).unwrap()
    }

    #[test]
    fn passwords_are_quoted_and_places_come_from_settings() {
        assert_eq!(url("p@ss/w:d%").expose(), "postgres://flowdb:p%40ss%2Fw%3Ad%25@localhost:9000/flowdb");
        let mut settings = Settings::default();
        settings.set("FLOWDB_HOST", "::1", crate::config::Origin::Flag).unwrap();
        let text = connection(TEMPLATE, &settings, &|_| Ok(Secret::new("x".into()))).unwrap();
        assert_eq!(text.expose(), "postgres://flowdb:x@[::1]:9000/flowdb");
    }

    #[test]
    fn logins_are_compared_without_the_place() {
        let same = |other: &str| same_login(&url("p@ss"), &Secret::new(other.into()));
        assert!(same("postgresql://flowdb:p%40ss@flowdb:5432/flowdb"));
        assert!(same("postgres://flowdb:p@ss@10.0.0.1/flowdb?sslmode=require"));
        assert!(!same("postgres://flowdb:other@localhost:9000/flowdb"));
        assert!(!same("postgres://flowapi:p%40ss@localhost:9000/flowdb"));
        assert!(!same("postgres://flowdb:p%40ss@localhost:9000/flowetl_db"));
        assert!(!same("postgres://localhost/flowdb"));
        assert!(!same("nonsense"));
    }

    #[test]
    fn what_was_made_for_a_plain_host_is_made_anew_for_a_container() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::only(dir.path());
        let write = |name: &str, value: &str| std::fs::write(dir.path().join(name), value).unwrap();
        let mut inside = Settings::default();
        inside.set("FLOWDB_HOST", "flowdb", crate::config::Origin::Flag).unwrap();
        let moved = |settings: &Settings| moved(&store, "AIRFLOW_CONN_FLOWDB", settings);
        write("FLOWDB_POSTGRES_PASSWORD", "p@ss");
        assert!(moved(&inside).is_none(), "there is none");
        write("AIRFLOW_CONN_FLOWDB", url("p@ss").expose());
        assert_eq!(moved(&inside).unwrap().expose(), "postgres://flowdb:p%40ss@flowdb:9000/flowdb");
        assert!(moved(&Settings::default()).is_none(), "it is right for this host");
        for theirs in ["postgres://flowdb:p%40ss@db.example.org/flowdb", "postgres://other:x@localhost/flowdb"] {
            write("AIRFLOW_CONN_FLOWDB", theirs);
            assert!(moved(&inside).is_none(), "{theirs}");
        }
    }

    proptest::proptest! {
        /// Whatever is in a password, it is read back from the connection string, and no other password is.
        #[test]
        fn any_password_survives_in_an_url(password in "\\PC{1,40}", other in "\\PC{1,40}") {
            let plain = Secret::new(format!("postgres://flowdb:{}@db/flowdb", utf8_percent_encode(&other, QUOTED)));
            proptest::prop_assert_eq!(same_login(&url(&password), &plain), password == other);
            proptest::prop_assert!(same_login(&url(&password), &url(&password)));
            proptest::prop_assert!(url(&password).expose().is_ascii());
        }

        #[test]
        fn any_text_can_be_compared(text in "\\PC{0,80}") {
            same_login(&url("x"), &Secret::new(text));
        }
    }
}
