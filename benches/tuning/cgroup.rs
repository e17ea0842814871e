//! A memory cgroup of our own, below the one we are in (version 1) or beside it (version 2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where groups can be made, and how they are spelt there.
#[derive(Clone)]
pub struct Place {
    parent: PathBuf,
    version: u32,
}

/// A group with a limit. Dropped, it is removed.
pub struct Group {
    dir: PathBuf,
    version: u32,
}

/// Memory in use that can't be dropped, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Private and shared memory, without the page cache of files.
    pub held: u64,
    /// Processes that the kernel killed for want of memory.
    pub killed: u64,
}

impl Place {
    /// Looks for a place where a group with a memory limit can be made; the error says why there is none.
    pub fn find() -> Result<Place, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let path = |want: &dyn Fn(&str) -> bool| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                want(fields.next()?).then(|| fields.next()).flatten()
            })
        };
        let one = path(&|c| c.split(',').any(|c| c == "memory"));
        let place = match (one, path(&|c| c.is_empty())) {
            (Some(path), _) => Place { parent: below("/sys/fs/cgroup/memory", path), version: 1 },
            // Version 2 allows no limits below a group that has processes, so the new one stands beside ours.
            (None, Some(path)) => {
                let own = below("/sys/fs/cgroup", path);
                Place { parent: own.parent().unwrap_or(&own).to_owned(), version: 2 }
            }
            _ => return Err("/proc/self/cgroup names no memory cgroup".to_owned()),
        };
        let trial = place.group(256 << 20).map_err(|e| format!("{}: {e}", place.parent.display()))?;
        drop(trial);
        Ok(place)
    }

    /// A new group with `limit` bytes of memory and no swap.
    pub fn group(&self, limit: u64) -> io::Result<Group> {
        let dir = self.parent.join(format!("flowkit-bench-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let group = Group { dir, version: self.version };
        let limits: [(&str, bool); 2] = match self.version {
            1 => [("memory.limit_in_bytes", true), ("memory.memsw.limit_in_bytes", false)],
            _ => [("memory.max", true), ("memory.swap.max", false)],
        };
        for (file, needed) in limits {
            let value = if file == "memory.swap.max" { 0 } else { limit };
            let written = fs::write(group.dir.join(file), value.to_string());
            if needed {
                written?;
            }
        }
        Ok(group)
    }

    /// `v1` or `v2`, for the heading.
    pub fn describe(&self) -> String {
        format!("memory cgroup v{} below {}", self.version, self.parent.display())
    }
}

fn below(mount: &str, path: &str) -> PathBuf {
    Path::new(mount).join(path.trim_start_matches('/'))
}

impl Group {
    /// The file that a process writes itself into.
    pub fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// What it holds now.
    pub fn usage(&self) -> Usage {
        let stat = fs::read_to_string(self.dir.join("memory.stat")).unwrap_or_default();
        let events = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        let events = fs::read_to_string(self.dir.join(events)).unwrap_or_default();
        let held = match self.version {
            1 => field(&stat, "rss") + field(&stat, "shmem"),
            _ => field(&stat, "anon") + field(&stat, "shmem"),
        };
        Usage { held, killed: field(&events, "oom_kill") }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(number).unwrap_or(0)
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that have just ended may still be counted for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        say::tell!("warning: {} could not be removed", self.dir.display());
    }
}
