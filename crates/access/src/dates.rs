//! Days of data: which ones a token may see, and which ones a query looks at.

use std::fmt;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, PrimitiveDateTime, Time};

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// A first and a last day of data, both included; either may be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dates {
    /// Nothing before this day.
    pub first: Option<Date>,
    /// Nothing after this day.
    pub last: Option<Date>,
}

impl Dates {
    /// Reads days as `2016-01-31`.
    ///
    /// # Errors
    /// Which text is no such day.
    pub fn parse(first: Option<&str>, last: Option<&str>) -> Result<Self, String> {
        let day = |text: &str| day(text).ok_or(format!("{text:?} is not a day such as 2016-01-31"));
        Ok(Self { first: first.map(day).transpose()?, last: last.map(day).transpose()? })
    }

    /// Whether there is a limit at all.
    pub fn limited(&self) -> bool {
        self.first.is_some() || self.last.is_some()
    }

    /// Whether no day at all is left.
    pub fn empty(&self) -> bool {
        matches!((self.first, self.last), (Some(first), Some(last)) if first > last)
    }

    /// The days that are in both.
    pub fn and(self, other: Self) -> Self {
        let last = match (self.last, other.last) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { first: self.first.max(other.first), last }
    }

    /// Whether this day may be seen.
    pub fn shows(&self, day: Date) -> bool {
        self.first.is_none_or(|first| first <= day) && self.last.is_none_or(|last| day <= last)
    }

    /// Whether all that a query looks at may be seen.
    pub fn cover(&self, reach: &Reach) -> bool {
        match reach {
            _ if !self.limited() => true,
            Reach::Nothing => true,
            Reach::Unknown(_) => false,
            Reach::Between(from, to) => {
                let first = self.first.is_none_or(|first| first.midnight() <= *from);
                // The last moment that there is has no midnight after it.
                let last = self.last.is_none_or(|last| last.next_day().is_none_or(|next| *to <= next.midnight()));
                !self.empty() && first && last
            }
        }
    }
}

impl fmt::Display for Dates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (None, None) => write!(out, "of any day"),
            (Some(first), None) => write!(out, "from {first} on"),
            (None, Some(last)) => write!(out, "up to {last}"),
            (Some(first), Some(last)) => write!(out, "from {first} to {last}"),
        }
    }
}

/// A day as `2016-01-31`.
pub(crate) fn day(text: &str) -> Option<Date> {
    Date::parse(text, DAY).ok().filter(|day| text.len() == 10 && day.year() > 0)
}

/// A moment of a query, in the data's own clock.
pub type Moment = PrimitiveDateTime;

/// The data that a query looks at: the hull of all that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// No data of any day.
    #[default]
    Nothing,
    /// From the first moment up to, and without, the second.
    Between(Moment, Moment),
    /// Can't be told, because of what is said here. Nobody with a limit may ask it.
    Unknown(String),
}

impl Reach {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Between(a, b), Self::Between(c, d)) => Self::Between(a.min(c), b.max(d)),
        }
    }

    /// From one moment for so long, backwards where that is negative.
    pub(crate) fn of(from: Moment, long: Duration) -> Self {
        match from.checked_add(long) {
            Some(to) => Self::Between(from.min(to), from.max(to)),
            None => Self::Unknown(format!("the time that {long} after {from} would be")),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(out, "data of no day"),
            Self::Between(from, to) => write!(out, "data from {} until {}", Plain(*from), Plain(*to)),
            Self::Unknown(why) => write!(out, "data of days that can't be told, because of {why}"),
        }
    }
}

/// A moment, and only the day of a midnight.
struct Plain(Moment);

impl fmt::Display for Plain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, (hour, minute, second)) = (self.0.date(), self.0.as_hms());
        match (hour, minute, second) {
            (0, 0, 0) => write!(out, "{date}"),
            _ => write!(out, "{date} {hour:02}:{minute:02}:{second:02}"),
        }
    }
}

/// A moment as queries write it: a day, or a day and a time with `T` or a space between. FlowMachine drops fractions of
/// seconds and offsets from UTC, and takes what is before them for the data's own clock; so do we. It can read further
/// forms (days without dashes, weeks), which nobody with a limit may use.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let (date, time) = text.split_at_checked(10)?;
    let date = day(date)?;
    if time.is_empty() {
        return Some(date.midnight());
    }
    let time = time.strip_prefix(['T', ' '])?;
    let clock = time.split(['.', '+', '-', 'Z']).next()?;
    let (rest, seconds) = (&time[clock.len()..], clock.len() == 8);
    let mut parts = clock.split(':').map(|part| match part.as_bytes() {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        _ => None,
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = if seconds { parts.next()?? } else { 0 };
    let time = Time::from_hms(hour, minute, second).ok()?;
    (parts.next().is_none() && tail(rest, seconds)).then(|| PrimitiveDateTime::new(date, time))
}

/// A fraction of three or six digits after seconds, and an offset.
fn tail(text: &str, seconds: bool) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let offset = match text.strip_prefix('.') {
        None => text,
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            if !seconds || !matches!(end, 3 | 6) {
                return false;
            }
            &fraction[end..]
        }
    };
    match offset.strip_prefix(['+', '-']) {
        Some(offset) => offset
            .split_once(':')
            .is_some_and(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2 && digits(hours) && digits(minutes)),
        None => offset.is_empty() || offset == "Z",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    #[test]
    fn moments_are_read_as_flowmachine_reads_them() {
        for (text, moment_) in [
            ("2016-01-31", datetime!(2016-01-31 0:00)),
            ("2016-01-31 12:30", datetime!(2016-01-31 12:30)),
            ("2016-01-31T12:30:59", datetime!(2016-01-31 12:30:59)),
            ("2016-01-31 23:59:59.999999", datetime!(2016-01-31 23:59:59)),
            ("2016-01-31T00:00:00+05:45", datetime!(2016-01-31 0:00)),
            ("2016-01-31T00:00:00.000Z", datetime!(2016-01-31 0:00)),
        ] {
            assert_eq!(moment(text), Some(moment_), "{text}");
        }
        for text in [
            "",
            "2016",
            "20160131",
            "2016-W01-1",
            "2016-1-31",
            "2016-02-30",
            "2016-01-31 ",
            "2016-01-31T",
            "2016-01-31 12",
            "2016-01-31 12:30:60",
            "2016-01-31 1:30",
            "2016-01-31 12:30:59.1",
            "2016-01-31 12:30.123",
            "2016-01-31x00:00",
            "2016-01-31 12:30:59+5",
            "2016-01-31 12:30:59 UTC",
            "0000-01-01",
            "-2016-01-01",
            "2016-01-31 12:30:59.123.456",
            "٢٠١٦-٠١-٣١",
            "2016-01-3١",
            "2016-01-31 12:30:+1",
            "+2016-01-3",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn both_days_of_a_limit_are_seen_whole() {
        let dates = Dates::parse(Some("2016-01-02"), Some("2016-01-03")).unwrap();
        let reach = |from, to| Reach::Between(from, to);
        assert!(dates.cover(&reach(datetime!(2016-01-02 0:00), datetime!(2016-01-04 0:00))));
        assert!(!dates.cover(&reach(datetime!(2016-01-01 23:59:59), datetime!(2016-01-04 0:00))));
        assert!(!dates.cover(&reach(datetime!(2016-01-02 0:00), datetime!(2016-01-04 0:00:01))));
        assert!(!dates.cover(&Reach::Unknown("x".into())));
        assert!(dates.cover(&Reach::Nothing));
        assert!(Dates::default().cover(&Reach::Unknown("x".into())));
        assert!(
            dates.shows(date!(2016 - 01 - 03))
                && !dates.shows(date!(2016 - 01 - 04))
                && !dates.shows(date!(2016 - 01 - 01))
        );
    }

    #[test]
    fn limits_only_ever_get_narrower() {
        let of = |first, last| Dates::parse(first, last).unwrap();
        let (a, b) = (of(Some("2016-01-02"), None), of(Some("2016-01-01"), Some("2016-01-05")));
        assert_eq!(a.and(b), of(Some("2016-01-02"), Some("2016-01-05")));
        assert_eq!(a.and(Dates::default()), a);
        let none = a.and(of(None, Some("2016-01-01")));
        assert!(none.empty() && !none.cover(&Reach::Between(datetime!(2016-01-02 0:00), datetime!(2016-01-02 0:00))));
    }

    #[test]
    fn the_last_day_of_all_is_no_reason_to_panic() {
        let dates = Dates { first: None, last: Some(Date::MAX) };
        assert!(dates.cover(&Reach::Between(datetime!(2016-01-02 0:00), datetime!(9999-12-31 23:59:59))));
        assert!(matches!(Reach::of(datetime!(9999-12-31 0:00), Duration::MAX), Reach::Unknown(_)));
        assert!(matches!(Reach::of(datetime!(2016-01-02 0:00), Duration::MIN), Reach::Unknown(_)));
    }
}
