//! One deployment through its life: it comes up, is asked, killed in parts and whole, and goes down.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use flowkit_core::secrets::Secret;
use https::Get;
use postgres::Endpoint;
use rand::RngExt;
use serde_json::{Value, json};

use super::{no_secret_is_in_the_open, refused, text};
use crate::said::unread;
use crate::support::deployment::{Deployment, kill, show};
use crate::support::flowapi;
use crate::support::flowauth;
use crate::support::notebooks::text_of_pdf;
use crate::support::poll::{until, wait};
use crate::support::programs;

/// How a client of PostgreSQL's asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

const SERVICES: [&str; 9] = [
    "flowdb",
    "flowdb-schema",
    "disk-guard",
    "redis",
    "flowmachine",
    "cache-cleanup",
    "flowapi",
    "flowauth-database",
    "flowauth",
];

#[test]
fn a_deployment_comes_up_answers_recovers_and_goes_down() {
    let deployment = Deployment::new();
    // Each `verify` waits for a revoked token to be refused.
    deployment.configure("FLOWKIT_FLOWAPI_REVOCATIONS_SECONDS = 1\n");
    deployment.done(&["up", "--detach"]);
    deployment.done(&["db", "demo", "--days", "3", "--subscribers", "2000", "--sites", "60"]);
    let verified = deployment.done(&["verify"]);
    assert_eq!(verified.matches("equal in").count(), 4, "{verified}");
    assert!(verified.contains(" s after it was revoked"), "{verified}");
    nothing_of_verify_is_left(&deployment);

    let status = deployment.status().expect("it runs");
    let names: Vec<&str> = status["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, SERVICES);
    assert_eq!(status["facts"]["state"], deployment.state().to_str().unwrap());
    deployment.done(&["health"]);
    deployment.done(&["health", "flowmachine"]);
    for args in [&["verify"][..], &["verify", "--format", "json"], &["db", "user", "list"]] {
        assert_eq!(unread(deployment.command(args)).code(), Some(0), "{args:?} into a closed pipe");
    }
    the_guides_example_works(&deployment);
    the_worked_examples_are_drawn_with_the_figures_of_the_records(&deployment);
    a_token_of_flowauth_works_until_it_is_revoked(&deployment);
    refused(&deployment.flowkit(&["health", "flowetl"]), &["no role `flowetl` runs here"]);

    // A second one says who holds it, and touches nothing.
    let supervisor = status["supervisor"].as_u64().unwrap();
    refused(&deployment.flowkit(&["up", "--detach"]), &[&format!("pid {supervisor}"), "flowkit down"]);

    no_secret_is_in_the_open(&deployment);
    for service in ["redis", "flowmachine", "flowdb", "cache-cleanup", "flowapi", "flowauth-database"] {
        kill_and_recover(&deployment, service);
    }
    a_stranger_at_the_port_of_flowauths_database_learns_nothing(&deployment);
    supervisor_killed(&deployment);

    deployment.done(&["down"]);
    assert_eq!(deployment.processes(), Vec::<u32>::new(), "left running");
    for port in deployment.ports {
        TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    }
    // And what was loaded is still there.
    deployment.done(&["up", "--detach"]);
    deployment.done(&["verify"]);
    let key = deployment.state().with_file_name("admin.key");
    for kind in ["user", "role"] {
        let left = deployment.done(&["auth", kind, "list", "--key-file", key.to_str().unwrap()]);
        assert!(
            left.contains(if kind == "user" { "ann" } else { "analyst" }) && !left.contains("flowkit_verify"),
            "{left}"
        );
    }
    deployment.done(&["down"]);
}

/// One of them, another one for which three days from a Friday on are too few, and the first again as somebody asks who knows the address alone.
fn the_worked_examples_are_drawn_with_the_figures_of_the_records(deployment: &Deployment) {
    let reports = tempfile::tempdir().unwrap();
    let path = |name: &str| reports.path().join(name);
    let [here, there] = ["here", "there"].map(|name| path(name).to_str().unwrap().to_owned());
    let examples = ["verify", "--examples", "--only", "daily_locations"];
    let said = deployment.done(&[&examples[..], &["--only", "commuting", "--reports", &here]].concat());
    assert!(said.contains("equal in all ") && said.contains("here/daily_locations.pdf"), "{said}");
    assert!(said.contains("not drawn: there is no Wednesday among the days"), "{said}");
    let pdf = text_of_pdf(&path("here/daily_locations.pdf"));
    assert!(pdf.contains("people were seen in") && pdf.contains("2016-01-03"), "{pdf}");

    let role = format!("analyst={}", flowkit::verify::examples::scopes().join(","));
    let token = deployment.done(&["token", "make", "--user", "ann", "--role", &role]);
    let [_, _, _, flowapi, ..] = deployment.ports;
    let mut elsewhere = Command::new(programs::flowkit());
    elsewhere.args(examples).args(["--url", &format!("https://localhost:{flowapi}"), "--reports", &there]);
    elsewhere.arg("--certificate").arg(deployment.state().join("secrets/cert-flowkit.pem"));
    elsewhere.env_clear().env("PATH", "/usr/bin:/bin").env("FLOWAPI_TOKEN", token.trim());
    let output = elsewhere.output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    assert!(text(&output.stdout).contains("figures, with nothing to compare them with"), "{}", show(&output));
    assert_eq!(text_of_pdf(&path("there/daily_locations.pdf")), pdf);
    // What is no token is not sent anywhere.
    let refused = elsewhere.env("FLOWAPI_TOKEN", "no").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", show(&refused));
    assert!(text(&refused.stderr).contains("FLOWAPI_TOKEN is not a token"), "{}", show(&refused));
    let refused = elsewhere.env("FLOWAPI_TOKEN", "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2ln").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", show(&refused));
    assert!(!show(&refused).contains("c2Vj"), "it is not repeated: {}", show(&refused));
}

/// `verify` made a server, a role and users in FlowAuth, and has removed them; what it did is in the log for ever.
fn nothing_of_verify_is_left(deployment: &Deployment) {
    let password = fs::read_to_string(deployment.state().join("secrets/FLOWAUTH_DB_PASSWORD")).unwrap();
    let port = deployment.ports[5];
    let place = Endpoint { of: "FlowAuth's", socket: "/nowhere".into(), listen: "127.0.0.1".into(), port };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = runtime.block_on(async {
        let client = place.over_tcp("flowauth", Some(&Secret::new(password)), "flowauth").await.unwrap();
        let sql = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM roles), (SELECT count(*) FROM servers),
                       (SELECT count(*) FROM audit WHERE action = 'token.revoke'),
                       (SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname = current_user)";
        let row = client.query_one(sql, &[]).await.unwrap();
        let superuser = place.over_tcp("postgres", None, "postgres").await;
        assert!(superuser.is_err(), "its superuser is let in at the socket alone");
        (0..5).map(|column| row.get(column)).collect::<Vec<i64>>()
    });
    assert_eq!(asked, [1, 0, 0, 1, 0]);
}

/// Word for word, with a token of the manual's; and new certificates are taken over by the servers that run, behind their walls.
fn the_guides_example_works(deployment: &Deployment) {
    let token = deployment.done(flowapi::TOKEN);
    let certificate = deployment.state().join("secrets/cert-flowkit.pem");
    let ask = || flowapi::guide(Command::new(flowapi::python()), deployment.ports[3], &token, &certificate);
    let told = ask().unwrap();
    assert_eq!(told["days"].as_array().unwrap().len(), 3, "{told}");
    assert!(told["people"].as_u64().unwrap() > 1_000, "{told}");

    let servers = || (deployment.pid("flowapi"), deployment.pid("flowauth"));
    let before = servers();
    let mut rotate = Command::new(deployment.state().with_file_name("flowkit"));
    rotate
        .args(["secrets", "rotate", "key-flowkit.pem", "key-flowauth.pem", "--dir"])
        .arg(certificate.parent().unwrap())
        .env_clear();
    let output = rotate.output().unwrap();
    assert!(text(&output.stdout).contains("flowkit restart flowapi"), "{}", show(&output));
    // Whatever is restarted, all are handed what is new.
    deployment.done(&["restart", "cache-cleanup"]);
    wait(Duration::from_secs(120), "the new certificate", || ask().is_ok_and(|again| again == told));
    let own = certificate.with_file_name("cert-flowauth.pem");
    let shown = || {
        let read = fs::read_to_string(&own).unwrap();
        // One that has asked before takes the old certificate for a while.
        let new = Get::https(([127, 0, 0, 1], deployment.ports[4]).into(), "/health/live", move || Ok(read.clone()));
        new.ask(|address, patience| TcpStream::connect_timeout(&address, patience), Duration::from_secs(10)).is_ok()
    };
    wait(Duration::from_secs(120), "FlowAuth's", shown);
    assert_eq!(servers(), before);
}

/// By the two of them alone: nobody has told them of each other.
fn a_token_of_flowauth_works_until_it_is_revoked(deployment: &Deployment) {
    let secrets = deployment.state().join("secrets");
    let minted = flowauth::administer(deployment.ports[4], &secrets, None);
    let token = minted["token"].as_str().unwrap();
    let certificate = secrets.join("cert-flowkit.pem");
    let ask = || flowapi::guide(Command::new(flowapi::python()), deployment.ports[3], token, &certificate);
    assert!(ask().unwrap()["people"].as_u64().unwrap() > 1_000);
    // The same by the command, which needs to be told of nothing but a key's file.
    let key = deployment.state().with_file_name("admin.key");
    let key = key.to_str().unwrap();
    deployment.done(&["auth", "key", "first", "--out", key]);
    assert!(deployment.done(&["auth", "server", "import", "--key-file", key]).contains("nothing changes"));
    let told = deployment.done(&["auth", "deployment", "--key-file", key, "--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["flowapi"]["parts"], json!({ "database": true, "flowmachine": true, "revocations": true }));
    assert_eq!(told["flowapi"]["days"]["calls"].as_array().map(Vec::len), Some(3), "{told}");
    // What a verify that was killed has left: the next removes it.
    let leave = |what: &[&str]| deployment.done(&[&["auth", "--key-file", key], what].concat());
    leave(&["user", "create", "flowkit_verify_1_0badcafe", "--machine"]);
    leave(&["role", "create", "flowkit_verify_1_0badcafe", "--scope", "run", "--member", "flowkit_verify_1_0badcafe"]);
    flowauth::administer(deployment.ports[4], &secrets, minted["id"].as_i64());
    wait(Duration::from_secs(120), "the token to be refused", || ask().is_err());
}

/// Kills a service while a query is being asked, and asks again once all is ready: the answer is right.
fn kill_and_recover(deployment: &Deployment, service: &str) {
    let mut asking = deployment.command(&["verify"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..1500)));
    let before = deployment.pid(service).expect("it runs");
    kill(before);
    wait(Duration::from_secs(60), "another process in its place", || {
        deployment.pid(service).is_some_and(|pid| pid != before)
    });
    deployment.wait_ready(Duration::from_secs(90));
    // The question that was under way may have failed; one asked now may not.
    let _ = asking.wait();
    deployment.wait_ready(Duration::from_secs(90));
    deployment.done(&["verify"]);
}

/// Who takes the port while that PostgreSQL is down, offers no TLS, and asks for the password in clear.
fn a_stranger_at_the_port_of_flowauths_database_learns_nothing(deployment: &Deployment) {
    kill(deployment.pid("flowauth-database").unwrap());
    let stranger = until(Duration::from_secs(60), "the port", || TcpListener::bind(("127.0.0.1", deployment.ports[5])));
    let mut asking = flowauth::sign_in_by_a_guess(deployment.ports[4]);
    let password = fs::read(deployment.state().join("secrets/FLOWAUTH_DB_PASSWORD")).unwrap();
    wait(Duration::from_secs(60), "FlowAuth to come by", || {
        let (mut caller, _) = stranger.accept().unwrap();
        caller.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = Vec::new();
        // No TLS; then, to whoever goes on nevertheless: the password in clear, please.
        for answer in [&b"N"[..], b"R\0\0\0\x08\0\0\0\x03", b""] {
            let mut some = [0; 1024];
            let count = caller.read(&mut some).unwrap_or(0);
            heard.extend_from_slice(&some[..count]);
            let _ = caller.write_all(answer);
        }
        let value = password.trim_ascii();
        assert!(!heard.windows(value.len()).any(|window| window == value), "FlowAuth told a stranger its password");
        // The readiness probe comes by too; it says who it is, and answers by SCRAM only.
        heard.starts_with(&SSL_REQUEST)
    });
    drop(stranger);
    asking.kill().unwrap();
    asking.wait().unwrap();
    deployment.wait_ready(Duration::from_secs(90));
}

fn supervisor_killed(deployment: &Deployment) {
    let status = deployment.status().unwrap();
    kill(u32::try_from(status["supervisor"].as_u64().unwrap()).unwrap());
    wait(Duration::from_secs(30), "nothing left after the supervisor's death", || deployment.processes().is_empty());
    deployment.done(&["up", "--detach"]);

    // And with the guard dead too, the next start clears up what still holds the ports.
    let status = deployment.status().unwrap();
    for process in ["guard", "supervisor"] {
        kill(u32::try_from(status[process].as_u64().unwrap()).unwrap());
    }
    deployment.done(&["up", "--detach"]);
    deployment.done(&["verify"]);
}
