//! One's own password, second factor and sessions.

use http::StatusCode;
use serde_json::json;
use web::Error;
use zeroize::Zeroizing;

use super::signin::{FREE_CODES, bad_code, code_of};
use super::{busy, later, missing, wrong_as};
use crate::app::{App, hex};
use crate::caller::Caller;
use crate::codes;
use crate::passwords::Strength;
use crate::store::factors::{self, Pending};
use crate::store::users::User;
use crate::store::{attempts, invitations, keys, now, sessions, users};

/// Gives oneself another password. Sessions elsewhere end, and all of one's keys.
pub async fn password(app: &App, caller: &Caller, old: &str, new: &str) -> Result<(), Error> {
    let user = caller.user()?;
    let wrong = || wrong_as("password", "password", "Password incorrect.");
    let (hash, counted) = {
        let mut db = app.store.read().await?;
        let who = format!("own password {}", user.id);
        attempts::count(&mut db, &who, 5).await?.map_err(later)?;
        (users::password(&mut db, user.id).await?, who)
    };
    if !app.passwords.check(old, hash.as_deref()).await.map_err(busy)? {
        return Err(wrong());
    }
    attempts::forget(&mut *app.store.read().await?, &counted).await?;
    let new = strong(app, new, &user.name, "newPassword").await?;
    let mut change = app.change(&caller.actor).await?;
    // Another may have been set since the old one was checked: that one stays.
    if users::password(&mut change, user.id).await? != hash {
        return Err(wrong());
    }
    users::set_password(&mut change, user.id, &new).await?;
    // Whoever knew the old one is out, with the keys that they may have made and the link that they may have kept.
    keys::remove_all(&mut change, user.id).await?;
    invitations::remove_all(&mut change, user.id).await?;
    sessions::end_others(&mut change, user.id, caller.session()).await?;
    Ok(change.commit(&caller.actor.does("user.password", &*user.name, json!({ "by": "themselves" }))).await?)
}

/// The hash of a password that is good enough.
pub async fn strong(app: &App, password: &str, user: &str, field: &str) -> Result<String, Error> {
    let strength = Strength::of(password, user);
    if !strength.is_enough() {
        return Err(wrong_as("weak", field, "Password not complex enough.").with("advice", strength.advice));
    }
    app.passwords.hash(password).await.map_err(busy)
}

/// What was shown to a user and waits for their code.
pub struct Shown {
    /// By what a client refers to it.
    pub reference: String,
    /// The app's secret; `None` where only the codes are new.
    pub secret: Option<Zeroizing<String>>,
    /// Backup codes.
    pub codes: Vec<String>,
}

/// Makes backup codes, with a secret for an app or without. They are kept here, sealed, for this user alone, until they are confirmed.
pub async fn propose(app: &App, caller: &Caller, with_secret: bool) -> Result<Shown, Error> {
    let user = caller.user()?;
    let (secret, codes) = (with_secret.then(codes::new_secret).map(Zeroizing::new), codes::new_backup_codes());
    let reference = hex(&rand::random::<[u8; 16]>());
    let vault = &app.keys.vault;
    let sealed = secret.as_ref().map(|secret| vault.seal(secret));
    let pending = Pending { reference: reference.clone(), secret: sealed, codes: vault.seal(&codes.join("\n")) };
    let mut change = app.change(&caller.actor).await?;
    factors::propose(&mut change, user.id, &pending).await?;
    change.commit(&caller.actor.does("factor.show", &*user.name, json!({ "codes_alone": !with_secret }))).await?;
    Ok(Shown { reference, secret, codes })
}

/// What was shown to a user last, as long as it waits.
pub async fn shown(app: &App, user: &User) -> Result<Option<Shown>, Error> {
    let Some(pending) = factors::pending(&mut *app.store.read().await?, user.id).await? else { return Ok(None) };
    let vault = &app.keys.vault;
    let secret = pending.secret.map(|sealed| vault.open(&sealed)).transpose()?;
    let codes = vault.open(&pending.codes)?.lines().map(str::to_owned).collect();
    Ok(Some(Shown { reference: pending.reference, secret, codes }))
}

/// Puts what was shown into use. `secret`: what a program says it was.
pub async fn confirm(
    app: &App,
    caller: &Caller,
    reference: &str,
    secret: Option<&str>,
    code: &str,
) -> Result<(), Error> {
    let user = caller.user()?;
    let tampered = || {
        let text = "Two-factor setup attempt has been tampered with.";
        Error::new(StatusCode::UNAUTHORIZED, text).with("reason", "set-up-over")
    };
    attempts::count(&mut *app.store.read().await?, &code_of(user), FREE_CODES).await?.map_err(later)?;
    let mut change = app.change(&caller.actor).await?;
    let pending = factors::pending(&mut change, user.id).await?.ok_or_else(tampered)?;
    let sealed = pending.secret.as_deref().ok_or_else(tampered)?;
    let own = app.keys.vault.open(sealed)?;
    if reference != pending.reference || secret.is_some_and(|secret| secret != *own) {
        return Err(tampered());
    }
    let step = codes::step(&own, code, now().unsigned_abs(), app.options.window).ok_or_else(bad_code)?;
    factors::enable(&mut change, user.id, sealed, i64::try_from(step)?).await?;
    let codes = app.keys.vault.open(&pending.codes)?;
    let codes: Vec<String> = codes.lines().map(|code| app.keys.vault.seal(code)).collect();
    factors::replace_codes(&mut change, user.id, &codes).await?;
    attempts::forget(&mut change, &code_of(user)).await?;
    sessions::end_others(&mut change, user.id, caller.session()).await?;
    Ok(change.commit(&caller.actor.does("factor.enable", &*user.name, json!({}))).await?)
}

/// Puts new backup codes that were shown into use.
pub async fn use_codes(app: &App, caller: &Caller, reference: &str) -> Result<(), Error> {
    let user = caller.user()?;
    if !user.has_factor {
        return Err(missing());
    }
    let mut change = app.change(&caller.actor).await?;
    let pending = factors::pending(&mut change, user.id).await?.filter(|pending| pending.reference == reference);
    let tampered =
        || Error::new(StatusCode::UNAUTHORIZED, "Backup codes been tampered with.").with("reason", "set-up-over");
    let codes = app.keys.vault.open(&pending.ok_or_else(tampered)?.codes)?;
    let codes: Vec<String> = codes.lines().map(|code| app.keys.vault.seal(code)).collect();
    factors::replace_codes(&mut change, user.id, &codes).await?;
    Ok(change.commit(&caller.actor.does("factor.codes", &*user.name, json!({}))).await?)
}

/// Removes one's second factor.
pub async fn disable(app: &App, caller: &Caller) -> Result<(), Error> {
    let user = caller.user()?;
    if user.needs_factor {
        let text = "An administrator requires two-factor authentication of you.";
        return Err(Error::new(StatusCode::FORBIDDEN, text).with("reason", "factor-required"));
    }
    let mut change = app.change(&caller.actor).await?;
    factors::disable(&mut change, user.id).await?;
    Ok(change.commit(&caller.actor.does("factor.disable", &*user.name, json!({ "by": "themselves" }))).await?)
}

/// Ends all of one's sessions but this one.
pub async fn end_others(app: &App, caller: &Caller) -> Result<(), Error> {
    let user = caller.user()?;
    let mut change = app.change(&caller.actor).await?;
    sessions::end_others(&mut change, user.id, caller.session()).await?;
    Ok(change.commit(&caller.actor.does("sessions.end", &*user.name, json!({ "by": "themselves" }))).await?)
}
