//! A YAML document as a tree whose nodes know where they stand, with scalars read as Python's `yaml.safe_load` reads them: upstream's files
//! were written for it. (YAML 1.1: `yes` and `on` are true, `010` is eight, `1:30` is ninety, `2016-01-01` is a day.)

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};
use time::{Date, Month};

/// Deepest nesting. What follows walks the tree by recursion.
const DEEPEST: usize = 64;

/// Most nodes, those of aliases counted each time: a few lines of aliases of aliases could stand for billions.
const MOST: usize = 100_000;

/// Something in the document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    /// Of its first character; both count from 1.
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Day(Date),
    /// The day, and the whole as it was written.
    Moment(Date, String),
    Text(String),
    List(Vec<Node>),
    /// Keys in their order.
    Map(Vec<(Node, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

/// Why there is no tree.
#[derive(Debug)]
pub(super) struct Broken {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

/// The first document's tree; of an empty one, a null.
pub(super) fn parse(text: &str) -> Result<Node, Broken> {
    let mut builder =
        Builder { parser: Parser::new_from_str_with_options(text, options()), known: HashMap::new(), nodes: 0 };
    let mut root = None;
    while let Some((event, span)) = builder.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::StreamEnd => {}
            _ if root.is_some() => return Err(broken(span, "there is a second document in it")),
            event => root = Some(builder.node(event, span, 0)?),
        }
    }
    Ok(root.unwrap_or(Node { value: Value::Null, line: 1, column: 1 }))
}

/// As libyaml reads.
fn options() -> Options {
    let mut options = Options::default();
    options.block_scalar_eof_without_line_feed = true;
    options
}

fn broken(span: Span, what: impl Into<String>) -> Broken {
    Broken { line: span.start.line(), column: span.start.col() + 1, what: what.into() }
}

struct Builder<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    /// What anchors stand for, and how many nodes that is.
    known: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    /// The next event that is no comment.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Broken> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Ok((event, _))) if is_comment(&event) => {}
                Some(Ok(next)) => return Ok(Some(next)),
                Some(Err(error)) => {
                    let at = error.marker();
                    return Err(Broken {
                        line: at.line(),
                        column: at.col() + 1,
                        what: format!("it is not YAML: {}", error.info()),
                    });
                }
            }
        }
    }

    fn inside(&mut self, span: Span) -> Result<(Event<'a>, Span), Broken> {
        self.next()?.ok_or_else(|| broken(span, "it ends in the middle"))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Broken> {
        let before = self.nodes;
        self.nodes += 1;
        if depth > DEEPEST || self.nodes > MOST {
            return Err(broken(span, "it is too deep or too large"));
        }
        let (value, anchor) = match event {
            Event::Alias(of) => {
                let (node, size) = self.known.get(&of).ok_or_else(|| broken(span, "this alias stands for nothing"))?;
                // What is in it may be deep itself.
                self.nodes += size;
                if self.nodes > MOST || depth + depth_of(node) > DEEPEST {
                    return Err(broken(span, "it is too deep or too large"));
                }
                (node.value.clone(), 0)
            }
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), span)?, anchor),
            Event::SequenceStart(_, anchor, tag) => {
                of_kind(tag.as_deref(), "seq", span)?;
                let mut items = Vec::new();
                loop {
                    match self.inside(span)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Value::List(items), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                of_kind(tag.as_deref(), "map", span)?;
                (Value::Map(self.pairs(span, depth)?), anchor)
            }
            _ => return Err(broken(span, "a value is missing here")),
        };
        let node = Node { value, line: span.start.line(), column: span.start.col() + 1 };
        if anchor != 0 {
            self.known.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    /// Keys and values, with those that `<<` merges in after the map's own.
    fn pairs(&mut self, span: Span, depth: usize) -> Result<Vec<(Node, Node)>, Broken> {
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        // Scalars, as they are shown: comparing each with each would take minutes.
        let mut known = HashSet::new();
        let mut merged = Vec::new();
        loop {
            let (key, value) = match self.inside(span)? {
                (Event::MappingEnd, _) => break,
                (event, at) => {
                    let plain = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
                    let key = self.node(event, at, depth + 1)?;
                    let (event, at) = self.inside(span)?;
                    let value = self.node(event, at, depth + 1)?;
                    if plain {
                        merged.extend(merge(value)?);
                        continue;
                    }
                    (key, value)
                }
            };
            if matches!(key.value, Value::List(_) | Value::Map(_)) {
                return Err(Broken {
                    line: key.line,
                    column: key.column,
                    what: "a list or map can't be a key".to_owned(),
                });
            }
            if !known.insert(format!("{:?}", key.value)) {
                return Err(Broken {
                    line: key.line,
                    column: key.column,
                    what: format!("the key {} is there twice", key.value),
                });
            }
            pairs.push((key, value));
        }
        for (key, value) in merged {
            if known.insert(format!("{:?}", key.value)) {
                pairs.push((key, value));
            }
        }
        Ok(pairs)
    }
}

fn is_comment(event: &Event<'_>) -> bool {
    !event.is_node()
        && !matches!(
            event,
            Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(..)
                | Event::DocumentEnd
                | Event::SequenceEnd
                | Event::MappingEnd
        )
}

fn depth_of(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Map(pairs) => 1 + pairs.iter().map(|(key, value)| depth_of(key).max(depth_of(value))).max().unwrap_or(0),
        _ => 0,
    }
}

fn merge(node: Node) -> Result<Vec<(Node, Node)>, Broken> {
    match node.value {
        Value::Map(pairs) => Ok(pairs),
        Value::List(items) => items.into_iter().map(merge).collect::<Result<Vec<_>, _>>().map(|all| all.concat()),
        _ => Err(Broken { line: node.line, column: node.column, what: "only maps can be merged by <<".to_owned() }),
    }
}

fn of_kind(tag: Option<&Tag>, kind: &str, span: Span) -> Result<(), Broken> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema_tag(kind) => {
            Err(broken(span, format!("the tag {} means nothing here", tag.original())))
        }
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Value, Broken> {
    let value = match style {
        ScalarStyle::Plain => plain(text).map_err(|what| broken(span, what))?,
        _ => Value::Text(text.to_owned()),
    };
    let Some(tag) = tag else { return Ok(value) };
    if tag.is_yaml_core_schema_tag("str") {
        return Ok(Value::Text(text.to_owned()));
    }
    let value = plain(text).map_err(|what| broken(span, what))?;
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        _ => "timestamp",
    };
    of_kind(Some(tag), kind, span).map(|()| value)
}

/// What a scalar without quotes is.
fn plain(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => match (int(text), float(text)) {
            (Some(number), _) => Value::Int(number.ok_or_else(|| format!("the number {text} is too large"))?),
            (None, Some(number)) => Value::Float(number),
            (None, None) => moment(text)?.unwrap_or_else(|| Value::Text(text.to_owned())),
        },
    })
}

/// `None`: it is no whole number; `Some(None)`: it is one that is too large.
fn int(text: &str) -> Option<Option<i64>> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let only = |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|c| c == '_' || c.is_digit(radix));
    let plain = |digits: &str| digits.replace('_', "");
    let read = |digits: &str, radix| i64::from_str_radix(&plain(digits), radix).ok();
    let begins = |digits: &str| digits.starts_with(|c: char| ('1'..='9').contains(&c));
    let number = if let Some(rest) = digits.strip_prefix("0b").filter(|rest| only(rest, 2)) {
        read(rest, 2)
    } else if let Some(rest) = digits.strip_prefix("0x").filter(|rest| only(rest, 16)) {
        read(rest, 16)
    } else if digits == "0" {
        Some(0)
    } else if let Some(rest) = digits.strip_prefix('0').filter(|rest| only(rest, 8)) {
        read(rest, 8)
    } else if begins(digits) && only(digits, 10) {
        read(digits, 10)
    } else if begins(digits) && digits.contains(':') {
        let mut parts = digits.split(':');
        let first = parts.next().filter(|first| only(first, 10))?;
        let mut number = read(first, 10);
        for part in parts {
            let part =
                part.parse::<i64>().ok().filter(|_| part.len() <= 2 && only(part, 10)).filter(|part| *part < 60)?;
            number = number.and_then(|number| number.checked_mul(60)?.checked_add(part));
        }
        number
    } else {
        return None;
    };
    Some(number.map(|number| if negative { -number } else { number }))
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(f64::NAN),
        _ => {}
    }
    // A point is needed, and a sign in an exponent: `1e3` is a text.
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, rest) = mantissa.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let first = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let signed = |text: &str| text.strip_prefix(['+', '-']).is_some_and(|rest| first(rest) && digits(rest));
    if !digits(whole)
        || !digits(rest)
        || !(first(whole) || (whole.is_empty() && first(rest)))
        || exponent.is_some_and(|exponent| !signed(exponent))
    {
        return None;
    }
    unsigned.replace('_', "").parse::<f64>().ok().map(|number| sign * number)
}

/// A day, `2016-01-01`, or a moment of one, `2016-01-01 12:00:00`.
fn moment(text: &str) -> Result<Option<Value>, String> {
    let shape = |pattern: &str, text: &str| {
        pattern.len() == text.len()
            && pattern.bytes().zip(text.bytes()).all(|(p, t)| if p == b'9' { t.is_ascii_digit() } else { p == t })
    };
    if shape("9999-99-99", text) {
        let day = iso(text).ok_or_else(|| format!("there is no day {text}"))?;
        return Ok(Some(Value::Day(day)));
    }
    let Some((day, rest)) = text.split_once(['T', 't', ' ']).filter(|(day, _)| day.is_ascii()) else { return Ok(None) };
    let mut parts = day.split('-');
    let (Some(year), Some(month), Some(of_month), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let number =
        |text: &str, longest| (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let hour = rest.trim_start().split(':').next().is_some_and(|hour| number(hour, 2));
    if year.len() != 4
        || !number(year, 4)
        || !number(month, 2)
        || !number(of_month, 2)
        || !hour
        || rest.matches(':').count() < 2
    {
        return Ok(None);
    }
    let day = iso(&format!("{year}-{month:0>2}-{of_month:0>2}")).ok_or_else(|| format!("there is no day {day}"))?;
    Ok(Some(Value::Moment(day, text.to_owned())))
}

/// A day in its ISO form.
pub fn iso(text: &str) -> Option<Date> {
    if text.len() != 10 || !text.is_ascii() {
        return None;
    }
    let (year, month, day) = (text.get(..4)?, text.get(5..7)?, text.get(8..)?);
    let digits = [year, month, day].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if !digits || text.as_bytes()[4] != b'-' || text.as_bytes()[7] != b'-' {
        return None;
    }
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    // Python knows no year 0.
    let year = year.parse().ok().filter(|year| *year > 0)?;
    Date::from_calendar_date(year, month, day.parse().ok()?).ok()
}

/// As Python shows it.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => f.write_str("None"),
            Value::Bool(true) => f.write_str("True"),
            Value::Bool(false) => f.write_str("False"),
            Value::Int(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Day(day) => day.fmt(f),
            Value::Moment(_, text) => f.write_str(text),
            Value::Text(text) => write!(f, "'{}'", say::Shown(text)),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a map"),
        }
    }
}
