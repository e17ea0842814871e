//! Servers and their scopes, looked after by administrators.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use web::Error;
use web::axum::body::Bytes;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::users::name;
use super::{Answer, Table, json, missing, taken, wrong};
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;
use crate::specification::{Specification, check_scopes};
use crate::store::roles::{self, Which};
use crate::store::servers::{self, Difference, Server, Wanted};
use crate::store::{Change, tokens};
use crate::times;

const TAKEN: &str = "Server with this name already exists.";

pub fn enter(table: Table) -> Table {
    table
        .get("/admin/servers", Admin, list)
        .post("/admin/servers", Admin, add)
        .get("/admin/servers/{id}", Admin, show)
        .patch("/admin/servers/{id}", Admin, change)
        .delete("/admin/servers/{id}", Admin, remove)
        .get("/admin/servers/{id}/time_limits", Admin, limits)
        .get("/admin/servers/{id}/roles", Admin, its_roles)
        .get("/admin/servers/{id}/scopes", Admin, scopes)
        .post("/admin/servers/{id}/scopes", Admin, set_scopes)
        .post("/admin/servers/{id}/compare", Admin, compare)
        .post("/admin/servers/{id}/specification", Admin, upload)
}

async fn list(State(app): State<Arc<App>>) -> Answer {
    let servers = servers::all(&mut *app.store.read().await?).await?;
    json(&servers.iter().map(|server| json!({ "id": server.id, "name": server.wanted.name })).collect())
}

async fn the(app: &App, id: i64) -> Result<Server, Error> {
    servers::find(&mut *app.store.read().await?, id).await?.ok_or_else(missing)
}

async fn show(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let Server { id, wanted } = the(&app, id).await?;
    json(&json!({
        "id": id,
        "name": wanted.name,
        "longest_token_life_minutes": wanted.longest_minutes,
        "latest_token_expiry": wanted.latest_expiry.map(times::iso),
    }))
}

async fn limits(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let Server { wanted, .. } = the(&app, id).await?;
    json(&json!({
        "longest_token_life_minutes": wanted.longest_minutes,
        "latest_token_expiry": wanted.latest_expiry.map(times::http),
    }))
}

/// What is said of a server in the log.
fn noted(wanted: &Wanted) -> Value {
    json!({
        "name": wanted.name,
        "longest_token_life_minutes": wanted.longest_minutes,
        "latest_token_expiry": wanted.latest_expiry.map(times::iso),
    })
}

async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let minutes = body.minutes("longest_token_life_minutes")?;
    let wanted = Wanted {
        name: name(body.text("name")?, "name", "Must provide server name")?,
        latest_expiry: body.time("latest_token_expiry")?.flatten(),
        longest_minutes: minutes
            .ok_or_else(|| wrong("longest_token_life_minutes", "Maximum lifetime minutes can not be blank."))?,
    };
    let names = body.list("scopes")?.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let names: BTreeSet<String> = names.unwrap_or_default();
    check_scopes(&names).map_err(|why| wrong("scopes", why))?;
    let mut change = app.store.change().await?;
    let id = servers::add(&mut change, &wanted).await.map_err(|error| taken(error, "name", TAKEN))?;
    let difference = servers::compare(&mut change, id, &names).await?;
    servers::apply(&mut change, id, &difference).await?;
    let detail = json!({ "id": id, "now": noted(&wanted), "scopes": names.len() });
    change.commit(&caller.actor.does("server.add", wanted.name, detail)).await?;
    json(&json!({ "id": id }))
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    let mut change = app.store.change().await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    let wanted = Wanted {
        name: match body.has("name") {
            true => name(body.text("name")?, "name", "Must provide server name")?,
            false => server.wanted.name.clone(),
        },
        latest_expiry: body.time("latest_token_expiry")?.unwrap_or(server.wanted.latest_expiry),
        longest_minutes: body.minutes("longest_token_life_minutes")?.unwrap_or(server.wanted.longest_minutes),
    };
    servers::change(&mut change, id, &wanted).await.map_err(|error| taken(error, "name", TAKEN))?;
    let detail = json!({ "id": id, "before": noted(&server.wanted), "now": noted(&wanted) });
    change.commit(&caller.actor.does("server.change", wanted.name, detail)).await?;
    json(&json!({ "id": id }))
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let mut change = app.store.change().await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    let revoked = tokens::revoke_of_server(&mut change, id).await?;
    servers::remove(&mut change, id).await?;
    let detail = json!({ "id": id, "before": noted(&server.wanted), "tokens_revoked": revoked });
    change.commit(&caller.actor.does("server.remove", server.wanted.name, detail)).await?;
    app.revoked().await;
    json(&json!({ "poll": "OK" }))
}

async fn its_roles(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let mut db = app.store.read().await?;
    servers::find(&mut db, id).await?.ok_or_else(missing)?;
    let mut all = Vec::new();
    for role in roles::some(&mut db, Which::OfServer(id)).await? {
        all.push(json!({
            "id": role.id,
            "name": role.wanted.name,
            "scopes": roles::scope_names(&mut db, role.id).await?,
            "latest_token_expiry": role.wanted.latest_expiry.map(times::iso),
            "longest_token_life_minutes": role.wanted.longest_minutes,
        }));
    }
    json(&Value::Array(all))
}

async fn scopes(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let mut db = app.store.read().await?;
    servers::find(&mut db, id).await?.ok_or_else(missing)?;
    let scopes = servers::scopes(&mut db, id).await?;
    let scopes =
        scopes.iter().map(|scope| json!({ "id": scope.id, "name": scope.name, "enabled": !scope.is_withdrawn }));
    json(&scopes.collect())
}

async fn apply(
    caller: &Caller,
    mut change: Change,
    server: &Server,
    names: &BTreeSet<String>,
) -> Result<Difference, Error> {
    check_scopes(names).map_err(|why| wrong("scopes", why))?;
    let difference = servers::compare(&mut change, server.id, names).await?;
    servers::apply(&mut change, server.id, &difference).await?;
    change.commit(&caller.actor.does("server.scopes", &*server.wanted.name, shown(&difference))).await?;
    Ok(difference)
}

fn shown(difference: &Difference) -> Value {
    json!({ "added": difference.added, "gone": difference.gone, "back": difference.back })
}

/// Makes the keys of an object all scopes, as upstream's pages send them.
async fn set_scopes(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    let mut change = app.store.change().await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    apply(&caller, change, &server, &body.names().map(str::to_owned).collect()).await?;
    scopes(State(app), Id(id)).await
}

fn read(text: &Bytes) -> Result<Specification, Error> {
    Specification::read(text).map_err(|why| wrong("specification", why))
}

/// What an `openapi.json` would change; nothing is changed.
async fn compare(State(app): State<Arc<App>>, Id(id): Id<i64>, text: Bytes) -> Answer {
    let specification = read(&text)?;
    let mut db = app.store.read().await?;
    let server = servers::find(&mut db, id).await?.ok_or_else(missing)?;
    let mut shown = shown(&servers::compare(&mut db, id, &specification.scopes).await?);
    shown["name"] = json!({ "now": server.wanted.name, "specification": specification.audience });
    json(&shown)
}

/// Takes over the scopes of an `openapi.json` of this server.
async fn upload(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, text: Bytes) -> Answer {
    let specification = read(&text)?;
    let mut change = app.store.change().await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    if specification.audience != server.wanted.name {
        let text = format!(
            "The file is of the server '{}', and this one is '{}': upload it there, or rename this one first.",
            specification.audience, server.wanted.name
        );
        return Err(wrong("specification", text));
    }
    json(&shown(&apply(&caller, change, &server, &specification.scopes).await?))
}
