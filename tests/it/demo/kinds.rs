//! Every kind of query that FlowMachine's server offers, on demo data, through the server: it ends as it should, and its
//! result can be read with FlowAPI's login. Each with a result is then asked for through FlowAPI as well, by both of upstream's
//! clients, and compared with what SQL says.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use flowkit::flowmachine::Status;
use serde_json::{Value, json};

use super::queries::{coalesced, daily, majority, meaningful, mobility, modal, unique, week, with};
use crate::flowapi::CLIENT;
use crate::support::flowapi::FlowApi;
use crate::support::flowmachine::FlowMachine;

/// How a query is expected to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// Completed, with rows in the result.
    Rows,
    /// Completed; there is no result to ask for.
    NoResult,
    /// Run, and ended with an error.
    Errored,
    /// Not run: the answer to the request says so, with these words.
    Refused(&'static str),
}
use Outcome::{Errored, NoResult, Refused, Rows};

/// One query and its expected end.
fn table() -> Vec<(Value, Outcome)> {
    let (a3, a2, a1, points) = ("admin3", "admin2", "admin1", "lon-lat");
    let kind = |kind: &str, more: Value| with(json!({ "query_kind": kind }), more);
    let of_week = |kind: &str, unit: &str| with(week(kind), json!({ "aggregation_unit": unit }));
    let between = |kind: &str, unit: &str| json!({"query_kind": kind, "from_location": daily(unit, 1), "to_location": daily(unit, 2), "join_type": "inner"});
    let week_of = json!({"start_date": "2016-01-01", "end_date": "2016-01-08"});
    let active = |unit: &str| {
        json!({
            "query_kind": "active_at_reference_location_counts", "unique_locations": unique(unit),
            "reference_locations": modal(unit),
        })
    };
    let total = |unit: &str, by: &str| with(of_week("total_network_objects", unit), json!({ "total_by": by }));
    let joined = |locations: Value, metric: Value, method: &str| json!({"query_kind": "joined_spatial_aggregate", "locations": locations, "metric": metric, "method": method});
    let histogram =
        |metric: Value| json!({"query_kind": "histogram_aggregate", "metric": metric, "bins": {"n_bins": 2}});
    let money = |unit: &str| {
        json!({
            "query_kind": "dfs_metric_total_amount", "aggregation_unit": unit, "metric": "amount",
            "start_date": "2016-01-01", "end_date": "2016-01-05",
        })
    };
    let evening = |unit: &str| {
        meaningful("meaningful_locations_aggregate", unit, with(json!({"label": "evening"}), week_of.clone()))
    };
    let statistic = |kind: &str| with(week(kind), json!({ "statistic": "avg" }));
    let visited_most_days = with(week("visited_most_days"), json!({ "aggregation_unit": a3 }));
    let displacement = |unit: &str| with(statistic("displacement"), json!({ "reference_location": daily(unit, 1) }));
    let calendar = json!({"start_date": "2016-01-01", "total_periods": 3, "period_unit": "days"});

    vec![
        // Each kind once ...
        (kind("dummy_query", json!({"dummy_param": "x", "aggregation_unit": a3})), NoResult),
        (between("flows", a3), Rows),
        (between("inflows", a3), Rows),
        (between("outflows", a3), Rows),
        (evening(a2), Rows),
        (
            meaningful(
                "meaningful_locations_between_label_od_matrix",
                a2,
                with(json!({"label_a": "evening", "label_b": "unknown"}), week_of.clone()),
            ),
            Rows,
        ),
        (
            meaningful(
                "meaningful_locations_between_dates_od_matrix",
                a2,
                json!({
                    "label": "evening", "start_date_a": "2016-01-01", "end_date_a": "2016-01-05",
                    "start_date_b": "2016-01-05", "end_date_b": "2016-01-10",
                }),
            ),
            Rows,
        ),
        (kind("geography", json!({ "aggregation_unit": a3 })), Rows),
        (
            kind(
                "location_event_counts",
                json!({
                    "aggregation_unit": a3, "interval": "day", "direction": "both", "start_date": "2016-01-01",
                    "end_date": "2016-01-03",
                }),
            ),
            Rows,
        ),
        (of_week("unique_subscriber_counts", a3), Rows),
        (with(of_week("location_introversion", a3), json!({ "direction": "both" })), Rows),
        (total(a3, "day"), Rows),
        (
            kind(
                "aggregate_network_objects",
                json!({"total_network_objects": total(a3, "hour"), "statistic": "median", "aggregate_by": "day"}),
            ),
            Rows,
        ),
        (money(a2), Rows),
        (kind("spatial_aggregate", json!({ "locations": daily(a3, 1) })), Rows),
        (joined(daily(a2, 1), week("radius_of_gyration"), "avg"), Rows),
        (histogram(with(week("event_count"), json!({ "direction": "both" }))), Rows),
        (active(a3), Rows),
        (
            kind(
                "unique_visitor_counts",
                json!({
                    "active_at_reference_location_counts": active(a3),
                    "unique_subscriber_counts": of_week("unique_subscriber_counts", a3),
                }),
            ),
            Rows,
        ),
        (of_week("consecutive_trips_od_matrix", a3), Rows),
        (kind("unmoving_counts", json!({ "locations": unique(a2) })), Rows),
        (
            kind(
                "unmoving_at_reference_location_counts",
                json!({"locations": unique(a2), "reference_locations": daily(a2, 1)}),
            ),
            Rows,
        ),
        (of_week("trips_od_matrix", a3), Rows),
        (kind("labelled_spatial_aggregate", json!({"locations": coalesced(a3, 1..=7), "labels": mobility(a3)})), Rows),
        (
            kind(
                "labelled_flows",
                json!({
                    "from_location": coalesced(a3, 1..=3), "to_location": coalesced(a3, 4..=7), "labels": mobility(a3),
                }),
            ),
            Rows,
        ),
        (kind("calendar_activity", calendar.clone()), Rows),
        (
            kind("localised_calendar_activity", with(calendar.clone(), json!({ "reference_location": daily(a3, 1) }))),
            Rows,
        ),
        // ... then other units, locations and metrics ...
        (kind("spatial_aggregate", json!({ "locations": daily(points, 1) })), Rows),
        (kind("spatial_aggregate", json!({ "locations": majority(a1, 1..=7) })), Rows),
        (kind("geography", json!({ "aggregation_unit": points })), Rows),
        (money("admin0"), Rows),
        (
            joined(
                daily(a2, 1),
                with(week("handset"), json!({"characteristic": "hnd_type", "method": "last"})),
                "distr",
            ),
            Rows,
        ),
        (joined(daily(a2, 1), statistic("topup_balance"), "median"), Rows),
        (joined(daily(a2, 1), displacement(points), "avg"), Rows),
        (histogram(week("subscriber_degree")), Rows),
        // ... and what can't work, whatever the data.
        (
            kind("spatial_aggregate", json!({ "locations": visited_most_days })),
            Refused("has no attribute 'spatial_unit'"),
        ),
        (joined(daily(a2, 1), displacement(a2), "avg"), Refused("does not have longitude/latitude columns")),
        (joined(daily(a2, 1), week("radius_of_gyration"), "distr"), Refused("Parameter validation failed")),
        (evening(points), Refused("Could not get reply for message")),
        (
            kind("localised_calendar_activity", calendar),
            Refused("missing 1 required positional argument: 'reference_location'"),
        ),
        (
            kind("daily_location", json!({"date": "2016-01-01", "aggregation_unit": a3, "method": "last"})),
            Refused("Parameter validation failed"),
        ),
        (kind("spatial_aggregate", json!({ "locations": daily(a3, 31) })), Refused("Unable to create query object")),
        (money(points), Errored),
    ]
}

/// What became of a query.
fn outcome(machine: &FlowMachine, query: &Value, id: &Result<String, String>) -> Result<(Outcome, usize), String> {
    let id = match id {
        Ok(id) => id,
        Err(refusal) => return Err(refusal.clone()),
    };
    let until = Instant::now() + Duration::from_secs(300);
    let state = loop {
        match machine.state(id) {
            state if !matches!(state.as_str(), "known" | "queued" | "executing") => break state,
            state => assert!(Instant::now() < until, "{query} is still {state}\n{}", machine.log()),
        }
        thread::sleep(Duration::from_millis(100));
    };
    if state != "completed" {
        assert_eq!(state, "errored", "{query}");
        return Ok((Errored, 0));
    }
    let reply = machine.request("get_sql_for_query_result", json!({ "query_id": id }));
    match reply.status {
        Status::Error => Ok((NoResult, 0)),
        Status::Success => {
            let sql = reply.payload["sql"].as_str().expect("SQL").to_owned();
            Ok((Rows, machine.cluster.ask("flowapi", &sql).len()))
        }
    }
}

#[test]
fn all_kinds_of_queries_end_as_they_should_on_demo_data() {
    let mut machine = FlowMachine::on(super::loaded(8, 2_000, 100));
    machine.start(&[]);
    let table = table();

    let offered = machine.request("get_available_queries", json!({})).payload;
    let offered: BTreeSet<String> = serde_json::from_value(offered["available_queries"].clone()).expect("names");
    let kinds = |wanted: fn(&Outcome) -> bool| -> BTreeSet<String> {
        let right = table.iter().filter(|(_, outcome)| wanted(outcome));
        right.map(|(query, _)| query["query_kind"].as_str().expect("a kind").to_owned()).collect()
    };
    assert_eq!(offered.len(), 27);
    assert_eq!(kinds(|outcome| matches!(outcome, Rows | NoResult)), offered, "every kind is in the table");

    // All are begun before the first is waited for: they run side by side, as an operator's queries do.
    let begun: Vec<Result<String, String>> = table
        .iter()
        .map(|(query, _)| {
            let reply = machine.request("run_query", query.clone());
            match reply.status {
                Status::Success => Ok(reply.payload["query_id"].as_str().expect("an id").to_owned()),
                Status::Error => Err(format!("{} {}", reply.msg, reply.payload)),
            }
        })
        .collect();
    let mut wrong = Vec::new();
    for ((query, expected), id) in table.iter().zip(&begun) {
        let found = outcome(&machine, query, id);
        let right = match (&found, expected) {
            (Ok((Rows, rows)), Rows) => *rows > 0,
            (Ok((found, _)), expected) => found == expected,
            (Err(refusal), Refused(words)) => refusal.contains(words),
            (Err(_), _) => false,
        };
        if !right {
            wrong.push(format!("expected {expected:?}, got {found:?}: {query}"));
        }
        // Shown when the test fails, or when it is asked not to hide it.
        say::tell!("{} {found:.300?}", query["query_kind"]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let with_rows = table.iter().zip(&begun).filter(|((_, outcome), _)| *outcome == Rows);
    let asked: Vec<(&Value, &str)> = with_rows.map(|((query, _), id)| (query, id.as_deref().expect("an id"))).collect();
    through_flowapi(&machine, &asked);
}

/// Runs each query of a file by the synchronous and the asynchronous client, and prints the rows that each got. Then asks for it
/// with the scopes that the contract's rule names and no other, for each unit in turn; then without one of them, and with one in
/// another role; and prints how often each was let in.
const ASK: &str = r#"
with http() as client:
    document = client.get("spec/openapi.json").json()
scopes = document["components"]["securitySchemes"]["token"]["x-security-scopes"]
specs = json.load(open(sys.argv[1]))
sync = connect(scopes=scopes)

async def later(spec):
    connection = await flowclient.connect_async(
        url=os.environ["URL"], token=token(scopes=scopes), ssl_certificate=os.environ["CERTIFICATE"])
    query = connection.make_api_query(spec)
    await query.run()
    return await query.get_result(poll_interval=0.1, disable_progress=True)

def rows(frame):
    return [frame.columns.tolist(), json.loads(frame.to_json(orient="values", double_precision=15))]

def kinds(value):
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    own = {value["query_kind"]} if isinstance(value, dict) and "query_kind" in value else set()
    return own.union(*map(kinds, inside))

def let_in(client, spec, *roles):
    bearer = token(roles={f"role {n}": sorted(scopes) for n, scopes in enumerate(roles)})
    status = client.post("run", json=spec, headers={"Authorization": f"Bearer {bearer}"}).status_code
    assert status in (202, 403), (spec, roles, status)
    return status == 202

def let_in_by(client, spec):
    needed = lambda unit: {"run"} | {f"{unit}:{spec['query_kind']}:{kind}" for kind in kinds(spec)}
    all_units = sorted({scope.split(":")[0] for scope in scopes if ":" in scope})
    units = [unit for unit in all_units if let_in(client, spec, needed(unit))]
    whole = needed(units[0]) if units else set()
    lacking = [scope for scope in whole if let_in(client, spec, whole - {scope})]
    apart = [scope for scope in whole if let_in(client, spec, whole - {scope}, {scope})]
    return [units, lacking, apart]

told = []
for spec in specs:
    query = sync.make_api_query(spec)
    query.run()
    first = query.get_result(poll_interval=0.1, disable_progress=True)
    told.append([query._query_id, rows(first), rows(asyncio.run(later(spec)))])
with http(scopes=[]) as client:
    for spec, one in zip(specs, told):
        one.append(let_in_by(client, spec))
print(json.dumps(told))
"#;

fn through_flowapi(machine: &FlowMachine, asked: &[(&Value, &str)]) {
    let api = FlowApi::start(machine, &[]);
    let specs = tempfile::NamedTempFile::new().expect("a file");
    let all: Vec<&Value> = asked.iter().map(|(query, _)| *query).collect();
    std::fs::write(specs.path(), serde_json::to_string(&all).expect("JSON")).expect("a file");
    let program = format!("import sys; sys.argv[1:] = [{:?}]\n{CLIENT}{ASK}", specs.path());
    let told = api.ask(&program);
    let told: Vec<(String, Told, Told, [Vec<String>; 3])> =
        serde_json::from_value(told).expect("what the program prints");
    assert_eq!(told.len(), asked.len());
    for ((query, id), (same, sync, later, [units, lacking, apart])) in asked.iter().zip(told) {
        assert_eq!(*id, same, "{query}");
        assert_eq!(units.len(), 1, "{query} is let in by the scopes of {units:?}");
        assert_eq!((lacking, apart), (vec![], vec![]), "{query} is let in without these, or with them in another role");
        let reply = machine.request("get_sql_for_query_result", json!({ "query_id": id }));
        let sql = reply.payload["sql"].as_str().expect("SQL").to_owned();
        for (columns, rows) in [sync, later] {
            // Each has its own form of a geometry.
            let kept: Vec<usize> = (0..columns.len()).filter(|at| !columns[*at].starts_with("geom")).collect();
            let names: Vec<String> = kept.iter().map(|at| format!("r.\"{}\"", columns[*at])).collect();
            let list = format!("SELECT json_build_array({})::text FROM (\n{sql}\n) r", names.join(", "));
            let expected = machine.cluster.ask("flowapi", &list);
            let expected = expected.iter().map(|row| serde_json::from_str::<Vec<Value>>(&row[0]).expect("JSON"));
            let got = rows.iter().map(|row| kept.iter().map(|at| row[*at].clone()).collect::<Vec<_>>());
            assert_eq!(sorted(got), sorted(expected), "{query}");
        }
    }
}

/// Columns and rows.
type Told = (Vec<String>, Vec<Vec<Value>>);

/// Rows as texts that differ where the values do: pandas makes floats of whole numbers, and has one word for null and NaN.
fn sorted(rows: impl Iterator<Item = Vec<Value>>) -> Vec<String> {
    fn shown(value: &Value) -> String {
        match value {
            Value::Number(number) => format!("{:.9e}", number.as_f64().expect("a float")),
            Value::String(text) if text == "NaN" => "null".to_owned(),
            Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
            value => value.to_string(),
        }
    }
    let mut rows: Vec<String> = rows.map(|row| row.iter().map(shown).collect::<Vec<_>>().join(", ")).collect();
    rows.sort_unstable();
    rows
}
