//! A burglar (`examples/burglar.rs`) in the place of each role's program in the stack, with what Swarm gives the role and no more.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::engine::{Engine, images};
use crate::support::poll::wait;

/// Roles and the setting that names their program, those first that wait for others: FlowMachine for FlowDB and redis.
const ROLES: [(&str, &str); 5] = [
    ("redis", "FLOWKIT_REDIS_SERVER"),
    ("flowauth", "FLOWKIT_FLOWAUTH_SERVER"),
    ("flowapi", "FLOWKIT_FLOWAPI_SERVER"),
    ("flowmachine", "FLOWKIT_PYTHON"),
    ("flowdb", "FLOWKIT_POSTGRES_BIN"),
];

/// Where containers have it, in `bin`.
const PLACE: &str = "/burglar";

/// A stack of its own: a role that has been broken into serves nobody.
#[test]
fn a_burglar_in_a_container_gets_nothing_of_others_and_without_walls_all() {
    let Some(engine) = Engine::start() else { return };
    let (images, dir) = (images(), tempfile::Builder::new().prefix("fks").tempdir_in("/tmp").unwrap());
    let (stack, secrets) = ("fk", dir.path().join("values"));
    let mut quickstart = vec!["quickstart", "--stack", stack, "--images", images.to_str().unwrap()];
    quickstart.extend(["--secrets", secrets.to_str().unwrap()]);
    quickstart.extend(ROLES.iter().flat_map(|(role, _)| ["--role", role]));
    engine.flowkit(&quickstart);
    gets_it_all_without_walls(&engine, stack, &secrets);
    gets_nothing(&engine, stack, &secrets);
}

/// One role after the other.
fn gets_nothing(engine: &Engine, stack: &str, secrets: &Path) {
    for (role, setting) in ROLES {
        let service = format!("{stack}_{role}");
        let own = engine.docker(&["service", "inspect", "--format", HELD, &service]);
        let own: Vec<&str> = own.split_whitespace().collect();
        let all = fs::read_dir(secrets).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let others: Vec<String> = all.filter(|name| !own.contains(&name.as_str())).collect();
        assert!(!others.is_empty(), "{role} holds all secrets: {own:?}");
        // Who is in a network with it: FlowMachine asks for no password, and FlowDB is what FlowMachine may ask; what else listens
        // beside FlowDB is not for FlowAPI, nor what listens beside FlowAPI for FlowAuth.
        let neighbour = [("flowapi", "flowdb"), ("flowauth", "flowapi")].iter().find(|(own, _)| *own == role);
        let stranger = neighbour.map(|(_, other)| Stranger::beside(engine, &format!("{stack}_{other}")));
        let (port, may) = match role {
            "redis" => (Some(listener(engine, stack, role, ("flowmachine", 5555))), false),
            "flowapi" => (Some(listener(engine, stack, role, ("flowdb", Stranger::PORT))), false),
            "flowauth" => (Some(listener(engine, stack, role, ("flowapi", Stranger::PORT))), false),
            "flowmachine" => (Some(listener(engine, stack, role, ("flowdb", 5432))), true),
            _ => (None, false),
        };
        let kit = Kit::new(others.iter().map(|name| format!("/run/secrets/{name}")), port.as_deref());
        let mut program = format!("{PLACE}/bin/burglar");
        if role == "flowdb" {
            kit.stand_for_postgres(engine, &service);
            program = format!("{PLACE}/bin");
        }
        let env = format!("{setting}={program}");
        let mounts = kit.mounts();
        let mut update = vec!["service", "update", "--detach", "--env-add", &env];
        update.extend(mounts.iter().flat_map(|mount| ["--mount-add", mount]));
        update.push(&service);
        engine.docker(&update);
        let (got, root) = burglary(engine, &service, &format!("dev/shm/flowkit/{role}"));
        let port = port.filter(|_| may).map(|port| format!("others' ports: {port}"));
        // What it takes for FlowDB's files is the database of its own container, and of its own user.
        let files = (role == "flowauth").then(|| "FlowDB's files: /var/lib/postgresql/data".to_owned());
        let right: Vec<String> = port.into_iter().chain(files).collect();
        drop(stranger);
        assert_eq!(got, right, "{role}");
        // Its own are there: the place where it looked for others' is the right one.
        let mut held: Vec<String> = names(&root.join("run/secrets"));
        let mut own: Vec<String> = own.into_iter().map(str::to_owned).collect();
        held.sort();
        own.sort();
        assert_eq!(held, own, "{role}");
        if ["redis", "flowauth"].contains(&role) {
            engine.docker(&["service", "rollback", "--detach", &service]);
            wait(Duration::from_secs(120), &format!("{role} is back"), || engine.container_of(&service).is_some());
        }
    }
}

/// Somebody who listens in the network of a service's container.
struct Stranger(std::process::Child);

impl Stranger {
    const PORT: u16 = 7000;

    fn beside(engine: &Engine, service: &str) -> Stranger {
        let container = engine.container_of(service).expect("it is healthy");
        let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", &container]);
        let listens = format!(
            "import socket, time; s = socket.create_server(('', {})); print(flush=True); time.sleep(1e6)",
            Self::PORT
        );
        let mut stands = Command::new("nsenter");
        stands.arg(format!("--net=/proc/{pid}/ns/net")).args(["/usr/bin/python3", "-Ic", &listens]);
        let mut stands = stands.stdout(std::process::Stdio::piped()).spawn().expect("nsenter of util-linux");
        let said = stands.stdout.as_mut().unwrap().read(&mut [0; 1]).unwrap();
        assert_eq!(said, 1, "it does not listen");
        Stranger(stands)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Where a role listens in a network that `from` is in, too: whoever is in `from`'s container could connect to it.
fn listener(engine: &Engine, stack: &str, from: &str, (role, port): (&str, u16)) -> String {
    // Who has just lost a neighbour may be ill for a while.
    let container = |role: &str| -> String {
        let (mut found, service) = (None, format!("{stack}_{role}"));
        wait(Duration::from_secs(240), &format!("{service} is healthy"), || {
            found = engine.container_of(&service);
            found.is_some()
        });
        found.unwrap()
    };
    let format = "{{range $name, $at := .NetworkSettings.Networks}}{{$name}} {{$at.IPAddress}}{{println}}{{end}}";
    let networks = |role: &str| -> BTreeMap<String, String> {
        let told = engine.docker(&["inspect", "--format", format, &container(role)]);
        told.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, at)| (name.to_owned(), at.to_owned()))
            .collect()
    };
    let own = networks(from);
    let shared = networks(role).into_iter().find(|(name, at)| own.contains_key(name) && !at.is_empty());
    let (_, at) = shared.unwrap_or_else(|| panic!("{from} and {role} share no network"));
    let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", &container(from)]);
    let mut knock = Command::new("nsenter");
    knock.arg(format!("--net=/proc/{pid}/ns/net")).args(["bash", "-c", &format!("</dev/tcp/{at}/{port}")]);
    assert!(knock.status().unwrap().success(), "{role} is not reached from {from} at {at}:{port}");
    format!("{at}:{port}")
}

/// The names by which a service's secrets are files.
pub(super) const HELD: &str = "{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{.File.Name}} {{end}}";

/// Root with all that an engine can give, beside FlowDB: gets everything that the burglar tries.
fn gets_it_all_without_walls(engine: &Engine, stack: &str, secrets: &Path) {
    let kit = Kit::new(["/run/secrets/FLOWDB_POSTGRES_PASSWORD".to_owned()], Some("127.0.0.1:5432"));
    let state = HostsState::new();
    let beside = engine.container_of(&format!("{stack}_flowdb")).expect("FlowDB is healthy");
    let image = format!("flowkit/redis:{}", env!("CARGO_PKG_VERSION"));
    let place = |kind: &str| format!("--{kind}=container:{beside}");
    let volume = |from: &Path, to: &str| format!("--volume={}:{to}", from.display());
    let socket = Path::new("/run/docker.sock");
    let mut run: Vec<String> = [
        "run",
        "--detach",
        "--tty",
        "--cap-add=SYS_PTRACE",
        "--security-opt=seccomp=unconfined",
        "--user=0",
        "--name=burglar",
    ]
    .map(str::to_owned)
    .into();
    run.extend([
        place("pid"),
        place("network"),
        "--env=FLOWDB_PORT=9000".into(),
        "--workdir=/state/flowmachine".into(),
    ]);
    run.extend([volume(secrets, "/run/secrets"), volume(state.dir.path(), "/var/lib/flowkit")]);
    run.extend([volume(&engine.socket(), socket.to_str().unwrap()), format!("--entrypoint={PLACE}/bin/burglar")]);
    run.extend(kit.volumes());
    run.push(image);
    engine.docker(&run.iter().map(String::as_str).collect::<Vec<_>>());
    let got = of_container(engine, "burglar", "state/flowmachine", Duration::from_secs(60));
    engine.docker(&["rm", "--force", "burglar"]);
    assert_eq!(got.len(), 18, "{got:#?}");
}

/// What the burglar says that it got in a container of a service, and that container's root directory.
fn burglary(engine: &Engine, service: &str, directory: &str) -> (Vec<String>, PathBuf) {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let mut found = None;
    wait(Duration::from_secs(240), &format!("the burglary in {service}"), || {
        let containers = engine.docker(&["ps", "--quiet", "--filter", &filter]);
        found = containers.lines().find_map(|container| look(engine, container, directory));
        found.is_some()
    });
    found.unwrap()
}

/// Puts it among the DAG files, to be run by a task: with its own libraries, as FlowETL's image has others.
pub(super) fn among_tasks(dags: &Path, secrets: &Path, own: &[String]) {
    let others = names(secrets).into_iter().filter(|name| !own.contains(name));
    let kit = Kit::new(others.map(|name| format!("/run/secrets/{name}")), Some("flowdb:5432"));
    let place = dags.join("burglar");
    fs::create_dir(&place).unwrap();
    for (from, to) in kit.places().into_iter().filter(|(from, _)| from.is_file()) {
        fs::copy(from, place.join(Path::new(&to).file_name().unwrap())).unwrap();
    }
    fs::copy(burglar(), place.join("burglar")).unwrap();
    let told = fs::read_to_string(kit.0.path().join("bin/others")).unwrap();
    fs::write(place.join("others"), told + "leave\n").unwrap();
    let loader =
        names(&place).into_iter().find(|name| name.starts_with("ld-linux")).expect("the loader of the burglar");
    fs::write(dags.join("burglar.py"), TASK.replace("LOADER", &loader)).unwrap();
}

const TASK: &str = r#"
import subprocess
from datetime import datetime
from airflow.sdk import dag, task

PLACE = "/opt/airflow/dags/burglar"

@dag(schedule="@once", start_date=datetime(2016, 1, 1), is_paused_upon_creation=False)
def burglar():
    @task
    def burgle():
        command = [f"{PLACE}/LOADER", "--library-path", PLACE, f"{PLACE}/burglar"]
        subprocess.run(command, cwd="/dev/shm/flowkit/flowetl", check=True)

    burgle()

burglar()
"#;

/// What it says that it got in a container that has been there all the time.
pub(super) fn of_container(engine: &Engine, container: &str, directory: &str, patience: Duration) -> Vec<String> {
    let mut found = None;
    wait(patience, "the burglary", || {
        found = look(engine, container, directory);
        found.is_some()
    });
    found.unwrap().0
}

fn look(engine: &Engine, container: &str, directory: &str) -> Option<(Vec<String>, PathBuf)> {
    // It may have ended since.
    let pid = engine.try_docker(&["inspect", "--format", "{{.State.Pid}}", container]).stdout;
    let root = PathBuf::from(format!("/proc/{}/root", String::from_utf8(pid).unwrap().trim()));
    let text = fs::read_to_string(root.join(directory).join("burglary")).ok()?;
    assert_eq!(text.lines().count(), 18, "{text}");
    Some((text.lines().filter_map(|line| line.strip_prefix("got ")).map(str::to_owned).collect(), root))
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The burglar, what it is told, and the libraries that no image of ours has.
struct Kit(tempfile::TempDir);

impl Kit {
    fn new(secrets: impl IntoIterator<Item = String>, port: Option<&str>) -> Kit {
        let dir = tempfile::Builder::new().prefix("fkb").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::copy(burglar(), dir.path().join("bin/burglar")).unwrap();
        let secrets = secrets.into_iter().map(|path| format!("secret {path}\n"));
        let port = port.map(|address| format!("port {address}\n"));
        let told: String = ["alone\n".to_owned()].into_iter().chain(secrets).chain(port).collect();
        fs::write(dir.path().join("bin/others"), told).unwrap();
        Kit(dir)
    }

    /// What is mounted where.
    fn places(&self) -> Vec<(PathBuf, String)> {
        let linked = Command::new("ldd").arg(burglar()).output().expect("ldd of libc-bin").stdout;
        let linked = String::from_utf8(linked).unwrap();
        let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
        let libraries = libraries.map(|path| (fs::canonicalize(path).unwrap(), path.to_owned()));
        libraries.chain([(self.0.path().to_owned(), PLACE.to_owned())]).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let mount =
            |(from, to): &(PathBuf, String)| format!("type=bind,source={},target={to},readonly", from.display());
        self.places().iter().map(mount).collect()
    }

    fn volumes(&self) -> Vec<String> {
        self.places().iter().map(|(from, to)| format!("--volume={}:{to}", from.display())).collect()
    }

    /// Makes it a directory of PostgreSQL's programs in which the burglar is the server.
    fn stand_for_postgres(&self, engine: &Engine, service: &str) {
        let bin = self.0.path().join("bin");
        let container = engine.container_of(service).expect("it is healthy");
        let env = engine.docker(&["inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", &container]);
        let real = env.lines().find_map(|line| line.strip_prefix("FLOWKIT_POSTGRES_BIN=")).unwrap();
        let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", &container]);
        for program in names(Path::new(&format!("/proc/{pid}/root{real}"))) {
            if program != "postgres" {
                symlink(format!("{real}/{program}"), bin.join(program)).unwrap();
            }
        }
        // The sign of PostGIS, which is looked for beside.
        let extensions = self.0.path().join("share/postgresql/extension");
        fs::create_dir_all(&extensions).unwrap();
        fs::write(extensions.join("postgis.control"), "").unwrap();
        let server = bin.join("postgres");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *listen_addresses=*) exec {PLACE}/bin/burglar ;; *) exec {real}/postgres \"$@\" ;; esac\n"
        );
        fs::write(&server, script).unwrap();
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn burglar() -> PathBuf {
    crate::supervisor::rig::example("burglar")
}

/// What an operator may have of FlowKit on the host itself, open to whoever is shown it.
struct HostsState {
    dir: tempfile::TempDir,
}

impl HostsState {
    fn new() -> HostsState {
        let dir = tempfile::Builder::new().prefix("fkh").tempdir_in("/tmp").unwrap();
        for place in ["secrets", "credentials/flowdb", "flowdb/run", "redis"] {
            fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        for file in ["flowkit.toml", "secrets/S", "credentials/flowdb/S"] {
            fs::write(dir.path().join(file), "S").unwrap();
        }
        for socket in ["flowdb/run/.s.PGSQL.9000", "flowdb/run/control.sock"] {
            let listener = UnixListener::bind(dir.path().join(socket)).unwrap();
            // It ends with the test.
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let answered = stream.and_then(|mut stream| {
                        let _ = stream.read(&mut [0; 64])?;
                        stream.write_all(b"{}\n")
                    });
                    let _ = answered;
                }
            });
        }
        HostsState { dir }
    }
}
