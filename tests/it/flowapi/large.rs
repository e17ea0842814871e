//! A result of ten million rows: it comes whole, and the server takes no more memory for it than for any other. Whoever has five of
//! them on their way waits for one to end, and nobody else does.

use serde_json::json;

use super::{asked, started};
use crate::support::flowmachine::spatial_aggregate;

/// What the server may take, all of its process.
const LIMIT: u64 = 64 << 20;
const ROWS: u64 = 10_000_000;

/// Counts what comes.
const GET: &str = r#"
lines = size = 0
with http() as client, client.stream("GET", f"get/{ID}.csv", headers={"Accept-Encoding": "identity"}) as answer:
    for chunk in answer.iter_raw():
        lines, size, last = lines + chunk.count(b"\n"), size + len(chunk), chunk[-20:]
told = [answer.status_code, lines, last.decode().split("\r\n")[-2]]

import contextlib
with contextlib.ExitStack() as stack:
    ann, bob = stack.enter_context(http()), stack.enter_context(http(user="bob"))
    def begin(client):
        return stack.enter_context(client.stream("GET", f"get/{ID}.json"))
    begun = [begin(ann) for _ in range(5)]
    sixth, other = begin(ann), begin(bob)
    told += [[answer.status_code for answer in begun], sixth.status_code, "retry-after" in sixth.headers, other.status_code]
    sixth.close(), begun[0].close()
    until = time.time() + 60
    while begin(ann).status_code != 200 and time.time() < until:
        time.sleep(0.2)
    told.append(time.time() < until)
print(json.dumps(told))
"#;

#[test]
fn ten_million_rows_come_whole_and_leave_the_server_small() {
    let (machine, api) = started();
    let id = machine.complete(spatial_aggregate(2, "last"));
    let many = format!(
        "DROP TABLE cache.x{id}; CREATE VIEW cache.x{id} AS SELECT 'P' AS pcod, generate_series(1, {ROWS}) AS value;
         GRANT SELECT ON cache.x{id} TO PUBLIC"
    );
    machine.cluster.run("flowdb", &many).expect("a result");
    let told = asked(&api, &format!("ID = '{id}'\n{GET}"));
    let last = format!("P,{ROWS}");
    assert_eq!(told, json!([200, ROWS + 1, last, [200, 200, 200, 200, 200], 429, true, 200, true]));
    assert!(api.peak() < LIMIT, "{} bytes", api.peak());
    say::tell!("{ROWS} rows, {} MiB", api.peak() >> 20);
}
