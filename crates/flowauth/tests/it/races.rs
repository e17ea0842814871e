//! Who was let in and then waited for another who put them out.

use std::time::Duration;

use flowauth::passwords::Passwords;
use flowauth::store::audit::Actor;
use flowauth::store::users::{self, Wanted};
use flowauth::store::{Address, Change, sessions};
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{PASSWORD, Rig};
use crate::takeover::with_factor;

on_both!(
    who_was_put_out_while_they_waited_does_nothing,
    an_old_password_in_flight_is_worth_nothing,
    a_code_in_flight_is_worth_nothing_once_another_password_is_set,
);

/// Until a request that was sent waits for the one who writes.
const QUEUED: Duration = Duration::from_millis(700);

async fn commit(change: Change) {
    change.commit(&Actor::program().does("user.change", "somebody", json!({}))).await.unwrap();
}

async fn who_was_put_out_while_they_waited_does_nothing(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let (server, scopes) = rig.server(&mut root, "here", &["run"]).await;
    let id = rig.user(&mut root, "ann", json!({})).await;
    let second = rig.user(&mut root, "second", json!({ "is_admin": true })).await;
    let role = json!({ "name": "analyst", "server_id": server, "scopes": [scopes["run"]], "users": [id],
        "latest_token_expiry": null, "longest_token_life_minutes": 30 });
    root.ok("POST", "/roles/", role).await;
    let mut ann = rig.signed_in("ann").await;
    let key = ann.ok("POST", "/user/keys", json!({ "name": "nightly" })).await;
    let mut program = rig.browser();
    program.key = Some(key["key"].as_str().unwrap().to_owned());
    let path = format!("/tokens/tokens/{server}");
    let body = json!({ "name": "mine", "roles": [{ "name": "analyst" }] });
    let had = ann.ok("POST", &path, body.clone()).await;
    let renew = format!("/tokens/tokens/{}/renew", had["id"]);
    let mut deputy = rig.signed_in("second").await;

    let mut held = rig.store.change().await.unwrap();
    let (mut one, mut two) = (ann.clone(), program.clone());
    let queued = async {
        tokio::join!(
            one.send("POST", &path, body.clone()),
            two.send("POST", &path, body.clone()),
            ann.send("POST", &renew, Value::Null),
            deputy.send("POST", "/admin/users", json!({ "username": "more", "invite": true, "is_admin": true })),
        )
    };
    let put_out = async {
        tokio::time::sleep(QUEUED).await;
        let out = |name: &str| Wanted { name: name.to_owned(), is_disabled: true, ..Wanted::default() };
        users::change(&mut held, id, &out("ann")).await.unwrap();
        users::change(&mut held, second, &Wanted { is_disabled: false, ..out("second") }).await.unwrap();
        commit(held).await;
    };
    let ((one, two, three, four), ()) = tokio::join!(queued, put_out);
    assert_eq!([one.status, two.status, three.status, four.status].map(|status| status.as_u16()), [401, 401, 401, 403]);
    let live = root.ok("GET", "/admin/tokens", Value::Null).await;
    assert_eq!(live.as_array().unwrap().len(), 1, "only the one of before: {live}");
    let users = root.ok("GET", "/admin/users", Value::Null).await;
    assert!(!users.to_string().contains("more"), "{users}");
}

/// A sign-in, one that waits for its code, and one's own change of the password, all begun with a password that another is set for.
async fn an_old_password_in_flight_is_worth_nothing(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let id = rig.user(&mut root, "ann", json!({})).await;
    let mut ann = rig.signed_in("ann").await;
    let mut fresh = rig.browser();
    let set = Passwords::default().hash("green-Donkey-dishwasher-17").await.unwrap();
    let mut held = rig.store.change().await.unwrap();
    let queued = async {
        tokio::join!(
            fresh.post("/signin", json!({ "username": "ann", "password": PASSWORD })),
            ann.send(
                "PATCH",
                "/user/password",
                json!({ "password": PASSWORD, "newPassword": "blue-Heron-dishwasher-55" })
            ),
        )
    };
    let reset = async {
        // Passwords are checked slowly.
        tokio::time::sleep(3 * QUEUED).await;
        users::set_password(&mut held, id, &set).await.unwrap();
        commit(held).await;
    };
    let ((signed_in, changed), ()) = tokio::join!(queued, reset);
    assert_eq!([signed_in.status, changed.status].map(|status| status.as_u16()), [401, 400]);
    let mut db = rig.store.read().await.unwrap();
    assert_eq!(users::password(&mut db, id).await.unwrap(), Some(set), "the one that was set stays");
}

/// Whoever has given the old password waits for the code, and then for who sets another.
async fn a_code_in_flight_is_worth_nothing_once_another_password_is_set(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let id = rig.user(&mut root, "ann", json!({})).await;
    let code = with_factor(&mut rig.signed_in("ann").await).await;
    let mut browser = rig.browser();
    browser.get("/sign-in").await;
    let halfway = browser.form("/sign-in", &[("username", "ann"), ("password", PASSWORD)]).await;
    assert!(halfway.header("location").is_some_and(|to| to.starts_with("/sign-in/code")), "{}", halfway.text());
    let mut held = rig.store.change().await.unwrap();
    let reset = async {
        tokio::time::sleep(QUEUED).await;
        sessions::end_others(&mut held, id, None).await.unwrap();
        commit(held).await;
    };
    let fields = [("two_factor_code", &*code)];
    let (given, ()) = tokio::join!(browser.form("/sign-in/code", &fields), reset);
    assert_ne!(given.header("location"), Some("/"), "{}", given.text());
    let mut db = rig.store.read().await.unwrap();
    assert!(sessions::of_user(&mut db, id, 9).await.unwrap().is_empty(), "nobody is signed in");
}
