//! Where the records of queries are: FlowDB and redis, as FlowMachine's server reaches them.

use std::net::IpAddr;

use redis::ConnectionInfo;

use super::database_id;
use crate::redis_server::connection_info;
use flowkit_core::Site;
use flowkit_core::config::{Problems, Settings, exact};

/// The name of the database. Upstream's is fixed.
const DATABASE: &str = "flowdb";

/// The exact address of a neighbour, `FLOWDB_HOST` or `REDIS_HOST`. FlowDB's name stays what it is: redis tells databases
/// apart by it.
pub fn address_of(settings: &Settings, host: &str) -> Option<IpAddr> {
    exact(settings.text(host).expect("it has a default"))
}

/// Both, with their passwords: to be used at once and not kept.
#[derive(Clone)]
pub struct Sources {
    /// FlowDB, as the server's user.
    pub flowdb: tokio_postgres::Config,
    /// redis.
    pub redis: ConnectionInfo,
    /// See [`database_id`].
    pub database_id: String,
}

impl Sources {
    /// What the server is given by the same settings and secrets.
    pub fn of(site: &Site) -> Result<Sources, Problems> {
        const USER: &str = "FLOWMACHINE_FLOWDB_USER";
        const PASSWORD: &str = "FLOWMACHINE_FLOWDB_PASSWORD";
        const REDIS: &str = "REDIS_PASSWORD";
        let Site { settings, store, .. } = site;
        let secrets = store.require(&[USER, PASSWORD, REDIS])?;
        let host = settings.text("FLOWDB_HOST").expect("it has a default");
        let port = settings.port("FLOWDB_PORT");
        let mut flowdb = tokio_postgres::Config::new();
        flowdb
            .host(host)
            .port(port)
            .dbname(DATABASE)
            .user(secrets[USER].expose())
            .password(secrets[PASSWORD].expose())
            .application_name("flowkit")
            .connect_timeout(std::time::Duration::from_secs(10));
        if let Some(ip) = address_of(settings, "FLOWDB_HOST") {
            flowdb.hostaddr(ip);
        }
        let redis_host = settings.text("REDIS_HOST").expect("it has a default");
        let redis_host = address_of(settings, "REDIS_HOST").map_or(redis_host.to_owned(), |ip| ip.to_string());
        let redis = connection_info(&redis_host, settings.port("REDIS_PORT"), secrets[REDIS].expose());
        Ok(Sources { flowdb, redis, database_id: database_id(host, port, DATABASE) })
    }
}
