//! A FlowMachine made of another implementation of ZeroMQ, the server before it, and tokens.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use access::{Bounds, Dates, Keys, Minter, Verifier, Wish};
use bytes::Bytes;
use flowapi::database::Database;
use flowapi::flowmachine::FlowMachine;
use flowapi::{App, Gate, Options, router};
use http::Request;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use web::test::Client;
use zeromq::{RouterSocket, Socket as _, SocketRecv as _, SocketSend as _};

/// Longer than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// What the other side answers to an action and its parameters, after how long.
pub type Script = Arc<dyn Fn(&str, &Value) -> (Duration, Value) + Send + Sync>;

/// A FlowMachine, and all that it was asked.
pub struct Fake {
    pub port: u16,
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// The same as it was sent.
    pub texts: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// At a port, or any.
    pub async fn start(port: u16, script: Script) -> Fake {
        let mut socket = RouterSocket::new();
        // The one before lets go of the port in a task of its own.
        let until = std::time::Instant::now() + SOON;
        let bound = loop {
            match socket.bind(&format!("tcp://127.0.0.1:{port}")).await {
                Ok(bound) => break bound,
                Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let port = bound.to_string().rsplit_once(':').unwrap().1.parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let texts = Arc::new(Mutex::new(Vec::new()));
        let sent = texts.clone();
        let task = tokio::spawn(async move {
            let (done, mut answers) = mpsc::unbounded_channel();
            loop {
                tokio::select! {
                    Ok(message) = socket.recv() => {
                        let frames = message.into_vec();
                        let [identity, empty, body] = &frames[..] else { panic!("three frames: {frames:?}") };
                        assert!(empty.is_empty());
                        let question: Value = serde_json::from_slice(body).unwrap();
                        sent.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
                        let action = question["action"].as_str().unwrap().to_owned();
                        assert!(question["request_id"].is_string());
                        log.lock().unwrap().push((action.clone(), question["params"].clone()));
                        let (delay, answer) = script(&action, &question["params"]);
                        let (done, identity) = (done.clone(), identity.clone());
                        tokio::spawn(async move {
                            tokio::time::sleep(delay).await;
                            let _ = done.send((identity, answer));
                        });
                    }
                    Some((identity, answer)) = answers.recv() => {
                        let mut message = zeromq::ZmqMessage::from(Bytes::from(answer.to_string()));
                        message.push_front(Bytes::new());
                        message.push_front(identity);
                        let _ = socket.send(message).await;
                    }
                }
            }
        });
        Fake { port, asked, texts, task }
    }

    /// How often it was asked this.
    pub fn count(&self, action: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| asked == action).count()
    }

    /// Ends it; its connections break.
    pub async fn stop(self) -> u16 {
        self.task.abort();
        let _ = self.task.await;
        // Its listener goes in a task of its own, and until then takes connections that nobody answers.
        let end = std::time::Instant::now() + SOON;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
            assert!(std::time::Instant::now() < end, "it still listens at {}", self.port);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.port
    }
}

/// Looks again and again, until it is so.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + SOON;
    while !so() {
        assert!(std::time::Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An answer of success.
pub fn success(payload: Value) -> (Duration, Value) {
    (Duration::ZERO, json!({"status": "success", "msg": "", "payload": payload}))
}

/// An answer of failure.
pub fn failure(msg: &str, payload: Value) -> (Duration, Value) {
    (Duration::ZERO, json!({"status": "error", "msg": msg, "payload": payload}))
}

/// The one query that there is.
pub const ID: &str = "0123456789abcdef0123456789abcdef";
/// Its spec.
pub const SPEC: &str =
    r#"{"query_kind": "spatial_aggregate", "locations": {"query_kind": "daily_location", "date": "2016-01-01"}}"#;
/// All that it takes to ask for it.
pub const ALL: &[&str] = &[
    "run",
    "get_result",
    "get_available_dates",
    "get_qa_checks",
    "admin3:spatial_aggregate:spatial_aggregate",
    "admin3:spatial_aggregate:daily_location",
];

/// A FlowMachine that knows one query, in a state.
pub fn knows(state: &'static str) -> Script {
    Arc::new(move |action, params| answer(action, params, state))
}

/// What that answers.
pub fn answer(action: &str, params: &Value, state: &str) -> (Duration, Value) {
    let id = params["query_id"].as_str().unwrap_or(ID);
    let progress = json!({"eligible": 2, "queued": 1, "running": 1});
    match action {
        "ping" => success(json!({})),
        "get_aggregation_unit" => success(json!({"aggregation_unit": "admin3"})),
        "run_query" => success(json!({"query_id": ID, "progress": progress})),
        _ if params.get("query_id").is_some() && id != ID => {
            failure(&format!("Unknown query id: '{id}'"), json!({"query_id": id, "query_state": "awol"}))
        }
        "get_query_params" => {
            success(json!({"query_id": ID, "query_params": serde_json::from_str::<Value>(SPEC).unwrap()}))
        }
        "poll_query" => success(
            json!({"query_id": ID, "query_kind": "spatial_aggregate", "query_state": state, "progress": progress}),
        ),
        "get_sql_for_query_result" => {
            failure(&format!("Query with id '{ID}' is something."), json!({"query_id": ID, "query_state": state}))
        }
        "get_available_dates" => success(json!({"sms": ["2016-01-02", "2016-01-01"], "calls": []})),
        "list_qa_checks" => {
            success(json!({"available_qa_checks": [{"cdr_type": "calls", "type_of_query_or_check": "count_imeis"}]}))
        }
        "get_qa_checks" if params["start_date"] == "2016-01-01" => success(json!({"qa_checks": [
            {"outcome": "12", "type_of_query_or_check": "count_imeis", "cdr_date": "2016-01-01"}
        ]})),
        "get_qa_checks" => success(json!({"qa_checks": []})),
        other => panic!("nobody scripted {other}"),
    }
}

fn keys() -> &'static (String, String) {
    static KEYS: OnceLock<(String, String)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
        let private = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        (private, key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap())
    })
}

/// The key that tokens are made with.
pub fn private() -> String {
    keys().0.clone()
}

/// The key that they are checked with.
pub fn public() -> String {
    keys().1.clone()
}

/// A token of ann's, with one role.
pub fn token(scopes: &[&str]) -> String {
    token_of("ann", scopes)
}

/// A token of somebody's.
pub fn token_of(user: &str, scopes: &[&str]) -> String {
    token_from(user, scopes, None)
}

/// One that shows no days before the first.
pub fn token_from(user: &str, scopes: &[&str], first: Option<&str>) -> String {
    let roles = vec![("analyst".to_owned(), scopes.iter().map(ToString::to_string).collect())];
    let (user, audience, lifetime) = (user.to_owned(), "here".to_owned(), Duration::from_secs(600));
    let wish = Wish { user, audience, lifetime, roles, dates: Dates::parse(first, None).unwrap(), ..Wish::default() };
    Minter::parse(&keys().0).unwrap().mint(&wish, std::time::SystemTime::now(), &mut rand::rng()).unwrap()
}

/// The server, on a port of its own.
pub fn serve(flowmachine: u16, change: impl FnOnce(&mut Options)) -> SocketAddr {
    let verifier = Verifier::new(Keys::parse(&keys().1).unwrap(), "here");
    let gate = Gate::new(verifier, Bounds::default(), Vec::new());
    let mut options = Options {
        identifier: "here".to_owned(),
        patience: SOON,
        longest_wait: SOON,
        queries_per_user: 3,
        samples: 2,
        results_per_user: 2,
        metrics: true,
    };
    change(&mut options);
    let database = Database::new(2, || Err("there is none".to_owned()));
    let app = App::new(options, gate, FlowMachine::new("127.0.0.1", flowmachine), database);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve(listener, router(app), web::Options::default(), std::future::pending()));
    address
}

/// A client of it.
pub fn client(address: SocketAddr) -> Client {
    let further = ["location", "retry-after", "preference-applied", "allow", "vary", "content-encoding"];
    Client::to(address).allow(&further).allow(&["content-disposition"])
}

/// A request with a token.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.header("authorization", format!("Bearer {token}")).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}
