//! Where the database is: `DB_URI`, as upstream writes it.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use flowkit_core::secrets::Secret;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::AnyConnectOptions;

/// All that means something in the part of a URI where a password stands.
const QUOTED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'&')
    .add(b'+');

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, for one instance.
    Sqlite,
    /// A server, for several.
    Postgres,
}

/// Where it is, with its password. Not to be shown.
#[derive(Clone)]
pub enum Address {
    /// A file, made where it is missing.
    File(PathBuf),
    /// The URI of a PostgreSQL server.
    Server(Secret),
}

impl Address {
    /// Reads a `DB_URI`; `{}` in it stands for the password, whatever characters that has. Drivers that upstream's library would
    /// load (`postgresql+psycopg2:`) mean nothing here.
    ///
    /// # Errors
    /// What is wrong with it, without its text, which may hold a password.
    pub fn parse(uri: &str, password: Option<&Secret>) -> Result<Address, String> {
        let (scheme, rest) = uri.trim().split_once("://").ok_or("DB_URI is no URI: it has no ://")?;
        match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => match rest.strip_prefix('/').filter(|path| !path.is_empty()) {
                Some(path) => Ok(Address::File(path.into())),
                None => Err("DB_URI names no file: write sqlite:////PATH".to_owned()),
            },
            "postgresql" | "postgres" => {
                let password = match (rest.contains("{}"), password) {
                    (true, None) => return Err("DB_URI has {} in it, and FLOWAUTH_DB_PASSWORD is not given".to_owned()),
                    (_, password) => {
                        password.map(|password| utf8_percent_encode(password.expose(), QUOTED).to_string())
                    }
                };
                let rest = rest.replace("{}", &password.unwrap_or_default());
                let address = Address::Server(Secret::new(format!("postgres://{rest}")));
                address.options().map(|_| address).map_err(|_| "DB_URI can't be read as a URI".to_owned())
            }
            other => Err(format!("DB_URI is of the kind {other:?}: FlowAuth keeps its data in postgresql or sqlite")),
        }
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        match self {
            Address::File(_) => Kind::Sqlite,
            Address::Server(_) => Kind::Postgres,
        }
    }

    /// The directory that a file is to be in.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Address::File(path) => path.parent(),
            Address::Server(_) => None,
        }
    }

    pub(crate) fn options(&self) -> sqlx::Result<AnyConnectOptions> {
        match self {
            Address::File(path) => {
                let path = utf8_percent_encode(&path.to_string_lossy(), PATH).to_string();
                AnyConnectOptions::from_str(&format!("sqlite://{path}?mode=rwc"))
            }
            Address::Server(uri) => AnyConnectOptions::from_str(uri.expose()),
        }
    }
}

/// What would end a path in a URI.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_password_stands_in_a_uri() {
        let password = Secret::new("a@b/c:d%?#{}é&+".to_owned());
        let Ok(Address::Server(uri)) =
            Address::parse("postgresql+psycopg2://flowauth:{}@db:5432/flowauth", Some(&password))
        else {
            panic!("a server")
        };
        let url = AnyConnectOptions::from_str(uri.expose()).unwrap().database_url;
        assert_eq!(
            (url.host_str(), url.port(), url.path(), url.username()),
            (Some("db"), Some(5432), "/flowauth", "flowauth")
        );
        let decoded = percent_encoding::percent_decode_str(url.password().unwrap()).decode_utf8().unwrap();
        assert_eq!(decoded, password.expose());
    }

    #[test]
    fn what_is_no_database_of_ours_is_named_without_its_password() {
        for (uri, says) in [
            ("flowauth:hunter2", "no ://"),
            ("mysql+pymysql://u:hunter2@h/d", "\"mysql\""),
            ("sqlite://", "names no file"),
            ("postgresql://u:hunter2@h:port/d", "can't be read"),
            ("postgresql://u:{}@h/hunter2", "FLOWAUTH_DB_PASSWORD is not given"),
        ] {
            let error = Address::parse(uri, None).err().unwrap();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        let Ok(Address::File(path)) = Address::parse("sqlite:////var/lib/a b.db", None) else { panic!("a file") };
        assert_eq!(path, Path::new("/var/lib/a b.db"));
    }
}
