//! The system calls that have no safe form in our libraries, each behind a function that keeps its promise. Together
//! with `child.rs` (what runs between fork and exec) this is all of the supervisor's unsafe code.

use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::error::Error;
use super::exit::Exit;
use super::service::User;

/// Which side of a fork this is.
pub enum Fork {
    /// The caller, with the child's process id.
    Parent(i32),
    /// The new process.
    Child,
}

/// Forks. Refused while other threads exist: their locks would stay held in the child.
pub fn fork() -> Result<Fork, Error> {
    let threads = threads().map_err(Error::system("count threads"))?;
    if threads != 1 {
        return Err(Error::Threads(threads));
    }
    // SAFETY: there is one thread (checked above), so the child is a whole copy of the process and may do anything.
    #[expect(unsafe_code, reason = "fork has no safe form")]
    match unsafe { libc::fork() } {
        -1 => Err(Error::system("fork")(io::Error::last_os_error())),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Ends this process now, without running destructors or exit handlers that belong to the process it was forked from.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit has no preconditions.
    #[expect(unsafe_code, reason = "_exit has no safe form")]
    unsafe {
        libc::_exit(status.into())
    }
}

/// Runs a forked process's whole life: neither a result nor a panic may take it back into the code of its parent.
pub fn never_return(life: impl FnOnce() -> u8) -> ! {
    let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
    // 70 is "internal software error" in sysexits.h; the panic itself has been printed.
    exit_now(status.unwrap_or(70))
}

/// Blocks every signal in this thread and in those it will start, and gives SIGCHLD its default meaning: an ignored
/// one would make the kernel throw exit statuses away. Returns whether SIGHUP was ignored (`nohup`).
pub fn take_over_signals() -> io::Result<bool> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut hup = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the set is written by sigfillset before it is read; `hup` is written by sigaction when that returns 0;
    // SIG_DFL and SIG_IGN are valid handlers; nothing else is pointed to.
    #[expect(unsafe_code, reason = "signal masks have no safe form")]
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        if libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) != 0
            || libc::sigaction(libc::SIGHUP, std::ptr::null(), hup.as_mut_ptr()) != 0
        {
            return Err(io::Error::last_os_error());
        }
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        Ok(hup.assume_init().sa_sigaction == libc::SIG_IGN)
    }
}

/// A descriptor from which every blocked signal is read.
pub struct Signals(File);

impl Signals {
    /// Non-blocking, closed on exec. Signals must have been blocked before.
    pub fn new() -> io::Result<Signals> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is written by sigfillset before signalfd reads it; a non-negative result is a new descriptor
        // that nobody else owns.
        #[expect(unsafe_code, reason = "signalfd has no safe form")]
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::signalfd(-1, all.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Signals(File::from(OwnedFd::from_raw_fd(fd)))),
            }
        }
    }

    /// The next signal that has arrived, if any.
    pub fn next(&mut self) -> Option<i32> {
        // The first four bytes of signalfd_siginfo are the signal's number; the structure has 128.
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        match self.0.read(&mut info) {
            Ok(n) if n == info.len() => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
            _ => None,
        }
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to a process held by its pidfd. `false` when it is gone.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> bool {
    // SAFETY: the descriptor is open for the length of the call; the siginfo pointer may be null.
    #[expect(unsafe_code, reason = "rustix knows only named signals, and a service may want SIGRTMIN+3")]
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    result == 0
}

/// Marks every descriptor from `first` on as closed on exec, whatever the process was started with.
pub fn close_on_exec_from(first: u32) {
    // SAFETY: only a flag of descriptors changes; their owners keep them open.
    #[expect(unsafe_code, reason = "close_range has no safe form")]
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return;
    }
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        if let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            && fd >= first as i32
        {
            // SAFETY: as above; a number that was closed meanwhile gives EBADF.
            #[expect(unsafe_code, reason = "the number is not ours to own")]
            unsafe {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Process and user at the other end of a unix socket. Not through rustix: it takes the process id for positive, and that
/// of a process outside our namespace is 0.
pub fn peer(socket: BorrowedFd<'_>) -> Option<(i32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: pointer and length describe a live structure of the type that this option fills in.
    #[expect(unsafe_code, reason = "see above")]
    let result = unsafe {
        let peer = (&raw mut peer).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, peer, &mut length)
    };
    (result == 0 && length as usize == size_of::<libc::ucred>()).then_some((peer.pid, peer.uid))
}

/// While it is held, this thread reaches files and sockets with the rights of a user; for root alone. Only the effective
/// ids change, so that the user can't signal the process.
pub struct Acting {
    groups: Vec<Gid>,
    /// Ids belong to a thread: it must be dropped where it was made.
    _thread: PhantomData<*const ()>,
}

impl Acting {
    /// Begins.
    ///
    /// # Errors
    /// The system refuses; the thread may then have few rights.
    pub fn as_user(user: &User) -> io::Result<Acting> {
        let acting = Acting { groups: rustix::process::getgroups()?, _thread: PhantomData };
        set_thread_groups(&user.groups.iter().map(|id| Gid::from_raw(*id)).collect::<Vec<_>>())?;
        set_thread_res_gid(Gid::ROOT, Gid::from_raw(user.gid), Gid::ROOT)?;
        set_thread_res_uid(Uid::ROOT, Uid::from_raw(user.uid), Uid::ROOT)?;
        Ok(acting)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let back = set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
            .and_then(|()| set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))
            .and_then(|()| set_thread_groups(&self.groups));
        back.expect("root is root again: the real ids never changed");
    }
}

/// Time since some fixed point, on the clock that no one can set; it stands still while the machine sleeps.
pub fn now() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    std::time::Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// A child that has ended and is not reaped yet, and how it ended. It stays as it is: see [`reap`].
pub fn next_ended() -> Option<(i32, Exit)> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: zeroes are a valid siginfo; waitid fills it in for a child, and leaves the pid 0 when there is none.
    #[expect(unsafe_code, reason = "the safe form does not tell the process id")]
    let (pid, code, status) = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) != 0 {
            return None;
        }
        let info = info.assume_init();
        (info.si_pid(), info.si_code, info.si_status())
    };
    let exit = if code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    (pid != 0).then_some((pid, exit))
}

/// Reaps a child that has ended.
pub fn reap(pid: i32) {
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // Nothing can be done about a failure: the child is ours and has ended.
        let _ = rustix::process::waitid(rustix::process::WaitId::Pid(pid), options);
    }
}
