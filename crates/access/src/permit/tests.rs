use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::macros::date;

use crate::testing::{spec, token};
use crate::{Act, Denied, Spec};

fn locations(date: &str) -> Spec {
    let inner = json!({ "query_kind": "daily_location", "aggregation_unit": "admin2", "date": date });
    spec(&json!({ "query_kind": "spatial_aggregate", "locations": inner }))
}

const AGGREGATE: &str = "admin3:spatial_aggregate:spatial_aggregate";
const DAILY: &str = "admin3:spatial_aggregate:daily_location";

#[test]
fn one_role_must_hold_every_scope() {
    let spec = locations("2016-01-01");
    let whole = token(json!({ "viewer": ["get_result"], "analyst": ["run", AGGREGATE, DAILY] }), None);
    let grant = whole.permit(Act::Run, &spec, Some("admin3")).unwrap();
    assert_eq!(grant.scopes, ["run", AGGREGATE, DAILY]);
    assert_eq!(grant.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["analyst"]);
    assert!(whole.precheck(Act::Run, &spec).is_ok() && whole.permit(Act::Poll, &spec, Some("admin3")).is_ok());
    assert!(whole.precheck(Act::Get, &spec).is_err() && whole.permit(Act::Get, &spec, Some("admin3")).is_err());
    for parts in [
        json!({ "a": ["run"], "b": [AGGREGATE, DAILY] }),
        json!({ "a": ["run", AGGREGATE], "b": ["run", DAILY] }),
        json!({ "a": ["run", AGGREGATE, "admin2:spatial_aggregate:daily_location"] }),
        json!({ "a": ["run", AGGREGATE, "admin3:flows:daily_location"] }),
        json!({ "a": ["run", AGGREGATE, "*"] }),
        json!({}),
    ] {
        let token = token(parts, None);
        let denied = token.permit(Act::Run, &spec, Some("admin3")).unwrap_err();
        assert_eq!(denied.to_string(), "User claims verification failed");
        assert_eq!(token.precheck(Act::Run, &spec).unwrap_err().to_string(), denied.to_string());
    }
}

#[test]
fn the_unit_is_the_one_that_flowmachine_says() {
    let spec = locations("2016-01-01");
    let token =
        token(json!({ "a": ["run", AGGREGATE, DAILY, "nonspatial:spatial_aggregate:spatial_aggregate"] }), None);
    assert!(token.permit(Act::Run, &spec, Some("admin2")).is_err());
    assert!(token.permit(Act::Run, &spec, None).is_err(), "one of two triplets");
}

#[test]
fn what_is_no_query_has_scopes_of_its_own() {
    let token = token(json!({ "a": ["get_result", "admin3:geography:geography"], "b": ["get_qa_checks"] }), None);
    assert!(token.permit_geography("admin3").is_ok());
    assert!(token.permit_geography("admin2").is_err());
    assert!(token.permit_dates().is_err());
    assert!(token.permit_quality(None).is_ok());
    assert!(token.permit_quality(Some((date!(2016 - 01 - 01), time::Date::MAX))).is_ok());
}

fn limited(dates: Value) -> crate::Token {
    let scopes = json!(["run", "get_available_dates", "get_qa_checks", AGGREGATE, DAILY]);
    token(json!({ "a": scopes, "b": scopes }), Some(dates))
}

#[test]
fn days_are_limited_by_token_and_role() {
    let run =
        |dates: &Value, day: &str| limited(dates.clone()).permit(Act::Run, &locations(day), Some("admin3")).is_ok();
    let dates = json!({ "first": "2016-01-02", "last": "2016-01-05", "roles": { "a": { "last": "2016-01-03" } } });
    let allowed = |day: &str| run(&dates, day);
    assert!(!allowed("2016-01-01") && allowed("2016-01-02") && allowed("2016-01-05") && !allowed("2016-01-06"));
    let both = json!({ "roles": { "a": { "last": "2016-01-03" }, "b": { "last": "2016-01-04" } } });
    assert!(run(&both, "2016-01-04") && !run(&both, "2016-01-05"));
    let token = limited(dates);
    let spec = locations("2016-01-04");
    let grant = token.permit(Act::Run, &spec, Some("admin3")).unwrap();
    assert_eq!(grant.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["b"]);
    let denied = token.precheck(Act::Run, &locations("2016-01-06")).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "This token allows data from 2016-01-02 to 2016-01-03; the request is for data from 2016-01-06 until 2016-01-07"
    );
    assert!(token.permit_quality(Some((date!(2016 - 01 - 02), date!(2016 - 01 - 05)))).is_ok());
    assert!(token.permit_quality(Some((date!(2016 - 01 - 02), date!(2016 - 01 - 06)))).is_err());
    assert!(token.permit_quality(Some((date!(2016 - 01 - 02), time::Date::MAX))).is_err());
}

#[test]
fn only_days_that_may_be_seen_are_available() {
    let days = |days: &[&str]| days.iter().map(|day| (*day).to_owned()).collect::<Vec<_>>();
    let all = BTreeMap::from([
        ("calls".to_owned(), days(&["2016-01-03", "2016-01-01", "2016-01-06", "2016-01-05"])),
        ("sms".to_owned(), days(&["2016-01-01", "not a day"])),
    ]);
    let dates =
        json!({ "first": "2016-01-02", "roles": { "a": { "last": "2016-01-03" }, "b": { "last": "2016-01-05" } } });
    let token = limited(dates);
    let seen = token.permit_dates().unwrap().available(all.clone());
    assert_eq!(seen, BTreeMap::from([("calls".to_owned(), days(&["2016-01-03", "2016-01-05"]))]));
    let free = limited(json!({}));
    assert_eq!(free.permit_dates().unwrap().available(all.clone()), all);
}

#[test]
fn a_refusal_is_a_403() {
    let denied = Denied::Scopes { scopes: vec![] };
    assert_eq!((denied.status(), denied.event()), (403, "CLAIMS_VERIFICATION_FAILED"));
}
