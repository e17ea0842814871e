//! Which days of data there are, as FlowAPI says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use flowkit_core::secrets::Secret;
use http::{Request, StatusCode, header};
use https::{Client, Place};
use serde_json::Value;
use time::Date;

use crate::workflows::{Sensor, iso};

/// The most that an answer may have, in bytes: a century of days of four kinds.
const MOST: usize = 8 << 20;

/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The day of `flowkit verify`, which is there while that runs, and for nobody's workflow.
const OF_VERIFY: Date = time::macros::date!(1972 - 06 - 15);

/// Days by kinds of call records.
pub type Days = BTreeMap<String, BTreeSet<Date>>;

/// Why there are none.
pub struct Away {
    /// In words, without the token.
    pub why: String,
    /// FlowAPI does not take the token.
    pub refuses: bool,
}

impl From<String> for Away {
    fn from(why: String) -> Away {
        Away { why, refuses: false }
    }
}

/// Asks FlowAPI for them.
///
/// # Errors
/// Why there is no answer.
pub async fn days(place: &Place, certificate: Option<&str>, token: &Secret) -> Result<Days, Away> {
    let trusted = match certificate {
        Some(certificate) => certificate.to_owned(),
        None => of_this_machine()?,
    };
    let request = Request::get("/api/0/available_dates")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "autoflow")
        .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()))
        .body(Bytes::new())
        .map_err(|_| "FLOWAPI_TOKEN holds characters that can't be sent".to_owned())?;
    let client = Client::issued(&*place.host, place.port, &trusted)?;
    let answer = tokio::time::timeout(PATIENCE, client.send(request, MOST)).await;
    let answer = answer
        .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
        .map_err(|error| say::in_full(&error))?;
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    match answer.status() {
        StatusCode::OK => Ok(read(&body["available_dates"]).ok_or_else(|| "its answer holds no days".to_owned())?),
        status => Err(Away {
            why: format!("it answers {status}: {}", body["msg"].as_str().unwrap_or_default()),
            // As upstream does: 422 is for one that another key has signed, or for another server.
            refuses: matches!(status, StatusCode::UNAUTHORIZED | StatusCode::UNPROCESSABLE_ENTITY),
        }),
    }
}

fn read(body: &Value) -> Option<Days> {
    let kinds = body.as_object()?.iter();
    let days = |days: &Value| days.as_array()?.iter().map(|day| iso(day.as_str()?)).collect::<Option<BTreeSet<_>>>();
    kinds.map(|(kind, all)| Some((kind.clone(), days(all)?))).collect()
}

/// The days that count for a sensor: of any of its kinds. And what is worth a warning.
pub fn counted(days: &Days, sensor: &Sensor) -> (BTreeSet<Date>, Vec<String>) {
    let none = |kind: &&String| days.get(*kind).is_none_or(BTreeSet::is_empty);
    let empty = sensor.cdr_types.iter().flatten().filter(none);
    let warnings = empty.map(|kind| format!("there are no days of {kind}")).collect();
    let counts = |kind: &String| sensor.cdr_types.as_ref().is_none_or(|kinds| kinds.contains(kind));
    let all = days.iter().filter(|(kind, _)| counts(kind)).flat_map(|(_, days)| days).copied();
    (all.filter(|day| *day != OF_VERIFY).collect(), warnings)
}

/// What this machine trusts, where it is usually kept.
///
/// # Errors
/// In words: it is nowhere.
pub fn of_this_machine() -> Result<String, String> {
    let places =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-bundle.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    let found = places.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.ok_or_else(|| "this machine trusts no issuer of certificates: set SSL_CERTIFICATE_FILE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_day_of_one_kind_is_a_day_of_all_and_none_at_all_is_no_error() {
        let days = json!({"calls": ["2016-01-02"], "sms": ["1972-06-15", "2016-01-01"], "mds": []});
        let days = read(&days).unwrap();
        let sensor = |kinds: Option<&[&str]>| Sensor {
            schedule: None,
            cdr_types: kinds.map(|kinds| kinds.iter().map(|kind| (*kind).to_owned()).collect()),
            workflows: Vec::new(),
        };
        let texts = |days: BTreeSet<Date>| days.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(counted(&days, &sensor(None)).0), ["2016-01-01", "2016-01-02"]);
        assert_eq!(texts(counted(&days, &sensor(Some(&["sms"]))).0), ["2016-01-01"]);
        let (none, warnings) = counted(&days, &sensor(Some(&["mds", "topups"])));
        assert_eq!(
            (none.len(), warnings),
            (0, vec!["there are no days of mds".to_owned(), "there are no days of topups".to_owned()])
        );
        assert_eq!(
            counted(&read(&json!({})).unwrap(), &sensor(None)),
            (BTreeSet::new(), Vec::new()),
            "an empty FlowKit"
        );
        assert!(read(&json!({"calls": ["soon"]})).is_none());
    }
}
