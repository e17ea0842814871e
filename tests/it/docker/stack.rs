//! The complete stack on a swarm of one node: up by one command, verified, rotated, killed, and none the worse for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{autoflow, burglary};
use crate::flowapi::{CLIENT, INJECTIONS, RESULTS, every_type_has_the_same, nothing_arrived};
use crate::support::deployment::show;
use crate::support::engine::{Engine, ROLES, images, wait_for_another};
use crate::support::flowapi;
use crate::support::poll::wait;

const STACK: &str = "fk";

/// Longest wait for Airflow, which takes half a minute to start on a machine that does nothing else.
const AIRFLOW: Duration = Duration::from_secs(900);

#[test]
fn quickstart_brings_up_a_stack_that_survives_rotation_and_kills() {
    let Some(engine) = Engine::start() else { return };
    let images = images();
    let secrets = tempfile::Builder::new().prefix("fks").tempdir_in("/tmp").unwrap();
    let values = secrets.path().join("values");
    for (name, mode) in [("etl", 0o755), ("dags", 0o755), ("workflows", 0o755), ("outputs", 0o777)] {
        let open = secrets.path().join(name);
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
    }
    autoflow::workflows(&secrets.path().join("workflows"));
    // Whoever has the key of tokens makes AutoFlow's before there is a FlowAuth. That role's secrets alone: connection strings are
    // the stack's to make.
    engine.flowkit(&["secrets", "init", "--dir", values.to_str().unwrap(), "--role", "flowauth"]);
    fs::write(values.join("FLOWAPI_TOKEN"), flowapi::token(&values)).unwrap();
    let (images, values) = (images.to_str().unwrap(), values.to_str().unwrap());
    let up = Up { engine: &engine, images, secrets: values, place: secrets.path() };

    let (stdout, stderr) = up.quickstart(&["--demo", "--demo-days", "2", "--memory", "flowdb=1GiB"]);
    assert!(stderr.contains("made a swarm of this node"), "{stderr}");
    assert_eq!(stdout.matches("equal in all 70 areas").count(), 2, "{stdout}");
    let rows = up.rows();
    assert!(rows > 100_000, "{rows}");
    nothing_shows_a_secret(&up);
    stored_queries_are_counted(&up);
    limits_are_seen_inside(&up);
    let people = the_guides_example_works(&up);
    autoflow::makes_a_report(&up, &secrets.path().join("outputs"), "2016-01-02", people);
    flowapis_suite_holds(&up);

    // Again: nothing is made, nothing is restarted.
    let containers = up.containers();
    let (stdout, stderr) = up.quickstart(&["--memory", "flowdb=1GiB"]);
    assert!(stderr.contains("secrets: 0 made, 28 kept"), "{stderr}");
    assert_eq!(stdout.matches("equal in all 70 areas").count(), 2, "{stdout}");
    assert_eq!(up.containers(), containers);

    rotation_loses_nothing(&up);
    // FlowETL's and AutoFlow's restarts are `flowetl::`'s and `autoflow::`'s.
    for role in ROLES.into_iter().filter(|role| !["flowetl", "autoflow"].contains(role)) {
        kill_recovers(&up, role);
    }
    assert_eq!(up.rows(), rows);
    let (stdout, _) = engine.flowkit(&["verify", "--stack", STACK, "--day", "2016-01-01"]);
    assert_eq!(stdout.matches("equal in all 70 areas").count(), 2, "{stdout}");
    a_day_goes_through_a_dag(&up);
    stops_within_its_grace(&up, rows);
}

/// The deployment under test.
pub(super) struct Up<'a> {
    pub(super) engine: &'a Engine,
    images: &'a str,
    secrets: &'a str,
    /// Directories that containers are shown.
    place: &'a Path,
}

impl Up<'_> {
    fn quickstart(&self, more: &[&str]) -> (String, String) {
        let began = Instant::now();
        let base =
            ["quickstart", "--stack", STACK, "--images", self.images, "--secrets", self.secrets, "--with", "autoflow"];
        // FlowETL as a user that no image knows.
        let place = |name: &str| self.place.join(name).display().to_string();
        let set = [
            format!("FLOWDB_ETL_DIR={}", place("etl")),
            format!("FLOWETL_HOST_DAG_DIR={}", place("dags")),
            "FLOWETL_HOST_PORT=8080".to_owned(),
            "FLOWETL_HOST_USER_ID=12345".to_owned(),
            "FLOWETL_HOST_GROUP_ID=12345".to_owned(),
            format!("AUTOFLOW_INPUTS_DIR={}", place("workflows")),
            format!("AUTOFLOW_OUTPUTS_DIR={}", place("outputs")),
        ];
        let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let told = self.engine.flowkit(&[&base[..], &set, more].concat());
        say::tell!("quickstart {more:?}: {:.1} s\n{}{}", began.elapsed().as_secs_f64(), told.1, told.0);
        told
    }

    /// Asked of FlowDB at the port that the stack publishes, as the guide's users do.
    fn number(&self, sql: &str) -> u64 {
        let password = fs::read_to_string(Path::new(self.secrets).join("FLOWDB_POSTGRES_PASSWORD")).unwrap();
        let mut psql: Command = self.engine.on_node("psql");
        psql.args(["-h", "127.0.0.1", "-p", "9000", "-U", "flowdb", "-At", "-c", sql, "flowdb"]);
        let output = psql.env("PGPASSWORD", password.trim()).env("PGCONNECT_TIMEOUT", "10").output().unwrap();
        assert!(output.status.success(), "psql: {}", show(&output));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// Events in FlowDB.
    fn rows(&self) -> u64 {
        self.number("select (select count(*) from events.calls) + (select count(*) from events.sms)")
    }

    /// The healthy container of each role.
    fn containers(&self) -> Vec<Option<String>> {
        ROLES.map(|role| self.engine.container_of(&service(role))).to_vec()
    }

    pub(super) fn container(&self, role: &str) -> String {
        self.engine.container_of(&service(role)).unwrap_or_else(|| panic!("{role} is not healthy"))
    }
}

fn service(role: &str) -> String {
    format!("{STACK}_{role}")
}

/// Neither services nor containers, nor anything that the engine tells of them, hold a value.
fn nothing_shows_a_secret(up: &Up) {
    let containers = up.engine.docker(&["ps", "--quiet"]);
    let mut told = ROLES.map(|role| up.engine.docker(&["service", "inspect", &service(role)])).concat();
    for container in containers.lines() {
        told += &up.engine.docker(&["inspect", container]);
        told += &up.engine.docker(&["top", container, "-eo", "pid,args"]);
        told += &show(&up.engine.try_docker(&["logs", container]));
    }
    assert!(told.contains("FLOWDB_POSTGRES_PASSWORD"), "secrets are named");
    for file in fs::read_dir(up.secrets).unwrap() {
        let path = file.unwrap().path();
        // Names of users are no secrets worth the word.
        if path.to_str().unwrap().ends_with("PASSWORD") {
            let value = fs::read_to_string(&path).unwrap();
            assert!(!told.contains(value.trim()), "{} is shown", path.display());
        }
    }
}

/// What FlowMachine's server stored is in pg_stat_statements, with the days that it was asked about left out; and the image has
/// the extension for other people's SQL Server.
fn stored_queries_are_counted(up: &Up) {
    let stored = "from pg_stat_statements where query like 'EXPLAIN % CREATE TABLE cache.%'";
    assert_ne!(up.number(&format!("select count(*) {stored}")), 0);
    assert_eq!(up.number(&format!("select count(*) {stored} and strpos(query, '2016-01-') > 0")), 0);
    assert_eq!(up.number("select count(*) from pg_extension where extname = 'tds_fdw'"), 1);
}

/// FlowDB is tuned to the container's memory, not the node's.
fn limits_are_seen_inside(up: &Up) {
    let plan = ["exec", &up.container("flowdb"), "/bin/flowkit", "tune", "--dir", "/dev/shm/flowkit"];
    let plan = up.engine.docker(&plan);
    let memory = plan.lines().find(|line| line.starts_with("memory")).unwrap();
    assert!(memory.contains("1024 MiB") || memory.contains("1 GiB") || memory.contains("1.0 GiB"), "{memory}");
    assert!(memory.contains("cgroup"), "{memory}");
}

/// From the node itself, at the port that the guide names; gives the people on the last day.
fn the_guides_example_works(up: &Up) -> u64 {
    let (secrets, python) = (Path::new(up.secrets), flowapi::python());
    let node = || up.engine.on_node(python.to_str().unwrap());
    let told = flowapi::guide(node(), 9090, &flowapi::token(secrets), &secrets.join("cert-flowkit.pem")).unwrap();
    assert_eq!(told["days"].as_array().unwrap().len(), 2, "{told}");
    let people = told["people"].as_u64().unwrap();
    assert!(people > 15_000, "{told}");
    people
}

/// What holds before a FlowMachine of a test's own.
fn flowapis_suite_holds(up: &Up) {
    let asked = |program: &str| {
        let (node, text) = (up.engine.on_node(flowapi::python().to_str().unwrap()), format!("{CLIENT}{program}"));
        flowapi::printed(&mut flowapi::told(node, &text, 9090, Path::new(up.secrets)))
            .unwrap_or_else(|why| panic!("{why}"))
    };
    every_type_has_the_same(&asked(&format!("DAY = 1\n{RESULTS}")));
    let told = asked(INJECTIONS);
    let logs = ["flowmachine", "flowdb"].map(|role| show(&up.engine.try_docker(&["logs", &up.container(role)])));
    nothing_arrived(&told, &logs);
}

/// A new password for FlowMachine: FlowDB takes it over at its restart, FlowMachine logs in with it, the old one is dead.
fn rotation_loses_nothing(up: &Up) {
    let before = up.rows();
    let (containers, began) = (up.containers(), Instant::now());
    let name = "FLOWMACHINE_FLOWDB_PASSWORD";
    let rotate = ["secrets", "swarm", "--rotate", name, "--stack", STACK, "--dir", up.secrets, "--update"];
    let (stdout, _) = up.engine.flowkit(&rotate);
    assert_eq!(stdout, format!("updated  {}\nupdated  {}\n", service("flowdb"), service("flowmachine")));
    say::tell!("rotation of {name}: {:.1} s", began.elapsed().as_secs_f64());
    let after = up.containers();
    assert_ne!((&containers[0], &containers[2]), (&after[0], &after[2]));
    assert_eq!(containers[1], after[1], "redis has nothing to do with it");
    assert_eq!(up.rows(), before);
    // A deployment that follows keeps the new version.
    let format = "{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{.SecretName}} {{end}}";
    let held = || up.engine.docker(&["service", "inspect", "--format", format, &service("flowmachine")]);
    assert!(held().contains("FLOWMACHINE_FLOWDB_PASSWORD_v2"), "{}", held());
    up.quickstart(&["--memory", "flowdb=1GiB"]);
    assert!(held().contains("FLOWMACHINE_FLOWDB_PASSWORD_v2"), "{}", held());
}

/// kill -9 of a container's first process: Swarm starts another, and everything is as it was.
fn kill_recovers(up: &Up, role: &str) {
    let (before, began) = (up.container(role), Instant::now());
    up.engine.docker(&["kill", "--signal", "KILL", &before]);
    wait_for_another(up.engine, &service(role), &before);
    wait(AIRFLOW, "every role healthy", || up.containers().iter().all(Option::is_some));
    say::tell!("kill -9 of {role}: all healthy again in {:.1} s", began.elapsed().as_secs_f64());
}

/// A file that was delivered, by the DAG that is written for such files, in FlowETL's container; and a burglar among the tasks there:
/// who writes DAG files could be one.
fn a_day_goes_through_a_dag(up: &Up) {
    let (began, day) = (Instant::now(), up.place.join("etl/mds_20160301.csv"));
    let lines = (0..20).map(|i| format!("{i},2016-03-01T{i:02}:15:00Z,m{i},c{},{i}.5\n", i % 7));
    fs::write(&day, "id,datetime,msisdn,location_id,volume_total\n".to_owned() + &lines.collect::<String>()).unwrap();
    let new = ["etl", "new", "mds", "--csv", day.to_str().unwrap(), "--directory", "/etl"];
    let (dag, _) = up.engine.flowkit(&new);
    // One day, at once; the checks, half of its tasks, are `flowetl::`'s.
    let shorter = "    end_date=datetime(2016, 3, 1),\n    flux_check_wait_interval=1,\n    cluster_field=";
    assert!(dag.contains("    cluster_field="), "{dag}");
    let dag = dag.replace("    cluster_field=", shorter);
    let unchecked = "import flowetl.util\nflowetl.util.get_qa_checks = lambda **_: []\n";
    burglary::among_tasks(&up.place.join("dags"), Path::new(up.secrets), &held(up, "flowetl"));
    fs::write(up.place.join("dags/mds.py"), format!("{unchecked}{dag}\ndag.is_paused_upon_creation = False\n"))
        .unwrap();

    let ingested = "select count(*) from etl.etl_records where state = 'ingested' and cdr_date = '2016-03-01'";
    wait(AIRFLOW, "the day is ingested", || up.number(ingested) == 1);
    assert_eq!(up.number("select count(*) from events.mds_20160301"), 20);
    say::tell!("a day through FlowETL's container: {:.1} s", began.elapsed().as_secs_f64());
    let mut got = burglary::of_container(up.engine, &up.container("flowetl"), "dev/shm/flowkit/flowetl", AIRFLOW);
    // Whom it signals are who watch over other tasks beside it: Airflow lets nobody look at them, so that it takes them for strangers.
    got.retain(|what| !what.starts_with("signals: "));
    // What it takes for FlowDB's files is the database of its own container, and of its own user; FlowDB is what the role may ask.
    assert_eq!(got, ["FlowDB's files: /var/lib/postgresql/data", "others' ports: flowdb:5432"]);
    // From the node itself, at the port that was asked for.
    let ask =
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/api/v2/monitor/health').read().decode())";
    let health = up.engine.on_node("/usr/bin/python3").args(["-Ic", ask]).output().unwrap();
    let parts = String::from_utf8_lossy(&health.stdout).matches("\"healthy\"").count();
    assert_eq!(parts, 4, "{}", show(&health));
}

/// The names of a service's secrets.
fn held(up: &Up, role: &str) -> Vec<String> {
    let told = up.engine.docker(&["service", "inspect", "--format", burglary::HELD, &service(role)]);
    told.split_whitespace().map(str::to_owned).collect()
}

/// Scaled to none, FlowDB gets SIGTERM and its grace; it ends by itself, and starts again with its data.
fn stops_within_its_grace(up: &Up, rows: u64) {
    let (container, service, began) = (up.container("flowdb"), service("flowdb"), Instant::now());
    up.engine.docker(&["service", "scale", "--detach", &format!("{service}=0")]);
    wait(Duration::from_secs(125), "FlowDB has stopped", || {
        up.engine.docker(&["inspect", "--format", "{{.State.Status}}", &container]) == "exited"
    });
    let code = up.engine.docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
    assert_eq!(code, "0", "after {:?}\n{}", began.elapsed(), show(&up.engine.try_docker(&["logs", &container])));
    up.engine.docker(&["service", "scale", "--detach", &format!("{service}=1")]);
    wait(Duration::from_secs(120), "FlowDB is back", || up.engine.container_of(&service).is_some());
    assert_eq!(up.rows(), rows);
}
