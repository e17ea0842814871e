//! The host that a deployment stands on: whose it is, where it lives by default, which ports are free.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Access;
use rustix::process::{Gid, Uid};

use super::Deployment;
use crate::catalogue::catalogue;
use crate::config::Problem;

/// The user that `flowkit up` makes when root starts a new deployment.
const USER: &str = "flowkit";

/// Why the host can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The state directory can't be made or entered.
    #[error("cannot use the state directory {}", .0.display())]
    State(PathBuf, #[source] std::io::Error),
    /// Somebody else's directory.
    #[error("the state directory {} belongs to user {owner}, and this is user {us}: run as its owner or as root", .dir.display())]
    NotOurs {
        /// The state directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Our number.
        us: u32,
    },
    /// The system user can't be made.
    #[error("cannot make the system user `{USER}` with useradd")]
    User(#[source] std::io::Error),
    /// Privileges can't be dropped; going on as root is no choice.
    #[error("cannot become user {0}")]
    Become(u32, #[source] std::io::Error),
    /// The steps of services are this program, run by that user.
    #[error("user {user} may not run {}: install it where everybody can read it (`make install`)", .program.display())]
    Program {
        /// Who.
        user: u32,
        /// What.
        program: PathBuf,
    },
}

/// Makes the state directory if it is missing and becomes its owner for good: root turns into the user that owns it,
/// or into the system user `flowkit`, made now if need be. To be called while there is one thread only.
///
/// # Errors
/// See [`HostError`]; nothing is left half done that a second call would not finish.
pub fn become_owner(root: &Path, program: &Path) -> Result<(), HostError> {
    let us = rustix::process::geteuid();
    if us.is_root() {
        let (uid, gid) = owner(root)?;
        let dropped = rustix::thread::set_thread_groups(&[])
            .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
            .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid));
        dropped.map_err(|error| HostError::Become(uid.as_raw(), error.into()))?;
    } else {
        // Closed to others from the start: it may be made where everybody can write, as in a container's /dev/shm.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(|error| HostError::State(root.to_owned(), error))?;
        let owner = fs::metadata(root).map_err(|error| HostError::State(root.to_owned(), error))?.uid();
        if owner != us.as_raw() {
            return Err(HostError::NotOurs { dir: root.to_owned(), owner, us: us.as_raw() });
        }
    }
    let user = rustix::process::geteuid().as_raw();
    // Both can only be known for sure after the change of user: a directory above may be closed to it.
    rustix::fs::access(root, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| HostError::State(root.to_owned(), error.into()))?;
    rustix::fs::access(program, Access::EXEC_OK).map_err(|_| HostError::Program { user, program: program.to_owned() })
}

/// For root: the owner of the state directory, which is made if need be.
fn owner(root: &Path) -> Result<(Uid, Gid), HostError> {
    let state = |error| HostError::State(root.to_owned(), error);
    if let Ok(found) = fs::metadata(root)
        && found.uid() != 0
    {
        return Ok((Uid::from_raw(found.uid()), Gid::from_raw(found.gid())));
    }
    let (uid, gid) = match passwd(USER) {
        Some(ids) => ids,
        None => {
            make_user(root).map_err(HostError::User)?;
            passwd(USER).ok_or_else(|| HostError::User(std::io::Error::other("it is not in /etc/passwd")))?
        }
    };
    fs::create_dir_all(root).map_err(state)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).map_err(state)?;
    std::os::unix::fs::chown(root, Some(uid), Some(gid)).map_err(state)?;
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn make_user(home: &Path) -> std::io::Result<()> {
    let status = Command::new("useradd")
        .args(["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "--home-dir"])
        .args([home.as_os_str(), USER.as_ref()])
        .status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("useradd ended with {status}"))) }
}

/// User and group number of a local user. Only the local file counts: the user is one that we made.
fn passwd(name: &str) -> Option<(u32, u32)> {
    let file = fs::read_to_string("/etc/passwd").ok()?;
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// A problem for each address of the deployment's roles that somebody else listens on, naming who where that can be seen: root sees
/// more, so it is asked before root becomes somebody else.
pub fn free_ports(deployment: &Deployment) -> Vec<Problem> {
    let roles = deployment.roles.iter().filter_map(|role| catalogue().role(role));
    let ports = roles.flat_map(|role| role.ports.iter().map(move |port| (role, port)));
    let mut problems = Vec::new();
    for (role, port) in ports {
        let Some(listen) = &port.listen else { continue };
        match deployment.socket(listen, &port.setting) {
            Ok(address) => problems.extend(taken(&role.name, &port.setting, address)),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

fn taken(role: &str, setting: &str, address: SocketAddr) -> Option<Problem> {
    let error = TcpListener::bind(address).err()?;
    let why = if error.kind() == std::io::ErrorKind::AddrInUse {
        let by =
            holder(address.port()).map_or("another process".to_string(), |(pid, name)| format!("{name} (pid {pid})"));
        format!("{by} listens there")
    } else {
        error.to_string()
    };
    let hint = format!("{why}: stop it, or give {setting} another value in flowkit.toml or with --set");
    Some(Problem::new(format!("cannot use the address of {role}"), hint).value(address.to_string()))
}

/// Who listens on a TCP port: the socket's inode from `/proc/net/tcp*`, then the process that holds it. `None` where
/// we may not look.
fn holder(port: u16) -> Option<(u32, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let lines: Vec<String> = tables.flat_map(|table| table.lines().map(str::to_string).collect::<Vec<_>>()).collect();
    // sl local_address rem_address st ... inode: state 0A is LISTEN, the port is in hexadecimal
    let suffix = format!(":{port:04X}");
    let inode = lines.iter().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A").then(|| fields.get(9).map(|i| i.to_string()))?
    })?;
    let socket = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find_map(|pid: u32| {
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let holds = open.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == socket.as_str()));
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string();
        holds.then(|| (pid, name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let problem = taken("flowdb", "FLOWDB_PORT", address).expect("the port is taken");
        assert!(problem.hint.contains(&format!("pid {}", std::process::id())), "{}", problem.hint);
        drop(listener);
        assert!(taken("flowdb", "FLOWDB_PORT", address).is_none());
    }

    #[test]
    fn root_is_in_the_local_file_and_nobody_else_of_that_name() {
        assert_eq!(passwd("root"), Some((0, 0)));
        assert_eq!(passwd("roo"), None);
    }
}
