//! The token, with a FlowAuth that says what it is asked to.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use web::axum::extract::State;
use web::axum::routing::{get, post};
use web::axum::{Json, Router};

use crate::all;
use crate::rig::{Rig, serve, token_until, wait};

/// Tokens of the key's user, the first of them revoked. The role ends on a day, and every token with it.
struct Known {
    tokens: Vec<String>,
    end: OffsetDateTime,
}

type Shared = Arc<Mutex<Known>>;

impl Known {
    fn token(&self, number: usize) -> String {
        token_until(&format!("autoflow-{number}"), self.end.unix_timestamp().unsigned_abs())
    }
}

fn flowauth(known: Shared) -> (u16, String) {
    let servers = || async { Json(json!([{ "id": 1, "server_name": "flowapi_server" }])) };
    let roles = || async { Json(json!([{ "id": 1, "name": "autoflow" }])) };
    let router = Router::new()
        .route("/tokens/servers", get(servers))
        .route("/user/roles/server/1", get(roles))
        .route("/tokens/tokens/1", get(list).post(mint))
        .route("/tokens/tokens/{id}/renew", post(mint));
    serve(router.with_state(known))
}

async fn list(State(known): State<Shared>) -> Json<Value> {
    let known = known.lock().unwrap();
    let end = known.end.format(&Rfc2822).unwrap();
    let one = |(number, token): (usize, &String)| {
        let revoked = (number == 0).then_some(&end);
        json!({ "id": number, "token": token, "revoked": revoked, "renewal_expires": end })
    };
    Json(known.tokens.iter().enumerate().map(one).collect())
}

async fn mint(State(known): State<Shared>) -> Json<Value> {
    let mut known = known.lock().unwrap();
    let token = known.token(known.tokens.len());
    known.tokens.push(token.clone());
    Json(json!({ "token": token }))
}

/// Measured by the revoked one, none would be good enough, and yet another would be had each time.
#[test]
fn for_one_that_was_revoked_and_is_near_its_end_another_is_had_once() {
    let end = OffsetDateTime::now_utc() + time::Duration::days(3);
    let mut known = Known { tokens: Vec::new(), end };
    known.tokens.push(known.token(0));
    let (old, known) = (known.token(0), Arc::new(Mutex::new(known)));
    let (port, certificate) = flowauth(known.clone());
    let mut rig = Rig::new(&[], &all(&["a"], "'0 0 1 1 *'"), &[("a", "pass")]);
    rig.settings.insert("FLOWKIT_AUTOFLOW_FLOWAUTH_URL".to_owned(), format!("https://localhost:{port}"));
    rig.put("secrets/cert-flowauth.pem", &certificate);
    rig.put("secrets/FLOWKIT_AUTOFLOW_FLOWAUTH_KEY", "flowauth_x");
    rig.put("secrets/FLOWAPI_TOKEN", &old);
    let running = rig.start();
    let kept = || fs::read_to_string(rig.path("state/token")).unwrap_or_default();
    wait(&rig, "another token", || !kept().is_empty());
    let new = known.lock().unwrap().tokens[1].clone();
    assert!(kept().contains(&new) && !kept().contains(&old), "{}", kept());
    // The new one ends with the role, too: nothing is gained by a third.
    wait(&rig, "word of that", || rig.log().contains("no token of its roles lives longer"));
    assert_eq!(known.lock().unwrap().tokens.len(), 2);
    running.stop();
}
