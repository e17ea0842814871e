//! Every route times every kind of caller. A route that is not here fails the test.

use std::collections::BTreeSet;

use flowauth::store::Address;
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{Browser, Rig};

on_both!(every_route_times_every_caller);

/// What a route answers: to nobody; to who was signed in and is disabled; to who has to set up a second factor; to ann, whose things
/// are asked for; to another user; to an administrator. What ends things comes last.
type Row = (&'static str, &'static str, [u16; 6]);

const ROWS: &[Row] = &[
    ("GET", "/version", OPEN),
    ("GET", "/revocations", OPEN),
    ("GET", "/.well-known/jwks.json", OPEN),
    ("POST", "/signin", [400; 6]),
    ("GET", "/is_signed_in", [401, 401, 200, 200, 200, 200]),
    ("PATCH", "/user/password", [401, 401, 400, 400, 400, 400]),
    ("GET", "/user/two_factor_required", [401, 401, 200, 200, 200, 200]),
    ("GET", "/user/two_factor_active", [401, 401, 200, 200, 200, 200]),
    ("POST", "/user/enable_two_factor", [401, 401, 200, 200, 200, 200]),
    ("POST", "/user/confirm_two_factor", [401, 401, 400, 400, 400, 400]),
    ("POST", "/user/disable_two_factor", USERS),
    ("GET", "/user/generate_two_factor_backups", USERS),
    ("POST", "/user/generate_two_factor_backups", [401, 401, 403, 400, 400, 400]),
    ("GET", "/user/roles/server/{id}", USERS),
    ("GET", "/tokens/servers", USERS),
    ("GET", "/tokens/servers/{id}", USERS),
    ("GET", "/tokens/tokens/{id}", USERS),
    ("POST", "/tokens/tokens/{id}", [401, 401, 403, 400, 400, 400]),
    ("POST", "/tokens/tokens/{id}/renew", [401, 401, 403, 200, 404, 404]),
    ("POST", "/tokens/tokens/{id}/revoke", [401, 401, 403, 200, 404, 404]),
    ("GET", "/admin/public_key", admins(200)),
    ("GET", "/admin/audit", admins(200)),
    ("GET", "/admin/users", admins(200)),
    ("POST", "/admin/users", admins(400)),
    ("GET", "/admin/users/{id}", admins(200)),
    ("PATCH", "/admin/users/{id}", admins(200)),
    ("GET", "/admin/servers", admins(200)),
    ("POST", "/admin/servers", admins(400)),
    ("GET", "/admin/servers/{id}", admins(200)),
    ("PATCH", "/admin/servers/{id}", admins(200)),
    ("GET", "/admin/servers/{id}/time_limits", admins(200)),
    ("GET", "/admin/servers/{id}/roles", admins(200)),
    ("GET", "/admin/servers/{id}/scopes", admins(200)),
    ("POST", "/admin/servers/{id}/compare", admins(400)),
    ("POST", "/admin/servers/{id}/specification", admins(400)),
    ("POST", "/admin/servers/{id}/scopes", admins(200)),
    ("GET", "/roles/", admins(200)),
    ("POST", "/roles/", admins(400)),
    ("GET", "/roles/{id}", admins(200)),
    ("PATCH", "/roles/{id}", admins(200)),
    ("GET", "/roles/{id}/members", admins(200)),
    ("GET", "/roles/{id}/scopes", admins(200)),
    ("POST", "/roles/{id}/revoke_tokens", admins(200)),
    ("GET", "/roles/user/{id}", admins(200)),
    ("GET", "/roles/server/{server}/user/{user}", admins(200)),
    ("DELETE", "/roles/{id}", admins(200)),
    ("DELETE", "/admin/servers/{id}", admins(200)),
    ("DELETE", "/admin/users/{id}", admins(200)),
    // Ann is no more.
    ("POST", "/signout", OPEN),
    ("GET", "/signout", OPEN),
];

const OPEN: [u16; 6] = [200; 6];
const USERS: [u16; 6] = [401, 401, 403, 200, 200, 200];

const fn admins(answer: u16) -> [u16; 6] {
    [401, 401, 403, 403, 403, answer]
}

struct World {
    callers: Vec<(&'static str, Browser)>,
    ann: i64,
    server: i64,
    role: i64,
    token: i64,
}

async fn world(rig: &Rig) -> World {
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run"]).await;
    let ann = rig.user(&mut root, "ann", json!({})).await;
    rig.user(&mut root, "other", json!({})).await;
    rig.user(&mut root, "pending", json!({ "require_two_factor": true })).await;
    let gone = rig.user(&mut root, "gone", json!({})).await;
    let role = json!({ "name": "a", "server_id": server, "scopes": [scopes["run"]], "users": [ann],
        "latest_token_expiry": null, "longest_token_life_minutes": 10 });
    let role = root.ok("POST", "/roles/", role).await["id"].as_i64().unwrap();
    let disabled = rig.signed_in("gone").await;
    root.ok("PATCH", &format!("/admin/users/{gone}"), json!({ "is_disabled": true })).await;
    let mut browser = rig.signed_in("ann").await;
    let ask = json!({ "name": "t", "roles": [{ "name": "a" }] });
    let token = browser.ok("POST", &format!("/tokens/tokens/{server}"), ask).await["id"].as_i64().unwrap();
    let callers = vec![
        ("nobody", rig.browser()),
        ("disabled", disabled),
        ("pending", rig.signed_in("pending").await),
        ("ann", browser),
        ("other", rig.signed_in("other").await),
        ("root", root),
    ];
    World { callers, ann, server, role, token }
}

impl World {
    fn path(&self, path: &str) -> String {
        let id = match path {
            _ if path.starts_with("/admin/users/") || path.starts_with("/roles/user/") => self.ann,
            _ if path.ends_with("/renew") || path.ends_with("/revoke") => self.token,
            _ if path.starts_with("/roles/") => self.role,
            _ => self.server,
        };
        let (server, user) = (self.server.to_string(), self.ann.to_string());
        path.replace("{id}", &id.to_string()).replace("{server}", &server).replace("{user}", &user)
    }
}

async fn every_route_times_every_caller(address: Address) {
    let rig = Rig::start(&address).await;
    let entered: BTreeSet<(String, String)> = flowauth::table(rig.app.clone())
        .entries()
        .iter()
        .map(|(method, path, _)| (method.to_string(), path.to_string()))
        .collect();
    let listed: BTreeSet<(String, String)> =
        ROWS.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
    assert_eq!(entered, listed, "each route is in the matrix, and nothing else is");
    assert_eq!(listed.len(), ROWS.len());

    let mut world = world(&rig).await;
    let mut wrong = Vec::new();
    for (method, path, expected) in ROWS {
        let asked = world.path(path);
        // From the strongest refusal to the one who may.
        for (at, status) in expected.iter().enumerate() {
            let body = if matches!(*method, "POST" | "PATCH") { json!({}) } else { Value::Null };
            // Whoever has a session and may: once as a page of another site would have them ask.
            let (name, browser) = &mut world.callers[at];
            if body != Value::Null && *expected != [400; 6] && *path != "/signout" && at >= 2 {
                browser.careful = false;
                let answer = browser.send(method, &asked, body.clone()).await;
                browser.careful = true;
                if answer.status != 403 {
                    wrong.push(format!("{method} {path} forged for {name}: {}", answer.status));
                }
            }
            let answer = browser.send(method, &asked, body).await;
            if answer.status != *status {
                wrong.push(format!(
                    "{method} {path} by {name}: {} instead of {status}: {}",
                    answer.status,
                    answer.text()
                ));
            }
            if answer.status != 200
                && !(answer.json()["message"].is_string() && answer.json()["code"] == answer.status.as_u16())
            {
                wrong.push(format!("{method} {path} by {name}: no message in {}", answer.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
