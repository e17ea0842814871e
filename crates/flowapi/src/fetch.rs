//! One GET of one small text from a server that is trusted by its certificate, or its certificate's issuer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where a text is.
#[derive(Clone, Debug)]
pub struct Remote {
    host: String,
    port: u16,
    path: String,
}

impl Remote {
    /// Reads `https://HOST[:PORT]/PATH`.
    ///
    /// # Errors
    /// In words: it is something else.
    pub fn parse(url: &str) -> Result<Remote, String> {
        let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it does not begin with https://".to_owned());
        };
        if authority.as_str().contains('@') {
            return Err("it holds a user or a password, which are not sent".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Remote { host, port: authority.port_u16().unwrap_or(443), path })
    }

    /// The text, of at most so many bytes. `trusted` is a PEM of certificates: the server's own, or those that issued it.
    ///
    /// # Errors
    /// In words: why there is none.
    pub async fn get(&self, trusted: &str, most: usize) -> Result<String, String> {
        let Remote { host, port, path } = self;
        let words = |error: &dyn std::error::Error| crate::database::in_full(error);
        let chain = https::chain(trusted).map_err(|error| error.to_string())?;
        let config = Arc::new(https::trusting_issuer(chain, &["http/1.1"])?);
        let name = ServerName::try_from(host.clone()).map_err(|error| words(&error))?;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| format!("{host}:{port} can't be reached: {error}"))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| words(&error))?;
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
        // It ends with the client.
        let driver = tokio::spawn(connection);
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let request = Request::get(path).header(header::HOST, host).header(header::USER_AGENT, "flowapi");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| words(&error))?;
        let answer = client.send_request(request).await.map_err(|error| words(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{path} answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(|error| error.to_string())?;
        driver.abort();
        String::from_utf8(body.to_bytes().to_vec()).map_err(|error| words(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_asked() {
        let of = |url: &str| Remote::parse(url).map(|Remote { host, port, path }| format!("{host} {port} {path}"));
        assert_eq!(of("https://auth.example/api/0/list?x=1"), Ok("auth.example 443 /api/0/list?x=1".to_owned()));
        assert_eq!(of("https://[::1]:9091"), Ok("::1 9091 /".to_owned()));
        for wrong in ["http://x/", "/etc/list", "https://", "https://ann:pass@x/", "", "ftp://x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
