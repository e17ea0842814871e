use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::flowauth::URL;
use super::renewal::Renewal;
use super::*;

const DAY: i64 = 86_400;

pub(super) fn token(user: &str, made: i64, ends: i64) -> String {
    let payload = json!({ "sub": user, "aud": "flowapi_server", "iat": made, "exp": ends, "user_claims": {} });
    let parts = [r#"{"alg":"RS256","typ":"JWT"}"#.to_owned(), payload.to_string(), "nobody".to_owned()];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn tokens(dir: &Path) -> Tokens {
    Tokens { secrets: Secrets::only(dir), kept: Kept::of(dir), flowauth: Address::default() }
}

fn put(dir: &Path, name: &str, text: &str) {
    let _ = fs::remove_file(dir.join(name));
    fs::write(dir.join(name), text).unwrap();
}

#[test]
fn what_the_operator_puts_there_counts_more_than_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
    let user = || Inspection::read(tokens.current().unwrap().expose()).unwrap().token.user;
    assert!(tokens.current().unwrap_err().contains("flowkit auth enrol") && tokens.is_due(now));
    put(dir.path(), KEY, "flowauth_x");
    assert!(tokens.current().unwrap_err().contains("FlowAuth is asked for one"));

    tokens.keep(&Secret::new(token("own", now, now + 9 * DAY))).unwrap();
    assert_eq!(user(), "own");
    put(dir.path(), TOKEN, &token("operator", now, now + 9 * DAY));
    assert_eq!(user(), "operator");
    tokens.keep(&Secret::new(token("renewed", now, now + 9 * DAY))).unwrap();
    assert_eq!(user(), "renewed");
    put(dir.path(), TOKEN, &token("another", now, now + 9 * DAY));
    assert_eq!(user(), "another");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(dir.path().join("token")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn it_is_renewed_when_a_third_of_its_life_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
    put(dir.path(), TOKEN, &token("x", now - 6 * DAY, now + 3 * DAY));
    assert!(!tokens.is_due(now) && tokens.is_due(now + 60), "of nine days three are left");
    let text = token("x", 0, now + 14 * DAY);
    let (before, after) = (text.split_once('.').unwrap().0, text.rsplit_once('.').unwrap().1);
    let payload = json!({ "sub": "x", "exp": now + 14 * DAY, "user_claims": {} }).to_string();
    put(dir.path(), TOKEN, &format!("{before}.{}.{after}", URL_SAFE_NO_PAD.encode(payload)));
    assert!(!tokens.is_due(now) && tokens.is_due(now + 60), "it does not say when it was made");
}

#[test]
fn a_text_that_is_no_token_is_never_repeated() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), TOKEN, "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2ln");
    let tokens = tokens(dir.path());
    for said in [tokens.current().unwrap_err(), tokens.note(0).unwrap()] {
        assert!(said.contains("is no token") && !said.contains("c2Vj"), "{said}");
    }
}

#[tokio::test]
async fn what_fails_is_said_and_tried_later_and_later_but_at_once_with_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
    put(dir.path(), TOKEN, &token("x", now - 9 * DAY, now + DAY));
    assert!(!tokens.renew(now).await && tokens.note(now).unwrap().contains("make another"), "there is no key");
    put(dir.path(), KEY, "flowauth_x");
    assert_eq!(tokens.note(now), None, "it will be renewed");
    assert!(tokens.renew(now).await);
    let note = tokens.note(now).unwrap();
    assert!(note.contains("FLOWAPI_TOKEN ends at") && note.contains(&format!("{URL} is not set")), "{note}");
    assert!(!tokens.renew(now + 4).await && tokens.renew(now + 5).await);
    assert!(!tokens.renew(now + 14).await && tokens.renew(now + 15).await, "after twice as long");
    assert!(!tokens.renew(now + 16).await);
    put(dir.path(), KEY, "flowauth_y");
    assert!(tokens.renew(now + 16).await);
    let note = tokens.note(now + 2 * DAY).unwrap();
    assert!(note.starts_with("FLOWAPI_TOKEN ended at"), "{note}");
    // A clock that was in the future must not keep it from asking.
    fs::remove_file(dir.path().join(TOKEN)).unwrap();
    assert!(tokens.renew(now - 400 * DAY).await);
}

#[tokio::test]
async fn flowauth_is_not_asked_where_nothing_can_be_kept_and_later_and_later() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), KEY, "flowauth_x");
    put(dir.path(), "file", "");
    // Not even root writes there.
    let tokens = Tokens { kept: Kept::of(&dir.path().join("file/state")), ..tokens(dir.path()) };
    let now = 1_000 * DAY;
    assert!(tokens.renew(now).await);
    let note = tokens.note(now).unwrap();
    assert!(note.contains("FlowAuth is not asked") && !note.contains(URL), "{note}");
    assert!(!tokens.renew(now + 4).await && tokens.renew(now + 5).await);
    assert!(!tokens.renew(now + 14).await && tokens.renew(now + 15).await, "after twice as long");
    // Where it can be, nothing of the attempt is left.
    assert!(Kept::of(dir.path()).has_room().is_ok() && !dir.path().join("room").exists());
}

#[tokio::test]
async fn what_flowapi_does_not_take_is_renewed_and_that_later_and_later() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, now) = (tokens(dir.path()), 1_000 * DAY);
    let refused = |user: &str, at: i64| {
        put(dir.path(), TOKEN, &token(user, now, now + 9 * DAY));
        tokens.was_refused(&tokens.current().unwrap(), at);
    };
    refused("a", now);
    assert!(!tokens.is_due(now), "there is no key");
    put(dir.path(), KEY, "flowauth_x");
    refused("a", now);
    assert!(tokens.is_due(now) && tokens.note(now).unwrap().contains("FlowAPI does not take the token"));
    assert!(tokens.renew(now).await, "it is tried at once");
    assert!(tokens.note(now).unwrap().contains(&format!("{URL} is not set")));

    // As if another had been got, and not been taken either.
    tokens.kept.remember(Renewal { refusals: 1, ..Renewal::default() });
    refused("b", now);
    assert!(tokens.is_due(now) && !tokens.renew(now + 4).await && tokens.renew(now + 5).await);
    tokens.was_taken();
    assert!(!tokens.is_due(now) && tokens.kept.renewal().refusals == 0);
    assert!(!tokens.note(now).is_some_and(|note| note.contains("not take")));
}
