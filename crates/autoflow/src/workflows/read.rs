//! From the tree to what it means. Nothing stops at the first fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde_json::Map;
use time::Date;

use crate::run::{stamp, tag};

use super::yaml::{self, Node, Value};
use super::{
    Configured, DATE_RANGES, Element, FLOWAPI_URL, Fault, Faults, Notebook, Point, REFERENCE_DATE, Report, Schedule,
    Sensor, Workflow, Workflows,
};

/// Kinds of call records.
const CDR_TYPES: [&str; 4] = ["calls", "sms", "mds", "topups"];

/// The longest name of a result, in bytes and without its suffix: of the 255 that a file's name may have, the suffix takes 6, and a file that
/// is being written 9.
const LONGEST: usize = 240;

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

    fn workflows(&mut self, node: &Node) -> Option<Named> {
        let mut found = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (index, item) in self.list(node, "workflows")?.iter().enumerate() {
            let path = format!("workflows[{index}]");
            let Some(fields) = self.fields(item, &path, &["name", "notebooks"], &["name", "notebooks"]) else {
                continue;
            };
            let name = fields.get("name").and_then(|node| self.name(node, &format!("{path}.name")));
            if let Some(name) = &name
                && !names.insert(name.clone())
            {
                self.fault(fields["name"], &format!("{path}.name"), "Duplicate workflow name.");
            }
            let workflow = fields
                .get("notebooks")
                .and_then(|node| self.notebooks(node, name.as_deref(), &format!("{path}.notebooks")));
            if let Some(name) = name {
                found.entry(name).or_insert(workflow);
            }
        }
        Some(found)
    }

    /// A name of a workflow, which is a part of names of files.
    fn name(&mut self, node: &Node, path: &str) -> Option<String> {
        let name = self.text(node, path)?;
        if name.is_empty()
            || name.len() > 100
            || name.starts_with('.')
            || name.contains(|c: char| c == '/' || c.is_control())
        {
            self.fault(
                node,
                path,
                "Names of files are made of it: it has to have 1 to 100 bytes, no slash, and no dot in front.",
            );
            return None;
        }
        Some(name)
    }

    fn notebooks(&mut self, node: &Node, workflow: Option<&str>, path: &str) -> Option<Workflow> {
        let Value::Map(pairs) = &node.value else {
            self.fault(node, path, "Not a valid mapping type.");
            return None;
        };
        if pairs.is_empty() {
            self.fault(node, path, "A workflow needs a notebook.");
            return None;
        }
        let before = self.faults.len();
        let mut notebooks: Vec<Notebook> = Vec::new();
        for (key, value) in pairs {
            let Some(name) = self.text(key, path) else { continue };
            let path = format!("{path}.{name}");
            if [REFERENCE_DATE, DATE_RANGES, FLOWAPI_URL].contains(&name.as_str()) {
                self.fault(key, &path, format!("'{name}' is a name of AutoFlow's own: a notebook can't have it."));
            }
            if name.contains(char::is_control) {
                self.fault(key, &path, "A name with control characters can't be a part of a file's name.");
            }
            notebooks.extend(self.notebook(value, name, &path));
        }
        if self.faults.len() > before {
            return None;
        }
        let keys: BTreeSet<String> = notebooks.iter().map(|notebook| notebook.key.clone()).collect();
        let Some(notebooks) = in_order(notebooks, &keys) else {
            self.fault(node, path, "Notebook specifications contain circular dependencies.");
            return None;
        };
        let given = |name: &&String| {
            !keys.contains(*name) && ![REFERENCE_DATE, DATE_RANGES, FLOWAPI_URL].contains(&name.as_str())
        };
        let asks = notebooks.iter().flat_map(|notebook| notebook.parameters.values()).filter(given).cloned().collect();
        let found = Workflow { notebooks, asks };
        self.results(&found, workflow?, node, path)?;
        Some(found)
    }

    /// Whether its results have names that can be, and each has its own.
    fn results(&mut self, workflow: &Workflow, name: &str, node: &Node, path: &str) -> Option<()> {
        let rest = format!("{}__{}", tag(name, "2016-01-01", &"0".repeat(32)), stamp(0));
        let mut known = BTreeSet::new();
        let before = self.faults.len();
        for (notebook, result) in workflow.notebooks.iter().zip(workflow.names(&rest)) {
            let (path, stem) = (format!("{path}.{}", notebook.key), result.trim_end_matches(&rest).to_owned());
            if result.len() > LONGEST {
                let more = result.len() - LONGEST;
                self.fault(node, &path, format!("The name of its result would be too long by {more} bytes: shorten the names of workflow and file."));
            }
            if !known.insert(result) {
                let what = format!(
                    "Two notebooks would have results of one name, '{stem}…': name their files or keys otherwise."
                );
                self.fault(node, &path, what);
            }
        }
        (self.faults.len() == before).then_some(())
    }

    fn notebook(&mut self, node: &Node, key: String, path: &str) -> Option<Notebook> {
        let fields = self.fields(node, path, &["filename", "parameters", "output"], &["filename"])?;
        let filename = fields.get("filename").and_then(|node| self.filename(node, &format!("{path}.filename")));
        let mut parameters = BTreeMap::new();
        if let Some(node) = fields.get("parameters") {
            let path = format!("{path}.parameters");
            match &node.value {
                Value::Map(pairs) => {
                    for (variable, name) in pairs {
                        let variable = self.text(variable, &path);
                        let path = format!("{path}.{}", variable.as_deref().unwrap_or_default());
                        if let (Some(variable), Some(name)) = (variable, self.text(name, &path)) {
                            parameters.insert(variable, name);
                        }
                    }
                }
                _ => self.fault(node, &path, "Not a valid mapping type."),
            }
        }
        let report = fields.get("output").map(|node| self.output(node, &format!("{path}.output")));
        Some(Notebook { key, filename: filename?, parameters, report })
    }

    fn filename(&mut self, node: &Node, path: &str) -> Option<String> {
        let name = self.text(node, path)?;
        if name.contains(char::is_control) {
            self.fault(node, path, "A name with control characters can't be a part of a file's name.");
            return None;
        }
        if Path::new(&name).extension().is_none_or(|suffix| suffix != "ipynb") {
            self.fault(node, path, format!("File '{name}' is not a Jupyter notebook."));
            return None;
        }
        if !self.is_input(&name) {
            self.fault(node, path, format!("Notebook '{name}' not found."));
            return None;
        }
        Some(name)
    }

    /// Whether it is a file of the inputs, and not one beside them.
    fn is_input(&self, name: &str) -> bool {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        inside && self.inputs.join(name).is_file()
    }

    fn output(&mut self, node: &Node, path: &str) -> Report {
        let Some(fields) = self.fields(node, path, &["format", "template"], &["format"]) else {
            return Report::default();
        };
        if let Some(node) = fields.get("format")
            && node.value != Value::Text("pdf".to_owned())
        {
            self.fault(node, &format!("{path}.format"), "Must be one of: pdf.");
        }
        let path = format!("{path}.template");
        let template = fields.get("template").and_then(|node| self.text(node, &path).map(|name| (node, name)));
        let Some((node, name)) = template else { return Report::default() };
        if !self.is_input(&name) {
            self.fault(node, &path, format!("Asciidoc template file '{name}' not found."));
        }
        Report { template: Some(name) }
    }

    fn sensor(&mut self, node: &Node, workflows: Option<&Named>) -> Option<Sensor> {
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

/// Each after those that it names; where that leaves a choice, in the order of the file. `None`: they go round in a circle.
fn in_order(mut left: Vec<Notebook>, keys: &BTreeSet<String>) -> Option<Vec<Notebook>> {
    let mut done: Vec<Notebook> = Vec::new();
    while !left.is_empty() {
        let is_done = |name: &String| !keys.contains(name) || done.iter().any(|notebook| notebook.key == *name);
        let next = left.iter().position(|notebook| notebook.parameters.values().all(is_done))?;
        done.push(left.remove(next));
    }
    Some(done)
}

/// As Python shows a set, in order.
fn set(names: &[&String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("{{{}}}", names.join(", "))
}
