//! One's own tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::{missing, wrong};
use crate::app::App;
use crate::caller::Access::{Admin, User};
use crate::caller::Caller;
use crate::mint::{Ask, Only, latest_end, renewal_end};
use crate::store::roles::{self, Which};
use crate::store::{now, servers, tokens};
use crate::times;

/// Tokens in one answer.
const MOST: i64 = 1000;

pub fn enter(table: Table) -> Table {
    table
        .get("/tokens/servers", User, my_servers)
        .get("/tokens/servers/{id}", User, my_access)
        .get("/tokens/tokens/{id}", User, list)
        .post("/tokens/tokens/{id}", User, mint)
        .post("/tokens/tokens/{id}/renew", User, renew)
        .post("/tokens/tokens/{id}/revoke", User, revoke)
        .get("/admin/tokens", Admin, live)
        .post("/admin/tokens/{id}/revoke", Admin, revoke_any)
}

async fn my_servers(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let servers = servers::of_user(&mut *app.store.read().await?, caller.user()?.id).await?;
    let servers = servers.iter().map(|server| json!({ "id": server.id, "server_name": server.wanted.name }));
    json(&Value::Array(servers.collect()))
}

/// What all of one's roles on a server allow together, and until when a token could live.
async fn my_access(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let user = caller.user()?;
    let mut db = app.store.read().await?;
    let server = servers::find(&mut db, id).await?.ok_or_else(missing)?;
    let (now, mut scopes, mut latest) = (now(), BTreeSet::new(), None);
    for role in roles::some(&mut db, Which::OfBoth(id, user.id)).await? {
        scopes.extend(roles::scope_names(&mut db, role.id).await?);
        let limits = [&server.wanted].map(|server| (server.longest_minutes, server.latest_expiry));
        let end = latest_end(now, limits.into_iter().chain([(role.wanted.longest_minutes, role.wanted.latest_expiry)]));
        latest = latest.max(Some(end));
    }
    json(&json!({ "allowed_claims": scopes, "latest_expiry": latest.map(times::http) }))
}

async fn list(State(app): State<Arc<App>>, caller: Caller, Id(server): Id<i64>) -> Answer {
    let user = caller.user()?;
    let mut db = app.store.read().await?;
    let server = servers::find(&mut db, server).await?.ok_or_else(missing)?;
    let (now, mine) = (now(), roles::some(&mut db, Which::OfBoth(server.id, user.id)).await?);
    let mut all = Vec::new();
    for token in tokens::of_user(&mut db, user.id, server.id).await? {
        let roles = token.roles.iter().map(|role| json!({ "id": role.id, "name": role.name }));
        all.push(json!({
            "id": token.id,
            "name": token.made.name,
            "token": app.keys.vault.open(&token.made.sealed)?.as_str(),
            "expires": times::http(token.made.expires_at),
            "server_name": token.made.server_name,
            "username": token.made.user_name,
            "roles": roles.collect::<Vec<_>>(),
            "revoked": token.revoked_at.map(times::http),
            "renewal_expires": renewal_end(now, &server, &token, &mine).map(times::http),
        }));
    }
    json(&Value::Array(all))
}

/// Everybody's tokens that live, those that end first first, and never a token itself.
async fn live(State(app): State<Arc<App>>) -> Answer {
    let tokens = tokens::live(&mut *app.store.read().await?, MOST).await?;
    let tokens = tokens.iter().map(|token| {
        json!({
            "id": token.id,
            "name": token.made.name,
            "username": token.made.user_name,
            "server_name": token.made.server_name,
            "issued": times::http(token.made.issued_at),
            "expires": times::http(token.made.expires_at),
        })
    });
    json(&Value::Array(tokens.collect()))
}

async fn revoke_any(State(app): State<Arc<App>>, caller: Caller, Id(token): Id<i64>) -> Answer {
    app.revoke_any(&caller.actor, token).await?;
    json(&json!({ "revoked": true }))
}

/// Names, or nothing, or upstream's numbers. What is neither is no wish for all of them.
fn asked_scopes(scopes: &Value) -> Result<Only, Error> {
    let text = "The scopes of a role are a list of at least one name; without the field, all of them.";
    match scopes {
        Value::Null => Ok(None),
        // Upstream's pages send whole roles, whose scopes are numbers: all of them.
        Value::Array(all) if !all.is_empty() && all.iter().all(Value::is_number) => Ok(None),
        Value::Array(all) => {
            let names: Option<BTreeSet<String>> = all.iter().map(|scope| scope.as_str().map(str::to_owned)).collect();
            names.filter(|names| !names.is_empty()).map(Some).ok_or_else(|| wrong("roles", text))
        }
        _ => Err(wrong("roles", text)),
    }
}

/// A role may be named with `scopes`, of which the token then carries these alone.
fn asked_roles(body: &Body) -> Result<Vec<(String, Only)>, Error> {
    let roles = body.list("roles")?.ok_or_else(|| wrong("roles", "No roles."))?;
    let role = |role: &Value| {
        let name = role["name"].as_str().ok_or_else(|| wrong("roles", "Each role needs its name."))?;
        Ok((name.to_owned(), asked_scopes(&role["scopes"])?))
    };
    roles.iter().map(role).collect()
}

/// How long it shall live. No text here: upstream takes none.
fn asked_minutes(body: &Body) -> Result<Option<i64>, Error> {
    body.minutes("lifetime_minutes")
}

async fn mint(State(app): State<Arc<App>>, caller: Caller, Id(server): Id<i64>, body: Body) -> Answer {
    // There is such a server, or nothing else matters.
    servers::find(&mut *app.store.read().await?, server).await?.ok_or_else(missing)?;
    let name = body.text("name")?.ok_or_else(|| wrong("name", "No name."))?.to_owned();
    let ask = Ask { name, roles: asked_roles(&body)?, minutes: asked_minutes(&body)? };
    let minted = app.mint(&caller.actor, caller.user()?, server, &ask).await?;
    json(&json!({ "token": minted.token, "id": minted.id, "expires": times::http(minted.expires_at) }))
}

async fn renew(State(app): State<Arc<App>>, caller: Caller, Id(token): Id<i64>, body: Body) -> Answer {
    let minted = app.renew(&caller.actor, caller.user()?, token, asked_minutes(&body)?).await?;
    json(&json!({ "token": minted.token, "id": minted.id, "expires": times::http(minted.expires_at) }))
}

async fn revoke(State(app): State<Arc<App>>, caller: Caller, Id(token): Id<i64>) -> Answer {
    app.revoke(&caller.actor, caller.user()?, token).await?;
    json(&json!({ "revoked": true }))
}
