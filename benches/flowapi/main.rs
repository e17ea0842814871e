//! FlowAPI as its clients meet it, over TLS: polls a second, results of a million rows as each type of file, and what a hundred of
//! them at once take of its memory. Beside `psql \copy` of the same query, and beside server.py, which is FlowAPI in small on the stack
//! of upstream's; on the same FlowMachine and database, in turn within each round. Medians.
//!
//! `cargo build --release --package flowapi`, then `cargo bench --bench flowapi [-- ROWS [ROUNDS]]`. It needs what `make setup-tests`
//! installs, and the network for server.py's packages when it is run first.

mod rivals;
#[allow(dead_code, missing_docs)] // the tests need more of it
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use support::client::{Client, Connection};
use support::flowapi::FlowApi;
use support::flowdb::Cluster;
use support::flowmachine::{FlowMachine, spatial_aggregate};

/// Clients that poll at once, and for how long.
const POLLERS: usize = 50;
const POLLING: Duration = Duration::from_secs(5);

/// Results on their way at once when memory is looked at.
const STREAMS: usize = 100;

const SUPERUSER: &str = "flowdb";

/// Who makes a file.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Psql,
    Ours,
    Python,
}

/// Who, the type of file, and whether the query is the one for geography.
const CASES: [(Who, &str, bool); 11] = [
    (Who::Psql, "csv", false),
    (Who::Ours, "csv", false),
    (Who::Python, "csv", false),
    (Who::Ours, "json", false),
    (Who::Python, "json", false),
    (Who::Ours, "arrow", false),
    (Who::Ours, "parquet", false),
    (Who::Psql, "csv", true),
    (Who::Ours, "geojson", true),
    (Who::Python, "geojson", true),
    (Who::Ours, "fgb", true),
];

/// What an answer took.
#[derive(Clone, Copy, Default)]
struct Got {
    first: Duration,
    all: Duration,
    bytes: usize,
}

/// One answer, which has this status; its body is dropped as it comes. `begun` is called at its first bytes.
async fn get(client: &Client, connection: &mut Connection, path: &str, status: u16, begun: impl FnOnce()) -> Got {
    let began = Instant::now();
    let answer = client.ask(connection, &Method::GET, path, Bytes::new()).await.expect("an answer");
    assert_eq!(answer.status(), status, "{path}");
    let (mut body, mut got, mut begun) = (answer.into_body(), Got::default(), Some(begun));
    while let Some(frame) = body.frame().await {
        got.bytes += frame.expect("a whole body").into_data().map_or(0, |data| data.len());
        if let Some(begun) = begun.take() {
            got.first = began.elapsed();
            begun();
        }
    }
    Got { all: began.elapsed(), ..got }
}

/// What is measured, and who answers.
struct Bench {
    runtime: tokio::runtime::Runtime,
    machine: FlowMachine,
    id: String,
    /// Of several users: one may have so many requests that wait, and no more.
    ours: Vec<Client>,
    python: Vec<Client>,
    /// The query of the result, and the one for geography.
    sql: [String; 2],
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (rows, rounds) = (numbers.next().unwrap_or(1_000_000_usize), numbers.next().unwrap_or(5_usize));
    let (machine, id) = result(rows);
    let connections = STREAMS.to_string();
    let api = FlowApi::start(
        &machine,
        &[
            ("FLOWKIT_FLOWAPI_DB_CONNECTIONS", connections.as_str()),
            ("FLOWKIT_FLOWAPI_RESULTS_PER_USER", "1000"),
            ("FLOWAPI_LOG_LEVEL", "error"),
        ],
    );
    let peer = rivals::Python::start(&machine, &api, STREAMS);
    let sql = ["get_sql_for_query_result", "get_geo_sql_for_query_result"].map(|action| {
        let payload = machine.request(action, json!({ "query_id": id })).success(action).expect("SQL");
        payload["sql"].as_str().expect("a text").to_owned()
    });
    let bench = Bench {
        runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"),
        ours: users(&api, api.port),
        python: users(&api, peer.port),
        machine,
        id,
        sql,
    };

    // The first round warms what there is to warm and is not counted.
    let runs: Vec<Vec<Got>> =
        (0..=rounds).map(|_| CASES.iter().map(|case| bench.file(case)).collect()).skip(1).collect();
    report(rows, &runs);
    let polls: Vec<[f64; 2]> = (0..rounds).map(|_| [bench.polls(&bench.ours), bench.polls(&bench.python)]).collect();
    let [ours, python] = [0, 1].map(|who| median(polls.iter().map(|round| round[who]).collect()));
    say::show!(
        "\npolls a second, {POLLERS} clients: FlowAPI {ours:.0}, Python {python:.0}, {:.1} times",
        ours / python
    );
    let before = [api.peak(), peer.peak()].map(|bytes| bytes >> 20);
    bench.streams(&bench.ours);
    bench.streams(&bench.python);
    let during = [api.peak(), peer.peak()].map(|bytes| bytes >> 20);
    say::show!("peak of the process in MiB, so far: FlowAPI {}, Python {}", before[0], before[1]);
    say::show!("with {STREAMS} results as json on their way: FlowAPI {}, Python {}", during[0], during[1]);
}

fn users(api: &FlowApi, port: u16) -> Vec<Client> {
    (0..5).map(|user| Client::new(api, port, &format!("user{user}"))).collect()
}

/// FlowMachine, with a completed query whose result has so many rows.
fn result(rows: usize) -> (FlowMachine, String) {
    let mut cluster = Cluster::started();
    cluster.run(SUPERUSER, "ALTER SYSTEM SET max_connections = 300").expect("a setting");
    cluster.stop();
    cluster.start();
    cluster.run(SUPERUSER, include_str!("../../tests/it/support/flowmachine.sql")).expect("the data");
    let mut machine = FlowMachine::on(cluster);
    machine.start(&[]);
    let id = machine.complete(spatial_aggregate(2, "last"));
    let fill = format!(
        "TRUNCATE cache.x{id}; INSERT INTO cache.x{id} (pcod, value) SELECT names[1 + i % cardinality(names)], i
         FROM (SELECT array_agg(DISTINCT admin3pcod) AS names FROM geography.admin3) n, generate_series(1, {rows}) i"
    );
    machine.cluster.run(SUPERUSER, &fill).expect("rows");
    machine.cluster.run(SUPERUSER, &format!("VACUUM (ANALYZE) cache.x{id}")).expect("rows");
    (machine, id)
}

impl Bench {
    fn file(&self, (who, kind, geo): &(Who, &str, bool)) -> Got {
        let client = match who {
            Who::Psql => return rivals::psql(&self.machine, &self.sql[usize::from(*geo)]),
            Who::Ours => &self.ours[0],
            Who::Python => &self.python[0],
        };
        let path = format!("/api/0/get/{}.{kind}", self.id);
        self.runtime.block_on(async {
            let mut connection = client.connect().await.expect("it listens");
            get(client, &mut connection, &path, 200, || ()).await
        })
    }

    /// How many polls a second are answered when all clients ask all the time.
    fn polls(&self, users: &[Client]) -> f64 {
        let path = Arc::new(format!("/api/0/poll/{}", self.id));
        let count = self.runtime.block_on(async {
            let until = Instant::now() + POLLING;
            let clients: Vec<_> = (0..POLLERS)
                .map(|number| {
                    let (client, path) = (users[number % users.len()].clone(), path.clone());
                    tokio::spawn(async move {
                        let mut connection = client.connect().await.expect("it listens");
                        let mut count = 0;
                        while Instant::now() < until {
                            get(&client, &mut connection, &path, 303, || ()).await;
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            let mut all = 0;
            for client in clients {
                all += client.await.expect("no panic");
            }
            all
        });
        f64::from(count) / POLLING.as_secs_f64()
    }

    /// Has as many results on their way at once, for some seconds after the last has begun.
    fn streams(&self, users: &[Client]) {
        let begun = Arc::new(AtomicUsize::new(0));
        self.runtime.block_on(async {
            let clients: Vec<_> = (0..STREAMS)
                .map(|number| {
                    let client = users[number % users.len()].clone();
                    let (path, begun) = (format!("/api/0/get/{}.json", self.id), begun.clone());
                    tokio::spawn(async move {
                        let mut connection = client.connect().await.expect("it listens");
                        loop {
                            let first = || _ = begun.fetch_add(1, Ordering::Relaxed);
                            get(&client, &mut connection, &path, 200, first).await;
                        }
                    })
                })
                .collect();
            while begun.load(Ordering::Relaxed) < STREAMS {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(POLLING).await;
            clients.iter().for_each(tokio::task::JoinHandle::abort);
        });
    }
}

fn report(rows: usize, runs: &[Vec<Got>]) {
    say::show!("{rows} rows, {} rounds", runs.len());
    say::show!("{:<26}{:>9}{:>11}{:>8}{:>12}{:>16}", "", "seconds", "first ms", "MB/s", "rows/s", "of psql's time");
    let mut psql = 0;
    for (i, (who, kind, geo)) in CASES.iter().enumerate() {
        psql = if *who == Who::Psql { i } else { psql };
        let name = match who {
            Who::Psql => format!("psql \\copy csv{}", if *geo { ", geography" } else { "" }),
            Who::Ours => format!("FlowAPI {kind}"),
            Who::Python => format!("Python {kind}"),
        };
        let of = |value: &dyn Fn(&Vec<Got>) -> f64| median(runs.iter().map(value).collect());
        let seconds = of(&|round| round[i].all.as_secs_f64());
        let ratio = of(&|round| round[i].all.as_secs_f64() / round[psql].all.as_secs_f64());
        let first = of(&|round| round[i].first.as_secs_f64() * 1e3);
        let rate = runs[0][i].bytes as f64 / 1e6 / seconds;
        say::show!("{name:<26}{seconds:>9.3}{first:>11.1}{rate:>8.0}{:>12.0}{ratio:>16.2}", rows as f64 / seconds);
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
