//! Every scenario of the guide, from nothing, in a machine of its own.
//!
//! Emulated, they take minutes each, so they are run where they are asked for: `FLOWKIT_TEST_PARTS=scenarios scripts/test.sh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use https::Get;
use serde_json::json;
use tempfile::TempDir;

use super::rig::{Database, Machine, Secrets, artefact, directory};
use crate::support::deployment::show;
use crate::support::flowapi;
use crate::support::flowauth;
use crate::support::flowmachine::python_program;
use crate::support::notebooks::text_of_pdf;
use crate::support::poll::until;
use crate::support::programs;

/// Airflow loads for minutes where the processor is emulated, and a day has thirty tasks, each of which loads it anew.
const PATIENCE: Duration = Duration::from_secs(3600);

const FLOWDB_PASSWORD: &str = "super-from-the-host-2";
const REDIS_PASSWORD: &str = "redis-from-the-host-1";

/// Whether a day is checked once it is in FlowDB: half of its DAG's tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    All,
    None,
}

/// Directories of the host with the files of days and a DAG for them.
struct Deliveries(TempDir);

impl Deliveries {
    /// A DAG as `flowkit etl new` writes it, of one day, for files in a directory inside. It runs at once, without a click in Airflow's pages, and
    /// looks for a file that is not there yet every minute.
    fn of(kind: &str, day: &str, sample: &str, at: &str, checks: Checks) -> Deliveries {
        let dir = directory();
        for part in ["etl", "dags"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let file = dir.path().join(format!("etl/{kind}_{}.csv", day.replace('-', "")));
        fs::write(&file, sample).unwrap();
        let mut new = Command::new(programs::flowkit());
        new.args(["etl", "new", kind, "--directory", at, "--csv"]).arg(&file).env_clear();
        let output = new.output().unwrap();
        assert!(output.status.success(), "{}", show(&output));
        let dag = String::from_utf8(output.stdout).unwrap();
        let date: Vec<i32> = day.split('-').map(|part| part.parse().unwrap()).collect();
        let [year, month, day] = date[..] else { panic!("{day} is no day") };
        let one =
            format!("    end_date=datetime({year}, {month}, {day}),\n    flux_check_wait_interval=1,\n    indexes=[");
        assert!(dag.contains("    indexes=[") && dag.contains("(minutes=30)"), "{dag}");
        let dag = dag.replace("    indexes=[", &one).replace("(minutes=30)", "(minutes=1)");
        let unchecked = match checks {
            Checks::All => "",
            Checks::None => "import flowetl.util\nflowetl.util.get_qa_checks = lambda **_: []\n",
        };
        let dag = format!("{unchecked}{dag}dag.is_paused_upon_creation = False\n");
        fs::write(dir.path().join(format!("dags/{kind}.py")), dag).unwrap();
        // Whoever reads them inside is not who owns them here.
        for path in ["", "etl", "dags"] {
            fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Deliveries(dir)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.0.path().join(part)
    }
}

/// A unit is active when its role has all that it needs; FlowDB takes connections before it has its schema.
fn until_active(unit: &str) -> String {
    format!("until systemctl is-active --quiet {unit}; do sleep 2; done")
}

/// Waits for a day to be there, with what is checked of it.
fn await_day(machine: &Machine, database: &mut Database, (kind, day): (&str, &str), checks: Checks) {
    let of = format!("cdr_type = '{kind}' AND cdr_date = '{day}'");
    let ingested = format!("SELECT count(*) FROM etl.etl_records WHERE state = 'ingested' AND {of}");
    let checked = format!("SELECT count(*) FROM etl.post_etl_queries WHERE {of}");
    let least = if checks == Checks::All { 16 } else { 0 };
    until(PATIENCE, "the day", || {
        std::thread::sleep(Duration::from_secs(5));
        match (database.number(&ingested), database.number(&checked)) {
            (1.., seen) if seen >= least => Ok(()),
            (_, seen) => Err(format!("{seen} checks; console:\n{}", machine.console_end())),
        }
    });
}

/// Where AutoFlow of a machine puts reports.
const REPORTS: &str = "/var/lib/flowkit/autoflow/autoflow/outputs/reports";

/// Waits for AutoFlow's report of a day. A run that fails is tried again later; here it is told of at once, with all that was said of it.
fn await_report(machine: &mut Machine, day: &str) {
    let log = "journalctl --no-pager --quiet --output=short-monotonic --unit=flowkit-enrol --unit=flowkit-autoflow";
    let made = format!(
        "until ls {REPORTS}/*{day}*.pdf 2>/dev/null; do sleep 5; ! {log} | grep --quiet \"a run failed\" || exit 1; done"
    );
    let told = format!("{log} | tail -n 60; tail -n 20 {REPORTS}/../logs/*; free --mebi");
    machine.command(&format!("timeout 3000 bash -c '{made}' || {{ {told}; false; }}"), PATIENCE);
}

#[test]
#[ignore = "takes minutes: FLOWKIT_TEST_PARTS=scenarios scripts/test.sh"]
fn flowdb_with_flowetl_takes_in_the_file_of_a_day() {
    let secrets = Secrets::with(&[("FLOWDB_POSTGRES_PASSWORD", FLOWDB_PASSWORD)]);
    let lines = (0..200).map(|i| format!("{i},2016-03-01T{:02}:15:00Z,m{},c{},{i}.5\n", i % 24, i % 50, i % 7));
    let sample = "id,datetime,msisdn,location_id,volume_total\n".to_owned() + &lines.collect::<String>();
    let files = Deliveries::of("mds", "2016-03-01", &sample, "/etl", Checks::All);
    let machine = Machine::new(artefact("flowdb-etl-vm")).showing("FLOWDB_ETL_DIR", &files.path("etl"));
    let mut machine = machine.showing("FLOWETL_HOST_DAG_DIR", &files.path("dags"));
    let told = Told::begin("FlowDB with FlowETL");
    machine.boot(Some(secrets.path()));
    let mut database = machine.wait_for_flowdb(FLOWDB_PASSWORD, PATIENCE);
    machine.command(&until_active("flowkit-flowdb"), PATIENCE);
    told.step("FlowDB is ready");
    await_day(&machine, &mut database, ("mds", "2016-03-01"), Checks::All);
    told.step("the day is there");
    assert_eq!(database.number("SELECT count(*) FROM events.mds"), 200);
    assert_eq!(database.number("SELECT count(*) FROM events.location_ids WHERE cdr_type = 'mds'"), 7);
}

/// What an analyst asks: where people were at the end of a day. The answer is stored, and whether it was there before is told.
const ANALYST: &str = r#"
import json, os
import flowmachine
from flowmachine.core import make_spatial_unit
from flowmachine.features import daily_location
flowmachine.connect(
    flowdb_user=os.environ["ANALYST"], flowdb_password=os.environ["PASSWORD"], redis_password=os.environ["REDIS_PASSWORD"],
    flowdb_port=int(os.environ["FLOWDB_PORT"]), redis_port=int(os.environ["REDIS_PORT"]))
where = daily_location("2016-01-02", spatial_unit=make_spatial_unit("admin", level=3))
was_there = where.is_stored
where.store().result()
rows = where.get_dataframe()
print(json.dumps({"was there": bool(was_there), "people": len(rows), "areas": rows.pcod.nunique()}))
"#;

#[test]
#[ignore = "takes minutes: FLOWKIT_TEST_PARTS=scenarios scripts/test.sh"]
fn two_analysts_use_the_library_and_share_what_they_store() {
    let secrets = Secrets::with(&[("FLOWDB_POSTGRES_PASSWORD", FLOWDB_PASSWORD), ("REDIS_PASSWORD", REDIS_PASSWORD)]);
    let mut machine = Machine::new(artefact("library-vm"));
    let told = Told::begin("FlowMachine as a library");
    machine.boot(Some(secrets.path()));
    let mut database = machine.wait_for_flowdb(FLOWDB_PASSWORD, PATIENCE);
    machine.wait_for_redis(REDIS_PASSWORD, PATIENCE);
    machine.command(&until_active("flowkit-flowdb"), PATIENCE);
    told.step("FlowDB and redis are ready");
    machine.command("flowkit-admin db demo --days 2 --subscribers 1000 --sites 20", PATIENCE);
    told.step("there are records");
    let analysts = [("alice", "alice-Pass-1"), ("bob", "bob-Pass-2")];
    for (name, password) in analysts {
        let said =
            machine.command(&format!("echo {password} | flowkit-admin db user add {name} --role analyst"), PATIENCE);
        assert!(said.contains(&format!("added {name}")), "{said}");
    }
    let ask = |(name, password)| {
        let mut python = Command::new(python_program());
        python.args(["-I", "-c", ANALYST]).stdin(Stdio::null()).env_clear().env("HOME", "/nonexistent");
        python.env("ANALYST", name).env("PASSWORD", password).env("REDIS_PASSWORD", REDIS_PASSWORD);
        python.env("FLOWDB_PORT", machine.port("FLOWDB_HOST_PORT").to_string());
        python.env("REDIS_PORT", machine.port("REDIS_HOST_PORT").to_string());
        flowapi::printed(&mut python).unwrap()
    };
    let [first, second] = analysts.map(ask);
    told.step("both have their answer");
    assert_eq!((&first["was there"], &second["was there"]), (&json!(false), &json!(true)));
    let people = "SELECT count(DISTINCT msisdn) FROM (SELECT msisdn, datetime FROM events.calls UNION ALL SELECT msisdn, datetime FROM events.sms
                      UNION ALL SELECT msisdn, datetime FROM events.mds UNION ALL SELECT msisdn, datetime FROM events.topups) AS all_
                  WHERE datetime >= '2016-01-02' AND datetime < '2016-01-03'";
    assert!(first["people"].as_i64().unwrap() > 100, "{first}");
    assert!(first["people"].as_i64().unwrap() <= database.number(people), "{first}");
    assert_eq!((&first["people"], &first["areas"]), (&second["people"], &second["areas"]));
}

#[test]
#[ignore = "takes minutes: FLOWKIT_TEST_PARTS=scenarios scripts/test.sh"]
fn complete_flowkit_makes_a_report_of_a_day_that_was_a_file_a_moment_before() {
    let secrets = Secrets::with(&[("FLOWDB_POSTGRES_PASSWORD", FLOWDB_PASSWORD)]).with_flowapis();
    // The file is made inside, of the people who are there by then.
    let columns = "id,outgoing,datetime,duration,network,msisdn,msisdn_counterpart,location_id,imsi,imei,tac,operator_code,country_code";
    let sample = format!("{columns}\nc1,t,2016-01-03 08:15:00+00,12,1,m1,m2,S0000-1,i1,e1,1,1,1\n");
    let files = Deliveries::of("calls", "2016-01-03", &sample, "/var/lib/flowkit/flowdb", Checks::None);
    let mut machine = Machine::new(artefact("complete-vm")).showing("FLOWETL_HOST_DAG_DIR", &files.path("dags"));
    let told = Told::begin("complete FlowKit");
    machine.boot(Some(secrets.path()));
    let mut database = machine.wait_for_flowdb(FLOWDB_PASSWORD, PATIENCE);
    machine.command(&until_active("flowkit-flowdb"), PATIENCE);
    told.step("FlowDB is ready");
    machine.wait_for_flowapi(&secrets, PATIENCE);
    told.step("FlowAPI answers");
    machine.command("flowkit-admin db demo --days 2 --subscribers 1000 --sites 20", PATIENCE);
    told.step("there are two days");
    machine.command(&until_active("flowkit-autoflow"), PATIENCE);
    await_report(&mut machine, "2016-01-02");
    told.step("AutoFlow has made a report of the second");
    machine.command(&until_active("flowkit-flowetl"), PATIENCE);
    told.step("FlowETL is ready");
    let failed = machine.command("systemctl --failed --plain --no-legend --no-pager", PATIENCE);
    assert_eq!(failed.trim(), "", "nothing has failed");

    database.execute(&format!(
        "COPY (SELECT {} FROM events.calls WHERE datetime >= '2016-01-02' AND datetime < '2016-01-03')
         TO '/var/lib/flowkit/flowdb/calls_20160103.csv' CSV HEADER",
        columns.replace(",datetime,", ",datetime + interval '1 day' AS datetime,")
    ));
    await_day(&machine, &mut database, ("calls", "2016-01-03"), Checks::None);
    told.step("the third day went through FlowETL");
    let answer = machine.wait_for_flowapi(&secrets, PATIENCE);
    assert_eq!(answer["days"].as_array().and_then(|days| days.last()), Some(&json!("2016-01-03")), "{answer}");

    await_report(&mut machine, "2016-01-03");
    told.step("AutoFlow has made a report of it");
    let text = machine.command(&format!("base64 -w 76 {REPORTS}/*2016-01-03*.pdf"), PATIENCE);
    let pdf = base64::engine::general_purpose::STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap();
    let report = files.path("report.pdf");
    fs::write(&report, pdf).unwrap();
    keep(&report, "vm-complete.pdf");
    let text = text_of_pdf(&report);
    let people = answer["people"].as_i64().unwrap();
    let people = if people < 1000 { people.to_string() } else { format!("{},{:03}", people / 1000, people % 1000) };
    assert!(text.contains(&format!("{people} people")) && text.contains("2016-01-03"), "{people}: {text}");

    // And the small day of `verify`'s, all the way, to a report.
    let verified = machine.command("flowkit-admin verify --patience 3000", PATIENCE);
    told.step("flowkit verify");
    say::tell!("{verified}");
    assert_eq!(verified.matches("equal in all 3 groups").count(), 3, "{verified}");
    // The last one in all areas but those of few people, which are told to nobody.
    assert_eq!(verified.matches("equal in ").count(), 7, "{verified}");
}

#[test]
#[ignore = "takes minutes: FLOWKIT_TEST_PARTS=scenarios scripts/test.sh"]
fn flowauth_outside_mints_tokens_and_nothing_else_is_there() {
    let secrets = Secrets::with(&[]).with_flowapis();
    // What is not FlowAuth's stays where FlowAPI is.
    for entry in fs::read_dir(secrets.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("FLOWAUTH") && !name.contains("flowauth") && !name.ends_with("JWT_SIGNING_KEY") {
            fs::remove_file(path).unwrap();
        }
    }
    let mut machine = Machine::new(artefact("flowauth-vm"));
    let told = Told::begin("FlowAuth outside");
    machine.boot(Some(secrets.path()));
    let port = machine.port("FLOWAUTH_HOST_PORT");
    let certificate = secrets.path().join("cert-flowauth.pem");
    machine.wait("FlowAuth", PATIENCE, |_| {
        let certificate = certificate.clone();
        let read = move || fs::read_to_string(&certificate).map_err(|error| error.to_string());
        let get = Get::https(([127, 0, 0, 1], port).into(), "/health/ready", read);
        get.ask(|address, patience| std::net::TcpStream::connect_timeout(&address, patience), Duration::from_secs(30))
    });
    told.step("FlowAuth is ready");
    let minted = flowauth::administer_outside(port, secrets.path());
    told.step("a token is minted");
    // FlowAPI would know it by the public key.
    let token = minted["token"].as_str().unwrap();
    let read = access::Inspection::read(token);
    assert!(read.is_ok(), "{minted}");
    let leads = machine.console().matches("leads to port").count();
    assert_eq!(leads, 1, "{}", machine.console());
    let units = machine
        .command("systemctl list-units --full --plain --no-legend --no-pager --state=active 'flowkit-*'", PATIENCE);
    let names: Vec<&str> = units.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["flowkit-flowauth.service", "flowkit-secrets-offered.service", "flowkit-secrets.service"]);
}

/// Says how long each step took.
struct Told {
    what: &'static str,
    began: std::time::Instant,
}

impl Told {
    fn begin(what: &'static str) -> Told {
        Told { what, began: std::time::Instant::now() }
    }

    fn step(&self, done: &str) {
        say::tell!("{}: {:.0} s after power-on: {done}", self.what, self.began.elapsed().as_secs_f64());
    }
}

/// For people to look at.
fn keep(path: &Path, name: &str) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::copy(path, kept).unwrap();
}
