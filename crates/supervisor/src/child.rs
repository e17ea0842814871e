//! From fork to exec: the fixed order of steps that makes a service's process.
//!
//! Everything that needs memory is prepared before the fork ([`Prepared`]); afterwards only system calls are made, since
//! another thread may hold the allocator's lock for ever in the copy. A step that fails is told to the parent as two
//! numbers through a pipe that a successful exec closes.

mod after;

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use super::confine;
use super::service::Command;
use super::walk;

/// The descriptor number at which a service finds the alive lock.
const ALIVE_FD: RawFd = 3;

/// The steps, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Session,
    Signals,
    Limits,
    OomScore,
    Descriptors,
    Directory,
    User,
    DeathSignal,
    NoNewPrivileges,
    Confinement,
    Exec,
}

const STEPS: [Step; 11] = [
    Step::Session,
    Step::Signals,
    Step::Limits,
    Step::OomScore,
    Step::Descriptors,
    Step::Directory,
    Step::User,
    Step::DeathSignal,
    Step::NoNewPrivileges,
    Step::Confinement,
    Step::Exec,
];

/// What a process inherits beside its command.
pub struct Inherit<'a> {
    /// Becomes standard output.
    pub stdout: BorrowedFd<'a>,
    /// Becomes standard error.
    pub stderr: BorrowedFd<'a>,
    /// The alive lock, which stays open on purpose.
    pub alive: BorrowedFd<'a>,
    /// `/dev/null`.
    pub null: BorrowedFd<'a>,
    /// Soft limit of open files.
    pub open_files: u64,
    /// Limit of its own memory, in bytes.
    pub memory: Option<u64>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// See [`super::walk::Cookie`].
    pub cookie: u64,
}

/// A started process: its id, and the pipe that tells whether the program was reached.
pub struct Started {
    /// Process id; it stays ours until it is reaped.
    pub pid: i32,
    /// At end of file the program runs; otherwise see [`told`].
    pub pipe: OwnedFd,
}

struct Prepared {
    program: CString,
    _args: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    _env: Vec<CString>,
    envp: Vec<*const libc::c_char>,
    dir: CString,
    user: Option<(u32, u32, Vec<u32>)>,
    oom: Option<Vec<u8>>,
    files: libc::rlimit,
    memory: Option<libc::rlimit>,
    cookie: Option<libc::rlimit>,
    confinement: Option<confine::Prepared>,
    fds: [RawFd; 5],
    parent: i32,
}

/// Starts a command. It must be called on the thread that lives as long as the process: the kernel ties the death signal
/// to the thread that forked.
pub fn start(command: &Command, inherit: &Inherit<'_>) -> io::Result<Started> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
    let write = raise(write)?;
    let prepared = Prepared::new(command, inherit, write.as_raw_fd())?;
    // SAFETY: the child calls only `after::run`, which allocates nothing and takes no lock; all pointers in `prepared` stay
    // valid in its copy of memory.
    #[expect(unsafe_code, reason = "fork has no safe form")]
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: this is the child of a fork and `prepared` is whole.
        0 => unsafe { after::run(&prepared) },
        pid => Ok(Started { pid, pipe: read }),
    }
}

/// What a start's pipe has told.
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// The program runs.
    Reached,
    /// A step failed: in words, with its `errno`.
    Failed(String, i32),
}

/// Reads what a child has written to its pipe.
pub fn told(pipe: BorrowedFd<'_>, command: &Command) -> Told {
    let mut record = [0u8; 5];
    match rustix::io::read(pipe, &mut record) {
        Ok(5) => {}
        Ok(_) => return Told::Reached,
        Err(_) => return Told::Nothing,
    }
    let errno = i32::from_ne_bytes([record[1], record[2], record[3], record[4]]);
    let step = STEPS.get(usize::from(record[0])).copied().unwrap_or(Step::Exec);
    let words = match step {
        Step::Session => "make a session".to_owned(),
        Step::Signals => "reset signals".to_owned(),
        Step::Limits => "set limits".to_owned(),
        Step::OomScore => "set the memory killer's score".to_owned(),
        Step::Descriptors => "arrange descriptors".to_owned(),
        Step::Directory => format!("change to directory {}", command.dir.display()),
        Step::User => match &command.user {
            Some(user) => format!("become user {}, group {}", user.uid, user.gid),
            None => "become the user".to_owned(),
        },
        Step::DeathSignal => "ask for the death signal".to_owned(),
        Step::NoNewPrivileges => "give up new privileges".to_owned(),
        Step::Confinement => "confine itself".to_owned(),
        Step::Exec => format!("run {}", command.program.display()),
    };
    Told::Failed(words, errno)
}

impl Prepared {
    fn new(command: &Command, inherit: &Inherit<'_>, pipe: RawFd) -> io::Result<Prepared> {
        let program = c_string(command.program.as_os_str())?;
        let mut args = vec![program.clone()];
        for arg in &command.args {
            args.push(c_string(arg)?);
        }
        let mut env = Vec::with_capacity(command.env.len());
        for (name, value) in &command.env {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            env.push(c_string(&pair)?);
        }
        let files = limit(libc::RLIMIT_NOFILE);
        let soft = inherit.open_files.min(files.rlim_max);
        let locks = limit(libc::RLIMIT_LOCKS).rlim_max.min(walk::MARK);
        let confinement = command.confinement.as_ref().map(confine::Prepared::new).transpose()?;
        Ok(Prepared {
            argv: pointers(&args),
            envp: pointers(&env),
            program,
            _args: args,
            _env: env,
            dir: c_string(command.dir.as_os_str())?,
            user: user(command),
            oom: inherit.oom_score_adj.map(|score| score.to_string().into_bytes()),
            files: libc::rlimit { rlim_cur: soft, rlim_max: files.rlim_max },
            memory: inherit.memory.map(|bytes| {
                let bytes = bytes.min(limit(libc::RLIMIT_DATA).rlim_max);
                libc::rlimit { rlim_cur: bytes, rlim_max: bytes }
            }),
            cookie: (inherit.cookie <= locks).then_some(libc::rlimit { rlim_cur: inherit.cookie, rlim_max: locks }),
            confinement,
            fds: [
                inherit.null.as_raw_fd(),
                inherit.stdout.as_raw_fd(),
                inherit.stderr.as_raw_fd(),
                inherit.alive.as_raw_fd(),
                pipe,
            ],
            parent: rustix::process::getpid().as_raw_nonzero().get(),
        })
    }
}

/// The user to change to; `None` when we are that user already and have not the right to change anything.
fn user(command: &Command) -> Option<(u32, u32, Vec<u32>)> {
    let user = command.user.as_ref()?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if uid != 0 && (uid, gid) == (user.uid, user.gid) {
        return None;
    }
    Some((user.uid, user.gid, user.groups.clone()))
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

fn limit(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live structure of the right type.
    #[expect(unsafe_code, reason = "rustix does not know RLIMIT_LOCKS in this form")]
    unsafe {
        libc::getrlimit(resource, &mut limit);
    }
    limit
}

/// Moves a descriptor above those that a service is given, so that arranging them can't overwrite it.
pub fn raise(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > ALIVE_FD {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, ALIVE_FD + 1)?)
}

/// Opens `/dev/null` above [`ALIVE_FD`].
pub fn open_null() -> io::Result<OwnedFd> {
    raise(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}
