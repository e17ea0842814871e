//! Date stencils: a few days, said relative to a reference date or by themselves. Intervals are half-open.

use time::{Date, Duration};

/// A part of a stencil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// One day.
    Day(Point),
    /// From a day up to but not including another.
    Interval(Point, Point),
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// This one.
    Date(Date),
    /// So many after the reference date.
    Offset(i64),
}

impl Point {
    fn at(self, reference: Date) -> Option<Date> {
        match self {
            Point::Date(date) => Some(date),
            // More days than there are.
            Point::Offset(days) if days.unsigned_abs() > 10_000_000 => None,
            Point::Offset(days) => reference.checked_add(Duration::days(days)),
        }
    }
}

/// As Python shows it.
impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Point::Date(date) => date.fmt(f),
            Point::Offset(days) => days.fmt(f),
        }
    }
}

/// The intervals of days that a stencil needs for a reference date; `None` where it makes no sense for that one.
pub fn ranges(stencil: &[Element], reference: Date) -> Option<Vec<(Date, Date)>> {
    stencil
        .iter()
        .map(|element| {
            let (from, to) = match *element {
                Element::Day(day) => {
                    let day = day.at(reference)?;
                    (day, day.next_day()?)
                }
                Element::Interval(from, to) => (from.at(reference)?, to.at(reference)?),
            };
            (from < to).then_some((from, to))
        })
        .collect()
}
