//! Two instances behind one database, each with connections of its own: they are as one.

use flowauth::codes;
use flowauth::store::{Address, now};
use serde_json::{Value, json};

use crate::on_both;
use crate::rig::{PASSWORD, Rig};

on_both!(what_one_has_taken_the_other_takes_no_more);

async fn what_one_has_taken_the_other_takes_no_more(address: Address) {
    let one = Rig::start(&address).await;
    let two = one.another(&address).await;
    let mut root = one.signed_in("root").await;
    one.user(&mut root, "ann", json!({})).await;

    // A session is one's wherever it was begun, and ends everywhere.
    let mut ann = one.signed_in("ann").await;
    ann.turn_to(&two);
    let shown = ann.ok("POST", "/user/enable_two_factor", Value::Null).await;
    let secret = shown["secret"].as_str().unwrap().split('.').next().unwrap().to_owned();
    let code = |ahead: u64| codes::code(&secret, now().unsigned_abs() + 30 * ahead).unwrap();
    let body = json!({ "two_factor_code": code(0), "secret": shown["secret"], "backup_codes_signature": shown["backup_codes_signature"] });
    ann.turn_to(&one);
    ann.ok("POST", "/user/confirm_two_factor", body).await;
    ann.post("/signout", Value::Null).await;
    ann.turn_to(&two);
    assert_eq!(ann.get("/is_signed_in").await.status, 401);

    // Many try the same codes at both at once: each code lets in one.
    for code in [code(1), shown["backup_codes"][0].as_str().unwrap().to_owned()] {
        let tries = (0..4).map(|number| {
            let mut browser = if number % 2 == 0 { one.browser() } else { two.browser() };
            let body = json!({ "username": "ann", "password": PASSWORD, "two_factor_code": code });
            tokio::spawn(async move { browser.post("/signin", body).await.status.as_u16() })
        });
        let mut statuses = Vec::new();
        for attempt in tries.collect::<Vec<_>>() {
            statuses.push(attempt.await.unwrap());
        }
        let let_in = statuses.iter().filter(|status| **status == 200).count();
        assert!(let_in == 1 && statuses.iter().all(|status| matches!(status, 200 | 401 | 429)), "{statuses:?}");
    }

    // Failures count together, however they are spread.
    let (mut last, mut tries) = (0, 0);
    while last != 429 && tries < 16 {
        let mut browser = if tries % 2 == 0 { one.browser() } else { two.browser() };
        last = browser.post("/signin", json!({ "username": "root", "password": "wrong" })).await.status.as_u16();
        tries += 1;
    }
    assert_eq!((last, tries > 5), (429, true));
}
