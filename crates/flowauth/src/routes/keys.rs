//! One's own keys for programs.

use std::sync::Arc;

use serde_json::{Value, json};
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::keys::{self as acts, USUAL_DAYS};
use crate::app::App;
use crate::caller::Access::Account;
use crate::caller::Caller;
use crate::store::keys;
use crate::times;

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
    let administers = body.flag("administers")?.unwrap_or(false);
    let days = body.number("days")?.unwrap_or(USUAL_DAYS);
    let made = acts::add(&app, &caller, body.text("name")?, administers, days).await?;
    json(&json!({ "id": made.id, "key": made.key, "expires": times::iso(made.expires_at) }))
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    acts::remove(&app, &caller, id).await?;
    json(&json!({ "removed": true }))
}
