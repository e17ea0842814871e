//! One's own password and second factor.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;

use super::body::{Body, Id};
use super::{Answer, Table, json};
use crate::acts::{account, missing, wrong};
use crate::app::App;
use crate::caller::Access::{Account, SignedIn, User};
use crate::caller::Caller;
use crate::codes;
use crate::store::roles::{self, Which};
use crate::store::servers;

pub fn enter(table: Table) -> Table {
    table
        .patch("/user/password", SignedIn, password)
        .post("/user/sessions/end", Account, end_sessions)
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
    let old = body.text("password")?.ok_or_else(|| wrong("password", "Missing old password."))?;
    let new = body.text("newPassword")?.ok_or_else(|| wrong("newPassword", "Missing new password."))?;
    account::password(&app, &caller, old, new).await?;
    json(&json!({}))
}

async fn end_sessions(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    account::end_others(&app, &caller).await?;
    json(&json!({ "ended": true }))
}

async fn required(caller: Caller) -> Answer {
    json(&json!({ "require_two_factor": caller.user()?.needs_factor }))
}

async fn active(caller: Caller) -> Answer {
    json(&json!({ "two_factor_enabled": caller.user()?.has_factor }))
}

/// Shows a new secret with backup codes.
async fn enable(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let user = caller.user()?;
    let shown = account::propose(&app, &caller, true).await?;
    let secret = shown.secret.as_ref().map_or("", |secret| secret.as_str());
    json(&json!({
        "provisioning_url": codes::provisioning_url(&app.options.issuer, &user.name, secret),
        // What is before the dot is what upstream's programs take for the secret.
        "secret": format!("{secret}.{}", shown.reference),
        "issuer": app.options.issuer,
        "backup_codes": shown.codes,
        "backup_codes_signature": shown.reference,
    }))
}

async fn confirm(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let lacks = |text: &'static str| Error::new(StatusCode::BAD_REQUEST, text);
    let code = body.text("two_factor_code")?;
    let code = code.ok_or_else(|| lacks("Must supply a two-factor authentication code."))?;
    let secret = body.text("secret")?;
    let secret = secret.ok_or_else(|| lacks("Must supply a two-factor authentication secret."))?;
    let signature = body.text("backup_codes_signature")?.ok_or_else(|| lacks("Must supply signed backup codes."))?;
    // A secret that is not of this reference fits none.
    let secret = secret.strip_suffix(signature).and_then(|secret| secret.strip_suffix('.')).unwrap_or_default();
    account::confirm(&app, &caller, signature, Some(secret), code).await?;
    json(&json!({ "two_factor_enabled": true }))
}

async fn disable(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    account::disable(&app, &caller).await?;
    json(&json!({ "two_factor_enabled": false }))
}

async fn show_codes(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let shown = account::propose(&app, &caller, false).await?;
    json(&json!({ "backup_codes": shown.codes, "backup_codes_signature": shown.reference }))
}

async fn use_codes(State(app): State<Arc<App>>, caller: Caller, body: Body) -> Answer {
    let signature = body.text("backup_codes_signature")?;
    let signature = signature.ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "Must supply signed backup codes."))?;
    account::use_codes(&app, &caller, signature).await?;
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
