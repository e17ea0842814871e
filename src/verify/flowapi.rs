//! The question as an analyst puts it: to FlowAPI, over HTTPS, with a token that is made for it and soon ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use access::{Minter, Wish};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rand::rngs::SysRng;
use serde::Deserialize;
use serde_json::Value;
use time::Date;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Counts, Error, Target, server};
use flowkit_core::secrets::Secret;

/// What the token allows: this one query, and its result.
const SCOPES: [&str; 4] =
    ["run", "get_result", "admin3:spatial_aggregate:spatial_aggregate", "admin3:spatial_aggregate:daily_location"];

/// How long the server is asked to wait for the end of a query, in seconds.
const WAIT: &str = "wait=30";

/// How long a token outlives the time for its question: clocks differ.
const SPARE: Duration = Duration::from_secs(60);

/// People by area (admin3) at the end of a day; or why nobody was asked.
pub fn counts(target: &Target, day: Date) -> Result<Result<Counts, String>, Error> {
    let secret = |name: &str| target.site.store.get(name);
    let address = match &target.flowapi {
        Ok(address) => *address,
        Err(why) => return Ok(Err(why.clone())),
    };
    let Ok(key) = secret("PRIVATE_JWT_SIGNING_KEY") else {
        return Ok(Err("PRIVATE_JWT_SIGNING_KEY is not here to make a token with".to_owned()));
    };
    let token = token(target, &key, secret("FLOWAPI_IDENTIFIER")?.expose())?;
    let tls = match target.site.settings.flag("FLOWKIT_FLOWAPI_PLAIN_HTTP") {
        true => None,
        false => Some(trusting(&secret("cert-flowkit.pem")?)?),
    };
    let client = Client { address, tls, token };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(target.patience, client.counts(server::question(day))).await;
        asked.unwrap_or_else(|_| Err(client.failed(io::ErrorKind::TimedOut.into()))).map(Ok)
    })
}

fn token(target: &Target, key: &Secret, audience: &str) -> Result<String, Error> {
    let wish = Wish {
        user: "flowkit-verify".to_owned(),
        audience: audience.to_owned(),
        lifetime: target.patience + SPARE,
        roles: vec![("verify".to_owned(), SCOPES.map(str::to_owned).to_vec())],
        ..Wish::default()
    };
    let minter = Minter::parse(key.expose()).map_err(|error| Error::Token(error.to_string()))?;
    minter.mint(&wish, SystemTime::now(), &mut SysRng).map_err(|error| Error::Token(error.to_string()))
}

/// Speaks with the server of the deployment's own certificate only.
fn trusting(certificate: &Secret) -> Result<TlsConnector, Error> {
    let mut chain = https::chain(certificate.expose()).map_err(|error| Error::Certificate(error.to_string()))?;
    chain.truncate(1);
    Ok(TlsConnector::from(Arc::new(https::trusting(chain, &["http/1.1"]))))
}

struct Client {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    token: String,
}

#[derive(Deserialize)]
struct Answer {
    query_result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    pcod: String,
    value: i64,
}

impl Client {
    async fn counts(&self, question: Value) -> Result<Counts, Error> {
        let (status, said) = self.ask(Method::POST, "run", question.to_string()).await?;
        let id = match status {
            StatusCode::ACCEPTED => self.read::<Value>("run", &said)?["query_id"].as_str().map(str::to_owned),
            _ => return Err(self.refused("run", status, &said)),
        };
        let id = id.ok_or_else(|| self.strange("run"))?;
        let poll = format!("poll/{id}");
        loop {
            match self.ask(Method::GET, &poll, String::new()).await? {
                (StatusCode::ACCEPTED, _) => {}
                (StatusCode::SEE_OTHER, _) => break,
                (status, said) => return Err(self.refused("poll", status, &said)),
            }
        }
        match self.ask(Method::GET, &format!("get/{id}"), String::new()).await? {
            (StatusCode::OK, said) => {
                let answer: Answer = self.read("get", &said)?;
                Ok(answer.query_result.into_iter().map(|row| (row.pcod, row.value)).collect())
            }
            (status, said) => Err(self.refused("get", status, &said)),
        }
    }

    /// One request, over a connection of its own.
    async fn ask(&self, method: Method, route: &str, body: String) -> Result<(StatusCode, Bytes), Error> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| self.failed(error))?;
        let (address, token) = (self.address, &self.token);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/0/{route}"))
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("prefer", WAIT)
            .body(Full::new(Bytes::from(body)))
            .expect("names and values of headers are ours");
        let answer = match &self.tls {
            None => send(stream, request).await,
            Some(tls) => match tls.connect(ServerName::IpAddress(address.ip().into()), stream).await {
                Ok(stream) => send(stream, request).await,
                Err(error) => Err(error),
            },
        };
        answer.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::FlowApi { address: self.address, source }
    }

    fn read<'a, T: Deserialize<'a>>(&self, route: &'static str, said: &'a Bytes) -> Result<T, Error> {
        serde_json::from_slice(said).map_err(|_| self.strange(route))
    }

    fn strange(&self, route: &'static str) -> Error {
        Error::Strange { route }
    }

    fn refused(&self, route: &'static str, status: StatusCode, said: &Bytes) -> Error {
        let said: Value = serde_json::from_slice(said).unwrap_or_default();
        Error::Refused { route, status: status.as_u16(), said: said["msg"].as_str().unwrap_or_default().to_owned() }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let drive = async {
        // Its end is the exchange's: what went wrong is told there.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = exchange => answer.map_err(|error: hyper::Error| io::Error::other(error)),
        () = drive => unreachable!("it never ends"),
    }
}
