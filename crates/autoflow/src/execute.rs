//! One run: its notebooks one after the other, then the reports, each in a child that is watched and walled in.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use flowkit_core::secrets::Secret;
use serde_json::{Map, Value};
use supervisor::system::{DEVICES, SYSTEM, around, installation};
use tokio::sync::watch;

use crate::child::{self, End, Job, Limits, Walls};
use crate::places::{FILES, LOGS, NOTEBOOKS, Places, REPORTS, WORK};
use crate::run::{stamp, tag};
use crate::store::{self, Run};
use crate::untrusted;
use crate::workflows::{FLOWAPI_URL, Notebook, Workflow};

/// How notebooks are run.
#[derive(Clone, Debug)]
pub struct Means {
    /// The Python that has `flowkit_notebooks`.
    pub python: PathBuf,
    /// The directory with the notebooks.
    pub inputs: PathBuf,
    /// Where their results go.
    pub places: Places,
    /// Where they keep what they need for a moment.
    pub scratch: PathBuf,
    /// What each may take.
    pub limits: Limits,
    /// FlowAPI's address.
    pub flowapi: String,
    /// Its port, and whether its host has a name that is to be asked for.
    pub port: (u16, bool),
    /// Where AutoFlow's secrets and what it remembers are, and those of the whole deployment: no notebook's, wherever they stand.
    pub closed: Vec<PathBuf>,
}

impl Means {
    /// What every child reads: the system, its Python and the inputs, but nothing of what is closed.
    fn read(&self, system: &[&Path]) -> Vec<PathBuf> {
        let closed: Vec<PathBuf> = self.closed.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let closed: Vec<&Path> = closed.iter().map(PathBuf::as_path).collect();
        let all = system.iter().map(|path| path.to_path_buf()).chain(installation(&self.python));
        all.chain([self.inputs.clone()]).flat_map(|path| around(&path, &closed)).collect()
    }
}

/// What a run is given of the secrets, and no more.
#[derive(Clone)]
pub struct Given {
    /// Its token.
    pub token: Secret,
    /// The certificate by which FlowAPI is known.
    pub certificate: Option<String>,
}

/// Why a run was broken off: AutoFlow stops, or the run is somebody else's by now.
#[derive(Debug)]
pub struct Cancelled;

/// Runs it, until it ends or `stop` is true. The files are left where they were made.
///
/// # Errors
/// It was broken off.
pub async fn execute(
    means: &Means,
    given: &Given,
    run: &Run,
    workflow: &Workflow,
    stop: &mut watch::Receiver<bool>,
) -> Result<store::End, Cancelled> {
    let scratch = means.scratch.join(&run.id);
    let rest = rest(means, run, workflow);
    let error = match Attempt::begin(means, given, run, &scratch, &rest) {
        Ok(attempt) => attempt.all(workflow, stop).await,
        Err(error) => Ok(Some(format!("its directory can't be made: {error}"))),
    };
    let left = tokio::task::block_in_place(|| {
        let _ = untrusted::remove(&scratch);
        if error.is_err() {
            return Ok(Vec::new());
        }
        means.places.left(&run.id, &workflow.names(&rest), &rest)
    });
    let error = error?;
    let (files, lost) = match left {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(format!("its files can't be found: {error}"))),
    };
    let error = error.or(lost);
    Ok(store::End { success: error.is_none(), error: error.unwrap_or_default(), files })
}

/// The rest of its files' names, which no file in its place has yet: of two attempts within a second, too, each keeps its own.
fn rest(means: &Means, run: &Run, workflow: &Workflow) -> String {
    let tag = tag(&run.workflow, &run.reference, &run.hash);
    let rest = |later: i64| format!("{tag}__{}", stamp(run.started + later));
    let free = |rest: &String| !means.places.are_there(&workflow.names(rest), rest);
    (0..60).map(rest).find(free).unwrap_or_else(|| rest(60))
}

struct Attempt<'a> {
    means: &'a Means,
    given: &'a Given,
    run: &'a Run,
    place: PathBuf,
    scratch: &'a Path,
    /// The rest of a file's name.
    rest: &'a str,
}

impl<'a> Attempt<'a> {
    fn begin(
        means: &'a Means,
        given: &'a Given,
        run: &'a Run,
        scratch: &'a Path,
        rest: &'a str,
    ) -> io::Result<Attempt<'a>> {
        let place = means.places.begin(&run.id)?;
        untrusted::remove(scratch)?;
        std::fs::create_dir_all(scratch)?;
        if let Some(certificate) = &given.certificate {
            std::fs::write(place.join("flowapi.pem"), certificate)?;
        }
        std::fs::create_dir(place.join(FILES).join(rest))?;
        Ok(Attempt { means, given, run, place, scratch, rest })
    }

    /// Why it failed; `None`: it did not.
    async fn all(&self, workflow: &Workflow, stop: &mut watch::Receiver<bool>) -> Result<Option<String>, Cancelled> {
        let names = workflow.names(self.rest);
        for (index, (notebook, name)) in workflow.notebooks.iter().zip(&names).enumerate() {
            let work = self.place.join(WORK).join(index.to_string());
            let output = work.join(format!("{name}.ipynb"));
            let own = self.scratch.join(index.to_string());
            if let Err(error) = std::fs::create_dir(&work).and_then(|()| std::fs::create_dir(&own)) {
                return Ok(Some(format!("{}: its directory can't be made: {error}", notebook.filename)));
            }
            let parameters = self.parameters(notebook, workflow, &names);
            let args = ["execute".as_ref(), &*self.means.inputs.join(&notebook.filename), &*output];
            let files = self.place.join(FILES).join(self.rest);
            let mut job = self.job(name, &args, &files, &own);
            job.input = Value::from(parameters).to_string();
            job.walls.change.extend([files, work]);
            // Of those before it.
            job.walls.run.extend([self.place.join(NOTEBOOKS), self.place.join("flowapi.pem")]);
            // A kernel and whoever asks it speak by these, in a directory of theirs.
            job.walls.unix = true;
            job.walls.connect.push(self.means.port.0);
            job.walls.datagrams = self.means.port.1;
            job.env.insert("FLOWAPI_URL".to_owned(), self.means.flowapi.clone());
            job.env.insert("FLOWAPI_TOKEN".to_owned(), self.given.token.expose().to_owned());
            if self.given.certificate.is_some() {
                let certificate = self.place.join("flowapi.pem").to_string_lossy().into_owned();
                job.env.insert("SSL_CERTIFICATE_FILE".to_owned(), certificate);
            }
            let why = self.child(job, stop).await?;
            // All that it has started has ended. What it has left for its result may be anything.
            let kept = tokio::task::block_in_place(|| untrusted::copy(&output, &self.executed(name)));
            let why = why.or(kept.err().map(|error| format!("what was executed can't be kept: {error}")));
            if let Some(why) = why {
                return Ok(Some(format!("{}: {why}", notebook.filename)));
            }
        }
        for (index, (notebook, name)) in workflow.notebooks.iter().zip(&names).enumerate() {
            let Some(report) = &notebook.report else { continue };
            let made = |suffix: &str| self.place.join(REPORTS).join(format!("{name}.{suffix}"));
            let (html, pdf, template) =
                (made("html"), made("pdf"), report.template.as_ref().map(|name| self.means.inputs.join(name)));
            let executed = self.executed(name);
            let mut args: Vec<&Path> =
                vec!["report".as_ref(), &executed, "--html".as_ref(), &html, "--pdf".as_ref(), &pdf];
            if let Some(template) = &template {
                args.extend(["--template".as_ref(), template.as_path()]);
            }
            // Nothing in these is a notebook's: a program finds settings, templates and modules where it works and at home.
            let own = self.scratch.join(format!("report-{index}"));
            let (files, empty) = (own.join("work"), own.join("empty"));
            if let Err(error) = [&own, &files, &empty].into_iter().try_for_each(std::fs::create_dir) {
                return Ok(Some(format!("the report of {}: its directory can't be made: {error}", notebook.filename)));
            }
            let mut job = self.job(name, &args, &files, &own);
            for variable in ["JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "XDG_DATA_HOME"] {
                job.env.insert(variable.to_owned(), empty.to_string_lossy().into_owned());
            }
            job.env.insert("JUPYTER_PREFER_ENV_PATH".to_owned(), "1".to_owned());
            job.walls.run.push(executed.clone());
            job.walls.change.push(self.place.join(REPORTS));
            if let Some(why) = self.child(job, stop).await? {
                return Ok(Some(format!(
                    "the notebooks ran, but the report of {} could not be made: {why}",
                    notebook.filename
                )));
            }
        }
        Ok(None)
    }

    fn executed(&self, name: &str) -> PathBuf {
        self.place.join(NOTEBOOKS).join(format!("{name}.ipynb"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.place.join(LOGS).join(format!("{name}.log"))
    }

    /// What a notebook's variables are.
    fn parameters(&self, notebook: &Notebook, workflow: &Workflow, names: &[String]) -> Map<String, Value> {
        let value = |name: &String| {
            if let Some(at) = workflow.notebooks.iter().position(|other| other.key == *name) {
                return self.executed(&names[at]).to_string_lossy().into_owned().into();
            }
            match name.as_str() {
                FLOWAPI_URL => self.means.flowapi.clone().into(),
                name => self.run.parameters.get(name).cloned().unwrap_or_default(),
            }
        };
        notebook.parameters.iter().map(|(variable, name)| (variable.clone(), value(name))).collect()
    }

    /// A child without network and secrets, that works in a directory and has another for itself.
    fn job(&self, name: &str, args: &[&Path], dir: &Path, own: &Path) -> Job {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let scratch = text(own);
        let mut env: BTreeMap<String, String> = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("HOME", &scratch),
            ("TMPDIR", &scratch),
            ("XDG_CACHE_HOME", &scratch),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONSAFEPATH", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        // Fonts of a machine are where its settings say.
        env.extend(std::env::var("FONTCONFIG_FILE").ok().map(|file| ("FONTCONFIG_FILE".to_owned(), file)));
        // What has been put beside the system is a host's own business: its Python comes with its installation.
        let system: Vec<&Path> = SYSTEM.iter().filter(|path| **path != "/opt").map(Path::new).collect();
        let change = DEVICES.iter().map(PathBuf::from).chain([own.to_owned()]);
        let module = ["-m".to_owned(), "flowkit_notebooks".to_owned()];
        Job {
            program: self.means.python.clone(),
            args: module.into_iter().chain(args.iter().map(|arg| text(arg))).collect(),
            env,
            dir: dir.to_owned(),
            input: String::new(),
            log: self.log(name),
            limits: self.means.limits,
            walls: Walls { run: self.means.read(&system), change: change.collect(), ..Walls::default() },
        }
    }

    /// Why a child failed; `None`: it did not.
    async fn child(&self, job: Job, stop: &mut watch::Receiver<bool>) -> Result<Option<String>, Cancelled> {
        let (wait, hold) = match child::start(&job) {
            Ok(started) => started,
            Err(error) => return Ok(Some(format!("it could not be started: {error}"))),
        };
        let mut ended = tokio::task::spawn_blocking(wait);
        let end = tokio::select! {
            end = &mut ended => end,
            () = stopped(stop) => {
                drop(hold);
                let _ = ended.await;
                return Err(Cancelled);
            }
        };
        let limits = &job.limits;
        Ok(match end {
            Ok(Ok(End::Exit(0))) => None,
            Ok(Ok(End::Exit(code))) => {
                // upstream's client repeats a token that it can't read.
                let said = untrusted::last_line(&job.log, self.given.token.expose(), "FLOWAPI_TOKEN");
                let said = said.map(|line| line.trim_start_matches(&job.args[3]).trim_start_matches(": ").to_owned());
                Some(said.unwrap_or_else(|| format!("its program ended with status {code} and said nothing")))
            }
            Ok(Ok(End::Signal(signal))) => Some(format!("its program was killed by signal {signal}")),
            Ok(Ok(End::Time)) => {
                Some(format!("it took longer than {} s (FLOWKIT_AUTOFLOW_TIMEOUT) and was ended", limits.seconds))
            }
            Ok(Ok(End::Memory)) => Some(format!(
                "it took more than {} MiB of memory (FLOWKIT_AUTOFLOW_MEMORY) and was ended",
                limits.memory >> 20
            )),
            Ok(Ok(End::Processes)) => {
                Some(format!("it had more than {} processes at once and was ended", limits.processes))
            }
            Ok(Ok(End::Failed(why))) => Some(format!("it could not be started: {why}")),
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        })
    }
}

/// Ready when that is true, or nobody is left who could say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_child_reads_what_is_closed_wherever_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (opt, usr, state) = (root.join("opt"), root.join("usr"), root.join("opt/flowkit"));
        for path in ["opt/flowkit/autoflow/inputs", "opt/other", "usr/bin", "usr/local/keys", "usr/local/lib"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        std::fs::write(usr.join("bin/python"), "").unwrap();
        std::os::unix::fs::symlink(&state, root.join("link")).unwrap();
        let means = Means {
            python: usr.join("bin/python"),
            inputs: state.join("autoflow/inputs"),
            places: Places::of(&state.join("autoflow/outputs")),
            scratch: state.join("autoflow/data/runs"),
            limits: Limits { seconds: 1, memory: 1, processes: 1 },
            flowapi: String::new(),
            port: (9090, false),
            closed: vec![root.join("link"), usr.join("local/keys"), root.join("missing")],
        };
        let read = means.read(&[&opt, &usr]);
        for path in [opt.join("other"), usr.join("bin"), usr.join("local/lib"), means.inputs.clone()] {
            assert!(read.contains(&path), "{read:?} lacks {path:?}");
        }
        for path in [opt.clone(), usr.clone(), state, usr.join("local"), usr.join("local/keys")] {
            assert!(!read.contains(&path), "{read:?} has {path:?}");
        }
    }
}
