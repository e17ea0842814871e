use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::testing::{AUDIENCE, NOW, claims, now, private_pem, signed, verifier, verify};
use crate::{Dates, Keys, Minter, Refused, Verifier, Wish};

const HEADER: &str = r#"{"alg":"RS256","typ":"JWT"}"#;

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn refusal(claims: &Value) -> (u16, String) {
    let refused = verify(claims).unwrap_err();
    (refused.status(), refused.to_string())
}

#[test]
fn a_good_token_says_all_that_it_says() {
    let token = verify(&with("iss", json!("FLOWAUTH"))).unwrap();
    assert_eq!(
        (token.user.as_str(), token.id.as_deref(), token.issuer.as_deref()),
        ("alice", Some("an id"), Some("FLOWAUTH"))
    );
    assert_eq!((token.issued, token.not_before, token.expires), (Some(NOW), Some(NOW), Some(NOW + 300)));
    assert_eq!(
        (token.roles[0].name.as_str(), token.roles[0].scopes.len(), token.dates),
        ("analyst", 2, Dates::default())
    );
    let least = json!({ "sub": "alice", "aud": AUDIENCE, "user_claims": {} });
    let token = verify(&least).unwrap();
    assert_eq!((token.id, token.expires, token.roles.len()), (None, None, 0));
}

/// The rows of the contract's table of errors, and what is beside them.
#[test]
fn what_is_wrong_with_a_token_is_said_in_upstreams_words() {
    let future = NOW + 11;
    for (claims, status, text) in [
        (with("exp", json!(NOW)), 401, "Token has expired"),
        (with("exp", json!(NOW - 1)), 401, "Token has expired"),
        (with("exp", json!(-1e300)), 401, "Token has expired"),
        (with("aud", json!("OTHER")), 422, "Invalid audience"),
        (with("aud", json!(["OTHER"])), 422, "Invalid audience"),
        (with("aud", json!([AUDIENCE, 1])), 422, "Invalid audience"),
        (with("aud", Value::Null), 422, "Invalid audience"),
        (without("aud"), 422, "Token is missing the \"aud\" claim"),
        (with("nbf", json!(future)), 422, "The token is not yet valid (nbf)"),
        (with("iat", json!(future)), 422, "The token is not yet valid (iat)"),
        (without("sub"), 422, "Missing claim: sub"),
        (with("sub", json!(7)), 422, "Subject must be a string"),
        (with("sub", json!("")), 422, "Subject must be a string"),
        (with("type", json!("refresh")), 422, "Only access tokens are allowed"),
        (with("type", json!("revocations")), 422, "Missing or invalid claim: type"),
        (with("type", Value::Null), 422, "Missing or invalid claim: type"),
        (with("exp", Value::Null), 422, "Expiration Time claim (exp) must be an integer."),
        (with("exp", json!("soon")), 422, "Expiration Time claim (exp) must be an integer."),
        (with("nbf", json!([])), 422, "Not Before claim (nbf) must be an integer."),
        (with("iat", json!({})), 422, "Issued At claim (iat) must be an integer."),
        (with("jti", json!(1)), 422, "Invalid claim: jti: not a text"),
        (without("user_claims"), 422, "Missing claim: user_claims"),
    ] {
        assert_eq!(refusal(&claims), (status, text.to_owned()), "{claims}");
    }
}

#[test]
fn an_expired_token_is_told_to_the_log() {
    let expired = verify(&with("exp", json!(NOW - 1))).unwrap_err();
    assert_eq!(expired.event(), "EXPIRED_TOKEN");
    let Refused::Expired(expired) = expired else { panic!("{expired:?}") };
    assert_eq!(expired.user.as_deref(), Some("alice"));
    assert_eq!(serde_json::from_str::<Value>(&expired.claims).unwrap(), with("exp", json!(NOW - 1)));
}

#[test]
fn clocks_may_differ_a_little_but_the_end_is_the_end() {
    assert!(verify(&with("nbf", json!(NOW + 10))).is_ok());
    assert!(verify(&with("iat", json!(NOW as f64 + 10.9))).is_ok());
    let token = signed(HEADER, claims().to_string().as_bytes());
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs((NOW + seconds).unsigned_abs());
    assert!(verifier().verify(&token, at(299)).is_ok());
    assert!(verifier().verify(&token, at(300)).is_err());
    assert!(verifier().leeway(Duration::ZERO).verify(&token, at(-1)).is_err());
    assert!(verifier().leeway(Duration::MAX).verify(&token, SystemTime::UNIX_EPOCH).is_ok());
    assert!(verifier().verify(&token, SystemTime::UNIX_EPOCH - Duration::from_secs(1)).is_err());
}

#[test]
fn no_algorithm_but_ours_is_taken() {
    let payload = claims().to_string();
    for (header, text) in [
        (r#"{"alg":"none"}"#, "The specified alg value is not allowed"),
        (r#"{"alg":"HS256","typ":"JWT"}"#, "The specified alg value is not allowed"),
        (r#"{"alg":"RS512","typ":"JWT"}"#, "The specified alg value is not allowed"),
        (r#"{"alg":"rs256"}"#, "The specified alg value is not allowed"),
        (r#"{"alg":null}"#, "The specified alg value is not allowed"),
        (r#"{"typ":"JWT"}"#, "The specified alg value is not allowed"),
        (r#"{"alg":"RS256","crit":["exp"]}"#, "Unsupported critical extension"),
    ] {
        assert_eq!(
            verifier().verify(&signed(header, payload.as_bytes()), now()),
            Err(Refused::invalid(text)),
            "{header}"
        );
    }
    assert!(verifier().verify(&signed(r#"{"alg":"RS256","alg":"RS256"}"#, payload.as_bytes()), now()).is_err());
    assert!(verifier().verify(&signed(r#"{"alg":"RS256","kid":"any"}"#, payload.as_bytes()), now()).is_ok());
}

#[test]
fn what_is_no_signed_token_is_refused() {
    let good = signed(HEADER, claims().to_string().as_bytes());
    let parts: Vec<&str> = good.split('.').collect();
    let (signed_part, last) = good.rsplit_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(with("sub", json!("eve")).to_string());
    let swapped = format!("{}{}", if last.starts_with('A') { 'B' } else { 'A' }, &last[1..]);
    for (token, text) in [
        (String::new(), "Not enough segments"),
        ("abc".into(), "Not enough segments"),
        ("a.b".into(), "Not enough segments"),
        ("é.b.c".into(), "Invalid header padding"),
        (format!("{}=.{}.{}", parts[0], parts[1], parts[2]), "Invalid header padding"),
        (format!("{}.{}!.{}", parts[0], parts[1], parts[2]), "Invalid payload padding"),
        (format!("{good}.x"), "Invalid payload padding"),
        (format!("{good}="), "Invalid crypto padding"),
        (format!("{good}\n"), "Invalid crypto padding"),
        (format!("{}.{other}.{last}", parts[0]), "Signature verification failed"),
        (format!("{signed_part}.{swapped}"), "Signature verification failed"),
        (format!("{signed_part}."), "Signature verification failed"),
        (format!("{signed_part}.AAAA"), "Signature verification failed"),
        ("a".repeat((64 << 10) + 1), "Token is longer than 65536 bytes"),
    ] {
        let token: &str = &token;
        assert_eq!(verifier().verify(token, now()), Err(Refused::invalid(text)), "{token}");
    }
    for (header, payload) in
        [("x", "{}"), ("[]", "{}"), (HEADER, "x"), (HEADER, "[]"), (HEADER, r#"{"sub":"a","sub":"b"}"#)]
    {
        let refused = verifier().verify(&signed(header, payload.as_bytes()), now()).unwrap_err();
        let part = if header == HEADER { "Invalid payload string: " } else { "Invalid header string: " };
        assert!(refused.status() == 422 && refused.to_string().starts_with(part), "{refused}");
    }
}

#[test]
fn a_minted_token_is_verified_and_nobody_elses_key_will_do() {
    let roles = vec![("b".into(), vec!["run".into(), "get_result".into()]), ("a".into(), vec![])];
    let wish = Wish {
        user: "alice".into(),
        audience: AUDIENCE.into(),
        lifetime: Duration::from_secs(60),
        roles,
        dates: Dates::parse(None, Some("2016-01-31")).unwrap(),
        role_dates: [("a".to_owned(), Dates::parse(Some("2016-01-01"), None).unwrap())].into(),
    };
    let minter = Minter::parse(&private_pem()).unwrap().issuer("us");
    let text = minter.mint(&wish, now(), &mut rand::rngs::SysRng).unwrap();
    let token = verifier().verify(&text, now()).unwrap();
    assert_eq!((token.user.as_str(), token.issuer.as_deref(), token.expires), ("alice", Some("us"), Some(NOW + 60)));
    assert_eq!(token.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(token.roles[0].dates, wish.dates);
    assert_eq!(token.roles[1].dates, Dates::parse(Some("2016-01-01"), Some("2016-01-31")).unwrap());
    let other = Minter::parse(&private_pem()).unwrap().mint(&wish, now(), &mut rand::rngs::SysRng).unwrap();
    assert_ne!(verifier().verify(&other, now()).unwrap().id, token.id, "each has an id of its own");
}

/// Tokens that upstream's own generator has made (flowkit-jwt-generator 1.34.0 with PyJWT 2.15.1), both of its ways to write
/// roles: `generate_token(flowapi_identifier="TEST_SERVER", flowauth_identifier="FLOWAUTH", username="alice", private_key=…,
/// lifetime=timedelta(days=1), roles={"analyst": ["run", "get_result", "admin3:spatial_aggregate:spatial_aggregate",
/// "admin3:spatial_aggregate:daily_location"], "übersicht": ["get_available_dates"]}, compress=True)`, and `compress=False`.
/// The key was made for them and thrown away.
#[test]
fn upstreams_own_tokens_are_good() {
    let keys = Keys::parse(include_str!("../../tests/upstream/public.pem")).unwrap();
    let verifier = Verifier::new(keys, AUDIENCE);
    for text in [include_str!("../../tests/upstream/packed.jwt"), include_str!("../../tests/upstream/plain.jwt")] {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_919_688);
        let token = verifier.verify(text, made).unwrap();
        assert_eq!((token.user.as_str(), token.issuer.as_deref()), ("alice", Some("FLOWAUTH")));
        assert_eq!((token.issued, token.expires), (Some(1_795_919_688), Some(1_795_919_688 + 86_400)));
        let names: Vec<&str> = token.roles.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["analyst", "übersicht"]);
        assert!(
            token.roles[0].scopes.len() == 4
                && token.roles[0].scopes.contains("admin3:spatial_aggregate:daily_location")
        );
        assert!(token.id.is_some() && token.permit_dates().is_ok());
    }
}
