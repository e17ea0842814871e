//! One's own keys for programs.

use std::sync::Arc;

use serde_json::{Value, json};
use web::axum::extract::State;

use super::body::{Body, Id};
use super::users::name;
use super::{Answer, Table, json, missing, wrong};
use crate::app::App;
use crate::caller::Access::Account;
use crate::caller::{Caller, new_key};
use crate::store::keys;
use crate::store::now;
use crate::times;

/// Days that a key lives, unless it is said otherwise, and at most.
const USUAL_DAYS: i64 = 90;
const MOST_DAYS: i64 = 400;

/// Keys that a user may have.
const MOST: usize = 50;

pub fn enter(table: Table) -> Table {
    table.get("/user/keys", Account, list).post("/user/keys", Account, add).delete("/user/keys/{id}", Account, remove)
}

async fn list(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let keys = keys::of_user(&mut *app.store.read().await?, caller.user()?.id).await?;
    let keys = keys.iter().map(|key| {
        json!({
            "id": key.id,
            "name": key.name,
            "administers": key.administers,
            "created": times::iso(key.created_at),
            "expires": times::iso(key.expires_at),
            "last_used": key.used_at.map(times::iso),
        })
    });
    json(&Value::Array(keys.collect()))
}

/// Makes a key. It is told this once.
async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let user = caller.user()?;
    let name = name(body.text("name")?, "name", "A key needs a name.")?;
    let administers = body.flag("administers")?.unwrap_or(false);
    if administers && !user.is_admin {
        return Err(wrong("administers", "Only an administrator's key can administer."));
    }
    let days = body.number("days")?.unwrap_or(USUAL_DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(wrong("days", format!("A key lives 1 to {MOST_DAYS} days.")));
    }
    let (key, digest) = new_key();
    let expires_at = now() + days * 86400;
    let mut change = app.store.change().await?;
    if keys::of_user(&mut change, user.id).await?.len() >= MOST {
        return Err(wrong("name", format!("You have {MOST} keys; remove one first.")));
    }
    let id = keys::add(&mut change, user.id, &digest, &name, administers, expires_at).await?;
    let detail = json!({ "id": id, "administers": administers, "expires": times::iso(expires_at) });
    change.commit(&caller.actor.does("key.add", name, detail)).await?;
    json(&json!({ "id": id, "key": key, "expires": times::iso(expires_at) }))
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let mut change = app.store.change().await?;
    let name = keys::remove(&mut change, caller.user()?.id, id).await?.ok_or_else(missing)?;
    change.commit(&caller.actor.does("key.remove", name, json!({ "id": id }))).await?;
    json(&json!({ "removed": true }))
}
