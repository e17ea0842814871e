//! A result of a million rows in each type of file, beside `psql -c '\copy (…) to stdout csv'` of the same query: one server,
//! loopback TCP, rounds of one after the other.
//!
//! `cargo bench -p results [-- ROWS [ROUNDS]]`. Each run makes its own connection, as psql does. What psql writes goes to
//! /dev/null; our bytes are dropped. The last table has what the process took at most for a result of ten times the rows.

#[allow(dead_code)] // the tests need more of it
#[path = "../tests/it/rig.rs"]
mod rig;

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use results::{Format, Query};
use tokio_postgres::NoTls;

/// As FlowMachine's results are: a place, numbers, days.
const TABLE: &str = "CREATE EXTENSION postgis; CREATE TABLE flat AS SELECT i AS id, 'NPL.' || i % 7 || '.' || i % 77 || '_1' AS pcod, i::bigint * 7919 % 100000 AS value,
    random() * 1000 AS mean, round((random() * 100)::numeric, 4) AS share, DATE '2016-01-01' + i % 366 AS day,
    TIMESTAMPTZ '2016-01-01' + i * INTERVAL '1 second' AS at, i % 3 = 0 AS local FROM generate_series(1, {rows}) i;
    CREATE TABLE geo AS SELECT 'Feature'::text AS type, i::bigint AS id,
    json_build_object('type', 'Polygon', 'coordinates', json_build_array(json_build_array(json_build_array(84.1 + i * 1e-6, 28.25),
    json_build_array(84.2, 28.25), json_build_array(84.2, 28.5), json_build_array(84.1 + i * 1e-6, 28.25)))) AS geometry,
    json_build_object('pcod', 'NPL.' || i % 77, 'value', i, 'centroid', NULL) AS properties FROM generate_series(1, {rows}) i;
    VACUUM (ANALYZE, FREEZE) flat; VACUUM (ANALYZE, FREEZE) geo";
const FLAT: &str = "SELECT * FROM flat";
const GEO: &str = "SELECT * FROM geo";

/// What a run took.
#[derive(Clone, Copy, Default)]
struct Run {
    first: Duration,
    all: Duration,
    bytes: usize,
}

/// What is measured: ours, or psql where there is no format.
const CASES: [(&str, &str, Option<Format>); 7] = [
    ("psql \\copy csv", FLAT, None),
    ("csv", FLAT, Some(Format::Csv)),
    ("json", FLAT, Some(Format::Json)),
    ("arrow", FLAT, Some(Format::Arrow)),
    ("parquet", FLAT, Some(Format::Parquet)),
    ("psql \\copy csv, geo", GEO, None),
    ("geojson", GEO, Some(Format::GeoJson)),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [command, port, format, rows] = &args[..] {
        assert_eq!(command, "memory");
        return memory(port.parse().expect("a port"), format, rows);
    }
    let number = |at: usize, default: usize| args.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (rows, rounds) = (number(0, 1_000_000), number(1, 7));
    let port = free_port();
    let server = rig::Server::start_with(port, &["listen_addresses=127.0.0.1", "max_wal_size=8GB"]);
    for statement in TABLE.replace("{rows}", &rows.to_string()).split(';') {
        server.run(statement);
    }
    // The first round warms what there is to warm and is not counted.
    let runs: Vec<[Run; CASES.len()]> =
        (0..=rounds).map(|_| CASES.map(|case| run(&server, port, case))).skip(1).collect();
    report(rows, &runs);
    say::show!("\n{} rows: peak of the whole process", 10 * rows);
    for format in Format::ALL {
        let this = std::env::current_exe().expect("this program");
        let arguments = ["memory", &port.to_string(), format.extension(), &(10 * rows).to_string()];
        assert!(Command::new(this).args(arguments).status().expect("it starts").success());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

fn run(server: &rig::Server, port: u16, (_, sql, format): (&str, &str, Option<Format>)) -> Run {
    match format {
        Some(format) => server.runtime.block_on(ours(port, sql, format)),
        None => psql(port, sql),
    }
}

async fn ours(port: u16, sql: &str, format: Format) -> Run {
    let began = Instant::now();
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let query = Query { sql, format, query_id: rig::ID, timeout: None };
    // In a task, as a server does it: what blocks on it is not one of the runtime's threads.
    let mut rows = results::open(client, &query).await.expect("a stream");
    let taken = async move {
        let mut run = Run::default();
        while let Some(chunk) = rows.next().await {
            run.bytes += chunk.expect("a chunk").len();
            run.first = if run.first.is_zero() { began.elapsed() } else { run.first };
        }
        run
    };
    let run = tokio::spawn(taken).await.expect("no panic");
    Run { all: began.elapsed(), ..run }
}

fn psql(port: u16, sql: &str) -> Run {
    let began = Instant::now();
    let mut command = Command::new("psql");
    command.args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p", &port.to_string(), "-c"]);
    command.arg(format!("\\copy ({sql}) to stdout csv")).stdout(Stdio::null());
    assert!(command.status().expect("psql starts").success());
    Run { all: began.elapsed(), ..Run::default() }
}

fn report(rows: usize, runs: &[[Run; CASES.len()]]) {
    say::show!("{rows} rows, medians of {} rounds", runs.len());
    say::show!("what                    seconds  first ms    MB/s     rows/s  of psql's time");
    let mut psql = 0;
    for (i, (name, _, format)) in CASES.iter().enumerate() {
        psql = if format.is_none() { i } else { psql };
        let of = |value: &dyn Fn(&[Run; CASES.len()]) -> f64| median(runs.iter().map(value).collect());
        let seconds = of(&|runs| runs[i].all.as_secs_f64());
        let ratio = of(&|runs| runs[i].all.as_secs_f64() / runs[psql].all.as_secs_f64());
        let first = of(&|runs| runs[i].first.as_secs_f64() * 1e3);
        let rate = runs[0][i].bytes as f64 / 1e6 / seconds;
        say::show!("{name:<22} {seconds:>8.3} {first:>9.1} {rate:>7.0} {:>10.0} {ratio:>15.2}", rows as f64 / seconds);
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// A process that does nothing else: what it took at most.
fn memory(port: u16, format: &str, rows: &str) {
    let format = Format::from_extension(format).expect("a format");
    let table = if format.is_geographic() { "geo" } else { "flat" };
    let sql = format!("SELECT {table}.* FROM {table}, generate_series(1, 10) LIMIT {rows}");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let run = runtime.block_on(ours(port, &sql, format));
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak").trim().to_owned();
    say::show!(
        "{:<8} {peak:>12}  {:>6.1} s  {:>6} MB",
        format.extension(),
        run.all.as_secs_f64(),
        run.bytes / 1_000_000
    );
}
