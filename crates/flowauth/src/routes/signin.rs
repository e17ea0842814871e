//! Signing in and out.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;
use web::axum::response::Response;

use super::body::Body;
use super::{Answer, Table, json};
use crate::app::App;
use crate::caller::Access::{Open, SignedIn};
use crate::caller::{self, Caller};
use crate::codes;
use crate::store::audit::Actor;
use crate::store::users::User;
use crate::store::{Change, attempts, factors, now, sessions, users};

/// Failures that cost nothing: of a user from one address, of a user from anywhere, from an address.
const FREE: [i64; 3] = [5, 50, 100];

/// The same of codes, of a user.
pub const FREE_CODES: i64 = 5;

/// Longest name that anybody has, in bytes.
const LONGEST_NAME: usize = 300;

pub fn enter(table: Table) -> Table {
    table
        .post("/signin", Open, sign_in)
        .get("/is_signed_in", SignedIn, is_signed_in)
        .get("/signout", Open, sign_out)
        .post("/signout", Open, sign_out)
}

/// What upstream tells of whoever has signed in.
fn about(user: &User) -> Value {
    json!({
        "logged_in": true,
        "is_admin": user.is_admin,
        "require_two_factor_setup": caller::must_set_up(user),
    })
}

async fn is_signed_in(caller: Caller) -> Answer {
    json(&about(caller.user()?))
}

async fn sign_in(State(app): State<Arc<App>>, caller: Caller, headers: HeaderMap, body: Body) -> Answer {
    let (Some(name), Some(password)) = (body.text("username")?, body.text("password")?) else {
        return Err(Error::new(StatusCode::BAD_REQUEST, "Must supply username or password."));
    };
    let code = body.text("two_factor_code")?;
    let actor = Actor { user: None, ..caller.actor };
    let user = known(&app, &actor, name, password).await?;
    if user.has_factor && code.is_none() {
        let text = "Must supply a two-factor authentication code.";
        return Err(Error::new(StatusCode::BAD_REQUEST, text).with("need_two_factor", true));
    }
    let actor = Actor { user: Some((user.id, user.name.clone())), ..actor };
    let code = code.filter(|_| user.has_factor);
    if code.is_some() {
        attempts::count(&mut *app.store.read().await?, &code_of(&user), FREE_CODES).await?.map_err(later)?;
    }
    let mut change = app.store.change().await?;
    let with = match code {
        None => "password",
        Some(code) => match factor(&app, &mut change, &user, code).await? {
            Some(with) => with,
            None => {
                change.commit(&actor.does("sign-in.refused", &*user.name, json!({ "with": "code" }))).await?;
                return Err(Error::new(StatusCode::UNAUTHORIZED, "Code not valid."));
            }
        },
    };
    // The session that was before is over: whoever knew it does not share this one.
    if let Some(old) = caller::brought(&headers) {
        sessions::end(&mut change, &old).await?;
    }
    let (cookie, id) = caller::new_session();
    sessions::begin(&mut change, &id, user.id, &actor.address, true).await?;
    attempts::forget(&mut change, &code_of(&user)).await?;
    attempts::sweep(&mut change).await?;
    sessions::sweep(&mut change).await?;
    change.commit(&actor.does("sign-in", &*user.name, json!({ "with": with }))).await?;
    let mut response = json(&about(&user))?;
    caller::sign_in_cookies(&app, response.headers_mut(), &cookie, &id);
    Ok(response)
}

/// The user with this name and password.
///
/// # Errors
/// 401, the same and as late whatever was wrong; 429 for who has failed too often.
async fn known(app: &App, actor: &Actor, name: &str, password: &str) -> Result<User, Error> {
    let refused = || Error::new(StatusCode::UNAUTHORIZED, "Incorrect username or password.");
    if name.len() > LONGEST_NAME {
        return Err(refused());
    }
    let who = [format!("{name} from {}", actor.address), format!("user {name}"), format!("address {}", actor.address)];
    let (found, counted) = {
        let mut db = app.store.read().await?;
        for (who, free) in who.iter().zip(FREE) {
            attempts::count(&mut db, who, free).await?.map_err(later)?;
        }
        (users::named(&mut db, name).await?, who)
    };
    let hash = found.as_ref().and_then(|(_, hash)| hash.as_deref());
    let fits = app.passwords.check(password, hash).await.map_err(busy)?;
    match found.filter(|(user, _)| fits && user.disabled_at.is_none()) {
        Some((user, _)) => {
            let mut db = app.store.read().await?;
            attempts::forget(&mut db, &counted[0]).await?;
            for who in &counted[1..] {
                attempts::take_back(&mut db, who).await?;
            }
            Ok(user)
        }
        None => {
            let change = app.store.change().await?;
            change.commit(&actor.does("sign-in.refused", name, json!({ "with": "password" }))).await?;
            Err(refused())
        }
    }
}

/// Takes a code: an authenticator app's, each step once, or a backup code, once. Says which it was; `None`: neither.
async fn factor(app: &App, change: &mut Change, user: &User, code: &str) -> Result<Option<&'static str>, Error> {
    let Some(sealed) = factors::secret(change, user.id).await? else { return Ok(None) };
    let secret = app.keys.vault.open(&sealed)?;
    if let Some(step) = codes::step(&secret, code, now().unsigned_abs(), app.options.window)
        && factors::take_step(change, user.id, i64::try_from(step)?).await?
    {
        return Ok(Some("code"));
    }
    for (id, sealed) in factors::codes(change, user.id).await? {
        if codes::is_backup_code(&app.keys.vault.open(&sealed)?, code) && factors::take_code(change, id).await? {
            return Ok(Some("backup code"));
        }
    }
    Ok(None)
}

/// Whose failed codes are counted.
pub fn code_of(user: &User) -> String {
    format!("code {}", user.id)
}

/// Not now, but then.
pub fn later(seconds: i64) -> Error {
    let text = format!("Too many attempts failed. Try again in {seconds} seconds.");
    Error::new(StatusCode::TOO_MANY_REQUESTS, text).header(header::RETRY_AFTER, seconds.unsigned_abs())
}

/// Too many passwords are being checked.
pub fn busy(error: crate::passwords::Failure) -> Error {
    Error::of(StatusCode::SERVICE_UNAVAILABLE).because(error)
}

async fn sign_out(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Error> {
    if let (Some(id), Ok(user)) = (caller.session(), caller.user()) {
        let mut change = app.store.change().await?;
        sessions::end(&mut change, id).await?;
        change.commit(&caller.actor.does("sign-out", &*user.name, json!({}))).await?;
    }
    let mut response = json(&json!({ "logged_in": false }))?;
    caller::sign_out_cookies(response.headers_mut());
    Ok(response)
}
