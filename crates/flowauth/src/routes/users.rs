//! Users, looked after by administrators.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::account::strong;
use super::body::{Body, Id};
use super::{Answer, Table, json, missing, taken, wrong};
use crate::app::App;
use crate::caller::Access::Admin;
use crate::caller::Caller;
use crate::store::roles::{self, Which};
use crate::store::users::{User, Wanted};
use crate::store::{Change, factors, keys, sessions, tokens, users};

/// Longest name of a user, server or role, in characters: as many as upstream's database takes.
pub const LONGEST_NAME: usize = 75;

const TAKEN: &str = "Username already exists.";

pub fn enter(table: Table) -> Table {
    table
        .get("/admin/users", Admin, list)
        .post("/admin/users", Admin, add)
        .get("/admin/users/{id}", Admin, show)
        .patch("/admin/users/{id}", Admin, change)
        .delete("/admin/users/{id}", Admin, remove)
}

async fn list(State(app): State<Arc<App>>) -> Answer {
    let users = users::all(&mut *app.store.read().await?).await?;
    json(&users.iter().map(|user| json!({ "id": user.id, "name": user.name })).collect())
}

async fn show(State(app): State<Arc<App>>, Id(id): Id<i64>) -> Answer {
    let mut db = app.store.read().await?;
    let user = users::find(&mut db, id).await?.ok_or_else(missing)?;
    let roles = roles::some(&mut db, Which::OfUser(id)).await?;
    let roles: Vec<Value> = roles.iter().map(|role| json!({ "id": role.id, "name": role.wanted.name })).collect();
    json(&json!({
        "id": user.id,
        "name": user.name,
        "is_admin": user.is_admin,
        "has_two_factor": user.has_factor,
        "require_two_factor": user.needs_factor,
        "is_disabled": user.disabled_at.is_some(),
        "roles": roles,
    }))
}

/// A name as it may be. Tokens, logs and pages carry it.
pub fn name(text: Option<&str>, field: &str, too_short: &'static str) -> Result<String, Error> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).ok_or_else(|| wrong(field, too_short))?;
    if text.chars().count() > LONGEST_NAME {
        return Err(wrong(field, format!("A name has at most {LONGEST_NAME} characters.")));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(field, "A name has no control characters."));
    }
    Ok(text.to_owned())
}

/// Roles that there are.
async fn known(change: &mut Change, roles: BTreeSet<i64>) -> Result<BTreeSet<i64>, Error> {
    let all: BTreeSet<i64> = roles::some(change, Which::All).await?.iter().map(|role| role.id).collect();
    match roles.difference(&all).next() {
        Some(id) => Err(wrong("roles", format!("There is no role {id}."))),
        None => Ok(roles),
    }
}

async fn add(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let name = name(body.text("username")?, "username", "Username too short.")?;
    let password = body.text("password")?.ok_or_else(|| wrong("password", "Password must be provided."))?;
    let hash = strong(&app, password, &name, "password").await?;
    let wanted = Wanted {
        name,
        is_admin: body.flag("is_admin")?.unwrap_or(false),
        needs_factor: body.flag("require_two_factor")?.unwrap_or(false),
        is_disabled: false,
    };
    let mut change = app.store.change().await?;
    let id = users::add(&mut change, &wanted, Some(&hash)).await.map_err(|error| taken(error, "username", TAKEN))?;
    let roles = known(&mut change, body.numbers("roles")?.unwrap_or_default()).await?;
    roles::set_of_user(&mut change, id, &roles).await?;
    let detail =
        json!({ "id": id, "is_admin": wanted.is_admin, "require_two_factor": wanted.needs_factor, "roles": roles });
    change.commit(&caller.actor.does("user.add", wanted.name, detail)).await?;
    json(&json!({ "id": id }))
}

/// Refuses to leave nobody who could look after the rest.
async fn keep_an_admin(change: &mut Change, user: &User, field: &str, text: &'static str) -> Result<(), Error> {
    let is_last = user.is_admin && user.disabled_at.is_none() && users::admins(change).await? == 1;
    if is_last { Err(wrong(field, text)) } else { Ok(()) }
}

async fn change(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>, body: Body) -> Answer {
    let hash = match body.text("password")? {
        Some(password) => {
            let user = users::find(&mut *app.store.read().await?, id).await?.ok_or_else(missing)?;
            Some(strong(&app, password, &user.name, "password").await?)
        }
        None => None,
    };
    let mut change = app.store.change().await?;
    let user = users::find(&mut change, id).await?.ok_or_else(missing)?;
    let wanted = Wanted {
        name: match body.has("username") {
            true => name(body.text("username")?, "username", "Username too short.")?,
            false => user.name.clone(),
        },
        is_admin: body.flag("is_admin")?.unwrap_or(user.is_admin),
        needs_factor: body.flag("require_two_factor")?.unwrap_or(user.needs_factor),
        is_disabled: body.flag("is_disabled")?.unwrap_or(user.disabled_at.is_some()),
    };
    if !wanted.is_admin {
        let text = "Removing this user's admin rights would leave no admins.";
        keep_an_admin(&mut change, &user, "is_admin", text).await?;
    }
    if wanted.is_disabled {
        keep_an_admin(&mut change, &user, "is_disabled", "Disabling this user would leave no admins.").await?;
    }
    users::change(&mut change, id, &wanted).await.map_err(|error| taken(error, "username", TAKEN))?;
    let mut detail = json!({
        "id": id,
        "before": { "name": user.name, "is_admin": user.is_admin, "require_two_factor": user.needs_factor,
            "is_disabled": user.disabled_at.is_some() },
        "is_admin": wanted.is_admin, "require_two_factor": wanted.needs_factor, "is_disabled": wanted.is_disabled,
    });
    if let Some(hash) = &hash {
        users::set_password(&mut change, id, hash).await?;
        keys::remove_all(&mut change, id).await?;
        detail["password"] = json!("set");
    }
    if body.flag("has_two_factor")? == Some(false) && user.has_factor {
        factors::disable(&mut change, id).await?;
        detail["two_factor"] = json!("removed");
    }
    if let Some(roles) = body.numbers("roles")? {
        let roles = known(&mut change, roles).await?;
        roles::set_of_user(&mut change, id, &roles).await?;
        detail["roles"] = json!(roles);
    }
    if hash.is_some() || wanted.is_disabled {
        sessions::end_others(&mut change, id, caller.session()).await?;
    }
    // A user of another name is another user to FlowAPI, and one who is out is out there too.
    if wanted.is_disabled || wanted.name != user.name {
        detail["tokens_revoked"] = json!(tokens::revoke_of_user(&mut change, id).await?);
    }
    change.commit(&caller.actor.does("user.change", wanted.name, detail)).await?;
    app.revoked().await;
    json(&json!({ "id": id }))
}

async fn remove(State(app): State<Arc<App>>, caller: Caller, Id(id): Id<i64>) -> Answer {
    let mut change = app.store.change().await?;
    let user = users::find(&mut change, id).await?.ok_or_else(missing)?;
    let is_last = user.is_admin && user.disabled_at.is_none() && users::admins(&mut change).await? == 1;
    if is_last {
        return Err(Error::new(StatusCode::BAD_REQUEST, "Removing this user would leave no admins."));
    }
    let revoked = tokens::revoke_of_user(&mut change, id).await?;
    users::remove(&mut change, id).await?;
    change.commit(&caller.actor.does("user.remove", user.name, json!({ "id": id, "tokens_revoked": revoked }))).await?;
    app.revoked().await;
    json(&json!({ "poll": "OK" }))
}
