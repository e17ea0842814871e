//! The certificate that FlowAPI is served with.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::{Secret, form};

/// The most that Apple's clients accept of a certificate that their user has chosen to trust.
const LIFETIME: Duration = Duration::from_secs(825 * 24 * 3600);

/// The name that FlowKit's guide gives the API.
const NAME: &str = "flow.api";
/// Its name among the services of a stack.
const SERVICE: &str = "flowapi";

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name that can't stand in a certificate.
    #[error("{0:?} is neither a host name nor an IP address")]
    Name(String),
    /// The key is of a form that the library can't sign with.
    #[error("cannot sign with the key in key-flowkit.pem (an ECDSA or RSA key in PKCS#8 works)")]
    Key(#[source] rcgen::Error),
    /// The library failed.
    #[error("cannot make the certificate")]
    Make(#[source] rcgen::Error),
}

/// A self-signed certificate for the key, valid for the guide's names, this host's names and addresses, and `also`.
///
/// It is the server's own certificate (not an authority's), and clients trust it as it is. It deliberately says nothing
/// about key usage: without `keyCertSign` OpenSSL 1.1.1 does not take it for self-signed, and with it OpenSSL 3 in strict
/// mode refuses it, because it is no authority's. rustls refuses an authority's certificate as a server's own.
pub fn make(key: &Secret, also: &[String]) -> Result<Secret, CertificateError> {
    let key = KeyPair::from_pem(key.expose()).map_err(CertificateError::Key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.subject_alt_names = alternative_names(also)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    // A clock that lags a little behind ours must not refuse it.
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    params.not_after = params.not_before + LIFETIME;
    params.self_signed(&key).map(|made| Secret::new(made.pem())).map_err(CertificateError::Make)
}

fn alternative_names(also: &[String]) -> Result<Vec<SanType>, CertificateError> {
    let mut seen = BTreeSet::new();
    let all = own_names().into_iter().chain(also.iter().cloned()).filter(|name| seen.insert(name.clone()));
    all.map(|name| alternative_name(&name)).collect()
}

/// Whom every certificate is for: the guide's names, this host's names and addresses.
pub fn own_names() -> Vec<String> {
    let mut names = [NAME, SERVICE, "localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    names.extend(host_names());
    names.extend(host_addresses());
    names
}

fn alternative_name(name: &str) -> Result<SanType, CertificateError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    if !is_dns_name(name) {
        return Err(CertificateError::Name(name.to_string()));
    }
    name.try_into().map(SanType::DnsName).map_err(|_| CertificateError::Name(name.to_string()))
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label)
}

/// The host's name, and what /etc/hosts calls it besides.
fn host_names() -> Vec<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = aliases(&hosts, &name);
    names.insert(0, name);
    names.retain(|name| is_dns_name(name));
    names
}

fn aliases(hosts: &str, name: &str) -> Vec<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let lists = lines.map(|line| line.split_whitespace().skip(1).map(str::to_string).collect::<Vec<_>>());
    lists.filter(|list| list.iter().any(|alias| alias == name)).flatten().collect()
}

/// The addresses of the host's interfaces, as the kernel lists them.
fn host_addresses() -> Vec<String> {
    let four = fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    let six = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    let mut addresses = addresses4(&four);
    addresses.extend(addresses6(&six));
    addresses
}

/// An address stands on the line above `/32 host LOCAL`.
fn addresses4(fib_trie: &str) -> Vec<String> {
    let lines = fib_trie.lines().collect::<Vec<_>>();
    let local = lines.windows(2).filter(|pair| pair[1].trim() == "/32 host LOCAL");
    local.filter_map(|pair| pair[0].trim().strip_prefix("|-- ").map(str::to_string)).collect()
}

/// 32 hexadecimal digits, then index, prefix length and scope: 00 is global.
fn addresses6(if_inet6: &str) -> Vec<String> {
    let global = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        (words.nth(2)? == "00").then(|| std::net::Ipv6Addr::from(address).to_string())
    };
    if_inet6.lines().filter_map(global).collect()
}

/// The host names and addresses that the first certificate of a PEM is for, as far as one can be made for them.
pub fn names(pem: &Secret) -> Vec<String> {
    let read = || {
        let block = Pem::iter_from_buffer(pem.expose().as_bytes()).next()?.ok()?;
        let parsed = block.parse_x509().ok()?;
        let names = &parsed.subject_alternative_name().ok()??.value.general_names;
        let text = |name: &GeneralName| match name {
            GeneralName::DNSName(name) if is_dns_name(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        };
        Some(names.iter().filter_map(text).collect())
    };
    read().unwrap_or_default()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether a server of this host name or address can show the first certificate of a PEM. `None`: it is none, or says of no host that it is its.
pub fn is_for(pem: &Secret, host: &str) -> Option<bool> {
    let block = Pem::iter_from_buffer(pem.expose().as_bytes()).next()?.ok()?;
    let parsed = block.parse_x509().ok()?;
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>().ok().map(|address| match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    });
    let is_named = |name: &str| match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => host.eq_ignore_ascii_case(name),
    };
    Some(names.iter().any(|name| match name {
        GeneralName::DNSName(name) => address.is_none() && is_named(name),
        GeneralName::IPAddress(bytes) => address.as_deref() == Some(*bytes),
        _ => false,
    }))
}

/// The server's own certificate in a PEM file, as far as the check needs it.
pub struct Certificate {
    /// Not valid before.
    pub begins: SystemTime,
    /// Not valid after.
    pub ends: SystemTime,
    public_key: Vec<u8>,
    public_bits: Vec<u8>,
}

impl Certificate {
    /// The first certificate of the file.
    pub fn read(pem: &Secret) -> Option<Certificate> {
        let block = Pem::iter_from_buffer(pem.expose().as_bytes()).next()?.ok()?;
        let parsed = block.parse_x509().ok()?;
        let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let info = parsed.public_key();
        Some(Certificate {
            begins: at(parsed.validity().not_before.timestamp()),
            ends: at(parsed.validity().not_after.timestamp()),
            public_key: info.raw.to_vec(),
            public_bits: info.subject_public_key.data.to_vec(),
        })
    }

    #[cfg(test)]
    pub(super) fn of_times(begins: SystemTime, ends: SystemTime) -> Certificate {
        Certificate { begins, ends, public_key: Vec::new(), public_bits: Vec::new() }
    }

    /// Whether it is of this key.
    pub fn is_of(&self, key: &Secret) -> bool {
        match form::public_of_tls_key(key.expose()) {
            Some(form::PublicOfKey::Info(info)) => info == self.public_key,
            Some(form::PublicOfKey::Within(der)) => {
                der.windows(self.public_bits.len()).any(|window| window == self.public_bits)
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_certificate_is_for_is_read() {
        let key = Secret::new(KeyPair::generate().unwrap().serialize_pem());
        let made = make(&key, &["*.example.org".to_owned(), "10.0.2.2".to_owned()]).unwrap();
        for host in ["flow.api", "flowapi", "LOCALHOST", "api.example.org", "10.0.2.2", "[::1]"] {
            assert_eq!(is_for(&made, host), Some(true), "{host}");
        }
        for host in ["example.org", "a.b.example.org", "10.0.2.3", "flow.api.org"] {
            assert_eq!(is_for(&made, host), Some(false), "{host}");
        }
        assert_eq!(is_for(&key, "flowapi"), None);
    }

    #[test]
    fn a_certificates_names_are_those_that_it_was_made_for() {
        let key = super::super::random::tls_key().unwrap();
        let also = ["*.example.org", "api.example.org", "10.0.2.2", "2001:db8::7"].map(String::from);
        let read = names(&make(&key, &also).unwrap());
        assert!(also.iter().chain(&own_names()).all(|name| read.contains(name)), "{read:?}");
        assert_eq!(names(&make(&key, &read).unwrap()), read, "and again");
        assert!(names(&key).is_empty());
    }

    #[test]
    fn addresses_are_read_from_the_kernels_lists() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(addresses4(trie), ["10.0.0.5"]);
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    20010db8000000000000000000000002 02 40 00 80     eth0\n\
                    fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(addresses6(list), ["2001:db8::2"]);
    }

    #[test]
    fn other_names_of_the_host_come_from_its_hosts_file() {
        let hosts = "127.0.0.1 localhost\n10.0.0.5 box.example.org box # here\n10.0.0.6 other\n";
        assert_eq!(aliases(hosts, "box"), ["box.example.org", "box"]);
        assert!(is_dns_name("box.example.org") && is_dns_name("*.example.org") && !is_dns_name("a b"));
        assert!(!is_dns_name("") && !is_dns_name("-a") && !is_dns_name("a..b"));
    }

    #[test]
    fn a_certificate_knows_its_key() {
        let (one, other) = (super::super::random::tls_key().unwrap(), super::super::random::tls_key().unwrap());
        let made = Certificate::read(&make(&one, &["10.1.2.3".into()]).unwrap()).unwrap();
        assert!(made.is_of(&one) && !made.is_of(&other));
        assert!(made.begins < SystemTime::now() && SystemTime::now() + LIFETIME / 2 < made.ends);
        assert!(
            matches!(make(&one, &["not a name".into()]), Err(CertificateError::Name(name)) if name == "not a name")
        );
    }
}
