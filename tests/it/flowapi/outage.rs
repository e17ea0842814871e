//! FlowMachine, redis and PostgreSQL go and come back under the load of two hundred clients: every answer is right, or a clean
//! error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt as _;
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::started;
use crate::support::client::{Client, Connection};
use crate::support::flowapi::FlowApi;
use crate::support::flowmachine::{spatial_aggregate, wait_for};

/// An eighth of them take a large result again and again, the others ask everything else in turn.
const CLIENTS: usize = 200;
/// Those with large results are users of their own.
const USERS: usize = 25;
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_secs(1);
/// For each kind of answer to be seen: the machine may have a lot to do.
const PATIENCE: Duration = Duration::from_secs(180);
/// Lines of the large result, of a KiB each: more than what lies between PostgreSQL and its reader.
const LINES: usize = 20_000;
/// How long its reader stops in the middle.
const STOP: Duration = Duration::from_secs(5);

/// Two results, and how many rows one of them has.
struct Results {
    small: String,
    rows: usize,
    large: String,
}

/// A question, by the first part of its path.
#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Run,
    Poll,
    Get,
    Dates,
    Spec,
    Large,
}

impl Ask {
    fn name(self) -> &'static str {
        match self {
            Ask::Run => "run",
            Ask::Poll => "poll",
            Ask::Get => "get",
            Ask::Dates => "dates",
            Ask::Spec => "spec",
            Ask::Large => "large",
        }
    }

    fn path(self, results: &Results) -> String {
        let Results { small, large, .. } = results;
        let path = match self {
            Ask::Run => "run".to_owned(),
            Ask::Poll => format!("poll/{small}"),
            Ask::Get => format!("get/{small}"),
            Ask::Dates => "available_dates".to_owned(),
            Ask::Spec => "spec/openapi.json".to_owned(),
            Ask::Large => format!("get/{large}.csv"),
        };
        format!("/api/0/{path}")
    }

    /// What is wrong with a whole answer.
    fn fault(self, results: &Results, status: u16, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        let good: &[u16] = match self {
            Ask::Run => &[202],
            Ask::Poll => &[202, 303, 404, 500],
            Ask::Get | Ask::Large => &[200, 202, 403, 404],
            Ask::Dates | Ask::Spec => &[200],
        };
        let later = matches!(status, 429 | 503) && headers.contains_key(header::RETRY_AFTER);
        if !later && !good.contains(&status) {
            return Some(String::from_utf8_lossy(body).into_owned());
        }
        if self == Ask::Large && status == 200 {
            let lines = body.iter().filter(|byte| **byte == b'\n').count();
            return (lines != LINES + 1 || !body.ends_with(b"\r\n")).then(|| format!("{lines} lines"));
        }
        let body: Value = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return Some(error.to_string()),
        };
        let wrong = match status {
            200 if self == Ask::Get => body["query_result"].as_array().map(Vec::len) != Some(results.rows),
            // Only an unknown query may be: an outage must not make a client run it again.
            404 => !["awol", "known", "resetting", "Error"].contains(&body["status"].as_str().unwrap_or_default()),
            400.. => !body["msg"].is_string(),
            _ => false,
        };
        wrong.then(|| body.to_string())
    }
}

/// What all clients were answered.
#[derive(Default)]
struct Told {
    counts: Mutex<BTreeMap<String, usize>>,
    /// Kinds of answers since they were last forgotten.
    seen: Mutex<BTreeSet<String>>,
    wrong: Mutex<Vec<String>>,
}

impl Told {
    fn add(&self, kind: String, fault: Option<String>) {
        if let Some(fault) = fault {
            self.wrong.lock().unwrap().push(format!("{kind}: {fault}"));
        }
        *self.counts.lock().unwrap().entry(kind.clone()).or_default() += 1;
        self.seen.lock().unwrap().insert(kind);
    }
}

/// Clients that ask until they are told to stop.
struct Load {
    runtime: Runtime,
    told: Arc<Told>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(api: &FlowApi, results: Results) -> Load {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (told, over, results) = (Arc::<Told>::default(), Arc::<AtomicBool>::default(), Arc::new(results));
        let users: Vec<Client> = (0..USERS).map(|user| Client::new(api, api.port, &format!("user{user}"))).collect();
        let clients = (0..CLIENTS).map(|number| {
            let client = users[number / 4 % USERS].clone();
            runtime.spawn(work(number, client, results.clone(), told.clone(), over.clone()))
        });
        let clients = clients.collect();
        Load { runtime, told, over, clients }
    }

    /// Waits until each of these was answered once more.
    fn answers(&self, kinds: &[&str]) {
        self.told.seen.lock().unwrap().clear();
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.told.seen.lock().unwrap().clone();
            let missing: Vec<_> = kinds.iter().filter(|kind| !seen.contains(**kind)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "waited in vain for {missing:?}, had {seen:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends them, each after its answer.
    fn end(self) -> Arc<Told> {
        self.over.store(true, Ordering::SeqCst);
        self.runtime.block_on(async {
            for client in self.clients {
                tokio::time::timeout(PATIENCE, client).await.expect("in time").expect("no panic");
            }
        });
        self.told
    }
}

async fn work(number: usize, client: Client, results: Arc<Results>, told: Arc<Told>, over: Arc<AtomicBool>) {
    let mut connection = None;
    let mut turn = number;
    while !over.load(Ordering::SeqCst) {
        turn += 1;
        let others = [Ask::Run, Ask::Poll, Ask::Get, Ask::Dates, Ask::Spec];
        let ask = if number.is_multiple_of(8) { Ask::Large } else { others[turn % others.len()] };
        let (kind, fault) = asked(&client, &mut connection, ask, &results).await;
        told.add(format!("{} {kind}", ask.name()), fault);
        tokio::time::sleep(PAUSE).await;
    }
}

/// The kind of an answer, and what is wrong with it.
async fn asked(
    client: &Client,
    connection: &mut Option<Connection>,
    ask: Ask,
    results: &Results,
) -> (String, Option<String>) {
    let mut open = match connection.take() {
        Some(open) => open,
        None => match client.connect().await {
            Ok(open) => open,
            Err(error) => return ("no connection".to_owned(), Some(error.to_string())),
        },
    };
    let (method, body) = match ask {
        Ask::Run => (Method::POST, Bytes::from(spatial_aggregate(2, "last").to_string())),
        _ => (Method::GET, Bytes::new()),
    };
    let answer = match client.ask(&mut open, &method, &ask.path(results), body).await {
        Ok(answer) => answer,
        Err(error) => return ("no answer".to_owned(), Some(error.to_string())),
    };
    let (head, mut body) = answer.into_parts();
    let first = body.frame().await;
    if ask == Ask::Large && head.status == 200 {
        tokio::time::sleep(STOP).await;
    }
    // A result that was torn is seen as one; nothing else may be torn. Whether one was on its way when PostgreSQL went is chance:
    // what must come of it then is held by `results` and `web`.
    let (Ok(first), Ok(rest)) = (first.transpose(), body.collect().await) else {
        let fault = !matches!(ask, Ask::Get | Ask::Large);
        return ("torn".to_owned(), fault.then(|| "it is no result".to_owned()));
    };
    *connection = Some(open);
    let first = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    let fault = ask.fault(results, head.status.as_u16(), &head.headers, &[first, rest.to_bytes()].concat());
    (head.status.as_str().to_owned(), fault)
}

#[test]
fn whatever_is_killed_every_answer_is_right_or_a_clean_error() {
    const WELL: &[&str] = &["run 202", "poll 303", "get 200", "dates 200", "spec 200", "large 200"];
    let (mut machine, api) = started();
    let [small, large] = [2, 3].map(|day| machine.complete(spatial_aggregate(day, "last")));
    let rows = machine.cluster.value("flowapi", &format!("SELECT count(*) FROM cache.x{small}"));
    let fill = format!(
        "TRUNCATE cache.x{large};
         INSERT INTO cache.x{large} (pcod, value) SELECT repeat('x', 1024), i FROM generate_series(1, {LINES}) i"
    );
    machine.cluster.run("flowdb", &fill).expect("a large result");
    let load = Load::start(&api, Results { small, rows: rows.parse().expect("a number"), large });
    load.answers(WELL);

    machine.end(Signal::KILL);
    load.answers(&["run 503", "poll 503", "get 503", "large 503"]);
    machine.start(&[]);
    load.answers(WELL);

    // It comes back empty: a query is unknown until somebody runs it again, and nobody there runs the large one.
    machine.kill_redis();
    load.answers(&["run 503", "poll 503", "get 503", "large 503"]);
    machine.start_redis();
    machine.complete(spatial_aggregate(3, "last"));
    load.answers(WELL);

    machine.cluster.kill();
    load.answers(&["run 503", "get 503", "large 503"]);
    machine.cluster.prepare().expect("a cluster");
    machine.cluster.start();
    load.answers(WELL);

    let told = load.end();
    let counts = told.counts.lock().unwrap().clone();
    say::tell!("{counts:?}");
    assert_eq!(*told.wrong.lock().unwrap(), [""; 0], "{counts:?}");
    wait_for("FlowAPI to be well", || api.ready());
}
