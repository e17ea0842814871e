//! Rows per second from files to attached partitions, by `flowkit etl load` and by bare statements: `COPY`, `CREATE INDEX`,
//! `ATTACH PARTITION` of the same files into the same FlowDB, which is configured as `flowkit up` does it.
//!
//! `cargo bench --bench etl [-- SUBSCRIBERS DAYS ROUNDS]`; 100,000 subscribers (430,000 calls a day), 4 days, 3 rounds when not said.
//! One day, then all of them, by bare statements with FlowETL's indexes and with ours, and by the loader, in turn; the medians of all rounds.

#[allow(dead_code, missing_docs)] // the tests need more of it
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use etl::{Day, Format, Input, Kind, Limit, Moments, Outcome, Progress, Shape, Writing, Zone};
use flowkit::flowdb::{SUPERUSER, connect, demo};
use time::Date;

use support::flowdb::Cluster;

struct Silent;

impl demo::Progress for Silent {
    fn begin(&self, _: usize, _: u32) {}
    fn rows(&self, _: u64) {}
    fn day(&self, _: Date) {}
    fn analyze(&self) {}
}

/// When the last day was attached.
struct Attached(Mutex<Instant>);

impl Progress for Attached {
    fn read(&self, _: u64) {}
    fn waiting(&self, _: Date) {}
    fn day(&self, _: Date, outcome: &Outcome) {
        assert!(matches!(outcome, Outcome::Loaded { refused: 0, .. }), "{outcome:?}");
        *self.0.lock().expect("nobody panicked") = Instant::now();
    }
    fn analyze(&self) {}
    fn check(&self) {}
}

/// The indexes of a DAG that names none, and the one that it is clustered by.
const FLOWETL: [&str; 5] = ["msisdn", "msisdn_counterpart", "location_id", "datetime", "tac"];

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let number = |at: usize, default: u32| numbers.get(at).copied().unwrap_or(default);
    let bench = Bench::new(number(0, 100_000), number(1, 4));
    let cpus = std::thread::available_parallelism().map_or(2, |cpus| cpus.get());
    let mut seconds: HashMap<(usize, &str), Vec<f64>> = HashMap::new();
    for _ in 0..number(2, 3) {
        for days in [1, bench.days.len()] {
            let mut took = |who, time| seconds.entry((days, who)).or_default().push(time);
            took("flowetl", bench.bare(days, &FLOWETL));
            took("bare", bench.bare(days, &etl::INDEXES));
            let (attached, whole) = bench.loader(days, cpus);
            took("loader", attached);
            took("whole", whole);
        }
    }
    say::show!("rows/s, and the loader's times those of both   ({cpus} CPUs)");
    say::show!("days  rows      FlowETL's    our indexes  loader         times  times  with checks");
    for days in [1, bench.days.len()] {
        let rows: u64 = bench.rows[..days].iter().sum();
        let rate = |who| rows as f64 / median(&seconds[&(days, who)]);
        let (flowetl, bare, loader, whole) = (rate("flowetl"), rate("bare"), rate("loader"), rate("whole"));
        let (times, others) = (loader / bare, loader / flowetl);
        say::show!(
            "{days:<5} {rows:<9} {flowetl:<12.0} {bare:<12.0} {loader:<14.0} {others:<6.2} {times:<6.2} {whole:<8.0}"
        );
    }
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

struct Bench {
    cluster: Cluster,
    dir: tempfile::TempDir,
    days: Vec<Day>,
    rows: Vec<u64>,
}

impl Bench {
    /// Calls of made-up people, in the order in which they happened, in a file a day.
    fn new(subscribers: u32, days: u32) -> Bench {
        let cluster = Cluster::started();
        let options = demo::Options { days, subscribers, ..demo::Options::default() };
        let site = &cluster.site;
        let connected = async || Ok(connect(site, SUPERUSER).await?);
        cluster.as_user(|| demo::load(&connected, &options, &Silent)).expect("the demo data is loaded");
        let dir = tempfile::Builder::new().prefix("fk-etl").tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("rejects")).expect("a directory");
        [dir.path(), &dir.path().join("rejects")].into_iter().for_each(|path| cluster.give(path));
        let mut bench = Bench { cluster, dir, days: Vec::new(), rows: Vec::new() };
        for day in 0..days {
            let date = options.first_day + time::Duration::days(i64::from(day));
            let (name, path) = (Kind::Calls.partition(date), bench.file(date));
            let copy =
                format!("COPY (SELECT * FROM events.{name} ORDER BY datetime) TO '{}' CSV HEADER", path.display());
            bench.cluster.run(SUPERUSER, &copy).expect("a file");
            let rows = bench.cluster.value(SUPERUSER, &format!("SELECT count(*) FROM events.{name}"));
            bench.rows.push(rows.parse().expect("a number"));
            bench.days.push(Day { date, inputs: vec![Input::File(path)], spans: Vec::new() });
        }
        bench.clear();
        bench
    }

    fn file(&self, date: Date) -> PathBuf {
        self.dir.path().join(format!("{}.csv", Kind::Calls.partition(date)))
    }

    /// Removes the partitions, and lets the disk come to rest.
    fn clear(&self) {
        for day in &self.days {
            let drop = format!("DROP TABLE IF EXISTS events.{}", Kind::Calls.partition(day.date));
            self.cluster.run(SUPERUSER, &drop).expect("a table goes");
        }
        self.cluster.run(SUPERUSER, "CHECKPOINT").expect("a checkpoint");
    }

    /// Seconds by bare statements, a day after the other, as good as they can be: new rows need no WAL of their own.
    fn bare(&self, days: usize, indexes: &[&str]) -> f64 {
        let began = Instant::now();
        for day in &self.days[..days] {
            let (name, next) = (Kind::Calls.partition(day.date), day.date.next_day().expect("there is one"));
            let indexes = indexes.iter();
            let indexes: String = indexes.map(|column| format!("CREATE INDEX ON etl.{name} ({column});")).collect();
            let sql = format!(
                "BEGIN; CREATE TABLE etl.{name} (LIKE events.calls);
                 COPY etl.{name} FROM '{}' CSV HEADER; {indexes} COMMIT;
                 BEGIN; ALTER TABLE etl.{name} SET SCHEMA events;
                 ALTER TABLE events.calls ATTACH PARTITION events.{name} FOR VALUES FROM ('{}') TO ('{next}'); COMMIT",
                self.file(day.date).display(),
                day.date
            );
            self.cluster.run(SUPERUSER, &sql).expect("a day");
        }
        let seconds = began.elapsed().as_secs_f64();
        self.clear();
        seconds
    }

    /// Seconds by the loader: until the last day was attached, and until statistics and checks were made too.
    fn loader(&self, days: usize, cpus: usize) -> (f64, f64) {
        let options = etl::Options {
            kind: Kind::Calls,
            format: Format {
                shape: Shape { delimiter: b',', quote: b'"' },
                null: String::new(),
                encoding: None,
                moments: Moments { writing: Writing::Iso, zone: Zone::named("UTC").expect("it is one") },
                columns: None,
                names: HashMap::new(),
                ignored: Vec::new(),
            },
            limit: Limit::Lines(0),
            replace: true,
            jobs: cpus,
            cpus,
            spool: self.dir.path().into(),
            keep: 0,
            rejects: self.dir.path().join("rejects"),
        };
        let site = &self.cluster.site;
        let connected = async || Ok(connect(site, SUPERUSER).await?);
        let began = Instant::now();
        let attached = Arc::new(Attached(Mutex::new(began)));
        let progress: Arc<dyn Progress> = Arc::clone(&attached) as _;
        self.cluster.as_user(|| etl::load(&connected, &self.days[..days], &options, &progress)).expect("days");
        let whole = began.elapsed().as_secs_f64();
        let last = attached.0.lock().expect("nobody panicked").duration_since(began).as_secs_f64();
        self.clear();
        (last, whole)
    }
}
