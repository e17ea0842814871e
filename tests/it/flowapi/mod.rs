//! FlowAPI as analysts meet it: upstream's client and upstream's tokens, over TLS, against real servers.

mod document;
mod large;
mod outage;

use serde_json::{Value, json};

use crate::support::flowapi::FlowApi;
use crate::support::flowmachine::FlowMachine;

/// What each program begins with.
pub(crate) const CLIENT: &str = include_str!("client.py");

fn asked(api: &FlowApi, program: &str) -> Value {
    api.ask(&format!("{CLIENT}{program}"))
}

fn started() -> (FlowMachine, FlowApi) {
    let mut machine = FlowMachine::new();
    machine.start(&[]);
    let api = FlowApi::start(&machine, &[]);
    (machine, api)
}

/// Runs queries of the day `DAY` and the next by the synchronous and by the asynchronous client, and gets results of every type.
pub(crate) const RESULTS: &str = r#"
connection = connect()
query = flowclient.spatial_aggregate(connection=connection, locations=daily(DAY))
query.run()
query.wait_until_ready(poll_interval=0.1)
frame = query.get_result(disable_progress=True)
shapes = query.get_result(format="geojson", disable_progress=True)
id = query._query_id

async def again():
    connection = await flowclient.connect_async(
        url=os.environ["URL"], token=token(), ssl_certificate=os.environ["CERTIFICATE"])
    query = connection.make_api_query({"query_kind": "spatial_aggregate", "locations": daily(DAY + 1)})
    await query.run()
    return await query.get_result(poll_interval=0.1, disable_progress=True)

later = asyncio.run(again())
with http() as client:
    csv = client.get(f"get/{id}.csv")
    files = {kind: client.get(f"get/{id}.{kind}") for kind in ["arrow", "parquet", "geoparquet", "fgb", "xls"]}
    packed = client.get(f"get/{id}", headers={"Accept-Encoding": "gzip"})
# What FlowAuth asks for its page of the deployment.
with http(scopes=["get_deployment"]) as client:
    deployment = client.get("deployment").json()
def frame_of(kind):
    import geopandas, io, pandas
    read = {"arrow": pandas.read_feather, "parquet": pandas.read_parquet, "geoparquet": geopandas.read_parquet, "fgb": geopandas.read_file}
    return read[kind](io.BytesIO(files[kind].content))
rows = lambda frame: sorted([pcod, int(value)] for pcod, value in zip(frame.pcod, frame.value))
print(json.dumps({
    "sync": rows(frame), "async": rows(later), "id": id,
    "csv": csv.text, "csv_kind": csv.headers["content-type"], "csv_name": csv.headers["content-disposition"],
    "features": sorted([f["properties"]["pcod"], f["properties"]["value"], f["geometry"]["type"]] for f in shapes["features"]),
    "deployment": deployment,
    "packed": packed.headers.get("content-encoding"), "same": len(packed.json()["query_result"]), "xls": files["xls"].status_code,
    "frames": {kind: rows(frame_of(kind)) for kind in ["arrow", "parquet", "geoparquet", "fgb"]},
    "shapes": [sorted(set(frame_of(kind).geom_type)) for kind in ["geoparquet", "fgb"]],
}))
"#;

#[test]
fn results_are_those_of_sql_by_both_clients_and_in_every_type() {
    let (machine, api) = started();
    let told = asked(&api, &format!("DAY = 2\n{RESULTS}"));
    let people = |day: u8| -> Value {
        let sql = format!(
            "SELECT pcod, count(*) FROM (
                SELECT DISTINCT ON (msisdn) msisdn, 'P' || (substr(location_id, 2)::int % 6) || (substr(location_id, 2)::int / 6) AS pcod
                FROM (SELECT msisdn, datetime, location_id FROM events.calls UNION ALL SELECT msisdn, datetime, location_id FROM events.sms) e
                WHERE datetime >= '2016-01-{day:02}' AND datetime < '2016-01-{:02}'
                ORDER BY msisdn, datetime DESC, location_id) last
             GROUP BY pcod HAVING count(*) > 15 ORDER BY pcod",
            day + 1
        );
        let rows = machine.cluster.ask("flowdb", &sql);
        rows.iter().map(|row| json!([row[0], row[1].parse::<i64>().unwrap()])).collect()
    };
    assert_eq!(told["sync"], people(2), "{told}");
    assert_eq!(told["async"], people(3));
    let flowdb = &told["deployment"]["flowdb"];
    let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("no number in {flowdb}"));
    assert!(number(&flowdb["bytes"]) > 1 << 20 && number(&flowdb["since"]) > 1_700_000_000);
    assert!(number(&told["deployment"]["flowmachine_answers_since"]) > 1_700_000_000);
    assert!(number(&flowdb["cache"]["results"]) >= 2 && number(&flowdb["cache"]["bytes"]) > 0);
    every_type_has_the_same(&told);

    let log = api.log();
    assert!(log.contains("\"event\":\"run_query\"") && log.contains("\"user\":\"ann\""), "{log}");
    assert!(log.contains("\"event\":\"get_result\"") && !log.contains("eyJ"), "no token is in a log: {log}");
}

/// What [`RESULTS`] has printed, of each type of file.
pub(crate) fn every_type_has_the_same(told: &Value) {
    let count = told["sync"].as_array().unwrap().len();
    assert!(count > 0, "something is compared");

    let csv = told["csv"].as_str().unwrap();
    let mut lines: Vec<String> = csv.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "pcod,value");
    lines.sort();
    let expected =
        told["sync"].as_array().unwrap().iter().map(|row| format!("{},{}", row[0].as_str().unwrap(), row[1]));
    assert_eq!(lines, expected.collect::<Vec<_>>());
    let id = told["id"].as_str().unwrap();
    assert_eq!(
        (&told["csv_kind"], &told["csv_name"]),
        (&json!("text/csv"), &json!(format!("attachment;filename={id}.csv")))
    );
    let features = told["features"].as_array().unwrap();
    for (feature, row) in features.iter().zip(told["sync"].as_array().unwrap()) {
        assert_eq!(*feature, json!([row[0], row[1], "MultiPolygon"]));
    }
    assert_eq!(features.len(), count);
    assert_eq!((&told["packed"], &told["same"], &told["xls"]), (&json!("gzip"), &json!(count), &json!(400)));

    let frames = told["frames"].as_object().unwrap();
    assert!(frames.len() == 4 && frames.values().all(|rows| *rows == told["sync"]), "{frames:?}");
    assert_eq!(told["shapes"], json!([["MultiPolygon"], ["MultiPolygon"]]));
}

/// Everything else that the client asks, and what it makes of a refusal.
const REST: &str = r#"
connection = connect()
dates = flowclient.get_available_dates
shapes = flowclient.get_geography(connection=connection, aggregation_unit="admin3")
said = {"dates": dates(connection=connection), "shapes": len(shapes["features"])}
said["checks"] = flowclient.get_available_qa_checks(connection=connection)
def refusal(ask):
    try:
        return repr(ask())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
said["unknown"] = refusal(lambda: flowclient.client.wait_for_query_to_be_ready(connection=connection, query_id="0" * 32))
said["refused"] = refusal(lambda: dates(connection=connect(scopes=["run"])))
said["expired"] = refusal(lambda: dates(connection=connect(lifetime=datetime.timedelta(seconds=-5))))
said["elsewhere"] = refusal(lambda: dates(connection=connect(flowapi_identifier="another")))
check = dict(connection=connection, event_type="calls", check_type="count_imeis")
said["outcome"] = flowclient.get_qa_check_outcome(event_date="2016-01-02", **check)
said["outcomes"] = flowclient.get_qa_check_outcomes(start_date="2016-01-01", end_date="2016-01-03", **check)
said["no_check"] = refusal(lambda: flowclient.get_qa_check_outcome(event_date="2016-01-01", **check))
wrong = {"query_kind": "spatial_aggregate", "locations": 1}
said["wrong_spec"] = refusal(lambda: flowclient.run_query(connection=connection, query_spec=wrong))
with http() as client:
    document = client.get("spec/openapi.json").json()
token_part = document["components"]["securitySchemes"]["token"]
said["scopes"], said["audience"] = len(token_part["x-security-scopes"]), token_part["x-audience"]
said["kinds"] = len(document["components"]["schemas"]["FlowmachineQuerySchema"]["oneOf"])
print(json.dumps(said))
"#;

#[test]
fn the_rest_of_the_client_works_and_refusals_are_what_it_expects() {
    let (machine, api) = started();
    let check = "INSERT INTO etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, outcome, timestamp)
                 VALUES ('2016-01-02', 'calls', 'count_imeis', '12', now())";
    machine.cluster.run("flowdb", check).unwrap();
    let told = asked(&api, REST);
    let days: Vec<String> = (1..=7).map(|day| format!("2016-01-{day:02}")).collect();
    assert_eq!(told["dates"], json!({ "calls": days, "sms": days }));
    assert_eq!(told["shapes"], 36);
    assert_eq!(told["checks"], json!([{"cdr_type": "calls", "type_of_query_or_check": "count_imeis"}]));
    assert_eq!(told["outcome"], "12");
    let outcome = json!({"outcome": "12", "type_of_query_or_check": "count_imeis", "cdr_date": "2016-01-02"});
    assert_eq!(told["outcomes"], json!([outcome]));
    for (what, begins) in [
        ("unknown", "FileNotFoundError"),
        ("refused", "FlowclientConnectionError: User claims verification failed"),
        ("expired", "FlowclientConnectionError: Token has expired"),
        (
            "elsewhere",
            "FlowclientConnectionError: Something went wrong: Invalid audience. API returned with status code: 422",
        ),
        ("no_check", "FileNotFoundError"),
        ("wrong_spec", "FlowclientConnectionError: "),
    ] {
        assert!(told[what].as_str().unwrap().starts_with(begins), "{what}: {told}");
    }
    assert_eq!((&told["scopes"], &told["kinds"]), (&json!(628), &json!(27)));
    assert_eq!(told["audience"], "flowapi_server");
}

/// Each way into FlowMachine that upstream's FlowAPI leaves open, tried with every right that there is.
pub(crate) const INJECTIONS: &str = r#"
canary = "canary7"
deep = lambda field, value: {"query_kind": "spatial_aggregate", "locations": daily(2) | {field: value}}
specs = [deep(field, value) for field, value in [
    ("mapping_table", f"geography.{canary}' OR true --"), ("mapping_table", f"events.{canary}"), ("mapping_table", f"a.b.{canary}"),
    ("geom_table", f"geography.{canary}\"; SELECT 1"), ("geom_table", f"cache.{canary}"), ("geom_table_join_column", f"{canary}; SELECT 1"),
    ("subscriber_subset", f"{canary}' UNION SELECT 1 --"), ("subscriber_subset", f"finist:{canary}")]]
specs.append({"query_kind": "dummy_query", "aggregation_unit": "admin3", "dummy_param": f"{canary}'"})
labelled = lambda labels, label: {"query_kind": "labelled_spatial_aggregate", "locations": daily(2), "subscriber_labels": {
    "query_kind": "mobility_classification", "locations": [daily(2)], "stay_length_threshold": 1, "labels": labels, "label": label}}
specs += [labelled({f"{canary}' OR 1": {"type": "Polygon"}}, "home"), labelled({"a": {}}, f"{canary}'); DROP TABLE a"),
    labelled({"a": {}}, f"{canary}\\"), labelled({"a": {}}, f"{canary}\n"), {**daily(2), "config": canary}]
kind = lambda kind: {"query_kind": "spatial_aggregate", "locations": daily(2) | {"query_kind": kind}}
specs += [kind(f"{canary}:x"), kind(f"{canary}' --"), kind([canary])]
chain = {"query_kind": canary}
for _ in range(40):
    chain = {"query_kind": "spatial_aggregate", "locations": chain}
specs += [chain, {"query_kind": "joined_spatial_aggregate", "locations": [{"query_kind": canary}] * 3000}]
texts = ['{"query_kind": "dummy_query", "query_kind": "%s"}' % canary, json.dumps(specs[0]).replace("'", "\\u0027"),
    json.dumps({"query_kind": canary, "x": "y" * (2 << 20)})]
with http() as client:
    statuses = [client.post("run", json=spec).status_code for spec in specs]
    statuses += [client.post("run", content=text, headers={"Content-Type": "application/json"}).status_code for text in texts]
    paths = [f"poll/{canary}'", f"get/finist:{canary}", f"poll/{canary}", f"qa/{canary}'/x/2016-01-01", f"qa/calls/{canary}%20x/2016-01-01",
        f"qa/calls/x/{canary}'", f"get/{'0' * 31}'{canary}", f"poll/%27%20OR%201--{canary}", f"get/..%2f{canary}"]
    statuses += [client.get(path).status_code for path in paths]
with http(scopes=["run"]) as client:
    statuses += [client.post("run", json=deep("mapping_table", f"geography.{canary}")).status_code]
    statuses += [client.get(f"geography/{canary}").status_code]
print(json.dumps(statuses))
"#;

#[test]
fn what_would_end_in_sql_or_in_an_unpickle_does_not_arrive() {
    let (machine, api) = started();
    let told = asked(&api, INJECTIONS);
    nothing_arrived(&told, &[machine.log(), machine.cluster.log()]);
}

/// By what [`INJECTIONS`] has printed, and by the logs of FlowMachine and FlowDB.
pub(crate) fn nothing_arrived(told: &Value, logs: &[String]) {
    // The last text is too long for any spec; a check's day is wrong, not unknown.
    let expected: Vec<u16> = [vec![400; 21], vec![413], vec![404; 5], vec![400], vec![404; 3], vec![403; 2]].concat();
    assert_eq!(*told, json!(expected));
    assert!(logs.iter().all(|log| !log.is_empty() && !log.contains("canary7")), "it arrived");
}
