//! Queries for FlowMachine's server, made of their parts.

use serde_json::{Value, json};

/// Where people were at the end of a day of January 2016.
pub fn daily(unit: &str, day: u32) -> Value {
    json!({"query_kind": "daily_location", "date": date(day), "aggregation_unit": unit, "method": "last"})
}

fn date(day: u32) -> String {
    format!("2016-01-{day:02}")
}

fn dailies(unit: &str, days: std::ops::RangeInclusive<u32>) -> Vec<Value> {
    days.map(|day| daily(unit, day)).collect()
}

/// Where people were most often at the end of the days of a week.
pub fn modal(unit: &str) -> Value {
    json!({"query_kind": "modal_location", "locations": dailies(unit, 1..=7)})
}

fn visits(unit: &str, days: std::ops::RangeInclusive<u32>) -> Value {
    json!({"query_kind": "location_visits", "locations": dailies(unit, days)})
}

/// Where people were on most of the days.
pub fn majority(unit: &str, days: std::ops::RangeInclusive<u32>) -> Value {
    json!({
        "query_kind": "majority_location", "subscriber_location_weights": visits(unit, days),
        "minimum_total_weight": 1, "include_unlocatable": false,
    })
}

/// The same with a second choice.
pub fn coalesced(unit: &str, days: std::ops::RangeInclusive<u32>) -> Value {
    json!({
        "query_kind": "coalesced_location", "preferred_location": majority(unit, days.clone()),
        "fallback_location": majority(unit, days.clone()), "subscriber_location_weights": visits(unit, days),
        "weight_threshold": 1,
    })
}

/// Kinds of movers.
pub fn mobility(unit: &str) -> Value {
    json!({
        "query_kind": "mobility_classification", "locations": [coalesced(unit, 1..=3), coalesced(unit, 4..=7)],
        "stay_length_threshold": 2,
    })
}

/// All places of each person in two days.
pub fn unique(unit: &str) -> Value {
    json!({
        "query_kind": "unique_locations", "start_date": date(1), "end_date": date(3), "aggregation_unit": unit,
    })
}

/// A kind that needs no more than the week.
pub fn week(kind: &str) -> Value {
    json!({"query_kind": kind, "start_date": date(1), "end_date": date(8)})
}

/// What is in `more`, on top of what is in `base`.
pub fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(all), Value::Object(more)) = (&mut base, more) else { panic!("queries are objects") };
    all.extend(more);
    base
}

/// What the meaningful-locations kinds need: places that are visited in the evening, and those of working hours.
pub fn meaningful(kind: &str, unit: &str, more: Value) -> Value {
    // Hours of the day (x) and days of the week (y) are scored from -1 to 1; a place belongs to the label that its mean
    // scores lie in. What lies on a border belongs to none, and labels that touch each other are refused.
    let band = |west: f64, east: f64| {
        let (south, north) = (-1.1, 1.1);
        json!({"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]})
    };
    let hours: Vec<f64> = (0..24).map(|hour| if (8..18).contains(&hour) { 1.0 } else { -1.0 }).collect();
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let scores: serde_json::Map<String, Value> =
        days.iter().map(|day| (day.to_string(), json!(if day.starts_with('s') { -1 } else { 1 }))).collect();
    let base = json!({
        "query_kind": kind, "aggregation_unit": unit,
        "labels": {"evening": band(-1.1, 0.0), "day": band(0.01, 1.1)},
        "tower_hour_of_day_scores": hours, "tower_day_of_week_scores": scores,
        "tower_cluster_radius": 1.0, "tower_cluster_call_threshold": 0,
    });
    with(base, more)
}
