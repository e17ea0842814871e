//! Second factors.

use flowauth::codes;
use flowauth::store::{Address, now};
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{Browser, PASSWORD, Rig};

on_both!(a_code_lets_in_once_and_a_backup_code_too, who_must_have_one_can_do_nothing_else);

/// A code of this or the next step that was not used yet: the window is one step.
fn fresh(secret: &str, ahead: u64) -> String {
    codes::code(secret, now().unsigned_abs() + 30 * ahead).unwrap()
}

/// Sets one up, with the code of the step before now, and tells secret and backup codes.
async fn set_up(browser: &mut Browser) -> (String, Vec<String>) {
    let shown = browser.ok("POST", "/user/enable_two_factor", Value::Null).await;
    let blob = shown["secret"].as_str().unwrap();
    let secret = blob.split('.').next().unwrap().to_owned();
    assert!(shown["provisioning_url"].as_str().unwrap().contains(&secret));
    let mut body = json!({
        "two_factor_code": fresh(&secret, 0), "secret": blob, "backup_codes_signature": shown["backup_codes_signature"],
    });
    body["secret"] = json!(format!("{}.{}", codes::new_secret(), "x"));
    let tampered = browser.refused("POST", "/user/confirm_two_factor", body.clone()).await;
    assert_eq!(tampered, (401, "Two-factor setup attempt has been tampered with.".to_owned()));
    body["secret"] = json!(blob);
    assert_eq!(browser.ok("POST", "/user/confirm_two_factor", body.clone()).await["two_factor_enabled"], true);
    let again = browser.send("POST", "/user/confirm_two_factor", body).await;
    assert_eq!(again.status, 401, "what was confirmed is done with");
    let codes = shown["backup_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
    (secret, codes.collect())
}

async fn sign_in(rig: &Rig, name: &str, code: Option<&str>) -> (u16, String) {
    let body = json!({ "username": name, "password": PASSWORD, "two_factor_code": code });
    let answer = rig.browser().post("/signin", body).await;
    (answer.status.as_u16(), answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

async fn a_code_lets_in_once_and_a_backup_code_too(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let ann_id = rig.user(&mut root, "ann", json!({})).await;
    let mut ann = rig.signed_in("ann").await;
    let mut elsewhere = rig.signed_in("ann").await;
    let (secret, backups) = set_up(&mut ann).await;
    assert_eq!(elsewhere.get("/is_signed_in").await.status, 401, "who came in without it is out");
    assert_eq!(ann.get("/is_signed_in").await.status, 200);

    let missing = rig.browser().post("/signin", json!({ "username": "ann", "password": PASSWORD })).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["need_two_factor"]), (400, &json!(true)));
    let wrong = (401, "Code not valid.".to_owned());
    assert_eq!(sign_in(&rig, "ann", Some("not a code")).await, wrong);
    // However slow this machine is, the step ahead of now is one that was not used.
    let code = fresh(&secret, 1);
    assert_eq!(sign_in(&rig, "ann", Some(&code)).await.0, 200);
    assert_eq!(sign_in(&rig, "ann", Some(&code)).await, wrong, "a code that was used");

    let (head, tail) = backups[0].split_at(5);
    assert_eq!(sign_in(&rig, "ann", Some(&format!("{head}-{tail}"))).await.0, 200);
    assert_eq!(sign_in(&rig, "ann", Some(&backups[0])).await, wrong, "a backup code that was used");
    let shown = ann.ok("GET", "/user/generate_two_factor_backups", Value::Null).await;
    assert_eq!(sign_in(&rig, "ann", Some(&backups[1])).await.0, 200, "shown is not taken over yet");
    let body = json!({ "backup_codes_signature": shown["backup_codes_signature"] });
    ann.ok("POST", "/user/generate_two_factor_backups", body).await;
    assert_eq!(sign_in(&rig, "ann", Some(&backups[2])).await, wrong);
    assert_eq!(sign_in(&rig, "ann", shown["backup_codes"][0].as_str()).await.0, 200);

    // Nothing of it lies open in the database.
    let mut db = rig.store.read().await.unwrap();
    for text in ["SELECT secret AS text FROM factors", "SELECT code AS text FROM backup_codes"] {
        for row in sqlx::query(text).fetch_all(&mut *db).await.unwrap() {
            let sealed: String = sqlx::Row::get(&row, "text");
            assert!(sealed.starts_with("gAAAAA") && !sealed.contains(&secret), "{sealed}");
        }
    }
    drop(db);
    // An administrator takes it away; that of somebody who has none is no error.
    for _ in 0..2 {
        root.ok("PATCH", &format!("/admin/users/{ann_id}"), json!({ "has_two_factor": false })).await;
    }
    assert_eq!(sign_in(&rig, "ann", None).await.0, 200);
}

async fn who_must_have_one_can_do_nothing_else(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    rig.user(&mut root, "ann", json!({ "require_two_factor": true, "is_admin": true })).await;
    let mut ann = rig.signed_in("ann").await;
    let about = ann.ok("GET", "/is_signed_in", Value::Null).await;
    assert_eq!(about, json!({ "logged_in": true, "is_admin": true, "require_two_factor_setup": true }));
    for path in ["/admin/users", "/tokens/servers"] {
        let answer = ann.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["require_two_factor_setup"]), (403, &json!(true)));
    }
    set_up(&mut ann).await;
    ann.ok("GET", "/admin/users", Value::Null).await;
    assert_eq!(ann.refused("POST", "/user/disable_two_factor", Value::Null).await.0, 403, "refused by the server too");
}
