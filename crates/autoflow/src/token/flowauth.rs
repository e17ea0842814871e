//! FlowAuth, asked with the key of a machine of its own.

use std::fs;
use std::path::PathBuf;

use access::Inspection;
use bytes::Bytes;
use flowkit_core::config::{Problem, Settings};
use flowkit_core::secrets::{Secret, Store as Secrets};
use http::{Method, Request, StatusCode, header};
use https::{Client, Place};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{KEY, TOKEN};
use crate::flowapi::of_this_machine;
use crate::start::place;

pub const URL: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_URL";
const CERTIFICATE: &str = "FLOWKIT_AUTOFLOW_FLOWAUTH_CERTIFICATE";

/// What its tokens are called in FlowAuth's lists.
const NAME: &str = "autoflow";

/// The most that an answer may have, in bytes: a list of tokens.
const MOST: usize = 8 << 20;

/// Where FlowAuth is, and by what it is known.
#[derive(Default)]
pub struct Address {
    place: Option<Place>,
    certificate: Option<PathBuf>,
}

impl Address {
    /// By settings.
    ///
    /// # Errors
    /// It is none.
    pub fn read(settings: &Settings) -> Result<Address, Problem> {
        let place = place(settings, URL, "give FlowAuth's address as https://HOST:9091")?;
        let certificate = settings.text(CERTIFICATE).map(PathBuf::from);
        Ok(Address { place, certificate })
    }

    /// FlowAuth, and what it has for the key's user.
    ///
    /// # Errors
    /// In words: it can't be asked.
    pub async fn ask(&self, key: Secret, secrets: &Secrets) -> Result<FlowAuth, String> {
        let place = self.place.as_ref().ok_or_else(|| format!("{URL} is not set"))?;
        let trusted = match &self.certificate {
            Some(path) => {
                fs::read_to_string(path).map_err(|error| format!("{CERTIFICATE}, {}: {error}", path.display()))?
            }
            None => match secrets.optional("cert-flowauth.pem").map_err(|problem| problem.to_string())? {
                Some(certificate) => certificate.expose().to_owned(),
                None => of_this_machine()?,
            },
        };
        let client = Client::issued(&*place.host, place.port, &trusted)?;
        let mut flowauth = FlowAuth { client, key, servers: Vec::new() };
        flowauth.servers = list(flowauth.get("/tokens/servers").await?)?;
        Ok(flowauth)
    }
}

/// FlowAuth, as the key's user has it.
pub struct FlowAuth {
    client: Client,
    key: Secret,
    /// Those on which the user has a role.
    servers: Vec<Value>,
}

/// A token among those of the key's user.
pub struct Known {
    id: i64,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// When another would end that is had now by renewing this one, as far as FlowAuth says.
    pub renewal_end: Option<i64>,
}

impl FlowAuth {
    /// The user's token that is this one.
    ///
    /// # Errors
    /// In words: FlowAuth's.
    pub async fn find(&self, token: &Secret) -> Result<Option<Known>, String> {
        for server in self.servers.iter().filter_map(|server| server["id"].as_i64()) {
            let all = list(self.get(&format!("/tokens/tokens/{server}")).await?)?;
            let found = all.iter().find(|one| one["token"] == token.expose());
            if let Some((one, id)) = found.and_then(|one| Some((one, one["id"].as_i64()?))) {
                let end = one["renewal_expires"].as_str().and_then(|end| OffsetDateTime::parse(end, &Rfc2822).ok());
                let renewal_end = end.map(OffsetDateTime::unix_timestamp);
                return Ok(Some(Known { id, is_revoked: !one["revoked"].is_null(), renewal_end }));
            }
        }
        Ok(None)
    }

    /// Another token like this one.
    ///
    /// # Errors
    /// In words: FlowAuth's.
    pub async fn renew(&self, token: &Known) -> Result<Secret, String> {
        self.made(&format!("/tokens/tokens/{}/renew", token.id), &json!({})).await
    }

    /// A first token: for the server that the one before was for, or the only one, with all roles on it.
    ///
    /// # Errors
    /// In words: there is no such server, or FlowAuth's.
    pub async fn first(&self, before: Option<&Secret>) -> Result<Secret, String> {
        let audience = before.and_then(|token| Inspection::read(token.expose()).ok()).map(|read| read.audience);
        let fits = |server: &&Value| match (&audience, server["server_name"].as_str()) {
            (Some(audience), Some(name)) => audience.iter().any(|other| other == name),
            (audience, _) => audience.is_none(),
        };
        let id = match &self.servers.iter().filter(fits).collect::<Vec<_>>()[..] {
            [one] => one["id"].as_i64().ok_or("its list of servers is not understood")?,
            [] => return Err("the key's user has no role there: give it one".to_owned()),
            several => {
                let names = several.iter().filter_map(|server| server["server_name"].as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "the key's user has roles on several servers ({names}): put a first token of one of them into {TOKEN}"
                ));
            }
        };
        let roles = list(self.get(&format!("/user/roles/server/{id}")).await?)?;
        let roles: Vec<Value> = roles.iter().map(|role| json!({ "name": role["name"] })).collect();
        self.made(&format!("/tokens/tokens/{id}"), &json!({ "name": NAME, "roles": roles })).await
    }

    async fn made(&self, path: &str, body: &Value) -> Result<Secret, String> {
        let made = self.send(Method::POST, path, body.to_string().into()).await?;
        let token = made["token"].as_str().map(|token| Secret::new(token.to_owned()));
        token.ok_or_else(|| format!("its answer to {path} holds no token"))
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Value, String> {
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::USER_AGENT, "autoflow")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key.expose()))
            .body(body)
            .map_err(|_| format!("{KEY} holds characters that can't be sent"))?;
        let answer = self.client.send(request, MOST).await.map_err(|error| say::in_full(&error))?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        match answer.status() {
            StatusCode::OK => Ok(said),
            status => {
                Err(format!("{method} {path} is answered {status}: {}", said["message"].as_str().unwrap_or_default()))
            }
        }
    }
}

fn list(answer: Value) -> Result<Vec<Value>, String> {
    match answer {
        Value::Array(list) => Ok(list),
        _ => Err("its answer is not understood: is it a FlowAuth?".to_owned()),
    }
}
