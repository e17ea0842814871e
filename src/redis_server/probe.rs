//! Is redis there, and is it ours?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use super::PASSWORD;
use super::conf::{CONF_FILE, Conf};
use crate::config::{Settings, StateDir, from_here};
use crate::secrets::Store;
use crate::supervisor::Probe;

/// Asks redis, with the password, which configuration file it.
pub struct Ping {
    /// Where it listens; an address that stands for all interfaces is asked at the loopback.
    pub address: SocketAddr,
    /// The file that ours was started with.
    pub config_file: PathBuf,
    /// Where its password is; looked up at each check.
    pub store: Store,
}

impl Probe for Ping {
    fn check(&self, patience: Duration) -> Result<(), String> {
        let password = self.store.get(PASSWORD).map_err(|error| error.to_string())?;
        let told = self.config_file_of_server(password.expose(), patience).map_err(|error| in_words(&error))?;
        if told == self.config_file.to_string_lossy() {
            Ok(())
        } else {
            Err(format!("another redis answers at {} (started with {told})", self.address))
        }
    }
}

impl Ping {
    /// Asks the redis of this deployment.
    pub fn of(state: &StateDir, settings: &Settings, store: &Store) -> Ping {
        let Conf { listen, port, directory, .. } = Conf::of(state, settings);
        Ping { address: (listen, port).into(), config_file: directory.join(CONF_FILE), store: store.clone() }
    }

    fn config_file_of_server(&self, password: &str, patience: Duration) -> Result<String, redis::RedisError> {
        let info = connection_info(&from_here(self.address.ip()).to_string(), self.address.port(), password);
        let client = redis::Client::open(info)?;
        let mut connection = client.get_connection_with_timeout(patience)?;
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        redis::cmd("PING").exec(&mut connection)?;
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection)?;
        Ok(info.lines().find_map(|line| line.strip_prefix("config_file:")).unwrap_or_default().to_owned())
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
