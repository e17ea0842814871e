//! Where the database is: `AUTOFLOW_DB_URI`, as upstream writes it.

use std::path::PathBuf;
use std::str::FromStr as _;

use flowkit_core::secrets::Secret;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::AnyConnectOptions;

/// What would end a path in a URI.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

/// Which database, with its password. Not to be shown.
#[derive(Clone)]
pub enum Address {
    /// A file, made where it is missing.
    File(PathBuf),
    /// The URI of a PostgreSQL server.
    Server(Secret),
}

impl Address {
    /// Reads an `AUTOFLOW_DB_URI`; `{}` in it stands for the password, whatever characters that has. Drivers that upstream's library would
    /// load (`postgresql+psycopg2:`) mean nothing here.
    ///
    /// # Errors
    /// What is wrong with it, without its text, which may hold a password.
    pub fn parse(uri: &str, password: Option<&Secret>) -> Result<Address, String> {
        let (scheme, rest) = uri.trim().split_once("://").ok_or("AUTOFLOW_DB_URI is no URI: it has no ://")?;
        match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => match rest.strip_prefix('/').filter(|path| !path.is_empty()) {
                Some(path) => Ok(Address::File(path.into())),
                None => Err("AUTOFLOW_DB_URI names no file: write sqlite:////PATH".to_owned()),
            },
            "postgresql" | "postgres" => {
                let password = match (rest.contains("{}"), password) {
                    (true, None) => {
                        return Err("AUTOFLOW_DB_URI has {} in it, and AUTOFLOW_DB_PASSWORD is not given".to_owned());
                    }
                    (_, password) => {
                        password.map(|password| utf8_percent_encode(password.expose(), NON_ALPHANUMERIC).to_string())
                    }
                };
                let rest = rest.replace("{}", &password.unwrap_or_default());
                let address = Address::Server(Secret::new(format!("postgres://{rest}")));
                address.options().map(|_| address).map_err(|_| "AUTOFLOW_DB_URI can't be read as a URI".to_owned())
            }
            other => Err(format!(
                "AUTOFLOW_DB_URI is of the kind {other:?}: AutoFlow keeps its runs in postgresql or sqlite"
            )),
        }
    }

    pub(super) fn options(&self) -> sqlx::Result<AnyConnectOptions> {
        match self {
            Address::File(path) => {
                let path = utf8_percent_encode(&path.to_string_lossy(), PATH).to_string();
                AnyConnectOptions::from_str(&format!("sqlite://{path}?mode=rwc"))
            }
            Address::Server(uri) => AnyConnectOptions::from_str(uri.expose()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_password_stands_in_a_uri_and_none_in_an_error() {
        let password = Secret::new("a@b/c:d%?#{}é&+".to_owned());
        let uri = "postgresql+psycopg2://autoflow:{}@db:5432/autoflow";
        let Ok(Address::Server(uri)) = Address::parse(uri, Some(&password)) else { panic!("a server") };
        let url = AnyConnectOptions::from_str(uri.expose()).unwrap().database_url;
        assert_eq!((url.host_str(), url.port(), url.path()), (Some("db"), Some(5432), "/autoflow"));
        let decoded = percent_encoding::percent_decode_str(url.password().unwrap()).decode_utf8().unwrap();
        assert_eq!(decoded, password.expose());
        for wrong in ["autoflow:hunter2", "mysql://u:hunter2@h/d", "sqlite://", "postgresql://u:{}@h/hunter2"] {
            let error = Address::parse(wrong, None).err().unwrap();
            assert!(!error.contains("hunter2") && error.contains("AUTOFLOW_DB_URI"), "{error}");
        }
    }
}
