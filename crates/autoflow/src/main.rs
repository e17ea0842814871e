//! The program. It is told everything by environment and secrets; see `docs/autoflow.md`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use autoflow::attempt::attempt;
use autoflow::child;
use autoflow::engine::{Engine, Standing, file, now};
use autoflow::page::{Page, router};
use autoflow::places::Settle;
use autoflow::start::{Given, Instance, inputs, logging, owner, settings};
use autoflow::store::{Dead, Store};
use autoflow::table::{json_of, moment, notes, outlook};
use autoflow::token::look_after;
use autoflow::workflows::{self, FILE};
use clap::{Args, Parser, Subcommand};
use flowkit_core::config::{Problem, Problems};
use flowkit_core::secrets::Store as Secrets;
use time::Date;
use tokio::sync::watch;

/// What the operator has to change first, as `flowkit`'s own programs say it.
const MISTAKE: u8 = 2;

/// How long runs have to end their children once they are told to.
const GRACE: Duration = Duration::from_secs(8);

/// AutoFlow: notebooks that run when new data has arrived, and reports of them. Without a command it serves.
#[derive(Parser)]
#[command(name = "autoflow", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Status(Status),
    Run(Run),
    Validate(Validate),
    /// Stand between AutoFlow and a notebook
    #[command(name = child::GUARD, hide = true)]
    Guard,
    /// Become a notebook's program
    #[command(name = child::CONFINE, hide = true)]
    Confine {
        walls: String,
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Show what has run, runs, and will be tried again
#[derive(Args)]
struct Status {
    /// Show at most so many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u16,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Run a workflow now, whatever became of it before
#[derive(Args)]
struct Run {
    /// The workflow's name
    name: String,
    /// Its reference dates: a day, days with commas between them, or FIRST..LAST
    #[arg(long, value_name = "DATES", required = true)]
    dates: String,
}

/// Check a file with workflows
#[derive(Args)]
struct Validate {
    /// The file [default: workflows.yml among the inputs]; its notebooks are looked for beside it
    file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Nobody of our user, a notebook least, looks into our memory and environment.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let secrets = Secrets::new(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    let done = match cli.command {
        Some(Command::Guard) => return child::guard(),
        Some(Command::Confine { walls, program, args }) => return child::confine(&walls, &program, &args),
        Some(Command::Validate(validate)) => validate.run(),
        None => serve(&secrets),
        Some(Command::Status(status)) => status.run(&secrets),
        Some(Command::Run(run)) => run.run(&secrets),
    };
    done.unwrap_or_else(|problems| {
        say::tell!("autoflow: {problems}");
        ExitCode::from(MISTAKE)
    })
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    say::tell!("autoflow: {}", say::Shown(say::in_full(error)));
    ExitCode::FAILURE
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system gives threads")
}

fn broken(why: &str) -> Problems {
    Problem::new(format!("{FILE} can't be used:\n{why}"), "").into()
}

fn serve(secrets: &Secrets) -> Result<ExitCode, Problems> {
    let settings = settings()?;
    let given = Arc::new(Given::read(&settings, secrets)?);
    let instance = Instance::take(&given.state)?;
    given.means.places.make().map_err(|error| {
        Problem::new(
            format!("the directory of outputs can't be written: {error}"),
            "let AutoFlow's user write into AUTOFLOW_OUTPUTS_DIR",
        )
    })?;
    let listener = given.listen()?;
    let path = given.means.inputs.join(FILE);
    let text = file(&path).map_err(|why| broken(&why))?;
    workflows::read(&text, &given.means.inputs).map_err(|faults| broken(&located(&path, &faults)))?;
    let Ok(_running) = trace::start(&logging(&settings)) else { return Ok(ExitCode::FAILURE) };
    let work = async {
        let stop = web::stop_signal()?;
        let (tell, told) = watch::channel(false);
        let store = patiently(&given).await?;
        let mut engine = Engine::new(given.clone(), store.clone(), instance.name.clone(), told.clone());
        let page = Page { store: store.clone(), places: given.means.places.clone(), standing: engine.standing() };
        engine.begin()?;
        tokio::spawn(look_after(given.clone(), engine.standing(), told.clone()));
        let working = tokio::spawn(engine.run());
        let mut told = told;
        let until = async move {
            let _ = told.wait_for(|stop| *stop).await;
        };
        let serving = tokio::spawn(web::serve(listener, router(page), web::Options::default(), until));
        tracing::info!(page = %format!("http://localhost:{}", given.port), "it works");
        stop.await;
        let _ = tell.send(true);
        let ended = tokio::time::timeout(GRACE, working).await;
        let _ = serving.await;
        store.close().await;
        if let Ok(ended) = ended {
            ended??;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    Ok(match runtime().block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("it ends: {}", say::in_full(&*error));
            ExitCode::FAILURE
        }
    })
}

/// The database, once it is there: it may be starting too.
async fn patiently(given: &Given) -> Result<Store, autoflow::store::Error> {
    let mut wait = Duration::from_millis(500);
    loop {
        match Store::open(&given.address).await {
            Err(error) if wait < Duration::from_secs(20) => {
                tracing::warn!("the database does not answer yet: {}", say::in_full(&error));
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            opened => return opened,
        }
    }
}

fn located(path: &std::path::Path, faults: &workflows::Faults) -> String {
    faults.0.iter().map(|fault| format!("  {}, {fault}", path.display())).collect::<Vec<_>>().join("\n")
}

impl Validate {
    fn run(self) -> Result<ExitCode, Problems> {
        let (path, inputs) = match self.file {
            Some(path) => {
                let path = std::path::absolute(&path).unwrap_or(path);
                let inputs = path.parent().map(PathBuf::from).unwrap_or_default();
                (path, inputs)
            }
            None => {
                let inputs = inputs(&settings()?)?;
                (inputs.join(FILE), inputs)
            }
        };
        let text = file(&path).map_err(|why| broken(&why))?;
        let read = workflows::read(&text, &inputs).map_err(|faults| broken(&located(&path, &faults)))?;
        let schedule = read.sensor.schedule.as_ref().map_or("once", |schedule| schedule.text());
        say::show!("{}: {} workflows, run {schedule}", path.display(), read.workflows.len());
        for configured in &read.sensor.workflows {
            let notebooks = &read.workflows[&configured.name].notebooks;
            let names: Vec<&str> = notebooks.iter().map(|notebook| notebook.filename.as_str()).collect();
            say::show!("  {}: {}", configured.name, names.join(", then "));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Status {
    fn run(self, secrets: &Secrets) -> Result<ExitCode, Problems> {
        let given = Given::read(&settings()?, secrets)?;
        let path = given.means.inputs.join(FILE);
        let read = file(&path)
            .and_then(|text| workflows::read(&text, &given.means.inputs).map_err(|faults| located(&path, &faults)));
        let token = given.tokens.note(now());
        let found = runtime().block_on(async {
            let store = Store::open(&given.address).await?;
            let found = (store.latest(self.limit.into()).await?, store.last_look().await?);
            store.close().await;
            Ok::<_, autoflow::store::Error>(found)
        });
        let (runs, looked) = match found {
            Ok(found) => found,
            Err(error) => return Ok(failed(&error)),
        };
        let mut standing = Standing { token, ..Standing::default() };
        match read {
            Ok(workflows) => {
                let schedule = workflows.sensor.schedule.as_ref();
                standing.next = schedule.and_then(|schedule| schedule.after(std::time::SystemTime::now()));
                standing.workflows = Some(Arc::new(workflows));
            }
            Err(why) => standing.broken = Some(why),
        }
        let notes = notes(&standing, looked.as_ref());
        if self.json {
            let runs: Vec<_> = runs.iter().map(json_of).collect();
            say::show!("{}", serde_json::json!({ "now": now(), "notes": notes, "runs": runs }));
            return Ok(ExitCode::SUCCESS);
        }
        for run in &runs {
            say::show!("{}  {}  {}  {}", run.workflow, run.reference, moment(run.started), outlook(run));
            if !run.error.is_empty() {
                say::show!("    {}", say::Shown(&run.error));
            }
            run.files.iter().filter(|_| run.published).for_each(|file| say::show!("    {}", say::Shown(file)));
        }
        notes.iter().for_each(|note| say::show!("note: {note}"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    fn run(self, secrets: &Secrets) -> Result<ExitCode, Problems> {
        let settings = settings()?;
        let given = Given::read(&settings, secrets)?;
        let dates = dates(&self.dates).ok_or_else(|| {
            Problem::new("these are no dates", "write 2026-03-01, 2026-03-01,2026-03-05 or 2026-03-01..2026-03-05")
                .value(&*self.dates)
        })?;
        let path = given.means.inputs.join(FILE);
        let text = file(&path).map_err(|why| broken(&why))?;
        let read = workflows::read(&text, &given.means.inputs).map_err(|faults| broken(&located(&path, &faults)))?;
        let configured: Vec<_> =
            read.sensor.workflows.iter().filter(|configured| configured.name == self.name).collect();
        if configured.is_empty() {
            let names: Vec<&str> = read.sensor.workflows.iter().map(|configured| configured.name.as_str()).collect();
            let problem = Problem::new(
                "the sensor runs no workflow of this name",
                format!("those that it runs: {}", names.join(", ")),
            );
            return Err(problem.value(self.name).into());
        }
        let Ok(_running) = trace::start(&logging(&settings)) else { return Ok(ExitCode::FAILURE) };
        let work = async {
            let stop = web::stop_signal()?;
            let (tell, told) = watch::channel(false);
            given.means.places.make()?;
            let store = patiently(&given).await?;
            tokio::spawn(async move {
                stop.await;
                let _ = tell.send(true);
            });
            let owner = owner();
            let mut all = true;
            for date in dates {
                for configured in &configured {
                    if *told.borrow() {
                        all = false;
                        break;
                    }
                    all &= one(&given, &store, &owner, configured, &read, date, &told).await?;
                }
            }
            store.reap(Dead::Owner(&owner), "it was stopped", false, given.retry).await?;
            store.close().await;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(all)
        };
        Ok(match runtime().block_on(work) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => failed(&*error),
        })
    }
}

/// One run by hand; whether it went well.
async fn one(
    given: &Given,
    store: &Store,
    owner: &str,
    configured: &workflows::Configured,
    read: &workflows::Workflows,
    date: Date,
    stop: &watch::Receiver<bool>,
) -> Result<bool, autoflow::store::Error> {
    let name = &configured.name;
    let Some((parameters, _)) = configured.run_of(date) else {
        say::tell!("{name} {date}: its date stencil makes no sense for that day");
        return Ok(false);
    };
    match given.means.places.settle_last(store, name, &parameters).await {
        Err(Settle::Store(error)) => return Err(error),
        Err(Settle::Files(error)) => {
            let why = "what it made last can't be put in its place among the outputs, and would be lost";
            say::tell!("{name} {date}: {why}: {}", say::Shown(error));
            return Ok(false);
        }
        Ok(()) => {}
    }
    let Some(run) = store.claim(name, date, &parameters, owner, true).await? else {
        let waits = store.unplaced(name, &parameters).await?.is_some();
        let why = if waits {
            "what it made last is not in its place yet: try again in some minutes"
        } else {
            "it runs already"
        };
        say::tell!("{name} {date}: {why}");
        return Ok(false);
    };
    Ok(match attempt(given, store, owner, &run, &read.workflows[name], stop.clone()).await {
        Some(end) if end.success => {
            say::show!("{name} {date}: success");
            end.files.iter().for_each(|file| say::show!("    {}", say::Shown(file)));
            true
        }
        Some(end) => {
            say::tell!("{name} {date}: failed: {}", say::Shown(end.error));
            false
        }
        None => {
            say::tell!("{name} {date}: broken off");
            false
        }
    })
}

/// A day, several, or all from one to another.
fn dates(text: &str) -> Option<Vec<Date>> {
    if let Some((first, last)) = text.split_once("..") {
        let (first, last) = (workflows::iso(first)?, workflows::iso(last)?);
        let days = std::iter::successors(Some(first), |day| day.next_day()).take_while(|day| *day <= last);
        return Some(days.collect::<Vec<_>>()).filter(|days| !days.is_empty());
    }
    text.split(',').map(|day| workflows::iso(day.trim())).collect()
}
