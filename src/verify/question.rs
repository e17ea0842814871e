//! What is asked, in FlowMachine's words.

use serde_json::{Value, json};
use time::{Date, Duration};

/// A question whose answer is a number for each of some groups.
pub(super) struct Question {
    /// As FlowMachine and FlowAPI are asked it.
    pub spec: Value,
    /// The column of the answer that tells the groups apart; the number is in `value`.
    pub by: &'static str,
    /// What a token must allow for it.
    pub scopes: &'static [&'static str],
}

impl Question {
    /// People by area (admin3) at the end of a day.
    pub fn places(day: Date) -> Question {
        let locations = json!({
            "query_kind": "daily_location",
            "date": day.to_string(),
            "aggregation_unit": "admin3",
            "method": "last",
        });
        Question {
            spec: json!({ "query_kind": "spatial_aggregate", "locations": locations }),
            by: "pcod",
            scopes: &[
                "run",
                "get_result",
                "admin3:spatial_aggregate:spatial_aggregate",
                "admin3:spatial_aggregate:daily_location",
            ],
        }
    }

    /// People by how often they were in records of mobile data that day, from once to so often.
    pub fn how_often(day: Date, most: usize) -> Question {
        let metric = json!({
            "query_kind": "event_count",
            "start_date": day.to_string(),
            "end_date": (day + Duration::DAY).to_string(),
            "direction": "both",
            "event_types": ["mds"],
        });
        let edges: Vec<usize> = (1..=most + 1).collect();
        Question {
            spec: json!({ "query_kind": "histogram_aggregate", "metric": metric, "bins": { "bin_list": edges } }),
            by: "lower_edge",
            scopes: &[
                "run",
                "get_result",
                "nonspatial:histogram_aggregate:histogram_aggregate",
                "nonspatial:histogram_aggregate:event_count",
            ],
        }
    }
}
