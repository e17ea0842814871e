//! Ports for the servers of a test.

use std::net::TcpListener;

use rand::RngExt;

/// A port that nobody listens on, below those that the kernel gives to outgoing connections: one of these could take it
/// before the server that it is meant for.
pub fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(15_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
