//! What only system calls tell.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file system that we may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// The directory that was asked about, or its nearest existing parent.
    pub path: PathBuf,
    /// Device number: major, minor.
    pub device: (u32, u32),
    /// Bytes that an unprivileged user may still write.
    pub free: u64,
}

/// Answers of the kernel that do not come from files.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// CPUs that this process may run on.
    pub affinity: Option<u32>,
    /// The machine's memory, for when `/proc/meminfo` won't say.
    pub total_memory: Option<u64>,
    /// File system of the data directory.
    pub data: Option<Filesystem>,
    /// File system of `pg_wal`.
    pub wal: Option<Filesystem>,
    /// `/dev/shm`.
    pub shm: Option<Filesystem>,
    /// RLIMIT_NOFILE, soft.
    pub open_files: Option<u64>,
}

impl Kernel {
    /// Asks the running kernel.
    pub fn ask(data_dir: &Path) -> Kernel {
        let info = rustix::system::sysinfo();
        Kernel {
            affinity: rustix::thread::sched_getaffinity(None).ok().map(|set| set.count()),
            total_memory: (info.totalram as u64).checked_mul(u64::from(info.mem_unit.max(1))),
            data: filesystem(data_dir),
            wal: filesystem(&data_dir.join("pg_wal")),
            shm: Path::new("/dev/shm").is_dir().then(|| filesystem(Path::new("/dev/shm"))).flatten(),
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

/// The file system of `path`, or of its nearest parent that exists. Links are followed: `pg_wal` may be one.
fn filesystem(path: &Path) -> Option<Filesystem> {
    let path = path.ancestors().find(|p| p.exists())?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let device = std::fs::metadata(path).ok()?.dev();
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Filesystem {
        path: path.to_owned(),
        device: (rustix::fs::major(device), rustix::fs::minor(device)),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}
