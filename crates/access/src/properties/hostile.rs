//! Whatever comes in, nothing panics, and what is let through keeps its promises.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::testing::{claims, now, signed, verifier};
use crate::{Bounds, Fault, Keys, Refused, Revocations, Spec, Verifier, bearer, claims::roles};

static VERIFIER: LazyLock<Verifier> = LazyLock::new(verifier);
static TOKEN: LazyLock<String> =
    LazyLock::new(|| signed(r#"{"alg":"RS256","typ":"JWT"}"#, claims().to_string().as_bytes()));

/// Names that the guard knows, and others.
const NAMES: [&str; 16] = [
    "query_kind",
    "mapping_table",
    "geom_table",
    "geom_table_join_column",
    "subscriber_subset",
    "label",
    "dummy_param",
    "date",
    "start_date",
    "end_date",
    "total_periods",
    "period_length",
    "interval",
    "sampling",
    "a",
    "it's",
];
const TEXTS: [&str; 16] = [
    "location_event_counts",
    "daily_location",
    "geography.admin3",
    "events.calls",
    "a'b",
    "0123456789abcdef0123456789abcdef",
    "2016-01-01",
    "2016-01-02 12:00:00",
    "2016-W01",
    "min",
    "",
    "a:b",
    "\u{0}",
    "x; --",
    "é",
    "\\",
];

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&TEXTS[..]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let name = prop_oneof![4 => prop::sample::select(&NAMES[..]).prop_map(String::from), 1 => any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((name, inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn query() -> impl Strategy<Value = Value> {
    (json(), json(), prop::sample::select(&TEXTS[..]))
        .prop_map(|(a, b, kind)| json!({ "x": a, "query_kind": kind, "y": b }))
}

/// Every text and name in a value must be harmless, and every named field of its form.
fn harmless(value: &Value) -> bool {
    let clean = |text: &str| !text.chars().any(|c| c.is_control() || "'\"`\\".contains(c));
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain =
        |text: &str| (1..64).contains(&text.len()) && text.chars().all(word) && !text.as_bytes()[0].is_ascii_digit();
    let table = |text: &str| {
        ["geography.", "infrastructure."].iter().any(|schema| text.strip_prefix(schema).is_some_and(plain))
    };
    let null_or = |value: &Value, form: &dyn Fn(&str) -> bool| value.is_null() || value.as_str().is_some_and(form);
    match value {
        Value::String(text) => clean(text),
        Value::Array(values) => values.iter().all(harmless),
        Value::Object(map) => map.iter().all(|(name, value)| {
            let form = match name.as_str() {
                "query_kind" => value.as_str().is_some_and(plain),
                "mapping_table" | "geom_table" => null_or(value, &table),
                "geom_table_join_column" => null_or(value, &plain),
                "subscriber_subset" => {
                    null_or(value, &|text| text.len() == 32 && text.chars().all(|c| "0123456789abcdef".contains(c)))
                }
                "dummy_param" => value
                    .as_str()
                    .is_some_and(|text| (1..65).contains(&text.len()) && text.chars().all(|c| word(c) || c == '-')),
                _ => true,
            };
            form && clean(name) && harmless(value)
        }),
        _ => true,
    }
}

proptest! {
    #[test]
    fn any_bytes_are_no_spec(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Spec::parse(&bytes, &Bounds::default());
    }

    #[test]
    fn a_spec_that_gets_through_is_harmless(query in query()) {
        let text = query.to_string();
        if let Ok(spec) = Spec::parse(text.as_bytes(), &Bounds::default()) {
            prop_assert!(harmless(&query), "{}", text);
            prop_assert_eq!(spec.text(), text);
            let _ = spec.reach().to_string();
        } else {
            // How long it is must be readable too.
            let is_counted = |name: &&str| text.contains(*name);
            let counted = ["total_periods", "location_event_counts", "start_date", "end_date"];
            prop_assert!(!harmless(&query) || counted.iter().any(is_counted), "{}", text);
        }
    }

    /// A spec that was torn or changed on its way is the same as its text says, or none.
    #[test]
    fn a_broken_spec_is_read_as_anybody_reads_it(query in query(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = query.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        match (Spec::parse(&text, &Bounds::default()), serde_json::from_slice::<Value>(&text)) {
            (Ok(spec), Ok(value)) => prop_assert_eq!(spec.kind(), value["query_kind"].as_str().unwrap()),
            (Ok(spec), Err(error)) => prop_assert!(false, "{:?}: {}", spec, error),
            (Err(Fault::Twice(_) | Fault::NotASpec | Fault::Field { .. } | Fault::TooMuch { .. }), _) => {}
        }
    }

    /// Reading stops at the bounds, whatever the text goes on to say.
    #[test]
    fn bounds_hold(query in query(), depth in 1..8usize, values in 1..40usize, entries in 1..6usize) {
        let bounds = Bounds { depth, values, entries, ..Bounds::default() };
        let count = |value: &Value| {
            fn all(value: &Value, depth: usize, into: &mut Vec<(usize, usize)>) {
                let (inner, entries): (Vec<&Value>, usize) = match value {
                    Value::Array(values) => (values.iter().collect(), values.len()),
                    Value::Object(map) => (map.values().collect(), map.len()),
                    _ => return into.push((depth, 0)),
                };
                into.push((depth + 1, entries));
                inner.into_iter().for_each(|value| all(value, depth + 1, into));
            }
            let mut into = Vec::new();
            all(value, 0, &mut into);
            into
        };
        let all = count(&query);
        let within = all.len() <= values && all.iter().all(|(deep, wide)| *deep <= depth && *wide <= entries);
        let read = Spec::parse(query.to_string().as_bytes(), &bounds);
        prop_assert_eq!(matches!(read, Err(Fault::TooMuch { of: "levels" | "values" | "entries in one list" | "entries in one object", .. })), !within);
    }

    #[test]
    fn any_text_is_no_token(text in any::<String>(), header in "[ -~]{0,40}") {
        prop_assert!(VERIFIER.verify(&text, now()).is_err());
        let three = format!("{header}.{header}.{header}");
        prop_assert!(VERIFIER.verify(&three, now()).is_err());
        let _ = bearer(Some(&text)).map(str::len);
    }

    /// A token of which one byte is another is never taken.
    #[test]
    fn a_changed_token_is_no_token(at in any::<prop::sample::Index>(), by in 1..94u8) {
        let mut token = TOKEN.clone().into_bytes();
        let at = at.index(token.len());
        // Another of the 94 characters that are seen.
        token[at] = b'!' + (token[at] - b'!' + by) % 94;
        prop_assert!(VERIFIER.verify(std::str::from_utf8(&token).unwrap(), now()).is_err());
    }

    #[test]
    fn any_claims_are_read_without_harm(value in json(), name in prop::sample::select(&["sub", "aud", "exp", "nbf", "iat", "jti",
        "iss", "type", "user_claims", "data_dates"][..])) {
        let mut claims = claims();
        claims[name] = value;
        match VERIFIER.accept(claims.to_string().as_bytes(), crate::testing::NOW) {
            Ok(token) => prop_assert!(token.user == claims["sub"] && token.expires.is_none_or(|end| end > crate::testing::NOW)),
            Err(refused) => prop_assert!(matches!(refused.status(), 401 | 422), "{:?}", refused),
        }
    }

    #[test]
    fn any_payload_is_read_without_harm(payload in vec(any::<u8>(), 0..200), value in json()) {
        prop_assert!(VERIFIER.accept(&payload, 0).is_err());
        prop_assert!(VERIFIER.accept(value.to_string().as_bytes(), 0).is_err());
    }

    #[test]
    fn any_packed_roles_are_read_without_harm(bytes in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        use base64::Engine;
        let read = |bytes: &[u8]| roles(Some(&base64::engine::general_purpose::STANDARD.encode(bytes).into()));
        prop_assert!(read(&bytes).is_err());
        let good = crate::claims::packed(&json!({ "analyst": ["run"] })).unwrap();
        let mut broken = base64::engine::general_purpose::STANDARD.decode(good.trim()).unwrap();
        let at = at.index(broken.len());
        broken.splice(at..at, bytes.iter().copied());
        if let Err(refused) = read(&broken) {
            prop_assert!(matches!(refused, Refused::Invalid(_)));
        }
    }

    #[test]
    fn any_text_holds_no_keys(text in any::<String>(), middle in "[A-Za-z0-9+/=\n]{0,200}") {
        prop_assert!(Keys::parse(&text).is_err());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{middle}\n-----END PUBLIC KEY-----\n");
        prop_assert!(Keys::parse(&pem).is_err());
        prop_assert!(Revocations::parse(&text, &VERIFIER, now()).is_err());
    }
}
