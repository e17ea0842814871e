//! Users, looked after by administrators; and invitations, by which they choose their own password.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::json;
use web::Error;

use super::account::strong;
use super::{Moved, missing, name, taken, wrong, wrong_as};
use crate::app::App;
use crate::caller::{Caller, new_link};
use crate::store::audit::Actor;
use crate::store::known::Known;
use crate::store::roles::{self, Which};
use crate::store::users::{User, Wanted};
use crate::store::{Change, factors, identities, invitations, keys, now, sessions, tokens, users};
use crate::times;

const TAKEN: &str = "Username already exists.";

/// How long an invitation is good, in seconds: a week.
const INVITED: i64 = 7 * 86400;

/// What shall be different; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// See [`User`].
    pub name: Option<String>,
    /// See [`User`].
    pub is_admin: Option<bool>,
    /// See [`User`].
    pub needs_factor: Option<bool>,
    /// Whether they may not sign in.
    pub is_disabled: Option<bool>,
    /// Another password.
    pub password: Option<String>,
    /// Whether their second factor goes.
    pub remove_factor: bool,
    /// Whether whom a provider knows as them is forgotten.
    pub remove_identities: bool,
    /// Their roles.
    pub roles: Option<Roles>,
}

/// Which roles somebody shall have.
#[derive(Clone, Debug)]
pub enum Roles {
    /// These.
    All(BTreeSet<i64>),
    /// Those that they have, but for these.
    But(Moved),
}

/// Roles that there are.
async fn known(change: &mut Change, roles: BTreeSet<i64>) -> Result<BTreeSet<i64>, Error> {
    let all: BTreeSet<i64> = roles::some(change, Which::All).await?.iter().map(|role| role.id).collect();
    match roles.difference(&all).next() {
        Some(id) => Err(wrong("roles", format!("There is no role {id}."))),
        None => Ok(roles),
    }
}

/// Adds a user; without a password they can't sign in until they have chosen one.
pub async fn add(
    app: &App,
    actor: &Actor,
    wanted: Wanted,
    password: Option<&str>,
    roles: BTreeSet<i64>,
) -> Result<i64, Error> {
    let wanted = Wanted { name: name(Some(&wanted.name), "username", "Username too short.")?, ..wanted };
    if wanted.is_machine && (password.is_some() || wanted.needs_factor) {
        return Err(never_signs_in());
    }
    let hash = match password {
        Some(password) => Some(strong(app, password, &wanted.name, "password").await?),
        None => None,
    };
    let mut change = app.change(actor).await?;
    unlike_others(&mut change, &wanted.name, None).await?;
    let id = users::add(&mut change, &wanted, hash.as_deref()).await?;
    let roles = known(&mut change, roles).await?;
    roles::set_of_user(&mut change, id, &roles).await?;
    let detail = json!({ "id": id, "is_admin": wanted.is_admin, "require_two_factor": wanted.needs_factor,
            "is_machine": wanted.is_machine, "roles": roles });
    change.commit(&actor.does("user.add", wanted.name, detail)).await?;
    Ok(id)
}

/// Refuses a name that is another's, or looks like it.
async fn unlike_others(change: &mut Change, name: &str, user: Option<i64>) -> Result<(), Error> {
    if users::any_like(change, name, user).await? { Err(taken("username", TAKEN)) } else { Ok(()) }
}

fn never_signs_in() -> Error {
    wrong_as("machine", "is_machine", "A machine never signs in: it has keys, and no password or second factor.")
}

/// Whether nobody who could look after the rest is left without this one.
async fn is_last(change: &mut Change, user: &User) -> Result<bool, Error> {
    let counts = user.is_admin && user.disabled_at.is_none() && !user.is_machine;
    Ok(counts && users::admins(change).await? == 1)
}

/// Refuses to leave nobody who could look after the rest.
async fn keep_an_admin(change: &mut Change, user: &User, field: &str, text: &'static str) -> Result<(), Error> {
    if is_last(change, user).await? { Err(wrong_as("last-admin", field, text)) } else { Ok(()) }
}

/// Refuses a key what would let whoever has found it sign in as an administrator.
fn no_key(actor: &Actor) -> Result<(), Error> {
    if actor.known.as_ref().is_some_and(Known::is_key) {
        let text = "No key decides how an administrator signs in: sign in yourself for that.";
        return Err(Error::new(StatusCode::FORBIDDEN, text));
    }
    Ok(())
}

/// Changes a user.
pub async fn change(app: &App, caller: &Caller, id: i64, changes: Changes) -> Result<(), Error> {
    let hash = match changes.password.as_deref() {
        Some(password) => {
            let user = users::find(&mut *app.store.read().await?, id).await?.ok_or_else(missing)?;
            if user.is_machine {
                return Err(never_signs_in());
            }
            Some(strong(app, password, &user.name, "password").await?)
        }
        None => None,
    };
    let mut change = app.change(&caller.actor).await?;
    let user = users::find(&mut change, id).await?.ok_or_else(missing)?;
    let drops_factor = changes.remove_factor || (user.needs_factor && changes.needs_factor == Some(false));
    // One that could take the rights for a moment could do the rest in between.
    let takes_rights = changes.is_admin.is_some_and(|is_admin| is_admin != user.is_admin);
    if takes_rights || user.is_admin && (changes.password.is_some() || drops_factor) {
        no_key(&caller.actor)?;
    }
    let wanted = Wanted {
        name: match &changes.name {
            Some(text) => name(Some(text), "username", "Username too short.")?,
            None => user.name.clone(),
        },
        is_admin: changes.is_admin.unwrap_or(user.is_admin),
        needs_factor: changes.needs_factor.unwrap_or(user.needs_factor),
        is_disabled: changes.is_disabled.unwrap_or(user.disabled_at.is_some()),
        is_machine: user.is_machine,
    };
    if wanted.is_machine && wanted.needs_factor {
        return Err(never_signs_in());
    }
    if !wanted.is_admin {
        let text = "Removing this user's admin rights would leave no admins.";
        keep_an_admin(&mut change, &user, "is_admin", text).await?;
    }
    if wanted.is_disabled {
        keep_an_admin(&mut change, &user, "is_disabled", "Disabling this user would leave no admins.").await?;
    }
    // Two that an upstream's database had keep their names.
    if wanted.name != user.name {
        unlike_others(&mut change, &wanted.name, Some(id)).await?;
    }
    users::change(&mut change, id, &wanted).await?;
    let mut detail = json!({
        "id": id,
        "before": { "name": user.name, "is_admin": user.is_admin, "require_two_factor": user.needs_factor,
            "is_disabled": user.disabled_at.is_some() },
        "is_admin": wanted.is_admin, "require_two_factor": wanted.needs_factor, "is_disabled": wanted.is_disabled,
    });
    if let Some(hash) = &hash {
        users::set_password(&mut change, id, hash).await?;
        keys::remove_all(&mut change, id).await?;
        identities::remove_all(&mut change, id).await?;
        detail["password"] = json!("set");
    }
    if changes.remove_factor && user.has_factor {
        factors::disable(&mut change, id).await?;
        detail["two_factor"] = json!("removed");
    }
    if changes.remove_identities {
        identities::remove_all(&mut change, id).await?;
        detail["provider"] = json!("forgotten");
    }
    let mut revoked = 0;
    if let Some(roles) = changes.roles {
        let roles = match roles {
            Roles::All(roles) => roles,
            Roles::But(moved) => {
                let had = roles::some(&mut change, Which::OfUser(id)).await?;
                moved.of(&had.iter().map(|role| role.id).collect())
            }
        };
        let roles = known(&mut change, roles).await?;
        revoked += roles::set_of_user(&mut change, id, &roles).await?;
        detail["roles"] = json!(roles);
    }
    if hash.is_some() || wanted.is_disabled || changes.remove_identities {
        sessions::end_others(&mut change, id, caller.session()).await?;
    }
    if hash.is_some() {
        invitations::remove_all(&mut change, id).await?;
    } else if wanted.is_disabled {
        invitations::end_all(&mut change, id).await?;
    }
    // A user of another name is another user to FlowAPI, and one who is out is out there too.
    if wanted.is_disabled || wanted.name != user.name {
        revoked += tokens::revoke_of_user(&mut change, id).await?;
    }
    detail["tokens_revoked"] = json!(revoked);
    change.commit(&caller.actor.does("user.change", wanted.name, detail)).await?;
    app.revoked().await;
    Ok(())
}

/// Removes a user, whose tokens are revoked.
pub async fn remove(app: &App, actor: &Actor, id: i64) -> Result<(), Error> {
    let mut change = app.change(actor).await?;
    let user = users::find(&mut change, id).await?.ok_or_else(missing)?;
    if is_last(&mut change, &user).await? {
        let text = "Removing this user would leave no admins.";
        return Err(Error::new(StatusCode::BAD_REQUEST, text).with("reason", "last-admin"));
    }
    let revoked = tokens::revoke_of_user(&mut change, id).await?;
    users::remove(&mut change, id).await?;
    change.commit(&actor.does("user.remove", user.name, json!({ "id": id, "tokens_revoked": revoked }))).await?;
    app.revoked().await;
    Ok(())
}

/// Makes a link by which a user chooses a password, once, instead of those before. Its secret, which is told this once, and its end.
pub async fn invite(app: &App, actor: &Actor, id: i64) -> Result<(String, i64), Error> {
    let (key, digest) = new_link();
    let expires_at = now() + INVITED;
    let mut change = app.change(actor).await?;
    let user = users::find(&mut change, id).await?.ok_or_else(missing)?;
    if user.is_machine {
        return Err(never_signs_in());
    }
    if user.disabled_at.is_some() {
        return Err(wrong_as("disabled", "is_disabled", "This user is disabled: enable them first."));
    }
    // Whom a key has just added has no way to sign in yet.
    let signs_in =
        users::password(&mut change, id).await?.is_some() || !identities::of(&mut change, id).await?.is_empty();
    if user.is_admin && signs_in {
        no_key(actor)?;
    }
    invitations::add(&mut change, id, &digest, expires_at).await?;
    change
        .commit(&actor.does("user.invite", user.name, json!({ "id": id, "expires": times::iso(expires_at) })))
        .await?;
    Ok((key, expires_at))
}

/// Whom a link invites, as long as it is good.
pub async fn invited(app: &App, digest: &str) -> Result<Option<User>, Error> {
    Ok(invitations::find(&mut *app.store.read().await?, digest).await?)
}

/// Takes a link, and with it a password. Whoever had the account before is out, by the provider too.
pub async fn accept(app: &App, actor: &Actor, digest: &str, password: &str) -> Result<(), Error> {
    let user = invited(app, digest).await?.ok_or_else(missing)?;
    let hash = strong(app, password, &user.name, "newPassword").await?;
    let mut change = app.store.change().await?;
    let user = invitations::find(&mut change, digest).await?.ok_or_else(missing)?;
    users::set_password(&mut change, user.id, &hash).await?;
    invitations::remove_all(&mut change, user.id).await?;
    keys::remove_all(&mut change, user.id).await?;
    identities::remove_all(&mut change, user.id).await?;
    sessions::end_others(&mut change, user.id, None).await?;
    let actor = Actor { user: Some((user.id, user.name.clone())), ..actor.clone() };
    Ok(change.commit(&actor.does("user.password", &*user.name, json!({ "by": "invitation" }))).await?)
}
