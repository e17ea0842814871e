//! Notebooks, and what runs them and makes reports of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::flowapi::python_of;

/// Notebooks in a directory that goes with it.
pub struct Notebooks {
    dir: tempfile::TempDir,
}

impl Notebooks {
    /// No notebook yet.
    pub fn new() -> Notebooks {
        Notebooks { dir: tempfile::Builder::new().prefix("notebooks-it-").tempdir_in("/tmp").unwrap() }
    }

    /// Where a file is, or will be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a notebook.
    pub fn write(&self, name: &str, notebook: &Value) {
        fs::write(self.path(name), notebook.to_string()).unwrap();
    }

    /// A command of `flowkit_notebooks` in this directory, which gets nothing of our environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(python_of("notebooks"));
        command.args(["-I", "-m", "flowkit_notebooks"]).args(args).current_dir(self.dir.path());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("TMPDIR", self.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, with something on its standard input.
    pub fn run(&self, args: &[&str], input: &str) -> Output {
        Notebooks::end(self.command(args), input)
    }

    /// The same with a command that has been changed.
    pub fn end(mut command: Command, input: &str) -> Output {
        let mut child = command.spawn().unwrap();
        // One that ends without reading is not the test's trouble.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Makes a report of NAME.ipynb: NAME.html and NAME.pdf.
    pub fn report(&self, name: &str, more: &[&str]) -> Output {
        let [notebook, html, pdf] = ["ipynb", "html", "pdf"].map(|kind| format!("{name}.{kind}"));
        self.run(&[&["report", &notebook, "--html", &html, "--pdf", &pdf], more].concat(), "")
    }

    /// What a file says.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// The text of a PDF.
pub fn text_of_pdf(pdf: &Path) -> String {
    let output = Command::new("pdftotext").args(["-layout", "--"]).arg(pdf).arg("-").output();
    let output = output.expect("pdftotext: run `make setup-tests`");
    assert!(output.status.success(), "{}", super::deployment::show(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A cell of text.
pub fn markdown(text: &str) -> Value {
    json!({"cell_type": "markdown", "metadata": {}, "source": text})
}

/// A cell of code that was not run.
pub fn code(source: &str) -> Value {
    json!({"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": null})
}

/// A cell of code with what it has put out, as one kind.
pub fn ran(kind: &str, data: &str) -> Value {
    let output = json!({"output_type": "display_data", "metadata": {}, "data": {kind: data}});
    json!({"cell_type": "code", "metadata": {}, "source": "secret_code()", "outputs": [output], "execution_count": 1})
}

/// The same cell with the tag of parameters.
pub fn parameters(mut cell: Value) -> Value {
    cell["metadata"] = json!({"tags": ["parameters"]});
    cell
}

/// A notebook for the kernel of the environment.
pub fn notebook(cells: &[Value]) -> Value {
    let kernel = json!({"name": "python3", "display_name": "Python 3", "language": "python"});
    json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {"kernelspec": kernel}, "cells": cells})
}
