//! Whether anybody reads what a command says never decides about its work or its exit status.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::deployment::{Deployment, show};
use crate::support::poll::wait;

/// Runs a command whose reader has gone before it says its first word.
pub fn unread(mut command: Command) -> ExitStatus {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap()
}

/// Runs a command whose reader stands still, with the pipe full.
fn stuck(mut command: Command) -> (ExitStatus, Duration) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let began = Instant::now();
    let status = command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    drop(reader);
    (status, began.elapsed())
}

#[test]
fn a_reader_that_went_away_stops_nothing() {
    let deployment = Deployment::new();
    let quiet = |args: &[&str]| unread(deployment.command(args));
    assert_eq!(quiet(&["status"]).code(), Some(1), "nothing runs");
    assert_eq!(quiet(&["up", "--detach", "--role", "redis"]).code(), Some(0));
    let pid = deployment.pid("redis").expect("it runs");
    for args in
        [&["status"][..], &["status", "--format", "json"], &["health"], &["health", "redis"], &["restart", "redis"]]
    {
        assert_eq!(quiet(args).code(), Some(0), "{args:?}");
    }
    wait(Duration::from_secs(20), "another redis", || deployment.pid("redis").is_some_and(|new| new != pid));
    assert_eq!(quiet(&["up", "--detach"]).code(), Some(2), "a second one is refused");
    assert_eq!(quiet(&["tune", "--memory", "1GiB"]).code(), Some(0));
    assert_eq!(quiet(&["down"]).code(), Some(0));
    assert_eq!(deployment.processes(), Vec::<u32>::new());
}

/// `flowkit up … 2>&1 | head -1`
#[test]
fn a_reader_that_wants_one_line_leaves_the_services_attended() {
    let deployment = Deployment::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = deployment.command(&["up", "--role", "redis"]);
    let mut up = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    drop(command);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    wait(Duration::from_secs(60), "redis", || deployment.status().is_some_and(|status| status["ready"] == true));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(up.try_wait().unwrap(), None, "it stays with the services");
    kill_process(Pid::from_child(&up), Signal::INT).unwrap();
    assert_eq!(up.wait().unwrap().code(), Some(130));
    assert_eq!(deployment.processes(), Vec::<u32>::new());
}

#[test]
fn a_reader_that_stands_still_is_not_waited_for() {
    let deployment = Deployment::new();
    let (status, took) = stuck(deployment.command(&["up", "--detach", "--role", "redis"]));
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(45), "{took:?}");
    deployment.done(&["health"]);
    let (status, _) = stuck(deployment.command(&["down"]));
    assert_eq!(status.code(), Some(0));
}

/// A product that is lost for another reason than that nobody wanted it is told; work that is done is done.
#[test]
fn a_full_disk_is_told_where_the_output_is_the_work() {
    let deployment = Deployment::new();
    let full = || Stdio::from(OwnedFd::from(File::options().write(true).open("/dev/full").unwrap()));
    let output = deployment.command(&["tune", "--memory", "1GiB"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", show(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("could not be written: No space left"),
        "{}",
        show(&output)
    );
    let output = deployment.command(&["up", "--detach", "--role", "redis"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", show(&output));
}
