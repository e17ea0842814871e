//! Row 12: what somebody with redis' password can do to redis is undone, or bounded.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use crate::support::deployment::Deployment;
use crate::support::poll::wait;

/// A connection with the password of the deployment's redis.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(deployment: &Deployment) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", deployment.ports[1])).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Client(BufReader::new(stream));
        let password = fs::read_to_string(deployment.state().join("secrets/REDIS_PASSWORD")).unwrap();
        assert_eq!(client.ask(&format!("AUTH {password}")), "+OK");
        client
    }

    fn send(&mut self, command: &str) {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    }

    /// The first line of the answer.
    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// A field of `/proc/PID/status` in MiB, unless the process has ended.
fn mebibytes(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().expect("kB") >> 10)
}

#[test]
fn a_script_that_ends_never_and_may_not_be_killed_ends_with_redis() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    let before = deployment.pid("redis").unwrap();
    Client::new(&deployment).send(r#"EVAL "redis.call('SET', 'a', '1') while true do end" 0"#);
    wait(Duration::from_secs(180), "another redis", || deployment.pid("redis").is_some_and(|pid| pid != before));
    deployment.wait_ready(Duration::from_secs(60));
    assert_eq!(Client::new(&deployment).ask("PING"), "+PONG");
    assert!(deployment.log().contains("redis: not alive"), "it was ended because it answered nobody");
}

#[test]
fn a_script_takes_no_more_memory_than_redis_may_have() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    let before = deployment.pid("redis").unwrap();
    let mut client = Client::new(&deployment);
    // All that it may store.
    let store = r#"EVAL "redis.call('SET', KEYS[1], string.rep('x', 1048576)) return 1" 1"#;
    let full = (0..512).map(|key| client.ask(&format!("{store} {key}"))).find(|answer| answer != ":1");
    assert!(full.as_ref().is_some_and(|answer| answer.contains("OOM")), "{full:?}");
    let stored = mebibytes(before, "VmRSS").expect("redis runs");
    assert!((200..400).contains(&stored), "{stored} MiB");
    // And a script that wants more than the process may have.
    client.send(r#"EVAL "local t = {} for i = 1, 4096 do t[i] = string.rep('x', 1048576) .. i end return 1" 0"#);
    let mut most = 0;
    let mut answer = String::new();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.0.read_line(&mut answer).unwrap_or(0));
        while !asked.is_finished() {
            if deployment.pid("redis") == Some(before) {
                most = most.max(mebibytes(before, "VmHWM").unwrap_or(0));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // The script is refused the memory; redis itself may be so, too, and is started again.
    assert!(!answer.starts_with(':'), "{answer}");
    assert!(most <= 512, "{most} MiB");
    deployment.wait_ready(Duration::from_secs(60));
    assert_eq!(Client::new(&deployment).ask("PING"), "+PONG");
}

/// Without a script, too: answers that nobody takes, commands that never end, by many connections.
#[test]
fn nobody_fills_redis_memory_by_not_reading_or_not_ending() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    let before = deployment.pid("redis").unwrap();
    let value = "x".repeat(4 << 20);
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..60 {
        let mut client = Client::new(&deployment);
        let stream = client.0.get_mut();
        let request = match number {
            0 => format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len()),
            // Of answers 12 MiB, which one alone may leave, or far more.
            1..20 => "GET k\r\n".repeat(3),
            20..30 => "GET k\r\n".repeat(200),
            // And all but the end of a value.
            _ => format!("*3\r\n$3\r\nSET\r\n$1\r\nl\r\n$15728640\r\n{}", value.repeat(3)),
        };
        // It may be closed meanwhile.
        let _ = stream.write_all(request.as_bytes());
        clients.push(client);
    }
    let mut good = Client::new(&deployment);
    assert_eq!(good.ask("PING"), "+PONG");
    assert_eq!(good.ask("SET m 1"), "+OK");
    assert_eq!(deployment.pid("redis"), Some(before), "{}", deployment.log());
    let most = mebibytes(before, "VmHWM").expect("redis runs");
    assert!(most < 400, "{most} MiB");
}

/// What a service puts in the place of its own directory keeps nobody from starting it.
#[test]
fn a_link_in_the_place_of_a_directory_for_temporary_files_is_replaced() {
    let deployment = Deployment::new();
    deployment.done(&["up", "--detach", "--role", "redis"]);
    deployment.done(&["down"]);
    let place = deployment.state().join("redis/tmp");
    let outside = deployment.state().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(&outside, &place).unwrap();
    let output = deployment.flowkit(&["up", "--detach", "--role", "redis"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains(&format!("removed {}", place.display())), "{said}");
    assert!(fs::symlink_metadata(&place).unwrap().is_dir() && fs::read_dir(&outside).unwrap().next().is_none());
}

/// `flowkit run` on a bare host has no walls but these; a unit brings its own around files.
#[test]
fn a_role_that_is_run_alone_is_confined() {
    for unit in [false, true] {
        let deployment = Deployment::new();
        // Makes the secrets.
        deployment.done(&["up", "--detach", "--role", "redis"]);
        deployment.done(&["down"]);
        let temporary = deployment.state().join("redis/tmp");
        fs::remove_dir(&temporary).unwrap();
        let mut run = deployment.command(&["run", "redis"]);
        if unit {
            run.env("NOTIFY_SOCKET", deployment.state().join("nobody-listens"));
        }
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait(Duration::from_secs(60), "redis", || deployment.status().is_some_and(|status| status["ready"] == true));
        let pid = deployment.pid("redis").unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).unwrap().trim();
        assert_eq!(seccomp, "2", "in a unit: {unit}");
        assert_eq!(temporary.exists(), !unit, "it has one where its files are held as well; in a unit: {unit}");
        deployment.done(&["down"]);
        run.wait().unwrap();
    }
}
