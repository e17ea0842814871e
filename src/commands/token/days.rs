//! Days and lifetimes as they are typed.

use std::time::Duration;

use access::Dates;

/// Days of one role, as `NAME=FIRST..LAST`, either of which may be left out.
pub fn role_days(text: &str) -> Result<(String, Dates), String> {
    let form = || "give it as ROLE=FIRST..LAST, such as analyst=2016-01-01..2016-03-31".to_owned();
    let (role, days) = text.rsplit_once('=').filter(|(role, _)| !role.is_empty()).ok_or_else(form)?;
    let (first, last) = days.split_once("..").ok_or_else(form)?;
    let given = |day: &'_ str| (!day.is_empty()).then(|| day.to_owned());
    let dates = Dates::parse(given(first).as_deref(), given(last).as_deref())?;
    if dates.limited() { Ok((role.to_owned(), dates)) } else { Err(form()) }
}

/// A day as it stands in a token.
pub fn day(text: &str) -> Result<String, String> {
    Dates::parse(Some(text), None).map(|_| text.to_owned())
}

/// How long: numbers with a unit each, as `30d` or `1d12h`.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    let form = || "give a time such as 45m, 12h, 30d or 1d12h".to_owned();
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
        let number: u64 = rest[..end].parse().map_err(|_| form())?;
        let unit = match rest[end..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(form()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(form)?;
        rest = &rest[end + 1..];
    }
    // A thousand years: beyond them a calendar ends.
    if (1..=1000 * 366 * 86_400).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(form()) }
}

/// A stretch of time in its largest unit, for people.
pub fn rough(seconds: u64) -> String {
    let units = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
    // Two of the smaller unit say more than one of the larger.
    let (unit, long) = units.into_iter().find(|(_, long)| seconds >= 2 * long).unwrap_or(("second", 1));
    let count = seconds / long;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read() {
        for (text, seconds) in [("45s", 45), ("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("1w1d1s", 691_201)] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0d", "5", "d", "1x", "-1d", "1.5d", "1 d", "99999999999999999999d", "9999999w", "1é"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_of_a_role_are_read() {
        assert_eq!(role_days("a=2016-01-01.."), Ok(("a".into(), Dates::parse(Some("2016-01-01"), None).unwrap())));
        assert_eq!(role_days("a=b=..2016-01-01").unwrap().0, "a=b");
        for text in ["a", "a=", "a=..", "=2016-01-01..", "a=2016-01-01", "a=2016-1-1..", "a=2016-01-01..x"] {
            assert!(role_days(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_rounded_for_people() {
        for (seconds, text) in
            [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (86_400, "24 hours")]
        {
            assert_eq!(rough(seconds), text);
        }
    }
}
