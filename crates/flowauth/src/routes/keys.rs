//! Keys for programs: one's own, and, for administrators, everybody's.

use std::sync::Arc;

use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::keys::{self as acts, USUAL_DAYS, Wanted};
use crate::acts::{missing, wrong};
use crate::app::App;
use crate::caller::Access::{Account, Admin};
use crate::caller::Caller;
use crate::store::keys::{self, Key, May};
use crate::store::users;
use crate::times;

pub fn enter(table: Table) -> Table {
    table
        .get("/user/keys", Account, list)
        .post("/user/keys", Account, add)
        .delete("/user/keys/{id}", Account, remove)
        .get("/admin/keys", Admin, all)
        .get("/admin/users/{id}/keys", Admin, of_user)
        .post("/admin/users/{id}/keys", Admin, add_to_machine)
        .delete("/admin/users/{id}/keys/{key}", Admin, remove_of_user)
}

fn shown(key: &Key) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "may": key.may.name(),
        "created": times::iso(key.created_at),
        "expires": times::iso(key.expires_at),
        "last_used": key.used_at.map(times::iso),
    })
}

fn wanted(body: &Body) -> Result<Wanted, Error> {
    let may = match body.text("may")? {
        Some(name) => May::of(name).ok_or_else(|| wrong("may", "A key may tokens, read or administer."))?,
        None => May::default(),
    };
    let days = body.number("days")?.unwrap_or(USUAL_DAYS);
    Ok(Wanted { name: body.text("name")?.map(str::to_owned), may, days })
}

fn told(made: &acts::Made) -> Answer {
    json(&json!({ "id": made.id, "key": made.key, "expires": times::iso(made.expires_at) }))
}

async fn list(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let keys = keys::of_user(&mut *app.store.read().await?, caller.user()?.id).await?;
    json(&keys.iter().map(shown).collect())
}

/// Makes a key. It is told this once.
async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    told(&acts::add(&app, &caller.actor, caller.user()?, &wanted(&body)?).await?)
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    acts::remove(&app, &caller.actor, caller.user()?.id, id).await?;
    json(&json!({ "removed": true }))
}

/// Everybody's keys, those that end first first, and never a key itself.
async fn all(State(app): State<Arc<App>>) -> Answer {
    let mut db = app.store.read().await?;
    let (keys, users) = (keys::all(&mut db).await?, users::all(&mut db).await?);
    let keys = keys.iter().map(|key| {
        let mut shown = shown(key);
        shown["username"] = json!(users.iter().find(|user| user.id == key.user).map(|user| &user.name));
        shown
    });
    json(&keys.collect())
}

async fn of_user(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let mut db = app.store.read().await?;
    users::find(&mut db, id).await?.ok_or_else(missing)?;
    json(&keys::of_user(&mut db, id).await?.iter().map(shown).collect())
}

/// Makes a key of a machine's. It is told this once.
async fn add_to_machine(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    let machine = acts::machine(&app, id).await?;
    told(&acts::add(&app, &caller.actor, &machine, &wanted(&body)?).await?)
}

async fn remove_of_user(State(app): State<Arc<App>>, caller: Caller, Id((user, id)): Id<(i64, i64)>) -> Answer {
    acts::remove(&app, &caller.actor, user, id).await?;
    json(&json!({ "removed": true }))
}
