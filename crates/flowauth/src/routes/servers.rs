//! Servers and their scopes, looked after by administrators.

use std::sync::Arc;

use serde_json::{Value, json};
use web::Error;
use web::axum::body::Bytes;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::servers::{self as acts, shown};
use crate::acts::{missing, wrong};
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;
use crate::store::roles::{self, Which};
use crate::store::servers::{self, Server, Wanted};
use crate::times;

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

async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let minutes = body.minutes("longest_token_life_minutes")?;
    let wanted = Wanted {
        name: body.text("name")?.unwrap_or_default().to_owned(),
        latest_expiry: body.time("latest_token_expiry")?.flatten(),
        longest_minutes: minutes
            .ok_or_else(|| wrong("longest_token_life_minutes", "Maximum lifetime minutes can not be blank."))?,
    };
    let names = body.list("scopes")?.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    json(&json!({ "id": acts::add(&app, &caller.actor, wanted, &names.unwrap_or_default()).await? }))
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    let wanted = |had: &Wanted| {
        Ok(Wanted {
            name: match body.has("name") {
                true => body.text("name")?.unwrap_or_default().to_owned(),
                false => had.name.clone(),
            },
            latest_expiry: body.time("latest_token_expiry")?.unwrap_or(had.latest_expiry),
            longest_minutes: body.minutes("longest_token_life_minutes")?.unwrap_or(had.longest_minutes),
        })
    };
    acts::change(&app, &caller.actor, id, wanted).await?;
    json(&json!({ "id": id }))
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    acts::remove(&app, &caller.actor, id).await?;
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

/// Makes the keys of an object all scopes, as upstream's pages send them.
async fn set_scopes(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    acts::set_scopes(&app, &caller.actor, id, &body.names().map(str::to_owned).collect()).await?;
    scopes(State(app), Id(id)).await
}

/// What an `openapi.json` would change; nothing is changed.
async fn compare(State(app): State<Arc<App>>, Id(id): Id<i64>, text: Bytes) -> Answer {
    let specification = acts::read(&text)?;
    let mut db = app.store.read().await?;
    let server = servers::find(&mut db, id).await?.ok_or_else(missing)?;
    let mut shown = shown(&servers::compare(&mut db, id, &specification.scopes).await?);
    shown["name"] = json!({ "now": server.wanted.name, "specification": specification.audience });
    json(&shown)
}

/// Takes over the scopes of an `openapi.json` of this server.
async fn upload(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, text: Bytes) -> Answer {
    json(&shown(&acts::take_over(&app, &caller.actor, id, &acts::read(&text)?).await?))
}
