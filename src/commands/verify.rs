//! `flowkit verify`: does a running deployment give right answers?

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde_json::json;
use time::Date;

use super::{Failure, demo, hints, table};
use crate::roles::{self, Deployment, autoflow, flowmachine};
use crate::stack::{Docker, Job};
use crate::verify::examples::{self, Place};
use crate::verify::{Check, Error, Pages, Reporter, Target, token_for_examples, verify};
use flowkit_core::config::{Problem, Problems, bracketed};
use flowkit_core::secrets::{Secret, Store};
use say::{show, tell};
use supervisor::client;

/// Ask a running deployment a real question in several ways and compare the answers
///
/// Where were people at the end of a day, by ward? The question goes to FlowMachine's server, as FlowAPI asks it and with
/// FlowAPI's login to the database; to FlowAPI itself, where PRIVATE_JWT_SIGNING_KEY is at hand to make a token with, and with a
/// token of FlowAuth's, where its administrator's first password still holds: a user and a role are made there, and removed afterwards; to
/// FlowMachine's library, as an analyst with a login that is made for it and removed afterwards; and to the database in plain SQL. Where
/// FlowETL runs on this host, a small day of its own (15 June 1972, before the first mobile phone) goes through a DAG into FlowDB first, is asked about,
/// where AutoFlow runs also in a report whose PDF is read, and is taken out again; no other day is touched. Exit status 0 when all agree; 1 when not, and then what differs is told.
///
/// With --examples the worked examples are run instead: notebooks that ask through FlowAPI, as analysts do. Their reports, with maps, are kept as PDF
/// and HTML; a file that is there already is left alone, and the new one gets a number. On the records of `flowkit db demo` their figures are compared with
/// plain SQL; on others it is told what could be drawn. Exit status 1, too, when none could.
#[derive(Args)]
pub struct Verify {
    /// The day to ask about [default: the last one that is ingested]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = demo::date)]
    day: Option<Date>,
    /// Longest wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// How to print
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// State directory of the deployment [default: /var/lib/flowkit for root, else flowkit in the XDG state directory]
    #[arg(long, value_name = "DIR", conflicts_with = "stack")]
    dir: Option<PathBuf>,
    /// A stack on Docker Swarm instead: the questions are asked from inside of it
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Run the worked examples, and keep their reports
    #[arg(long, conflicts_with_all = ["stack", "day"])]
    examples: bool,
    /// An example to run, instead of all; may be given several times
    #[arg(long, value_name = "EXAMPLE", requires = "examples", value_parser = PossibleValuesParser::new(examples::names()))]
    only: Vec<String>,
    /// Where notebooks and reports are kept
    #[arg(long, value_name = "DIR", requires = "examples", default_value = "flowkit-examples")]
    reports: PathBuf,
    /// A FlowAPI anywhere, such as a stack's or a machine's, asked with the token in FLOWAPI_TOKEN (a file may hold it: FLOWAPI_TOKEN_FILE)
    #[arg(long, value_name = "URL", requires = "examples", conflicts_with = "dir")]
    url: Option<String>,
    /// Its certificate, as PEM, where no authority that this machine trusts has signed it
    #[arg(long, value_name = "FILE", requires = "url")]
    certificate: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// User and group that own nothing, on every Linux.
const NOBODY: u32 = 65_534;

/// A check that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: it went wrong")]
struct Wrong {
    what: String,
    source: Error,
}

impl Verify {
    /// Checks, prints, and says by its exit status whether all is right.
    pub fn run(self) -> Result<ExitCode, Failure> {
        if let Some(stack) = &self.stack {
            return self.run_inside(stack);
        }
        if let Some(url) = &self.url {
            return self.run_examples_elsewhere(url);
        }
        let deployment = Deployment::open_running(self.dir.as_deref()).map_err(Failure::mistake)?;
        let target = Target {
            site: &deployment.site,
            flowmachine: server(&deployment).map_err(Failure::mistake)?,
            flowetl: etl(&deployment).map_err(Failure::mistake)?,
            autoflow: reporter(&deployment).map_err(Failure::mistake)?,
            flowapi: front(&deployment, "flowapi", roles::flowapi::reached).map_err(Failure::mistake)?,
            flowauth: front(&deployment, "flowauth", roles::flowauth::reached).map_err(Failure::mistake)?,
            python: &flowmachine::python(&deployment).map_err(Failure::mistake)?,
            python_as: deployment.user_of("flowmachine").map_err(Failure::mistake)?.map(|user| (user.uid, user.gid)),
            patience: Duration::from_secs(self.patience),
        };
        if self.examples {
            return self.run_examples_here(&deployment, &target);
        }
        Ok(self.show(|told| verify(&target, self.day, told)))
    }

    /// Does some checks, with a sign of life at a terminal, and shows what came of them.
    fn show(&self, work: impl FnOnce(&dyn Fn(&Check)) -> Vec<Check>) -> ExitCode {
        let spinner = say::ERR.is_terminal().then(|| ProgressBar::new_spinner().with_message("asking"));
        if let Some(spinner) = &spinner {
            spinner.enable_steady_tick(Duration::from_millis(100));
        }
        let told = |check: &Check| _ = spinner.as_ref().map(|s| s.set_message(format!("asking; done: {}", check.what)));
        let checks = work(&told);
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
        match self.format {
            Format::Table => show!("{}", in_rows(&checks)),
            Format::Json => say::product(format!("{:#}\n", as_json(&checks)).as_bytes()),
        }
        let wrong: Vec<Failure> = checks
            .into_iter()
            .filter_map(|Check { what, outcome, .. }| Some(Wrong { what, source: outcome.err()? }.into()))
            .collect();
        wrong.iter().for_each(hints::tell);
        if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The examples before a deployment of this machine, with a token made for them.
    fn run_examples_here(&self, deployment: &Deployment, target: &Target) -> Result<ExitCode, Failure> {
        let away = |why: &String| Failure::mistake(Error::Away("FlowAPI", why.clone()));
        let at = *target.flowapi.as_ref().map_err(away)?;
        let plain = deployment.site.settings.flag("FLOWKIT_FLOWAPI_PLAIN_HTTP");
        let host = if at.ip().is_loopback() { "localhost".to_owned() } else { bracketed(&at.ip().to_string()) };
        let lifetime = target.patience.saturating_mul(u32::try_from(examples::names().count()).unwrap_or(u32::MAX));
        let certificate = (!plain).then(|| deployment.site.store.get("cert-flowkit.pem")).transpose();
        let place = Place {
            url: format!("{}://{host}:{}", if plain { "http" } else { "https" }, at.port()),
            token: token_for_examples(target, lifetime)?,
            certificate: certificate.map_err(Failure::mistake)?,
            python: &notebooks_python().map_err(Failure::mistake)?,
            python_as: target.python_as,
            reports: &self.reports()?,
            patience: target.patience,
        };
        Ok(self.show(|told| examples::examples(&place, Some(target), &self.only, told)))
    }

    /// The examples before any FlowAPI, with a token that is given.
    fn run_examples_elsewhere(&self, url: &str) -> Result<ExitCode, Failure> {
        let store = Store::new(None);
        let read = |path: &PathBuf| {
            let unread = |error: std::io::Error| {
                let problem = Problem::new("the certificate can't be read", "give FlowAPI's cert-flowkit.pem");
                Failure::mistake(problem.value(format!("{}: {error}", path.display())))
            };
            fs::read_to_string(path).map(Secret::new).map_err(unread)
        };
        let place = Place {
            url: url.trim_end_matches('/').to_owned(),
            token: readable(store.get("FLOWAPI_TOKEN").map_err(Failure::mistake)?)?,
            certificate: self.certificate.as_ref().map(read).transpose()?,
            python: &notebooks_python().map_err(Failure::mistake)?,
            // What a server answers is read by somebody who may do nothing here.
            python_as: rustix::process::geteuid().is_root().then_some((NOBODY, NOBODY)),
            reports: &self.reports()?,
            patience: Duration::from_secs(self.patience),
        };
        Ok(self.show(|told| examples::examples(&place, None, &self.only, told)))
    }

    fn reports(&self) -> Result<PathBuf, Failure> {
        let absolute = std::path::absolute(&self.reports).and_then(|path| examples::make(&path).map(|()| path));
        let problem = |error: std::io::Error| {
            let problem = Problem::new("the directory of the reports can't be made", "give another one with --reports");
            Failure::mistake(problem.value(format!("{}: {error}", self.reports.display())))
        };
        absolute.map_err(problem)
    }
}

/// A token that upstream's client can read: it repeats what it can't.
fn readable(token: Secret) -> Result<Secret, Failure> {
    if access::Inspection::read(token.expose()).is_ok() {
        return Ok(token);
    }
    let hint = "give one that FlowAuth has made; `flowkit token show` says what is wrong with this one";
    Err(Failure::mistake(Problem::new("FLOWAPI_TOKEN is no token of FlowAuth's", hint)))
}

/// The Python of analysts' notebooks that `make setup` puts beside this program.
fn notebooks_python() -> Result<PathBuf, Problem> {
    let below = |prefix: &Path| prefix.join("lib/flowkit/notebooks/bin/python");
    let beside = std::env::current_exe().ok().and_then(|program| program.ancestors().nth(2).map(below));
    let path = beside.filter(|path| path.exists()).unwrap_or_else(|| below(Path::new("/usr/local")));
    if path.exists() {
        return Ok(path);
    }
    Err(Problem::new("the notebooks' Python is not there", "run `make setup`").value(path.display().to_string()))
}

impl Verify {
    /// The same command as a job of the swarm, in the stack's networks and with its secrets.
    fn run_inside(&self, stack: &str) -> Result<ExitCode, Failure> {
        let (day, patience) = (self.day.map(|day| day.to_string()), self.patience.to_string());
        let mut command = vec!["verify", "--dir", "/dev/shm/flowkit", "--patience", &patience];
        command.extend(["--format", if matches!(self.format, Format::Json) { "json" } else { "table" }]);
        command.extend(day.iter().flat_map(|day| ["--day", day]));
        // Each answer within its own patience, and the start of a container.
        let patience = Duration::from_secs(self.patience.saturating_mul(5).saturating_add(60));
        let outcome = inside(stack, &command, patience).run(&Docker::connect()?)?;
        say::product(outcome.stdout.as_bytes());
        tell!("{}", outcome.stderr);
        Ok(if outcome.success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A check of a stack, which needs FlowMachine's library and reaches everything.
pub(super) fn inside<'a>(stack: &'a str, command: &'a [&'a str], patience: Duration) -> Job<'a> {
    Job { stack, image_of: "flowmachine", speaks_to: &["flowdb", "redis", "flowmachine"], command, patience }
}

/// Where FlowMachine's server is: here, or on the host or in the container that the settings name. Where FlowETL fills a FlowDB that nobody
/// asks yet, it is nowhere.
fn server(deployment: &Deployment) -> Result<Result<SocketAddr, String>, Problem> {
    let here = flowmachine::reached(deployment)?;
    let named = deployment.site.settings.explicit().find(|(name, _)| *name == "FLOWMACHINE_HOST");
    let Some((name, host)) = named else {
        let lacks = runs(deployment, "flowetl") == Some(true) && runs(deployment, "flowmachine") == Some(false);
        return Ok(if lacks { Err("it does not run here".to_owned()) } else { Ok(here) });
    };
    let found = (host, here.port()).to_socket_addrs().ok();
    found.and_then(|found| found.min_by_key(SocketAddr::is_ipv6)).map(Ok).ok_or_else(|| {
        let problem = Problem::new(format!("{name} has no address"), "give the host that FlowMachine runs on");
        problem.value(host).origin(deployment.site.settings.origin(name))
    })
}

/// Where FlowETL's Airflow is, if it runs here: in this deployment, or, where each role has a supervisor of its own, by the word of who set up
/// the host and named its program.
fn etl(deployment: &Deployment) -> Result<Option<Pages>, Problem> {
    let named = || deployment.site.settings.explicit().any(|(name, _)| name == "FLOWKIT_FLOWETL_PYTHON");
    let apart = runs(deployment, "flowmachine") != Some(true) && named();
    let here = runs(deployment, "flowetl") == Some(true) || apart;
    let pages = || {
        let user = deployment.user_of("flowetl")?.or_else(|| roles::user_by_name("flowetl").filter(|_| apart));
        let owner = user.map_or(rustix::process::geteuid().as_raw(), |user| user.uid);
        Ok(Pages { address: roles::flowetl::reached(deployment)?, owner })
    };
    here.then(pages).transpose()
}

/// AutoFlow, where it runs here, likewise.
fn reporter(deployment: &Deployment) -> Result<Option<Reporter>, Problems> {
    let named = || deployment.site.settings.explicit().any(|(name, _)| name == "FLOWKIT_AUTOFLOW_PYTHON");
    let apart = runs(deployment, "flowmachine") != Some(true) && named();
    if runs(deployment, "autoflow") != Some(true) && !apart {
        return Ok(None);
    }
    let program = autoflow::program(deployment)?;
    Ok(Some(Reporter {
        program: program.program,
        env: program.env,
        runs_as: deployment.user_of("autoflow")?.map(|user| (user.uid, user.gid)),
        certificate: deployment.site.store.get("cert-flowkit.pem").ok(),
    }))
}

/// Whether a role is among those that run in this deployment, if any does.
fn runs(deployment: &Deployment, role: &str) -> Option<bool> {
    let running = client::status(&deployment.site.state.run()).ok()?;
    Some(running.facts["roles"].as_object()?.contains_key(role))
}

/// Where FlowAPI or FlowAuth is, or that it does not run among the others.
fn front(
    deployment: &Deployment,
    role: &str,
    reached: fn(&Deployment) -> Result<SocketAddr, Problem>,
) -> Result<Result<SocketAddr, String>, Problem> {
    match (runs(deployment, "flowmachine"), runs(deployment, role)) {
        (Some(true), Some(false)) => Ok(Err("it does not run here".to_owned())),
        _ => reached(deployment).map(Ok),
    }
}

/// What was looked at, what came of it, how long it took.
fn in_rows(checks: &[Check]) -> String {
    let row = |check: &Check| [check.what.clone(), result(check), format!("{:.2} s", check.took.as_secs_f64())];
    table::lines(["CHECK", "RESULT", "TIME"], checks.iter().map(row))
}

/// One line; what differs is told apart from the table.
fn result(check: &Check) -> String {
    match &check.outcome {
        Ok(said) => said.clone(),
        Err(error) => format!("FAILED: {}", error.to_string().lines().next().unwrap_or_default()),
    }
}

fn as_json(checks: &[Check]) -> serde_json::Value {
    let one = |check: &Check| {
        json!({
            "check": check.what,
            "ok": check.outcome.is_ok(),
            "result": check.outcome.as_ref().map_or_else(ToString::to_string, Clone::clone),
            "seconds": check.took.as_secs_f64(),
        })
    };
    json!(checks.iter().map(one).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_line_a_check() {
        let check = |what: &str, outcome| Check { what: what.into(), outcome, took: Duration::from_millis(1234) };
        let checks = [check("a question", Ok("equal in all 3 areas".into())), check("another", Err(Error::NoDay))];
        let text = in_rows(&checks);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1].join(" "), "a question equal in all 3 areas 1.23 s");
        assert!(lines[2].join(" ").starts_with("another FAILED: no day is ingested"), "{text}");
        assert_eq!(as_json(&checks)[1]["ok"], false);
    }
}
