//! Roles, looked after by administrators.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::Dates;
use http::StatusCode;
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::users::name;
use super::{Answer, Table, json, missing, taken, wrong};
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;
use crate::store::roles::{self, Role, Wanted, Which};
use crate::store::servers::{self, Server};
use crate::store::{Change, tokens, users};
use crate::times;

const TAKEN: &str = "A role with this name already exists on the server.";

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
    let dates = Dates::parse(days.0.as_deref(), days.1.as_deref()).map_err(|why| wrong("first_day", why))?;
    if dates.empty() {
        return Err(wrong("last_day", "The last day of data is before the first."));
    }
    let minutes = body.minutes("longest_token_life_minutes")?;
    Ok(Wanted {
        name: match body.has("name") || had.name.is_empty() {
            true => name(body.text("name")?, "name", "Role name cannot be blank.")?,
            false => had.name.clone(),
        },
        latest_expiry: body.time("latest_token_expiry")?.unwrap_or(had.latest_expiry),
        longest_minutes: minutes.unwrap_or(had.longest_minutes),
        days,
        scopes: body.numbers("scopes")?.unwrap_or_else(|| had.scopes.clone()),
        members: body.numbers("users")?.unwrap_or_else(|| had.members.clone()),
    })
}

/// Whether the server has what the role names, and allows what it allows.
async fn check(change: &mut Change, server: &Server, had: &Wanted, wanted: &Wanted) -> Result<(), Error> {
    let of_server: BTreeSet<i64> = servers::scopes(change, server.id).await?.iter().map(|scope| scope.id).collect();
    if !wanted.scopes.is_subset(&of_server) {
        return Err(wrong("scopes", "Scope server must match role server"));
    }
    let all: BTreeSet<i64> = users::all(change).await?.iter().map(|user| user.id).collect();
    if let Some(id) = wanted.members.difference(&all).next() {
        return Err(wrong("users", format!("There is no user {id}.")));
    }
    // A server whose limits came down later makes no role unchangeable: the token has the lower ones anyway.
    let end = |limits: Option<i64>| limits.unwrap_or(i64::MAX);
    if wanted.latest_expiry != had.latest_expiry
        && wanted.latest_expiry.is_some()
        && end(wanted.latest_expiry) > end(server.wanted.latest_expiry)
    {
        return Err(wrong("latest_token_expiry", "Role cannot exist past latest token in server"));
    }
    if wanted.longest_minutes <= 0 {
        return Err(wrong("longest_token_life_minutes", "Maximum lifetime cannot be blank"));
    }
    if wanted.longest_minutes != had.longest_minutes && wanted.longest_minutes > server.wanted.longest_minutes {
        let text = "Role cannot have a maximum lifetime greater than server";
        return Err(wrong("longest_token_life_minutes", text));
    }
    Ok(())
}

/// What is said in the log of what changed between two sets.
fn moved(had: &BTreeSet<i64>, has: &BTreeSet<i64>) -> Value {
    json!({ "added": has.difference(had).collect::<Vec<_>>(), "removed": had.difference(has).collect::<Vec<_>>() })
}

fn noted(id: i64, server: &Server, had: &Wanted, wanted: &Wanted) -> Value {
    json!({
        "id": id,
        "server": server.wanted.name,
        "name": wanted.name,
        "latest_token_expiry": wanted.latest_expiry.map(times::iso),
        "longest_token_life_minutes": wanted.longest_minutes,
        "days": wanted.days,
        "scopes": moved(&had.scopes, &wanted.scopes),
        "users": moved(&had.members, &wanted.members),
    })
}

async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let had = Wanted::default();
    let wanted = wanted(&body, &had)?;
    let server = body.number("server_id")?.ok_or_else(|| wrong("server_id", "A role needs a server."))?;
    let mut change = app.store.change().await?;
    let server = servers::find(&mut change, server).await?.ok_or_else(missing)?;
    check(&mut change, &server, &had, &wanted).await?;
    let id = roles::add(&mut change, server.id, &wanted).await.map_err(|error| taken(error, "name", TAKEN))?;
    change.commit(&caller.actor.does("role.add", &*wanted.name, noted(id, &server, &had, &wanted))).await?;
    json(&shown(&Role { id, server: server.id, wanted }))
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    if let Some(key) = body.names().find(|key| !KEYS.contains(key)) {
        return Err(Error::new(StatusCode::BAD_REQUEST, format!("Invalid key {key} in PATCH request.")));
    }
    let mut change = app.store.change().await?;
    let role = roles::find(&mut change, id).await?.ok_or_else(missing)?;
    let server = servers::find(&mut change, role.server).await?.ok_or_else(missing)?;
    let wanted = wanted(&body, &role.wanted)?;
    check(&mut change, &server, &role.wanted, &wanted).await?;
    roles::change(&mut change, &role, &wanted).await.map_err(|error| taken(error, "name", TAKEN))?;
    let detail = noted(id, &server, &role.wanted, &wanted);
    change.commit(&caller.actor.does("role.change", wanted.name, detail)).await?;
    some(&app, Which::All).await
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let mut change = app.store.change().await?;
    let role = roles::find(&mut change, id).await?.ok_or_else(missing)?;
    roles::remove(&mut change, id).await?;
    change
        .commit(&caller.actor.does("role.remove", role.wanted.name, json!({ "id": id, "server": role.server })))
        .await?;
    json(&json!({ "state": "done" }))
}

/// Revokes every token that carries the role.
async fn revoke(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let mut change = app.store.change().await?;
    let role = roles::find(&mut change, id).await?.ok_or_else(missing)?;
    let count = tokens::revoke_of_role(&mut change, id).await?;
    change
        .commit(&caller.actor.does("role.revoke_tokens", role.wanted.name, json!({ "id": id, "tokens": count })))
        .await?;
    app.revoked().await;
    json(&json!({ "revoked": count }))
}
