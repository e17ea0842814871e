//! Signing in and out: what ends a session, what guessing costs, and keys that seal what a session has.

use flowauth::App;
use flowauth::store::Address;
use flowkit_core::secrets::Secret;
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{self, Browser, PASSWORD, Rig};

on_both!(
    passwords_and_sessions_end_when_they_should,
    guessing_costs_time,
    guesses_from_elsewhere_keep_nobody_out_of_a_browser_of_theirs,
    a_new_sealing_key_opens_what_the_one_before_has_sealed,
);

async fn passwords_and_sessions_end_when_they_should(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    rig.user(&mut root, "ann", json!({})).await;
    let (mut here, mut there) = (rig.signed_in("ann").await, rig.signed_in("ann").await);
    let key = there.ok("POST", "/user/keys", json!({ "name": "a thief's" })).await;
    let id = root.ok("GET", "/admin/users", Value::Null).await[0]["id"].clone();
    let link = root.ok("POST", &format!("/admin/users/{id}/invite"), json!({})).await;
    assert_ne!(here.cookies["session"], there.cookies["session"]);
    let new = "another-Purple-dishwasher-92";
    for (old, new, says) in [
        ("wrong", new, "Password incorrect."),
        (PASSWORD, "password", "Password not complex enough."),
        ("", new, "Missing old password."),
        (PASSWORD, "", "Missing new password."),
    ] {
        let body = json!({ "password": old, "newPassword": new });
        assert_eq!(here.refused("PATCH", "/user/password", body).await, (400, says.to_owned()));
    }
    here.ok("PATCH", "/user/password", json!({ "password": PASSWORD, "newPassword": new })).await;
    assert_eq!(
        (here.get("/is_signed_in").await.status, there.get("/is_signed_in").await.status.as_u16()),
        (http::StatusCode::OK, 401)
    );
    let mut thief = rig.browser();
    assert_eq!(thief.get(link["path"].as_str().unwrap()).await.status, 404, "an older link is none");
    thief.key = Some(key["key"].as_str().unwrap().to_owned());
    assert_eq!(thief.get("/tokens/servers").await.status, 401, "and so is a key");
    let mut browser = rig.browser();
    assert_eq!(browser.post("/signin", json!({ "username": "ann", "password": PASSWORD })).await.status, 401);
    assert_eq!(browser.post("/signin", json!({ "username": "ann", "password": new })).await.status, 200);

    // Whoever has copied the cookie has nothing after signing out.
    let mut thief = browser.clone();
    browser.ok("GET", "/signout", Value::Null).await;
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["browser"]);
    assert_eq!(thief.get("/is_signed_in").await.status, 401);
    // The database does not tell the cookie.
    let mut db = rig.store.read().await.unwrap();
    let rows = sqlx::query("SELECT id FROM sessions").fetch_all(&mut *db).await.unwrap();
    let ids: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "id")).collect();
    assert!(!ids.is_empty() && !ids.contains(&here.cookies["session"]));
}

async fn guessing_costs_time(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    rig.user(&mut root, "ann", json!({})).await;
    let mut refused = Vec::new();
    for name in ["ann", "nobody"] {
        let mut last = None;
        for number in 0..12 {
            let answer =
                rig.browser().post("/signin", json!({ "username": name, "password": format!("guess {number}") })).await;
            match answer.status.as_u16() {
                401 => assert_eq!(answer.json()["message"], "Incorrect username or password."),
                429 => {
                    assert!(number >= 5, "not before the sixth");
                    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                    last = Some(answer);
                }
                other => panic!("{other}"),
            }
        }
        refused.push(last.is_some());
    }
    assert_eq!(refused, [true, true], "who does not exist is no exception");
    rig.signed_in("root").await;
}

async fn guesses_from_elsewhere_keep_nobody_out_of_a_browser_of_theirs(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let ann = rig.user(&mut root, "ann", json!({})).await;
    for name in ["eve", "eve ann"] {
        rig.user(&mut root, name, json!({})).await;
    }
    let sign_in = async |browser: &mut Browser, name: &str, password: &str| {
        browser.post("/signin", json!({ "username": name, "password": password })).await.status.as_u16()
    };
    let (mut own, mut foreign) = (rig.signed_in("ann").await, rig.signed_in("eve").await);
    own.ok("GET", "/signout", Value::Null).await;
    let copied = own.clone();
    let mut stranger = rig.browser();
    let mut guess = async || {
        while sign_in(&mut stranger, "ann", "a guess").await != 429 {}
        // However long it takes to ask the next thing.
        let longer =
            "UPDATE attempts SET until = until + 600 WHERE until > 0 AND (who = 'user ann' OR who LIKE 'ann from 1%')";
        sqlx::query(longer).execute(&mut *rig.store.read().await.unwrap()).await.unwrap();
    };
    guess().await;
    assert_eq!(sign_in(&mut rig.browser(), "ann", PASSWORD).await, 429, "from where guesses come");
    assert_eq!(sign_in(&mut foreign, "ann", PASSWORD).await, 429, "with what another has of their own");
    // What nobody has given out, and what was given for a name of which hers is a part.
    let ends = rig.signed_in("eve ann").await.cookies["browser"].clone();
    let (first, rest) = ends.split_once('.').unwrap();
    let hers = &own.cookies["browser"];
    let flipped = format!("{}{}", if hers.starts_with('0') { '1' } else { '0' }, &hers[1..]);
    for cookie in [flipped, ends.clone(), format!("{first} eve.{rest}")] {
        guess().await;
        let mut forged = rig.browser();
        forged.cookies.insert("browser".to_owned(), cookie.clone());
        assert_eq!(sign_in(&mut forged, "ann", PASSWORD).await, 429, "{cookie}");
    }
    assert_eq!(sign_in(&mut own, "ann", PASSWORD).await, 200);
    // Where guesses come from the browser itself, they cost time there as well, and there alone.
    let mut thief = copied;
    let codes: Vec<u16> = {
        let mut all = Vec::new();
        for _ in 0..14 {
            all.push(sign_in(&mut thief, "ann", "a guess").await);
        }
        all
    };
    assert!(codes[0] == 401 && codes.contains(&429), "{codes:?}");
    own.ok("GET", "/signout", Value::Null).await;
    assert_eq!(sign_in(&mut own, "ann", PASSWORD).await, 200, "a sign-in made it another browser");
    // Whoever keeps many of them has no more guesses by it, and none at the password after this one.
    let mut guesses = 0;
    for _ in 0..8 {
        let mut kept = rig.browser();
        kept.cookies.insert("browser".to_owned(), own.cookies["browser"].clone());
        for _ in 0..9 {
            guesses += usize::from(sign_in(&mut kept, "ann", "a guess").await == 401);
        }
        if sign_in(&mut own, "ann", PASSWORD).await != 200 {
            break;
        }
    }
    assert!((30..=60).contains(&guesses), "{guesses}");
    let another = "another-Purple-dishwasher-92";
    root.ok("PATCH", &format!("/admin/users/{ann}"), json!({ "password": another })).await;
    guess().await;
    assert_eq!(sign_in(&mut own, "ann", another).await, 429, "it is known by the password of before");
}

async fn a_new_sealing_key_opens_what_the_one_before_has_sealed(address: Address) {
    let store = crate::open(&address).await;
    let (old, new) = (rig::fernet(), rig::fernet());
    let options = flowauth::Options { issuer: "x".to_owned(), window: 0, ..flowauth::Options::default() };
    let start = async |newest: &Secret, before: &[Secret]| {
        App::new(options.clone(), store.clone(), rig::keys(newest, before))
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(start(&old, &[]).await, Ok(()));
    let refused = start(&new, &[]).await.unwrap_err();
    assert!(refused.contains("another FLOWAUTH_FERNET_KEY"), "{refused}");
    assert_eq!(start(&new, std::slice::from_ref(&old)).await, Ok(()));
    assert_eq!(start(&new, &[]).await, Ok(()), "the one before is not needed any more");
    assert!(start(&old, &[]).await.is_err());
}
