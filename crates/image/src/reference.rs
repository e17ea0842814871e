//! Names of images, in the grammar that Docker, containerd, podman and registries share.
//! <https://github.com/distribution/reference>

/// A repository, with a registry before it or not: `flowkit/flowdb`, `registry.example.org:5000/flowkit/flowdb`.
pub fn is_repository(name: &str) -> bool {
    // The first part is a registry when it looks like a host; else it is a part like the others.
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    name.len() <= 255 && host.is_none_or(is_host) && path.split('/').all(is_part)
}

/// A tag.
pub fn is_tag(tag: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(inner)
        && tag.bytes().all(|byte| inner(byte) || b".-".contains(&byte))
}

/// A repository and a tag.
pub fn is_tagged(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(repository, tag)| is_repository(repository) && is_tag(tag))
}

/// A host name or an IPv4 address, or an IPv6 address in brackets, and perhaps a port.
pub fn is_host(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        edge(label.bytes().next())
            && edge(label.bytes().next_back())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    port.is_none_or(is_port) && name.split('.').all(is_label)
}

/// Lower-case letters and digits, between them single separators: a dot, one or two underscores, or dashes.
fn is_part(part: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    part.starts_with(is_inner) && part.ends_with(is_inner) && part.split(is_inner).all(is_separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_engines_take() {
        for good in [
            "redis",
            "flowkit/flowdb",
            "a/b/c/d",
            "x/a.b_c__d-e---f/g",
            "localhost/x",
            "localhost:5000/x",
            "Registry.Example.org/flowkit/x",
            "127.0.0.1:5000/x",
            "[2001:db8::1]:5000/x",
        ] {
            assert!(is_repository(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A/b",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "_a",
            "https://r/x",
            "r:/x",
            "r:x/y",
            "-r.org/x",
            "r..org/x",
            "[::1/x",
            "[::g]/x",
            "[::1]5/x",
            "a b",
            "a/B",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(!is_repository(&"a".repeat(256)) && is_repository(&"a".repeat(255)));
    }

    #[test]
    fn tags_are_one_word() {
        for (tag, good) in
            [("0.1.0", true), ("_x-Y.z", true), ("", false), ("feature/x", false), (".a", false), ("-a", false)]
        {
            assert_eq!(is_tag(tag), good, "{tag}");
        }
        assert!(is_tag(&"a".repeat(128)) && !is_tag(&"a".repeat(129)));
        assert!(is_tagged("r.org:5000/a/b:1") && !is_tagged("r.org:5000/a/b") && !is_tagged("a"));
    }
}
