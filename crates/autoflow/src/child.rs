//! What stands between AutoFlow and a notebook: two small processes of its own program, made for one child each.
//!
//! ```text
//! autoflow --- guard --- confine = python --- kernel, and whatever the notebook starts
//! ```
//! `guard` watches the time, the memory and the number of all that descends from it, and ends every one of them: when one is too much, when
//! the child has ended, and when AutoFlow is gone (its end of the pipe is closed then, however it died). `confine` takes away from itself all
//! that a notebook does not need, and becomes the child.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, set_child_subreaper, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::{Deserialize, Serialize};
use supervisor::{Confinement, Reach};

use crate::untrusted::no_follow;

/// The commands of the program that are these processes.
pub const GUARD: &str = "guard";
/// See [`GUARD`].
pub const CONFINE: &str = "confine";

/// Time between two looks at what descends from the guard.
const EVERY: Duration = Duration::from_millis(200);

/// The largest file that a notebook may write, in bytes.
const LARGEST: u64 = 4 << 30;

/// Threads of the user beside those that it has when a notebook begins.
const THREADS: u64 = 1024;

/// Whom the kernel ends first where memory runs out: a notebook rather than a database.
const OOM_SCORE: &str = "500";

/// Everything else on the machine comes before a notebook.
const NICE: i32 = 5;

/// What a child is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its program.
    pub program: PathBuf,
    /// What that is told.
    pub args: Vec<String>,
    /// The whole of its environment.
    pub env: BTreeMap<String, String>,
    /// Where it works.
    pub dir: PathBuf,
    /// What it reads.
    pub input: String,
    /// Where it writes what it says.
    pub log: PathBuf,
    /// What it may take.
    pub limits: Limits,
    /// What it may reach.
    pub walls: Walls,
}

/// What a child and all that it starts may take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Time.
    pub seconds: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Processes at once.
    pub processes: usize,
}

/// What it may reach.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Walls {
    /// Files to read and run.
    pub run: Vec<PathBuf>,
    /// Files to change.
    pub change: Vec<PathBuf>,
    /// TCP ports to connect to.
    pub connect: Vec<u16>,
    /// Whether it has to ask where hosts are.
    pub datagrams: bool,
    /// Whether it may make unix sockets.
    pub unix: bool,
    /// Bytes of memory for one process.
    pub memory: u64,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// By itself.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It took too long.
    Time,
    /// It and what it had started took too much memory.
    Memory,
    /// It had started too much.
    Processes,
    /// It could not be started.
    Failed(String),
}

/// Runs a child to its end, on a thread that may wait. It is ended when `hold` is dropped by somebody.
///
/// # Errors
/// There is no guard, or it has died.
pub fn start(job: &Job) -> io::Result<(impl FnOnce() -> io::Result<End> + Send + use<>, impl Send + use<>)> {
    let mut guard = Command::new(std::env::current_exe()?)
        .arg(GUARD)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut hold = guard.stdin.take().expect("it is piped");
    let mut line = serde_json::to_vec(job)?;
    line.push(b'\n');
    let told = hold.write_all(&line);
    let wait = move || {
        let mut said = String::new();
        guard.stdout.take().expect("it is piped").read_to_string(&mut said)?;
        let status = guard.wait()?;
        told?;
        serde_json::from_str(&said).map_err(|_| io::Error::other(format!("the guard of the notebook died: {status}")))
    };
    Ok((wait, hold))
}

/// The guard's program.
pub fn guard() -> ExitCode {
    let end = watch().unwrap_or_else(|error| End::Failed(error.to_string()));
    supervisor::end_descendants();
    say::show!("{}", serde_json::to_string(&end).expect("it is plain"));
    ExitCode::SUCCESS
}

fn watch() -> io::Result<End> {
    set_child_subreaper(Pid::from_raw(1))?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    let log = File::options().create(true).append(true).mode(0o600).custom_flags(no_follow()).open(&job.log)?;
    let walls = serde_json::to_string(&Walls { memory: job.limits.memory, ..job.walls.clone() })?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([CONFINE, &walls])
        .arg(&job.program)
        .args(&job.args)
        .env_clear()
        .envs(&job.env)
        .current_dir(&job.dir)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let mut input = child.stdin.take().expect("it is piped");
    let text = job.input.into_bytes();
    // Who does not read it does without.
    std::thread::spawn(move || input.write_all(&text));
    let gone = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel::<()>();
    let seen = gone.clone();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        seen.store(true, Ordering::Release);
        drop(tell);
    });
    let until = Instant::now() + Duration::from_secs(job.limits.seconds);
    let me = std::process::id().cast_signed();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().map_or_else(|| End::Signal(status.signal().unwrap_or_default()), End::Exit));
        }
        if gone.load(Ordering::Acquire) || Instant::now() >= until {
            return Ok(End::Time);
        }
        let all: Vec<_> = supervisor::descendants(me).into_iter().filter(|seen| !seen.zombie).collect();
        if all.len() > job.limits.processes {
            return Ok(End::Processes);
        }
        if all.iter().map(|seen| memory(seen.pid)).sum::<u64>() > job.limits.memory {
            return Ok(End::Memory);
        }
        let _ = told.recv_timeout(EVERY);
    }
}

/// Bytes that are a process's own, and its share of what several have. It can hide that, and then counts with all that it has in memory;
/// where its first thread has ended, the others tell.
fn memory(pid: i32) -> u64 {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten().map(|thread| thread.path());
    let told = |at: PathBuf| {
        sum(&at.join("smaps_rollup"), "Pss:", "SwapPss:").or_else(|| sum(&at.join("status"), "VmRSS:", "VmSwap:"))
    };
    std::iter::once(process.clone()).chain(threads).find_map(told).unwrap_or(0)
}

/// Bytes in two lines of a file of the kernel's; `None` where it can't be read, or doesn't have the first.
fn sum(file: &Path, first: &str, second: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((of(first)? + of(second).unwrap_or(0)) * 1024)
}

/// The program that becomes the child: `confine WALLS PROGRAM ARGUMENT…`.
pub fn confine(walls: &str, program: &str, args: &[String]) -> ExitCode {
    let error = match serde_json::from_str::<Walls>(walls).map_err(io::Error::from).and_then(|walls| close(&walls)) {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    };
    say::tell!("{program} can't be run: {error}");
    ExitCode::from(127)
}

fn close(walls: &Walls) -> io::Result<()> {
    // What fails of these is no wall.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let _ = rustix::process::nice(NICE);
    for number in 0..64 {
        // Root's too: by them it could look into every process.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    }
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    let lower = |resource: Resource, most: u64| {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        setrlimit(resource, limit(most))
    };
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, LARGEST)?;
    lower(Resource::Data, walls.memory)?;
    lower(Resource::Nproc, threads() + THREADS)?;
    supervisor::stay_visible()?;
    let run = walls.run.iter().map(|path| (path.clone(), Reach::Run));
    let change = walls.change.iter().map(|path| (path.clone(), Reach::Change));
    supervisor::confine_self(&Confinement {
        files: run.chain(change).collect(),
        listen: Vec::new(),
        connect: Some(walls.connect.clone()),
        plain: true,
        datagrams: walls.datagrams,
        unix: walls.unix,
    })
}

/// What Linux calls the processes of a machine that is no container: a number that it never changes (`PROC_PID_INIT_INO`).
const ALL: &str = "pid:[4026531836]";

/// Threads that run as this user, as far as they are known here. A container doesn't show the others of that number, which count too:
/// those of the whole machine then.
fn threads() -> u64 {
    if fs::read_link("/proc/self/ns/pid").is_ok_and(|processes| processes.as_os_str() == ALL) {
        return threads_of_user();
    }
    let all = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let all = all.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
    threads_of_user().max(all.unwrap_or(0))
}

/// Those that are seen.
fn threads_of_user() -> u64 {
    let me = rustix::process::getuid().as_raw().to_string();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let uid = field("Uid:")?.split_ascii_whitespace().next()?;
        (uid == me).then(|| field("Threads:")?.parse::<u64>().ok()).flatten()
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use rustix::process::{Gid, Uid, getuid};
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

    use super::*;

    /// A user that nothing else runs as.
    const SOMEBODY: u32 = 4_000_783;

    /// A program in Python of that user's, which has taken 64 MiB, and what a guard of that user sees of it.
    fn seen_of(program: &str) -> u64 {
        let program = format!(
            "import ctypes, threading, time\nx = b'x' * (64 << 20)\n{program}\nprint('so', flush=True)\n{HOLD}"
        );
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-Ic", &program]).stdout(Stdio::piped());
        if getuid().is_root() {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        let mut child = Killed(command.spawn().unwrap());
        let mut said = [0; 3];
        child.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        let pid = child.0.id().cast_signed();
        let look = move || {
            // Of this thread alone.
            if getuid().is_root() {
                let (user, group) = (Uid::from_raw(SOMEBODY), Gid::from_raw(SOMEBODY));
                set_thread_res_gid(group, group, group).unwrap();
                set_thread_res_uid(user, user, user).unwrap();
            }
            let until = Instant::now() + Duration::from_secs(20);
            // The thread that has said it may not have ended yet.
            while fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).is_ok() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(Instant::now() < until, "it does not hide");
            memory(pid)
        };
        std::thread::spawn(look).join().unwrap()
    }

    const HOLD: &str = "end()\ntime.sleep(60)";

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn what_hides_its_memory_is_counted() {
        for hides in [
            "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\nend = lambda: None",
            "threading.Thread(target=time.sleep, args=(60,)).start()\nend = lambda: ctypes.CDLL(None).pthread_exit(None)",
        ] {
            let seen = seen_of(hides) >> 20;
            assert!((64..200).contains(&seen), "{hides}: {seen} MiB");
        }
    }
}
