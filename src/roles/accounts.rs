//! The users of this host that roles run as.
//!
//! Where root runs a deployment, each role is a system user of its own, named as the NixOS modules name theirs.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};

use super::HostError;
use supervisor::User;

/// Longest wait for others who write the list of users.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of a role's user.
pub fn name(role: &str) -> String {
    format!("flowkit-{role}")
}

/// A role's user, if there is one.
pub fn find(role: &str) -> Option<User> {
    passwd(&name(role))
}

/// A role's user, made if need be.
pub fn ensure(role: &str) -> Result<User, HostError> {
    let name = name(role);
    let failed = |source| HostError::User { name: name.clone(), source };
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(user) = passwd(&name) {
            return Ok(user);
        }
        // It fails while somebody else holds the list, and when somebody else has just made the user.
        let output = useradd(&name).output().map_err(failed)?;
        if passwd(&name).is_none() && !output.status.success() && Instant::now() > until {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(failed(std::io::Error::other(said)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn useradd(name: &str) -> Command {
    let mut useradd = Command::new("useradd");
    useradd.args(["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]);
    useradd.args(["--shell", "/usr/sbin/nologin", "--comment", "FlowKit", name]);
    useradd
}

/// A local user by name. Only the local file counts: the users are ones that we made.
pub(super) fn passwd(name: &str) -> Option<User> {
    let file = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(User { uid, gid, groups: Vec::new() })
}

/// Becomes a user for good, without the terminal: a program of that user's could type into it what root's shell would run.
/// To be called while there is one thread only.
pub(super) fn become_user(uid: u32, gid: u32) -> Result<(), HostError> {
    leave_terminal();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .and_then(|()| rustix::thread::set_no_new_privs(true))
        .map_err(|error| HostError::Become(uid.as_raw(), error.into()))
}

/// Whoever leads the terminal's session stays: with it ends the session, and nobody reads what is typed.
fn leave_terminal() {
    let me = rustix::process::getpid();
    if let Ok(terminal) = std::fs::File::open("/dev/tty")
        && rustix::process::getsid(None).is_ok_and(|leader| leader != me)
    {
        // SAFETY: the request takes no argument, and the descriptor is open.
        #[expect(unsafe_code, reason = "rustix does not know this request")]
        unsafe {
            libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&terminal), libc::TIOCNOTTY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_in_the_local_file_and_nobody_else_of_that_name() {
        assert_eq!(passwd("root"), Some(User { uid: 0, gid: 0, groups: Vec::new() }));
        assert_eq!(passwd("roo"), None);
    }
}
