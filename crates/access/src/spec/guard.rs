//! What may not reach FlowMachine, which takes names from a spec into its SQL unescaped and answers nobody while it works one
//! out. The rules hold for every field of such a name, at any depth and in any object.

use super::tree::Node;
use super::{Bounds, Fault, reach};

/// What was met on the way.
#[derive(Default)]
pub struct Seen {
    /// Every kind, once.
    pub kinds: Vec<String>,
    /// Objects with a `query_kind`.
    queries: usize,
    /// Queries that FlowMachine will make of it by itself.
    intervals: u64,
    /// Days of data from starts to ends, together.
    days: u64,
    /// Objects with a random sample.
    pub samples: usize,
}

/// FlowMachine hands the names of a query to a function of its own by keyword, which has this one already.
const TAKEN: &str = "config";

/// Checks a whole spec.
pub fn all(root: &Node, bounds: &Bounds, seen: &mut Seen) -> Result<(), Fault> {
    if root.get(TAKEN).is_some() {
        return Err(Fault::Field { field: TAKEN.into(), why: "is no name that a query has" });
    }
    check(root, bounds, seen)
}

/// Checks a value and all that is in it.
fn check(node: &Node, bounds: &Bounds, seen: &mut Seen) -> Result<(), Fault> {
    if let Node::Object(entries) = node {
        for (name, value) in entries {
            let shown = || name.chars().take(64).collect::<String>();
            let wrong = |why| Fault::Field { field: shown(), why };
            clean(name).map_err(|_| Fault::Field { field: "names".into(), why: NOT_CLEAN })?;
            field(name, value, &bounds.tables).map_err(wrong)?;
            texts(value).map_err(wrong)?;
        }
        query(node, bounds, seen)?;
        seen.days = seen.days.saturating_add(reach::days(node)?);
        if seen.days > bounds.days {
            return Err(Fault::TooMuch { most: bounds.days, of: "days of data" });
        }
    }
    node.children().try_for_each(|child| check(child, bounds, seen))
}

/// What is counted of an object.
fn query(node: &Node, bounds: &Bounds, seen: &mut Seen) -> Result<(), Fault> {
    let Some(Node::Text(kind)) = node.get("query_kind") else { return Ok(()) };
    if !seen.kinds.contains(kind) {
        seen.kinds.push(kind.clone());
    }
    seen.samples += usize::from(!matches!(node.get("sampling"), None | Some(Node::Null)));
    seen.queries += 1;
    if seen.queries > bounds.queries {
        return Err(Fault::TooMuch { most: bounds.queries as u64, of: "queries" });
    }
    seen.intervals = seen.intervals.saturating_add(reach::intervals(kind, node)?);
    if seen.intervals > bounds.intervals {
        return Err(Fault::TooMuch { most: bounds.intervals, of: "intervals or periods" });
    }
    Ok(())
}

const NOT_CLEAN: &str = "must be text without quotes, backslashes and control characters";

/// The rules for names that stand for something in FlowMachine or its database.
fn field(name: &str, value: &Node, tables: &super::Tables) -> Result<(), &'static str> {
    match (name, value) {
        ("mapping_table" | "geom_table" | "geom_table_join_column" | "subscriber_subset", Node::Null) => Ok(()),
        // A colon in it would make two scopes of different meaning the same text.
        ("query_kind", Node::Text(kind)) if identifier(kind) => Ok(()),
        ("query_kind", _) => Err("must be the name of a kind of query"),
        ("mapping_table" | "geom_table", Node::Text(table)) => self::table(table, tables),
        ("mapping_table" | "geom_table", _) => Err("must be the name of a table, as schema.table"),
        ("geom_table_join_column", Node::Text(column)) if identifier(column) => Ok(()),
        ("geom_table_join_column", _) => Err("must be the name of a column"),
        ("subscriber_subset", Node::Text(id)) if query_id(id) => Ok(()),
        ("subscriber_subset", _) => Err("must be a query's id: 32 digits and letters from a to f"),
        // FlowMachine sleeps that long at each question about the query, and answers nobody.
        ("dummy_delay", Node::Number(seconds)) if seconds.as_u64().is_some_and(|seconds| seconds <= 5) => Ok(()),
        ("dummy_delay", _) => Err("must be a whole number of seconds up to 5"),
        // It becomes a part of the query's id, and so of paths and headers.
        ("dummy_param", Node::Text(param)) if param.len() <= 64 && !param.is_empty() && plain(param) => Ok(()),
        ("dummy_param", _) => Err("must be up to 64 letters, digits, dashes and underscores"),
        (name, Node::Text(date)) if name.contains("date") && !reach::reckonable(date) => {
            Err("must be a date of the years 1700 to 2199")
        }
        (name, Node::List(nodes)) if name.contains("date") => {
            nodes.iter().try_for_each(|node| field(name, node, tables))
        }
        _ => Ok(()),
    }
}

fn table(table: &str, tables: &super::Tables) -> Result<(), &'static str> {
    let Some((schema, name)) = table.split_once('.').filter(|(schema, name)| identifier(schema) && identifier(name))
    else {
        return Err("must be the name of a table, as schema.table");
    };
    debug_assert!(!name.is_empty());
    let allowed =
        tables.schemas.iter().any(|allowed| allowed == schema) || tables.tables.iter().any(|one| one == table);
    if allowed { Ok(()) } else { Err("names a table that this server does not allow") }
}

/// Texts directly in a value; what is in its objects has its own turn.
fn texts(value: &Node) -> Result<(), &'static str> {
    match value {
        Node::Text(text) => clean(text),
        Node::List(nodes) => nodes.iter().try_for_each(texts),
        _ => Ok(()),
    }
}

/// Labels and the like end in SQL.
fn clean(text: &str) -> Result<(), &'static str> {
    let bad = |c: char| c.is_control() || matches!(c, '\'' | '"' | '`' | '\\');
    if text.contains(bad) { Err(NOT_CLEAN) } else { Ok(()) }
}

/// A plain SQL identifier that needs no quotes.
fn identifier(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// An id as FlowMachine makes them.
fn query_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
