//! PostgreSQL's data directory: made once, configured at every start.
//!
//! What makes a directory ours is the file [`MARK`] in it, which is put there last. Anything else in its place is left
//! alone. Everything may be interrupted at any moment; the next [`prepare`] goes on from there.

mod busy;
mod conf;
mod init;
mod place;
mod user;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use place::data_directory;
use rustix::io::FdFlags;
use rustix::process::geteuid;

use super::programs::{mend_versions, version_of};
use super::{Endpoint, Error, Postgres};
use flowkit_core::Site;

/// In a data directory: it was made by us, wholly.
const MARK: &str = "flowkit.cluster";

/// In a data directory: held by whoever works on it, be it a start, the server or any process of theirs that outlived
/// them, in whatever container.
const LOCK: &str = "flowkit.lock";

/// The longest path of a Unix socket.
const SOCKET_PATH: usize = 107;

/// What a start begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The installation that serves the data directory.
    pub postgres: Postgres,
    /// The data directory.
    pub data: PathBuf,
    /// Whether the data directory was made just now.
    pub created: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Makes the data directory unless it is there, and writes its configuration. Step `flowdb-prepare`.
///
/// Refuses, with nothing touched, what is in use, of another major version, or not ours.
pub fn prepare(site: &Site) -> Result<Prepared, Error> {
    if geteuid().is_root() {
        return Err(Error::Root);
    }
    let Site { settings, store, .. } = site;
    let (data, endpoint) = (data_directory(site), Endpoint::new(site));
    check_socket_path(&endpoint)?;
    // Before anything is made: secrets that are missing would leave a cluster that nobody can log in to.
    let password = store.require(&[super::connect::SUPERUSER_PASSWORD])?;
    let postgres = Postgres::find(settings, &data)?;
    init::stage(&data)?;
    own_directory(endpoint.socket.parent().expect("it is below the state directory"))?;
    own_directory(&endpoint.socket)?;
    own_directory(&data)?;
    let lock = busy::take_lock(&data)?;
    let mut said = busy::refuse(&data, &endpoint.socket)?;
    said.extend(mend_versions(&data, postgres.major)?);
    let password = &password[super::connect::SUPERUSER_PASSWORD];
    let user = user::find(settings, &endpoint.socket)?;
    let created = init::finish(&data, &lock, &postgres, password, user.as_ref())?;
    let name = user.as_ref().map(|user| user.name.as_str());
    said.extend(conf::have_ours_included(&data)?);
    said.extend(conf::write(&data, &endpoint, settings, &postgres, partitions(&data), name)?);
    Ok(Prepared { postgres, data, created, warnings: said })
}

/// Becomes the server. Step `flowdb-server`; returns only when that fails.
///
/// The lock that it takes is inherited by every process of the server, so that nobody starts a second one while a
/// single one of them lives, in whatever container.
pub fn serve(site: &Site) -> Error {
    become_server(site).unwrap_or_else(|error| error)
}

fn become_server(site: &Site) -> Result<Error, Error> {
    let mut server = server_command(site)?;
    let _inherited = inherited(busy::take_lock(&data_directory(site))?)?;
    let source = server.exec();
    Ok(Error::File { action: "run", path: server.get_program().into(), source })
}

/// The server on its prepared data directory, without the lock.
pub fn server_command(site: &Site) -> Result<Command, Error> {
    let (data, endpoint) = (data_directory(site), Endpoint::new(site));
    let user = user::find(&site.settings, &endpoint.socket)?;
    let mut server = Command::new(Postgres::find(&site.settings, &data)?.program("postgres"));
    server.arg("-D").arg(&data).envs(user.into_iter().flat_map(|user| user.env));
    // What we rely on wins over every file.
    for (name, value) in conf::relied_on(&data, &endpoint) {
        server.arg("-c").arg(format!("{name}={value}"));
    }
    Ok(server)
}

/// Where the number of event partitions is kept for the next start's tuning, when nobody can be asked.
pub(super) fn partitions_file(data: &Path) -> PathBuf {
    data.join("flowkit.partitions")
}

/// As of the last start; a database that was never started has none.
fn partitions(data: &Path) -> u64 {
    fs::read_to_string(partitions_file(data)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Writes a file so that whoever reads it sees all of the old text or all of the new, whatever happens.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let new = path.with_extension("flowkit-new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory(path.parent().expect("a file is in a directory"))
    };
    write().map_err(Error::file("write", path))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

fn check_socket_path(endpoint: &Endpoint) -> Result<(), Error> {
    let path = endpoint.socket.join(format!(".s.PGSQL.{}", endpoint.port));
    let length = path.as_os_str().len();
    if length > SOCKET_PATH { Err(Error::SocketPath { path, length }) } else { Ok(()) }
}

/// Makes a directory unless it is there, and sees to it that it is ours alone: PostgreSQL insists on that.
fn own_directory(path: &Path) -> Result<(), Error> {
    if let Err(source) = fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        return Err(no_place(path, source));
    }
    let found = fs::metadata(path).map_err(Error::file("look at", path))?;
    let me = geteuid().as_raw();
    if found.uid() != me {
        return Err(Error::WrongOwner { path: path.into(), owner: found.uid(), me });
    }
    if found.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(Error::file("protect", path))?;
    }
    Ok(())
}

/// Why a directory could not be made: the one around it is somebody else's, if that is why.
fn no_place(path: &Path, source: std::io::Error) -> Error {
    let parent = path.parent().unwrap_or(path);
    match fs::metadata(parent) {
        Ok(found) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Error::NotOurs { path: parent.into(), owner: found.uid(), me: geteuid().as_raw() }
        }
        _ => Error::File { action: "make the directory", path: path.into(), source },
    }
}

/// Has the programs that are started from here hold the lock as well, for as long as they live.
fn inherited(lock: File) -> Result<File, Error> {
    rustix::io::fcntl_setfd(&lock, FdFlags::empty()).map_err(|e| Error::file("hand on", LOCK)(e.into()))?;
    Ok(lock)
}
