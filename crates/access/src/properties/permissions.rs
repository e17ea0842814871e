//! Random roles and scopes against random nested queries. The reference looks at each day and each scope by itself.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::{Date, Duration, Month};

use crate::{Act, Bounds, Dates, Role, Spec, Token};

const TOPS: [&str; 3] = ["spatial_aggregate", "flows", "joined_spatial_aggregate"];
const SUBS: [&str; 4] = ["daily_location", "modal_location", "displacement", "spatial_aggregate"];
const UNITS: [Option<&str>; 3] = [Some("admin3"), Some("lon-lat"), None];
const ACTS: [Act; 3] = [Act::Run, Act::Poll, Act::Get];

fn day(number: u8) -> Date {
    Date::from_calendar_date(2016, Month::January, number).unwrap()
}

/// A query of some kind, with days and with queries within it, in objects and lists of any name.
fn query(kinds: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let days = prop_oneof![
        (1..9u8).prop_map(|date| json!({ "date": day(date).to_string() })),
        (1..9u8, 1..4u8).prop_map(|(from, long)| json!({ "start_date": format!("{} 00:00:00", day(from)),
                                                        "end_date": day(from + long).to_string() })),
        (1..9u8, 1..3u8, 1..3u8).prop_map(|(from, total, length)| json!({ "start_date": day(from).to_string(),
                                                        "total_periods": total, "period_length": length })),
    ];
    let leaf = (prop::sample::select(&SUBS[..]), days).prop_map(|(kind, mut days)| {
        days["query_kind"] = kind.into();
        days
    });
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            inner.clone().prop_map(|value| json!({ "x": value, "n": 1.5 })),
            (prop::sample::select(&SUBS[..]), inner)
                .prop_map(|(kind, value)| json!({ "locations": value, "query_kind": kind,
                                                        "date": "2016-01-04" })),
        ]
    });
    (prop::sample::select(kinds), tree)
        .prop_map(|(kind, value)| json!({ "metric": value, "query_kind": kind, "date": "2016-01-04" }))
}

fn scopes() -> impl Strategy<Value = BTreeSet<String>> {
    let mut all: Vec<String> = vec!["run".into(), "get_result".into(), "get_available_dates".into()];
    for (unit, top) in UNITS.iter().flat_map(|unit| TOPS.iter().map(move |top| (unit.unwrap_or("nonspatial"), top))) {
        all.extend(SUBS.iter().chain(&TOPS).map(|kind| format!("{unit}:{top}:{kind}")));
    }
    let count = all.len();
    // Most roles have nearly all, or nothing would ever be allowed.
    (vec(prop::bool::weighted(0.9), count), any::<bool>()).prop_map(move |(keep, plenty)| {
        let kept = all.iter().zip(keep).filter(|(_, keep)| *keep || plenty);
        kept.map(|(scope, _)| scope.clone()).collect()
    })
}

fn dates() -> impl Strategy<Value = Dates> {
    let open = |range: std::ops::Range<u8>| option::weighted(0.3, range.prop_map(day));
    (open(1..6), open(3..14)).prop_map(|(first, last)| Dates { first, last })
}

fn token() -> impl Strategy<Value = Token> {
    let role = |(scopes, dates): (BTreeSet<String>, Dates)| Role {
        name: "role".into(),
        scopes: scopes.into_iter().collect(),
        dates,
    };
    vec((scopes(), dates()).prop_map(role), 0..4).prop_map(|roles| Token {
        user: "alice".into(),
        id: None,
        issuer: None,
        issued: None,
        not_before: None,
        expires: None,
        roles,
        dates: Dates::default(),
    })
}

/// Every kind, by the contract's words: each object that has one, wherever it stands.
fn kinds(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("query_kind").map(|kind| kind.as_str().unwrap().to_owned()));
            map.values().for_each(|value| kinds(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| kinds(value, into)),
        _ => {}
    }
}

/// Every day that is looked at.
fn days(value: &Value, into: &mut BTreeSet<Date>) {
    let read = |value: &Value| day(value.as_str().unwrap()[8..10].parse().unwrap());
    match value {
        Value::Object(map) => {
            into.extend(map.get("date").map(read));
            if let Some(start) = map.get("start_date").map(read) {
                let number = |name: &str| map.get(name).and_then(Value::as_i64);
                let long = number("total_periods").map(|total| total * number("period_length").unwrap_or(1));
                let end = long.map_or_else(|| read(&map["end_date"]), |long| start + Duration::days(long));
                into.extend((0..40).map(|n| start + Duration::days(n)).filter(|day| *day < end));
            }
            map.values().for_each(|value| days(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| days(value, into)),
        _ => {}
    }
}

/// The rule as the contract states it, without one thought of speed.
fn granting(token: &Token, act: Act, query: &Value, unit: Option<&str>) -> Vec<usize> {
    let (mut inside, mut looked_at) = (Vec::new(), BTreeSet::new());
    kinds(query, &mut inside);
    days(query, &mut looked_at);
    let top = query["query_kind"].as_str().unwrap();
    let mut needed: Vec<String> =
        inside.iter().map(|kind| format!("{}:{top}:{kind}", unit.unwrap_or("nonspatial"))).collect();
    match act {
        Act::Run => needed.push("run".into()),
        Act::Get => needed.push("get_result".into()),
        Act::Poll => {}
    }
    let may = |role: &Role| {
        let mut allowed = true;
        for scope in &needed {
            allowed &= role.scopes.iter().any(|held| held == scope);
        }
        for day in &looked_at {
            allowed &= role.dates.first.is_none_or(|first| *day >= first);
            allowed &= role.dates.last.is_none_or(|last| *day <= last);
        }
        allowed
    };
    (0..token.roles.len()).filter(|role| may(&token.roles[*role])).collect()
}

proptest! {
    #[test]
    fn the_rule_is_the_rule(token in token(), query in query(&TOPS)) {
        let spec = Spec::parse(query.to_string().as_bytes(), &Bounds::default()).unwrap();
        for act in ACTS {
            let mut any = false;
            for unit in UNITS {
                let expected = granting(&token, act, &query, unit);
                let granted = token.permit(act, &spec, unit);
                let roles: Vec<usize> = granted.iter().flat_map(|grant| &grant.roles).map(|granted| {
                    token.roles.iter().position(|role| std::ptr::eq(role, *granted)).unwrap()
                }).collect();
                prop_assert_eq!(&roles, &expected, "{:?} of {} in {:?}", act, query, unit);
                prop_assert_eq!(granted.is_ok(), !expected.is_empty());
                any |= granted.is_ok();
            }
            prop_assert_eq!(token.precheck(act, &spec).is_ok(), any, "{:?} of {}", act, query);
        }
    }

    /// A token with less leave than another never gets more.
    #[test]
    fn less_is_less(token in token(), query in query(&TOPS), lost in any::<prop::sample::Index>(), dates in dates()) {
        let spec = Spec::parse(query.to_string().as_bytes(), &Bounds::default()).unwrap();
        let mut less = token.clone();
        for role in &mut less.roles {
            let scopes: Vec<String> = role.scopes.iter().cloned().collect();
            if !scopes.is_empty() {
                role.scopes.remove(&scopes[lost.index(scopes.len())]);
            }
            role.dates = role.dates.and(dates);
        }
        for (act, unit) in ACTS.into_iter().flat_map(|act| UNITS.map(|unit| (act, unit))) {
            prop_assert!(less.permit(act, &spec, unit).is_err() || token.permit(act, &spec, unit).is_ok());
        }
        for day in (1..15).map(day) {
            let shown = |token: &Token| token.permit_dates().is_ok_and(|grant| grant.shows(&day.to_string()));
            prop_assert!(!shown(&less) || shown(&token));
        }
    }
}
