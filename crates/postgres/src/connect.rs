//! Connections to a cluster.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::{Cluster, Error};
use flowkit_core::config::{bracketed, from_here};
use flowkit_core::secrets::Secret;
use supervisor::{Acting, User};

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The database that is there before every other, and that holds nothing.
pub const MAINTENANCE: &str = "postgres";

/// Where a cluster answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What people call the cluster.
    pub of: &'static str,
    /// The directory of its socket.
    pub socket: PathBuf,
    /// The address it listens on.
    pub listen: String,
    /// Its port, which is also part of the socket's name.
    pub port: u16,
}

impl Endpoint {
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

    /// The socket itself.
    pub fn socket_file(&self) -> PathBuf {
        self.socket.join(format!(".s.PGSQL.{}", self.port))
    }

    /// Connects any user over TCP; the connection itself is driven by a task of the current runtime.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn over_tcp(&self, user: &str, password: Option<&Secret>, database: &str) -> Result<Client, Error> {
        let mut config = Config::new();
        config.host(self.host()).port(self.port);
        self.open(config, self.address(), user, password, database).await
    }

    /// The same over the socket.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn over_socket(&self, user: &str, password: Option<&Secret>, database: &str) -> Result<Client, Error> {
        let mut config = Config::new();
        config.host_path(&self.socket).port(self.port);
        let address = format!("{} (port {})", self.socket.display(), self.port);
        self.open(config, address, user, password, database).await
    }

    async fn open(
        &self,
        mut config: Config,
        address: String,
        user: &str,
        password: Option<&Secret>,
        database: &str,
    ) -> Result<Client, Error> {
        config.user(user).dbname(database).application_name("flowkit").connect_timeout(PATIENCE);
        if let Some(password) = password {
            config.password(password.expose());
        }
        let failed = |source| Error::Connect { of: self.of, address, user: user.to_owned(), source };
        let (client, connection) = scram::connect(&config).await.map_err(failed)?;
        // It ends when the client is dropped, or with an error that the client's next request reports.
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Cluster {
    /// The superuser over the socket, with the password of now or, where the system can't tell who we are, the one before. Its transactions write,
    /// also where for [want of room](Self::keep_room) others' do not.
    ///
    /// # Errors
    /// [`Error::Connect`]; root can't act as the owner of the cluster's directory.
    pub async fn as_superuser(&self, database: &str) -> Result<Client, Error> {
        let client = self.log_in(database).await?;
        let writes = client.batch_execute("SET default_transaction_read_only = off").await;
        writes.map_err(Error::sql("have the superuser write"))?;
        Ok(client)
    }

    async fn log_in(&self, database: &str) -> Result<Client, Error> {
        let (endpoint, store) = (self.endpoint(), &self.site.store);
        let (now, before) = (store.get(self.password).ok(), store.previous(self.password));
        let _acting = as_owner(&self.directory).map_err(Error::file("act as the owner of", &self.directory))?;
        let refused = match endpoint.over_socket(self.superuser, now.as_ref(), database).await {
            Err(error) if is_refusal(&error) => error,
            other => return other,
        };
        match before {
            Some(before) => endpoint.over_socket(self.superuser, Some(&before), database).await.map_err(|_| refused),
            None => Err(refused),
        }
    }

    /// Makes a database unless it is there, and lets people in; says whether it made it. Not part of any transaction: PostgreSQL
    /// removes a half-made one itself. The name is one of a program, which needs no quotes.
    ///
    /// # Errors
    /// Another server answers there; a statement fails.
    pub async fn make_database(&self, name: &'static str) -> Result<bool, Error> {
        let client = self.as_superuser(MAINTENANCE).await?;
        self.refuse_other(&client).await?;
        let exists = client
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name])
            .await
            .map_err(Error::sql("list databases"))?
            .is_some();
        let sql = match exists {
            false => format!("CREATE DATABASE {name}"),
            // Whatever somebody has changed about it.
            true => format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1"),
        };
        client.batch_execute(&sql).await.map_err(Error::sql(format!("create or open the database {name}")))?;
        Ok(!exists)
    }
}

/// Root goes to the socket with the rights of whoever owns its directory: nothing that stands there leads root further.
fn as_owner(dir: &Path) -> io::Result<Option<Acting>> {
    let Ok(found) = std::fs::symlink_metadata(dir) else { return Ok(None) };
    let user = User { uid: found.uid(), gid: found.gid(), groups: Vec::new() };
    let is_root = rustix::process::geteuid().is_root();
    (is_root && user.uid != 0).then(|| Acting::as_user(&user)).transpose()
}

/// Whether the server answered, and has no connection left.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Connect { source, .. } if source.code() == Some(&SqlState::TOO_MANY_CONNECTIONS))
}

/// Whether the server answered, and refused the login.
pub(crate) fn is_refusal(error: &Error) -> bool {
    let Error::Connect { source, .. } = error else { return false };
    [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].iter().any(|s| source.code() == Some(s))
}
