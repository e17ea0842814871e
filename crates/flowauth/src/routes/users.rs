//! Users, looked after by administrators.

use std::sync::Arc;

use serde_json::{Value, json};
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::users::{self as acts, Changes, Roles};
use crate::acts::{missing, wrong};
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;
use crate::store::identities;
use crate::store::roles::{self, Which};
use crate::store::users::{self, Wanted};
use crate::times;

pub fn enter(table: Table) -> Table {
    table
        .get("/admin/users", Admin, list)
        .post("/admin/users", Admin, add)
        .get("/admin/users/{id}", Admin, show)
        .patch("/admin/users/{id}", Admin, change)
        .delete("/admin/users/{id}", Admin, remove)
        .post("/admin/users/{id}/invite", Admin, invite)
}

async fn list(State(app): State<Arc<App>>) -> Answer {
    let users = users::all(&mut *app.store.read().await?).await?;
    let shown = |user: &users::User| {
        json!({ "id": user.id, "name": user.name, "is_admin": user.is_admin, "is_disabled": user.disabled_at.is_some(),
            "is_machine": user.is_machine })
    };
    json(&users.iter().map(shown).collect())
}

async fn show(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let mut db = app.store.read().await?;
    let user = users::find(&mut db, id).await?.ok_or_else(missing)?;
    let roles = roles::some(&mut db, Which::OfUser(id)).await?;
    let has_identity = !identities::of(&mut db, id).await?.is_empty();
    let roles: Vec<Value> = roles.iter().map(|role| json!({ "id": role.id, "name": role.wanted.name })).collect();
    json(&json!({
        "id": user.id,
        "name": user.name,
        "is_admin": user.is_admin,
        "has_two_factor": user.has_factor,
        "passkeys": user.passkeys,
        "has_identity": has_identity,
        "require_two_factor": user.needs_factor,
        "is_disabled": user.disabled_at.is_some(),
        "is_machine": user.is_machine,
        "roles": roles,
    }))
}

/// Adds a user, with a password, to be invited, or a machine.
async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let password = body.text("password")?;
    let is_machine = body.flag("is_machine")?.unwrap_or(false);
    if password.is_none() && body.flag("invite")? != Some(true) && !is_machine {
        return Err(wrong("password", "Password must be provided."));
    }
    let wanted = Wanted {
        name: body.text("username")?.unwrap_or_default().to_owned(),
        is_admin: body.flag("is_admin")?.unwrap_or(false),
        needs_factor: body.flag("require_two_factor")?.unwrap_or(false),
        is_disabled: false,
        is_machine,
    };
    let roles = body.numbers("roles")?.unwrap_or_default();
    json(&json!({ "id": acts::add(&app, &caller.actor, wanted, password, roles).await? }))
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    let changes = Changes {
        name: body.has("username").then(|| body.text("username")).transpose()?.map(|t| t.unwrap_or_default().into()),
        is_admin: body.flag("is_admin")?,
        needs_factor: body.flag("require_two_factor")?,
        is_disabled: body.flag("is_disabled")?,
        password: body.text("password")?.map(str::to_owned),
        remove_factor: body.flag("has_two_factor")? == Some(false),
        remove_identities: body.flag("has_identity")? == Some(false),
        roles: body.numbers("roles")?.map(Roles::All),
    };
    acts::change(&app, &caller, id, changes).await?;
    json(&json!({ "id": id }))
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    acts::remove(&app, &caller.actor, id).await?;
    json(&json!({ "poll": "OK" }))
}

/// Makes a link by which the user chooses a password, once. It is told this once.
async fn invite(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let (key, expires_at) = acts::invite(&app, &caller.actor, id).await?;
    json(&json!({ "path": format!("/invitation/{key}"), "expires": times::iso(expires_at) }))
}
