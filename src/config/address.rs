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

/// The one address at which a neighbour is reached that a setting names `host` and that listens on `listen` if it is on this
/// machine; `None` where only the network knows. A name such as `localhost` may stand for several addresses, and anybody
/// can listen on those that the neighbour does not.
pub fn exact(host: &str, listen: &str) -> Option<IpAddr> {
    let ip = host.parse::<IpAddr>();
    let here = host.eq_ignore_ascii_case("localhost") || ip.as_ref().is_ok_and(IpAddr::is_loopback);
    match ip {
        Ok(ip) if !here => Some(ip),
        _ if here => Some(listen.parse().map_or(Ipv4Addr::LOCALHOST.into(), from_here)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_of_this_machine_is_where_it_listens() {
        let cases = [
            ("localhost", "127.0.0.1", Some("127.0.0.1")),
            ("LocalHost", "0.0.0.0", Some("127.0.0.1")),
            ("localhost", "::", Some("::1")),
            ("localhost", "192.0.2.2", Some("192.0.2.2")),
            ("::1", "127.0.0.1", Some("127.0.0.1")),
            ("192.0.2.7", "127.0.0.1", Some("192.0.2.7")),
            ("flowdb", "127.0.0.1", None),
        ];
        for (host, listen, at) in cases {
            assert_eq!(exact(host, listen), at.map(|at| at.parse().unwrap()), "{host} {listen}");
        }
    }

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
