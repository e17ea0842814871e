//! Times as upstream's API has them: whole seconds here, two forms on the wire.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2026-01-31T12:00:00.000000Z`: in roles and servers.
pub fn iso(seconds: i64) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000000Z");
    moment(seconds).format(form).unwrap_or_default()
}

/// `Sat, 31 Jan 2026 12:00:00 GMT`: everywhere else.
pub fn http(seconds: i64) -> String {
    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    moment(seconds).format(form).unwrap_or_default()
}

/// Any RFC 3339 time, its fraction dropped. `None` for what is no time, or none that both forms could say.
pub fn parse(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
    (1970..=9999).contains(&moment.year()).then(|| moment.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_upstreams_and_any_rfc_3339_is_read() {
        assert_eq!(iso(1_577_836_800), "2020-01-01T00:00:00.000000Z");
        assert_eq!(http(1_577_836_800), "Wed, 01 Jan 2020 00:00:00 GMT");
        for text in ["2020-01-01T00:00:00.123Z", "2020-01-01T00:00:00Z", "2020-01-01T05:45:00.9+05:45"] {
            assert_eq!(parse(text), Some(1_577_836_800), "{text}");
        }
        for text in ["", "2020-01-01", "1577836800", "0001-01-01T00:00:00Z", "Wed, 01 Jan 2020 00:00:00 GMT"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
