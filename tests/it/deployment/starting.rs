//! How it starts, or says why not: killed meanwhile, twice at once, by mistake, in odd places.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};

use super::{refused, text};
use crate::support::deployment::{Deployment, kill, show};
use crate::support::poll::wait;
use crate::support::ports::free_port;

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

/// Whatever has begun by then is stopped in order; what has not is not begun.
#[test]
fn who_interrupts_a_foreground_up_at_any_moment_leaves_nothing_running() {
    let deployment = Deployment::new();
    let begun = || deployment.log().len();
    let (mut in_order, mut at_once) = (0, 0);
    // The first makes the secrets; some come to where all is ready.
    let asks = [Signal::INT, Signal::QUIT].into_iter().cycle();
    for (millis, signal) in [0, 10, 400, 30, 60, 100, 150, 250, 900, 2500].into_iter().zip(asks) {
        let before = begun();
        let mut up = deployment.command(&["up", "--role", "flowdb", "--role", "redis"]);
        let up = up.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        kill_process(Pid::from_child(&up), signal).unwrap();
        let output = up.wait_with_output().unwrap();
        if output.status.signal() == Some(signal.as_raw()) {
            at_once += 1;
            assert_eq!(begun(), before, "after {millis} ms it had begun: {}", show(&output));
            wait(Duration::from_secs(5), "nothing left", || deployment.processes().is_empty());
            continue;
        }
        in_order += 1;
        assert_eq!(output.status.code(), Some(128 + signal.as_raw()), "after {millis} ms: {}", show(&output));
        assert!(text(&output.stderr).ends_with("everything has stopped\n"), "after {millis} ms: {}", show(&output));
        assert_eq!(deployment.processes(), Vec::<u32>::new(), "after {millis} ms");
    }
    assert!(at_once > 0 && in_order > 0, "{at_once} at once, {in_order} in order");
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

/// What was written into the settings file since is for the next start.
#[test]
fn what_runs_is_found_and_stopped_whatever_the_settings_file_says_by_now() {
    let mut deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "flowdb"]);
    let [port, ..] = deployment.ports;
    deployment.ports[0] = free_port();
    deployment.configure("FLOWDB_TOTAL_MEMORY = \"700MB\"\n");
    deployment.done(&["db", "user", "list"]);
    let tuned = deployment.done(&["tune"]);
    assert!(tuned.contains("700 MiB"), "{tuned}");
    deployment.configure("CACHE_SIZ = 5\n");
    refused(&deployment.flowkit(&["db", "user", "list"]), &["CACHE_SIZ", "flowkit.toml"]);
    let status = deployment.status().expect("it runs");
    assert_eq!(status["facts"]["settings"]["FLOWDB_PORT"], port.to_string());
    deployment.done(&["health", "flowdb"]);
    deployment.done(&["down"]);
    assert_eq!(deployment.processes(), Vec::<u32>::new());
}

#[test]
fn mistakes_are_one_clear_error_each() {
    let deployment = Deployment::new();
    let up = |args: &[&str]| deployment.flowkit(&[&["up", "--detach"], args].concat());

    let nothing_runs = show(&deployment.flowkit(&["verify"]));
    assert!(nothing_runs.contains("hint: `flowkit status` shows whether it runs"), "{nothing_runs}");
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
        let run = |cwd: &Path, path: &Path, args: &[&str]| {
            let mut command = Command::new(deployment.state().parent().unwrap().join("flowkit"));
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
        let name = Path::new(dir.file_name().unwrap());
        run(&deployment.state(), name, &[&["up", "--detach"], roles].concat());
        run(&dir, Path::new("."), &["health"]);
        if !redis_alone {
            run(&dir, Path::new("."), &["db", "user", "list"]);
        }
        run(&dir, &dir.join("../").join(name), &["down"]);
    }

    for (name, why) in [
        (&b"x\xffy"[..], "is not UTF-8"),
        (b"x\ny", "control character"),
        (b"x\xe2\x80\x8by", "not seen"),
        (b"[x]", "redis takes for a pattern"),
    ] {
        let path = deployment.state().join(OsStr::from_bytes(name));
        let mut command = Command::new(deployment.state().parent().unwrap().join("flowkit"));
        let output = command.args(["up", "--detach", "--dir"]).arg(&path).env_clear().output().unwrap();
        refused(&output, &["the state directory's path", why]);
        assert!(!path.exists(), "nothing was made");
    }
}

/// As root, gives files to the user of a role, which is there once the role was started.
fn give_to_role(paths: &[&Path], role: &str) {
    if rustix::process::geteuid().is_root() {
        Deployment::new().done(&["up", "--detach", "--role", role]);
        let user = format!("flowkit-{role}");
        let done = Command::new("chown").arg(format!("{user}:{user}")).args(paths).status();
        assert!(done.unwrap().success());
    }
}
