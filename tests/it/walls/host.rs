//! Root believes and touches only what is root's; what somebody else wrote or planted tells it nothing.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use crate::support::deployment::{Deployment, kill, show};
use crate::support::poll::wait;

/// A user that nothing else runs as.
const SOMEBODY: u32 = 4_000_778;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn need_root() {
    assert!(geteuid().is_root(), "these tests play root against others: run them as root");
}

/// A script that tells who ran it.
fn trap(deployment: &Deployment, name: &str) -> (PathBuf, PathBuf) {
    let dir = deployment.state().with_file_name("traps");
    let _ = fs::create_dir(&dir);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let (program, mark) = (dir.join(name), dir.join(format!("{name}.ran")));
    fs::write(&program, format!("#!/bin/sh\nid -u >> {}\n", mark.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, mark)
}

/// Row 1: a program that a service's user names in settings never runs as root.
#[test]
fn settings_of_somebody_else_make_root_run_nothing() {
    need_root();
    let deployment = Deployment::new();
    let (python, mark) = trap(&deployment, "python");
    let (_, other_mark) = trap(&deployment, "postgres");
    let bin = python.parent().unwrap().display().to_string();
    deployment.configure(&format!("FLOWKIT_PYTHON = \"{}\"\nFLOWKIT_POSTGRES_BIN = \"{bin}\"\n", python.display()));
    for path in [deployment.state(), deployment.state().join("flowkit.toml")] {
        chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    for command in ["verify", "tune", "status", "health", "down"] {
        let _ = deployment.flowkit(&[command]);
    }
    for mark in [mark, other_mark] {
        let ran = fs::read_to_string(mark).unwrap_or_default();
        assert!(ran.lines().all(|uid| uid == SOMEBODY.to_string()), "ran as {ran}");
    }
    // And a file of somebody else's in root's own directory is not believed.
    chown(deployment.state(), Some(0), Some(0)).unwrap();
    let output = deployment.flowkit(&["tune"]);
    assert!(text(&output).contains("belongs to user 4000778"), "{}", show(&output));
}

/// Rows 9 and 11: nothing of root's is given away, and nobody's services are started unasked.
#[test]
fn only_a_new_an_empty_or_a_known_directory_of_roots_is_used() {
    need_root();
    let deployment = Deployment::new();
    let state = deployment.state();
    let picture = |dir: &Path| {
        let found = fs::metadata(dir).unwrap();
        (found.uid(), found.mode(), fs::read_dir(dir).unwrap().count())
    };
    fs::remove_file(state.join("flowkit.toml")).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(state.join("precious"), "").unwrap();
    let before = picture(&state);
    for command in [&["up", "--detach"][..], &["run", "redis"], &["down"], &["status"], &["db", "user", "list"]] {
        let output = deployment.flowkit(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", show(&output));
        assert!(text(&output).contains("\"precious\""), "{}", text(&output));
        assert_eq!(picture(&state), before, "{command:?}");
    }
    // An empty one is not touched by those that start nothing.
    fs::remove_file(state.join("precious")).unwrap();
    let before = picture(&state);
    for command in [&["down"][..], &["status"], &["health"], &["verify"]] {
        let output = deployment.flowkit(command);
        assert_eq!(picture(&state), before, "{command:?}: {}", show(&output));
    }
    // Through a link it is not even looked at.
    let real = state.with_file_name("real");
    fs::rename(&state, &real).unwrap();
    symlink(&real, &state).unwrap();
    for command in [&["up", "--detach"][..], &["down"], &["status"]] {
        let output = deployment.flowkit(command);
        assert!(text(&output).contains("follows no link"), "{command:?}: {}", show(&output));
        assert_eq!(picture(&real), before, "{command:?}");
    }
    fs::remove_file(&state).unwrap();
    fs::rename(&real, &state).unwrap();
    // Somebody else's: root starts nothing there unless it is told to.
    chown(&state, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let output = deployment.flowkit(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(2), "{}", show(&output));
    assert!(text(&output).contains("--as-owner"), "{}", show(&output));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

/// Rows 2 and 8: secrets are neither made nor read through what somebody else has put there.
#[test]
fn secrets_of_root_follow_no_link() {
    need_root();
    let deployment = Deployment::new();
    let dir = deployment.state().with_file_name("anothers");
    let precious = deployment.state().with_file_name("precious");
    fs::create_dir(&precious).unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(precious.join("file"), "of-root-alone").unwrap();
    fs::set_permissions(precious.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(&dir).unwrap();
    symlink(&precious, dir.join("secrets")).unwrap();
    chown(&dir, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let secrets = |command: &str, dir: &Path| {
        let program = deployment.state().with_file_name("flowkit");
        let mut secrets = std::process::Command::new(program);
        secrets.args(["secrets", command, "--dir"]).arg(dir).args(["--role", "flowmachine"]).output().unwrap()
    };
    // The directory itself is a link that somebody planted.
    let output = secrets("init", &dir.join("secrets"));
    assert!(!output.status.success(), "{}", show(&output));
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
    assert_eq!(fs::metadata(&precious).unwrap().mode() & 0o7777, 0o755);
    // A link in a secret's place: root reads no more than the directory's owner could.
    fs::remove_file(dir.join("secrets")).unwrap();
    fs::create_dir(dir.join("secrets")).unwrap();
    symlink(precious.join("file"), dir.join("secrets/FLOWMACHINE_FLOWDB_PASSWORD")).unwrap();
    chown(dir.join("secrets"), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::set_permissions(dir.join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    for command in ["init", "check"] {
        let output = secrets(command, &dir.join("secrets"));
        assert!(!show(&output).contains("of-root-alone"), "{}", show(&output));
    }
    for entry in fs::read_dir(dir.join("secrets")).unwrap().flatten() {
        let found = entry.path().symlink_metadata().unwrap();
        assert!(found.is_symlink() || found.uid() == SOMEBODY, "{} is root's", entry.path().display());
        let text = if found.is_symlink() { String::new() } else { fs::read_to_string(entry.path()).unwrap() };
        assert!(!text.contains("of-root-alone"), "{}", entry.path().display());
    }
}

/// Row 17: what never ends or never answers holds up nobody.
#[test]
fn pipes_devices_and_deaf_sockets_hold_up_no_command() {
    let deployment = Deployment::new();
    let settings = deployment.state().join("flowkit.toml");
    let quick = |what: &str, args: &[&str], expected: &str| {
        let since = Instant::now();
        let output = deployment.flowkit(args);
        assert!(since.elapsed() < Duration::from_secs(20), "{what}: {:?}", since.elapsed());
        assert!(!output.status.success() && text(&output).contains(expected), "{what}: {}", show(&output));
    };
    fs::remove_file(&settings).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &settings, rustix::fs::Mode::RWXU).unwrap();
    quick("a pipe", &["restart", "redis"], "not a regular file");
    fs::remove_file(&settings).unwrap();
    symlink("/dev/zero", &settings).unwrap();
    quick("a device", &["tune"], "not a regular file");
    fs::remove_file(&settings).unwrap();
    fs::write(&settings, vec![b'#'; 2 << 20]).unwrap();
    quick("a long file", &["restart", "redis"], "longer than");
    fs::remove_file(&settings).unwrap();
    // A socket whose queue is full: connecting to it would wait for ever.
    fs::create_dir(deployment.state().join("run")).unwrap();
    let socket = deployment.state().join("run/control.sock");
    let _deaf = UnixListener::bind(&socket).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        );
        let client = client.unwrap();
        if rustix::net::connect(&client, &rustix::net::SocketAddrUnix::new(&socket).unwrap()).is_err() {
            break;
        }
        waiting.push(client);
    }
    quick("a full queue", &["status"], "connect to");
}

/// Row 9: pages and units that root writes into somebody else's directory lead nowhere.
#[test]
fn what_root_writes_for_somebody_follows_no_link() {
    need_root();
    let deployment = Deployment::new();
    let precious = deployment.state().with_file_name("precious");
    fs::write(&precious, "of root").unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&["docs", "write"], "reference/ports.md"),
        (&["docs", "man"], "flowkit.1"),
        (&["quadlet", "--tag", "9"], "flowkit-redis.container"),
    ];
    for (command, file) in cases {
        let dir = tempfile::Builder::new().prefix("fkw").tempdir_in("/tmp").unwrap();
        let link = dir.path().join(file);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&precious, &link).unwrap();
        for own in [dir.path(), link.parent().unwrap()] {
            chown(own, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        let program = deployment.state().with_file_name("flowkit");
        let output = std::process::Command::new(program).args(command).arg(dir.path()).output().unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "of root", "{command:?}: {}", show(&output));
        assert!(text(&output).contains("Permission denied"), "{command:?}: {}", show(&output));
    }
}

/// Row 10: whoever takes the port of a service that is down hears nothing.
#[test]
fn who_takes_a_port_is_told_no_password() {
    need_root();
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    // As soon as it is gone somebody else is there; root's test is another user than redis. On a busy machine redis may be
    // quicker, and is ended again.
    let until = Instant::now() + Duration::from_secs(60);
    let mut ended = None;
    let taker = loop {
        if let Some(pid) = deployment.pid("redis").filter(|pid| ended != Some(*pid)) {
            kill(pid);
            ended = Some(pid);
        }
        let soon = Instant::now() + Duration::from_millis(500);
        let taken = std::iter::repeat_with(|| TcpListener::bind(("127.0.0.1", deployment.ports[1])));
        match taken.take_while(|_| Instant::now() < soon).find_map(Result::ok) {
            Some(taker) => break taker,
            None => assert!(Instant::now() < until, "redis is always quicker"),
        }
    };
    let restarts = || deployment.status().unwrap()["services"][0]["restarts"].as_u64().unwrap();
    let before = restarts();
    taker.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        if let Ok((mut stream, _)) = taker.accept() {
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let _ = stream.read_to_end(&mut heard);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(String::from_utf8_lossy(&heard), "");
    // It waits for the port, rather than die until the supervisor gives up.
    wait(Duration::from_secs(20), "a word about the port", || deployment.log().contains("no longer listens at"));
    assert!(restarts() <= before + 2, "{before}, then {}", restarts());
    drop(taker);
    deployment.wait_ready(Duration::from_secs(60));
}

/// What root's supervisor has no use for it has not, nor has anything that it could run.
#[test]
fn roots_supervisor_keeps_few_capabilities() {
    need_root();
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    let status = deployment.status().unwrap();
    for process in ["supervisor", "guard"] {
        let text = fs::read_to_string(format!("/proc/{}/status", status[process])).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{set}:"))).unwrap();
            let had = u64::from_str_radix(line.trim(), 16).unwrap();
            // Of those by their numbers: CHOWN 0, FSETID 4, NET_ADMIN 12, SYS_MODULE 16, SYS_RAWIO 17, SYS_PTRACE 19, SYS_ADMIN 21,
            // MKNOD 27, SETFCAP 31, BPF 39.
            let unwanted: u64 = [0, 4, 12, 16, 17, 19, 21, 27, 31, 39].iter().map(|number| 1 << number).sum();
            assert_eq!(had & unwanted, 0, "{set} of the {process}: {had:x}");
        }
    }
}

/// Row 5: what root's command starts as somebody else has no terminal to type into.
#[test]
fn a_program_of_somebody_elses_has_not_roots_terminal() {
    need_root();
    let deployment = Deployment::new();
    let (program, mark) = trap(&deployment, "postgres");
    fs::write(&program, format!("#!/bin/sh\n( : > /dev/tty ) 2>/dev/null && echo typed > {}\n", mark.display()))
        .unwrap();
    deployment.configure(&format!("FLOWKIT_POSTGRES_BIN = \"{}\"\n", program.parent().unwrap().display()));
    for path in [deployment.state(), deployment.state().join("flowkit.toml")] {
        chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    // `script` gives a terminal; the shell stays its session's leader.
    let with_terminal = |command: String| {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{command}; true"), "/dev/null"]).stdin(std::process::Stdio::null());
        assert!(script.output().expect("script of bsdutils").status.success());
    };
    let flowkit = deployment.state().with_file_name("flowkit");
    with_terminal(format!("{} tune --dir {}", flowkit.display(), deployment.state().display()));
    assert!(!mark.exists(), "it typed into root's terminal");
    with_terminal(program.display().to_string());
    assert!(mark.exists(), "without the wall it does");
}
