//! Query specs: read once, within bounds, with all that the rules need to know about them. The text itself is passed on as it
//! came, for FlowMachine looks results up by it.

mod guard;
mod reach;
mod tree;

use std::fmt;

use serde_json::value::RawValue;

use crate::Reach;
use tree::Node;

/// How much a spec may hold, and which tables it may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Objects and lists within one another.
    pub depth: usize,
    /// Values of any kind.
    pub values: usize,
    /// Queries: objects with a `query_kind`. Each is worked out by itself while FlowMachine answers nobody else.
    pub queries: usize,
    /// Entries of one list or object.
    pub entries: usize,
    /// Bytes of one text or name.
    pub text: usize,
    /// Queries that FlowMachine makes of a spec by itself: the intervals of `location_event_counts`, the periods of
    /// `calendar_activity` and its like. An interval takes it about 0.12 s, during which it answers nobody.
    pub intervals: u64,
    /// Days of data from starts to ends, those of all parts together. FlowMachine lists each day of each part, and looks up every
    /// day that there is data of in that list, at every question about the query.
    pub days: u64,
    /// Tables that `mapping_table` and `geom_table` may name.
    pub tables: Tables,
}

impl Default for Bounds {
    /// Room for a year of days, or two weeks of hours, and for a classification of mobility over months. Intervals at their
    /// most stall FlowMachine for less than a minute.
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            depth: 32,
            values: 100_000,
            queries: 2_000,
            entries: 10_000,
            text: 1024,
            intervals: 400,
            days: 20_000,
            tables: Tables::default(),
        }
    }
}

/// Tables by name. FlowMachine reads any that it is told, those of personal data too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Schemas of which every table is allowed.
    pub schemas: Vec<String>,
    /// Single ones, as `schema.table`.
    pub tables: Vec<String>,
}

impl Default for Tables {
    /// Nothing but maps: `geography` and `infrastructure`.
    fn default() -> Self {
        Self { schemas: vec!["geography".into(), "infrastructure".into()], tables: Vec::new() }
    }
}

/// What is wrong with a spec. The text is the `msg` of a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON, not an object, or without a query kind. In upstream's words.
    #[error("Could not parse query spec.")]
    NotASpec,
    /// Two readers of the same text would see two different specs.
    #[error("Could not parse query spec. The name {0:?} stands twice in one object.")]
    Twice(String),
    /// More than the bounds allow.
    #[error("The query spec has more than {most} {of}.")]
    TooMuch {
        /// The bound.
        most: u64,
        /// Of what.
        of: &'static str,
    },
    /// A value that may not reach FlowMachine.
    #[error("The query spec's {field} {why}.")]
    Field {
        /// The name that it stands under.
        field: String,
        /// What is wrong, as in "FIELD is ...". The value is not part of it.
        why: &'static str,
    },
}

impl Fault {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        400
    }
}

/// A query spec that may be shown to FlowMachine. What a token needs for it is said by [`crate::Token::permit`].
#[derive(Clone)]
pub struct Spec {
    raw: Box<RawValue>,
    kinds: Vec<String>,
    samples: usize,
    reach: Reach,
}

impl Spec {
    /// Reads a spec: the body of a `run`, or what FlowMachine has kept of one.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &[u8], bounds: &Bounds) -> Result<Self, Fault> {
        let root = tree::read(text, bounds)?;
        let Some(Node::Text(top)) = root.get("query_kind") else { return Err(Fault::NotASpec) };
        let top = top.clone();
        let mut seen = guard::Seen::default();
        guard::all(&root, bounds, &mut seen)?;
        let mut kinds = vec![top];
        kinds.extend(seen.kinds.into_iter().filter(|kind| *kind != kinds[0]).collect::<Vec<_>>());
        let text = std::str::from_utf8(text).map_err(|_| Fault::NotASpec)?;
        let raw = RawValue::from_string(text.trim().to_owned()).map_err(|_| Fault::NotASpec)?;
        Ok(Self { raw, kinds, samples: seen.samples, reach: reach::of(&root) })
    }

    /// The text as it came, space at both ends removed.
    pub fn text(&self) -> &str {
        self.raw.get()
    }

    /// The text, to be put into a larger one as it is.
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }

    /// The kind of the whole query.
    pub fn kind(&self) -> &str {
        &self.kinds[0]
    }

    /// Every kind in it, at any depth, each once; first that of the whole.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// How many of its parts are random samples: each makes a query that waits for another one.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The days of data that it looks at.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

#[cfg(test)]
mod tests;
