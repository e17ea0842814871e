//! Keys for programs: one's own, and those of machines, which administrators make.

use http::Method;
use serde_json::json;
use web::Error;

use super::{missing, name, wrong, wrong_as};
use crate::app::App;
use crate::caller::{Access, new_key};
use crate::store::audit::Actor;
use crate::store::keys::{self, May};
use crate::store::users::User;
use crate::store::{now, users};
use crate::times;

/// Days that a key lives, unless it is said otherwise, and at most.
pub const USUAL_DAYS: i64 = 90;
pub const MOST_DAYS: i64 = 400;

/// Keys that a user may have.
const MOST: usize = 50;

/// What a key shall be.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What it is for.
    pub name: Option<String>,
    /// What it is good for.
    pub may: May,
    /// How long it lives.
    pub days: i64,
}

/// A key that was made. It is told this once.
pub struct Made {
    /// Its number.
    pub id: i64,
    /// Itself.
    pub key: String,
    /// When it ends.
    pub expires_at: i64,
}

/// Whether a key is good for a route.
pub fn fits(may: May, access: Access, method: &Method) -> bool {
    match (may, access) {
        (_, Access::Open) => true,
        // What decides who somebody is.
        (_, Access::SignedIn | Access::Account) => false,
        (May::Tokens, access) => access == Access::User,
        // One's own tokens are shown whole, so that whoever only looks is not shown them.
        (May::Read, access) => access == Access::Admin && method == Method::GET,
        (May::Administer, Access::User | Access::Admin) => true,
    }
}

/// Makes a key of a user's.
pub async fn add(app: &App, actor: &Actor, user: &User, wanted: &Wanted) -> Result<Made, Error> {
    let name = name(wanted.name.as_deref(), "name", "A key needs a name.")?;
    let Wanted { may, days, .. } = *wanted;
    if may != May::Tokens && !user.is_admin {
        return Err(wrong_as("key-may", "may", "Only an administrator's key can read or administer."));
    }
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(wrong_as("key-days", "days", format!("A key lives 1 to {MOST_DAYS} days.")).with("days", MOST_DAYS));
    }
    let (key, digest) = new_key();
    let expires_at = now() + days * 86400;
    let mut change = app.change(actor).await?;
    if keys::of_user(&mut change, user.id).await?.len() >= MOST {
        return Err(wrong_as("key-number", "name", format!("There are {MOST} keys already; remove one first.")));
    }
    let id = keys::add(&mut change, user.id, &digest, &name, may, expires_at).await?;
    let detail = json!({ "id": id, "user": user.name, "may": may.name(), "expires": times::iso(expires_at) });
    change.commit(&actor.does("key.add", name, detail)).await?;
    Ok(Made { id, key, expires_at })
}

/// The machine with this number: nobody but themselves makes a person's keys.
pub async fn machine(app: &App, id: i64) -> Result<User, Error> {
    let user = users::find(&mut *app.store.read().await?, id).await?.ok_or_else(missing)?;
    match user.is_machine {
        true => Ok(user),
        false => Err(wrong("user", "Only a machine's keys are made by others: this is a person, who makes their own.")),
    }
}

/// Removes a user's key.
pub async fn remove(app: &App, actor: &Actor, user: i64, id: i64) -> Result<(), Error> {
    let mut change = app.change(actor).await?;
    let owner = users::find(&mut change, user).await?.ok_or_else(missing)?;
    let name = keys::remove(&mut change, user, id).await?.ok_or_else(missing)?;
    Ok(change.commit(&actor.does("key.remove", name, json!({ "id": id, "user": owner.name }))).await?)
}
