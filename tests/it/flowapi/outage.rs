//! FlowMachine, redis and PostgreSQL go and come back under load: every answer is right, or a clean error.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;
use serde_json::Value;

use super::{CLIENT, started};
use crate::support::flowmachine::{PATIENCE, spatial_aggregate, wait_for};

/// Asks again and again, from many threads, until its input ends; counts what it was answered, and whatever was wrong.
const LOAD: &str = r#"
id, counts, wrong, over, lock, seen = sys.argv[1], {}, [], threading.Event(), threading.Lock(), set()
asks = [("POST", "run"), ("GET", f"poll/{id}"), ("GET", f"get/{id}"), ("GET", "available_dates"), ("GET", "spec/openapi.json")]
good = {("POST", "run"): {202}, ("GET", f"poll/{id}"): {303, 202, 404, 500}, ("GET", f"get/{id}"): {200, 202, 403, 404}}
spec = {"query_kind": "spatial_aggregate", "locations": daily(2)}

def work(number):
    with http(user=f"user{number}") as client:
        turn = number
        while not over.is_set():
            turn += 1
            method, path = ask = asks[turn % len(asks)]
            try:
                answer = client.request(method, path, json=spec if method == "POST" else None)
                status, body = answer.status_code, answer.json()
                fine = status in good.get(ask, {200}) or (status in (503, 429) and "retry-after" in answer.headers)
                if status >= 400:
                    fine = fine and isinstance(body.get("msg"), str)
                if path.startswith("get/") and status == 200:
                    fine = fine and len(body["query_result"]) == int(sys.argv[2])
                if status == 404:
                    # Only an unknown query may be: an outage must not make a client run it again.
                    fine = fine and body["status"] in ("awol", "known", "resetting", "Error")
            except httpx.HTTPError as error:
                # A result that was torn is seen as one.
                status, fine, body = type(error).__name__, isinstance(error, httpx.RemoteProtocolError), str(error)
            except ValueError as error:
                status, fine, body = "not JSON", False, str(error)
            with lock:
                key = f"{path.split('/')[0]} {status}"
                counts[key] = counts.get(key, 0) + 1
                if key not in seen:
                    seen.add(key)
                    print(key, flush=True)
                if not fine:
                    wrong.append([path, status, str(body)[:300]])
            time.sleep(0.02)

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for line in sys.stdin:
    # What was seen is to be seen again, and said after this line.
    with lock:
        seen.clear()
        print("again", flush=True)
over.set()
for thread in threads: thread.join()
print(json.dumps({"counts": counts, "wrong": wrong}), flush=True)
"#;

/// Clients that ask all the time, and the kinds of answers that they have had since they were last told to forget them.
struct Load {
    clients: Child,
    told: Receiver<String>,
}

impl Load {
    fn start(mut clients: Command) -> Load {
        clients.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut clients = clients.spawn().expect("Python");
        let (tell, told) = channel();
        let lines = BufReader::new(clients.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Load { clients, told }
    }

    /// Waits until each of these was answered once more.
    fn answers(&mut self, kinds: &[&str]) {
        let input = self.clients.stdin.as_mut().expect("piped");
        writeln!(input).and_then(|()| input.flush()).expect("they listen");
        // What was said before that.
        while self.told.recv_timeout(PATIENCE).expect("they go on") != "again" {}
        let mut waited: BTreeSet<&str> = kinds.iter().copied().collect();
        while !waited.is_empty() {
            let kind = self.told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("waited in vain for {waited:?}"));
            waited.remove(kind.as_str());
        }
    }

    /// Ends them; what they have counted.
    fn end(mut self) -> Value {
        drop(self.clients.stdin.take());
        assert!(self.clients.wait().expect("our child").success());
        let last = self.told.iter().last().unwrap_or_default();
        serde_json::from_str(&last).unwrap_or_else(|error| panic!("{error}: {last}"))
    }
}

#[test]
fn whatever_is_killed_every_answer_is_right_or_a_clean_error() {
    const WELL: &[&str] = &["run 202", "poll 303", "get 200", "available_dates 200", "spec 200"];
    let (mut machine, api) = started();
    let id = machine.complete(spatial_aggregate(2, "last"));
    let rows = machine.cluster.value("flowapi", &format!("SELECT count(*) FROM cache.x{id}"));
    let mut clients = api.client(&format!("{CLIENT}{LOAD}"));
    clients.args([&id, &rows]);
    let mut load = Load::start(clients);
    load.answers(WELL);

    machine.end(Signal::KILL);
    load.answers(&["run 503", "poll 503", "get 503"]);
    machine.start(&[]);
    load.answers(WELL);

    // It comes back empty: the query is unknown until somebody runs it again.
    machine.kill_redis();
    load.answers(&["run 503", "poll 503", "get 503"]);
    machine.start_redis();
    load.answers(WELL);

    machine.cluster.kill();
    load.answers(&["run 503", "get 503"]);
    machine.cluster.prepare().expect("a cluster");
    machine.cluster.start();
    load.answers(WELL);

    let told = load.end();
    say::tell!("{}", told["counts"]);
    assert_eq!(told["wrong"], serde_json::json!([]), "{}", told["counts"]);
    wait_for("FlowAPI to be well", || api.ready());
}
