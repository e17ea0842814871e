//! A whole deployment through the real command: up, verify, kill, recover, down.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flowkit_core::config::{Origin, StateDir};
use flowkit_core::secrets::Secret;
use https::Get;
use postgres::Endpoint;
use rand::RngExt;
use serde_json::{Value, json};

use crate::said::unread;
use crate::support::deployment::{Deployment, kill, pids, show};
use crate::support::flowapi;
use crate::support::flowauth;
use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::notebooks::text_of_pdf;
use crate::support::poll::{until, wait};
use crate::support::programs;
use crate::support::skip::{Lack, skip};

/// How a client of PostgreSQL's asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

const SERVICES: [&str; 8] =
    ["flowdb", "flowdb-schema", "redis", "flowmachine", "cache-cleanup", "flowapi", "flowauth-database", "flowauth"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(output: &Output, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(2), "{}", show(output));
    let said = text(&output.stderr);
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

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

/// Its password may be another one for a while, or no connection may be left: the rest goes on, and so does FlowMachine then.
#[test]
fn a_flowmachine_that_is_not_let_in_waits_and_ends_nobody() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach"]);
    let mut cluster = Cluster::of(StateDir::new(deployment.state()));
    cluster.site.settings.set("FLOWDB_PORT", &deployment.ports[0].to_string(), Origin::Flag).unwrap();
    let supervisor = deployment.status().unwrap()["supervisor"].clone();
    cluster.run("flowdb", &format!("ALTER ROLE {FLOWMACHINE} PASSWORD 'another-one'")).unwrap();
    kill(deployment.pid("flowmachine").unwrap());
    let refused =
        "FlowDB does not let FlowMachine in (password authentication failed for user \"flowkit_flowmachine\")";
    wait(Duration::from_secs(90), "FlowMachine to say that it waits", || deployment.log().contains(refused));
    let status = deployment.status().expect("the rest runs");
    assert_eq!(status["supervisor"], supervisor);
    deployment.done(&["health", "redis"]);
    deployment.done(&["restart", "flowdb-schema"]);
    deployment.wait_ready(Duration::from_secs(90));
    assert_eq!(deployment.status().unwrap()["supervisor"], supervisor);
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

/// Every secret's value against what other users could see of any process, and against everything that was logged.
pub fn no_secret_is_in_the_open(deployment: &Deployment) {
    let values: Vec<(String, Vec<u8>)> = fs::read_dir(deployment.state().join("secrets"))
        .unwrap()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        // A user name is no secret, and a public key is meant to be seen.
        .filter(|(name, value)| value.len() >= 16 && !name.ends_with("_USER") && !name.starts_with("PUBLIC_"))
        .collect();
    assert!(values.len() >= 4, "secrets were made");
    let mut places = vec![("log".to_string(), deployment.log().into_bytes())];
    places.push(("status".to_string(), deployment.done(&["status", "--format", "json"]).into_bytes()));
    for pid in pids() {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            if let Ok(bytes) = fs::read(&path) {
                places.push((path, bytes));
            }
        }
    }
    let logs = ["log", "flowdb/data/log", "flowetl/logs"].map(|logs| walk(&deployment.state().join(logs)));
    places.extend(
        logs.into_iter().flatten().map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default())),
    );
    for (place, bytes) in &places {
        for (name, value) in &values {
            let value = value.trim_ascii();
            let found = bytes.windows(value.len()).any(|window| window == value);
            assert!(!found, "the value of {name} stands in {place}");
        }
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn first_start_survives_being_killed_at_any_moment() {
    let deployment = Deployment::new();
    let rounds = std::env::var("FLOWKIT_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for _ in 0..rounds {
        let mut up = deployment
            .command(&["up", "--detach", "--role", "flowdb", "--role", "redis"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(20..4000)));
        // Everything at once, in no order: what a power cut does.
        let mut victims: BTreeSet<u32> = deployment.processes().into_iter().collect();
        victims.insert(up.id());
        victims.into_iter().for_each(kill);
        up.wait().unwrap();
    }
    deployment.done(&["up", "--detach"]);
    deployment.done(&["health"]);
    deployment.done(&["down"]);
}

#[test]
fn of_many_at_once_one_wins_and_its_services_can_be_restarted() {
    let deployment = Deployment::new();
    let start = |_| {
        let mut up = deployment.command(&["up", "--detach", "--role", "redis"]);
        up.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (0..12).map(start).collect();
    let ended: Vec<Output> = started.into_iter().map(|up| up.wait_with_output().unwrap()).collect();
    let (won, lost): (Vec<_>, Vec<_>) = ended.iter().partition(|output| output.status.success());
    assert_eq!(won.len(), 1, "{}", ended.iter().map(show).collect::<String>());
    for output in lost {
        assert_eq!(output.status.code(), Some(2), "{}", show(output));
    }
    deployment.done(&["health", "redis"]);

    let before = deployment.pid("redis");
    deployment.done(&["restart", "redis"]);
    wait(Duration::from_secs(60), "another redis", || deployment.pid("redis").is_some_and(|pid| Some(pid) != before));
    refused(&deployment.flowkit(&["restart", "rediss"]), &["rediss"]);
}

#[test]
fn mistakes_are_one_clear_error_each() {
    let deployment = Deployment::new();
    let up = |args: &[&str]| deployment.flowkit(&[&["up", "--detach"], args].concat());

    refused(&up(&["--role", "autoflow"]), &["FLOWAPI_TOKEN is missing", "log in to FlowAuth"]);
    refused(&up(&["--role", "flowdeebee"]), &["flowdeebee", "flowdb, redis, flowmachine, flowapi, flowauth"]);
    refused(&up(&["--set", "FLOWDB_PORT=eighty"]), &["FLOWDB_PORT", "eighty"]);
    refused(&up(&["--set", "FLOWDB_PROT=9000"]), &["FLOWDB_PROT"]);
    refused(&up(&["--set", "FLOWKIT_POSTGRES_BIN=/nowhere"]), &["/nowhere", "make setup"]);
    refused(&up(&["--set", "FLOWKIT_PYTHON=/nowhere/python"]), &["/nowhere/python", "make setup"]);
    refused(&up(&["--set", "FLOWKIT_FLOWAPI_SERVER=/nowhere/flowapi"]), &["/nowhere/flowapi", "make install"]);
    refused(&up(&["--set", "FLOWKIT_FLOWAUTH_SERVER=/nowhere/flowauth"]), &["/nowhere/flowauth", "make install"]);
    refused(&up(&["--set", "FLOWMACHINE_CACHE_PRUNING_FREQUENCY=0"]), &["may not be 0", "-1 for no pruning"]);
    refused(&up(&["--set", "FLOWKIT_FLOWMACHINE_LISTEN=0.0.0.0"]), &["FLOWKIT_FLOWMACHINE_LISTEN", "0.0.0.0"]);

    let holder = TcpListener::bind(("127.0.0.1", deployment.ports[1])).unwrap();
    refused(&up(&[]), &["address of redis", &deployment.ports[1].to_string(), &format!("pid {}", std::process::id())]);
    drop(holder);

    deployment.configure("CACHE_SIZ = 5\n");
    refused(&up(&[]), &["CACHE_SIZ", "flowkit.toml"]);
    deployment.configure("");
    assert_eq!(deployment.processes(), Vec::<u32>::new(), "nothing was started");
    assert!(!deployment.state().join("flowdb/data").exists(), "nothing was made");
}

/// Where roles share a host, who is reached follows where it listens; nobody has to say it twice.
#[test]
fn all_roles_may_listen_on_ipv6_or_on_another_address() {
    for (listen, host) in [("::1", "::1"), ("::1", "localhost"), ("127.0.0.2", "localhost")] {
        let deployment = Deployment::new();
        let set = [
            format!("FLOWKIT_FLOWDB_LISTEN={listen}"),
            format!("FLOWKIT_REDIS_LISTEN={listen}"),
            format!("FLOWKIT_FLOWMACHINE_LISTEN={listen}"),
            format!("FLOWKIT_FLOWAPI_LISTEN={listen}"),
            format!("FLOWDB_HOST={host}"),
            format!("REDIS_HOST={host}"),
        ];
        let set = set.iter().flat_map(|one| ["--set", one]);
        deployment.done(&["up", "--detach"].into_iter().chain(set).collect::<Vec<_>>());
        if host == "localhost" {
            deployment.done(&["db", "demo", "--days", "3", "--subscribers", "2000", "--sites", "60"]);
            deployment.done(&["verify"]);
        }
        deployment.done(&["down"]);
    }
}

/// The same with an address that is no loopback, in a network of the test's own.
#[test]
fn all_roles_may_listen_on_an_address_of_the_machine() {
    if !rustix::process::geteuid().is_root() {
        return skip(Lack::Root, "a network of its own takes root to make");
    }
    let deployment = Deployment::new();
    deployment.configure("FLOWKIT_FLOWDB_LISTEN = \"192.0.2.2\"\nFLOWKIT_REDIS_LISTEN = \"192.0.2.2\"\n");
    let script = "ip link set lo up; ip address add 192.0.2.2/32 dev lo
        ./flowkit up --detach --dir state; ./flowkit db demo --dir state --days 3 --subscribers 2000 --sites 60
        ./flowkit verify --dir state; ./flowkit db user list --dir state; ./flowkit down --dir state";
    let mut inside = std::process::Command::new("unshare");
    inside.args(["--net", "sh", "-ec", script]).current_dir(deployment.state().parent().unwrap());
    let output = inside.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(output.status.success(), "{}\n{}", show(&output), deployment.log());
}

/// What a rotation says is all that has to be done.
#[test]
fn a_rotation_says_what_puts_the_new_secrets_in_force() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach"]);
    let secrets = deployment.state().join("secrets");
    for names in [&["FLOWMACHINE_FLOWDB_PASSWORD"][..], &["REDIS_PASSWORD", "FLOWDB_POSTGRES_PASSWORD"]] {
        let before = deployment.pid("flowmachine").unwrap();
        let program = deployment.state().parent().unwrap().join("flowkit");
        let mut rotate = std::process::Command::new(program);
        let output = rotate.args(["secrets", "rotate"]).args(names).arg("--dir").arg(&secrets).env_clear().output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", show(&output));
        let said = text(&output.stdout);
        let state = format!(" --dir {}", deployment.state().display());
        let commands: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("run       flowkit restart ")?.strip_suffix(&state))
            .collect();
        let expected = if names.len() == 1 { &["flowdb-schema"][..] } else { &["flowdb-schema", "redis"] };
        assert_eq!(commands, expected, "{}", show(&output));
        for service in commands {
            deployment.done(&["restart", service]);
        }
        wait(Duration::from_secs(60), "FlowMachine anew", || {
            deployment.pid("flowmachine").is_some_and(|pid| pid != before)
        });
        deployment.wait_ready(Duration::from_secs(90));
        assert!(!deployment.log().contains("password authentication failed"), "with one password for another");
    }
    // Who sets a password has it: the values that were handed out are those that are accepted.
    deployment.done(&["db", "demo", "--days", "3", "--subscribers", "2000", "--sites", "60"]);
    deployment.done(&["verify"]);
}

#[test]
fn data_of_somebody_else_are_told_once_and_left_alone() {
    let deployment = Deployment::new();
    let data = deployment.state().join("flowdb/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    give_to_role(&[&deployment.state().join("flowdb"), &data], "flowdb");
    let output = deployment.flowkit(&["up", "--detach", "--role", "flowdb"]);
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    let said = text(&output.stderr);
    assert!(said.contains("flowdb can't be kept up: exit status 2"), "tried once, and told: {said}");
    assert!(said.contains(data.to_str().unwrap()), "{said}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing was touched");
}

/// Cleaners of temporary files remove what is old, or all that they know.
#[test]
fn what_is_removed_of_a_running_deployment_hides_it_from_nobody() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    let supervisor = deployment.status().expect("it runs")["supervisor"].clone();
    for removed in ["run/control.sock", "run"] {
        let path = deployment.state().join(removed);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        deployment.done(&["health"]);
        assert_eq!(deployment.status().expect("it is found")["supervisor"], supervisor, "{removed}");
    }
    fs::remove_dir_all(deployment.state().join("run")).unwrap();
    deployment.done(&["down"]);
    assert_eq!(deployment.processes(), Vec::<u32>::new());
}

/// Its own remains are waited for, and never called another process.
#[test]
fn up_at_once_after_kill_9_of_the_supervisor_starts() {
    let deployment = Deployment::new();
    let rounds = std::env::var("FLOWKIT_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    for _ in 0..rounds {
        deployment.done(&["up", "--detach", "--role", "redis"]);
        kill(u32::try_from(deployment.status().unwrap()["supervisor"].as_u64().unwrap()).unwrap());
    }
    deployment.done(&["up", "--detach", "--role", "redis"]);
    deployment.done(&["down"]);
}

/// Whatever a directory is called and however it is named, it is used, or refused before anything is made.
#[test]
fn a_state_directory_may_be_named_from_where_one_is_and_have_an_odd_name() {
    let deployment = Deployment::new();
    let odd = deployment.state().join("com,ma 'q\"%$#\\ü");
    for redis_alone in [true, false] {
        let dir = if redis_alone { deployment.state().join("plain") } else { odd.clone() };
        fs::create_dir(&dir).unwrap();
        fs::copy(deployment.state().join("flowkit.toml"), dir.join("flowkit.toml")).unwrap();
        let run = |cwd: &std::path::Path, path: &std::path::Path, args: &[&str]| {
            let mut command = std::process::Command::new(deployment.state().parent().unwrap().join("flowkit"));
            command
                .args(args)
                .arg("--dir")
                .arg(path)
                .current_dir(cwd)
                .env_clear()
                .env("PATH", "/usr/bin:/bin:/usr/sbin");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{args:?} {}", show(&output));
        };
        let roles: &[&str] = if redis_alone { &["--role", "redis"] } else { &["--role", "flowdb", "--role", "redis"] };
        let name = std::path::Path::new(dir.file_name().unwrap());
        run(&deployment.state(), name, &[&["up", "--detach"], roles].concat());
        run(&dir, std::path::Path::new("."), &["health"]);
        if !redis_alone {
            run(&dir, std::path::Path::new("."), &["db", "user", "list"]);
        }
        run(&dir, &dir.join("../").join(name), &["down"]);
    }

    use std::os::unix::ffi::OsStrExt;
    for (name, why) in [
        (&b"x\xffy"[..], "is not UTF-8"),
        (b"x\ny", "control character"),
        (b"x\xe2\x80\x8by", "not seen"),
        (b"[x]", "redis takes for a pattern"),
    ] {
        let path = deployment.state().join(std::ffi::OsStr::from_bytes(name));
        let mut command = std::process::Command::new(deployment.state().parent().unwrap().join("flowkit"));
        let output = command.args(["up", "--detach", "--dir"]).arg(&path).env_clear().output().unwrap();
        refused(&output, &["the state directory's path", why]);
        assert!(!path.exists(), "nothing was made");
    }
}

/// As root, gives files to the user of a role, which is there once the role was started.
fn give_to_role(paths: &[&std::path::Path], role: &str) {
    if rustix::process::geteuid().is_root() {
        Deployment::new().done(&["up", "--detach", "--role", role]);
        let user = format!("flowkit-{role}");
        let done = std::process::Command::new("chown").arg(format!("{user}:{user}")).args(paths).status();
        assert!(done.unwrap().success());
    }
}
