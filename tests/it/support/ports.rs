//! Ports for the servers of a test.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

use rand::RngExt;

/// What this process has taken, held until it ends: a server that is started again finds its port free.
static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port that nobody listens on and that no other test is given, whether its server runs yet or not.
///
/// PostgreSQL and redis take no socket that is open already, so between here and their start the port has to be kept in
/// another way: by the UDP port of its number, which nothing of ours uses, which tests of every user see, and which the
/// kernel frees whatever ends this process. It is below those that the kernel gives to outgoing connections: one of these
/// could take it before the server that it is meant for.
pub fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(15_000..32_000);
        let Ok(kept) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            HELD.lock().unwrap().push(kept);
            return port;
        }
    }
}

#[test]
fn a_port_is_given_once() {
    let port = free_port();
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect_err("another process would be given it too");
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("its server can have it");
}
