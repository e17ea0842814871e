//! The logs of tasks, which Airflow writes and never removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::failure::Failure;
use crate::roles::Deployment;
use say::{Shown, show};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(600);

const DAY: u64 = 86_400;

/// The DAG of `flowkit verify`, whose other traces are gone when it ends; and for how long somebody may want to read why it failed.
const VERIFY: &str = "dag_id=flowkit_verify";
const READ: Duration = Duration::from_secs(3_600);

/// Where they are.
pub(super) fn directory(deployment: &Deployment) -> PathBuf {
    let given = deployment.site.settings.text("AIRFLOW__LOGGING__BASE_LOG_FOLDER");
    given.map_or_else(|| deployment.site.state.role("flowetl").join("logs"), PathBuf::from)
}

/// Removes, for as long as it runs, logs that are old, and the oldest while all together are too large.
pub(super) fn keep_within_bounds(deployment: &Deployment) -> Result<ExitCode, Failure> {
    let settings = &deployment.site.settings;
    let number = |name: &str| settings.int(name).map_or(0, i64::unsigned_abs);
    let days = number("FLOWKIT_FLOWETL_LOG_DAYS");
    let bytes = number("FLOWKIT_FLOWETL_LOG_BYTES");
    let directory = directory(deployment);
    loop {
        match remove(&directory, Duration::from_secs(days.saturating_mul(DAY)), bytes) {
            Ok(0) => {}
            Ok(removed) => {
                show!("removed {removed} logs of tasks: they are kept for {days} days, {} MiB at most", bytes >> 20)
            }
            Err(error) => show!("warning: cannot look after {}: {}", directory.display(), Shown(&error.to_string())),
        }
        std::thread::sleep(PAUSE);
    }
}

struct Log {
    path: PathBuf,
    written: SystemTime,
    bytes: u64,
}

/// How many files went; directories that are empty then go too.
fn remove(directory: &Path, age: Duration, most: u64) -> io::Result<usize> {
    let mut logs = Vec::new();
    if directory.exists() {
        find(directory, &mut logs)?;
    }
    logs.sort_by_key(|log| std::cmp::Reverse(log.written));
    let before = |age: Duration| SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let (oldest, of_verify) = (before(age), before(READ.min(age)));
    let (mut sum, mut removed) = (0, 0);
    for log in logs {
        sum += log.bytes;
        let ours = log.path.components().any(|part| part.as_os_str() == VERIFY);
        if log.written >= if ours { of_verify } else { oldest } && sum <= most {
            continue;
        }
        fs::remove_file(&log.path)?;
        removed += 1;
        let above = log.path.ancestors().skip(1).take_while(|above| *above != directory);
        // The first that is not empty stays.
        let _ = above.map(fs::remove_dir).take_while(Result::is_ok).count();
    }
    Ok(removed)
}

/// All below, without following links.
fn find(directory: &Path, logs: &mut Vec<Log>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find(&entry.path(), logs)?;
        } else if kind.is_file() {
            let found = entry.metadata()?;
            logs.push(Log { path: entry.path(), written: found.modified()?, bytes: found.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_logs_go_and_then_the_oldest_while_all_are_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize, hours: u64| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            let written = SystemTime::now() - Duration::from_secs(hours * 3_600);
            fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        };
        write("dag_id=calls/run_id=1/task_id=a/attempt=1.log", 10, 50);
        write("dag_id=calls/run_id=2/attempt=1.log", 10, 20);
        write("dag_id=calls/run_id=3/attempt=1.log", 10, 10);
        write("dag_id=calls/run_id=4/attempt=1.log", 10, 1);
        let left = || {
            let mut logs = Vec::new();
            find(dir.path(), &mut logs).unwrap();
            logs.len()
        };
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        assert_eq!(remove(dir.path(), hours(48), 1_000).unwrap(), 1);
        assert!(!dir.path().join("dag_id=calls/run_id=1").exists(), "nor what was around it");
        assert_eq!(remove(dir.path(), hours(48), 25).unwrap(), 1);
        assert!(!dir.path().join("dag_id=calls/run_id=2").exists());
        assert_eq!((remove(dir.path(), hours(48), 25).unwrap(), left()), (0, 2));
        write("dag_id=flowkit_verify/run_id=1/attempt=1.log", 1, 2);
        write("dag_id=flowkit_verify/run_id=2/attempt=1.log", 1, 0);
        assert_eq!((remove(dir.path(), hours(48), 1_000).unwrap(), left()), (1, 3), "soon read, or never");
        assert_eq!(remove(&dir.path().join("missing"), hours(1), 1).unwrap(), 0);
    }
}
