use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

fn read(spec: &Value) -> Result<Spec, Fault> {
    Spec::parse(spec.to_string().as_bytes(), &Bounds::default())
}

fn fault(spec: &Value) -> String {
    read(spec).unwrap_err().to_string()
}

/// A spatial aggregate with this field in its daily location.
fn deep(name: &str, value: Value) -> Value {
    let mut location = json!({ "query_kind": "daily_location", "date": "2016-01-01", "aggregation_unit": "admin3" });
    location[name] = value;
    json!({ "query_kind": "spatial_aggregate", "locations": { "list": [[location]] } })
}

fn counts(interval: &str, end: &str) -> Value {
    json!({ "query_kind": "location_event_counts", "interval": interval, "start_date": "2016-01-01", "end_date": end })
}

#[test]
fn kinds_are_found_at_every_depth_and_the_text_stays() {
    let text = " {\"z\": [{\"query_kind\": \"b\", \"date\": \"2016-01-01\"}, {\"a\": {\"query_kind\": \"b\"}}],\n\"query_kind\" : \"a\", \"n\": 1.50}\n";
    let spec = Spec::parse(text.as_bytes(), &Bounds::default()).unwrap();
    assert_eq!((spec.text(), spec.kind(), spec.kinds()), (text.trim(), "a", &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(serde_json::to_string(spec.raw()).unwrap(), text.trim());
}

#[test]
fn what_is_no_spec_is_refused_in_upstreams_words() {
    for text in [
        "",
        "x",
        "[]",
        "\"query_kind\"",
        "{}",
        "{\"query_kind\": 1}",
        "{\"query_kind\": null}",
        "{\"query_kind\":\"a\"} x",
        "{\"query_kind\":\"a\",}",
        "{\"query_kind\":\"a\",\"n\":NaN}",
        "{\"query_kind\":\"a\",\"n\":1e999}",
        "\u{feff}{\"query_kind\":\"a\"}",
        "{\"query_kind\":\"\\ud800\"}",
        "[{\"query_kind\":\"a\"}]",
    ] {
        assert_eq!(Spec::parse(text.as_bytes(), &Bounds::default()).unwrap_err(), Fault::NotASpec, "{text}");
    }
    assert_eq!(Spec::parse(b"{\"query_kind\":\"\xff\"}", &Bounds::default()).unwrap_err().status(), 400);
}

#[test]
fn a_name_that_stands_twice_is_refused_however_it_is_written() {
    for text in [r#"{"query_kind":"a","query_kind":"a"}"#, r#"{"query_kind":"a","x":{"b":1,"\u0062":2}}"#] {
        assert!(matches!(Spec::parse(text.as_bytes(), &Bounds::default()), Err(Fault::Twice(_))), "{text}");
    }
}

#[test]
fn every_bound_holds() {
    let bounds =
        Bounds { bytes: 300, depth: 3, values: 9, queries: 2, entries: 4, text: 24, intervals: 3, ..Bounds::default() };
    let of = |spec: Value| Spec::parse(spec.to_string().as_bytes(), &bounds).map_err(|fault| fault.to_string());
    let fits = |spec: Value| assert!(of(spec.clone()).is_ok(), "{:?}", of(spec));
    let more = |spec: Value, what: &str| {
        assert_eq!(of(spec).unwrap_err(), format!("The query spec has more than {what}."));
    };
    let x = |value: Value| json!({ "query_kind": "a", "x": value });
    more(x(json!("y".repeat(300))), "300 bytes");
    fits(x(json!([[1]])));
    more(x(json!([[[1]]])), "3 levels");
    fits(x(json!([1, [2, 3, 4]])));
    more(x(json!([1, [2, 3, 4, 5], 6])), "9 values");
    more(x(json!([1, 2, 3, 4, 5])), "4 entries in one list");
    more(json!({ "query_kind": "a", "b": 1, "c": 1, "d": 1, "e": 1 }), "4 entries in one object");
    more(x(json!("y".repeat(25))), "24 bytes in one text");
    more(x(json!({ "y".repeat(25): 1 })), "24 bytes in one text");
    fits(x(json!({ "query_kind": "b" })));
    more(x(json!([{ "query_kind": "b" }, { "query_kind": "b" }])), "2 queries");
    fits(counts("day", "2016-01-04"));
    more(counts("day", "2016-01-04 00:00:01"), "3 intervals or periods");
    let periods = |n: u64| json!({ "query_kind": "calendar_activity", "start_date": "2016-01-01", "total_periods": n });
    fits(periods(3));
    more(periods(4), "3 intervals or periods");
    more(periods(u64::from(u32::MAX)), "3 intervals or periods");
}

#[test]
fn a_deep_text_costs_no_stack() {
    let text = format!("{{\"query_kind\":\"a\",\"x\":{}", "[".repeat(1 << 19));
    let many = Fault::TooMuch { most: 32, of: "levels" };
    assert_eq!(Spec::parse(text.as_bytes(), &Bounds::default()).unwrap_err(), many);
}

#[test]
fn what_stalls_flowmachine_is_counted() {
    assert!(read(&counts("min", "2016-01-01 06:40:00")).is_ok());
    assert_eq!(fault(&counts("min", "2016-01-03")), "The query spec has more than 400 intervals or periods.");
    assert!(read(&counts("hour", "2015-01-01")).is_ok(), "FlowMachine has its own word for that");
    assert_eq!(fault(&counts("second", "2016-01-02")), "The query spec's interval must be day, hour or min.");
    assert!(fault(&counts("day", "20160103")).starts_with("The query spec's end_date must be a date"));
    for total in [json!(0), json!(-3), json!(2.5), json!("3"), json!(null), json!(1e300)] {
        let spec = json!({ "query_kind": "calendar_activity", "start_date": "2016-01-01", "total_periods": total });
        assert_eq!(fault(&spec), "The query spec's total_periods must be a whole number above 0.");
        let spec = json!({ "query_kind": "total_active_periods", "total_periods": 1, "period_length": total });
        assert_eq!(fault(&spec), "The query spec's period_length must be a whole number above 0.");
    }
    for delay in [json!(6), json!(-1), json!(2.5), json!("1"), json!(null), json!([1])] {
        let spec = json!({ "query_kind": "dummy_query", "dummy_param": "x", "dummy_delay": delay });
        assert_eq!(fault(&spec), "The query spec's dummy_delay must be a whole number of seconds up to 5.");
    }
    assert!(read(&json!({ "query_kind": "dummy_query", "dummy_param": "x", "dummy_delay": 5 })).is_ok());
    let long = |start: &str, end: &str| {
        json!({ "query_kind": "a", "x": [
            { "query_kind": "b", "start_date": start, "end_date": end },
            { "start_date_b": "2016-01-01", "end_date_b": "2016-01-31" },
        ] })
    };
    assert!(read(&long("2016-01-01", "2024-01-01")).is_ok());
    assert_eq!(fault(&long("1700-01-01", "2199-12-31")), "The query spec has more than 20000 days of data.");
    assert!(fault(&long("2016-01-01", "20201231")).starts_with("The query spec's end_date must be a date"));
    for length in [10_001, 4_000_000, i64::MAX] {
        let spec = json!({ "query_kind": "calendar_activity", "start_date": "2016-01-01", "total_periods": 2, "period_length": length });
        assert_eq!(fault(&spec), "The query spec has more than 20000 days of data.");
    }
}

/// FlowMachine has but one word for a calendar that overflows and a database that is away.
#[test]
fn what_flowmachine_fails_over_is_refused_before() {
    for (name, value) in [
        ("date", "0000-01-01"),
        ("date", "0001-01-01"),
        ("end_date", "9999-12-31"),
        ("start_date_a", "10000-01-01"),
        ("dates", "99991231"),
        ("start_date", "2200-W01"),
    ] {
        let expected = format!("The query spec's {name} must be a date of the years 1700 to 2199.");
        assert_eq!(fault(&deep(name, json!(value))), expected, "{value}");
        assert_eq!(fault(&deep(name, json!([[value]]))), expected, "{value}");
    }
    for value in ["1700-01-01", "2199-12-31", "20160101", "x", "", "16"] {
        assert!(read(&deep("date", json!(value))).is_ok(), "{value}");
    }
    let config = json!({ "query_kind": "a", "config": { "port": 1 } });
    assert_eq!(fault(&config), "The query spec's config is no name that a query has.");
    assert!(read(&json!({ "query_kind": "a", "x": { "config": 1 } })).is_ok(), "deeper it is FlowMachine's to refuse");
}

#[test]
fn random_samples_are_counted() {
    let part = |sampling: Value| json!({ "query_kind": "b", "sampling": sampling });
    let all = json!({ "query_kind": "a", "x": [part(json!(null)), part(json!({ "size": 1 })), [part(json!("odd"))]] });
    assert_eq!((read(&all).unwrap().samples(), read(&deep("x", json!(1))).unwrap().samples()), (2, 0));
}

/// The injections of the contract's section on security, and their relatives.
#[test]
fn nothing_that_flowmachine_would_paste_gets_through() {
    let table = "must be the name of a table, as schema.table.";
    let allowed = "names a table that this server does not allow.";
    let id = "must be a query's id: 32 digits and letters from a to f.";
    let clean = "must be text without quotes, backslashes and control characters.";
    let param = "must be up to 64 letters, digits, dashes and underscores.";
    for (name, value, why) in [
        ("mapping_table", json!("geography.admin3'; DROP TABLE events.calls; --"), table),
        ("mapping_table", json!("admin3"), table),
        ("geom_table", json!("a.b.c"), table),
        ("geom_table", json!("geography."), table),
        ("geom_table", json!(["geography.admin3"]), table),
        ("geom_table", json!("geography.\"admin3\""), table),
        ("geom_table", json!("geography.admin3\u{0}"), table),
        ("geom_table", json!("geogräphy.admin3"), table),
        ("geom_table", json!("events.calls"), allowed),
        ("mapping_table", json!("Geography.admin3"), allowed),
        ("mapping_table", json!("cache.cached"), allowed),
        ("geom_table_join_column", json!("id; SELECT 1"), "must be the name of a column."),
        ("geom_table_join_column", json!(1), "must be the name of a column."),
        ("subscriber_subset", json!("x' OR 1=1 --"), id),
        ("subscriber_subset", json!("0123456789ABCDEF0123456789ABCDEF"), id),
        ("subscriber_subset", json!("0123456789abcdef0123456789abcdef\n"), id),
        ("subscriber_subset", json!({ "query_kind": "a" }), id),
        ("query_kind", json!("a:b"), "must be the name of a kind of query."),
        ("query_kind", json!(["daily_location"]), "must be the name of a kind of query."),
        ("query_kind", json!(""), "must be the name of a kind of query."),
        ("label", json!("o'clock"), clean),
        ("label", json!("a\\"), clean),
        ("dummy_param", json!("a b"), param),
        ("dummy_param", json!("é"), param),
        ("dummy_param", json!(""), param),
        ("dummy_param", json!(1), param),
        ("label_a", json!("a\u{0}"), clean),
        ("label_b", json!(["a", ["b", "\u{9f}"]]), clean),
        ("anything", json!("a\nb"), clean),
    ] {
        assert_eq!(fault(&deep(name, value.clone())), format!("The query spec's {name} {why}"), "{value}");
    }
    assert_eq!(fault(&deep("labels", json!({ "o'clock": {} }))), format!("The query spec's names {clean}"));
    for (name, value) in [
        ("mapping_table", json!(null)),
        ("mapping_table", json!("geography.admin3")),
        ("geom_table", json!("infrastructure.cells")),
        ("geom_table_join_column", json!("admin3pcod")),
        ("subscriber_subset", json!("0123456789abcdef0123456789abcdef")),
        ("subscriber_subset", json!(null)),
        ("label", json!("café, day")),
    ] {
        assert!(read(&deep(name, value.clone())).is_ok(), "{name}: {value}");
    }
}

#[test]
fn tables_can_be_allowed_one_by_one() {
    let tables = Tables { schemas: vec![], tables: vec!["population.grid".into()] };
    let bounds = Bounds { tables, ..Bounds::default() };
    let of = |table: &str| Spec::parse(deep("geom_table", json!(table)).to_string().as_bytes(), &bounds);
    assert!(of("population.grid").is_ok() && of("population.other").is_err() && of("geography.admin3").is_err());
}

#[test]
fn the_days_of_a_query_are_those_that_flowmachine_looks_at() {
    let day = |from, to| Reach::Between(from, to);
    let (first, second) = (datetime!(2016-01-01 0:00), datetime!(2016-01-02 0:00));
    for (spec, reach) in [
        (json!({ "query_kind": "daily_location", "date": "2016-01-01" }), day(first, second)),
        (
            json!({ "query_kind": "daily_location", "date": "2016-01-01 12:00" }),
            day(datetime!(2016-01-01 12:00), datetime!(2016-01-02 12:00)),
        ),
        (json!({ "query_kind": "x", "start_date": "2016-01-01", "end_date": "2016-01-02" }), day(first, second)),
        (
            json!({ "query_kind": "dfs_metric_total_amount", "start_date": "2016-01-01", "end_date": "2016-01-01" }),
            day(first, second),
        ),
        (
            json!({ "query_kind": "calendar_activity", "start_date": "2016-01-01", "total_periods": 12, "period_length": 2,
                 "period_unit": "hours" }),
            day(first, second),
        ),
        (
            json!({ "query_kind": "x", "start_date_a": "2016-01-01", "end_date_a": "2016-01-02", "start_date_b": "2016-02-01",
                 "end_date_b": "2016-02-03" }),
            day(first, datetime!(2016-02-03 0:00)),
        ),
        (json!({ "query_kind": "x", "dates": ["2016-01-01", ["2016-01-03"]] }), day(first, datetime!(2016-01-04 0:00))),
        (json!({ "query_kind": "x", "when": "2016-01-01" }), day(first, second)),
        // A day at least, whatever the end.
        (counts("min", "2016-01-01"), day(first, second)),
        (counts("min", "2016-01-01 01:00"), day(first, second)),
        (counts("day", "2016-01-03"), day(first, datetime!(2016-01-03 0:00))),
        (json!({ "query_kind": "geography", "aggregation_unit": "admin3" }), Reach::Nothing),
        (json!({ "query_kind": "dummy_query", "dummy_param": "x" }), Reach::Nothing),
    ] {
        assert_eq!(*read(&spec).unwrap().reach(), reach, "{spec}");
        let nested = json!({ "query_kind": "top", "list": [{ "x": [spec] }] });
        let expected = if reach == Reach::Nothing { Reach::Nothing } else { reach };
        assert_eq!(*read(&nested).unwrap().reach(), expected, "{nested}");
    }
}

#[test]
fn what_cannot_be_told_is_unknown() {
    let id = "0123456789abcdef0123456789abcdef";
    for spec in [
        json!({ "query_kind": "unique_locations" }),
        json!({ "query_kind": "x", "start_date": "2016-01-01" }),
        json!({ "query_kind": "x", "end_date_b": "2016-01-01" }),
        json!({ "query_kind": "x", "start_date": null, "end_date": "2016-01-02" }),
        json!({ "query_kind": "x", "start_date": 20160101, "end_date": "2016-01-02" }),
        json!({ "query_kind": "x", "date": "20160101" }),
        json!({ "query_kind": "x", "date": "2016-01-01", "when": "2016-W01" }),
        json!({ "query_kind": "x", "date": "2016-01-01", "subscriber_subset": id }),
        json!({ "query_kind": "x", "date": "2016-01-01", "y": [{ "query_kind": "y" }] }),
        json!({ "query_kind": "calendar_activity", "start_date": "2016-01-01", "total_periods": 2, "period_unit": "weeks" }),
        json!({ "query_kind": "calendar_activity", "total_periods": 2 }),
    ] {
        assert!(
            matches!(read(&spec).unwrap().reach(), Reach::Unknown(_)),
            "{spec}: {:?}",
            read(&spec).unwrap().reach()
        );
    }
}
