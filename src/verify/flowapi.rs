//! The question as an analyst puts it: to FlowAPI, over HTTPS, with a token that is made for it and soon ends.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use access::{Minter, Wish};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use rand::rngs::SysRng;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::question::Question;
use super::{Counts, Error, Target};
use flowkit_core::secrets::Secret;

/// How long the server is asked to wait for the end of a query, in seconds.
const WAIT: &str = "wait=30";

/// Bytes of an answer that are taken: people by area, or every route of the server.
const MOST: usize = 64 << 20;

/// How long a token outlives the time for its question: clocks differ.
const SPARE: Duration = Duration::from_secs(60);

/// The number of each group; or why nobody was asked.
pub fn counts(target: &Target, question: &Question) -> Result<Result<Counts, String>, Error> {
    let client = match own_token(target, question)? {
        Ok(token) => Client::new(target, token.expose().to_owned())?,
        Err(why) => return Ok(Err(why)),
    };
    target.wait(client.counts(question), || client.failed(io::ErrorKind::TimedOut.into())).map(Ok)
}

/// A token of the deployment's for a question; or why FlowAPI is not asked.
pub fn own_token(target: &Target, question: &Question) -> Result<Result<Secret, String>, Error> {
    let secret = |name: &str| target.site.store.get(name);
    if let Err(why) = &target.flowapi {
        return Ok(Err(why.clone()));
    }
    let Ok(key) = secret("PRIVATE_JWT_SIGNING_KEY") else {
        return Ok(Err("PRIVATE_JWT_SIGNING_KEY is not here to make a token with".to_owned()));
    };
    let scopes = question.scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let token = mint(&key, secret("FLOWAPI_IDENTIFIER")?.expose(), target.patience, scopes)?;
    Ok(Ok(Secret::new(token)))
}

/// A token of the deployment's for the examples, good for as long as they may take.
pub fn token_for_examples(target: &Target, lifetime: Duration) -> Result<Secret, Error> {
    let key = target.site.store.get("PRIVATE_JWT_SIGNING_KEY")?;
    let audience = target.site.store.get("FLOWAPI_IDENTIFIER")?;
    mint(&key, audience.expose(), lifetime, super::examples::scopes()).map(Secret::new)
}

fn mint(key: &Secret, audience: &str, lifetime: Duration, scopes: Vec<String>) -> Result<String, Error> {
    let wish = Wish {
        user: "flowkit-verify".to_owned(),
        audience: audience.to_owned(),
        lifetime: lifetime + SPARE,
        roles: vec![("verify".to_owned(), scopes)],
        ..Wish::default()
    };
    let minter = Minter::parse(key.expose()).map_err(|error| Error::Token(error.to_string()))?;
    minter.mint(&wish, SystemTime::now(), &mut SysRng).map_err(|error| Error::Token(error.to_string()))
}

/// FlowAPI, known by the deployment's own certificate, asked with a token.
pub(super) struct Client {
    address: SocketAddr,
    https: https::Client,
    token: String,
}

#[derive(Deserialize)]
struct Answer {
    query_result: Vec<Map<String, Value>>,
}

impl Client {
    /// `token` may be empty, where nothing is asked that needs one.
    pub fn new(target: &Target, token: String) -> Result<Client, Error> {
        let address = *target.flowapi.as_ref().map_err(|why| Error::Away("FlowAPI", why.clone()))?;
        let https = target.client(address, "FLOWKIT_FLOWAPI_PLAIN_HTTP", "cert-flowkit.pem")?;
        Ok(Client { address, https, token })
    }

    /// The number of each group.
    pub async fn counts(&self, question: &Question) -> Result<Counts, Error> {
        let (status, said) = self.ask(Method::POST, "run", question.spec.to_string()).await?;
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
                let pair = |row: Map<String, Value>| {
                    let group = match row.get(question.by)? {
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    Some((group, row.get("value")?.as_i64()?))
                };
                let counts: Option<Counts> = answer.query_result.into_iter().map(pair).collect();
                counts.ok_or_else(|| self.strange("get"))
            }
            (status, said) => Err(self.refused("get", status, &said)),
        }
    }

    /// Its OpenAPI document.
    pub async fn specification(&self) -> Result<Bytes, Error> {
        match self.ask(Method::GET, "spec/openapi.json", String::new()).await? {
            (StatusCode::OK, said) => Ok(said),
            (status, said) => Err(self.refused("spec/openapi.json", status, &said)),
        }
    }

    /// Whether it lets the token in; any other answer than a yes or that it does not know who asks is an error.
    pub async fn lets_in(&self) -> Result<bool, Error> {
        match self.ask(Method::GET, "available_dates", String::new()).await? {
            (StatusCode::OK, _) => Ok(true),
            (StatusCode::UNAUTHORIZED, _) => Ok(false),
            (status, said) => Err(self.refused("available_dates", status, &said)),
        }
    }

    async fn ask(&self, method: Method, route: &str, body: String) -> Result<(StatusCode, Bytes), Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/0/{route}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("prefer", WAIT);
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let request = request.body(Bytes::from(body)).map_err(|error| self.failed(io::Error::other(error)))?;
        let answer = self.https.send(request, MOST).await.map_err(|error| self.failed(error))?;
        Ok((answer.status(), answer.into_body()))
    }

    pub fn failed(&self, source: io::Error) -> Error {
        Error::Silent { of: "FlowAPI", address: self.address, source }
    }

    fn read<'a, T: Deserialize<'a>>(&self, route: &'static str, said: &'a Bytes) -> Result<T, Error> {
        serde_json::from_slice(said).map_err(|_| self.strange(route))
    }

    fn strange(&self, route: &'static str) -> Error {
        Error::Strange { of: "FlowAPI", route: route.to_owned() }
    }

    fn refused(&self, route: &'static str, status: StatusCode, said: &Bytes) -> Error {
        let said: Value = serde_json::from_slice(said).unwrap_or_default();
        let said = said["msg"].as_str().unwrap_or_default().to_owned();
        Error::Refused { of: "FlowAPI", route: route.to_owned(), status: status.as_u16(), said }
    }
}
