//! The moment of a row in SQL, as a DAG's extraction asks for it: what the loader reads, and what it refuses an error.

use etl::Writing;

/// What an ISO time ends with that says where it is. A date alone ends with its day.
const ZONED: &str = "[Tt ][0-9:.,]+ ?([Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt]|[+-][0-9:]+)$";

/// The parts of patterns: their letter, PostgreSQL's words for them, and what they look like beside a sign that is no digit.
const PARTS: [(char, &str, &str); 7] = [
    ('Y', "YYYY", "[0-9]{4}"),
    ('m', "MM", "[0-9]{1,2}"),
    ('d', "DD", "[0-9]{1,2}"),
    ('b', "Mon", "[A-Za-z]{3}"),
    ('H', "HH24", "[0-9]{1,2}"),
    ('M', "MI", "[0-9]{1,2}"),
    ('S', "SS", "[0-9]{1,2}"),
];

/// SQL of the moment that is written so in this field, where it does not say where it is in `timezone`. With `commas` there may be one before the fraction
/// of a second, where PostgreSQL knows a point alone.
pub(super) fn sql(field: &str, writing: &Writing, timezone: &str, commas: bool) -> String {
    let with_point = format!("replace({field}, ',', '.')");
    let field = if commas { with_point.as_str() } else { field };
    match writing {
        Writing::Seconds => format!("to_timestamp({field}::double precision)"),
        Writing::Milliseconds => format!("to_timestamp({field}::double precision / 1000)"),
        // FlowDB's server has read it.
        Writing::Iso if timezone == "UTC" && !commas => field.to_owned(),
        Writing::Iso => format!(
            "(CASE WHEN btrim({field}) ~ '{ZONED}' THEN {field}::timestamptz ELSE {field}::timestamp AT TIME ZONE {} END)",
            zone(timezone)
        ),
        // PostgreSQL's function takes what is near to its pattern, and leaves out what follows.
        Writing::Pattern(pattern) => format!(
            "(CASE WHEN btrim({field}) ~ '^{}$' THEN to_timestamp({field}, '{}')::timestamp ELSE ('not {}: ' || {field})::timestamp END AT TIME ZONE {})",
            shape(pattern),
            template(pattern),
            template(pattern),
            zone(timezone)
        ),
    }
}

/// The zone in SQL. An offset is no name there: PostgreSQL counts those of names to the west.
fn zone(timezone: &str) -> String {
    match etl::Zone::named(timezone) {
        Ok(etl::Zone::Fixed(seconds)) => format!("INTERVAL '{seconds} seconds'"),
        _ => format!("'{}'", timezone.replace('\'', "''")),
    }
}

/// PostgreSQL's words for the parts of a pattern.
fn template(pattern: &str) -> String {
    PARTS.iter().fold(pattern.to_owned(), |text, (letter, words, _)| text.replace(&format!("%{letter}"), words))
}

/// What a text of this pattern looks like. Where parts touch, each has all its digits.
fn shape(pattern: &str) -> String {
    let touch = pattern.as_bytes().windows(3).any(|three| three[0] == b'%' && three[2] == b'%');
    let plain = pattern.replace('.', "[.]");
    let shape = PARTS.iter().fold(plain, |text, (letter, _, shape)| text.replace(&format!("%{letter}"), shape));
    if touch { shape.replace("{1,2}", "{2}") } else { shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_words_and_shapes() {
        assert_eq!(template("%d/%m/%Y %H:%M:%S"), "DD/MM/YYYY HH24:MI:SS");
        assert_eq!(shape("%d.%m.%Y %H:%M"), "[0-9]{1,2}[.][0-9]{1,2}[.][0-9]{4} [0-9]{1,2}:[0-9]{1,2}");
        assert_eq!(shape("%Y%m%d%H%M%S"), "[0-9]{4}[0-9]{2}[0-9]{2}[0-9]{2}[0-9]{2}[0-9]{2}");
        assert_eq!(shape("%d-%b-%Y"), "[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}");
    }
}
