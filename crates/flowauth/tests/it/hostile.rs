//! Two instances, and bodies that nobody should send.

use flowauth::store::{Address, now};
use flowauth::{Options, codes};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{PASSWORD, Rig};

on_both!(of_two_instances_one_takes_a_code, no_body_makes_the_server_fail);

/// A code that is given to two instances at once lets in once, as do names that are added twice.
async fn of_two_instances_one_takes_a_code(address: Address) {
    let one = Rig::start(&address).await;
    let options = Options { issuer: "FlowAuth".to_owned(), window: 1, ..Options::default() };
    let two = one.beside(options).await;
    let mut root = one.signed_in("root").await;
    one.user(&mut root, "ann", json!({})).await;
    let mut ann = two.signed_in("ann").await;
    let shown = ann.ok("POST", "/user/enable_two_factor", Value::Null).await;
    let secret = shown["secret"].as_str().unwrap().split('.').next().unwrap().to_owned();
    let code = |ahead: u64| codes::code(&secret, now().unsigned_abs() + 30 * ahead).unwrap();
    let body = json!({ "two_factor_code": code(0), "secret": shown["secret"], "backup_codes_signature": shown["backup_codes_signature"] });
    // Shown by the one, confirmed by the other.
    let mut elsewhere = one.browser();
    elsewhere.cookies = ann.cookies.clone();
    elsewhere.ok("POST", "/user/confirm_two_factor", body).await;
    let body = json!({ "username": "ann", "password": PASSWORD, "two_factor_code": code(1) });
    let backup = json!({ "username": "ann", "password": PASSWORD, "two_factor_code": shown["backup_codes"][0] });
    let named = json!({ "username": "bob", "password": PASSWORD });
    for (path, body) in [("/signin", body), ("/signin", backup), ("/admin/users", named)] {
        let browsers = [&one, &two, &one, &two].map(|rig| {
            let mut browser = rig.browser();
            if path == "/admin/users" {
                browser.cookies = root.cookies.clone();
            }
            let body = body.clone();
            tokio::spawn(async move { browser.post(path, body).await.status.as_u16() })
        });
        let mut statuses = Vec::new();
        for browser in browsers {
            statuses.push(browser.await.unwrap());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{path}: {statuses:?}");
        assert!(statuses.iter().all(|status| *status < 500), "{path}: {statuses:?}");
    }
}

/// Values as they come, under names that mean something, and texts that do to a database, a log or a page.
fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![
        Just("ann".to_owned()),
        Just("2026-01-31T12:00:00.000Z".to_owned()),
        Just("9999-12-31T23:59:59Z".to_owned()),
        Just("'; DROP TABLE users; --".to_owned()),
        Just("a\u{0}b".to_owned()),
        Just("\u{202e}x".to_owned()),
        Just("9223372036854775808".to_owned()),
        ".{0,90}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES), inner), 0..4).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

const NAMES: &[&str] = &[
    "username",
    "password",
    "newPassword",
    "is_admin",
    "require_two_factor",
    "roles",
    "name",
    "scopes",
    "users",
    "server_id",
    "latest_token_expiry",
    "longest_token_life_minutes",
    "lifetime_minutes",
    "first_day",
    "last_day",
    "two_factor_code",
    "secret",
    "backup_codes_signature",
    "components",
    "newPasswordA",
    "newPasswordB",
    "measure",
    "reference",
    "max-life",
    "latest",
    "spec-upload-button",
    "server",
    "s",
    "m",
    "role",
    "tick",
];

async fn no_body_makes_the_server_fail(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    rig.server(&mut root, "here", &["run"]).await;
    let role = json!({ "name": "a", "server_id": 1, "scopes": [1], "users": [1], "longest_token_life_minutes": 10 });
    root.ok("POST", "/roles/", role).await;
    let mut runner = TestRunner::default();
    let body = prop::collection::btree_map(prop::sample::select(NAMES), values(), 0..6);
    let table = flowauth::table(rig.app.clone());
    let routes: Vec<(String, String)> = table
        .entries()
        .iter()
        .filter(|(method, path, _)| !matches!(method.as_str(), "GET" | "DELETE") && !path.starts_with("/sign"))
        .map(|(method, path, _)| (method.to_string(), path.replace("{id}", "1").replace("{key}", "x")))
        .collect();
    let mut bodies: Vec<Value> = (0..10).map(|_| json!(body.new_tree(&mut runner).unwrap().current())).collect();
    // Every field the same, so that nothing is missing before it is looked at.
    for value in ["a\0b", "'; DROP TABLE users; --", "\u{202e}", "9223372036854775808"].map(Value::from) {
        bodies.push(Value::Object(NAMES.iter().map(|name| ((*name).to_owned(), value.clone())).collect()));
    }
    for body in bodies {
        for (method, path) in &routes {
            let answer = root.send(method, path, body.clone()).await;
            assert!(answer.status.as_u16() < 500, "{method} {path} {body}: {} {}", answer.status, answer.text());
        }
        // The same by forms, to whom they mean something and to whom they do not.
        let fields = body.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.to_string()));
        let fields: Vec<(String, String)> = fields.collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, value.trim_matches('"'))).collect();
        for (_, path) in routes.iter().filter(|(method, _)| method == "POST") {
            let answer = root.form(path, &fields).await;
            assert!(answer.status.as_u16() < 500, "{path} {fields:?}: {} {}", answer.status, answer.text());
        }
    }
}
