//! What a service is kept from although its user could: a service that is broken into reaches no more than its work needs.
//!
//! Landlock closes files, TCP ports, and every process outside of the service (signals, memory, environment). It leaves open
//! the modes of files, unix sockets that have a path (before Linux 7.1), and calls that no server makes: those a seccomp
//! filter takes away. Both are prepared before
//! the fork, take effect right before the program runs, and are inherited by all that it starts. A kernel that has less of
//! either confines less; [`gaps`] says what is missing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

use super::child;
use super::service::{Confinement, Reach};

/// What we know of Landlock: later versions can do more, which has to be tried first. The last that this was tried on is 7.
const KNOWN: ABI = ABI::V9;

/// A confinement, ready to be put on.
pub struct Prepared {
    /// `None` where the kernel has no Landlock.
    pub ruleset: Option<OwnedFd>,
    /// To be installed one after the other.
    pub filters: Vec<BpfProgram>,
}

impl Prepared {
    /// Opens the paths and translates the rules.
    pub fn new(confinement: &Confinement) -> io::Result<Prepared> {
        let ruleset: Option<OwnedFd> = ruleset(confinement).map_err(io::Error::other)?.into();
        Ok(Prepared { ruleset: ruleset.map(child::raise).transpose()?, filters: filters_of(confinement)? })
    }
}

fn filters_of(confinement: &Confinement) -> io::Result<Vec<BpfProgram>> {
    match confinement.plain && has_filters() {
        true => filters(!confinement.datagrams, confinement.unix).map_err(io::Error::other),
        false => Ok(Vec::new()),
    }
}

/// Confines this process, which has one thread yet, and all that it starts: what a program may do to itself before it becomes another.
///
/// # Errors
/// The kernel refuses what it said it has.
pub fn confine_self(confinement: &Confinement) -> io::Result<()> {
    let filters = filters_of(confinement)?;
    ruleset(confinement).and_then(RulesetCreated::restrict_self).map_err(io::Error::other)?;
    filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(io::Error::other))
}

/// Takes from this process, which has one thread yet, and all that it starts the call that hides its memory from others of its user: who
/// watches how much that is has to see it. Not for who has secrets.
///
/// # Errors
/// The kernel refuses what it said it has.
pub fn stay_visible() -> io::Result<()> {
    if !has_filters() {
        return Ok(());
    }
    seccompiler::apply_filter(&visible().map_err(io::Error::other)?).map_err(io::Error::other)
}

fn visible() -> Result<BpfProgram, seccompiler::BackendError> {
    let hide = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        libc::PR_SET_DUMPABLE.unsigned_abs().into(),
    )?;
    program(BTreeMap::from([(libc::SYS_prctl, vec![SeccompRule::new(vec![hide])?])]), libc::EPERM)
}

/// What this kernel can't close to a confined service, in words.
pub fn gaps() -> Vec<&'static str> {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let has = |asked: Result<Ruleset, RulesetError>| asked.and_then(Ruleset::create).is_ok();
    let closed = [
        (has(strict().handle_access(AccessFs::from_all(ABI::V1))), "others' files and memory (Landlock, Linux 5.13)"),
        (has(strict().handle_access(AccessFs::Truncate)), "cutting files short (Linux 6.2)"),
        (has(strict().handle_access(AccessNet::BindTcp)), "others' TCP ports (Linux 6.7)"),
        (has(strict().scope(Scope::Signal)), "signals to other processes (Linux 6.12)"),
        (has_filters(), "others' sockets (seccomp)"),
    ];
    closed.into_iter().filter(|(closed, _)| !closed).map(|(_, what)| what).collect()
}

fn ruleset(confinement: &Confinement) -> Result<RulesetCreated, RulesetError> {
    let mut attributes = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?;
    if confinement.connect.is_some() {
        attributes = attributes.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created = attributes.create()?;
    for (path, reach) in &confinement.files {
        created = created.add_rules(path_beneath_rules([path], rights(*reach)))?;
    }
    for port in &confinement.listen {
        created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    for port in confinement.connect.iter().flatten() {
        created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(created)
}

fn rights(reach: Reach) -> BitFlags<AccessFs> {
    let no_file_of_a_servers = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    match reach {
        Reach::Run => AccessFs::from_read(KNOWN),
        Reach::Change => (AccessFs::from_all(KNOWN) & !no_file_of_a_servers) & !AccessFs::Execute,
    }
}

/// Whether the kernel takes filters.
fn has_filters() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the pointer is to a live number, which is only read.
    #[expect(unsafe_code, reason = "no library asks this")]
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    answer == 0
}

/// The same numbers on every machine; the C library's lists lack them on some.
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const OPEN_TREE_ATTR: libc::c_long = 467;
const FILE_SETATTR: libc::c_long = 469;

/// Calls that no server of ours makes, and that look into other processes or have opened ways up before.
const REFUSED: &[libc::c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    // Modes and owners of files, which could open those of others to everybody.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // Memory, semaphores and queues that are told apart by user alone.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semctl,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    // What is mounted where, and files without their path.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Large parts of the kernel. io_uring also makes calls that no filter sees.
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_syslog,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// Kinds of sockets that a server needs; unix ones lead to other services, to the desktop, to engines of containers.
const SOCKETS: [libc::c_int; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Protocols of theirs: the usual one of the kind, TCP, UDP. Landlock knows TCP and not what else carries streams (MPTCP).
const PROTOCOLS: [libc::c_int; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// Kinds of a pair of sockets with which a message can be sent to somebody else; 3 is a datagram too, as the kernel has it.
const LOOSE: [libc::c_int; 4] = [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, 10];

/// Namespaces that `clone` can make; the newer call hides its flags from filters, and is as if it were not there.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Requests that type into a terminal.
const TYPING: [libc::c_ulong; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

fn filters(no_datagrams: bool, unix: bool) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let when = |argument: u8, op: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
    };
    let any = |conditions: Vec<_>| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        conditions.into_iter().map(|condition| SeccompRule::new(vec![condition?])).collect()
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let kinds = SOCKETS.iter().copied().chain(unix.then_some(libc::AF_UNIX));
    let others: Result<_, _> = kinds.map(|kind| when(0, Ne, kind as u64)).collect();
    let mut sockets = vec![SeccompRule::new(others?)?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let protocols = PROTOCOLS.iter().map(|protocol| when(2, Ne, *protocol as u64));
        let all: Result<_, _> = std::iter::once(when(0, Eq, family as u64)).chain(protocols).collect();
        sockets.push(SeccompRule::new(all?)?);
        if no_datagrams {
            let datagrams = when(1, MaskedEq(0xf), libc::SOCK_DGRAM as u64)?;
            sockets.push(SeccompRule::new(vec![when(0, Eq, family as u64)?, datagrams])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    // One of a pair of these can be sent anywhere.
    rules.insert(libc::SYS_socketpair, any(LOOSE.iter().map(|kind| when(1, MaskedEq(0xf), *kind as u64)).collect())?);
    // Sending may connect as well, past Landlock.
    let fast = libc::MSG_FASTOPEN as u64;
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(call, any(vec![when(flags, MaskedEq(fast), fast)])?);
    }
    rules.insert(libc::SYS_ioctl, any(TYPING.iter().map(|request| when(1, Eq, *request)).collect())?);
    // Of another process. Scheduling stays as it is: ZeroMQ sets that of its threads, by their ids.
    rules.insert(libc::SYS_prlimit64, any(vec![when(0, Ne, 0)])?);
    let flags = NAMESPACES.iter().map(|flag| (*flag as u32).into());
    rules.insert(libc::SYS_clone, any(flags.map(|flag| when(0, MaskedEq(flag), flag)).collect())?);
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![program(rules, libc::EPERM)?, program(unknown, libc::ENOSYS)?])
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let refuse = SeccompAction::Errno(errno as u32);
    let machine = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine)?.try_into()?;
    Ok(no_second_numbers().into_iter().chain(program).collect())
}

/// x86-64 knows each call by a second number (x32, from 2^30 on), which no rule above names: none of those.
fn no_second_numbers() -> [sock_filter; 3] {
    let instruction = |code: u32, jf, k| sock_filter { code: code as u16, jt: 0, jf, k };
    [
        // The call's number comes first in what a filter is given.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 1 << 30),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
}
