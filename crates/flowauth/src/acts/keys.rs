//! One's own keys for programs.

use serde_json::json;
use web::Error;

use super::{missing, name, wrong, wrong_as};
use crate::app::App;
use crate::caller::{Caller, new_key};
use crate::store::{keys, now};
use crate::times;

/// Days that a key lives, unless it is said otherwise, and at most.
pub const USUAL_DAYS: i64 = 90;
pub const MOST_DAYS: i64 = 400;

/// Keys that a user may have.
const MOST: usize = 50;

/// A key that was made. It is told this once.
pub struct Made {
    /// Its number.
    pub id: i64,
    /// Itself.
    pub key: String,
    /// When it ends.
    pub expires_at: i64,
}

/// Makes a key.
pub async fn add(
    app: &App,
    caller: &Caller,
    wanted: Option<&str>,
    administers: bool,
    days: i64,
) -> Result<Made, Error> {
    let user = caller.user()?;
    let name = name(wanted, "name", "A key needs a name.")?;
    if administers && !user.is_admin {
        return Err(wrong("administers", "Only an administrator's key can administer."));
    }
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(wrong_as("key-days", "days", format!("A key lives 1 to {MOST_DAYS} days.")).with("days", MOST_DAYS));
    }
    let (key, digest) = new_key();
    let expires_at = now() + days * 86400;
    let mut change = app.store.change().await?;
    if keys::of_user(&mut change, user.id).await?.len() >= MOST {
        return Err(wrong_as("key-number", "name", format!("You have {MOST} keys; remove one first.")));
    }
    let id = keys::add(&mut change, user.id, &digest, &name, administers, expires_at).await?;
    let detail = json!({ "id": id, "administers": administers, "expires": times::iso(expires_at) });
    change.commit(&caller.actor.does("key.add", name, detail)).await?;
    Ok(Made { id, key, expires_at })
}

/// Removes one.
pub async fn remove(app: &App, caller: &Caller, id: i64) -> Result<(), Error> {
    let mut change = app.store.change().await?;
    let name = keys::remove(&mut change, caller.user()?.id, id).await?.ok_or_else(missing)?;
    Ok(change.commit(&caller.actor.does("key.remove", name, json!({ "id": id }))).await?)
}
