//! One's own password and second factor.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::signin::{FREE_CODES, busy, code_of, later};
use super::{Answer, Table, json, missing, wrong};
use crate::app::{App, hex};
use crate::caller::Access::{Account, SignedIn, User};
use crate::caller::Caller;
use crate::codes;
use crate::passwords::Strength;
use crate::store::factors::{self, Pending};
use crate::store::roles::{self, Which};
use crate::store::{attempts, now, servers, sessions, users};

pub fn enter(table: Table) -> Table {
    table
        .patch("/user/password", SignedIn, password)
        .get("/user/two_factor_required", SignedIn, required)
        .get("/user/two_factor_active", SignedIn, active)
        .post("/user/enable_two_factor", SignedIn, enable)
        .post("/user/confirm_two_factor", SignedIn, confirm)
        .post("/user/disable_two_factor", Account, disable)
        .get("/user/generate_two_factor_backups", Account, show_codes)
        .post("/user/generate_two_factor_backups", Account, use_codes)
        .get("/user/roles/server/{id}", User, my_roles)
}

async fn password(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let user = caller.user()?;
    let old = body.text("password")?.ok_or_else(|| wrong("password", "Missing old password."))?;
    let new = body.text("newPassword")?.ok_or_else(|| wrong("newPassword", "Missing new password."))?;
    let (hash, counted) = {
        let mut db = app.store.read().await?;
        let who = format!("own password {}", user.id);
        attempts::count(&mut db, &who, 5).await?.map_err(later)?;
        (users::password(&mut db, user.id).await?, who)
    };
    if !app.passwords.check(old, hash.as_deref()).await.map_err(busy)? {
        return Err(wrong("password", "Password incorrect."));
    }
    attempts::forget(&mut *app.store.read().await?, &counted).await?;
    let hash = strong(&app, new, &user.name, "newPassword").await?;
    let mut change = app.store.change().await?;
    users::set_password(&mut change, user.id, &hash).await?;
    // Whoever knew the old one is out.
    sessions::end_others(&mut change, user.id, caller.session()).await?;
    change.commit(&caller.actor.does("user.password", &*user.name, json!({ "by": "themselves" }))).await?;
    json(&json!({}))
}

/// The hash of a password that is good enough.
pub async fn strong(app: &App, password: &str, user: &str, field: &str) -> Result<String, Error> {
    let strength = Strength::of(password, user);
    if !strength.is_enough() {
        return Err(wrong(field, "Password not complex enough.").with("advice", strength.advice));
    }
    app.passwords.hash(password).await.map_err(busy)
}

async fn required(caller: Caller) -> Answer {
    json(&json!({ "require_two_factor": caller.user()?.needs_factor }))
}

async fn active(caller: Caller) -> Answer {
    json(&json!({ "two_factor_enabled": caller.user()?.has_factor }))
}

/// Shows a new secret with backup codes. They are kept here, sealed, for this user alone, until they are confirmed.
async fn enable(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let user = caller.user()?;
    let (secret, codes) = (codes::new_secret(), codes::new_backup_codes());
    let reference = propose(&app, &caller, Some(&secret), &codes).await?;
    json(&json!({
        "provisioning_url": codes::provisioning_url(&app.options.issuer, &user.name, &secret),
        // What is before the dot is what upstream's programs take for the secret.
        "secret": format!("{secret}.{reference}"),
        "issuer": app.options.issuer,
        "backup_codes": codes,
        "backup_codes_signature": reference,
    }))
}

async fn propose(app: &App, caller: &Caller, secret: Option<&str>, codes: &[String]) -> Result<String, Error> {
    let user = caller.user()?;
    let reference = hex(&rand::random::<[u8; 16]>());
    let vault = &app.keys.vault;
    let secret = secret.map(|secret| vault.seal(secret));
    let pending = Pending { reference: reference.clone(), secret, codes: vault.seal(&codes.join("\n")) };
    let mut change = app.store.change().await?;
    factors::propose(&mut change, user.id, &pending).await?;
    change
        .commit(&caller.actor.does("factor.show", &*user.name, json!({ "codes_alone": pending.secret.is_none() })))
        .await?;
    Ok(reference)
}

async fn confirm(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let user = caller.user()?;
    let lacks = |text: &'static str| Error::new(StatusCode::BAD_REQUEST, text);
    let code = body.text("two_factor_code")?;
    let code = code.ok_or_else(|| lacks("Must supply a two-factor authentication code."))?;
    let secret = body.text("secret")?;
    let secret = secret.ok_or_else(|| lacks("Must supply a two-factor authentication secret."))?;
    let signature = body.text("backup_codes_signature")?.ok_or_else(|| lacks("Must supply signed backup codes."))?;
    let tampered = || Error::new(StatusCode::UNAUTHORIZED, "Two-factor setup attempt has been tampered with.");

    attempts::count(&mut *app.store.read().await?, &code_of(user), FREE_CODES).await?.map_err(later)?;
    let mut change = app.store.change().await?;
    let pending = factors::pending(&mut change, user.id).await?.ok_or_else(tampered)?;
    let sealed = pending.secret.as_deref().ok_or_else(tampered)?;
    let own = app.keys.vault.open(sealed)?;
    if secret != format!("{}.{}", *own, pending.reference) || signature != pending.reference {
        return Err(tampered());
    }
    let step = codes::step(&own, code, now().unsigned_abs(), app.options.window);
    let step = step.ok_or_else(|| Error::new(StatusCode::UNAUTHORIZED, "Code not valid."))?;
    factors::enable(&mut change, user.id, sealed, i64::try_from(step)?).await?;
    let codes = app.keys.vault.open(&pending.codes)?;
    let codes: Vec<String> = codes.lines().map(|code| app.keys.vault.seal(code)).collect();
    factors::replace_codes(&mut change, user.id, &codes).await?;
    attempts::forget(&mut change, &code_of(user)).await?;
    sessions::end_others(&mut change, user.id, caller.session()).await?;
    change.commit(&caller.actor.does("factor.enable", &*user.name, json!({}))).await?;
    json(&json!({ "two_factor_enabled": true }))
}

async fn disable(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let user = caller.user()?;
    if user.needs_factor {
        return Err(Error::new(StatusCode::FORBIDDEN, "An administrator requires two-factor authentication of you."));
    }
    let mut change = app.store.change().await?;
    factors::disable(&mut change, user.id).await?;
    change.commit(&caller.actor.does("factor.disable", &*user.name, json!({ "by": "themselves" }))).await?;
    json(&json!({ "two_factor_enabled": false }))
}

async fn show_codes(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let codes = codes::new_backup_codes();
    let reference = propose(&app, &caller, None, &codes).await?;
    json(&json!({ "backup_codes": codes, "backup_codes_signature": reference }))
}

async fn use_codes(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let user = caller.user()?;
    let signature = body.text("backup_codes_signature")?;
    let signature = signature.ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "Must supply signed backup codes."))?;
    if !user.has_factor {
        return Err(missing());
    }
    let mut change = app.store.change().await?;
    let pending = factors::pending(&mut change, user.id).await?.filter(|pending| pending.reference == signature);
    let tampered = || Error::new(StatusCode::UNAUTHORIZED, "Backup codes been tampered with.");
    let codes = app.keys.vault.open(&pending.ok_or_else(tampered)?.codes)?;
    let codes: Vec<String> = codes.lines().map(|code| app.keys.vault.seal(code)).collect();
    factors::replace_codes(&mut change, user.id, &codes).await?;
    change.commit(&caller.actor.does("factor.codes", &*user.name, json!({}))).await?;
    json(&json!({ "backups_reset": true }))
}

/// One's own roles on a server. Who else has them is nobody's business.
async fn my_roles(State(app): State<Arc<App>>, caller: Caller, Id(server): Id<i64>) -> Answer {
    let user = caller.user()?;
    let mut db = app.store.read().await?;
    servers::find(&mut db, server).await?.ok_or_else(missing)?;
    let mut roles = roles::some(&mut db, Which::OfBoth(server, user.id)).await?;
    for role in &mut roles {
        role.wanted.members = [user.id].into();
    }
    json(&Value::Array(roles.iter().map(super::roles::shown).collect()))
}
