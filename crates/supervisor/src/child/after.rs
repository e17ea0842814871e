//! The child's side of fork: system calls only, as another thread may hold the allocator's lock for ever in this copy.

use std::os::fd::AsRawFd;

use super::{ALIVE_FD, Prepared, STEPS, Step};
use crate::confine;

/// No kernel has a capability of a higher number; those that one does not know are refused, which is as good.
const CAPABILITIES: libc::c_ulong = 63;

/// # Safety
/// Only in the child of a fork, with a whole `Prepared`. Makes system calls only, and never returns.
#[expect(unsafe_code, reason = "this is the child's side of fork")]
pub(super) unsafe fn run(p: &Prepared) -> ! {
    // SAFETY: system calls on descriptors and memory that the parent prepared; see each step.
    unsafe {
        for step in STEPS {
            if take(step, p) != 0 {
                let errno = (*libc::__errno_location()).to_ne_bytes();
                let record = [step as u8, errno[0], errno[1], errno[2], errno[3]];
                // After the descriptors are arranged the pipe keeps its number: it is above ALIVE_FD.
                libc::write(p.fds[4], record.as_ptr().cast(), record.len());
                libc::_exit(127);
            }
        }
        libc::_exit(127)
    }
}

/// # Safety
/// As for [`run`].
#[expect(unsafe_code, reason = "this is the child's side of fork")]
unsafe fn take(step: Step, p: &Prepared) -> libc::c_int {
    // SAFETY: every pointer is to memory of `p` or of this frame; every descriptor is one that the parent holds open.
    unsafe {
        match step {
            // No controlling terminal, out of reach of Ctrl-C and of the terminal's own stops.
            Step::Session => -libc::c_int::from(libc::setsid() == -1),
            Step::Signals => reset_signals(),
            Step::Limits => {
                let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                libc::umask(0o077);
                if let Some(cookie) = &p.cookie {
                    libc::setrlimit(libc::RLIMIT_LOCKS, cookie);
                }
                if let Some(memory) = &p.memory
                    && libc::setrlimit(libc::RLIMIT_DATA, memory) != 0
                {
                    return -1;
                }
                libc::setrlimit(libc::RLIMIT_NOFILE, &p.files) | libc::setrlimit(libc::RLIMIT_CORE, &no_core)
            }
            Step::OomScore => {
                if let Some(score) = &p.oom {
                    write_oom_score(score);
                }
                0
            }
            Step::Descriptors => descriptors(p),
            Step::Directory => libc::chdir(p.dir.as_ptr()),
            Step::User => match &p.user {
                None => 0,
                Some((uid, gid, groups)) => {
                    // Nothing that is run from here on can get a privilege back, whatever marks its file bears.
                    for capability in 0..=CAPABILITIES {
                        libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                    }
                    if libc::setgroups(groups.len(), groups.as_ptr()) != 0 || libc::setgid(*gid) != 0 {
                        return -1;
                    }
                    libc::setuid(*uid)
                }
            },
            // After the change of user, which would clear it.
            Step::DeathSignal => {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return -1;
                }
                // A parent that died before the line above never sends the signal.
                if libc::getppid() != p.parent {
                    libc::_exit(127);
                }
                0
            }
            Step::NoNewPrivileges => libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            Step::Confinement => p.confinement.as_ref().map_or(0, |confinement| confine(confinement)),
            Step::Exec => libc::execve(p.program.as_ptr(), p.argv.as_ptr(), p.envp.as_ptr()),
        }
    }
}

/// # Safety
/// As for [`run`].
#[expect(unsafe_code, reason = "this is the child's side of fork")]
unsafe fn confine(confinement: &confine::Prepared) -> libc::c_int {
    // SAFETY: the ruleset is a descriptor that the parent holds open; a filter is a live slice of instructions, which have
    // the C library's layout.
    unsafe {
        if let Some(ruleset) = &confinement.ruleset
            && libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) != 0
        {
            return -1;
        }
        for filter in &confinement.filters {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut().cast() };
            if libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, &raw const program) != 0 {
                return -1;
            }
        }
        0
    }
}

/// # Safety
/// As for [`run`].
#[expect(unsafe_code, reason = "this is the child's side of fork")]
unsafe fn reset_signals() -> libc::c_int {
    // SAFETY: a zeroed kernel sigaction (handler, flags, restorer, mask of 8 bytes) means SIG_DFL; the set is written
    // before it is read.
    unsafe {
        let default = [0usize; 4];
        for signal in 1..=64 {
            // Past the C library, which refuses for the two signals that it keeps for itself; a caller may have ignored
            // those. The kernel refuses for KILL and STOP, which can't be anything else.
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<usize>(), 8usize);
        }
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    }
}

/// Best effort: lowering the score needs a privilege that most supervisors rightly lack.
///
/// # Safety
/// As for [`run`].
#[expect(unsafe_code, reason = "this is the child's side of fork")]
unsafe fn write_oom_score(score: &[u8]) {
    let path = c"/proc/self/oom_score_adj";
    // SAFETY: constant path, live buffer.
    unsafe {
        // Our memory is marked undumpable, which makes this file root's; the mark is taken off for two calls.
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, score.as_ptr().cast(), score.len());
            libc::close(fd);
        }
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}

/// # Safety
/// As for [`run`].
#[expect(unsafe_code, reason = "this is the child's side of fork")]
unsafe fn descriptors(p: &Prepared) -> libc::c_int {
    // SAFETY: all numbers are open descriptors of the parent's; they lie above ALIVE_FD (`raise` sees to it), so no
    // dup2 overwrites one that is still needed.
    unsafe {
        let range = libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // A kernel without close_range: the parent marks all of its own, and those it was started with, itself.
        if range != 0 && *libc::__errno_location() != libc::ENOSYS {
            return -1;
        }
        for (target, source) in [(0, p.fds[0]), (1, p.fds[1]), (2, p.fds[2]), (ALIVE_FD, p.fds[3])] {
            if libc::dup2(source, target) < 0 {
                return -1;
            }
        }
        0
    }
}
