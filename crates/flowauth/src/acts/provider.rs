//! Coming in by an OpenID Connect provider: who that is here, and which roles they have.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Map, Value, json};
use web::Error;

use super::name;
use crate::app::App;
use crate::oidc::groups::{Groups, Has};
use crate::oidc::{Failure, Options, Provider};
use crate::store::audit::Actor;
use crate::store::roles::{self, Which};
use crate::store::users::{self, User, Wanted};
use crate::store::{Change, identities, invitations, servers};

/// What somebody is told whom the provider has not let in, or who is nobody here.
pub fn refused(failure: Failure) -> Error {
    match &failure {
        Failure::Away(_) => {
            let text = "The provider of your organisation does not answer at the moment.";
            Error::new(StatusCode::SERVICE_UNAVAILABLE, text).with("reason", "provider-away").because(failure)
        }
        Failure::Refused(_) | Failure::Token(_) => {
            let text = "The provider of your organisation has not let you in.";
            Error::new(StatusCode::UNAUTHORIZED, text).with("reason", "provider-refused").because(failure)
        }
        Failure::Forged => {
            let text = "This was not begun here, or took too long: begin again.";
            Error::new(StatusCode::UNAUTHORIZED, text).with("reason", "provider-over").because(failure)
        }
    }
}

/// The user of whom the provider says this: known already, added without a password by an administrator, or new where that is allowed.
///
/// # Errors
/// 401, with a reason, where they are nobody here or may not sign in; the log says it too.
pub async fn arrive(app: &App, actor: &Actor, provider: &Provider, claims: &Map<String, Value>) -> Result<User, Error> {
    let options = &provider.options;
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    let subject = text("sub").unwrap_or_default();
    let mut change = app.store.change().await?;
    let known = identities::find(&mut change, &options.issuer, subject).await?;
    let user = match known {
        Some(user) => Ok(user),
        None => match name_of(options, claims) {
            Some(name) => begin(&mut change, provider, subject, &name).await?,
            None => Err(("the provider gives them no name", nobody().with("reason", "provider-nameless"))),
        },
    };
    let user = user.and_then(|user| match user.disabled_at {
        None => Ok(user),
        Some(_) => Err(("they are disabled", nobody().with("reason", "provider-unknown"))),
    });
    let user = match user {
        Ok(user) => user,
        Err((why, error)) => {
            // What was begun is undone: nobody was let in.
            drop(change);
            let object = text(&options.name_claim).unwrap_or(subject).chars().filter(|c| !c.is_control()).take(75);
            let detail = json!({ "with": "provider", "issuer": options.issuer, "why": why });
            let refused = actor.does("sign-in.refused", object.collect::<String>(), detail);
            app.store.change().await?.commit(&refused).await?;
            return Err(error);
        }
    };
    let mut detail = json!({ "issuer": options.issuer, "subject": subject });
    match &options.groups {
        Some(groups) if groups.are_withheld(claims) => {
            detail["roles"] = json!("the provider does not say which groups")
        }
        Some(groups) => look_after(&mut change, &user, groups, claims, &mut detail).await?,
        None => {}
    }
    let user = users::find(&mut change, user.id).await?.unwrap_or(user);
    let actor = Actor { user: Some((user.id, user.name.clone())), ..actor.clone() };
    change.commit(&actor.does("sign-in.provider", &*user.name, detail)).await?;
    if options.groups.is_some() {
        app.revoked().await;
    }
    Ok(user)
}

/// What the provider calls them, if that can be a name here and is theirs. Only as it stands: what is cut off could be what tells two apart.
fn name_of(options: &Options, claims: &Map<String, Value>) -> Option<String> {
    let given = claims.get(&options.name_claim).and_then(Value::as_str)?;
    let theirs = options.name_claim != "email" || claims.get("email_verified") == Some(&Value::Bool(true));
    name(Some(given), "username", "There is no name.").ok().filter(|name| theirs && name == given)
}

fn nobody() -> Error {
    Error::new(StatusCode::UNAUTHORIZED, "You are no user here: ask an administrator.")
}

/// Whether a user without a password waits for whom the provider calls by their name. Nobody is taken over by it who is to have a
/// password here, who looks after the others, or who is a machine: many providers let people choose what they are called.
async fn is_for_the_provider(change: &mut Change, user: &User) -> Result<bool, Error> {
    let waits = !user.is_machine && !user.is_admin;
    Ok(waits && identities::of(change, user.id).await?.is_empty() && !invitations::any(change, user.id).await?)
}

/// Somebody who comes for the first time.
async fn begin(
    change: &mut Change,
    provider: &Provider,
    subject: &str,
    name: &str,
) -> Result<Result<User, (&'static str, Error)>, Error> {
    let issuer = &provider.options.issuer;
    let id = match users::named(change, name).await? {
        Some((user, None)) if is_for_the_provider(change, &user).await? => user.id,
        Some(_) => return Ok(Err(("there is another user of that name", nobody().with("reason", "provider-name")))),
        // A provider that lets people choose their name makes nobody who looks like another here.
        None if provider.options.creates && !users::any_like(change, name, None).await? => {
            users::add(change, &Wanted { name: name.to_owned(), ..Wanted::default() }, None).await?
        }
        None if provider.options.creates => {
            let error = nobody().with("reason", "provider-name");
            return Ok(Err(("there is a user whose name differs in upper and lower case alone", error)));
        }
        None => return Ok(Err(("there is no such user", nobody().with("reason", "provider-unknown")))),
    };
    identities::add(change, issuer, subject, id).await?;
    let user = users::find(change, id).await?;
    Ok(user.ok_or_else(|| ("they are gone", nobody().with("reason", "provider-unknown"))))
}

/// Gives and takes what the provider's groups decide; what no group has is left alone.
async fn look_after(
    change: &mut Change,
    user: &User,
    groups: &Groups,
    claims: &Map<String, Value>,
    detail: &mut Value,
) -> Result<(), Error> {
    let servers: BTreeMap<i64, String> =
        servers::all(change).await?.into_iter().map(|server| (server.id, server.wanted.name)).collect();
    let all = roles::some(change, Which::All).await?;
    let ids = |which: &[&Has]| -> BTreeSet<i64> {
        let is = |server: &str, role: &str| {
            which.iter().any(|has| matches!(has, Has::Role(s, r) if s == server && r == role))
        };
        let named = |role: &&roles::Role| is(servers.get(&role.server).map_or("", String::as_str), &role.wanted.name);
        all.iter().filter(named).map(|role| role.id).collect()
    };
    let (looked_after, given): (Vec<&Has>, Vec<&Has>) = (groups.looked_after().collect(), groups.of(claims).collect());
    let had: BTreeSet<i64> =
        all.iter().filter(|role| role.wanted.members.contains(&user.id)).map(|role| role.id).collect();
    let has: BTreeSet<i64> = had.difference(&ids(&looked_after)).copied().chain(ids(&given)).collect();
    if has != had {
        let revoked = roles::set_of_user(change, user.id, &has).await?;
        let moved = |one: &BTreeSet<i64>, other: &BTreeSet<i64>| one.difference(other).copied().collect::<Vec<_>>();
        let (added, removed) = (moved(&has, &had), moved(&had, &has));
        detail["roles"] = json!({ "added": added, "removed": removed, "tokens_revoked": revoked });
    }
    let is_admin = given.contains(&&Has::Administrator);
    let stays_one = user.is_admin && !is_admin && users::admins(change).await? == 1;
    if looked_after.contains(&&Has::Administrator) && is_admin != user.is_admin && !stays_one {
        let wanted = Wanted {
            name: user.name.clone(),
            is_admin,
            needs_factor: user.needs_factor,
            is_disabled: user.disabled_at.is_some(),
            is_machine: user.is_machine,
        };
        users::change(change, user.id, &wanted).await?;
        detail["is_admin"] = json!(is_admin);
    }
    Ok(())
}
