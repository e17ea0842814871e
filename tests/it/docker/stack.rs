//! A stack on a swarm of one node, from the guide's first scenario to the complete one: each up by one command, verified, rotated, killed, and none
//! the worse for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::scenarios::Outside;
use super::{autoflow, burglary, scenarios};
use crate::flowapi::{CLIENT, INJECTIONS, RESULTS, every_type_has_the_same, nothing_arrived};
use crate::support::deployment::show;
use crate::support::engine::{Engine, ROLES, images, wait_for_another};
use crate::support::flowapi;
use crate::support::poll::wait;

pub(super) const STACK: &str = "fk";

/// Longest wait for Airflow, which takes half a minute to start on a machine that does nothing else.
pub(super) const AIRFLOW: Duration = Duration::from_secs(900);

/// The days that come as files: one before the invented ones, and one after them, which AutoFlow makes a report of.
const FIRST: &str = "2015-12-31";
const LAST: &str = "2016-03-01";

#[test]
fn a_stack_grows_from_scenario_to_scenario_and_survives_rotation_and_kills() {
    let Some(engine) = Engine::start() else { return };
    let images = images();
    let place = tempfile::Builder::new().prefix("fks").tempdir_in("/tmp").unwrap();
    let secrets = place.path().join("fk/secrets");
    for (name, mode) in [("etl", 0o755), ("dags", 0o755), ("workflows", 0o755), ("outputs", 0o777)] {
        let open = place.path().join(name);
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
    }
    autoflow::workflows(&place.path().join("workflows"), LAST);
    // As for a plain host.
    fs::create_dir(place.path().join("fk")).unwrap();
    engine.flowkit(&["secrets", "init", "--dir", secrets.to_str().unwrap()]);
    let outside = Outside::trusted_by(&engine, &images, &secrets);
    let (images, secrets) = (images.to_str().unwrap(), secrets.to_str().unwrap());
    let up = Up { engine: &engine, images, secrets, place: place.path() };

    let (_, stderr) = up.quickstart(&["--scenario", "flowdb-etl"]);
    assert!(stderr.contains("made a swarm of this node"), "{stderr}");
    assert!(stderr.contains("AIRFLOW_CONN_FLOWDB leads to this host itself"), "{stderr}");
    a_file_and_a_burglar_go_through_dags(&up);

    let before = [up.container("flowdb"), up.container("flowetl")];
    scenarios::what_is_left_over_is_told_of(&up, || up.quickstart(&["--scenario", "library"]).1);
    scenarios::analysts_share_what_they_store(&up, FIRST);

    let (stdout, _) = up.quickstart(&["--demo", "--demo-days", "2"]);
    assert_eq!(stdout.matches("equal in all 70 areas").count(), 2, "{stdout}");
    assert_eq!([up.container("flowdb"), up.container("flowetl")], before, "they went on all the time");
    let rows = up.rows();
    assert!(rows > 100_000, "{rows}");
    stored_queries_are_counted(&up);
    limits_are_seen_inside(&up);
    the_guides_example_works(&up);
    flowapis_suite_holds(&up);

    // Again with AutoFlow: what is there is neither made nor restarted.
    let containers = up.containers();
    autoflow::is_enrolled(&up);
    let (stdout, stderr) = up.quickstart(&["--with", "autoflow"]);
    assert!(stderr.contains("secrets: 1 made, 27 kept"), "{stderr}");
    assert_eq!(stdout.matches("equal in all 70 areas").count(), 2, "{stdout}");
    assert_eq!(up.containers()[..6], containers[..6]);
    nothing_shows_a_secret(&up);
    autoflow::has_a_token_of_its_own(&up);
    // One that is put there by hand counts more; the next deployment hands it out.
    fs::write(Path::new(secrets).join("FLOWAPI_TOKEN"), flowapi::token(Path::new(secrets))).unwrap();

    rotation_loses_nothing(&up);
    // FlowETL's and AutoFlow's restarts are `flowetl::`'s and `autoflow::`'s.
    for role in ROLES.into_iter().filter(|role| !["flowetl", "autoflow"].contains(role)) {
        kill_recovers(&up, role);
    }
    assert_eq!(up.rows(), rows);
    let (stdout, _) = engine.flowkit(&["verify", "--stack", STACK, "--day", "2016-01-01"]);
    assert_eq!(stdout.matches("equal in all 70 areas").count(), 2, "{stdout}");

    let cells = autoflow::cells(&up);
    scenarios::calls(LAST, &cells).goes_through_a_dag(&up);
    autoflow::makes_a_report(&up, &place.path().join("outputs"), LAST, &cells);
    outside.gives_tokens_that_are_good_inside(&up, images);
    stops_within_its_grace(&up, up.rows());
}

/// The deployment under test.
pub(super) struct Up<'a> {
    pub(super) engine: &'a Engine,
    images: &'a str,
    pub(super) secrets: &'a str,
    /// Directories that containers are shown, and `fk`, in which the secrets are.
    pub(super) place: &'a Path,
}

impl Up<'_> {
    fn quickstart(&self, more: &[&str]) -> (String, String) {
        let began = Instant::now();
        let base = ["quickstart", "--stack", STACK, "--images", self.images, "--secrets", self.secrets];
        let base = [&base[..], &["--memory", "flowdb=1GiB"]].concat();
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
    pub(super) fn number(&self, sql: &str) -> u64 {
        self.asked(sql).parse().unwrap()
    }

    /// The same, whatever the answer is.
    pub(super) fn asked(&self, sql: &str) -> String {
        let password = fs::read_to_string(Path::new(self.secrets).join("FLOWDB_POSTGRES_PASSWORD")).unwrap();
        let mut psql: Command = self.engine.on_node("psql");
        psql.args(["-h", "127.0.0.1", "-p", "9000", "-U", "flowdb", "-At", "-c", sql, "flowdb"]);
        let output = psql.env("PGPASSWORD", password.trim()).env("PGCONNECT_TIMEOUT", "10").output().unwrap();
        assert!(output.status.success(), "psql: {}", show(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
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

pub(super) fn service(role: &str) -> String {
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
        if ["PASSWORD", "KEY"].iter().any(|end| path.to_str().unwrap().ends_with(end)) {
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

/// From the node itself, at the port that the guide names.
fn the_guides_example_works(up: &Up) {
    let (secrets, python) = (Path::new(up.secrets), flowapi::python());
    let node = || up.engine.on_node(python.to_str().unwrap());
    let told = flowapi::guide(node(), 9090, &flowapi::token(secrets), &secrets.join("cert-flowkit.pem")).unwrap();
    assert_eq!(told["days"].as_array().unwrap().len(), 2, "{told}");
    let people = told["people"].as_u64().unwrap();
    assert!(people > 15_000, "{told}");
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
    up.quickstart(&["--with", "autoflow"]);
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

/// A file that was delivered, and a burglar among the tasks that load such files: who writes DAG files could be one.
fn a_file_and_a_burglar_go_through_dags(up: &Up) {
    burglary::among_tasks(&up.place.join("dags"), Path::new(up.secrets), &held(up, "flowetl"));
    scenarios::mobile_data(FIRST).goes_through_a_dag(up);
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
