//! What this machine, or the cgroup we run in, really has.
//!
//! Reading is split in two so that a test can be any machine: [`Kernel`] holds what only system calls tell (affinity,
//! free space), [`read`] takes that and a root directory under which `proc` and `sys` are looked up. Every figure
//! keeps its [`Origin`], because "why 1 GB?" is the first question about a tuned database.
//!
//! Rules that other readers of cgroups got wrong, and that the tests hold: ancestors count, not only the own cgroup;
//! a missing, empty or garbled file means *unknown*, never 0; any CPU period; a quota is rounded down.

mod cgroup;
mod cpus;
mod disk;
mod kernel;
mod memory;

use std::fmt;
use std::path::{Path, PathBuf};

pub use kernel::{Filesystem, Kernel};

/// Where a figure came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", content = "detail", rename_all = "lowercase")]
pub enum Origin {
    /// The machine itself, e.g. `MemTotal`.
    Machine(String),
    /// A control group, e.g. `cgroup v2 /a/b memory.max`.
    Cgroup(String),
    /// A person: a flag or a variable, by its name.
    Given(String),
    /// Nothing would tell; the value is an assumption, and this is why.
    Unknown(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Machine(what) => write!(f, "hardware: {what}"),
            Origin::Cgroup(what) | Origin::Given(what) => f.write_str(what),
            Origin::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// A figure and its origin.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fact<T> {
    /// The figure itself.
    pub value: T,
    /// Where it was read.
    pub origin: Origin,
}

impl<T> Fact<T> {
    /// A figure with its origin.
    pub fn new(value: T, origin: Origin) -> Fact<T> {
        Fact { value, origin }
    }

    /// A figure that a person gave, under the flag's or variable's name.
    pub fn given(value: T, name: &str) -> Fact<T> {
        Fact { value, origin: Origin::Given(name.to_owned()) }
    }
}

/// The kind of disk under the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    /// No moving parts: random reads cost little.
    Ssd,
    /// Rotating platters.
    Hdd,
    /// Not told: virtual disks usually claim to rotate, network file systems say nothing.
    #[value(skip)]
    Unknown,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Disk::Ssd => "ssd",
            Disk::Hdd => "hdd",
            Disk::Unknown => "unknown",
        })
    }
}

/// Huge pages: what the kernel keeps ready and what our cgroups let us touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HugePages {
    /// Size of the default huge page in bytes; 0 where the kernel has none.
    pub page: u64,
    /// Pages set aside in all.
    pub total: u64,
    /// Pages not in use.
    pub free: u64,
    /// The lowest hugetlb limit of our cgroups in bytes. Touching a page above it is a SIGBUS, not an error.
    pub limit: Option<Fact<u64>>,
}

/// What PostgreSQL may use. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hardware {
    /// Memory: the least of the machine's and of every limit above us.
    pub memory: Fact<u64>,
    /// CPUs: the least of affinity, cpusets and quotas, at least 1.
    pub cpus: Fact<u32>,
    /// Kind of disk under the data directory.
    pub disk: Fact<Disk>,
    /// Space that an unprivileged user may fill on the data directory's file system.
    pub free_space: Option<Fact<u64>>,
    /// The same for `pg_wal`, which may be a link to another disk.
    pub wal_space: Option<Fact<u64>>,
    /// Space left in `/dev/shm`; `None` where there is none.
    pub shm: Option<Fact<u64>>,
    /// Huge pages.
    pub huge_pages: HugePages,
    /// Largest System V shared memory segment (`kernel.shmmax`).
    pub shmmax: Option<u64>,
    /// Memory that may be promised in all, under strict accounting (`vm.overcommit_memory` = 2).
    pub commit_limit: Option<u64>,
    /// Open files a process may have.
    pub open_files: Option<u64>,
    /// Lowest limit on read operations a second that a cgroup sets for the data directory's disk.
    pub read_iops: Option<Fact<u64>>,
}

impl Hardware {
    /// The memory when `bytes` of it are left to others (FlowMachine, redis: neighbours in the same machine or cgroup);
    /// `why` says who wants that. Never takes more than half: a database with less is no help to its neighbours either.
    pub fn memory_without(&self, bytes: u64, why: &str) -> Fact<u64> {
        let taken = bytes.min(self.memory.value / 2);
        let mut memory = self.memory.clone();
        memory.value -= taken;
        let note = format!(" less {} MiB: {why}", taken >> 20);
        match &mut memory.origin {
            Origin::Machine(s) | Origin::Cgroup(s) | Origin::Given(s) | Origin::Unknown(s) => s.push_str(&note),
        }
        memory
    }
}

/// Looks at the running machine. `data_dir` is PostgreSQL's data directory; it need not exist yet.
pub fn detect(data_dir: &Path) -> Hardware {
    read(&Root::new("/"), &Kernel::ask(data_dir))
}

/// The same from files below `root` (`proc/meminfo`, `proc/self/cgroup`, `sys/dev/block`, ...) and given answers.
pub fn read(root: &Root, kernel: &Kernel) -> Hardware {
    let groups = cgroup::Groups::read(root);
    let disk = disk::kind(root, kernel.data.as_ref().map(|d| d.device));
    let space = |fs: &Option<Filesystem>| {
        let fs = fs.as_ref()?;
        Some(Fact::new(fs.free, Origin::Machine(format!("free space of {}", fs.path.display()))))
    };
    Hardware {
        memory: memory::usable(root, &groups, kernel.total_memory),
        cpus: cpus::usable(root, &groups, kernel.affinity),
        read_iops: disk::read_iops(root, &groups, kernel.data.as_ref().map(|d| d.device)),
        disk,
        free_space: space(&kernel.data),
        wal_space: space(&kernel.wal),
        shm: space(&kernel.shm),
        huge_pages: memory::huge_pages(root, &groups),
        shmmax: root.number("proc/sys/kernel/shmmax"),
        commit_limit: memory::commit_limit(root),
        open_files: kernel.open_files,
    }
}

/// The directory that stands for `/`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// Looks everything up below `path`.
    pub fn new(path: impl Into<PathBuf>) -> Root {
        Root(path.into())
    }

    /// A path below this root, whether or not `path` begins with a slash.
    fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text. Files of `/proc` and `/sys` that can't be read are as good as missing.
    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = std::fs::read(self.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a directory; none where it can't be read.
    fn list(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.join(path)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// A file that holds one number; values beyond 64 bits become the largest.
    fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        whole(&self.text(path)?)
    }
}

/// A whole number alone in `text`; too large for 64 bits counts as the largest.
fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
