//! The services' output: whole lines, no service held up, every loss counted.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rig::{Rig, SOON, service, svc, with};
use supervisor::{ServiceState, client};

/// The lines of a service in a text log, each with whether it goes on.
fn lines_of(log: &[u8], name: &str) -> Vec<(Vec<u8>, bool)> {
    let mut lines = Vec::new();
    for line in log.split(|byte| *byte == b'\n') {
        // A time of 24 bytes, a space, the padded name, a space, the bar or plus, a space.
        let Some(rest) = line.get(25..) else { continue };
        if rest.starts_with(name.as_bytes()) {
            let width = rest.iter().position(|byte| matches!(byte, b'|' | b'+')).expect("a bar");
            lines.push((rest[width + 2..].to_vec(), rest[width] == b'+'));
        }
    }
    lines
}

#[test]
fn a_slow_reader_holds_up_nobody_and_every_line_is_written_or_counted() {
    const LINES: u64 = 100_000;
    let services: Vec<Value> =
        (0..4).map(|i| with(svc(&format!("s{i}"), &format!("flood {LINES} 100")), json!({ "task": true }))).collect();
    let stay = svc("stay", "serve @/stay");
    let mut rig = Rig::new(json!([services[0], services[1], services[2], services[3], stay]));
    let mut command = rig.command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
    let mut out = child.stdout.take().expect("a pipe");
    // Nobody reads: the services must come to their end all the same.
    let status = rig.ready();
    assert!(status.services[..4].iter().all(|service| service.state == ServiceState::Finished));
    let lost = rig.status().lines_lost;
    assert!(lost > 0, "two megabytes a service are more than is kept");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        out.read_to_end(&mut all).map(|_| all)
    });
    client::stop(&rig.state(), SOON).expect("stopped");
    child.wait().expect("ends");
    let log = reader.join().expect("no panic").expect("read");
    let mut told = 0;
    for i in 0..4 {
        let mut next = 0;
        for (line, part) in lines_of(&log, &format!("s{i}")) {
            let text = String::from_utf8(line).expect("text");
            if let Some((count, _)) = text.split_once(" lines dropped") {
                let count: u64 = count.parse().expect("a number");
                next += count;
                told += count;
                continue;
            }
            assert!(text.len() == 100 && !part, "torn: {text:?}");
            assert_eq!(text.parse::<u64>().expect("a number"), next, "of s{i}");
            next += 1;
        }
        assert_eq!(next, LINES, "of s{i}");
    }
    assert!(told >= lost, "{told} were told, and status knew of {lost} before the stop");
    rig.start_ready();
    rig.stop();
}

#[test]
fn bytes_come_out_legible_and_memory_stays_small() {
    const LONG: usize = 64 << 20;
    let odd = "00ff0d0a1b5b33316d726564";
    let one = with(svc("one", &format!("raw {odd} raw 0a fill {LONG} raw 0a cut say end")), json!({ "task": true }));
    let mut rig = Rig::new(json!([one, svc("stay", "serve @/stay")]));
    let status = rig.start_ready();
    let memory = fs::read_to_string(format!("/proc/{}/status", status.supervisor)).expect("a status");
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("kilobytes");
    assert!(peak < 40_000, "{peak} KiB");
    rig.stop();
    let log = fs::read(rig.path("out")).expect("a log");
    let lines = lines_of(&log, "one");
    assert_eq!(lines[0], (br"\u{0}\xff".to_vec(), false));
    assert_eq!(lines[1], (br"\u{1b}[31mred".to_vec(), false));
    let (long, rest) = lines[2..].split_at(LONG.div_ceil(15 << 10));
    assert_eq!(long.iter().map(|(piece, _)| piece.len()).sum::<usize>(), LONG);
    assert!(long[..long.len() - 1].iter().all(|(piece, part)| *part && piece.iter().all(|byte| *byte == b'x')));
    assert!(!long[long.len() - 1].1);
    assert_eq!(rest, [(b"end".to_vec(), false)], "a last line without an end");
}

#[test]
fn json_lines_are_json_whatever_the_bytes() {
    let one = with(svc("one", "raw 00ff22 raw 0d0a err to-stderr fill 20000 raw 0a"), json!({ "task": true }));
    let mut rig = Rig::with(json!([one, svc("stay", "serve @/stay")]), json!({ "format": "json" }));
    rig.start_ready();
    rig.stop();
    let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut own = Vec::new();
    for line in rig.out().lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if record["service"] == "supervisor" {
            own.push((record["level"].clone(), record["line"].clone()));
        } else if record["service"] == "one" {
            seen.entry(record["stream"].as_str().expect("a stream").to_owned()).or_default().push(record);
        }
    }
    // What the supervisor says has a severity, which nobody knows of a service's lines.
    assert!(own.contains(&("info".into(), "everything is ready".into())), "{own:?}");
    assert!(own.iter().all(|(level, _)| level.is_string()), "{own:?}");
    assert_eq!(seen["stderr"].len(), 1);
    assert_eq!((&seen["stderr"][0]["line"], &seen["stderr"][0]["level"]), (&"to-stderr".into(), &Value::Null));
    let stdout = &seen["stdout"];
    assert_eq!(stdout[0]["line"], "\\u{0}\\xff\"");
    assert_eq!((&stdout[1]["part"], &stdout[2]["part"]), (&Value::Bool(true), &Value::Null));
    let length = |record: &Value| record["line"].as_str().map_or(0, str::len);
    assert_eq!(length(&stdout[1]) + length(&stdout[2]), 20_000);
}

#[test]
fn the_beginning_of_a_line_comes_out_when_its_end_does_not() {
    let mut rig = Rig::new(json!([svc("one", "cut say waiting serve @/one")]));
    rig.start_ready();
    let start = Instant::now();
    rig.says("one        + waiting\n");
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
    rig.stop();
}

#[test]
fn without_a_reader_the_services_run_on_and_status_tells() {
    let mut rig = Rig::new(json!([svc("one", "flood 1000 80 serve @/one")]));
    let mut command = rig.command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    rig.hear(&["one"]);
    let status = rig.see("the loss to be told", |status| status.lines_lost >= 1000 && status.ready);
    assert_eq!(status.log_trouble.as_deref(), Some("Broken pipe (os error 32)"));
    assert_eq!(service(&status, "one").restarts, 0);
    rig.stop();
    child.wait().expect("ends");
    rig.start_ready();
    rig.stop();
}

#[test]
fn a_service_is_never_given_a_pipe_that_does_not_block() {
    // O_NONBLOCK belongs to the open file, which children share with us; a service that does not expect it loses output.
    let script = "cat /proc/self/fdinfo/1 /proc/self/fdinfo/2";
    let one = json!({ "name": "one", "task": true, "command": ["/bin/sh", "-c", script] });
    let mut rig = Rig::new(json!([one, svc("stay", "serve @/stay")]));
    rig.start_ready();
    rig.stop();
    let log = rig.out();
    let flags: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("| flags:\t")).map(|(_, flags)| flags).collect();
    assert_eq!(flags, ["01", "01"], "write only, nothing else: {log}");
}

#[test]
fn a_log_file_is_rotated_by_size_and_no_line_is_lost() {
    // A file is left when the next block, of up to 82 kB, does not fit: it holds at least 118 kB, and four of them more than
    // these lines of 141 bytes, however the writer is held up.
    const LINES: u64 = 3000;
    let one = with(svc("one", &format!("flood {LINES} 100")), json!({ "task": true }));
    let more = json!({ "log": "@/log", "log_bytes": 200_000 });
    let mut rig = Rig::with(json!([one, svc("stay", "serve @/stay")]), more);
    rig.start_ready();
    rig.stop();
    let mut numbers = Vec::new();
    for name in ["log.3", "log.2", "log.1", "log"] {
        let text = fs::read(rig.path(name)).unwrap_or_default();
        assert!(text.len() <= 200_000, "{name}: {}", text.len());
        numbers.extend(
            lines_of(&text, "one").into_iter().map(|(line, _)| String::from_utf8_lossy(&line).parse::<u64>().ok()),
        );
    }
    assert_eq!(numbers, (0..LINES).map(Some).collect::<Vec<_>>());
    assert!(rig.path("log.2").exists(), "rotated");
}
