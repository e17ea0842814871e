use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::SysRng;
use serde_json::Value;

use super::*;
use crate::testing::{AUDIENCE, NOW, now, private_pem};

fn wish(roles: &[&str]) -> Wish {
    Wish {
        user: "alice".into(),
        audience: AUDIENCE.into(),
        lifetime: Duration::from_secs(60),
        roles: roles
            .iter()
            .map(|name| ((*name).to_owned(), vec!["run".into(), "get_result".into(), "run".into()]))
            .collect(),
        ..Wish::default()
    }
}

fn mint(wish: &Wish) -> Result<String, String> {
    let minter = Minter::parse(&private_pem()).unwrap().issuer("us");
    minter.mint(wish, now(), &mut SysRng).map_err(|error| error.to_string())
}

fn part(token: &str, number: usize) -> String {
    let part = token.split('.').nth(number).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Names, order and form are those of upstream's generator.
#[test]
fn a_token_looks_like_upstreams() {
    let token = mint(&wish(&["b", "a"])).unwrap();
    assert_eq!(part(&token, 0), r#"{"alg":"RS256","typ":"JWT"}"#);
    let payload = part(&token, 1);
    let claims: Value = serde_json::from_str(&payload).unwrap();
    let (id, roles) = (claims["jti"].as_str().unwrap(), claims["user_claims"].as_str().unwrap());
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(id.as_bytes()[14] == b'4' && matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
    let expected = format!(
        r#"{{"iat":{NOW},"nbf":{NOW},"jti":"{id}","user_claims":{},"sub":"alice","exp":{},"aud":"{AUDIENCE}","iss":"us"}}"#,
        claims["user_claims"],
        NOW + 60
    );
    assert_eq!(payload, expected);
    let both = |name: &str| (name.to_owned(), vec!["get_result".to_owned(), "run".to_owned()]);
    assert_eq!(claims::roles(Some(&roles.into())).unwrap(), claims::Roles(vec![both("b"), both("a")]));
}

#[test]
fn data_dates_are_said_where_there_are_any() {
    let mut wish = wish(&["a"]);
    wish.role_dates = [("a".to_owned(), Dates::default())].into();
    assert!(!part(&mint(&wish).unwrap(), 1).contains("data_dates"));
    wish.role_dates = [("a".to_owned(), Dates::parse(Some("2016-01-01"), None).unwrap())].into();
    wish.dates = Dates::parse(None, Some("2016-02-01")).unwrap();
    let said = r#""data_dates":{"last":"2016-02-01","roles":{"a":{"first":"2016-01-01"}}}"#;
    assert!(part(&mint(&wish).unwrap(), 1).contains(said));
}

#[test]
fn a_wish_that_makes_no_sense_is_refused() {
    let long = Wish { lifetime: Duration::MAX, ..wish(&[]) };
    assert!(mint(&long).is_ok(), "for as long as numbers go");
    for (wish, error) in [
        (Wish { user: String::new(), ..wish(&["a"]) }, "a token needs the name of its user"),
        (
            Wish { lifetime: Duration::from_millis(999), ..wish(&["a"]) },
            "a token that is good for 999ms would be of no use",
        ),
        (wish(&["a", "b", "a"]), "the role \"a\" is named twice"),
        (
            Wish { role_dates: [("b".to_owned(), Dates::default())].into(), ..wish(&["a"]) },
            "data dates are given for \"b\", which is none of the token's roles",
        ),
    ] {
        assert_eq!(mint(&wish).unwrap_err(), error);
    }
}
