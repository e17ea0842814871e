//! What people do in the guide's scenarios: a file through a DAG, FlowMachine as a library, FlowAuth on an engine that reaches no other.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::stack::{AIRFLOW, Up, service};
use crate::support::deployment::show;
use crate::support::engine::Engine;
use crate::support::flowapi;
use crate::support::flowmachine::python_program;
use crate::support::poll::wait;

/// A file as it was delivered.
pub(super) struct Delivery<'a> {
    /// What it holds records of.
    pub(super) kind: &'a str,
    /// The day, as `2016-03-01`.
    pub(super) day: &'a str,
    /// CSV.
    pub(super) text: String,
}

impl Delivery<'_> {
    /// Puts it where FlowDB sees it and writes the DAG for such files with the command that is there for that; waits until it is in FlowDB.
    pub(super) fn goes_through_a_dag(&self, up: &Up) {
        let Delivery { kind, day, text } = self;
        let (began, digits) = (Instant::now(), day.replace('-', ""));
        let file = up.place.join(format!("etl/{kind}_{digits}.csv"));
        fs::write(&file, text).unwrap();
        let (dag, _) = up.engine.flowkit(&["etl", "new", kind, "--csv", file.to_str().unwrap(), "--directory", "/etl"]);
        // One day, at once; the checks, half of its tasks, are `flowetl::`'s.
        let end = format!("    end_date=datetime({}),\n", day.replace("-0", "-").replace('-', ", "));
        let shorter = format!("{end}    flux_check_wait_interval=1,\n    indexes=[");
        assert!(dag.contains("    indexes=["), "{dag}");
        let dag = dag.replace("    indexes=[", &shorter);
        let unchecked = "import flowetl.util\nflowetl.util.get_qa_checks = lambda **_: []\n";
        let text = format!("{unchecked}{dag}\ndag.is_paused_upon_creation = False\n");
        fs::write(up.place.join(format!("dags/{kind}.py")), text).unwrap();

        let ingested = format!(
            "select count(*) from etl.etl_records where state = 'ingested' and cdr_type = '{kind}' and cdr_date = '{day}'"
        );
        wait(AIRFLOW, "the day is ingested", || up.number(&ingested) == 1);
        let rows = u64::try_from(self.text.lines().count()).unwrap() - 1;
        assert_eq!(up.number(&format!("select count(*) from events.{kind}_{digits}")), rows);
        say::tell!("a day of {kind} through FlowETL's container: {:.1} s", began.elapsed().as_secs_f64());
    }
}

/// Twenty people at seven cells that nobody has said the places of.
pub(super) fn mobile_data(day: &str) -> Delivery<'_> {
    let lines = (0..20).map(|i| format!("{i},{day}T{i:02}:15:00Z,m{i},c{},{i}.5\n", i % 7));
    let text = "id,datetime,msisdn,location_id,volume_total\n".to_owned() + &lines.collect::<String>();
    Delivery { kind: "mds", day, text }
}

/// So many people at each of these cells.
pub(super) fn calls<'a>(day: &'a str, cells: &[(String, u64)]) -> Delivery<'a> {
    let mut text = "id,outgoing,datetime,duration,msisdn,msisdn_counterpart,location_id\n".to_owned();
    for (i, cell) in cells.iter().flat_map(|(cell, people)| (0..*people).map(move |_| cell)).enumerate() {
        let (hour, minute) = (i / 60 % 24, i % 60);
        text += &format!("{i},true,{day}T{hour:02}:{minute:02}:00Z,{}.0,caller{i},callee{i},{cell}\n", 10 + i);
    }
    Delivery { kind: "calls", day, text }
}

/// Counts people by cell with FlowMachine's library, in an analyst's own Python; stores the answer, or takes the one that is there.
const ANALYST: &str = r#"
import json, sys
# Libraries print to stdout.
given, answer, sys.stdout = json.load(sys.stdin), sys.stdout, sys.stderr

import flowmachine
from flowmachine.core import make_spatial_unit
from flowmachine.core.context import get_db
from flowmachine.features import daily_location
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

flowmachine.connect(log_level="error", **given["connection"])
where = daily_location(given["day"], spatial_unit=make_spatial_unit("cell"), table="events.mds")
there = where.is_stored
if not there:
    where.store().result()

def refused(statement):
    with get_db().engine.connect() as connection:
        try:
            return str(connection.execute(text(statement)).fetchall())
        except ProgrammingError as error:
            return error.orig.pgerror.splitlines()[0]

rows = where.get_dataframe()
json.dump({
    "there": there,
    "reads": where.get_query(),
    "people": {cell: int(people) for cell, people in rows.groupby("location_id").size().items()},
    "refused": [refused(statement) for statement in given["statements"]],
}, answer)
"#;

/// How a database refuses what only its superuser may.
const FORBIDDEN: [(&str, &str); 3] = [
    ("select pg_read_file('/run/secrets/FLOWDB_POSTGRES_PASSWORD')", "permission denied for function pg_read_file"),
    ("select rolpassword from pg_authid", "permission denied for table pg_authid"),
    ("copy (select 1) to program 'cat /run/secrets/*'", "permission denied to COPY to or from an external program"),
];

/// Two people get logins in the container, as the manual says, and work from outside of the stack: one stores an answer, and the other has it.
pub(super) fn analysts_share_what_they_store(up: &Up, day: &str) {
    let people: BTreeMap<String, u64> = (0..20).fold(BTreeMap::new(), |mut people, i| {
        *people.entry(format!("c{}", i % 7)).or_default() += 1;
        people
    });
    for (name, finds_it) in [("alice", false), ("bob", true)] {
        let password = format!("{name}-has-a-password-91");
        let mut add = up.engine.command("docker");
        add.args(["exec", "--interactive", &up.container("flowdb"), "/bin/flowkit", "db", "user", "add", name]);
        add.args(["--role", "analyst", "--dir", "/dev/shm/flowkit"]);
        said(&mut add, &password);
        let redis = fs::read_to_string(Path::new(up.secrets).join("REDIS_PASSWORD")).unwrap();
        let connection = json!({"flowdb_user": name, "flowdb_password": password, "redis_password": redis.trim()});
        let statements = FORBIDDEN.map(|(statement, _)| statement);
        let mut python = up.engine.on_node(python_program().to_str().unwrap());
        python.args(["-I", "-c", ANALYST]);
        let given = json!({"connection": connection, "day": day, "statements": statements});
        let told: Value = serde_json::from_str(&said(&mut python, &given.to_string())).unwrap();
        assert_eq!(told["there"], finds_it, "{told}");
        assert!(told["reads"].as_str().unwrap().contains("cache.x"), "{told}");
        assert_eq!(told["people"], json!(people), "{told}");
        for ((_, why), answer) in FORBIDDEN.iter().zip(told["refused"].as_array().unwrap()) {
            assert!(answer.as_str().unwrap().contains(why), "{told}");
        }
    }
}

/// What a program prints that gets something to read, and must end well.
fn said(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A FlowAuth on an engine of its own, by the command that is in the bundle. What passes between it and the rest is files that somebody carries.
pub(super) struct Outside {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Outside {
    /// Its secrets are made first: the others get the public half of its key, here below the one of their own FlowAuth.
    pub(super) fn trusted_by(engine: &Engine, images: &Path, secrets: &Path) -> Outside {
        let program = images.join("flowkit-portable/flowkit");
        assert!(program.exists(), "{} is not there: run scripts/nix-artefacts.sh", program.display());
        let dir = tempfile::Builder::new().prefix("fko").tempdir_in("/tmp").unwrap();
        let outside = Outside { dir, program };
        fs::create_dir(outside.path("fk")).unwrap();
        engine.flowkit(&[
            "secrets",
            "init",
            "--dir",
            outside.path("fk/secrets").to_str().unwrap(),
            "--role",
            "flowauth",
        ]);
        let [own, theirs] = [secrets, &outside.path("fk/secrets")].map(|dir| dir.join("PUBLIC_JWT_SIGNING_KEY"));
        let trusted = fs::read_to_string(&own).unwrap() + &fs::read_to_string(theirs).unwrap();
        fs::write(own, trusted).unwrap();
        outside
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// From the server's description, which came as a file, to a token, which goes back as a file.
    pub(super) fn gives_tokens_that_are_good_inside(&self, up: &Up, images: &str) {
        let began = Instant::now();
        let Some(engine) = Engine::start() else { return };
        let secrets = self.path("fk/secrets");
        self.flowkit(
            &engine,
            None,
            &["quickstart", "--scenario", "flowauth", "--images", images, "--secrets"],
            &secrets,
        );
        say::tell!("FlowAuth on an engine of its own: {:.1} s", began.elapsed().as_secs_f64());
        // Both nodes have this address, each in its own network.
        let reached = |engine: &Engine, port: u16| {
            let knock = format!("</dev/tcp/10.199.0.1/{port}");
            engine.on_node("bash").args(["-c", &knock]).output().unwrap().status.success()
        };
        assert!(reached(up.engine, 9090) && !reached(&engine, 9090), "FlowAPI is inside");
        assert!(reached(&engine, 9091), "FlowAuth is outside");

        let node = up.engine.on_node(flowapi::python().to_str().unwrap());
        let described = flowapi::printed(&mut flowapi::told(node, DESCRIBED, 9090, Path::new(up.secrets))).unwrap();
        fs::write(self.path("openapi.json"), described.to_string()).unwrap();
        let (admin, nightly, token) = (self.path("admin.key"), self.path("nightly.key"), self.path("report.jwt"));
        let [admin, nightly, token] = [&admin, &nightly, &token].map(|path| path.to_str().unwrap());
        let openapi = self.path("openapi.json").display().to_string();
        let scopes = "run,get_result,get_available_dates,admin3:spatial_aggregate:*";
        for (key, args) in [
            (None, &["key", "first", "--out", admin][..]),
            (Some(admin), &["server", "import", &openapi]),
            (Some(admin), &["role", "create", "analyst", "--scope", scopes]),
            (Some(admin), &["user", "create", "nightly", "--machine", "--role", "analyst"]),
            (Some(admin), &["key", "make", "nightly", "--out", nightly]),
            (Some(nightly), &["token", "mint", "report", "--role", "analyst", "--out", token]),
        ] {
            self.flowkit(&engine, key, &[&["auth"], args, &["--dir"]].concat(), &self.path("fk"));
        }
        let certificate = Path::new(up.secrets).join("cert-flowkit.pem");
        let carried = fs::read_to_string(token).unwrap();
        let asked = || {
            let node = up.engine.on_node(flowapi::python().to_str().unwrap());
            flowapi::guide(node, 9090, &carried, &certificate).unwrap()["days"].as_array().unwrap().len()
        };
        assert_eq!(asked(), 3);

        // Nobody tells FlowAPI: it is good until it ends, and whoever has the list knows better.
        self.flowkit(&engine, Some(nightly), &["auth", "token", "revoke", "report", "--dir"], &self.path("fk"));
        let node = engine.on_node(flowapi::python().to_str().unwrap());
        let mut ask = flowapi::told(node, REVOCATIONS, 9091, &secrets);
        let list = flowapi::printed(ask.env("CERTIFICATE", secrets.join("cert-flowauth.pem"))).unwrap();
        fs::write(self.path("revocations"), list.as_str().unwrap()).unwrap();
        let list = self.path("revocations");
        let mut show = engine.command(&self.program);
        let show = show.args(["token", "show", token, "--revocations"]).arg(list).arg("--dir").arg(self.path("fk"));
        let shown = show.output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(!shown.status.success() && text.contains("revoked"), "{text}");
        assert_eq!(asked(), 3);
        say::tell!(
            "from an engine without anything to a token that is good elsewhere: {:.1} s",
            began.elapsed().as_secs_f64()
        );
    }

    /// `flowkit` on its node, with a path as the last argument.
    fn flowkit(&self, engine: &Engine, key: Option<&str>, args: &[&str], last: &Path) {
        let mut flowkit = engine.on_node(self.program.to_str().unwrap());
        let output = flowkit.args(args).arg(last).envs(key.map(|key| ("FLOWKIT_AUTH_KEY_FILE", key))).output().unwrap();
        assert!(output.status.success(), "flowkit {args:?}: {}", show(&output));
    }
}

/// What FlowAPI says of itself to everybody.
const DESCRIBED: &str = r#"
import os, requests
print(requests.get(os.environ["URL"] + "/api/0/spec/openapi.json", verify=os.environ["CERTIFICATE"]).text)
"#;

/// The list as FlowAuth publishes it.
const REVOCATIONS: &str = r#"
import json, os, requests
print(json.dumps(requests.get(os.environ["URL"] + "/revocations", verify=os.environ["CERTIFICATE"]).text))
"#;

/// What of an earlier deployment is of no use goes by itself, what may be is named; the command that is told takes it away.
pub(super) fn what_is_left_over_is_told_of(up: &Up, quickstart: impl FnOnce() -> String) {
    let image = format!("flowkit/flowdb:{}", env!("CARGO_PKG_VERSION"));
    for name in ["flowetl-worker", "autoflow"].map(service) {
        let label = format!("com.docker.stack.namespace={}", super::stack::STACK);
        let create = ["service", "create", "--detach", "--replicas", "0", "--no-resolve-image", "--label", &label];
        up.engine.docker(&[&create[..], &["--name", &name, &image]].concat());
    }
    let told = quickstart();
    assert!(told.contains("removed fk_flowetl-worker: its role is in other services now"), "{told}");
    let (_, command) = told.split_once("goes on as it was; without it: docker ").unwrap_or_else(|| panic!("{told}"));
    let command: Vec<&str> = command.split_whitespace().take(3).collect();
    assert_eq!(command, ["service", "rm", "fk_autoflow"], "{told}");
    up.engine.docker(&command);
    let left = up.engine.docker(&["service", "ls", "--format", "{{.Name}}"]);
    assert!(!left.contains("worker") && !left.contains("autoflow"), "{left}");
}
