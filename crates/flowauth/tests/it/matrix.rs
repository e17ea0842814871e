//! Every route times every kind of caller. A route that is not here fails the test.

mod rows;

use std::collections::BTreeSet;

use flowauth::Access;
use flowauth::store::Address;
use serde_json::{Value, json};

use crate::document::Document;
use crate::on_both;
use crate::rig::{Browser, PASSWORD, Rig, verifier};
use rows::ROWS;

on_both!(every_route_times_every_caller, every_route_times_every_key, a_machine_has_keys_and_nothing_else);

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
            _ if path.starts_with("/manage/users/") => self.ann,
            _ if path.starts_with("/roles/") || path.starts_with("/manage/roles/") => self.role,
            _ if path.starts_with("/my/tokens/") => self.token,
            _ if path.ends_with("/renew") || path.ends_with("/revoke") => self.token,
            _ => self.server,
        };
        let (server, user) = (self.server.to_string(), self.ann.to_string());
        let path = path.replace("{id}", &id.to_string()).replace("{server}", &server).replace("{user}", &user);
        path.replace("{name}", "x").replace("{key}", if path.contains("/keys/") { "1" } else { "x" })
    }
}

async fn every_route_times_every_caller(address: Address) {
    let rig = Rig::start(&address).await;
    let table = flowauth::table(rig.app.clone());
    let open = |method: &str, path: &str| {
        table.entries().iter().any(|(m, p, access)| m == method && *p == path && *access == Access::Open)
    };
    let entered: BTreeSet<(String, String)> =
        table.entries().iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
    let listed: BTreeSet<(String, String)> =
        ROWS.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
    assert_eq!(entered, listed, "each route is in the matrix, and nothing else is");
    assert_eq!(listed.len(), ROWS.len());

    let document = Document::of(&rig).await;
    let programs: BTreeSet<(String, String)> =
        entered.iter().filter(|(_, path)| !table.is_page(path)).cloned().collect();
    assert_eq!(programs, document.routes(), "each route that is no page is told of in src/routes/openapi.toml");

    let mut world = world(&rig).await;
    let mut wrong = Vec::new();
    for (method, path, expected) in ROWS {
        let asked = world.path(path);
        // From the strongest refusal to the one who may.
        for (at, status) in expected.iter().enumerate() {
            let body = if matches!(*method, "POST" | "PATCH") { json!({}) } else { Value::Null };
            // Whoever has a session and may: once as a page of another site would have them ask.
            let (name, browser) = &mut world.callers[at];
            if body != Value::Null && !open(method, path) && at >= 2 {
                browser.careful = false;
                let answer = browser.send(method, &asked, body.clone()).await;
                browser.careful = true;
                // Who is no more is led to where one signs in.
                if answer.status != 403 && !(path.ends_with("users/{id}/remove") && answer.status == 303) {
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
            let is_json = answer.header("content-type") == Some("application/json");
            if answer.status == 200 && is_json {
                let told = document.wrong(method, path, &answer.json());
                wrong.extend(told.map(|why| format!("{method} {path} by {name} is not as the document says: {why}")));
            }
            let is_page = answer.header("content-type").is_none_or(|kind| kind.starts_with("text/html"));
            if answer.status != 200
                && !is_page
                && !(answer.json()["message"].is_string() && answer.json()["code"] == answer.status.as_u16())
            {
                wrong.push(format!("{method} {path} by {name}: no message in {}", answer.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a key may follows from whom a route is for, of new routes too.
async fn every_route_times_every_key(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let mut key = async |name: &str, may: &str| {
        let made = root.ok("POST", "/user/keys", json!({ "name": name, "may": may })).await;
        let mut program = rig.browser();
        program.key = Some(made["key"].as_str().unwrap().to_owned());
        (program, made["id"].as_i64().unwrap())
    };
    let (mut plain, id) = key("plain", "tokens").await;
    let (mut looks, _) = key("looks", "read").await;
    let (mut strong, _) = key("strong", "administer").await;
    let document = Document::of(&rig).await;
    let table = flowauth::table(rig.app.clone());
    let mut wrong = rig.browser();
    wrong.key = Some(format!("flowauth_{}", "A".repeat(43)));
    for (method, path, access) in table.entries() {
        // Nothing has this number.
        let asked = ["{id}", "{server}", "{user}", "{name}", "{key}"]
            .iter()
            .fold((*path).to_owned(), |path, name| path.replace(name, "999999"));
        let programs =
            [(&mut plain, "tokens"), (&mut looks, "read"), (&mut strong, "administer"), (&mut wrong, "wrong")];
        for (program, name) in programs {
            let status = program.send(method.as_str(), &asked, Value::Null).await.status.as_u16();
            let refused = match (access, name) {
                // A key stands for no second factor: no page takes one.
                (Access::SignedIn | Access::Account | Access::User | Access::Admin, _) if table.is_page(path) => {
                    Some(403)
                }
                (_, "wrong") => Some(401),
                (Access::Open, _) => None,
                (Access::SignedIn | Access::Account, _) | (Access::Admin, "tokens") | (Access::User, "read") => {
                    Some(403)
                }
                (Access::Admin, "read") if method != "GET" => Some(403),
                (Access::User | Access::Admin, _) => None,
            };
            if *access != Access::Open && name != "wrong" && !table.is_page(path) {
                let told = document.keys(method.as_str(), path).contains(&name);
                assert_eq!(told, refused.is_none(), "what the document says of {method} {path} and {name}");
            }
            let fits = match refused {
                Some(refused) => status == refused,
                None => !matches!(status, 401 | 403) && status < 500,
            };
            assert!(fits, "{method} {path} ({access:?}) by {name}: {status}");
        }
    }
    let listed = root.ok("GET", "/user/keys", Value::Null).await;
    assert_eq!((&listed[2]["name"], &listed[2]["may"]), (&json!("plain"), &json!("tokens")));
    assert!(listed[2]["last_used"].is_string() && !listed.to_string().contains("flowauth_"));
    let log = root.ok("GET", "/admin/audit", Value::Null).await.to_string();
    assert!(log.contains("key.add") && !log.contains(plain.key.as_deref().unwrap()));

    // What a program is for: a token, without a browser, in its user's name.
    let (server, scopes) = rig.server(&mut strong, "here", &["run"]).await;
    let role = json!({ "name": "a", "server_id": server, "scopes": [scopes["run"]], "users": [1], "longest_token_life_minutes": 10 });
    strong.ok("POST", "/roles/", role).await;
    let ask = json!({ "name": "t", "roles": [{ "name": "a" }] });
    let minted = plain.ok("POST", &format!("/tokens/tokens/{server}"), ask).await;
    plain.ok("POST", &format!("/tokens/tokens/{}/renew", minted["id"]), Value::Null).await;
    let log = root.ok("GET", "/admin/audit", Value::Null).await;
    assert_eq!((&log[0]["action"], &log[0]["user"]), (&json!("token.renew"), &json!("root by the key plain")));

    root.ok("DELETE", &format!("/user/keys/{id}"), Value::Null).await;
    assert_eq!(plain.get("/tokens/servers").await.status, 401);
    let mut db = rig.store.read().await.unwrap();
    sqlx::query("UPDATE keys SET expires_at = 1").execute(&mut *db).await.unwrap();
    drop(db);
    assert_eq!(strong.get("/admin/users").await.status, 401, "it has ended");
    for (body, says) in [
        (json!({ "name": "x", "days": 401 }), "A key lives 1 to 400 days."),
        (json!({ "name": "x", "days": 0 }), "A key lives 1 to 400 days."),
        (json!({}), "A key needs a name."),
    ] {
        assert_eq!(root.refused("POST", "/user/keys", body).await, (400, says.to_owned()));
    }
    let ann = rig.user(&mut root, "ann", json!({})).await;
    let mut browser = rig.signed_in("ann").await;
    assert_eq!(browser.refused("POST", "/user/keys", json!({ "name": "x", "may": "administer" })).await.0, 400);
    let made = browser.ok("POST", "/user/keys", json!({ "name": "x" })).await;
    let mut program = rig.browser();
    program.key = Some(made["key"].as_str().unwrap().to_owned());
    assert_eq!(program.get("/tokens/servers").await.status, 200);
    for (is_disabled, status) in [(true, 401), (false, 200)] {
        root.ok("PATCH", &format!("/admin/users/{ann}"), json!({ "is_disabled": is_disabled })).await;
        assert_eq!(program.get("/tokens/servers").await.status, status);
    }
    root.ok("PATCH", &format!("/admin/users/{ann}"), json!({ "password": "another-Purple-dishwasher-92" })).await;
    assert_eq!(program.get("/tokens/servers").await.status, 401, "whoever had the account has nothing of it");
}

/// A machine never signs in: an administrator makes its keys, which get tokens for its roles and are named in the log.
async fn a_machine_has_keys_and_nothing_else(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run"]).await;
    let machine = json!({ "username": "nightly", "is_machine": true });
    let id = root.ok("POST", "/admin/users", machine).await["id"].as_i64().unwrap();
    let at = format!("/admin/users/{id}");
    for (method, path, body) in [
        ("POST", "/admin/users", json!({ "username": "x", "is_machine": true, "password": PASSWORD })),
        ("POST", "/admin/users", json!({ "username": "x", "is_machine": true, "require_two_factor": true })),
        ("PATCH", &*at, json!({ "password": PASSWORD })),
        ("PATCH", &*at, json!({ "require_two_factor": true })),
        ("POST", &*format!("{at}/invite"), Value::Null),
    ] {
        let (status, said) = root.refused(method, path, body).await;
        assert!(status == 400 && said.contains("never signs in"), "{method} {path}: {status} {said}");
    }
    let (status, _) = root.refused("POST", &format!("{at}/keys"), json!({ "name": "k", "may": "administer" })).await;
    assert_eq!(status, 400, "it is no administrator");
    let made = root.ok("POST", &format!("{at}/keys"), json!({ "name": "cron", "days": 30 })).await;
    let mut program = rig.browser();
    program.key = Some(made["key"].as_str().unwrap().to_owned());
    let role = json!({ "name": "a", "server_id": server, "scopes": [scopes["run"]], "users": [id], "longest_token_life_minutes": 10 });
    root.ok("POST", "/roles/", role).await;
    let ask = json!({ "name": "t", "roles": [{ "name": "a" }] });
    let minted = program.ok("POST", &format!("/tokens/tokens/{server}"), ask).await;
    let read = verifier("here").verify(minted["token"].as_str().unwrap(), std::time::SystemTime::now()).unwrap();
    assert_eq!(read.user, "nightly");
    let log = root.ok("GET", "/admin/audit?action=token.mint&user=NIGHT", Value::Null).await;
    assert_eq!((log.as_array().unwrap().len(), &log[0]["user"]), (1, &json!("nightly by the key cron")));
    // Whatever password somebody puts into the database, a machine has no session.
    let mut db = rig.store.read().await.unwrap();
    sqlx::query("UPDATE users SET password = (SELECT password FROM users WHERE name = 'root') WHERE name = 'nightly'")
        .execute(&mut *db)
        .await
        .unwrap();
    drop(db);
    let (status, _) =
        rig.browser().refused("POST", "/signin", json!({ "username": "nightly", "password": PASSWORD })).await;
    assert_eq!(status, 401);
    let all = root.ok("GET", "/admin/keys", Value::Null).await;
    assert_eq!((&all[0]["username"], &all[0]["name"]), (&json!("nightly"), &json!("cron")));
    assert!(all[0]["last_used"].is_string(), "{all}");
    root.ok("DELETE", &format!("{at}/keys/{}", made["id"]), Value::Null).await;
    assert_eq!(program.get("/tokens/servers").await.status, 401);

    // By the pages, too.
    let page =
        root.form("/manage/users/new", &[("username", "robot"), ("is_machine", "yes"), ("is_admin", "yes")]).await;
    let keys = page.header("location").unwrap().split('?').next().unwrap().to_owned();
    let made = root.form(&keys, &[("name", "watch"), ("days", "10"), ("may", "read")]).await.text().to_owned();
    let mut robot = rig.browser();
    robot.key = Some(made.split("spellcheck=\"false\">").nth(1).unwrap().split('<').next().unwrap().trim().to_owned());
    assert_eq!(robot.get("/admin/users").await.status, 200, "{made}");
    assert_eq!(robot.send("DELETE", &at, Value::Null).await.status, 403);
    // It keeps no administrator's place: root is still the last who can sign in.
    let (_, said) = root.refused("DELETE", "/admin/users/1", Value::Null).await;
    assert!(said.contains("no admins"), "{said}");
    let listed = root.get(&keys).await.text().to_owned();
    let remove =
        listed.split("href=\"").find_map(|rest| rest.split('"').next().filter(|path| path.ends_with("/remove")));
    let remove = remove.unwrap().to_owned();
    assert_eq!(root.get(&remove).await.status, 200);
    assert_eq!(root.form(&remove, &[]).await.status, 303);
    assert_eq!(robot.get("/admin/users").await.status, 401);
}
