//! Is redis there, and is it ours?

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use super::conf::Conf;
use flowkit_core::Site;
use flowkit_core::config::from_here;
use flowkit_core::secrets::Store;
use supervisor::{Probe, connect_to_own};

/// How long redis may take to say that it is full.
const FULL: Duration = Duration::from_millis(500);

/// Asks redis, with the password, which configuration file it was started with, and whether it can keep what it is to keep.
pub struct Ping {
    /// Where it listens; an address that stands for all interfaces is asked at the loopback.
    pub address: SocketAddr,
    /// The file that ours was started with.
    pub config_file: PathBuf,
    /// Where its password is; looked up at each check.
    pub store: Store,
    /// The secret that holds it.
    pub password: &'static str,
}

impl Probe for Ping {
    fn check(&self, patience: Duration) -> Result<(), String> {
        let password = self.store.get(self.password).map_err(|error| error.to_string())?;
        let told = match self.ask(password.expose(), patience) {
            // It answers, and whoever it is listens as our own user.
            Err(error) if !error.is_timeout() && !error.is_connection_refusal() && self.is_full(patience) => {
                return Ok(());
            }
            answer => answer.map_err(|error| in_words(&error))?,
        };
        let said = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let file = said("config_file:");
        if file != self.config_file.to_string_lossy() {
            return Err(format!("another redis answers at {} (started with {file})", self.address));
        }
        // It answers, and takes nothing.
        match said("aof_last_write_status:") {
            "" | "ok" => Ok(()),
            _ => Err("it can't write its append-only file".to_owned()),
        }
    }
}

impl Ping {
    /// Asks FlowMachine's.
    pub fn of(site: &Site) -> Ping {
        Ping::asking(&Conf::of(site), &site.store)
    }

    /// Asks this one.
    pub fn asking(conf: &Conf, store: &Store) -> Ping {
        let Conf { listen, port, password, .. } = *conf;
        Ping { address: (listen, port).into(), config_file: conf.file(), store: store.clone(), password }
    }

    /// Whether it has no connection left, which it tells without being asked. Somebody may take them all; a restart would only lose
    /// what redis holds, and the connections of those who have one.
    fn is_full(&self, patience: Duration) -> bool {
        let mut said = [0; 64];
        let answer = connect_to_own(self.reached(), patience).and_then(|mut stream| {
            stream.set_read_timeout(Some(patience.min(FULL)))?;
            stream.read(&mut said)
        });
        answer.is_ok() && said.starts_with(b"-ERR max number of clients")
    }

    fn reached(&self) -> SocketAddr {
        SocketAddr::new(from_here(self.address.ip()), self.address.port())
    }

    /// What it tells of itself. Only a redis of our own user is told the password.
    fn ask(&self, password: &str, patience: Duration) -> Result<String, redis::RedisError> {
        let address = self.reached();
        let info = RedisConnectionInfo::default().set_password(password);
        let ask = async {
            let stream = connect_to_own(address, patience)?;
            stream.set_nonblocking(true)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let (mut connection, driver) = MultiplexedConnection::new(&info, stream).await?;
            let questions = async {
                let answer = redis::cmd("PING").exec_async(&mut connection).await;
                if answer.as_ref().is_err_and(|error| error.code() == Some("BUSY")) {
                    // Ends a script that has not written anything. One that has is ended with redis, if it goes on.
                    let _ = redis::cmd("SCRIPT").arg("KILL").exec_async(&mut connection).await;
                }
                answer?;
                redis::cmd("INFO").query_async::<String>(&mut connection).await
            };
            tokio::select! {
                answer = questions => answer,
                () = driver => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async { tokio::time::timeout(patience, ask).await });
        answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// How to reach a redis of ours; usable with the `redis` crate's clients.
pub fn connection_info(host: &str, port: u16, password: &str) -> ConnectionInfo {
    ConnectionAddr::Tcp(host.to_owned(), port)
        .into_connection_info()
        .expect("an address needs no parsing")
        .set_redis_settings(RedisConnectionInfo::default().set_password(password))
}

/// One line for the status table.
fn in_words(error: &redis::RedisError) -> String {
    if error.is_connection_refusal() {
        "connection refused".into()
    } else if error.is_timeout() {
        "no answer in time".into()
    } else {
        error.to_string()
    }
}
