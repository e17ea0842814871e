//! A client for tests, strict about what it is answered: a header that nobody expects fails the test, and so does one that is
//! missing, or a body that is not what its content type says.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// Every answer of the ground has these.
pub const ALWAYS: &[&str] = &[
    "cache-control",
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
];

/// What describes a body, or is HTTP's own.
const USUAL: &[&str] =
    &["connection", "content-length", "content-type", "transfer-encoding", "strict-transport-security"];

/// Asks a server, over a new connection each time.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    host: String,
    certificate: Option<String>,
    two: bool,
    allowed: BTreeSet<&'static str>,
}

/// An answer that has passed.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// A client of the server at an address, which it calls `flow.api`.
    pub fn to(address: SocketAddr) -> Client {
        Client { address, host: "flow.api".to_owned(), certificate: None, two: false, allowed: BTreeSet::new() }
    }

    /// By another name.
    pub fn host(mut self, host: &str) -> Client {
        self.host = host.to_owned();
        self
    }

    /// Over TLS, of a server that shows this certificate (PEM).
    pub fn tls(mut self, certificate: &str) -> Client {
        self.certificate = Some(certificate.to_owned());
        self
    }

    /// By HTTP/2, which needs TLS.
    pub fn two(mut self) -> Client {
        self.two = true;
        self
    }

    /// Further headers that an answer may have, in lower case.
    pub fn allow(mut self, names: &[&'static str]) -> Client {
        self.allowed.extend(names);
        self
    }

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Bytes::new()).expect("a path")).await
    }

    /// Sends a request and checks what comes back.
    ///
    /// # Panics
    /// When the server can't be reached, or the answer is not as it should be.
    pub async fn send(&self, request: Request<Bytes>) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same where no answer is an answer too.
    ///
    /// # Errors
    /// When the connection fails or breaks off.
    ///
    /// # Panics
    /// When the answer is not as it should be.
    pub async fn try_send(&self, request: Request<Bytes>) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let response = match &self.certificate {
            None => self.exchange(TcpStream::connect(self.address).await?, request).await?,
            Some(_) => self.exchange(self.connect().await?, request).await?,
        };
        self.check(&response);
        Ok(response)
    }

    /// A connection over TLS on which nothing was said.
    ///
    /// # Errors
    /// When it fails, or the client speaks no TLS.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, Box<dyn std::error::Error + Send + Sync>> {
        let chain = https::chain(self.certificate.as_deref().unwrap_or_default())?;
        let config = https::trusting(chain, &[if self.two { "h2" } else { "http/1.1" }]);
        let stream = TcpStream::connect(self.address).await?;
        Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("flow.api")?, stream).await?)
    }

    async fn exchange<T>(
        &self,
        stream: T,
        request: Request<Bytes>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let io = TokioIo::new(stream);
        let response = if self.two {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            parts.uri = format!("https://{}{path}", self.host).parse()?;
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
            collected(response).await?
        } else {
            parts.headers.entry(header::HOST).or_insert(HeaderValue::try_from(&self.host)?);
            let (mut sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
            collected(response).await?
        };
        Ok(response)
    }

    fn check(&self, answer: &Answer) {
        let names: BTreeSet<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        let known = |name: &&str| ALWAYS.contains(name) || USUAL.contains(name) || self.allowed.contains(*name);
        let unexpected: Vec<_> = names.iter().filter(|name| !known(name)).collect();
        assert!(unexpected.is_empty(), "headers that nobody expects: {unexpected:?} in {answer:?}");
        let missing: Vec<_> = ALWAYS.iter().filter(|name| !names.contains(*name)).collect();
        assert!(missing.is_empty(), "headers that are missing: {missing:?} in {answer:?}");
        if answer.headers.contains_key(header::CONTENT_ENCODING) {
            return;
        }
        let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if let Err(why) = is_as_said(&answer.body, kind) {
            panic!("the body is not what its content type says ({kind:?}): {why}: {answer:?}");
        }
    }
}

async fn collected(response: http::Response<hyper::body::Incoming>) -> Result<Answer, hyper::Error> {
    let (parts, body) = response.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
}

/// Whether a body is of its content type.
fn is_as_said(body: &[u8], kind: Option<&str>) -> Result<(), String> {
    let Some(kind) = kind else {
        return if body.is_empty() { Ok(()) } else { Err("there is a body and no content type".to_owned()) };
    };
    let bare = kind.split(';').next().unwrap_or_default().trim();
    if bare == "application/json" || bare.ends_with("+json") {
        return serde_json::from_slice::<serde_json::Value>(body).map(drop).map_err(|error| error.to_string());
    }
    if !bare.starts_with("text/") {
        return Ok(());
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    match bare == "text/html"
        && !text.is_empty()
        && !text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("<!doctype html>"))
    {
        true => Err("a page begins with <!doctype html>".to_owned()),
        false => Ok(()),
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_not_what_it_says_is_found() {
        for (body, kind, fine) in [
            ("{}", Some("application/json; charset=utf-8"), true),
            ("<html>", Some("application/json"), false),
            ("{", Some("application/geo+json"), false),
            ("<!DOCTYPE html><p>", Some("text/html; charset=utf-8"), true),
            ("{}", Some("text/html"), false),
            ("x", None, false),
            ("", None, true),
        ] {
            assert_eq!(is_as_said(body.as_bytes(), kind).is_ok(), fine, "{body} {kind:?}");
        }
    }

    #[test]
    #[should_panic(expected = "headers that nobody expects: [\"server\"]")]
    fn a_header_that_nobody_expects_is_found() {
        let headers = [("server", "x")].into_iter().chain(ALWAYS.iter().map(|name| (*name, "x")));
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        Client::to(([127, 0, 0, 1], 1).into()).check(&Answer { status: StatusCode::OK, headers, body: Bytes::new() });
    }
}
