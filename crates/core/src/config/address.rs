//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether it stands for every interface.
pub fn is_everywhere(listen: IpAddr) -> bool {
    listen.to_canonical().is_unspecified()
}

/// Whether only this machine and a private network can have it: loopback, RFC 1918, 100.64.0.0/10 (RFC 6598, which VPNs use),
/// link-local, and IPv6's unique local addresses (RFC 4193).
pub fn is_private(listen: IpAddr) -> bool {
    match listen.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Where something that listens there is reached from this machine: at the loopback if it listens everywhere.
pub fn from_here(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip if is_everywhere(ip) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The one address that a setting means with `host`; `None` where only the network knows. A name such as `localhost` may
/// stand for several addresses, and anybody can listen on those that the neighbour does not: it means the usual one.
pub fn exact(host: &str) -> Option<IpAddr> {
    let localhost = || host.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into());
    host.parse().ok().or_else(localhost)
}

/// Where a neighbour that runs here too and listens on `listen` is reached, if a setting calls it `host` and that is
/// another loopback address; `None` where `host` may stay as it is.
pub fn followed(host: &str, listen: &str) -> Option<IpAddr> {
    let meant = exact(host).filter(IpAddr::is_loopback)?;
    let listen: IpAddr = listen.parse().ok()?;
    // One that listens on all addresses of a family is reached at each of its loopback's.
    let reached = is_everywhere(listen) && from_here(listen).is_ipv4() == meant.is_ipv4();
    (!reached && from_here(listen) != meant).then(|| from_here(listen))
}

/// A host as it stands before a port: an IPv6 address is put into brackets, spelled as it is.
pub fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_in_house_is_private() {
        for (text, private) in [
            ("127.0.0.2", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("100.101.2.3", true),
            ("100.128.0.1", false),
            ("203.0.113.7", false),
            ("0.0.0.0", false),
            ("::", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:0.0.0.0", false),
        ] {
            assert_eq!(is_private(text.parse().unwrap()), private, "{text}");
        }
    }

    #[test]
    fn a_neighbour_of_this_machine_is_where_it_listens() {
        let cases = [
            ("localhost", "127.0.0.1", None),
            ("LocalHost", "0.0.0.0", None),
            ("127.0.0.5", "0.0.0.0", None),
            ("localhost", "::", Some("::1")),
            ("localhost", "::1", Some("::1")),
            ("localhost", "127.0.0.2", Some("127.0.0.2")),
            ("localhost", "192.0.2.2", Some("192.0.2.2")),
            ("::1", "127.0.0.1", Some("127.0.0.1")),
            ("::1", "0.0.0.0", Some("127.0.0.1")),
            ("::1", "::", None),
            ("::1", "::1", None),
            ("192.0.2.7", "127.0.0.1", None),
            ("flowdb", "127.0.0.1", None),
        ];
        for (host, listen, at) in cases {
            assert_eq!(followed(host, listen), at.map(|at| at.parse().unwrap()), "{host} {listen}");
        }
    }

    #[test]
    fn a_host_is_one_address_where_nobody_need_be_asked() {
        for (host, at) in [("LocalHost", "127.0.0.1"), ("::1", "::1"), ("192.0.2.7", "192.0.2.7")] {
            assert_eq!(exact(host), Some(at.parse().unwrap()));
        }
        assert_eq!(exact("flowdb"), None);
        // Not spelled anew: FlowMachine tells databases apart by the text.
        let cases = [("::1", "[::1]"), ("0:0::1", "[0:0::1]"), ("127.0.0.1", "127.0.0.1"), ("flowdb", "flowdb")];
        for (host, before_a_port) in cases {
            assert_eq!(bracketed(host), before_a_port);
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
