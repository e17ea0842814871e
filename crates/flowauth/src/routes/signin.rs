//! Signing in and out.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use web::Error;
use web::axum::extract::State;
use web::axum::response::Response;

use super::body::Body;
use super::{Answer, Table, json};
use crate::acts::signin::{self, Given, Proof};
use crate::app::App;
use crate::caller::Access::{Open, SignedIn};
use crate::caller::{self, Caller};
use crate::store::audit::Actor;
use crate::store::users::User;

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
    let (user, hash) = signin::known(&app, &actor, &headers, name, password).await?;
    if user.has_factor && code.is_none() {
        let text = "Must supply a two-factor authentication code.";
        return Err(Error::new(StatusCode::BAD_REQUEST, text).with("need_two_factor", true));
    }
    let (proof, given) = (Proof::Password(&hash), code.map_or(Given::Nothing, Given::Code));
    let begun = signin::begin(&app, &actor, &headers, &user, proof, given).await?;
    let mut response = json(&about(&user))?;
    caller::sign_in_cookies(&app, response.headers_mut(), &begun);
    Ok(response)
}

async fn sign_out(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Error> {
    signin::end(&app, &caller).await?;
    let mut response = json(&json!({ "logged_in": false }))?;
    caller::sign_out_cookies(response.headers_mut());
    Ok(response)
}
