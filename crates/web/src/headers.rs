//! Headers that every answer has.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What differs between servers. An answer that says one of these headers itself keeps its own.
#[derive(Clone, Debug)]
pub struct Headers {
    /// Content security policy. The default lets a browser do nothing with an answer, as suits an API.
    pub policy: HeaderValue,
    /// How long browsers must come back by HTTPS only, sent over TLS to clients that used a name. `None`: not said. It holds for the
    /// whole host, other ports included, and so is never said to `localhost` or an address.
    pub strict_transport: Option<Duration>,
}

impl Default for Headers {
    fn default() -> Headers {
        Headers {
            policy: HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
            strict_transport: Some(Duration::from_secs(365 * 24 * 3600)),
        }
    }
}

/// The request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Said by all answers.
static ALWAYS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

impl Headers {
    /// Adds what is missing. `host` is whom the client asked for, when it asked by TLS.
    pub fn add(&self, headers: &mut HeaderMap, id: &HeaderValue, host: Option<&str>) {
        headers.remove(header::SERVER);
        headers.insert(REQUEST_ID, id.clone());
        for (name, value) in &ALWAYS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert_with(|| self.policy.clone());
        if let Some(lifetime) = self.strict_transport.filter(|_| host.is_some_and(is_name))
            && let Ok(value) = HeaderValue::try_from(format!("max-age={}", lifetime.as_secs()))
        {
            headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
        }
    }
}

fn is_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_err() && bare != "localhost" && !bare.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_held_to_https() {
        for (host, name) in
            [("flow.api", true), ("localhost", false), ("a.localhost", false), ("10.0.0.1", false), ("[::1]", false)]
        {
            assert_eq!(is_name(host), name, "{host}");
        }
    }
}
