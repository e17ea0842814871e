//! Is redis there, and is it ours?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use zeroize::Zeroizing;

use crate::supervisor::Probe;

/// Gives the password when it is needed, so that it is not kept in memory; an error is in words, without the value.
pub type Password = Box<dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync>;

/// Asks redis, with the password, which configuration file it was started with, and whether it takes writes.
pub struct Ping {
    /// Where it listens; an address that stands for all interfaces is asked at the loopback.
    pub address: SocketAddr,
    /// The file that ours was started with.
    pub config_file: PathBuf,
    /// See [`Password`].
    pub password: Password,
}

impl Probe for Ping {
    fn check(&self, patience: Duration) -> Result<(), String> {
        let password = (self.password)()?;
        let told = self.config_file_of_server(&password, patience).map_err(|error| in_words(&error))?;
        if told == self.config_file.to_string_lossy() {
            Ok(())
        } else {
            Err(format!("another redis answers at {} (started with {told})", self.address))
        }
    }
}

impl Ping {
    fn config_file_of_server(&self, password: &str, patience: Duration) -> Result<String, redis::RedisError> {
        let client = redis::Client::open(connection_info(self.address, password))?;
        let mut connection = client.get_connection_with_timeout(patience)?;
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        redis::cmd("PING").exec(&mut connection)?;
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection)?;
        Ok(info.lines().find_map(|line| line.strip_prefix("config_file:")).unwrap_or_default().to_owned())
    }
}

/// How to reach a redis of ours; usable with the `redis` crate's clients.
pub fn connection_info(address: SocketAddr, password: &str) -> ConnectionInfo {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    ConnectionAddr::Tcp(host.to_string(), address.port())
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
