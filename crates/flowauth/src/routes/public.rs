//! What is open to everybody.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use web::Health;
use web::axum::extract::State;
use web::axum::response::IntoResponse as _;

use super::{Answer, Table, json};
use crate::app::App;
use crate::caller::Access::{Admin, Open};
use crate::caller::Caller;
use crate::store::audit::{self, Filter, Line};
use crate::store::sealed;
use crate::times;

/// Longest wait for the database when somebody asks whether we are well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines of the log in one answer.
const LINES: i64 = 200;

pub fn enter(table: Table) -> Table {
    table
        .get("/version", Open, version)
        .get("/revocations", Open, revocations)
        .get("/.well-known/jwks.json", Open, keys)
        .get("/admin/public_key", Admin, public_key)
        .get("/admin/audit", Admin, log)
}

/// Whether the server can do its work.
pub fn health(app: Arc<App>) -> Health {
    Health::new(PATIENCE).needs("database", move || {
        let store = app.store.clone();
        async move {
            let mut db = store.read().await.map_err(|error| error.to_string())?;
            sealed::fact(&mut db, "").await.map(drop).map_err(|error| error.to_string())
        }
    })
}

async fn version() -> Answer {
    json(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// The signed list of revoked tokens, for every FlowAPI. It names tokens by numbers that say nothing.
async fn revocations(State(app): State<Arc<App>>) -> Answer {
    let text = app.revocations().await?;
    Ok(([(header::CONTENT_TYPE, "application/jose")], text).into_response())
}

/// All public keys whose tokens may still be good, the one that signs first.
async fn keys(State(app): State<Arc<App>>) -> Answer {
    let keys = sealed::signing_keys(&mut *app.store.read().await?).await?;
    let (signs, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.retired_at.is_none());
    let keys: Vec<Value> = signs.iter().chain(&others).filter_map(|key| jwk(&key.kid, &key.public_pem)).collect();
    json(&json!({ "keys": keys }))
}

fn jwk(kid: &str, pem: &str) -> Option<Value> {
    let key = rsa::PublicKey::from_public_key_pem(pem).ok()?;
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (text(&key.n_bytes()), text(&key.e_bytes()));
    Some(json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e }))
}

async fn public_key(State(app): State<Arc<App>>) -> Answer {
    json(&json!({ "public_key": app.keys.public_pem.trim() }))
}

/// The newest lines of the log before one (`?before=ID`), newest first; of some user, action or object alone.
async fn log(State(app): State<Arc<App>>, _: Caller, uri: http::Uri) -> Answer {
    let query = uri.query().unwrap_or_default().as_bytes();
    let given =
        |name: &str| form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, text)| text.into_owned());
    let filter = Filter { actor: given("user"), action: given("action"), object: given("object") };
    let before = given("before").and_then(|id| id.parse().ok()).unwrap_or(i64::MAX);
    let lines = audit::matching(&mut *app.store.read().await?, &filter, before, LINES).await?;
    let lines: Vec<Value> = lines.iter().map(line).collect();
    json(&Value::Array(lines))
}

/// A line as programs get it.
pub fn line(line: &Line) -> Value {
    let Line { id, at, actor, action, object, detail, address, request } = line;
    json!({
        "id": id, "at": times::iso(*at), "user": actor, "action": action, "object": object, "detail": detail,
        "address": address, "request": request,
    })
}
