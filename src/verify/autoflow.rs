//! The end of the way: AutoFlow makes a report of a day, and what its PDF says is read.
//!
//! By AutoFlow's own program, with the role's user and settings, and a workflow, a database and places of our own that are gone afterwards: the
//! operator's runs and files are not touched, and AutoFlow's service leaves the day alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use time::Date;

use super::library::{alone, last_lines, wait};
use super::question::Question;
use super::{Counts, Error, Target, flowapi, flowauth};
use flowkit_core::secrets::Secret;

/// What the notebook does.
const SCRIPT: &str = include_str!("report.py");

/// The workflow's name.
const NAME: &str = "flowkit_verify";

/// What is read of a report.
const PDF: &str = "PDF";

/// The most that is read of it, in bytes: one table.
const MOST: u64 = 16 << 20;

/// AutoFlow as it is run here.
pub struct Reporter {
    /// Its program.
    pub program: PathBuf,
    /// The settings of the role.
    pub env: BTreeMap<OsString, OsString>,
    /// User and group that it runs as; `None` for those of this process.
    pub runs_as: Option<(u32, u32)>,
    /// By what FlowAPI is known where no setting names a file.
    pub certificate: Option<Secret>,
}

/// A question and its day, answered in a report with a token of FlowAuth's, or of our own where that gives none: the answer, and what is to be told of
/// it; or why nobody was asked.
pub(super) fn counts(
    target: &Target,
    autoflow: &Reporter,
    question: &Question,
    day: Date,
) -> Result<Result<(Counts, String), String>, Error> {
    let report = |token: &Secret| autoflow.report(token, question, day, target.patience);
    let lent = flowauth::with_token(target, question, |lent| report(&Secret::new(lent.token.clone())))?;
    let (report, whose) = match lent {
        Ok(report) => (report, "a token of FlowAuth's".to_owned()),
        Err(why) => match flowapi::own_token(target, question)? {
            Ok(token) => (report(&token)?, format!("no token of FlowAuth's, as {why}")),
            Err(why) => return Ok(Err(why)),
        },
    };
    let told = format!("read in its {}; {whose}", report.read);
    Ok(Ok((report.counts, told)))
}

/// What a report says.
struct Report {
    counts: Counts,
    /// What was read.
    read: &'static str,
}

impl Reporter {
    /// Has a report made, and reads it.
    fn report(&self, token: &Secret, question: &Question, day: Date, patience: Duration) -> Result<Report, Error> {
        let failed = |source| Error::Place { path: std::env::temp_dir(), source };
        let home = self.home(token, question).map_err(failed)?;
        let mut autoflow = Command::new(&self.program);
        autoflow.args(["run", NAME, "--dates", &day.to_string()]).current_dir(home.path());
        autoflow.env_clear().envs(&self.env).env("FLOWKIT_AUTOFLOW_TIMEOUT", patience.as_secs().to_string());
        for (name, place) in [
            ("HOME", ""),
            ("TMPDIR", "tmp"),
            ("STATE_DIRECTORY", "state"),
            ("CREDENTIALS_DIRECTORY", "secrets"),
            ("AUTOFLOW_INPUTS_DIR", "inputs"),
            ("AUTOFLOW_OUTPUTS_DIR", "outputs"),
        ] {
            autoflow.env(name, home.path().join(place));
        }
        let program = self.program.display().to_string();
        let output = self.run(autoflow, None, patience).map_err(|source| Error::Python { program, source })?;
        if !output.status.success() {
            return Err(Error::AutoFlow { said: last_lines(&output.stderr) });
        }
        let reports = home.path().join("outputs/reports");
        let one = |suffix| one(&reports, suffix).map_err(|source| Error::Place { path: reports.clone(), source });
        let mut pdftotext = Command::new("/usr/bin/pdftotext");
        pdftotext.args(["-layout", "-", "-"]).current_dir("/").env_clear();
        let (text, read) = match self.run(pdftotext, Some(&one("pdf")?), patience) {
            Ok(output) if output.status.success() => (output.stdout, PDF),
            Ok(output) => return Err(Error::AutoFlow { said: last_lines(&output.stderr) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (one("html")?, "HTML, as there is no pdftotext (Debian's poppler-utils) to read the PDF with")
            }
            Err(source) => return Err(Error::Python { program: "pdftotext".to_owned(), source }),
        };
        let text = String::from_utf8_lossy(&text);
        let counts = rows(&text, read != PDF);
        match text.contains(&day.to_string()) && !counts.is_empty() {
            true => Ok(Report { counts, read }),
            false => Err(Error::AutoFlow { said: format!("its report says nothing of {day}") }),
        }
    }

    /// A directory of the role's user with all that it is told.
    fn home(&self, token: &Secret, question: &Question) -> io::Result<tempfile::TempDir> {
        let home = tempfile::Builder::new().prefix("flowkit-").tempdir()?;
        let (workflows, notebook) = (workflows(question), notebook());
        for part in ["inputs", "outputs", "secrets", "state", "tmp"] {
            fs::create_dir(home.path().join(part))?;
        }
        let mut files = vec![("inputs/workflows.yml", &*workflows), ("secrets/FLOWAPI_TOKEN", token.expose())];
        files.push(("inputs/report.ipynb", &notebook));
        files.extend(self.certificate.as_ref().map(|pem| ("secrets/cert-flowkit.pem", pem.expose())));
        for (name, text) in &files {
            let path = home.path().join(name);
            File::options().write(true).create_new(true).mode(0o400).open(&path)?.write_all(text.as_bytes())?;
        }
        if let Some((uid, gid)) = self.runs_as {
            let paths = files.iter().map(|(name, _)| *name);
            let mut paths = paths.chain(["inputs", "outputs", "secrets", "state", "tmp", ""]);
            paths.try_for_each(|name| chown(home.path().join(name), Some(uid), Some(gid)))?;
        }
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700))?;
        Ok(home)
    }

    /// Runs a program as the role's user, with something on its standard input.
    fn run(&self, mut program: Command, input: Option<&[u8]>, patience: Duration) -> io::Result<std::process::Output> {
        program.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some((uid, gid)) = self.runs_as {
            // Root's supplementary groups go with it.
            program.uid(uid).gid(gid);
        }
        alone(&mut program);
        let mut child = program.spawn()?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            // One that ends without reading says why.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input.unwrap_or_default())));
            wait(child, patience)
        })
    }
}

/// The only file of a kind, which the role's user has made.
fn one(reports: &Path, suffix: &str) -> io::Result<Vec<u8>> {
    let entries = fs::read_dir(reports)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths =
        entries.iter().map(fs::DirEntry::path).filter(|path| path.extension().is_some_and(|is| is == suffix));
    let (Some(path), None) = (paths.next(), paths.next()) else {
        return Err(io::Error::other(format!("there is not one {suffix}")));
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The rows of the table: lines of a word and a number, or rows of HTML.
fn rows(text: &str, is_html: bool) -> Counts {
    let rows: Vec<String> = match is_html {
        true => text.split("<tr").skip(1).filter_map(|row| Some(words(row.split_once('>')?.1))).collect(),
        false => text.lines().map(str::to_owned).collect(),
    };
    let pair = |row: &String| match row.split_whitespace().collect::<Vec<_>>()[..] {
        [group, number] => Some((group.to_owned(), number.parse().ok()?)),
        _ => None,
    };
    rows.iter().filter_map(pair).collect()
}

/// What stands between the tags of a row.
fn words(html: &str) -> String {
    let row = html.split("</tr>").next().unwrap_or_default();
    let texts = row.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    texts.collect::<Vec<_>>().join(" ")
}

/// The workflow, as JSON, which is YAML.
fn workflows(question: &Question) -> String {
    let parameters = ["reference_date", "flowapi_url", "spec", "by"].map(|name| (name.to_owned(), json!(name)));
    let parameters: serde_json::Map<_, _> = parameters.into_iter().collect();
    let report = json!({ "filename": "report.ipynb", "parameters": parameters, "output": { "format": "pdf" } });
    let run = json!({ "workflow_name": NAME, "parameters": { "spec": question.spec, "by": question.by } });
    json!({
        "workflows": [{ "name": NAME, "notebooks": { "report": report } }],
        "available_dates_sensor": { "schedule": null, "workflows": [run] },
    })
    .to_string()
}

/// The notebook, whose parameters are filled in.
fn notebook() -> String {
    let code = |tag: &[&str], source: &str| json!({ "cell_type": "code", "execution_count": null, "metadata": { "tags": tag }, "outputs": [], "source": source });
    let title = json!({ "cell_type": "markdown", "metadata": {}, "source": "# A question of flowkit verify's" });
    let parameters = code(&["parameters"], "reference_date = flowapi_url = spec = by = None");
    let kernel = json!({ "kernelspec": { "name": "python3", "display_name": "Python 3", "language": "python" } });
    json!({ "cells": [title, parameters, code(&[], SCRIPT)], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4 })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_out_of_either() {
        let right = Counts::from([("1".to_owned(), 23), ("2".to_owned(), 40)]);
        let pdf = "A small day\n\n  records      people\n     1          23\n     2          40\n\n 1 of 1\n";
        assert_eq!(rows(pdf, false), right);
        let html = "<p>3 4</p><table><thead>\n<tr><th>records</th><th>people</th></tr></thead>\n<tr>\n<td>1</td>\n<td>23</td>\n</tr>\n\
                    <tr class=\"x\"><td>2</td><td>40</td></tr></table> 5 6";
        assert_eq!(rows(html, true), right);
        assert!(notebook().contains("APIQuery"));
    }
}
