//! What administrators and users do, from the first sign-in to a token that is revoked.

use std::time::SystemTime;

use access::Revocations;
use flowauth::store::Address;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::on_both;
use crate::rig::{PASSWORD, Rig, verifier};

on_both!(
    from_the_first_sign_in_to_a_token_that_is_revoked,
    a_token_stays_within_every_limit,
    roles_of_one_name_on_two_servers_are_two_roles,
    another_specification_takes_nothing_from_roles,
    who_goes_is_out_with_all_tokens,
    who_loses_a_role_loses_the_tokens_that_carry_it,
    somebody_can_always_look_after_the_rest,
);

async fn from_the_first_sign_in_to_a_token_that_is_revoked(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run", "get_result", "admin3:flows"]).await;
    let ann_id = rig.user(&mut root, "ann", json!({})).await;
    let role = json!({
        "name": "analyst", "server_id": server, "scopes": scopes.values().collect::<Vec<_>>(), "users": [ann_id],
        "latest_token_expiry": null, "longest_token_life_minutes": "30", "first_day": "2016-01-01", "last_day": "2016-01-31",
    });
    let role = root.ok("POST", "/roles/", role).await;
    assert_eq!(
        (&role["users"], &role["server"], &role["longest_token_life_minutes"]),
        (&json!([ann_id]), &json!(server), &json!(30))
    );

    let mut ann = rig.signed_in("ann").await;
    assert_eq!(ann.ok("GET", "/tokens/servers", Value::Null).await, json!([{ "id": server, "server_name": "here" }]));
    let path = format!("/tokens/tokens/{server}");
    // Upstream's pages send whole roles.
    let minted = ann.ok("POST", &path, json!({ "name": "mine", "roles": [role], "lifetime_minutes": 10 })).await;
    let text = minted["token"].as_str().unwrap();
    let token = verifier("here").verify(text, SystemTime::now()).unwrap();
    assert_eq!((&*token.user, token.expires.unwrap() - token.issued.unwrap()), ("ann", 600));
    assert!(token.roles.len() == 1 && token.roles[0].name == "analyst" && token.roles[0].scopes.len() == 3);
    assert_eq!(
        token.roles[0].dates.to_string(),
        access::Dates::parse(Some("2016-01-01"), Some("2016-01-31")).unwrap().to_string()
    );
    assert!(verifier("there").verify(text, SystemTime::now()).is_err());

    let some = json!({ "name": "less", "roles": [{ "name": "analyst", "scopes": ["run"] }] });
    let less = ann.ok("POST", &path, some).await;
    let token = verifier("here").verify(less["token"].as_str().unwrap(), SystemTime::now()).unwrap();
    assert_eq!(token.roles[0].scopes, ["run".to_owned()].into());
    assert_eq!(token.expires.unwrap() - token.issued.unwrap(), 1800, "as long as the role may");

    // What is no wish that is understood is no wish for all.
    for scopes in [json!([]), json!("run"), json!(["run", 1]), json!({ "run": true }), json!([["run"]])] {
        let body = json!({ "name": "odd", "roles": [{ "name": "analyst", "scopes": scopes }] });
        assert_eq!(ann.refused("POST", &path, body).await.0, 400, "{scopes}");
    }

    let listed = ann.ok("GET", &path, Value::Null).await;
    let [first, second] = &listed.as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&first["name"], &second["name"], &second["token"]), (&json!("less"), &json!("mine"), &minted["token"]));
    assert_eq!(second["roles"], json!([{ "id": role["id"], "name": "analyst" }]));
    assert!(second["expires"].as_str().unwrap().ends_with(" GMT"));

    let renewed = ann.ok("POST", &format!("/tokens/tokens/{}/renew", less["id"]), Value::Null).await;
    let again = verifier("here").verify(renewed["token"].as_str().unwrap(), SystemTime::now()).unwrap();
    assert!(again.id != token.id && again.roles == token.roles, "the chosen scopes alone, again");

    let published = async || {
        let answer = rig.browser().get("/revocations").await;
        Revocations::parse(answer.text(), &verifier("here"), SystemTime::now()).unwrap()
    };
    assert!(published().await.check(&token).is_ok());
    ann.ok("POST", &format!("/tokens/tokens/{}/revoke", less["id"]), Value::Null).await;
    assert!(published().await.check(&token).is_err());
    assert!(published().await.check(&again).is_ok(), "only that one");
    let refused = ann.refused("POST", &format!("/tokens/tokens/{}/renew", less["id"]), Value::Null).await;
    assert_eq!(refused.0, 400);

    // An administrator sees what lives, and never a token itself, and revokes any.
    let live = root.ok("GET", "/admin/tokens", Value::Null).await;
    let of = |token: &Value| (token["name"].clone(), token["username"].clone());
    let names: Vec<_> = live.as_array().unwrap().iter().map(of).collect();
    assert_eq!(names, [("mine", "ann"), ("less", "ann")].map(|(name, user)| (json!(name), json!(user))));
    assert!(!live.to_string().contains("eyJ"));
    root.ok("POST", &format!("/admin/tokens/{}/revoke", renewed["id"]), Value::Null).await;
    assert!(published().await.check(&again).is_err());
    assert_eq!(root.ok("GET", "/admin/tokens", Value::Null).await.as_array().unwrap().len(), 1);

    // Who loses a role renews nothing with it.
    root.ok("PATCH", &format!("/roles/{}", role["id"]), json!({ "users": [] })).await;
    let lost = ann.refused("POST", &format!("/tokens/tokens/{}/renew", minted["id"]), Value::Null).await;
    assert_eq!(lost, (403, "Cannot renew: the following roles are no longer assigned to you: analyst".to_owned()));
    assert_eq!(ann.ok("GET", &path, Value::Null).await[0]["renewal_expires"], Value::Null);
    assert_eq!(root.ok("GET", "/admin/tokens", Value::Null).await, json!([]));

    // The log has it all, and no token, password or secret.
    let log = root.ok("GET", "/admin/audit", Value::Null).await;
    let actions: Vec<&str> =
        log.as_array().unwrap().iter().rev().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "program.start",
            "user.add",
            "sign-in",
            "server.add",
            "user.add",
            "role.add",
            "sign-in",
            "token.mint",
            "token.mint",
            "token.renew",
            "token.revoke",
            "token.revoke",
            "role.change"
        ]
    );
    let text = log.to_string();
    assert!(
        text.contains(&token.id.unwrap())
            && !text.contains("eyJ")
            && !text.contains(PASSWORD)
            && !text.contains("$argon2")
    );
    assert_eq!(
        (&log[1]["user"], &log[2]["user"], &log[0]["address"]),
        (&json!("root"), &json!("ann"), &json!("127.0.0.1"))
    );
    let older = root.ok("GET", &format!("/admin/audit?before={}", log[10]["id"]), Value::Null).await;
    assert_eq!(older, json!([log[11], log[12]]));
}

async fn a_token_stays_within_every_limit(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run"]).await;
    let ann_id = rig.user(&mut root, "ann", json!({})).await;
    let new_role = |name: &str, minutes: i64, latest: Value| {
        json!({ "name": name, "server_id": server, "scopes": [scopes["run"]], "users": [ann_id],
            "latest_token_expiry": latest, "longest_token_life_minutes": minutes })
    };
    root.ok("POST", "/roles/", new_role("long", 60, Value::Null)).await;
    root.ok("POST", "/roles/", new_role("short", 10, Value::Null)).await;
    root.ok("POST", "/roles/", new_role("over", 10, json!("2020-01-01T00:00:00.000Z"))).await;
    let refused = root.refused("POST", "/roles/", new_role("longer", 61, Value::Null)).await;
    assert_eq!(refused, (400, "Role cannot have a maximum lifetime greater than server".to_owned()));
    let refused = root.refused("POST", "/roles/", new_role("long", 10, Value::Null)).await;
    assert_eq!(refused.0, 400, "the name is taken");

    let mut ann = rig.signed_in("ann").await;
    let path = format!("/tokens/tokens/{server}");
    let ask = |roles: &[&str], more: Value| {
        let roles: Vec<Value> = roles.iter().map(|name| json!({ "name": name })).collect();
        let mut ask = json!({ "name": "t", "roles": roles });
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask
    };
    let both = ann.ok("POST", &path, ask(&["long", "short"], json!({}))).await;
    let token = verifier("here").verify(both["token"].as_str().unwrap(), SystemTime::now()).unwrap();
    assert_eq!(token.expires.unwrap() - token.issued.unwrap(), 600, "the strictest of all");
    for (roles, more, status, says) in [
        (&["long"][..], json!({ "lifetime_minutes": 61 }), 400, "exceeds the maximum"),
        (&["long", "short"], json!({ "lifetime_minutes": 11 }), 400, "exceeds the maximum"),
        (&["long"], json!({ "lifetime_minutes": 0 }), 400, "positive integer"),
        (&["long"], json!({ "lifetime_minutes": 9_000_000_000_000_000_000_i64 }), 400, "positive integer"),
        (&["long"], json!({ "lifetime_minutes": true }), 400, "positive integer"),
        (&["long"], json!({ "lifetime_minutes": 1.5 }), 400, "positive integer"),
        (&["over"], json!({}), 400, "The role 'over' has ended"),
        (&["long", "over"], json!({}), 400, "The role 'over' has ended"),
        (&["none"], json!({}), 403, "Role 'none' is not permitted for the current user"),
        (&["long", "long"], json!({}), 400, "named twice"),
        (&[], json!({}), 400, "At least one role must be selected"),
        (&["long"], json!({ "name": "" }), 400, "No name."),
        (&["long"], json!({ "name": "x".repeat(76) }), 400, "1 to 75 characters"),
        (&["long"], json!({ "roles": [{ "name": "long", "scopes": ["admin3"] }] }), 400, "has no scope 'admin3'"),
    ] {
        let (is, message) = ann.refused("POST", &path, ask(roles, more.clone())).await;
        assert!(is == status && message.contains(says), "{roles:?} {more}: {is} {message}");
    }
    // The server's limit came down: the token has it, and the role can still be changed.
    let lower = json!({ "longest_token_life_minutes": 5, "latest_token_expiry": null });
    root.ok("PATCH", &format!("/admin/servers/{server}"), lower).await;
    let short = ann.ok("POST", &path, ask(&["long"], json!({}))).await;
    let token = verifier("here").verify(short["token"].as_str().unwrap(), SystemTime::now()).unwrap();
    assert_eq!(token.expires.unwrap() - token.issued.unwrap(), 300);
    let roles = root.ok("GET", "/roles/", Value::Null).await;
    root.ok("PATCH", &format!("/roles/{}", roles[0]["id"]), json!({ "name": "renamed" })).await;
    // Nothing that was refused is in the books.
    assert_eq!(ann.ok("GET", &path, Value::Null).await.as_array().unwrap().len(), 2);

    // When a token would end that is had by renewing one is known before it is asked for.
    let latest = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + time::Duration::minutes(2);
    let ends = json!({ "longest_token_life_minutes": 60, "latest_token_expiry": latest.format(&Rfc3339).unwrap() });
    root.ok("PATCH", &format!("/admin/servers/{server}"), ends).await;
    let listed = ann.ok("GET", &path, Value::Null).await;
    let ends = listed.as_array().unwrap().iter().map(|token| token["renewal_expires"].as_str().unwrap());
    assert!(ends.map(|end| OffsetDateTime::parse(end, &Rfc2822)).all(|end| end == Ok(latest)), "{listed}");
}

/// Upstream looked a role up by its name on any server.
async fn roles_of_one_name_on_two_servers_are_two_roles(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let ann_id = rig.user(&mut root, "ann", json!({})).await;
    let mut ids = Vec::new();
    for (server, scope) in [("first", "strong"), ("second", "weak")] {
        let (id, scopes) = rig.server(&mut root, server, &[scope]).await;
        let role = json!({ "name": "analyst", "server_id": id, "scopes": [scopes[scope]], "users": [ann_id],
            "longest_token_life_minutes": 10 });
        root.ok("POST", "/roles/", role).await;
        ids.push((id, scopes[scope]));
    }
    let mut ann = rig.signed_in("ann").await;
    let ask = json!({ "name": "t", "roles": [{ "name": "analyst" }] });
    let minted = ann.ok("POST", &format!("/tokens/tokens/{}", ids[1].0), ask).await;
    let token = verifier("second").verify(minted["token"].as_str().unwrap(), SystemTime::now()).unwrap();
    assert_eq!(token.roles[0].scopes, ["weak".to_owned()].into());
    // Nor does a role take the scope of another server.
    let role = json!({ "name": "x", "server_id": ids[1].0, "scopes": [ids[0].1], "longest_token_life_minutes": 10 });
    let refused = root.refused("POST", "/roles/", role).await;
    assert_eq!(refused, (400, "Scope server must match role server".to_owned()));
}

fn specification(audience: &str, scopes: &[&str]) -> Value {
    json!({ "components": { "securitySchemes": { "token": { "x-audience": audience, "x-security-scopes": scopes } } } })
}

async fn another_specification_takes_nothing_from_roles(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run", "old", "unused"]).await;
    let role = json!({ "name": "a", "server_id": server, "scopes": [scopes["run"], scopes["old"]], "longest_token_life_minutes": 10 });
    let role = root.ok("POST", "/roles/", role).await;
    let at = |what: &str| format!("/admin/servers/{server}/{what}");
    let new = specification("here", &["run", "new"]);
    let compared = root.ok("POST", &at("compare"), new.clone()).await;
    let difference = json!({ "added": ["new"], "gone": { "old": ["a"], "unused": [] }, "back": [] });
    assert!(difference.as_object().unwrap().iter().all(|(key, value)| compared[key] == *value), "{compared}");
    assert_eq!(root.ok("GET", &at("scopes"), Value::Null).await.as_array().unwrap().len(), 3, "nothing is changed yet");
    assert_eq!(root.ok("POST", &at("specification"), new).await, difference);
    let now = root.ok("GET", &at("scopes"), Value::Null).await;
    let now: Vec<(&str, bool)> = now
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), s["enabled"].as_bool().unwrap()))
        .collect();
    assert_eq!(now, [("new", true), ("old", false), ("run", true)]);
    assert_eq!(root.ok("GET", &format!("/roles/{}", role["id"]), Value::Null).await["scopes"], role["scopes"]);
    // As upstream's pages do it: the keys of an object.
    root.ok("POST", &at("scopes"), json!({ "run": true, "old": false })).await;
    let kept = root.ok("GET", &at("scopes"), Value::Null).await;
    assert_eq!((kept.as_array().unwrap().len(), &kept[0]["enabled"]), (2, &json!(true)));
    let (status, message) = root.refused("POST", &at("specification"), specification("there", &["run"])).await;
    assert!(status == 400 && message.contains("of the server 'there'"), "{message}");
    let (status, message) = root.refused("POST", &at("specification"), json!({ "openapi": "3.0.1" })).await;
    assert!(status == 400 && message.contains("x-audience"), "{message}");
}

async fn who_goes_is_out_with_all_tokens(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run"]).await;
    let mut users = Vec::new();
    for name in ["ann", "bob", "eve"] {
        users.push(rig.user(&mut root, name, json!({})).await);
    }
    let role = json!({ "name": "a", "server_id": server, "scopes": [scopes["run"]], "users": users, "longest_token_life_minutes": 10 });
    root.ok("POST", "/roles/", role).await;
    let mut all = Vec::new();
    for name in ["ann", "bob", "eve"] {
        let mut browser = rig.signed_in(name).await;
        let ask = json!({ "name": "t", "roles": [{ "name": "a" }] });
        let minted = browser.ok("POST", &format!("/tokens/tokens/{server}"), ask).await;
        let token = verifier("here").verify(minted["token"].as_str().unwrap(), SystemTime::now()).unwrap();
        all.push((browser, token));
    }
    root.ok("PATCH", &format!("/admin/users/{}", users[0]), json!({ "is_disabled": true })).await;
    root.ok("DELETE", &format!("/admin/users/{}", users[1]), Value::Null).await;
    let list = rig.browser().get("/revocations").await;
    let list = Revocations::parse(list.text(), &verifier("here"), SystemTime::now()).unwrap();
    for (at, is_out) in [(0, true), (1, true), (2, false)] {
        let (browser, token) = &mut all[at];
        assert_eq!(list.check(token).is_err(), is_out, "{}", token.user);
        assert_eq!(browser.get("/is_signed_in").await.status == 401, is_out, "{}", token.user);
    }
    let again = rig.browser().refused("POST", "/signin", json!({ "username": "ann", "password": PASSWORD })).await;
    assert_eq!(again, (401, "Incorrect username or password.".to_owned()), "it is not told that they are disabled");
    root.ok("DELETE", &format!("/admin/servers/{server}"), Value::Null).await;
    let list = rig.browser().get("/revocations").await;
    let list = Revocations::parse(list.text(), &verifier("here"), SystemTime::now()).unwrap();
    assert!(list.check(&all[2].1).is_err());
}

async fn who_loses_a_role_loses_the_tokens_that_carry_it(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run", "get_result"]).await;
    let ann = rig.user(&mut root, "ann", json!({})).await;
    let bob = rig.user(&mut root, "bob", json!({})).await;
    let mut roles = Vec::new();
    for name in ["a", "b", "c"] {
        let role = json!({ "name": name, "server_id": server, "scopes": [scopes["run"]], "users": [ann, bob],
            "longest_token_life_minutes": 10 });
        roles.push(root.ok("POST", "/roles/", role).await["id"].as_i64().unwrap());
    }
    let mut tokens = Vec::new();
    for (user, roles) in [("ann", &["a"][..]), ("ann", &["a", "b"]), ("ann", &["b"]), ("ann", &["c"]), ("bob", &["a"])]
    {
        let carried: Vec<Value> = roles.iter().map(|name| json!({ "name": name })).collect();
        let ask = json!({ "name": "t", "roles": carried });
        let minted = rig.signed_in(user).await.ok("POST", &format!("/tokens/tokens/{server}"), ask).await;
        tokens.push(verifier("here").verify(minted["token"].as_str().unwrap(), SystemTime::now()).unwrap());
    }
    let out = async || {
        let list = rig.browser().get("/revocations").await;
        let list = Revocations::parse(list.text(), &verifier("here"), SystemTime::now()).unwrap();
        tokens.iter().map(|token| list.check(token).is_err()).collect::<Vec<_>>()
    };
    let path = |role: usize| format!("/roles/{}", roles[role]);
    root.ok("PATCH", &path(0), json!({ "scopes": [scopes["get_result"]] })).await;
    assert_eq!(out().await, [false; 5], "what a role allows counts for later tokens");
    root.ok("PATCH", &path(0), json!({ "users": [bob] })).await;
    assert_eq!(out().await, [true, true, false, false, false], "one who is a member no longer");
    root.ok("PATCH", &format!("/admin/users/{ann}"), json!({ "roles": [roles[2]] })).await;
    assert_eq!(out().await, [true, true, true, false, false], "the same from the other side");
    root.ok("DELETE", &path(2), Value::Null).await;
    assert_eq!(out().await, [true, true, true, true, false], "a role that is no more");
}

async fn somebody_can_always_look_after_the_rest(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let all = root.ok("GET", "/admin/users", Value::Null).await;
    let path = format!("/admin/users/{}", all[0]["id"]);
    let text = "Removing this user's admin rights would leave no admins.";
    assert_eq!(root.refused("PATCH", &path, json!({ "is_admin": false })).await, (400, text.to_owned()));
    assert_eq!(root.refused("PATCH", &path, json!({ "is_disabled": true })).await.0, 400);
    assert_eq!(
        root.refused("DELETE", &path, Value::Null).await,
        (400, "Removing this user would leave no admins.".to_owned())
    );
    let second = rig.user(&mut root, "second", json!({ "is_admin": true })).await;
    root.ok("PATCH", &format!("/admin/users/{second}"), json!({ "is_disabled": true })).await;
    assert_eq!(root.refused("DELETE", &path, Value::Null).await.0, 400, "one who can't sign in does not count");
    root.ok("PATCH", &format!("/admin/users/{second}"), json!({ "is_disabled": false })).await;
    root.ok("DELETE", &path, Value::Null).await;
    assert_eq!(root.get("/admin/users").await.status, 401);

    let mut second = rig.signed_in("second").await;
    for (body, says) in [
        (json!({ "username": "second", "password": PASSWORD }), "Username already exists."),
        (json!({ "username": "Second", "password": PASSWORD }), "Username already exists."),
        (json!({ "username": "\u{ff53}ec\u{200d}ond", "password": PASSWORD }), "Username already exists."),
        (json!({ "username": " ", "password": PASSWORD }), "Username too short."),
        (json!({ "username": "x" }), "Password must be provided."),
        (json!({ "username": "x", "password": "x" }), "Password not complex enough."),
        (json!({ "username": "x", "password": PASSWORD, "roles": [99] }), "There is no role 99."),
    ] {
        assert_eq!(second.refused("POST", "/admin/users", body).await, (400, says.to_owned()));
    }
    let text = second.send("POST", "/admin/users", json!([])).await;
    assert_eq!(text.status, 400, "no object");
    assert_eq!(second.get("/admin/users/x").await.status, 404);
    assert_eq!(second.get("/admin/users/99").await.status, 404);
}
