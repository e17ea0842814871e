//! What a run is called: by its parameters, as upstream's AutoFlow has it.

use md5::{Digest as _, Md5};
use serde_json::{Map, Value};

/// Names parameters: MD5 of their JSON as Python's `json.dumps(…, sort_keys=True)` writes it, so that a database of upstream's still knows
/// what it has run.
pub fn hash(parameters: &Map<String, Value>) -> String {
    let mut text = String::new();
    write(&Value::Object(parameters.clone()), &mut text);
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `WORKFLOW_DAY_HASH`, a part of the name of every file of a run.
pub fn tag(workflow: &str, reference: &str, hash: &str) -> String {
    format!("{workflow}_{reference}_{hash}")
}

/// `20200101T000003Z`.
pub fn stamp(seconds: i64) -> String {
    let moment = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (moment.date(), moment.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", clock.hour(), clock.minute(), clock.second())
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                quote(key, text);
                text.push_str(": ");
                write(&map[key], text);
            }
            text.push('}');
        }
        Value::String(string) => quote(string, text),
        Value::Number(number) if number.is_f64() => text.push_str(&float(number.as_f64().unwrap_or_default())),
        other => text.push_str(&other.to_string()),
    }
}

/// As Python's `repr`: the fewest digits, and an exponent of two or more where it is below -4 or above 15.
fn float(number: f64) -> String {
    let short = format!("{number:e}");
    match short.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number:?}"),
    }
}

/// With everything beyond ASCII as `\uXXXX`.
fn quote(string: &str, text: &mut String) {
    let quoted = Value::from(string).to_string();
    for unit in quoted.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte < 0x7f => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_named_as_python_does() {
        // python3 -c 'import hashlib, json; print(hashlib.md5(json.dumps({…}, sort_keys=True, default=str).encode()).hexdigest())'
        let parameters = json!({
            "reference_date": "2016-01-07", "date_ranges": [["2016-01-06", "2016-01-07"], ["2016-01-07", "2016-01-08"]],
            "aggregation_unit": "admin2", "name": "Kédougou \"😀\"\n", "b": {"z": 1.5, "a": [true, null]}, "a": [],
        });
        assert_eq!(hash(parameters.as_object().unwrap()), "5af607a6bedae3c875d0ad2147325dfa");
        let floats =
            [0.0, -0.0, 1.0, 1e-4, 1e-5, 1.5e-5, 1e15, 1e16, 1.234_567_890_123_456_8e17, -2.5e-300, 1e300, 0.1];
        let as_python = [
            "0.0",
            "-0.0",
            "1.0",
            "0.0001",
            "1e-05",
            "1.5e-05",
            "1000000000000000.0",
            "1e+16",
            "1.2345678901234568e+17",
        ];
        let as_python = as_python.into_iter().chain(["-2.5e-300", "1e+300", "0.1"]);
        assert!(floats.iter().map(|number| float(*number)).eq(as_python));
        assert_eq!(stamp(1_577_836_803), "20200101T000003Z");
    }
}
