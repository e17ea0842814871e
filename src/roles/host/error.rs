//! Why the host can't be used, and what to do.

use std::path::PathBuf;

use super::FORMER;

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
    /// Root would run somebody else's services with somebody else's settings.
    #[error(
        "the state directory {} belongs to user {owner}: run this as that user, or with --as-owner to have root do it as \
         that user, or name another directory with --dir", .dir.display()
    )]
    NotRoots {
        /// The state directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// A link may lead anywhere.
    #[error("{} is not a directory, and root follows no link there; give --dir DIR", .0.display())]
    NoDirectory(PathBuf),
    /// Somebody could swap what root works on.
    #[error(
        "root does not work in {}: {} can be changed by others; choose a place that is root's all the way, such as \
         /var/lib/flowkit, or make it so", .dir.display(), .above.display()
    )]
    Exposed {
        /// The state directory.
        dir: PathBuf,
        /// It, or one above it.
        above: PathBuf,
    },
    /// It is something else's directory.
    #[error("{} is no state directory of flowkit, since it holds {file:?}: name a new or an empty one with --dir", .dir.display())]
    Strange {
        /// The directory.
        dir: PathBuf,
        /// What is in it.
        file: String,
    },
    /// A directory below the state directory is not its user's.
    #[error("{} belongs to user {owner}, not to {wanted}: give it back (chown -R), or move it away", .dir.display())]
    Anothers {
        /// The directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Whose it must be.
        wanted: String,
    },
    /// Whose processes still run could get in the way of a change of owners.
    #[error(
        "{} is of a version in which user {FORMER} ran everything, and processes of that user still run (pid {pid}): \
         flowkit down --dir {}", .dir.display(), .dir.display()
    )]
    StillRuns {
        /// The state directory.
        dir: PathBuf,
        /// One of them.
        pid: u32,
    },
    /// Root would follow it.
    #[error("{} is no plain file with one name, and a service could have put it there: look at it, and remove it", .0.display())]
    Planted(PathBuf),
    /// A system user can't be made.
    #[error("cannot make the system user `{name}` with useradd")]
    User {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Privileges can't be dropped; going on as root is no choice.
    #[error("cannot become user {0}")]
    Become(u32, #[source] std::io::Error),
    /// A role that never ran here has no user to do it as.
    #[error("the role {role} is not in {} yet: `flowkit up` with it, as root, brings it", .dir.display())]
    NoRole {
        /// The state directory.
        dir: PathBuf,
        /// The role.
        role: String,
    },
    /// The user that services run as can't reach this program.
    #[error("user {user} cannot run {}: install flowkit where every user can reach it, e.g. /usr/local/bin", .program.display())]
    Program {
        /// The user's number.
        user: u32,
        /// This program.
        program: PathBuf,
    },
}
