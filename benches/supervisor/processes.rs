//! What `/proc` says of processes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// What some processes use together.
pub struct Usage {
    pub processes: usize,
    /// Shared pages count once.
    pub pss_kib: u64,
    pub cpu: Duration,
    /// Times that a thread went to sleep, which is once more than it was woken.
    pub wakeups: u64,
}

pub fn kill(pid: i32, signal: i32) {
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a named signal");
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), signal);
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Processes that have this argument and are neither shells nor supervisors on the way to it.
pub fn with_argument(argument: &OsStr) -> Vec<i32> {
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        let program = words.next().unwrap_or_default();
        !program.ends_with(b"sh") && words.any(|word| word == argument.as_bytes()) && is_alive(*pid)
    };
    all().filter(has).collect()
}

fn all() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process and all its descendants.
pub fn tree(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let pid = found[next];
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        next += 1;
    }
    found
}

pub fn usage(processes: impl Iterator<Item = i32>) -> Usage {
    let mut usage = Usage { processes: 0, pss_kib: 0, cpu: Duration::ZERO, wakeups: 0 };
    for pid in processes {
        usage.processes += 1;
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        usage.pss_kib += number(&memory, "Pss:");
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            usage.cpu +=
                Duration::from_nanos(read("schedstat").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0));
            usage.wakeups += number(&read("status"), "voluntary_ctxt_switches:");
        }
    }
    usage
}

fn number(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    value.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
