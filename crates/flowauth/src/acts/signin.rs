//! Signing in and out.

use http::{HeaderMap, StatusCode};
use serde_json::json;
use web::Error;

use super::{busy, later, passkeys as own};
use crate::app::App;
use crate::caller::{self, Begun, Caller};
use crate::codes;
use crate::passkeys::{Answer, Expected, Refusal};
use crate::passwords::Passwords;
use crate::store::audit::Actor;
use crate::store::users::User;
use crate::store::{Change, attempts, factors, identities, now, passkeys, sessions, users};

/// Failures that cost nothing: of a user from one address, of a user from anywhere, from an address.
const FREE: [i64; 3] = [5, 50, 100];

/// The same of a user from a browser that they have signed in with, and from all of these.
const FREE_KNOWN: [i64; 2] = [10, 50];

/// The same of codes, of a user.
pub const FREE_CODES: i64 = 5;

/// Longest name that anybody has, in bytes.
const LONGEST_NAME: usize = 300;

/// By what it is known that it is they. It is looked at again when the session begins: in the meantime it may have come to an end.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// The password that has this hash.
    Password(&'a str),
    /// A session that waits for a code, by its id.
    Session(&'a str),
    /// The word of the provider.
    Provider,
}

fn refused() -> Error {
    Error::new(StatusCode::UNAUTHORIZED, "Incorrect username or password.").with("reason", "sign-in")
}

/// Refuses whoever is not known any more, now that nobody else writes.
async fn still(change: &mut Change, user: &User, proof: Proof<'_>) -> Result<(), Error> {
    let proven = match proof {
        Proof::Password(hash) => users::password(change, user.id).await?.as_deref() == Some(hash),
        Proof::Session(id) => sessions::find(change, id).await?.is_some_and(|session| session.user.id == user.id),
        Proof::Provider => !identities::of(change, user.id).await?.is_empty(),
    };
    let is_same = users::find(change, user.id).await?.as_ref() == Some(user);
    if proven && is_same { Ok(()) } else { Err(refused()) }
}

/// Whose failures an attempt counts among, and how many of them cost nothing. Whoever knows a name could keep its owner out for as
/// long as they go on guessing: so who has signed in with a browser before is counted by theirs alone.
fn counted(actor: &Actor, name: &str, browser: Option<u128>) -> Vec<(String, i64)> {
    let address = &actor.address;
    match browser {
        Some(browser) => {
            let who = [format!("{name} from the browser {browser:032x}"), format!("known {name}")];
            who.into_iter().zip(FREE_KNOWN).collect()
        }
        None => {
            let who = [format!("{name} from {address}"), format!("user {name}"), format!("address {address}")];
            who.into_iter().zip(FREE).collect()
        }
    }
}

/// The user with this name and password, and the hash that is kept of it.
///
/// # Errors
/// 401, the same and as late whatever was wrong; 429 for who has failed too often.
pub async fn known(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    name: &str,
    password: &str,
) -> Result<(User, String), Error> {
    if name.len() > LONGEST_NAME {
        return Err(refused());
    }
    let (found, counted) = {
        let mut db = app.store.read().await?;
        let found = users::named(&mut db, name).await?;
        let browser = found
            .as_ref()
            .and_then(|(user, hash)| caller::known_browser(app, headers, user.id, hash.as_deref().unwrap_or_default()));
        let counted = counted(actor, name, browser);
        for (who, free) in &counted {
            attempts::count(&mut db, who, *free).await?.map_err(later)?;
        }
        (found, counted)
    };
    let hash = found.as_ref().and_then(|(_, hash)| hash.as_deref());
    let fits = app.passwords.check(password, hash).await.map_err(busy)?;
    match found.filter(|(user, _)| fits && user.disabled_at.is_none() && !user.is_machine) {
        Some((user, hash)) => {
            // Now and never again the password is known: what is kept of it becomes what is kept of others'.
            let better = match hash.as_deref().filter(|hash| Passwords::is_old(hash)) {
                Some(old) => Some((old, app.passwords.hash(password).await.map_err(busy)?)),
                None => None,
            };
            let mut db = app.store.read().await?;
            let kept = match better {
                Some((old, new)) if users::rehash(&mut db, user.id, old, &new).await? => Some(new),
                // Another sign-in was earlier, or the password is another by now.
                Some(_) => {
                    drop(db);
                    let other = users::password(&mut *app.store.read().await?, user.id).await?;
                    if !app.passwords.check(password, other.as_deref()).await.map_err(busy)? {
                        return Err(refused());
                    }
                    db = app.store.read().await?;
                    other
                }
                None => hash,
            };
            attempts::forget(&mut db, &counted[0].0).await?;
            for (who, _) in &counted[1..] {
                attempts::take_back(&mut db, who).await?;
            }
            Ok((user, kept.unwrap_or_default()))
        }
        None => {
            let change = app.store.change().await?;
            change.commit(&actor.does("sign-in.refused", name, json!({ "with": "password" }))).await?;
            Err(refused())
        }
    }
}

/// Begins a session that is worth nothing until a code completes it.
pub async fn await_code(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    user: &User,
    proof: Proof<'_>,
) -> Result<Begun, Error> {
    let actor = Actor { user: Some((user.id, user.name.clone())), ..actor.clone() };
    let mut change = app.store.change().await?;
    still(&mut change, user, proof).await?;
    if let Some(old) = caller::brought(headers) {
        sessions::end(&mut change, &old).await?;
    }
    let (cookie, id) = caller::new_session();
    sessions::begin(&mut change, &id, user.id, &actor.address, false).await?;
    change.commit(&actor.does("sign-in.code", &*user.name, json!({}))).await?;
    Ok(Begun { cookie, id, browser: None })
}

/// What somebody has given besides their password.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// Nothing: they have no second factor.
    Nothing,
    /// Not even a password: a provider knows them, and they have no second factor here.
    Provider,
    /// A code.
    Code(&'a str),
    /// What their passkey for this site has signed, asked of this session.
    Passkey {
        /// The session that waits for it.
        session: &'a str,
        /// The name of the site.
        site: &'a str,
        /// What it has signed.
        answer: Answer<'a>,
    },
}

/// Begins a session of somebody whose password was right, with what they have given of their second factor, if there is one.
///
/// # Errors
/// 401 for a code or a passkey that is none, and for who is not known any more; 429 after too many codes.
pub async fn begin(
    app: &App,
    actor: &Actor,
    headers: &HeaderMap,
    user: &User,
    proof: Proof<'_>,
    given: Given<'_>,
) -> Result<Begun, Error> {
    // However somebody is known, a machine has no session.
    if user.is_machine || user.disabled_at.is_some() {
        return Err(Error::of(StatusCode::FORBIDDEN));
    }
    let actor = Actor { user: Some((user.id, user.name.clone())), ..actor.clone() };
    let given = match given {
        Given::Code(_) | Given::Passkey { .. } if !user.has_factor => Given::Nothing,
        given => given,
    };
    if matches!(given, Given::Code(_) | Given::Passkey { .. }) {
        attempts::count(&mut *app.store.read().await?, &code_of(user), FREE_CODES).await?.map_err(later)?;
    }
    // A question is answered once, whatever comes of it.
    let challenge = match given {
        Given::Passkey { session, .. } => passkeys::answered(&mut *app.store.read().await?, session).await?,
        Given::Nothing | Given::Provider | Given::Code(_) => None,
    };
    // What takes long is looked at before anybody is kept from writing.
    let hashed = match given {
        Given::Code(code) => hashed(app, user, code).await?,
        Given::Nothing | Given::Provider | Given::Passkey { .. } => None,
    };
    let mut change = app.store.change().await?;
    still(&mut change, user, proof).await?;
    let taken = match given {
        Given::Nothing => Ok("password"),
        Given::Provider => Ok("provider"),
        Given::Code(code) => {
            factor(app, &mut change, user, code, hashed).await?.ok_or((json!({ "with": "code" }), bad_code()))
        }
        Given::Passkey { site, answer, .. } => {
            let expected = challenge.as_deref().map(|challenge| Expected { challenge, site });
            let taken = match expected {
                Some(expected) => own::take(&mut change, user, expected, answer).await?,
                None => Err(Refusal::Challenge),
            };
            taken
                .map(|()| "passkey")
                .map_err(|why| (json!({ "with": "passkey", "why": why.to_string() }), bad_passkey(why)))
        }
    };
    let with = match taken {
        Ok(with) => with,
        Err((detail, error)) => {
            change.commit(&actor.does("sign-in.refused", &*user.name, detail)).await?;
            return Err(error);
        }
    };
    // The session that was before is over: whoever knew it does not share this one.
    if let Some(old) = caller::brought(headers) {
        sessions::end(&mut change, &old).await?;
    }
    let (cookie, id) = caller::new_session();
    sessions::begin(&mut change, &id, user.id, &actor.address, true).await?;
    attempts::forget(&mut change, &code_of(user)).await?;
    attempts::sweep(&mut change).await?;
    sessions::sweep(&mut change).await?;
    let password = users::password(&mut change, user.id).await?.unwrap_or_default();
    change.commit(&actor.does("sign-in", &*user.name, json!({ "with": with }))).await?;
    Ok(Begun { cookie, id, browser: Some(caller::new_browser(app, user.id, &password)) })
}

/// A code that is none of theirs, or was used.
pub fn bad_code() -> Error {
    Error::new(StatusCode::UNAUTHORIZED, "Code not valid.").with("reason", "code")
}

/// A passkey that is none of theirs, or has signed something else. Of a copy people are told more.
fn bad_passkey(why: Refusal) -> Error {
    let error = Error::new(StatusCode::UNAUTHORIZED, "Passkey not valid.");
    match why {
        Refusal::Counter => error.with("reason", "passkey-copied"),
        _ => error.with("reason", "passkey"),
    }
}

/// Takes a code: an authenticator app's, each step once, or a backup code, once. Says which it was; `None`: neither.
async fn factor(
    app: &App,
    change: &mut Change,
    user: &User,
    code: &str,
    hashed: Option<i64>,
) -> Result<Option<&'static str>, Error> {
    if let Some(sealed) = factors::secret(change, user.id).await? {
        let secret = app.keys.vault.open(&sealed)?;
        if let Some(step) = codes::step(&secret, code, now().unsigned_abs(), app.options.window)
            && factors::take_step(change, user.id, i64::try_from(step)?).await?
        {
            return Ok(Some("code"));
        }
    }
    if let Some(id) = hashed
        && factors::take_code(change, id).await?
    {
        return Ok(Some("backup code"));
    }
    for (id, sealed) in factors::codes(change, user.id).await? {
        if codes::is_backup_code(&app.keys.vault.open(&sealed)?, code) && factors::take_code(change, id).await? {
            return Ok(Some("backup code"));
        }
    }
    Ok(None)
}

/// The number of the backup code that this is, among those that were imported: of these nothing is known but what Argon2 checks.
async fn hashed(app: &App, user: &User, code: &str) -> Result<Option<i64>, Error> {
    let Some(code) = codes::backup_code(code) else { return Ok(None) };
    let all = factors::codes(&mut *app.store.read().await?, user.id).await?;
    for (id, sealed) in all {
        let kept = app.keys.vault.open(&sealed)?;
        if kept.starts_with("$argon2") && app.passwords.check(&code, Some(&kept)).await.map_err(busy)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whose failed codes are counted.
pub fn code_of(user: &User) -> String {
    format!("code {}", user.id)
}

/// Ends the caller's session.
pub async fn end(app: &App, caller: &Caller) -> Result<(), Error> {
    if let (Some(id), Ok(user)) = (caller.session(), caller.user()) {
        let mut change = app.store.change().await?;
        sessions::end(&mut change, id).await?;
        change.commit(&caller.actor.does("sign-out", &*user.name, json!({}))).await?;
    }
    Ok(())
}
