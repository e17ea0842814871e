//! A PostgreSQL of a test's own, on a socket in its temporary directory.

use std::path::PathBuf;

use futures_util::StreamExt;
use postgres_rig::SUPERUSER;
use results::{Error, Format, Query};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// The id of every query here.
pub const ID: &str = "0123456789abcdef0123456789abcdef";

/// One server, and what runs its connections.
pub struct Server {
    pub runtime: Runtime,
    address: Address,
    _server: postgres_rig::Server,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Address {
    /// The directory of its socket.
    pub socket: PathBuf,
    pub port: u16,
}

impl Server {
    /// A running server with an empty database `postgres`, in UTF-8.
    pub fn start() -> Server {
        Server::around(postgres_rig::Server::start())
    }

    /// The same with more settings, each as `name=value`.
    #[allow(dead_code)] // the benchmark's
    pub fn start_with(port: u16, settings: &[&str]) -> Server {
        Server::around(postgres_rig::Server::start_with(port, settings))
    }

    fn around(server: postgres_rig::Server) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let address = Address { socket: server.socket().to_owned(), port: server.port() };
        Server { runtime, address, _server: server }
    }

    /// A connection as the superuser.
    pub fn connect(&self) -> Client {
        self.runtime.block_on(self.address.connect()).expect("a connection")
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Runs statements.
    pub fn run(&self, sql: &str) {
        self.runtime.block_on(self.connect().batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The whole file of a query's result.
    pub fn try_file(&self, sql: &str, format: Format) -> Result<Vec<u8>, Error> {
        let client = self.connect();
        self.runtime.block_on(async {
            let mut rows = results::open(client, &Query { sql, format, query_id: ID, timeout: None }).await?;
            let mut file = Vec::new();
            while let Some(chunk) = rows.next().await {
                file.extend_from_slice(&chunk?);
            }
            Ok(file)
        })
    }

    /// The same where nothing fails.
    pub fn file(&self, sql: &str, format: Format) -> Vec<u8> {
        self.try_file(sql, format).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The same as text.
    pub fn text(&self, sql: &str, format: Format) -> String {
        String::from_utf8(self.file(sql, format)).expect("UTF-8")
    }
}

impl Address {
    /// A connection as the superuser.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket).port(self.port).user(SUPERUSER).dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}
