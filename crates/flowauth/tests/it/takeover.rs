//! Accounts in wrong hands: what keeps them out of those, and what gets them back.

use flowauth::store::Address;
use flowkit_core::secrets::Secret;
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{Browser, PASSWORD, Rig};

on_both!(
    no_key_decides_how_an_administrator_signs_in,
    the_first_administrator_can_be_had_back,
    a_first_administrator_who_was_renamed_stays_so,
);

/// Sets up a second factor, and tells a backup code.
pub async fn with_factor(browser: &mut Browser) -> String {
    let shown = browser.ok("POST", "/user/enable_two_factor", Value::Null).await;
    let secret = shown["secret"].as_str().unwrap().split('.').next().unwrap();
    let code = flowauth::codes::code(secret, flowauth::store::now().unsigned_abs()).unwrap();
    let body = json!({ "two_factor_code": code, "secret": shown["secret"], "backup_codes_signature": shown["backup_codes_signature"] });
    browser.ok("POST", "/user/confirm_two_factor", body).await;
    shown["backup_codes"][0].as_str().unwrap().to_owned()
}

async fn no_key_decides_how_an_administrator_signs_in(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let made = root.ok("POST", "/user/keys", json!({ "name": "strong", "may": "administer" })).await;
    let own = format!("/admin/users/{}", root.ok("GET", "/admin/users", Value::Null).await[0]["id"]);
    let ann = rig.user(&mut root, "ann", json!({})).await;
    let mut program = rig.browser();
    program.key = Some(made["key"].as_str().unwrap().to_owned());
    let password = json!({ "password": "another-Purple-dishwasher-92" });
    for body in [password.clone(), json!({ "has_two_factor": false })] {
        assert_eq!(program.refused("PATCH", &own, body).await.0, 403);
    }
    assert_eq!(program.refused("POST", &format!("{own}/invite"), json!({})).await.0, 403);
    // Nor does it take the rights for as long as that takes, or give them.
    for (path, is_admin) in [(own.clone(), false), (format!("/admin/users/{ann}"), true)] {
        assert_eq!(program.refused("PATCH", &path, json!({ "is_admin": is_admin })).await.0, 403, "{path}");
    }
    // Others it looks after, and whom it adds it sends a link.
    program.ok("PATCH", &format!("/admin/users/{ann}"), password).await;
    let added =
        program.ok("POST", "/admin/users", json!({ "username": "new", "invite": true, "is_admin": true })).await;
    program.ok("POST", &format!("/admin/users/{}/invite", added["id"]), json!({})).await;
}

/// Whatever somebody has done who had the account.
async fn the_first_administrator_can_be_had_back(address: Address) {
    let rig = Rig::start(&address).await;
    let mut thief = rig.signed_in("root").await;
    let key = thief.ok("POST", "/user/keys", json!({ "name": "k", "may": "administer" })).await;
    with_factor(&mut thief).await;
    let wrong = json!({ "username": "root", "password": "wrong" });
    let mut tries = 0;
    while rig.browser().post("/signin", wrong.clone()).await.status != 429 {
        tries += 1;
        assert!(tries < 16, "guesses cost nothing");
    }
    assert!(rig.app.first_admin("root", &Secret::new(PASSWORD.to_owned()), true).await.unwrap());
    rig.signed_in("root").await;
    assert_eq!(thief.get("/is_signed_in").await.status, 401);
    thief.key = Some(key["key"].as_str().unwrap().to_owned());
    assert_eq!(thief.get("/admin/users").await.status, 401);
}

/// Nobody comes back with the password that a file still has.
async fn a_first_administrator_who_was_renamed_stays_so(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let own = format!("/admin/users/{}", root.ok("GET", "/admin/users", Value::Null).await[0]["id"]);
    root.ok("PATCH", &own, json!({ "username": "chief" })).await;
    let first = Secret::new(PASSWORD.to_owned());
    assert!(!rig.app.first_admin("root", &first, false).await.unwrap());
    assert_eq!(root.ok("GET", "/admin/users", Value::Null).await.as_array().unwrap().len(), 1);
    assert!(rig.app.first_admin("root", &first, true).await.unwrap(), "but where somebody asks for it");
}
