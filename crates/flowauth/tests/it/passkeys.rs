//! Passkeys, with an authenticator of the test's own.

use flowauth::passkeys::encode;
use flowauth::store::{Address, passkeys};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use web::test::Answer;

use crate::on_both;
use crate::rig::{Browser, PASSWORD, Rig};

on_both!(
    a_passkey_lets_in_and_nothing_that_it_has_signed_lets_in_twice,
    a_passkey_is_enough_for_who_must_have_a_second_factor,
    a_passkey_is_its_users_and_its_sites,
);

const SITE: &str = "flow.api";

/// What keeps one passkey.
struct Authenticator {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    site: &'static str,
    counter: u32,
}

impl Authenticator {
    fn new() -> Authenticator {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap();
        Authenticator { key, id: rand::random::<[u8; 16]>().to_vec(), site: SITE, counter: 1 }
    }

    fn client(&self, kind: &str, challenge: &Value) -> String {
        let origin = format!("https://{}", self.site);
        json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false }).to_string()
    }

    fn says(&self, flags: u8, rest: &[u8]) -> Vec<u8> {
        [&Sha256::digest(self.site)[..], &[flags], &self.counter.to_be_bytes(), rest].concat()
    }

    /// The fields of the form by which it is added.
    fn made(&self, asked: &Value, name: &str) -> Vec<(&'static str, String)> {
        let point = self.key.public_key().as_ref();
        let cose = [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32], &point[1..33], &[0x22, 0x58, 32], &point[33..]];
        let attested = [&[0; 16][..], &[0, 16], &self.id, &cose.concat()].concat();
        vec![
            ("passkey-name", name.to_owned()),
            ("client", encode(self.client("webauthn.create", &asked["challenge"]).as_bytes())),
            ("authenticator", encode(&self.says(0x41, &attested))),
            ("transports", "internal,hybrid".to_owned()),
        ]
    }

    /// The fields of the form by which somebody signs in.
    fn used(&mut self, asked: &Value) -> Vec<(&'static str, String)> {
        self.counter += 1;
        let (client, data) = (self.client("webauthn.get", &asked["challenge"]), self.says(5, &[]));
        let signed = [&data[..], &Sha256::digest(&client)[..]].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        vec![
            ("credential", encode(&self.id)),
            ("client", encode(client.as_bytes())),
            ("authenticator", encode(&data)),
            ("signature", encode(signature.as_ref())),
        ]
    }
}

async fn send(browser: &mut Browser, path: &str, fields: &[(&'static str, String)]) -> Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.form(path, &fields).await
}

async fn asked(browser: &mut Browser, path: &str) -> Value {
    let answer = browser.form(path, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn sent(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").unwrap()
}

async fn add(browser: &mut Browser, authenticator: &Authenticator) -> Answer {
    let asked = asked(browser, "/account/two-factor/passkeys/ask").await;
    assert_eq!((&asked["rp"]["id"], asked["pubKeyCredParams"].as_array().unwrap().len()), (&json!(SITE), 3));
    send(browser, "/account/two-factor/passkeys", &authenticator.made(&asked, "phone")).await
}

/// Somebody whose password was right.
async fn halfway(rig: &Rig, name: &str) -> Browser {
    let mut browser = rig.browser();
    let next = browser.form("/sign-in", &[("username", name), ("password", PASSWORD)]).await;
    assert!(sent(&next).starts_with("/sign-in/code"), "{}", sent(&next));
    browser
}

async fn sign_in(browser: &mut Browser, authenticator: &mut Authenticator) -> Answer {
    let asked = asked(browser, "/sign-in/passkey/ask").await;
    let fields = authenticator.used(&asked);
    send(browser, "/sign-in/passkey", &fields).await
}

async fn a_passkey_lets_in_and_nothing_that_it_has_signed_lets_in_twice(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    rig.user(&mut root, "ann", json!({})).await;
    let (mut ann, mut elsewhere) = (rig.signed_in("ann").await, rig.signed_in("ann").await);
    let mut phone = Authenticator::new();
    assert_eq!(sent(&add(&mut ann, &phone).await), "/account/two-factor?done=passkey");
    assert_eq!(elsewhere.get("/is_signed_in").await.status, 401, "who came in without it is out");
    let again = add(&mut ann, &phone).await;
    assert!(again.status == 400 && again.text().contains("known here already"), "{}", again.text());
    let page = ann.get("/account/two-factor").await;
    assert!(page.text().contains("<b>phone</b>") && page.text().contains("Make backup codes"), "{}", page.text());
    let by_program = rig.browser().post("/signin", json!({ "username": "ann", "password": PASSWORD })).await;
    assert_eq!((by_program.status.as_u16(), &by_program.json()["need_two_factor"]), (400, &json!(true)));

    let mut browser = halfway(&rig, "ann").await;
    assert_eq!(browser.get("/account").await.status, 303, "the password alone opens nothing");
    let shown = browser.get("/sign-in/code").await;
    assert!(shown.text().contains("passkey-button") && !shown.text().contains("two_factor_code"), "{}", shown.text());
    let question = asked(&mut browser, "/sign-in/passkey/ask").await;
    assert_eq!(question["allowCredentials"][0]["transports"], json!(["internal", "hybrid"]));
    let fields = phone.used(&question);
    browser.careful = false;
    assert_eq!(send(&mut browser, "/sign-in/passkey", &fields).await.status, 403, "a forged form");
    browser.careful = true;
    // Another session can't use what was signed for this one, and neither can this one twice.
    let mut thief = halfway(&rig, "ann").await;
    let refused = send(&mut thief, "/sign-in/passkey", &fields).await;
    assert!(refused.status == 401 && refused.text().contains("did not work"), "{}", refused.text());
    assert_eq!(sent(&send(&mut browser, "/sign-in/passkey", &fields).await), "/");
    assert_eq!(browser.get("/account").await.status, 200);
    let mut replayed = halfway(&rig, "ann").await;
    asked(&mut replayed, "/sign-in/passkey/ask").await;
    assert_eq!(send(&mut replayed, "/sign-in/passkey", &fields).await.status, 401);
    assert_eq!(send(&mut replayed, "/sign-in/passkey", &phone.used(&question)).await.status, 401, "asked once");
    assert_eq!(sent(&sign_in(&mut replayed, &mut phone).await), "/");

    // A copy counts for itself, and is noticed.
    phone.counter -= 2;
    let refused = sign_in(&mut halfway(&rig, "ann").await, &mut phone).await;
    assert!(refused.status == 401 && refused.text().contains("has a copy of it"), "{}", refused.text());
    let log = root.ok("GET", "/admin/audit", Value::Null).await;
    assert_eq!((&log[0]["action"], &log[0]["object"]), (&json!("sign-in.refused"), &json!("ann")));
    assert!(log[0]["detail"].to_string().contains("counter went back"), "{log}");
    // Of another instance's, too: the database decides.
    let mut db = rig.store.read().await.unwrap();
    let kept = passkeys::of_user(&mut db, 2).await.unwrap().remove(0);
    drop(db);
    let mut change = rig.store.change().await.unwrap();
    assert!(!passkeys::take(&mut change, kept.id, kept.counter - 1, kept.counter + 1).await.unwrap());
}

async fn a_passkey_is_enough_for_who_must_have_a_second_factor(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    let id = rig.user(&mut root, "ann", json!({ "require_two_factor": true })).await;
    let mut ann = rig.signed_in("ann").await;
    assert_eq!(sent(&ann.get("/").await), "/account/two-factor");
    let mut key = Authenticator::new();
    sent(&add(&mut ann, &key).await);
    assert_eq!(ann.get("/").await.status, 200);
    let about = root.ok("GET", &format!("/admin/users/{id}"), Value::Null).await;
    assert_eq!((&about["has_two_factor"], &about["passkeys"]), (&json!(true), &json!(1)));
    assert!(root.get("/manage/users").await.text().contains("1 passkey"), "administrators see who has one");

    // Backup codes go with it, without an app.
    let shown = ann.ok("GET", "/user/generate_two_factor_backups", Value::Null).await;
    let body = json!({ "backup_codes_signature": shown["backup_codes_signature"] });
    ann.ok("POST", "/user/generate_two_factor_backups", body).await;
    let mut browser = halfway(&rig, "ann").await;
    let code = shown["backup_codes"][0].as_str().unwrap();
    assert_eq!(sent(&browser.form("/sign-in/code", &[("two_factor_code", code)]).await), "/");

    let refused = ann.form("/account/passkeys/1/remove", &[]).await;
    assert!(refused.status == 403 && refused.text().contains("An administrator requires"), "{}", refused.text());
    root.ok("PATCH", &format!("/admin/users/{id}"), json!({ "require_two_factor": false })).await;
    assert!(ann.get("/account/passkeys/1/remove").await.text().contains("your only second factor"));
    assert_eq!(sent(&ann.form("/account/passkeys/1/remove", &[]).await), "/account/two-factor?done=passkey-removed");
    rig.signed_in("ann").await;

    // An administrator takes all of them from somebody who has lost them.
    sent(&add(&mut ann, &key).await);
    assert_eq!(sent(&sign_in(&mut halfway(&rig, "ann").await, &mut key).await), "/");
    root.ok("PATCH", &format!("/admin/users/{id}"), json!({ "has_two_factor": false })).await;
    rig.signed_in("ann").await;
}

async fn a_passkey_is_its_users_and_its_sites(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    for name in ["ann", "bob"] {
        rig.user(&mut root, name, json!({})).await;
    }
    let (mut ann, mut bob) = (rig.signed_in("ann").await, rig.signed_in("bob").await);
    let (mut anns, mut bobs) = (Authenticator::new(), Authenticator::new());
    sent(&add(&mut ann, &anns).await);
    sent(&add(&mut bob, &bobs).await);
    assert_eq!(bob.form("/account/passkeys/1/remove", &[]).await.status, 404, "ann's");
    assert_eq!(sign_in(&mut halfway(&rig, "ann").await, &mut bobs).await.status, 401);
    // A page of another site that stands between: the browser says so, and the authenticator too.
    anns.site = "evil.example";
    assert_eq!(sign_in(&mut halfway(&rig, "ann").await, &mut anns).await.status, 401);
    let mut between = halfway(&rig, "ann").await;
    between.headers.push(("host", "evil.example"));
    let shown = between.get("/sign-in/code").await;
    assert!(shown.text().contains("is for the address flow.api") && !shown.text().contains("passkey-button"));
    assert_eq!(sign_in(&mut between, &mut anns).await.status, 401);
    // An address without a name can have none.
    bob.headers.push(("host", "127.0.0.1:9091"));
    let refused = bob.form("/account/two-factor/passkeys/ask", &[]).await;
    assert_eq!((refused.status.as_u16(), refused.json()["reason"].clone()), (400, json!("passkey-address")));
    assert!(bob.get("/account/two-factor").await.text().contains("an address with a name"));
    // Guessing costs time here as well.
    let (mut last, mut tries) = (0, 0);
    // However slow this machine is: each failure doubles the wait.
    while last != 429 && tries < 16 {
        last = sign_in(&mut halfway(&rig, "ann").await, &mut bobs).await.status.as_u16();
        tries += 1;
    }
    assert_eq!(last, 429);
}
