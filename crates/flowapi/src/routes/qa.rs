//! What data there is, and how good.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::Date;
use time::macros::format_description;
use web::axum::extract::rejection::QueryRejection;
use web::axum::extract::{Path, Query, State};
use web::axum::response::IntoResponse as _;
use web::{Error, RequestId};

use super::{Answer, failed, json};
use crate::app::App;
use crate::audit;
use crate::caller::Caller;

/// The days with data, in their order, as far as the caller may see them.
pub async fn available_dates(State(app): State<Arc<App>>, caller: Caller, id: RequestId) -> Answer {
    const ACTION: &str = "get_available_dates";
    let grant = caller.permit_dates()?;
    audit::query!("get_available_dates");
    let reply = app.flowmachine.about(&app.asker(&caller, &id)?, ACTION, &[]).await?;
    if !reply.is_success() {
        return Err(failed(&reply, "error"));
    }
    let mut dates: BTreeMap<String, Vec<String>> = grant.available(reply.read(ACTION)?);
    dates.values_mut().for_each(|days| days.sort_unstable());
    json(StatusCode::OK, &BTreeMap::from([("available_dates", dates)]))
}

#[derive(Deserialize)]
struct Available {
    available_qa_checks: Box<RawValue>,
}

/// The checks that were made.
pub async fn list(State(app): State<Arc<App>>, caller: Caller, id: RequestId) -> Answer {
    const ACTION: &str = "list_qa_checks";
    caller.permit_quality(None)?;
    audit::query!("list_qa_checks");
    let reply = app.flowmachine.about(&app.asker(&caller, &id)?, ACTION, &[]).await?;
    if !reply.is_success() {
        return Err(failed(&reply, "error"));
    }
    let Available { available_qa_checks } = reply.read(ACTION)?;
    json(StatusCode::OK, &available_qa_checks)
}

/// A check's outcome on a day.
#[derive(Serialize, Deserialize)]
struct Outcome {
    outcome: String,
    type_of_query_or_check: String,
    cdr_date: String,
}

#[derive(Deserialize)]
struct Outcomes {
    qa_checks: Vec<Outcome>,
}

/// The first and the last day of a range.
#[derive(Default, Deserialize)]
pub struct Range {
    start_date: Option<String>,
    end_date: Option<String>,
}

/// A check's outcomes in a range of days.
pub async fn range(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: RequestId,
    Path((cdr_type, check_id)): Path<(String, String)>,
    range: Result<Query<Range>, QueryRejection>,
) -> Answer {
    let Range { start_date, end_date } = range.map(|Query(range)| range).unwrap_or_default();
    let (start, end) = (start_date.unwrap_or_default(), end_date.unwrap_or_default());
    let checks = outcomes(&app, &caller, &id, (&cdr_type, &check_id), (&start, &end)).await?;
    if checks.is_empty() {
        return Err(none(format!("No qa checks found for {cdr_type}, {check_id} between {start} and {end}")));
    }
    json(StatusCode::OK, &checks)
}

/// A check's outcome on one day, as a text.
pub async fn day(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: RequestId,
    Path((cdr_type, check_id, day)): Path<(String, String, String)>,
) -> Answer {
    let checks = outcomes(&app, &caller, &id, (&cdr_type, &check_id), (&day, &day)).await?;
    let Some(check) = checks.into_iter().next() else {
        return Err(none(format!("No qa checks found for {cdr_type}, {check_id} on {day}")));
    };
    // Upstream calls it a page; it is not one, and a browser should not take it for one.
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], check.outcome).into_response())
}

fn none(text: String) -> Error {
    Error::new(StatusCode::NOT_FOUND, text).with("status", "not found")
}

async fn outcomes(
    app: &App,
    caller: &Caller,
    id: &RequestId,
    (cdr_type, check_id): (&str, &str),
    (start, end): (&str, &str),
) -> Result<Vec<Outcome>, Error> {
    const ACTION: &str = "get_qa_checks";
    caller.permit_quality(None)?;
    let (Some(first), Some(last)) = (day_of(start), day_of(end)) else {
        let text = format!("Could not parse {start} or {end}; expected for format is YYYY-MM-DD");
        return Err(Error::new(StatusCode::BAD_REQUEST, text).with("status", "bad request"));
    };
    caller.permit_quality(Some((first, last)))?;
    audit::query!("get_qa_checks", cdr_type = cdr_type, check_id = check_id, start_date = start, end_date = end);
    // FlowMachine pastes them into SQL; no check has a name with anything else in it.
    if ![cdr_type, check_id].into_iter().all(is_plain) {
        return Err(none(format!("No qa checks found for {cdr_type}, {check_id}")));
    }
    let params = [("cdr_type", cdr_type), ("check_type", check_id), ("start_date", start), ("end_date", end)];
    let reply = app.flowmachine.about(&app.asker(caller, id)?, ACTION, &params).await?;
    if !reply.is_success() {
        return Err(failed(&reply, "error"));
    }
    let Outcomes { qa_checks } = reply.read(ACTION)?;
    Ok(qa_checks)
}

fn day_of(text: &str) -> Option<Date> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    (text.len() == 10).then_some(day)
}

fn is_plain(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_days_and_names_are_plain() {
        for (day, fine) in
            [("2016-01-01", true), ("2016-02-30", false), ("2016-1-1", false), ("+2016-01-0", false), ("", false)]
        {
            assert_eq!(day_of(day).is_some(), fine, "{day}");
        }
        for (name, fine) in
            [("count_imeis", true), ("a.b-c", true), ("", false), ("a'b", false), ("é", false), ("a b", false)]
        {
            assert_eq!(is_plain(name), fine, "{name}");
        }
    }
}
