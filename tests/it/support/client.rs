//! A client of FlowAPI that costs next to nothing, so that hundreds of them load the server and not the machine.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use access::{Minter, Wish};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rand::rngs::SysRng;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::flowapi::FlowApi;

/// What its tokens allow.
const SCOPES: [&str; 6] = [
    "run",
    "get_result",
    "get_available_dates",
    "admin3:spatial_aggregate:spatial_aggregate",
    "admin3:spatial_aggregate:daily_location",
    "admin3:geography:geography",
];

/// A user of a server with a FlowAPI's secrets.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    port: u16,
    token: Arc<str>,
}

/// A connection in use.
pub type Connection = SendRequest<Full<Bytes>>;

impl Client {
    /// One with a token of its own, which is good for an hour.
    pub fn new(api: &FlowApi, port: u16, user: &str) -> Client {
        let secret = |name: &str| std::fs::read_to_string(api.secrets().join(name)).expect("a secret");
        let wish = Wish {
            user: user.to_owned(),
            audience: secret("FLOWAPI_IDENTIFIER").trim().to_owned(),
            lifetime: Duration::from_secs(3600),
            roles: vec![("analyst".to_owned(), SCOPES.map(str::to_owned).to_vec())],
            ..Wish::default()
        };
        let minter = Minter::parse(&secret("PRIVATE_JWT_SIGNING_KEY")).expect("a key");
        let token = minter.mint(&wish, SystemTime::now(), &mut SysRng).expect("a token").into();
        let chain = https::chain(&secret("cert-flowkit.pem")).expect("a certificate");
        Client { tls: TlsConnector::from(Arc::new(https::trusting(chain, &["http/1.1"]))), port, token }
    }

    /// A new connection.
    ///
    /// # Errors
    /// There is none to be had.
    pub async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// The head of an answer, and its body as it comes.
    ///
    /// # Errors
    /// The connection broke before.
    pub async fn ask(
        &self,
        connection: &mut Connection,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body));
        connection.send_request(request.expect("a request")).await
    }
}
