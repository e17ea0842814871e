use std::sync::{Arc, Mutex};

use tracing::{debug, error, info, info_span, warn};

use super::*;

/// What is written while `work` runs.
fn written(options: &Options, work: impl FnOnce()) -> String {
    let out = Arc::new(Mutex::new(String::new()));
    let theirs = out.clone();
    let (subscriber, running) = to(options, move |lines| theirs.lock().unwrap().push_str(lines));
    tracing::subscriber::with_default(subscriber, work);
    drop(running);
    out.lock().unwrap().clone()
}

#[test]
fn a_line_for_people_has_the_fields_of_its_spans_and_steers_no_terminal() {
    let text = written(&Options { stamp: false, ..Options::default() }, || {
        let _span = info_span!("request", request = "4711", user = tracing::field::Empty).entered();
        tracing::Span::current().record("user", "ann \x1b[2J");
        warn!(rows = 3, ok = true, "odd\nINFO  forged\x1b]0;title\x07 \u{202e}");
        debug!("not at this level");
    });
    assert_eq!(
        text,
        "WARN  odd\\nINFO  forged\\u{1b}]0;title\\u{7} \\u{202e} request=4711 user=\"ann \\\\u{1b}[2J\" rows=3 ok=true\n"
    );
}

#[test]
fn json_is_one_object_a_line_and_its_own_names_are_not_replaced() {
    let json = written(&Options { format: Format::Json, ..Options::default() }, || {
        info!(time = "never", level = "none", bytes = 12_u64, name = "a\u{9b}b\n", "said");
        error!(error = &std::io::Error::other("no room") as &dyn std::error::Error, "failed");
    });
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"info".into(), &"said".into()));
    assert_eq!((&lines[0]["bytes"], &lines[0]["name"]), (&12.into(), &"a\\u{9b}b\\n".into()));
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'), "{}", lines[0]);
    assert_eq!((&lines[1]["level"], &lines[1]["error"]), (&"error".into(), &"no room".into()));
}

#[test]
fn structlogs_object_has_upstreams_names_and_json_in_it_stays_json() {
    let json = written(&Options { format: Format::Structlog, ..Options::default() }, || {
        let span = info_span!("request", request = "4711", user = tracing::field::Empty).entered();
        span.record("user", "ann");
        let spec = format!("{{{}\"query_kind\": \"a\\u001b\", \"n\": [1]}}", " ".repeat(9000));
        warn!(target: "audit", logger = "flowapi.query", json.query = %spec, json.token = "1", timestamp = "x", "run_query");
        info!(json.long = %format!("[{}1]", "10,".repeat(4000)), json.none = "{", "more");
    });
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = &lines[0];
    assert_eq!(
        (&line["event"], &line["logger"], &line["level"]),
        (&"run_query".into(), &"flowapi.query".into(), &"warning".into())
    );
    assert_eq!(line["request"], serde_json::json!({"request_id": "4711", "user": "ann"}));
    assert_eq!(line["query"], serde_json::json!({"query_kind": "a\\u{1b}", "n": [1]}), "spaces push nothing out");
    assert_eq!((&line["token"], &lines[1]["none"]), (&"(hidden)".into(), &"{".into()));
    let stamp = line["timestamp"].as_str().unwrap();
    assert!(stamp.len() == 27 && stamp.ends_with('Z'), "{stamp}");
    assert!(
        lines[1]["long"]
            .as_str()
            .is_some_and(|text| text.len() < 9000 && text.starts_with("[10,10,") && text.ends_with('…'))
    );
}

#[test]
fn what_is_secret_by_its_name_is_hidden_and_libraries_are_quiet() {
    let text = written(&Options { level: LevelFilter::DEBUG, stamp: false, ..Options::default() }, || {
        info!(authorization = "Bearer eyJ", cookie = "session=1", token = ?Some("eyJ"), "headers");
        debug!(target: "h2::codec", "received frame");
    });
    assert_eq!(text, "INFO  headers authorization=(hidden) cookie=(hidden) token=(hidden)\n");
}

#[test]
fn the_access_log_is_written_at_any_level() {
    let text = written(&Options { level: LevelFilter::ERROR, stamp: false, ..Options::default() }, || {
        info!(target: "access", status = 200, "GET");
        warn!("not at this level");
    });
    assert_eq!(text, "INFO  GET status=200\n");
}

#[test]
fn a_reader_that_stands_still_holds_up_nobody_and_what_is_lost_is_counted() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let out = Arc::new(Mutex::new(String::new()));
    let theirs = out.clone();
    let wait = Mutex::new(wait);
    let (subscriber, running) = to(&Options { stamp: false, ..Options::default() }, move |lines| {
        // Stands still until the sender is gone.
        let _ = wait.lock().unwrap().recv();
        theirs.lock().unwrap().push_str(lines);
    });
    tracing::subscriber::with_default(subscriber, || (0..20_000).for_each(|n| info!(n, "line")));
    drop(go);
    drop(running);
    let text = out.lock().unwrap();
    let lost: usize = text.lines().filter_map(|line| line.split_once(" lines dropped")?.0.parse::<usize>().ok()).sum();
    let kept = text.lines().filter(|line| line.starts_with("INFO")).count();
    assert!(lost > 0 && kept + lost == 20_000, "{kept} kept, {lost} lost");
}

#[test]
fn names_of_settings_are_known() {
    assert_eq!((Format::named("json"), Format::named("JSON")), (Some(Format::Json), None));
    assert_eq!((level("critical"), level("loud")), (Some(LevelFilter::ERROR), None));
}
