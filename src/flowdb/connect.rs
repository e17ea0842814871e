//! Connections to FlowDB.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::{DATABASE, Error, SUPERUSER, scram};
use flowkit_core::Site;
use flowkit_core::config::{Settings, bracketed, from_here};
use flowkit_core::secrets::{LookupError, Secret, Store};
use supervisor::{Acting, User};

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The role whose directory holds the socket.
const ROLE: &str = "flowdb";

/// The secret that holds the superuser's password.
pub(super) const SUPERUSER_PASSWORD: &str = "FLOWDB_POSTGRES_PASSWORD";

/// Where a FlowDB of this machine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The directory of its socket.
    pub socket: PathBuf,
    /// The address it listens on.
    pub listen: String,
    /// Its port, which is also part of the socket's name.
    pub port: u16,
}

impl Endpoint {
    /// As the settings say.
    pub fn new(Site { state, settings, .. }: &Site) -> Endpoint {
        Endpoint {
            socket: state.role(ROLE).join("run"),
            listen: settings.text("FLOWKIT_FLOWDB_LISTEN").unwrap_or("127.0.0.1").to_owned(),
            port: settings.port("FLOWDB_PORT"),
        }
    }

    /// The FlowDB of another host that the settings name, when there is none here.
    fn elsewhere(&self, settings: &Settings) -> Option<Endpoint> {
        let host = settings.explicit().find(|(name, _)| *name == "FLOWDB_HOST")?.1;
        let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let here = self.socket.join(format!(".s.PGSQL.{}", self.port)).exists();
        (!loopback && !here).then(|| Endpoint { listen: host.to_owned(), ..self.clone() })
    }

    /// An address at which the server is reached from here: a server on all addresses answers on loopback.
    pub fn host(&self) -> String {
        match self.listen.parse::<IpAddr>() {
            Ok(ip) => from_here(ip).to_string(),
            Err(_) => self.listen.clone(),
        }
    }

    /// For people.
    pub fn address(&self) -> String {
        format!("{}:{}", bracketed(&self.host()), self.port)
    }

    fn over_socket(&self) -> (Config, String) {
        let mut config = Config::new();
        config.host_path(&self.socket).port(self.port);
        (config, format!("{} (port {})", self.socket.display(), self.port))
    }

    fn over_tcp(&self) -> (Config, String) {
        let mut config = Config::new();
        config.host(self.host()).port(self.port);
        (config, self.address())
    }
}

/// Connects as `user`; the connection itself is driven by a task of the current runtime.
///
/// The superuser goes through the socket, where the user that runs FlowDB needs no password: so a rotated one can be
/// set. FlowMachine's and FlowAPI's logins go over TCP with their own passwords, as the programs do. Where no FlowDB runs
/// here and the settings name another host or container, everybody goes there, with a password.
pub async fn connect(site: &Site, user: &str) -> Result<Client, Error> {
    let (endpoint, Site { settings, store, .. }) = (Endpoint::new(site), site);
    if let Some(elsewhere) = endpoint.elsewhere(settings) {
        let password = match user {
            SUPERUSER => Some(store.get(SUPERUSER_PASSWORD)?),
            _ => password_of(store, user)?,
        };
        return over_tcp(&elsewhere, user, password.as_ref(), DATABASE).await;
    }
    if user == SUPERUSER {
        return as_superuser(site, DATABASE).await;
    }
    let password = password_of(store, user)?;
    over_tcp(&endpoint, user, password.as_ref(), DATABASE).await
}

/// The superuser over the socket, with the password of now or, where the system can't tell who we are, the one before.
pub(super) async fn as_superuser(site: &Site, database: &str) -> Result<Client, Error> {
    let (endpoint, Site { state, store, .. }) = (Endpoint::new(site), site);
    let (now, before) = (store.get(SUPERUSER_PASSWORD).ok(), store.previous(SUPERUSER_PASSWORD));
    let _acting = as_owner(&state.role(ROLE)).map_err(Error::file("act as the owner of", state.role(ROLE)))?;
    let refused = match open(endpoint.over_socket(), SUPERUSER, now.as_ref(), database).await {
        Err(error) if is_refusal(&error) => error,
        other => return other,
    };
    match before {
        Some(before) => open(endpoint.over_socket(), SUPERUSER, Some(&before), database).await.map_err(|_| refused),
        None => Err(refused),
    }
}

/// Root goes to the socket with the rights of whoever owns its directory: nothing that stands there leads root further.
fn as_owner(dir: &Path) -> io::Result<Option<Acting>> {
    let Ok(found) = std::fs::symlink_metadata(dir) else { return Ok(None) };
    let user = User { uid: found.uid(), gid: found.gid(), groups: Vec::new() };
    let is_root = rustix::process::geteuid().is_root();
    (is_root && user.uid != 0).then(|| Acting::as_user(&user)).transpose()
}

/// Any user over TCP.
pub(super) async fn over_tcp(
    endpoint: &Endpoint,
    user: &str,
    password: Option<&Secret>,
    database: &str,
) -> Result<Client, Error> {
    open(endpoint.over_tcp(), user, password, database).await
}

/// Any user over the socket, with a password.
pub(super) async fn over_socket(
    endpoint: &Endpoint,
    user: &str,
    password: &Secret,
    database: &str,
) -> Result<Client, Error> {
    open(endpoint.over_socket(), user, Some(password), database).await
}

/// Whether the server answered, and has no connection left.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Connect { source, .. } if source.code() == Some(&SqlState::TOO_MANY_CONNECTIONS))
}

/// Whether the server answered, and refused the login.
pub(super) fn is_refusal(error: &Error) -> bool {
    let Error::Connect { source, .. } = error else { return false };
    [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].iter().any(|s| source.code() == Some(s))
}

/// The password of one of the programs' logins; `None` for a user that is not one of theirs.
fn password_of(store: &Store, user: &str) -> Result<Option<Secret>, LookupError> {
    for (name, password) in
        [("FLOWMACHINE_FLOWDB_USER", "FLOWMACHINE_FLOWDB_PASSWORD"), ("FLOWAPI_FLOWDB_USER", "FLOWAPI_FLOWDB_PASSWORD")]
    {
        if login_name(store, name)? == user {
            return store.get(password).map(Some);
        }
    }
    Ok(None)
}

/// The name of a program's login: a secret in FlowKit's guide, with a name that nobody has to give.
pub(super) fn login_name(store: &Store, secret: &str) -> Result<String, LookupError> {
    store.get(secret).map(|name| name.expose().to_owned())
}

async fn open(
    (mut config, address): (Config, String),
    user: &str,
    password: Option<&Secret>,
    database: &str,
) -> Result<Client, Error> {
    config.user(user).dbname(database).application_name("flowkit").connect_timeout(PATIENCE);
    if let Some(password) = password {
        config.password(password.expose());
    }
    let (client, connection) =
        scram::connect(&config).await.map_err(|source| Error::Connect { address, user: user.to_owned(), source })?;
    // It ends when the client is dropped, or with an error that the client's next request reports.
    tokio::spawn(connection);
    Ok(client)
}
