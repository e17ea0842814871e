//! Moments in files: how they are written, and in which time zone when they don't say.

use std::ops::Range;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use time::{Date, Month};

/// Microseconds in a second and in a day.
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Julian day of PostgreSQL's epoch, 2000-01-01, and that epoch in Unix seconds.
const EPOCH: i32 = 2_451_545;
const UNIX: i64 = 946_684_800;

/// Microseconds since PostgreSQL's epoch at which a day begins in UTC.
pub fn start_of(date: Date) -> i64 {
    i64::from(date.to_julian_day() - EPOCH) * DAY
}

/// The moments of a day of a zone's.
pub fn span(date: Date, zone: &Zone) -> Range<i64> {
    let start = |date: Date| match zone {
        Zone::Fixed(offset) => start_of(date) - i64::from(*offset) * SECOND,
        Zone::Named(zone) => start_in(zone, date).unwrap_or_else(|| start_of(date)),
    };
    start(date)..date.next_day().map_or(i64::MAX, start)
}

/// Where a clock is set forward at midnight a day begins an hour late.
fn start_in(zone: &TimeZone, date: Date) -> Option<i64> {
    let year = i16::try_from(date.year()).ok()?;
    let midnight = DateTime::new(year, u8::from(date.month()) as i8, date.day() as i8, 0, 0, 0, 0).ok()?;
    let moment = zone.to_ambiguous_timestamp(midnight).compatible().ok()?;
    Some(moment.as_microsecond() - UNIX * SECOND)
}

/// The UTC day of a moment in microseconds since PostgreSQL's epoch.
pub fn day_of(micros: i64) -> Option<Date> {
    let days = i32::try_from(micros.div_euclid(DAY)).ok()?;
    Date::from_julian_day(days.checked_add(EPOCH)?).ok()
}

/// How moments are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Writing {
    /// ISO 8601 and its like: `2016-01-31 23:59:59.5+01`, `20160131T235959Z`, `2016/01/31 23:59`.
    Iso,
    /// Seconds since 1970, perhaps with a fraction.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// A pattern of `strptime`, such as `%d/%m/%Y %H:%M:%S`.
    Pattern(String),
}

impl Writing {
    /// Reads what a person gave: `iso`, `epoch`, `epoch-ms` or a pattern.
    pub fn named(text: &str) -> Result<Writing, String> {
        match text {
            "iso" => Ok(Writing::Iso),
            "epoch" => Ok(Writing::Seconds),
            "epoch-ms" => Ok(Writing::Milliseconds),
            pattern if pattern.contains('%') => Ok(Writing::Pattern(pattern.to_owned())),
            _ => Err("give iso, epoch, epoch-ms, or a pattern such as %d/%m/%Y %H:%M:%S".to_owned()),
        }
    }
}

/// The zone of moments that name none.
#[derive(Clone, Debug)]
pub enum Zone {
    /// So many seconds east of Greenwich.
    Fixed(i32),
    /// One with its own history of offsets.
    Named(TimeZone),
}

impl Zone {
    /// Reads `UTC`, an offset such as `+05:30`, or a name such as `America/Port-au-Prince`.
    pub fn named(text: &str) -> Result<Zone, String> {
        if let Some(offset) = offset(text.as_bytes()) {
            return Ok(Zone::Fixed(offset));
        }
        let zone = TimeZone::get(text).map(Zone::Named);
        zone.map_err(|_| "give UTC, an offset such as +02:00, or a name such as Africa/Maputo".to_owned())
    }
}

/// Reads moments.
#[derive(Clone, Debug)]
pub struct Moments {
    /// How they are written.
    pub writing: Writing,
    /// Where, when they don't say.
    pub zone: Zone,
}

impl Moments {
    /// Microseconds since PostgreSQL's epoch; `None` for what is no moment.
    pub fn read(&self, text: &[u8]) -> Option<i64> {
        let text = text.trim_ascii();
        match &self.writing {
            Writing::Iso => {
                let (local, offset) = iso(text)?;
                match offset {
                    Some(offset) => Some(local - i64::from(offset) * SECOND),
                    None => self.in_local_zone(local),
                }
            }
            Writing::Seconds => unix(text, 6),
            Writing::Milliseconds => unix(text, 3),
            Writing::Pattern(pattern) => self.by_pattern(pattern, std::str::from_utf8(text).ok()?),
        }
    }

    fn in_local_zone(&self, local: i64) -> Option<i64> {
        match &self.zone {
            Zone::Fixed(offset) => Some(local - i64::from(*offset) * SECOND),
            Zone::Named(zone) => {
                let date = day_of(local)?;
                let micros = local.rem_euclid(DAY);
                let (second, nanos) = (micros / SECOND, (micros % SECOND) * 1000);
                let civil = DateTime::new(
                    i16::try_from(date.year()).ok()?,
                    u8::from(date.month()) as i8,
                    date.day() as i8,
                    (second / 3600) as i8,
                    (second / 60 % 60) as i8,
                    (second % 60) as i8,
                    nanos as i32,
                );
                in_zone(zone, civil.ok()?)
            }
        }
    }

    fn by_pattern(&self, pattern: &str, text: &str) -> Option<i64> {
        let parts = strtime::parse(pattern, text).ok()?;
        if let Ok(moment) = parts.to_timestamp() {
            return Some(moment.as_microsecond() - UNIX * SECOND);
        }
        let civil = parts.to_datetime().ok()?;
        match &self.zone {
            Zone::Named(zone) => in_zone(zone, civil),
            Zone::Fixed(offset) => Some(in_zone(&TimeZone::UTC, civil)? - i64::from(*offset) * SECOND),
        }
    }
}

/// Where a clock was set back an hour the later of two moments, as PostgreSQL takes it; where it was set forward, the moment
/// that the old offset gives.
fn in_zone(zone: &TimeZone, civil: DateTime) -> Option<i64> {
    let moment = zone.to_ambiguous_timestamp(civil).later().ok()?;
    Some(moment.as_microsecond() - UNIX * SECOND)
}

/// A number of seconds (`places` 6) or milliseconds (3) since 1970: what its unit is multiplied by has so many zeros.
fn unix(text: &[u8], places: usize) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let at = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..at], digits.get(at + 1..).unwrap_or_default());
    // Sixteen digits: the year 3000 in microseconds, and far from the end of an i64.
    if whole.is_empty() || whole.len() > 16 - places || (at < digits.len() && fraction.is_empty()) {
        return None;
    }
    let micros = number(whole)? * 10i64.pow(places as u32) + fraction_of(fraction, places)?;
    Some(if negative { -micros } else { micros } - UNIX * SECOND)
}

/// Microseconds since PostgreSQL's epoch by the wall clock, and seconds east of Greenwich if they are said.
fn iso(text: &[u8]) -> Option<(i64, Option<i32>)> {
    let mut at = Cursor { text };
    let year = at.number(4)?;
    let separator = at.any(b"-/");
    let month = at.number(2)?;
    if separator.is_some_and(|byte| at.any(&[byte]).is_none()) {
        return None;
    }
    let day = at.number(2)?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    at.any(b"Tt ")?;
    let hour = at.number(2)?;
    let colon = at.any(b":").is_some();
    let minute = at.number(2)?;
    let mut second = 0;
    let mut micros = 0;
    if at.is_digit(colon) {
        second = at.number(2)?;
        if at.any(b".,").is_some() {
            micros = fraction_of(at.digits(), 6)?;
        }
    }
    // As in PostgreSQL a second 60 is the next minute, and 24:00:00 the next day.
    let of_day = (hour * 3600 + minute * 60 + second) * SECOND + micros;
    if hour > 24 || minute > 59 || second > 60 || of_day > DAY {
        return None;
    }
    at.any(b" ");
    let offset = if at.text.is_empty() { None } else { Some(offset(at.text)?) };
    Some((start_of(date) + of_day, offset))
}

/// `Z`, `UTC`, `+05`, `-0530`, `+05:30:15`: seconds east of Greenwich, less than 16 hours.
fn offset(text: &[u8]) -> Option<i32> {
    if [&b"z"[..], b"utc", b"gmt"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Some(0);
    }
    let mut at = Cursor { text };
    let sign = if at.any(b"+-")? == b'-' { -1 } else { 1 };
    let hours = at.number(2)?;
    let mut rest = [0; 2];
    for part in &mut rest {
        if at.text.is_empty() {
            break;
        }
        at.any(b":");
        *part = at.number(2)?;
    }
    let seconds = hours * 3600 + rest[0] * 60 + rest[1];
    let fits = at.text.is_empty() && rest.iter().all(|&part| part < 60) && hours < 16;
    fits.then(|| sign * i32::try_from(seconds).expect("less than a day"))
}

/// The first digits of a fraction, as a number of `places` digits; rounded.
fn fraction_of(digits: &[u8], places: usize) -> Option<i64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let kept = &digits[..digits.len().min(places)];
    let up = digits.get(places).is_some_and(|&digit| digit >= b'5');
    Some(number(kept)? * 10i64.pow((places - kept.len()) as u32) + i64::from(up))
}

/// Digits and nothing else, at most 18 of them; no digits are 0.
fn number(digits: &[u8]) -> Option<i64> {
    let all = digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

struct Cursor<'a> {
    text: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, rest) = self.text.split_at_checked(digits)?;
        self.text = rest;
        number(head)
    }

    /// One of these bytes, if it is there.
    fn any(&mut self, bytes: &[u8]) -> Option<u8> {
        let (&first, rest) = self.text.split_first().filter(|(first, _)| bytes.contains(first))?;
        self.text = rest;
        Some(first)
    }

    /// All digits from here.
    fn digits(&mut self) -> &'a [u8] {
        let end = self.text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.text.len());
        let (head, rest) = self.text.split_at(end);
        self.text = rest;
        head
    }

    /// Whether a digit follows, after a colon where one is wanted (which is passed over).
    fn is_digit(&mut self, colon: bool) -> bool {
        if colon {
            return self.any(b":").is_some();
        }
        self.text.first().is_some_and(u8::is_ascii_digit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(writing: &str, zone: &str, text: &str) -> Option<i64> {
        let moments = Moments { writing: Writing::named(writing).unwrap(), zone: Zone::named(zone).unwrap() };
        moments.read(text.as_bytes()).map(|micros| micros + UNIX * SECOND)
    }

    const NEW_YEAR: i64 = 1_451_606_400 * SECOND; // 2016-01-01T00:00:00Z

    #[test]
    fn moments_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("2016-01-01 00:00:00", Some(0)),
            ("2016-01-01T00:00:00Z", Some(0)),
            ("20160101T000000+00", Some(0)),
            ("2016/01/01 00:00", Some(0)),
            ("20160101 0000", Some(0)),
            (" 2016-01-01 00:00:00 UTC ", Some(0)),
            ("2016-01-01 02:00:00+02", Some(0)),
            ("2016-01-01 05:30:00+05:30", Some(0)),
            ("2015-12-31 19:00:00-0500", Some(0)),
            ("2016-01-01 00:00:00.5", Some(500_000)),
            ("2016-01-01 00:00:00.1234567", Some(123_457)),
            ("2016-01-01 00:00:60", Some(60 * SECOND)),
            ("2016-01-01 24:00:00", Some(DAY)),
            ("2016-01-01 24:00:01", None),
            ("2016-01-01 25:00:00", None),
            ("2016-01-01 00:60:00", None),
            ("2016-02-30 00:00:00", None),
            ("2016-13-01 00:00:00", None),
            ("01/02/2016 00:00:00", None), // January or February?
            ("2016-01/01 00:00:00", None),
            ("2016-01-01", None),
            ("2016-01-01 ", None),
            ("2016-01-01 00:00:00+16", None),
            ("2016-01-01 00:00:00 EST", None),
            ("2016-01-01 00:00:00x", None),
            ("-016-01-01 00:00:00", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(read("iso", "UTC", text), expected.map(|micros: i64| NEW_YEAR + micros), "{text:?}");
        }
    }

    #[test]
    fn seconds_and_milliseconds_count_from_1970() {
        assert_eq!(read("epoch", "UTC", "1451606400"), Some(NEW_YEAR));
        assert_eq!(read("epoch", "UTC", "1451606400.25"), Some(NEW_YEAR + 250_000));
        assert_eq!(read("epoch-ms", "UTC", "1451606400001"), Some(NEW_YEAR + 1000));
        assert_eq!(read("epoch", "UTC", "-1"), Some(-SECOND));
        for bad in ["", "-", "1.", ".5", "1e9", "99999999999999999999", "12345678901"] {
            assert_eq!(read("epoch", "UTC", bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_zone_says_what_moments_without_one_mean() {
        for zone in ["+02:00", "Africa/Maputo"] {
            assert_eq!(read("iso", zone, "2016-01-01 02:00:00"), Some(NEW_YEAR), "{zone}");
            assert_eq!(read("iso", zone, "2016-01-01 01:00:00+01"), Some(NEW_YEAR), "{zone}");
            assert_eq!(read("%d/%m/%Y %H:%M:%S", zone, "01/01/2016 02:00:00"), Some(NEW_YEAR), "{zone}");
        }
        // Haiti: 2015-11-01 01:30 came twice, 2015-03-08 02:30 never.
        let haiti = "America/Port-au-Prince";
        assert_eq!(read("iso", haiti, "2015-11-01 01:30:00"), read("iso", "-05:00", "2015-11-01 01:30:00"));
        assert_eq!(read("iso", haiti, "2015-03-08 02:30:00"), read("iso", "-05:00", "2015-03-08 02:30:00"));
        assert!(Zone::named("Mars/Olympus").is_err());
        assert!(Writing::named("dd/mm/yyyy").is_err());
    }

    #[test]
    fn days_are_those_of_utc() {
        let date = time::macros::date!(2016 - 01 - 01);
        assert_eq!(day_of(start_of(date)), Some(date));
        assert_eq!(day_of(start_of(date) - 1), date.previous_day());
        assert_eq!(day_of(i64::MAX), None);
    }
}
