//! Where a server of ours keeps its data, as upstream's settings write it (`DB_URI`, `AUTOFLOW_DB_URI`): a PostgreSQL server or a SQLite
//! file, by the URI that SQLAlchemy takes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use crate::secrets::Secret;

/// What would end a path in a URI.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

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
    /// A SQLite file.
    File(PathBuf),
    /// The URI of a PostgreSQL server.
    Server(Secret),
}

/// The way to it, as far as walls around a program ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A port of a host.
    Tcp {
        /// Its name or number; numbers of version 6 without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A unix socket.
    Socket,
    /// A file in this directory.
    File(PathBuf),
}

impl Address {
    /// Reads the URI in the setting `name`. `{}` in it stands for the password, whatever characters that has; `password` is the name of
    /// that secret, and the secret where there is one. Drivers that upstream's library would load (`postgresql+psycopg2:`) mean nothing
    /// here.
    ///
    /// # Errors
    /// What is wrong with it, without its text, which may hold a password.
    pub fn parse(name: &str, uri: &str, password: (&str, Option<&Secret>)) -> Result<Address, String> {
        let (scheme, rest) = uri.trim().split_once("://").ok_or_else(|| format!("{name} is no URI: it has no ://"))?;
        match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => match rest.strip_prefix('/').filter(|path| !path.is_empty()) {
                Some(path) => Ok(Address::File(path.into())),
                None => Err(format!("{name} names no file: write sqlite:////PATH")),
            },
            "postgresql" | "postgres" => {
                let given = match password {
                    (secret, None) if rest.contains("{}") => {
                        return Err(format!("{name} has {{}} in it, and {secret} is not given"));
                    }
                    (_, given) => given.map(|given| utf8_percent_encode(given.expose(), NON_ALPHANUMERIC).to_string()),
                };
                let uri = format!("postgres://{}", rest.replace("{}", &given.unwrap_or_default()));
                Url::parse(&uri).map_err(|_| format!("{name} can't be read as a URI"))?;
                Ok(Address::Server(Secret::new(uri)))
            }
            other => Err(format!("{name} is of the kind {other:?}: data are kept in postgresql or sqlite")),
        }
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        match self {
            Address::File(_) => Kind::Sqlite,
            Address::Server(_) => Kind::Postgres,
        }
    }

    /// As the driver takes it. A file is made where it is missing.
    pub fn uri(&self) -> Secret {
        match self {
            Address::File(path) => {
                let path = utf8_percent_encode(&path.to_string_lossy(), PATH).to_string();
                Secret::new(format!("sqlite://{path}?mode=rwc"))
            }
            Address::Server(uri) => uri.clone(),
        }
    }

    /// The directory that a file is to be in.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Address::File(path) => path.parent(),
            Address::Server(_) => None,
        }
    }
}

impl Way {
    /// The way that a URI names; of one that can't be read, PostgreSQL's own port of nowhere.
    pub fn of(uri: &str) -> Way {
        let rest = uri.trim().split_once("://").map_or("", |(_, rest)| rest);
        if uri.trim().starts_with("sqlite") {
            let file = Path::new(rest.strip_prefix('/').unwrap_or(rest));
            return Way::File(file.parent().unwrap_or(file).to_owned());
        }
        // A login without a host is no URL, but libpq's: it is by the host's own socket, unless the host is named behind the question mark.
        let url = [rest.to_owned(), rest.replacen("@/", "@localhost/", 1)];
        let url = url.iter().find_map(|rest| Url::parse(&format!("postgres://{rest}")).ok());
        // libpq's: what stands behind the question mark goes before what stands in front of it.
        let asked = |name: &str| {
            let (_, value) = url.as_ref()?.query_pairs().find(|(key, _)| key == name)?;
            Some(value.into_owned())
        };
        let host = asked("host").or_else(|| {
            Some(match url.as_ref()?.host()? {
                Host::Domain(name) => name.to_owned(),
                Host::Ipv4(number) => number.to_string(),
                Host::Ipv6(number) => number.to_string(),
            })
        });
        let host = host.unwrap_or_default();
        if host.starts_with('/') || host.to_lowercase().starts_with("%2f") {
            return Way::Socket;
        }
        let port = asked("port").and_then(|port| port.parse().ok()).or_else(|| url.as_ref()?.port()).unwrap_or(5432);
        Way::Tcp { host, port }
    }

    /// Whether it leads to the host itself that the URI is read on, or one of several ways does.
    pub fn leads_here(&self) -> bool {
        let number = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        let is_here = |host: &str| host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(number);
        match self {
            Way::Tcp { host, .. } => host.split(',').any(is_here),
            Way::Socket => true,
            Way::File(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_password_stands_in_a_uri() {
        let password = Secret::new("a@b/c:d%?#{}é&+".to_owned());
        let uri = "postgresql+psycopg2://flowauth:{}@db:5432/flowauth";
        let Ok(address @ Address::Server(_)) = Address::parse("DB_URI", uri, ("PASSWORD", Some(&password))) else {
            panic!("a server")
        };
        let url = Url::parse(address.uri().expose()).unwrap();
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
            ("postgresql://u:{}@h/hunter2", "PASSWORD is not given"),
        ] {
            let error = Address::parse("DB_URI", uri, ("PASSWORD", None)).err().unwrap();
            assert!(error.contains(says) && !error.contains("hunter2") && error.starts_with("DB_URI"), "{error}");
        }
        let parsed = Address::parse("DB_URI", "sqlite:////var/lib/a b.db", ("PASSWORD", None));
        let Ok(address @ Address::File(_)) = parsed else { panic!("a file") };
        assert_eq!(address.uri().expose(), "sqlite:///var/lib/a%20b.db?mode=rwc");
        assert_eq!(address.directory(), Some(Path::new("/var/lib")));
    }

    #[test]
    fn a_way_is_what_libpq_would_take() {
        let at = |host: &str, port| Way::Tcp { host: host.to_owned(), port };
        for (uri, way) in [
            ("postgresql://flowauth:{}@db.example.org:6543/flowauth", at("db.example.org", 6543)),
            ("postgresql+psycopg2://flowauth:p%40s@db/flowauth?sslmode=require", at("db", 5432)),
            ("postgres://flowauth:{}@[::1]:7000/flowauth", at("::1", 7000)),
            ("postgres://flowauth:{}@127.0.0.1/flowauth", at("127.0.0.1", 5432)),
            ("postgresql://flowauth:{}@db/flowauth?port=7001", at("db", 7001)),
            ("postgresql://flowauth@localhost/flowauth?host=/run/postgresql", Way::Socket),
            ("postgresql://flowauth@localhost/flowauth?host=%2Frun%2Fpostgresql", Way::Socket),
            ("postgresql://flowauth@%2Frun%2Fpostgresql/flowauth", Way::Socket),
            ("sqlite:////srv/flowauth/flowauth.sqlite", Way::File("/srv/flowauth".into())),
        ] {
            assert_eq!(Way::of(uri), way, "{uri}");
        }
    }

    #[test]
    fn what_leads_to_the_host_itself_is_known() {
        let leads = |uri: &str| Way::of(uri).leads_here();
        for here in [
            "postgres://a:b@localhost:9000/flowdb",
            "redis://:x%40@127.0.0.1:6380/0",
            "postgres://a:b@[::1]:1/d",
            "http://[::1]/",
            "postgres://a:b@LOCALHOST/d",
            "postgres://a:b@0.0.0.0/d",
            "postgres://a:b@/d?host=db,127.0.0.1",
            "postgres://a:b@/d?host=/run/postgresql",
        ] {
            assert!(leads(here), "{here}");
        }
        for elsewhere in
            ["postgres://a:b@flowdb:5432/flowdb", "postgres://localhost:b@db/x", "http://[::2]", "localhost"]
        {
            assert!(!leads(elsewhere), "{elsewhere}");
        }
    }
}
