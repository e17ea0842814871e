//! The section `available_dates_sensor`: what runs when, with which parameters, for which days.

use std::collections::BTreeSet;

use serde_json::Map;

use super::{Named, Reader};
use crate::workflows::yaml::{Node, Value};
use crate::workflows::{Configured, DATE_RANGES, Element, Point, REFERENCE_DATE, Schedule, Sensor};

/// Kinds of call records.
const CDR_TYPES: [&str; 4] = ["calls", "sms", "mds", "topups"];

impl Reader<'_> {
    pub(super) fn sensor(&mut self, node: &Node, workflows: Option<&Named>) -> Option<Sensor> {
        const PATH: &str = "available_dates_sensor";
        let fields = self.fields(node, PATH, &["schedule", "cdr_types", "workflows"], &["schedule", "workflows"])?;
        let schedule = fields.get("schedule").and_then(|node| self.schedule(node, &format!("{PATH}.schedule")));
        let cdr_types = fields.get("cdr_types").map(|node| self.cdr_types(node, &format!("{PATH}.cdr_types")));
        let mut configured = Vec::new();
        let path = format!("{PATH}.workflows");
        if let Some(items) = fields.get("workflows").and_then(|node| self.list(node, &path)) {
            for (index, item) in items.iter().enumerate() {
                configured.extend(self.configured(item, &format!("{path}[{index}]"), workflows));
            }
        }
        Some(Sensor { schedule: schedule?, cdr_types, workflows: configured })
    }

    fn schedule(&mut self, node: &Node, path: &str) -> Option<Option<Schedule>> {
        if node.value == Value::Null {
            return Some(None);
        }
        let text = self.text(node, path)?;
        let schedule = Schedule::parse(&text);
        if schedule.is_none() {
            self.fault(node, path, format!("Invalid cron string: '{text}'."));
        }
        schedule.map(Some)
    }

    fn cdr_types(&mut self, node: &Node, path: &str) -> BTreeSet<String> {
        let mut types = BTreeSet::new();
        for item in self.list(node, path).unwrap_or_default() {
            match &item.value {
                Value::Text(name) if CDR_TYPES.contains(&name.as_str()) => {
                    types.insert(name.clone());
                }
                _ => self.fault(item, path, format!("Must be one of: {}.", CDR_TYPES.join(", "))),
            }
        }
        types
    }

    fn configured(&mut self, node: &Node, path: &str, workflows: Option<&Named>) -> Option<Configured> {
        let known = ["workflow_name", "parameters", "earliest_date", "date_stencil"];
        let fields = self.fields(node, path, &known, &["workflow_name"])?;
        let earliest = fields.get("earliest_date").and_then(|node| self.date(node, &format!("{path}.earliest_date")));
        let stencil = match fields.get("date_stencil") {
            Some(node) => self.stencil(node, &format!("{path}.date_stencil")),
            None => vec![Element::Day(Point::Offset(0))],
        };
        let parameters = match fields.get("parameters") {
            Some(node) => self.parameters(node, &format!("{path}.parameters")),
            None => Map::new(),
        };
        let at = *fields.get("workflow_name")?;
        let name = self.text(at, &format!("{path}.workflow_name"))?;
        // Without workflows something else is wrong.
        let workflow = match workflows?.get(&name) {
            Some(workflow) => workflow.as_ref()?,
            None => {
                self.fault(at, &format!("{path}.workflow_name"), "Workflow does not exist in this storage.");
                return None;
            }
        };
        let given: BTreeSet<String> = parameters.keys().cloned().collect();
        let missing: Vec<_> = workflow.asks.difference(&given).collect();
        let at = fields.get("parameters").copied().unwrap_or(at);
        let path = format!("{path}.parameters");
        if !missing.is_empty() {
            self.fault(at, &path, format!("Missing required parameters {} for workflow '{name}'.", set(&missing)));
        }
        let made = |name: &&String| ![REFERENCE_DATE, DATE_RANGES].contains(&name.as_str());
        let unexpected: Vec<_> = given.difference(&workflow.asks).filter(made).collect();
        if !unexpected.is_empty() {
            self.fault(
                at,
                &path,
                format!("Unexpected parameters provided for workflow '{name}': {}.", set(&unexpected)),
            );
        }
        Some(Configured { name, parameters, earliest, stencil })
    }

    fn parameters(&mut self, node: &Node, path: &str) -> Map<String, serde_json::Value> {
        let mut parameters = Map::new();
        let Value::Map(pairs) = &node.value else {
            self.fault(node, path, "Not a valid mapping type.");
            return parameters;
        };
        for (key, value) in pairs {
            let Some(name) = self.text(key, path) else { continue };
            let path = format!("{path}.{name}");
            if [REFERENCE_DATE, DATE_RANGES].contains(&name.as_str()) {
                self.fault(key, &path, format!("'{name}' is set by AutoFlow for each run: leave it out."));
            }
            parameters.insert(name, self.json(value, &path));
        }
        parameters
    }

    fn stencil(&mut self, node: &Node, path: &str) -> Vec<Element> {
        let items = self.list(node, path).unwrap_or_default();
        let mut stencil = Vec::new();
        for (index, item) in items.iter().enumerate() {
            stencil.extend(self.element(item, &format!("{path}[{index}]")));
        }
        stencil
    }

    fn element(&mut self, node: &Node, path: &str) -> Option<Element> {
        let Value::List(ends) = &node.value else { return self.point(node, path).map(Element::Day) };
        let [from, to] = ends.as_slice() else {
            let length = ends.len();
            let what = format!(
                "Expected date interval to have length 2 (in format [start, end]), but got sequence of length {length}."
            );
            self.fault(node, path, what);
            return None;
        };
        let (from, to) = (self.point(from, path), self.point(to, path));
        let (from, to) = (from?, to?);
        let wrong = match (from, to) {
            (Point::Date(from), Point::Date(to)) => to <= from,
            (Point::Offset(from), Point::Offset(to)) => to <= from,
            _ => false,
        };
        if wrong {
            self.fault(node, path, format!("Date stencil contains invalid interval ({from}, {to})."));
        }
        Some(Element::Interval(from, to))
    }

    /// To Python truth is a number, and a moment a day.
    fn point(&mut self, node: &Node, path: &str) -> Option<Point> {
        match &node.value {
            Value::Int(days) => Some(Point::Offset(*days)),
            Value::Bool(truth) => Some(Point::Offset((*truth).into())),
            Value::Day(day) | Value::Moment(day, _) => Some(Point::Date(*day)),
            other => {
                self.fault(node, path, format!("{other} is not an integer or date."));
                None
            }
        }
    }
}

/// As Python shows a set, in order.
fn set(names: &[&String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("{{{}}}", names.join(", "))
}
