//! Who listens at an address of this machine: asked before anything secret is sent there.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// A listening socket, as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    /// Whose it is.
    uid: u32,
    /// No other socket has this number while it is open.
    inode: u64,
}

/// [`connect_to_user`], with the user that this thread works as.
///
/// # Errors
/// As there.
pub fn connect_to_own(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    connect_to_user(rustix::process::geteuid().as_raw(), address, patience)
}

/// Connects to a server of a user's, and to nobody else: while a service is down, anybody may listen in its place. The same socket
/// listened before and after, so it is the one that was reached.
///
/// # Errors
/// Nobody listens there, or somebody else does; nothing was sent.
pub fn connect_to_user(uid: u32, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let before = listener_of(uid, address)?;
    let stream = TcpStream::connect_timeout(&address, patience)?;
    match listener_of(uid, address)? {
        after if after == before => Ok(stream),
        _ => Err(io::Error::other(format!("another process listens at {address} since a moment ago"))),
    }
}

fn listener_of(user: u32, address: SocketAddr) -> io::Result<Listener> {
    // Below /proc/self: units hide what stands in /proc itself (ProcSubset=pid). A kernel without IPv6 has no second one.
    let all =
        fs::read_to_string("/proc/self/net/tcp")? + &fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    match find(&all, address) {
        None => Err(io::ErrorKind::ConnectionRefused.into()),
        Some(listener) if listener.uid == user => Ok(listener),
        Some(Listener { uid, .. }) => Err(io::Error::other(format!("a process of user {uid} listens at {address}"))),
    }
}

/// The socket that gets the connections to an address: one on all addresses gets those of each.
fn find(table: &str, address: SocketAddr) -> Option<Listener> {
    table.lines().find_map(|line| {
        // sl local_address rem_address st queues timer retransmissions uid timeout inode; state 0A is LISTEN.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let here = u16::from_str_radix(port, 16).ok()? == address.port() && *fields.get(3)? == "0A";
        let ip = parse(ip)?;
        let reached = ip == address.ip() || ip.is_unspecified();
        (here && reached).then_some(())?;
        Some(Listener { uid: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
    })
}

/// An address as the kernel prints it: words of four bytes, each as a number of this machine.
fn parse(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_listener_of_an_address_is_found_and_only_a_listener() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let bound = listener.local_addr().unwrap();
            let reached = if bound.is_ipv6() { "::1".parse().unwrap() } else { "127.0.0.1".parse().unwrap() };
            let reached = SocketAddr::new(reached, bound.port());
            let stream = connect_to_own(reached, Duration::from_secs(1)).unwrap();
            // The connection outlives its listener, and does not stand for it.
            drop(listener);
            let refused = connect_to_own(reached, Duration::from_secs(1)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{address}");
            drop(stream);
        }
    }

    #[test]
    fn a_listener_of_another_user_is_not_even_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (us, address) = (rustix::process::geteuid().as_raw(), listener.local_addr().unwrap());
        let refused = connect_to_user(us + 1, address, Duration::from_secs(1)).unwrap_err().to_string();
        assert_eq!(refused, format!("a process of user {us} listens at {address}"));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn somebody_elses_listener_is_told_and_not_spoken_to() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 4711 1 0000000000000000\n";
        let address = "127.0.0.1:6379".parse().unwrap();
        assert_eq!(find(table, address), Some(Listener { uid: 999, inode: 4711 }));
        assert_eq!(find(table, "127.0.0.2:6379".parse().unwrap()), None);
        assert_eq!(find(&table.replace(" 0A ", " 01 "), address), None);
    }
}
