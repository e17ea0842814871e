//! The section `workflows`: notebooks that belong together, in an order in which they can run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::{Named, Reader};
use crate::run::{stamp, tag};
use crate::workflows::yaml::{Node, Value};
use crate::workflows::{DATE_RANGES, FLOWAPI_URL, Notebook, REFERENCE_DATE, Report, Workflow};

/// The longest name of a result, in bytes and without its suffix: of the 255 that a file's name may have, the suffix takes 6, and a file that
/// is being written 9.
const LONGEST: usize = 240;

impl Reader<'_> {
    pub(super) fn workflows(&mut self, node: &Node) -> Option<Named> {
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
