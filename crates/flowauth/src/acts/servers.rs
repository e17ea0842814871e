//! Servers and their scopes, looked after by administrators.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use web::Error;

use super::{missing, name, or_taken, wrong, wrong_as};
use crate::app::App;
use crate::specification::{Specification, check_scopes};
use crate::store::audit::Actor;
use crate::store::servers::{self, Difference, Server, Wanted};
use crate::store::{Change, tokens};
use crate::times;

const TAKEN: &str = "Server with this name already exists.";

/// What is said of a server in the log.
fn noted(wanted: &Wanted) -> Value {
    json!({
        "name": wanted.name,
        "longest_token_life_minutes": wanted.longest_minutes,
        "latest_token_expiry": wanted.latest_expiry.map(times::iso),
    })
}

/// The same of a specification, as the JSON routes answer it.
pub fn shown(difference: &Difference) -> Value {
    json!({ "added": difference.added, "gone": difference.gone, "back": difference.back })
}

/// What an uploaded file says.
pub fn read(text: &[u8]) -> Result<Specification, Error> {
    Specification::read(text).map_err(|why| wrong_as("specification", "specification", why.clone()).with("why", why))
}

/// Adds a server with these scopes.
pub async fn add(app: &App, actor: &Actor, wanted: Wanted, names: &BTreeSet<String>) -> Result<i64, Error> {
    let wanted = Wanted { name: name(Some(&wanted.name), "name", "Must provide server name")?, ..wanted };
    check_scopes(names).map_err(|why| wrong("scopes", why))?;
    let mut change = app.change(actor).await?;
    let id = servers::add(&mut change, &wanted).await.map_err(|error| or_taken(error, "name", TAKEN))?;
    let difference = servers::compare(&mut change, id, names).await?;
    servers::apply(&mut change, id, &difference).await?;
    let detail = json!({ "id": id, "now": noted(&wanted), "scopes": names.len() });
    change.commit(&actor.does("server.add", wanted.name, detail)).await?;
    Ok(id)
}

/// Makes of a server what is wanted, worked out from what it is.
pub async fn change(
    app: &App,
    actor: &Actor,
    id: i64,
    wanted: impl FnOnce(&Wanted) -> Result<Wanted, Error>,
) -> Result<(), Error> {
    let mut change = app.change(actor).await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    let wanted = wanted(&server.wanted)?;
    let wanted = Wanted { name: name(Some(&wanted.name), "name", "Must provide server name")?, ..wanted };
    servers::change(&mut change, id, &wanted).await.map_err(|error| or_taken(error, "name", TAKEN))?;
    let detail = json!({ "id": id, "before": noted(&server.wanted), "now": noted(&wanted) });
    Ok(change.commit(&actor.does("server.change", wanted.name, detail)).await?)
}

/// Removes a server, whose tokens are revoked.
pub async fn remove(app: &App, actor: &Actor, id: i64) -> Result<(), Error> {
    let mut change = app.change(actor).await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    let revoked = tokens::revoke_of_server(&mut change, id).await?;
    servers::remove(&mut change, id).await?;
    let detail = json!({ "id": id, "before": noted(&server.wanted), "tokens_revoked": revoked });
    change.commit(&actor.does("server.remove", server.wanted.name, detail)).await?;
    app.revoked().await;
    Ok(())
}

async fn apply(
    actor: &Actor,
    mut change: Change,
    server: &Server,
    names: &BTreeSet<String>,
) -> Result<Difference, Error> {
    check_scopes(names).map_err(|why| wrong("scopes", why))?;
    let difference = servers::compare(&mut change, server.id, names).await?;
    servers::apply(&mut change, server.id, &difference).await?;
    change.commit(&actor.does("server.scopes", &*server.wanted.name, shown(&difference))).await?;
    Ok(difference)
}

/// Makes these all scopes of a server.
pub async fn set_scopes(app: &App, actor: &Actor, id: i64, names: &BTreeSet<String>) -> Result<Difference, Error> {
    let mut change = app.change(actor).await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    apply(actor, change, &server, names).await
}

/// Refuses a specification that is another server's.
pub fn is_of(specification: &Specification, server: &Server) -> Result<(), Error> {
    if specification.audience == server.wanted.name {
        return Ok(());
    }
    let text = format!(
        "The file is of the server '{}', and this one is '{}': upload it there, or rename this one first.",
        specification.audience, server.wanted.name
    );
    let error = wrong_as("other-server", "specification", text);
    Err(error.with("theirs", &*specification.audience).with("ours", &*server.wanted.name))
}

/// Takes over the scopes of a specification of this server.
pub async fn take_over(app: &App, actor: &Actor, id: i64, specification: &Specification) -> Result<Difference, Error> {
    let mut change = app.change(actor).await?;
    let server = servers::find(&mut change, id).await?.ok_or_else(missing)?;
    is_of(specification, &server)?;
    apply(actor, change, &server, &specification.scopes).await
}
