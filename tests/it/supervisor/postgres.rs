//! PostgreSQL under the supervisor: ended as its manual asks, and found whole after the worst.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, kill, pid, until};
use supervisor::{Status, client};

/// PostgreSQL refuses root, so it runs as the user `nobody` of every Linux.
const NOBODY: u32 = 65534;

/// The newest one installed.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: run `make setup`").flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin/{name}", newest.expect("a version: run `make setup`")))
}

fn as_nobody(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// A cluster of its own under the supervisor, not started.
fn rig(options: &str, budget_ms: u64) -> Rig {
    let user = rustix::process::geteuid().is_root().then_some([NOBODY, NOBODY]);
    let mut command = vec![program("postgres").display().to_string()];
    command.extend(["-D", "@/pg/data", "-k", "@/pg", "-h", ""].map(str::to_owned));
    command.extend(options.split_terminator('&').flat_map(|option| ["-c".to_owned(), option.to_owned()]));
    let service = json!({
        "name": "db", "command": command, "user": user, "dir": "@/pg", "ready": { "postgres": "@/pg/.s.PGSQL.5432" },
        "stop": [[libc::SIGINT, 60_000], [libc::SIGQUIT, 5000]], "env": { "PATH": "/usr/bin:/bin", "LC_ALL": "C" },
    });
    let rig = Rig::with(json!([service]), json!({ "budget_ms": budget_ms }));
    fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::create_dir(rig.path("pg")).expect("made");
    if rustix::process::geteuid().is_root() {
        chown(rig.path("pg"), Some(NOBODY), Some(NOBODY)).expect("given");
    }
    let mut initdb = Command::new(program("initdb"));
    initdb.args(["--no-sync", "-A", "trust", "-U", "postgres", "-D"]).arg(rig.path("pg/data")).stdout(Stdio::null());
    assert!(as_nobody(initdb.current_dir("/")).status().expect("initdb").success());
    rig
}

fn psql(rig: &Rig, sql: &str) -> Command {
    let mut command = Command::new(program("psql"));
    command.args(["-X", "-At", "-U", "postgres", "-h"]).arg(rig.path("pg")).args(["-c", sql, "postgres"]);
    command
}

fn query(rig: &Rig, sql: &str) -> String {
    let done = psql(rig, sql).output().expect("psql");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// A client in the middle of a query that takes hours.
fn busy(rig: &Rig) -> Child {
    let mut command = psql(rig, "select count(*) from generate_series(1, 1000000000000)");
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql");
    let running = "select count(*) from pg_stat_activity where state = 'active' and query like '%generate_series%' and pid <> pg_backend_pid()";
    until("the query to run", || match query(rig, running).as_str() {
        "0" => Err("not yet".into()),
        _ => Ok(()),
    });
    child
}

/// Everything the log says of the server since the last start.
fn last_run(rig: &Rig) -> String {
    let out = rig.out();
    out[out.rfind("db: starting").unwrap_or(0)..].to_owned()
}

#[test]
fn a_busy_and_an_idle_client_do_not_hold_up_the_stop() {
    let mut rig = rig("", 8000);
    rig.start_ready();
    let mut idle = psql(&rig, "").stdin(Stdio::piped()).stdout(Stdio::null()).arg("-f").arg("-").spawn().expect("psql");
    let mut busy = busy(&rig);
    let took = rig.stop();
    assert_eq!(rig.end_code(), 0);
    assert!(took < Duration::from_secs(8), "not within the budget: {took:?}");
    assert!(last_run(&rig).contains("database system is shut down"), "{}", rig.out());
    busy.wait().expect("psql ends");
    drop(idle.stdin.take());
    idle.wait().expect("psql ends");
    rig.start_ready();
    let run = last_run(&rig);
    assert!(run.contains("database system was shut down") && !run.contains("recovery"), "{run}");
    rig.stop();
}

#[test]
fn kill_9_of_the_guard_still_shuts_the_database_down_properly() {
    let mut rig = rig("", 8000);
    let status = rig.start_ready();
    let mut busy = busy(&rig);
    kill(status.guard, libc::SIGKILL);
    rig.end();
    rig.nothing_left();
    assert!(last_run(&rig).contains("database system is shut down"), "{}", rig.out());
    busy.wait().expect("psql ends");
}

#[test]
fn after_kill_9_of_all_the_next_start_clears_a_busy_backend_and_recovers() {
    let mut rig = rig("", 8000);
    let status = rig.start_ready();
    query(&rig, "create table kept (n int); insert into kept select generate_series(1, 1000)");
    let mut busy = busy(&rig);
    kill_both(&status);
    rig.end();
    until("the backend alone", || match rig.processes().len() {
        1 => Ok(()),
        n => Err(format!("{n} processes")),
    });
    rig.start_ready();
    rig.says("that an earlier run had left behind");
    assert!(last_run(&rig).contains("automatic recovery"), "{}", rig.out());
    assert_eq!(query(&rig, "select count(*) from kept"), "1000");
    busy.wait().expect("psql ends");
    rig.stop();
}

fn kill_both(status: &Status) {
    kill(status.guard, libc::SIGSTOP);
    kill(status.supervisor, libc::SIGKILL);
    kill(status.guard, libc::SIGKILL);
}

#[test]
fn a_shutdown_that_takes_too_long_becomes_an_immediate_one_before_the_deadline() {
    // A fast shutdown waits for the archiver, and this one is never done.
    let mut rig = rig("archive_mode=on&archive_command=exec sleep 600&wal_level=replica", 6000);
    rig.start_ready();
    query(&rig, "create table t (n int); select pg_switch_wal()");
    let start = Instant::now();
    client::stop(&rig.state(), Duration::from_secs(20)).expect("stopped");
    let took = start.elapsed();
    assert_eq!(rig.end_code(), 0);
    let run = last_run(&rig);
    assert!(
        run.contains("received fast shutdown request") && run.contains("received immediate shutdown request"),
        "{run}"
    );
    assert!(took > Duration::from_secs(2), "the fast one had its time: {took:?}");
    let status = rig.out();
    assert!(!status.contains("signal 9"), "{status}");
    assert_eq!(rig.processes(), [] as [i32; 0]);
}

#[test]
fn a_postmaster_killed_with_a_busy_backend_is_started_again_when_that_is_gone() {
    let mut rig = rig("", 8000);
    let status = rig.start_ready();
    let mut busy = busy(&rig);
    kill(pid(&status, "db"), libc::SIGKILL);
    rig.see("the restart", |status| status.ready && super::rig::service(status, "db").restarts > 0);
    let status = rig.status();
    assert_eq!(super::rig::service(&status, "db").restarts, 1, "the first try succeeds: {}", rig.out());
    assert!(!rig.out().contains("pre-existing shared memory block"), "{}", rig.out());
    busy.wait().expect("psql ends");
    rig.stop();
}
