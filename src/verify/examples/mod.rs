//! The worked examples (`examples/notebooks`), run as an analyst runs them: through FlowAPI, with a token, by upstream's client.
//!
//! Each leaves the figures of its picture and what it has asked for, and both are held against the same in plain SQL, or, of a
//! deployment that is known by its address alone, against those of the month that `flowkit db demo` makes unless told otherwise.

mod numbers;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::library::{last_lines, wait};
use super::{Check, Error, Target};
use flowkit_core::secrets::Secret;

/// A notebook, by its name.
struct Example {
    name: &'static str,
    notebook: &'static str,
}

macro_rules! examples {
    ($($name:literal),* $(,)?) => {
        [$(Example { name: $name, notebook: include_str!(concat!("../../../examples/notebooks/", $name, ".ipynb")) }),*]
    };
}

const EXAMPLES: [Example; 6] =
    examples!["daily_locations", "flows", "commuting", "population", "unusual_days", "event"];

/// What they must come to on the month of `flowkit db demo`, worked out in SQL: of each what it asks for, and its figures.
const MONTH: &str = include_str!("../../../examples/notebooks/numbers.json");

/// Bytes of a file that is taken from where a notebook ran.
const MOST: u64 = 256 << 20;

/// The names of all examples.
pub fn names() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|example| example.name)
}

/// What a token must allow for all of them.
pub fn scopes() -> Vec<String> {
    let actions = ["run", "get_result", "get_available_dates"].map(str::to_owned);
    let parts = [
        "geography:geography",
        "spatial_aggregate:spatial_aggregate",
        "spatial_aggregate:daily_location",
        "spatial_aggregate:modal_location",
        "flows:flows",
        "flows:daily_location",
        "flows:modal_location",
        "location_event_counts:location_event_counts",
    ];
    let of_unit = |unit| parts.map(|part| format!("{unit}:{part}"));
    actions.into_iter().chain(["admin1", "admin2", "admin3"].into_iter().flat_map(of_unit)).collect()
}

/// Where the examples are run, and as whom.
pub struct Place<'a> {
    /// FlowAPI's address, as analysts know it.
    pub url: String,
    /// What lets in.
    pub token: Secret,
    /// By what it is known, as PEM, if not by an authority that the system trusts.
    pub certificate: Option<Secret>,
    /// The Python that has `flowkit_notebooks`.
    pub python: &'a Path,
    /// User and group that it runs as; `None` for those of this process.
    pub python_as: Option<(u32, u32)>,
    /// Where notebooks and reports are kept.
    pub reports: &'a Path,
    /// Longest time for one example.
    pub patience: Duration,
}

/// Runs the examples `only`, or all when that is empty, each told to `tell` when it is done. `target` is the deployment where its database
/// can be asked. Blocks; not to be called inside of an async runtime.
pub fn examples(place: &Place, target: Option<&Target>, only: &[String], mut tell: impl FnMut(&Check)) -> Vec<Check> {
    let wanted = |example: &&Example| only.is_empty() || only.iter().any(|name| name == example.name);
    let (mut done, mut drawn, all) = (Vec::new(), false, Instant::now());
    for example in EXAMPLES.iter().filter(wanted) {
        let began = Instant::now();
        let told = place.run(example);
        drawn |= !matches!(told, Ok(Told::TooLittle(_)));
        let outcome = told.and_then(|told| told.judged(example.name, target));
        let check = Check { what: format!("the example {}", example.name), outcome, took: began.elapsed() };
        tell(&check);
        done.push(check);
    }
    // Whoever has asked for reports has none.
    if !drawn {
        done.push(Check { what: "any of them".to_owned(), outcome: Err(Error::NoneDrawn), took: all.elapsed() });
    }
    done
}

/// Figures by what they count.
type Figures = BTreeMap<String, i64>;

/// What came of one example.
enum Told {
    /// A report in this file, what was asked for, and the figures.
    Drawn { report: PathBuf, asked: Value, figures: Figures },
    /// There is too little data for it, or too few people.
    TooLittle(String),
}

impl Told {
    /// In words, if the figures are right.
    fn judged(self, name: &str, target: Option<&Target>) -> Result<String, Error> {
        let (report, asked, figures) = match self {
            Told::Drawn { report, asked, figures } => (report, asked, figures),
            Told::TooLittle(why) => return Ok(format!("not drawn: {why}")),
        };
        let expected = match target {
            Some(target) => numbers::expected(target, name, &asked)?,
            None => month(name, &asked),
        };
        let compared = match expected {
            Some(expected) => compare(&figures, &expected)?,
            None => {
                format!("{} figures, with nothing to compare them with: this is not the demo's month", figures.len())
            }
        };
        Ok(format!("{compared}; {}", report.display()))
    }
}

/// What an example must come to on the demo's month, if that is what it has asked for.
fn month(name: &str, asked: &Value) -> Option<Figures> {
    let all: Value = serde_json::from_str(MONTH).expect("a file of ours");
    let known = &all[name];
    (known["asked"] == *asked).then(|| flat(&known["numbers"]))
}

fn compare(figures: &Figures, expected: &Figures) -> Result<String, Error> {
    if figures.is_empty() {
        return Err(Error::Nothing);
    }
    let names = figures.keys().chain(expected.keys().filter(|name| !figures.contains_key(*name)));
    let different: Vec<String> = names
        .filter(|name| figures.get(*name) != expected.get(*name))
        .map(|name| {
            let shown = |of: &Figures| of.get(name).map_or_else(|| "nothing".to_owned(), i64::to_string);
            format!("{name}: the notebook has {}, the call records say {}", shown(figures), shown(expected))
        })
        .collect();
    if different.is_empty() {
        Ok(format!("equal in all {} figures", figures.len()))
    } else {
        Err(Error::Figures(different))
    }
}

/// `{"a": {"b": 1}}` as `{"a, b": 1}`.
fn flat(value: &Value) -> Figures {
    let mut figures = Figures::new();
    let mut left = vec![(String::new(), value)];
    while let Some((name, value)) = left.pop() {
        match value {
            Value::Object(map) => {
                let join = |key: &String| if name.is_empty() { key.clone() } else { format!("{name}, {key}") };
                left.extend(map.iter().map(|(key, value)| (join(key), value)));
            }
            value => figures.extend(value.as_i64().map(|number| (name, number))),
        }
    }
    figures
}

impl Place<'_> {
    /// Runs one example and keeps what it leaves.
    fn run(&self, example: &Example) -> Result<Told, Error> {
        let (name, stem) = (example.name, free(self.reports, example.name));
        let kept = |kind: &str| self.reports.join(format!("{stem}.{kind}"));
        let failed = |source| Error::Place { path: self.reports.to_owned(), source };
        let home = self.home(example).map_err(|source| Error::Place { path: std::env::temp_dir(), source })?;
        let keep = |kind: &str| keep(&home.path().join(format!("run.{kind}")), &kept(kind)).map_err(failed);
        let executed = self.python(home.path(), &["execute", "example.ipynb", "run.ipynb"])?;
        if !executed.status.success() {
            _ = keep("ipynb");
            // upstream's client repeats a token that it can't read.
            let said = last_lines(&executed.stderr).replace(self.token.expose(), "FLOWAPI_TOKEN");
            return match said.split_once("TooLittle: ") {
                Some((_, why)) => Ok(Told::TooLittle(why.to_owned())),
                None => Err(Error::Example { name, said }),
            };
        }
        keep("ipynb")?;
        let reported = self.python(home.path(), &["report", "run.ipynb", "--html", "run.html", "--pdf", "run.pdf"])?;
        if !reported.status.success() {
            return Err(Error::Example { name, said: last_lines(&reported.stderr) });
        }
        keep("html")?;
        keep("pdf")?;
        let text = fs::read_to_string(kept("ipynb")).map_err(failed)?;
        let notebook: Value = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
        let lacking = |what| Error::Example { name, said: format!("it has left no {what}") };
        let asked = left(&notebook, "asked").ok_or_else(|| lacking("`asked`"))?.clone();
        let figures = flat(left(&notebook, "numbers").ok_or_else(|| lacking("`numbers`"))?);
        Ok(Told::Drawn { report: kept("pdf"), asked, figures })
    }

    /// A directory of the user that the notebook runs as, with the notebook and the certificate.
    fn home(&self, example: &Example) -> io::Result<tempfile::TempDir> {
        let home = tempfile::Builder::new().prefix("flowkit-").tempdir()?;
        let mut files = vec![("example.ipynb", example.notebook)];
        files.extend(self.certificate.as_ref().map(|pem| ("flowapi.pem", pem.expose())));
        for (name, text) in files {
            let path = home.path().join(name);
            OpenOptions::new().write(true).create_new(true).open(&path)?.write_all(text.as_bytes())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
        if let Some((uid, gid)) = self.python_as {
            chown(home.path(), Some(uid), Some(gid))?;
        }
        Ok(home)
    }

    /// Runs `flowkit_notebooks` in a directory, with the token and nothing else of ours.
    fn python(&self, home: &Path, args: &[&str]) -> Result<Output, Error> {
        let failed = |source| Error::Python { program: self.python.display().to_string(), source };
        let mut python = Command::new(self.python);
        python.args(["-I", "-B", "-m", "flowkit_notebooks"]).args(args).current_dir(home).env_clear();
        python
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("HOME", home)
            .env("TMPDIR", home);
        python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if args[0] == "execute" {
            python.env("FLOWAPI_URL", &self.url).env("FLOWAPI_TOKEN", self.token.expose());
            if self.certificate.is_some() {
                python.env("SSL_CERTIFICATE_FILE", home.join("flowapi.pem"));
            }
        }
        if let Some((uid, gid)) = self.python_as {
            // Root's supplementary groups go with it.
            python.uid(uid).gid(gid);
        }
        super::library::alone(&mut python);
        wait(python.spawn().map_err(failed)?, self.patience).map_err(failed)
    }
}

/// The example's name, with a number where files of it are there already: those are the caller's.
fn free(reports: &Path, name: &str) -> String {
    let is_free = |stem: &String| {
        let kinds = ["ipynb", "html", "pdf"].iter();
        kinds.map(|kind| reports.join(format!("{stem}.{kind}"))).all(|path| path.symlink_metadata().is_err())
    };
    let numbered = (2..).map(|number: u32| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).expect("numbers do not end")
}

/// Copies a file that somebody else has made, if it is one and not a way to another.
fn keep(from: &Path, to: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(from)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?.write_all(&bytes)
}

/// Makes the directory of the reports, for whoever runs this alone, unless it is there.
///
/// # Errors
/// It can't be made.
pub fn make(reports: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(reports)
}

/// A value that a notebook has left under a name, as scrapbook keeps them.
fn left<'a>(notebook: &'a Value, name: &str) -> Option<&'a Value> {
    let outputs = notebook["cells"].as_array()?.iter().filter_map(|cell| cell["outputs"].as_array()).flatten();
    let mut scraps = outputs.map(|output| &output["data"]["application/scrapbook.scrap.json+json"]);
    scraps.find(|scrap| scrap["name"] == name).map(|scrap| &scrap["data"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_that_differ_or_are_missing_on_either_side_are_named() {
        let figures = flat(&json!({"day": {"A to B": 20, "B to A": 30}, "all": 50, "note": "x"}));
        assert_eq!(figures.keys().collect::<Vec<_>>(), ["all", "day, A to B", "day, B to A"]);
        assert_eq!(compare(&figures, &figures).unwrap(), "equal in all 3 figures");
        let other = flat(&json!({"day": {"A to B": 21, "C to A": 16}, "all": 50}));
        let error = compare(&figures, &other).unwrap_err().to_string();
        for line in [
            "3 figures differ",
            "day, A to B: the notebook has 20, the call records say 21",
            "day, B to A: the notebook has 30, the call records say nothing",
            "day, C to A: the notebook has nothing, the call records say 16",
        ] {
            assert!(error.contains(line), "{error}");
        }
        assert!(compare(&Figures::new(), &Figures::new()).is_err(), "nothing proves nothing");
    }

    #[test]
    fn what_is_among_the_reports_stays_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(free(dir.path(), "flows"), "flows");
        fs::write(dir.path().join("flows.pdf"), "a letter").unwrap();
        fs::write(dir.path().join("flows-2.ipynb"), "").unwrap();
        assert_eq!(free(dir.path(), "flows"), "flows-3");
        assert_eq!(free(dir.path(), "event"), "event");
    }

    #[test]
    fn each_example_has_its_figures_of_the_month() {
        let all: Value = serde_json::from_str(MONTH).unwrap();
        for name in names() {
            let known = month(name, &all[name]["asked"]).unwrap_or_default();
            assert!(known.len() > 3, "{name}: {known:?}");
            assert!(month(name, &json!({"day": "2017-01-01"})).is_none());
        }
        assert_eq!(all.as_object().unwrap().len(), EXAMPLES.len());
    }
}
