//! Roles, looked after by administrators.

use std::collections::BTreeSet;

use access::Dates;
use serde_json::{Value, json};
use web::Error;

use super::{missing, name, or_taken, wrong, wrong_as};
use crate::app::App;
use crate::store::audit::Actor;
use crate::store::roles::{self, Role, Wanted};
use crate::store::servers::{self, Server};
use crate::store::{Change, tokens, users};
use crate::times;

const TAKEN: &str = "A role with this name already exists on the server.";

/// Whether the server has what the role names, and allows what it allows.
async fn check(change: &mut Change, server: &Server, had: &Wanted, wanted: Wanted) -> Result<Wanted, Error> {
    let wanted = Wanted { name: name(Some(&wanted.name), "name", "Role name cannot be blank.")?, ..wanted };
    let days = (wanted.days.0.as_deref(), wanted.days.1.as_deref());
    let dates = Dates::parse(days.0, days.1).map_err(|why| wrong_as("day", "first_day", why))?;
    if dates.empty() {
        return Err(wrong_as("days", "last_day", "The last day of data is before the first."));
    }
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
        let text = "Role cannot exist past latest token in server";
        return Err(wrong_as("past-server", "latest_token_expiry", text));
    }
    if wanted.longest_minutes <= 0 {
        return Err(wrong_as("empty", "longest_token_life_minutes", "Maximum lifetime cannot be blank"));
    }
    if wanted.longest_minutes != had.longest_minutes && wanted.longest_minutes > server.wanted.longest_minutes {
        let text = "Role cannot have a maximum lifetime greater than server";
        return Err(wrong_as("longer-than-server", "longest_token_life_minutes", text));
    }
    Ok(wanted)
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

/// Adds a role to a server.
pub async fn add(app: &App, actor: &Actor, server: i64, wanted: Wanted) -> Result<Role, Error> {
    let had = Wanted::default();
    let mut change = app.change(actor).await?;
    let server = servers::find(&mut change, server).await?.ok_or_else(missing)?;
    let wanted = check(&mut change, &server, &had, wanted).await?;
    let id = roles::add(&mut change, server.id, &wanted).await.map_err(|error| or_taken(error, "name", TAKEN))?;
    change.commit(&actor.does("role.add", &*wanted.name, noted(id, &server, &had, &wanted))).await?;
    Ok(Role { id, server: server.id, wanted })
}

/// Makes of a role what is wanted, worked out from what it is.
pub async fn change(
    app: &App,
    actor: &Actor,
    id: i64,
    wanted: impl FnOnce(&Wanted) -> Result<Wanted, Error>,
) -> Result<(), Error> {
    let mut change = app.change(actor).await?;
    let role = roles::find(&mut change, id).await?.ok_or_else(missing)?;
    let server = servers::find(&mut change, role.server).await?.ok_or_else(missing)?;
    let wanted = wanted(&role.wanted)?;
    let wanted = check(&mut change, &server, &role.wanted, wanted).await?;
    let revoked = roles::change(&mut change, &role, &wanted).await.map_err(|error| or_taken(error, "name", TAKEN))?;
    let mut detail = noted(id, &server, &role.wanted, &wanted);
    detail["tokens_revoked"] = json!(revoked);
    change.commit(&actor.does("role.change", wanted.name, detail)).await?;
    app.revoked().await;
    Ok(())
}

/// Removes a role. The tokens that carry it are revoked.
pub async fn remove(app: &App, actor: &Actor, id: i64) -> Result<(), Error> {
    let mut change = app.change(actor).await?;
    let role = roles::find(&mut change, id).await?.ok_or_else(missing)?;
    let revoked = roles::remove(&mut change, id).await?;
    let detail = json!({ "id": id, "server": role.server, "tokens_revoked": revoked });
    change.commit(&actor.does("role.remove", role.wanted.name, detail)).await?;
    app.revoked().await;
    Ok(())
}

/// Revokes every token that carries a role, and says how many those were.
pub async fn revoke(app: &App, actor: &Actor, id: i64) -> Result<u64, Error> {
    let mut change = app.change(actor).await?;
    let role = roles::find(&mut change, id).await?.ok_or_else(missing)?;
    let count = tokens::revoke_of_role(&mut change, id).await?;
    change.commit(&actor.does("role.revoke_tokens", role.wanted.name, json!({ "id": id, "tokens": count }))).await?;
    app.revoked().await;
    Ok(count)
}
