use std::time::Duration;

use rand::rngs::SysRng;
use serde_json::{Value, json};

use super::*;
use crate::Minter;
use crate::testing::{NOW, claims, now, private_pem, signed, verifier, verify};

fn list() -> Revocations {
    Revocations {
        issued: NOW,
        max_age: 60,
        tokens: ["an id".to_owned()].into(),
        users: [("bob".to_owned(), None), ("carol".to_owned(), Some(NOW - 1))].into(),
    }
}

fn token(user: &str, id: Value, issued: Value) -> Token {
    let mut claims = claims();
    claims["sub"] = user.into();
    for (name, value) in [("jti", id), ("iat", issued)] {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
    }
    verify(&claims).unwrap()
}

#[test]
fn what_was_published_is_read() {
    let text = Minter::parse(&private_pem()).unwrap().publish(&list(), &mut SysRng).unwrap();
    assert_eq!(Revocations::parse(&format!("{text}\n"), &verifier(), now()).unwrap(), list());
}

#[test]
fn tokens_and_users_on_it_are_refused() {
    for (user, id, issued, revoked) in [
        ("alice", json!("an id"), json!(NOW), true),
        ("alice", json!("another"), json!(NOW), false),
        ("alice", json!(null), json!(NOW), false),
        ("bob", json!("another"), json!(NOW), true),
        ("carol", json!("another"), json!(NOW), false),
        ("carol", json!("another"), json!(NOW - 1), true),
        ("carol", json!("another"), json!(null), true),
        ("Bob", json!("another"), json!(NOW), false),
    ] {
        let token = token(user, id, issued);
        assert_eq!(list().is_revoked(&token), revoked, "{token:?}");
        let answer = if revoked { Err(Refused::Revoked { user: user.into() }) } else { Ok(()) };
        assert_eq!(list().check(&token), answer);
    }
    let refused = list().check(&token("bob", json!(null), json!(null))).unwrap_err();
    assert_eq!((refused.status(), refused.to_string().as_str()), (401, "Token has been revoked"));
}

#[test]
fn its_age_is_told() {
    let at = |seconds: i64| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs((NOW + seconds).unsigned_abs());
    assert!(!list().stale(at(60)) && list().stale(at(61)));
    let older = Revocations { issued: NOW - 1, ..list() };
    assert!(list().replaces(&older) && list().replaces(&list()) && !older.replaces(&list()));
    let endless = Revocations { issued: i64::MAX, max_age: i64::MAX, ..list() };
    assert!(!endless.stale(at(0)));
}

#[test]
fn a_token_is_no_list_and_a_list_is_no_token() {
    let header = r#"{"alg":"RS256","typ":"JWT"}"#;
    let parse =
        |payload: &Value| Revocations::parse(&signed(header, payload.to_string().as_bytes()), &verifier(), now());
    assert!(parse(&claims()).is_err());
    let good = json!({ "type": "revocations", "iat": NOW, "max_age": 60 });
    assert!(parse(&good).is_ok_and(|list| list.tokens.is_empty() && list.users.is_empty()));
    for (name, value) in [
        ("type", json!("access")),
        ("type", json!(null)),
        ("iat", json!(NOW + 11)),
        ("iat", json!("now")),
        ("max_age", json!(null)),
        ("tokens", json!("an id")),
        ("users", json!(["bob"])),
        ("users", json!({ "bob": "always" })),
        ("roles", json!(["analyst"])),
    ] {
        let mut list = good.clone();
        list[name] = value;
        assert!(parse(&list).is_err(), "{list}");
    }
    let mut both = claims();
    both["type"] = json!("revocations");
    assert_eq!(verify(&both).unwrap_err().to_string(), "Missing or invalid claim: type");
    assert!(
        Revocations::parse(&signed("{\"alg\":\"none\"}", good.to_string().as_bytes()), &verifier(), now()).is_err()
    );
}
