//! From the tree to what it means: a file for each section of it. Nothing stops at the first fault.

mod sensor;
mod workflows;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Map;
use time::Date;

use super::yaml::{self, Node, Value};
use super::{Fault, Faults, Workflow, Workflows};

const REQUIRED: &str = "Missing data for required field.";

/// Reads the file's text. `inputs` is the directory in which the notebooks have to be.
///
/// # Errors
/// All that is wrong with it.
pub fn read(text: &str, inputs: &Path) -> Result<Workflows, Faults> {
    let root = yaml::parse(text).map_err(|broken| {
        Faults(vec![Fault { line: broken.line, column: broken.column, key: String::new(), what: broken.what }])
    })?;
    let mut reader = Reader { inputs, faults: Vec::new() };
    let read = reader.file(&root);
    match read {
        Some(workflows) if reader.faults.is_empty() => Ok(workflows),
        _ => {
            reader.faults.sort_by_key(|fault| (fault.line, fault.column));
            Err(Faults(reader.faults))
        }
    }
}

/// What reads the tree, and what it has found wrong.
struct Reader<'a> {
    inputs: &'a Path,
    faults: Vec<Fault>,
}

/// Workflows by their names; nothing stands for one that is wrong itself.
type Named = BTreeMap<String, Option<Workflow>>;

/// The values of a map by their keys.
type Fields<'a> = BTreeMap<&'a str, &'a Node>;

impl Reader<'_> {
    fn fault(&mut self, at: &Node, key: &str, what: impl Into<String>) {
        self.faults.push(Fault { line: at.line, column: at.column, key: key.to_owned(), what: what.into() });
    }

    fn file(&mut self, root: &Node) -> Option<Workflows> {
        let Value::Map(pairs) = &root.value else {
            self.fault(root, "", "Input file does not have a 'workflows' section.");
            return None;
        };
        let section =
            |name: &str| pairs.iter().find(|(key, _)| key.value == Value::Text(name.to_owned())).map(|(_, node)| node);
        let (workflows, sensor) = (section("workflows"), section("available_dates_sensor"));
        for (name, found) in [("workflows", workflows), ("available_dates_sensor", sensor)] {
            if found.is_none() {
                self.fault(root, "", format!("Input file does not have a '{name}' section."));
            }
        }
        let workflows = workflows.and_then(|node| self.workflows(node));
        let sensor = sensor.and_then(|node| self.sensor(node, workflows.as_ref()));
        let whole = |(name, workflow): (String, Option<Workflow>)| Some((name, workflow?));
        Some(Workflows { workflows: workflows?.into_iter().filter_map(whole).collect(), sensor: sensor? })
    }

    /// A literal, as a notebook gets it.
    fn json(&mut self, node: &Node, path: &str) -> serde_json::Value {
        use serde_json::Value as Json;
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Int(number) => (*number).into(),
            Value::Float(number) => serde_json::Number::from_f64(*number).map_or_else(
                || {
                    self.fault(node, path, "This number can't be handed to a notebook.");
                    Json::Null
                },
                Json::from,
            ),
            Value::Day(day) => day.to_string().into(),
            Value::Moment(_, text) | Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(|item| self.json(item, path)).collect(),
            Value::Map(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    let name = match &key.value {
                        Value::Text(name) => name.clone(),
                        Value::Int(number) => number.to_string(),
                        Value::Day(day) => day.to_string(),
                        _ => {
                            self.fault(key, path, "Not a valid string.");
                            continue;
                        }
                    };
                    let value = self.json(value, path);
                    map.insert(name, value);
                }
                map.into()
            }
        }
    }

    fn date(&mut self, node: &Node, path: &str) -> Option<Date> {
        let date = match &node.value {
            Value::Day(day) | Value::Moment(day, _) => Some(*day),
            Value::Text(text) => yaml::iso(text),
            _ => None,
        };
        if date.is_none() {
            self.fault(node, path, "Not a valid date.");
        }
        date
    }

    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.fault(node, path, "Not a valid string.");
                None
            }
        }
    }

    fn list<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.fault(node, path, "Not a valid list.");
                None
            }
        }
    }

    /// The fields of a map, which has all that it needs and none that nobody knows.
    fn fields<'a>(&mut self, node: &'a Node, path: &str, known: &[&str], needed: &[&str]) -> Option<Fields<'a>> {
        let Value::Map(pairs) = &node.value else {
            self.fault(node, path, "Invalid input type.");
            return None;
        };
        let mut fields = Fields::new();
        for (key, value) in pairs {
            match &key.value {
                Value::Text(name) if known.contains(&name.as_str()) => {
                    fields.insert(name, value);
                }
                other => {
                    let name = match other {
                        Value::Text(name) => name.clone(),
                        other => other.to_string(),
                    };
                    self.fault(key, &format!("{path}.{name}"), "Unknown field.");
                }
            }
        }
        for name in needed.iter().filter(|name| !fields.contains_key(**name)) {
            self.fault(node, &format!("{path}.{name}"), REQUIRED);
        }
        Some(fields)
    }
}
