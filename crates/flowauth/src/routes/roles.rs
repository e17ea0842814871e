//! Roles, looked after by administrators.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::{missing, roles as acts, wrong};
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;
use crate::store::roles::{self, Role, Wanted, Which};
use crate::store::{servers, users};
use crate::times;

/// What a change of a role may name.
const KEYS: &[&str] = &[
    "id",
    "name",
    "server",
    "scopes",
    "users",
    "latest_token_expiry",
    "longest_token_life_minutes",
    "first_day",
    "last_day",
];

pub fn enter(table: Table) -> Table {
    table
        .get("/roles/", Admin, list)
        .post("/roles/", Admin, add)
        .get("/roles/{id}", Admin, show)
        .patch("/roles/{id}", Admin, change)
        .delete("/roles/{id}", Admin, remove)
        .get("/roles/{id}/members", Admin, members)
        .get("/roles/{id}/scopes", Admin, its_scopes)
        .post("/roles/{id}/revoke_tokens", Admin, revoke)
        .get("/roles/user/{id}", Admin, of_user)
        .get("/roles/server/{server}/user/{user}", Admin, of_both)
}

/// A role in upstream's form, and its days of data.
pub fn shown(role: &Role) -> Value {
    let wanted = &role.wanted;
    json!({
        "id": role.id,
        "name": wanted.name,
        "scopes": wanted.scopes,
        "latest_token_expiry": wanted.latest_expiry.map(times::iso),
        "longest_token_life_minutes": wanted.longest_minutes,
        "server": role.server,
        "users": wanted.members,
        "first_day": wanted.days.0,
        "last_day": wanted.days.1,
    })
}

async fn some(app: &App, which: Which) -> Answer {
    let roles = roles::some(&mut *app.store.read().await?, which).await?;
    json(&roles.iter().map(shown).collect())
}

async fn list(State(app): State<Arc<App>>) -> Answer {
    some(&app, Which::All).await
}

async fn the(app: &App, id: i64) -> Result<Role, Error> {
    roles::find(&mut *app.store.read().await?, id).await?.ok_or_else(missing)
}

async fn show(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    json(&shown(&the(&app, id).await?))
}

async fn of_user(State(app): State<Arc<App>>, Id(user): Id<i64>) -> Answer {
    users::find(&mut *app.store.read().await?, user).await?.ok_or_else(missing)?;
    some(&app, Which::OfUser(user)).await
}

async fn of_both(State(app): State<Arc<App>>, Id((server, user)): Id<(i64, i64)>) -> Answer {
    {
        let mut db = app.store.read().await?;
        servers::find(&mut db, server).await?.ok_or_else(missing)?;
        users::find(&mut db, user).await?.ok_or_else(missing)?;
    }
    some(&app, Which::OfBoth(server, user)).await
}

async fn members(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let role = the(&app, id).await?;
    let users = users::all(&mut *app.store.read().await?).await?;
    let users = users.iter().filter(|user| role.wanted.members.contains(&user.id));
    json(&users.map(|user| json!({ "name": user.name, "id": user.id })).collect())
}

async fn its_scopes(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let role = the(&app, id).await?;
    let scopes = servers::scopes(&mut *app.store.read().await?, role.server).await?;
    let scopes = scopes.iter().filter(|scope| role.wanted.scopes.contains(&scope.id));
    json(&scopes.map(|scope| json!({ "name": scope.name, "id": scope.id, "enabled": !scope.is_withdrawn })).collect())
}

/// What a request makes of a role; what it does not name stays.
fn wanted(body: &Body, had: &Wanted) -> Result<Wanted, Error> {
    let day = |field: &str, had: &Option<String>| match body.has(field) {
        true => Ok(body.text(field)?.map(str::to_owned)),
        false => Ok::<_, Error>(had.clone()),
    };
    let days = (day("first_day", &had.days.0)?, day("last_day", &had.days.1)?);
    let minutes = body.minutes("longest_token_life_minutes")?;
    Ok(Wanted {
        name: match body.has("name") {
            true => body.text("name")?.unwrap_or_default().to_owned(),
            false => had.name.clone(),
        },
        latest_expiry: body.time("latest_token_expiry")?.unwrap_or(had.latest_expiry),
        longest_minutes: minutes.unwrap_or(had.longest_minutes),
        days,
        scopes: body.numbers("scopes")?.unwrap_or_else(|| had.scopes.clone()),
        members: body.numbers("users")?.unwrap_or_else(|| had.members.clone()),
    })
}

async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let wanted = wanted(&body, &Wanted::default())?;
    let server = body.number("server_id")?.ok_or_else(|| wrong("server_id", "A role needs a server."))?;
    json(&shown(&acts::add(&app, &caller.actor, server, wanted).await?))
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    if let Some(key) = body.names().find(|key| !KEYS.contains(key)) {
        return Err(Error::new(StatusCode::BAD_REQUEST, format!("Invalid key {key} in PATCH request.")));
    }
    acts::change(&app, &caller.actor, id, |had| wanted(&body, had)).await?;
    some(&app, Which::All).await
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    acts::remove(&app, &caller.actor, id).await?;
    json(&json!({ "state": "done" }))
}

/// Revokes every token that carries the role.
async fn revoke(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    json(&json!({ "revoked": acts::revoke(&app, &caller.actor, id).await? }))
}
