//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether it stands for every interface.
pub fn is_everywhere(listen: IpAddr) -> bool {
    listen.to_canonical().is_unspecified()
}

/// Where something that listens there is reached from this machine: at the loopback if it listens everywhere.
pub fn from_here(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip if is_everywhere(ip) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everywhere_is_the_loopback_from_here() {
        let cases = [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("::ffff:0.0.0.0", "127.0.0.1"),
            ("10.0.0.7", "10.0.0.7"),
            ("fe80::1", "fe80::1"),
        ];
        for (listen, reached) in cases {
            let listen: IpAddr = listen.parse().unwrap();
            assert_eq!(from_here(listen).to_string(), reached);
            assert_eq!(is_everywhere(listen), from_here(listen) != listen);
        }
    }
}
