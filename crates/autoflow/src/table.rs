//! How AutoFlow stands: for a terminal, for programs.

use serde_json::{Value, json};

use crate::engine::Standing;
use crate::store::{Run, State};
use crate::workflows::REFERENCE_DATE;

/// A moment, `2026-03-01 06:00:12`; nothing for none.
pub fn moment(seconds: i64) -> String {
    if seconds == 0 {
        return String::new();
    }
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!("{} {:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second())
}

/// What becomes of a run.
pub fn outlook(run: &Run) -> String {
    match (run.state, run.next_try) {
        (State::Failed, 0) => format!("failed, given up after {} attempts", run.attempts),
        (State::Failed, next) => format!("failed, again at {}", moment(next)),
        (state, _) => state.name().to_owned(),
    }
}

/// What there is to say beside the runs, a line each.
pub fn notes(standing: &Standing, looked: Option<&(i64, String)>) -> Vec<String> {
    let mut notes = Vec::new();
    match looked {
        Some((at, said)) => notes.push(format!("days were asked for: {said} (known since {} UTC)", moment(*at))),
        None => notes.push("days have not been asked for yet".to_owned()),
    }
    match (&standing.workflows, standing.next) {
        (Some(workflows), Some(next)) => {
            let at = next.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
            let schedule = workflows.sensor.schedule.as_ref().map_or("", |schedule| schedule.text());
            notes.push(format!("they are asked for next at {} UTC ({schedule})", moment(at)));
        }
        (Some(_), None) => notes.push("there is no schedule: they are asked for once".to_owned()),
        (None, _) => {}
    }
    notes.extend(
        standing.broken.iter().map(|why| format!("workflows.yml is broken, and what it said before counts: {why}")),
    );
    notes.extend(standing.token.clone());
    notes
}

/// A run for programs.
pub fn json_of(run: &Run) -> Value {
    json!({
        "run": run.id,
        "workflow": run.workflow,
        REFERENCE_DATE: run.reference,
        "parameters": run.parameters,
        "parameters_hash": run.hash,
        "state": run.state.name(),
        "attempts": run.attempts,
        "started": run.started,
        "ended": (run.ended != 0).then_some(run.ended),
        "next_try": (run.next_try != 0).then_some(run.next_try),
        "error": (!run.error.is_empty()).then_some(&run.error),
        "files": run.files,
    })
}
