//! One request, over a connection of its own, to a server that is known by its certificate.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What is spoken.
const PROTOCOLS: &[&str] = &["http/1.1"];

/// Something on an HTTPS server: `https://HOST[:PORT]/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, this without brackets.
    pub host: String,
    /// 443 where none is said.
    pub port: u16,
    /// With its query.
    pub path: String,
}

impl Place {
    /// Reads an URL.
    ///
    /// # Errors
    /// In words: it is something else.
    pub fn parse(url: &str) -> Result<Place, String> {
        let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it does not begin with https://".to_owned());
        };
        if authority.as_str().contains('@') {
            return Err("it holds a user or a password, which are not sent".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Place { host, port: authority.port_u16().unwrap_or(443), path })
    }

    /// The text that is there, of at most so many bytes. `trusted` is a PEM of certificates: the server's own, or those that issued
    /// it.
    ///
    /// # Errors
    /// In words: why there is none.
    pub async fn get(&self, trusted: &str, most: usize) -> Result<String, String> {
        let request = Request::get(&self.path).header(header::USER_AGENT, "flowkit").body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = Client::issued(&*self.host, self.port, trusted)?.send(request, most).await;
        let answer = answer.map_err(|error| say::in_full(&error))?;
        match answer.status() {
            StatusCode::OK => String::from_utf8(answer.into_body().to_vec()).map_err(|error| error.to_string()),
            status => Err(format!("{} answers {status}", self.path)),
        }
    }
}

/// A server that can be asked.
pub struct Client {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Client {
    /// One that speaks plain HTTP, on this machine.
    pub fn plain(host: impl Into<String>, port: u16) -> Client {
        Client { host: host.into(), port, tls: None }
    }

    /// The one that shows the first certificate of this PEM and has its key.
    ///
    /// # Errors
    /// In words: there is no certificate in it.
    pub fn pinned(host: impl Into<String>, port: u16, certificate: &str) -> Result<Client, String> {
        let mut chain = super::chain(certificate).map_err(|error| error.to_string())?;
        chain.truncate(1);
        Ok(Client::with(host.into(), port, super::trusting(chain, PROTOCOLS)))
    }

    /// The one that shows a certificate of this PEM, or one for its name which these have issued.
    ///
    /// # Errors
    /// In words: what is wrong with the certificates.
    pub fn issued(host: impl Into<String>, port: u16, certificates: &str) -> Result<Client, String> {
        let chain = super::chain(certificates).map_err(|error| error.to_string())?;
        Ok(Client::with(host.into(), port, super::trusting_issuer(chain, PROTOCOLS)?))
    }

    fn with(host: String, port: u16, config: ClientConfig) -> Client {
        Client { host, port, tls: Some(TlsConnector::from(Arc::new(config))) }
    }

    /// Asks, and takes an answer with a body of at most so many bytes. Waits for ever: who asks knows how long is too long.
    ///
    /// # Errors
    /// There is no connection, no trust, no answer, or too much of it.
    pub async fn send(&self, request: Request<Bytes>, most: usize) -> io::Result<Response<Bytes>> {
        let Client { host, port, .. } = self;
        let reached = |error| io::Error::other(format!("{host}:{port} can't be reached: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(reached)?;
        self.over(stream, request, most).await
    }

    /// The same, over a connection to it that there is.
    ///
    /// # Errors
    /// There is no trust, no answer, or too much of it.
    pub async fn send_over(
        &self,
        stream: std::net::TcpStream,
        request: Request<Bytes>,
        most: usize,
    ) -> io::Result<Response<Bytes>> {
        stream.set_nonblocking(true)?;
        self.over(TcpStream::from_std(stream)?, request, most).await
    }

    async fn over(&self, stream: TcpStream, mut request: Request<Bytes>, most: usize) -> io::Result<Response<Bytes>> {
        let Client { host, port, .. } = self;
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        request.headers_mut().insert(header::HOST, HeaderValue::try_from(name).map_err(io::Error::other)?);
        match &self.tls {
            None => exchange(stream, request, most).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                exchange(tls.connect(name, stream).await?, request, most).await
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
    most: usize,
) -> io::Result<Response<Bytes>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let answer = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await.map_err(io::Error::other)?.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(io::Error::other)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let drive = async {
        // Its end is the answer's: what went wrong is told there.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = drive => unreachable!("it never ends"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_asked() {
        let of = |url: &str| Place::parse(url).map(|Place { host, port, path }| format!("{host} {port} {path}"));
        assert_eq!(of("https://auth.example/api/0/list?x=1"), Ok("auth.example 443 /api/0/list?x=1".to_owned()));
        assert_eq!(of("https://[::1]:9091"), Ok("::1 9091 /".to_owned()));
        for wrong in ["http://x/", "/etc/list", "https://", "https://ann:pass@x/", "", "ftp://x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
