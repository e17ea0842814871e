//! FlowMachine's queries under our settings beside PostgreSQL's defaults and everybody else's.
//!
//! `cargo bench --bench tuning -- --queries flowmachine-claim` takes the SQL that FlowMachine's library generates, on the demo's
//! data; without it, the queries are ours, on data of ours. With `--layout flowetl,sorted` what differs are not the settings but how each
//! day's rows are sorted and indexed.
//!
//! `cargo bench --bench tuning` is a quick look (about five minutes); `-- --days 60 --calls 60000 --memory
//! 512MiB,1GiB,4GiB,16GiB` is what docs/tuning.md reports. Method: one data directory, one binary, one run; a server
//! of each configuration in turn within each round, forwards and backwards; medians, and a time-out counts as the time-out.
//! Memory is limited by a real cgroup where one can be made, otherwise the heading says so. CPUs are this machine's.

mod cgroup;
mod data;
mod flowmachine;
mod layout;
mod peak;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
mod queries;
mod report;
mod rivals;
mod server;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use flowkit_core::hardware;
use flowkit_core::size;
use tokio_postgres::Client;

use cgroup::Place;
use flowmachine::Demo;
use queries::Query;
use report::{Outcome, Results};
use rivals::{Inputs, Settings};
use server::Cluster;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    size: data::Size,
    /// Memory limits, one table each
    #[arg(long, value_delimiter = ',', default_value = "512MiB,4GiB", value_parser = memory)]
    memory: Vec<u64>,
    /// Configurations: a name, then changes, as in `ours+work_mem=4MB`
    #[arg(long, value_delimiter = ',', default_values = rivals::ALL)]
    config: Vec<String>,
    /// Ways to lay out a day (layout.rs), instead of configurations; the queries are FlowMachine's
    #[arg(long, value_delimiter = ',')]
    layout: Vec<String>,
    /// Set of queries: known (chose the rules), decide (settled a question), claim (held out); flowmachine-look, flowmachine-claim
    #[arg(long, default_value = "claim")]
    queries: String,
    /// Rounds; medians are taken over them, and an even number of them balances drift
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// What to do
    #[arg(long, value_enum, default_value = "both")]
    measure: Measure,
    /// Only the queries whose names hold this
    #[arg(long, default_value = "")]
    only: String,
    /// Seconds after which a statement is given up
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Keep the data here for the next run [default: a temporary directory]
    #[arg(long)]
    keep: Option<PathBuf>,
    /// PostgreSQL's programs
    #[arg(long, default_value = "/usr/lib/postgresql/15/bin")]
    postgres: PathBuf,
    /// Print every configuration's settings
    #[arg(long)]
    settings: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Measure {
    Queries,
    Peak,
    Both,
}

fn memory(text: &str) -> Result<u64, String> {
    size::parse(text).ok_or_else(|| "give a size such as 512MiB".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let dir = arguments.keep.clone().unwrap_or_else(|| temporary.path().join("bench"));
    // The server's own user has to get through.
    std::fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let demo = arguments.queries.strip_prefix("flowmachine-").map(str::to_owned);
    let (cluster, mut set, bytes) = match demo {
        Some(set) => {
            // The peak is of statements of ours.
            arguments.measure = Measure::Queries;
            let (demo, cluster, bytes) = of_flowmachine(&dir, &mut arguments).await?;
            (cluster, demo.queries(&set)?, bytes)
        }
        None => {
            let (cluster, bytes) = of_our_own(&dir, &mut arguments).await?;
            let set = queries::set(&arguments.queries, arguments.size.days);
            (cluster, set, bytes)
        }
    };
    set.retain(|query| query.name.contains(&arguments.only));
    let place = Place::find();
    let what = data_in_words(&arguments);
    report::heading(&cluster, &what, bytes, place.as_ref().map(Place::describe).map_err(String::clone));
    if arguments.measure != Measure::Peak {
        report::legend(&set);
    }
    if !arguments.layout.is_empty() {
        let layouts = layout::named(&arguments.layout)?;
        let memory = arguments.memory.last().copied().unwrap_or_default();
        let ours = rivals::settings("ours", &inputs(&cluster, memory, bytes));
        let results = layout::compare(&cluster, &layouts, &ours, &set, arguments.rounds, arguments.timeout).await?;
        report::queries(memory, &results, arguments.timeout);
        report::load_average("at the end");
        return Ok(());
    }
    for &memory in &arguments.memory {
        let inputs = inputs(&cluster, memory, bytes);
        let configs: Vec<(String, Settings)> =
            arguments.config.iter().map(|spec| (spec.clone(), rivals::settings(spec, &inputs))).collect();
        if arguments.settings {
            report::settings(&configs);
        }
        let limit = place.as_ref().ok().map(|place| (place, memory));
        if arguments.measure != Measure::Peak {
            let results = queries_in_turn(&cluster, &configs, limit, &arguments, &set).await?;
            report::queries(memory, &results, arguments.timeout);
        }
        if arguments.measure != Measure::Queries {
            six_at_once(&cluster, &configs, limit, memory, &arguments).await?;
        }
    }
    report::load_average("at the end");
    Ok(())
}

/// Data of our own, loaded if they are not there yet, and their size. What is there decides over the flags.
async fn of_our_own(dir: &Path, arguments: &mut Arguments) -> Result<(Cluster, u64), Box<dyn Error>> {
    let (cluster, loaded) = Cluster::open(dir, &arguments.postgres)?;
    let size = loaded.unwrap_or(arguments.size);
    arguments.size = size;
    let bytes = prepare(&cluster, async |client| {
        if loaded.is_none() {
            say::tell!("loading {} days of {} calls and {} of mobile data ...", size.days, size.calls, size.calls / 2);
            data::load(client, size).await?;
        }
        Ok(())
    });
    let bytes = bytes.await?;
    cluster.loaded(size)?;
    Ok((cluster, bytes))
}

/// The demo's data in a FlowDB, made if they are not there yet, and their size.
async fn of_flowmachine(dir: &Path, arguments: &mut Arguments) -> Result<(Demo, Cluster, u64), Box<dyn Error>> {
    let demo = Demo::new(dir);
    let new = !demo.is_made();
    if new {
        say::tell!("loading the demo: {} days of {} subscribers ...", arguments.size.days, arguments.size.subscribers);
        demo.make(arguments.size)?;
    }
    let cluster = Cluster::of_deployment(dir, &arguments.postgres, demo.data())?;
    arguments.size = cluster.what_was_loaded().unwrap_or(arguments.size);
    let bytes = prepare(&cluster, async |client| {
        // All configurations share these statistics; the freeze keeps later reads from writing.
        if new { client.batch_execute("VACUUM (FREEZE, ANALYZE)").await } else { Ok(()) }
    });
    let bytes = bytes.await?;
    cluster.loaded(arguments.size)?;
    Ok((demo, cluster, bytes))
}

/// Has a server for work that comes before all measurements; gives the database's size.
async fn prepare(
    cluster: &Cluster,
    work: impl AsyncFnOnce(&Client) -> Result<(), tokio_postgres::Error>,
) -> Result<u64, Box<dyn Error>> {
    let loading: Settings = [("shared_buffers", "512MB"), ("maintenance_work_mem", "256MB"), ("fsync", "off")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let mut server = cluster.start(&loading, None).await?;
    let client = server.wait().await?;
    work(&client).await?;
    client.batch_execute("CHECKPOINT").await?;
    let bytes: i64 = client.query_one("SELECT pg_database_size(current_database())", &[]).await?.get(0);
    drop(client);
    server.stop().await;
    Ok(u64::try_from(bytes)?)
}

fn data_in_words(arguments: &Arguments) -> String {
    let size = arguments.size;
    match arguments.queries.starts_with("flowmachine-") {
        true => format!("the demo: {} days of {} subscribers", size.days, size.subscribers),
        false => format!(
            "{} days of {} calls and {} of mobile data, {} subscribers, collation C, 3 indexes each",
            size.days,
            size.calls,
            size.calls / 2,
            size.subscribers
        ),
    }
}

fn inputs(cluster: &Cluster, memory: u64, data: u64) -> Inputs {
    let hardware = hardware::detect(cluster.data());
    Inputs { memory, cpus: hardware.cpus.value, major: cluster.major, data, hardware }
}

/// Who comes when: every second round runs backwards, so that a machine that gets slower or faster with time favours
/// nobody, and each pair of rounds begins elsewhere.
fn order(configs: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..configs).map(|turn| (turn + round / 2 * (configs / 2)) % configs).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// Every configuration's server in turn, in every round.
async fn queries_in_turn(
    cluster: &Cluster,
    configs: &[(String, Settings)],
    limit: Option<(&Place, u64)>,
    arguments: &Arguments,
    set: &[Query],
) -> Result<Results, Box<dyn Error>> {
    let mut results = Results::new(configs, set);
    for round in 0..arguments.rounds {
        for at in order(configs.len(), round) {
            say::tell!("round {} of {}: {}", round + 1, arguments.rounds, configs[at].0);
            let outcomes = one_server(cluster, &configs[at].1, limit, arguments, set, round).await;
            results.add(at, outcomes);
        }
    }
    Ok(results)
}

/// Reads all events.
const WARM: &str = "
    DO $$ DECLARE kind regclass; BEGIN
        FOR kind IN SELECT oid FROM pg_class WHERE relkind = 'p' AND relnamespace = 'events'::regnamespace LOOP
            EXECUTE format('SELECT count(events) FROM %s events', kind);
        END LOOP;
    END $$";

/// One server: warmed up by reading everything once, then every query, beginning with another one in each round.
async fn one_server(
    cluster: &Cluster,
    settings: &Settings,
    limit: Option<(&Place, u64)>,
    arguments: &Arguments,
    set: &[Query],
    round: usize,
) -> Vec<Outcome> {
    let mut server = match cluster.start(settings, limit).await {
        Ok(server) => server,
        Err(why) => return vec![Outcome::Failed(format!("does not start: {why}")); set.len()],
    };
    let mut outcomes = vec![Outcome::TimedOut; set.len()];
    let patience = Duration::from_secs(arguments.timeout);
    if let Ok(client) = server.wait().await {
        let _ = client.batch_execute(WARM).await;
    }
    for n in 0..set.len() {
        let at = (n + round) % set.len();
        outcomes[at] = one_query(&mut server, &set[at].sql, patience).await;
    }
    let killed = server.group.as_ref().map_or(0, |g| g.usage().killed);
    if killed > 0 {
        say::tell!("  {killed} processes killed for want of memory");
    }
    server.stop().await;
    outcomes
}

async fn one_query(server: &mut server::Server<'_>, sql: &str, patience: Duration) -> Outcome {
    let client = match server.wait().await {
        Ok(client) => client,
        Err(error) => return Outcome::Failed(error),
    };
    let before = format!("DROP TABLE IF EXISTS result; SET statement_timeout = {}", patience.as_millis());
    if let Err(error) = client.batch_execute(&before).await {
        return Outcome::Failed(error.to_string());
    }
    let (started, cpu) = (Instant::now(), server.cpu());
    match client.batch_execute(&format!("CREATE TABLE result AS {sql}")).await {
        Ok(()) => Outcome::Time(started.elapsed(), server.cpu().saturating_sub(cpu)),
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::QUERY_CANCELED) => Outcome::TimedOut,
        Err(error) => Outcome::Failed(error.as_db_error().map_or(error.to_string(), |e| e.message().to_owned())),
    }
}

async fn six_at_once(
    cluster: &Cluster,
    configs: &[(String, Settings)],
    limit: Option<(&Place, u64)>,
    memory: u64,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for (name, settings) in configs {
        say::tell!("six at once: {name}");
        let patience = Duration::from_secs(arguments.timeout * 6);
        let peak = peak::run(cluster, settings, limit, arguments.size.days, patience).await;
        rows.push((name.clone(), peak));
    }
    report::peaks(memory, &rows);
    Ok(())
}
