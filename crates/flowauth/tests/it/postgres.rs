//! Databases of a PostgreSQL of a test's own.

use flowauth::store::Address;
use postgres_rig::{SUPERUSER, Server};

/// A new database of a server's.
pub fn database(server: &Server, name: &str) -> Address {
    server.create(name);
    let socket = server.socket().display().to_string().replace('/', "%2F");
    Address::parse("it", &format!("postgresql://{SUPERUSER}@{socket}/{name}"), ("", None)).expect("an address")
}
