//! PostgreSQL's data directory: made once, configured at every start.
//!
//! What makes a directory ours is the file [`MARK`] in it, which is put there last. Anything else in its place is left
//! alone. Everything may be interrupted at any moment; the next [`Cluster::prepare`] goes on from there.

mod busy;
mod certificate;
mod conf;
mod init;
mod place;
mod user;

pub(crate) use conf::Out;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::FdFlags;
use rustix::process::geteuid;

use super::programs::{OLDEST, mend_versions, version_of};
use super::{Endpoint, Error, Postgres};
use flowkit_core::Site;
use flowkit_core::config::Problems;

/// In a data directory: it was made by us, wholly.
const MARK: &str = "flowkit.cluster";

/// In a data directory: held by whoever works on it, be it a start, the server or any process of theirs that outlived
/// them, in whatever container.
const LOCK: &str = "flowkit.lock";

/// The longest path of a Unix socket.
const SOCKET_PATH: usize = 107;

/// One cluster: what tells it from every other.
#[derive(Clone)]
pub struct Cluster {
    /// What people call it.
    pub name: &'static str,
    /// Where it is at home: which installation of PostgreSQL is used, and the secrets.
    pub site: Site,
    /// Its own directory. Its socket is in `run`, and its data are in `data` unless they are [elsewhere](Self::elsewhere).
    pub directory: PathBuf,
    /// Where its data are, if that is not below its directory.
    pub elsewhere: Option<PathBuf>,
    /// The superuser, owner of everything.
    pub superuser: &'static str,
    /// Whether the superuser may log in by its password from elsewhere than the socket.
    pub superuser_over_tcp: bool,
    /// The secret that holds the superuser's password.
    pub password: &'static str,
    /// The address that it listens on.
    pub listen: String,
    /// Its port, which is also part of the socket's name.
    pub port: u16,
    /// The file in which clients over TCP find the [certificate](certificate) that it shows them; without one it shows none.
    pub certificate: Option<PathBuf>,
    /// Extensions without which no installation will do.
    pub extensions: &'static [&'static str],
    /// Free bytes that it takes to make it.
    pub room: u64,
}

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

impl Cluster {
    /// The data directory: the one that was named, or its subdirectory `pgdata`.
    ///
    /// PostgreSQL takes a directory only from its owner, and Docker gives volumes to root. So the directory itself is used
    /// when it is ours or can become so, and the subdirectory otherwise; data that are there already decide it for good,
    /// whoever owns the directory by now.
    pub fn data(&self) -> PathBuf {
        place::place_in(self.elsewhere.clone().unwrap_or_else(|| self.directory.join("data")), geteuid().as_raw())
    }

    /// Where it answers.
    pub fn endpoint(&self) -> Endpoint {
        let socket = self.directory.join("run");
        Endpoint { of: self.name, socket, listen: self.listen.clone(), port: self.port }
    }

    /// The installation that serves it.
    ///
    /// # Errors
    /// There is none that will do.
    pub fn postgres(&self) -> Result<Postgres, Error> {
        Postgres::find(&self.site.settings, &self.data(), self.extensions)
    }

    /// The major version of what is in the data directory; the oldest that is used, where nothing is.
    pub fn major(&self) -> u32 {
        version_of(&self.data()).and_then(|text| text.parse().ok()).unwrap_or(OLDEST)
    }

    /// Makes the data directory unless it is there, and writes its configuration, `tune`'s among it: a part of `postgresql.conf`
    /// for an installation and a data directory, and what the operator should know of it.
    ///
    /// # Errors
    /// What is in use, of another major version, or not ours is refused, with nothing touched.
    pub fn prepare(
        &self,
        tune: impl FnOnce(&Postgres, &Path) -> Result<(String, Vec<String>), Problems>,
    ) -> Result<Prepared, Error> {
        if geteuid().is_root() {
            return Err(Error::Root);
        }
        let (data, endpoint) = (self.data(), self.endpoint());
        check_socket_path(&endpoint)?;
        // Before anything is made: secrets that are missing would leave a cluster that nobody can log in to.
        let password = self.site.store.require(&[self.password])?;
        let postgres = self.postgres()?;
        init::stage(&data)?;
        own_directory(&self.directory)?;
        own_directory(&endpoint.socket)?;
        own_directory(&data)?;
        let lock = busy::take_lock(&data)?;
        let mut said = busy::refuse(&data, &endpoint.socket)?;
        said.extend(mend_versions(&data, postgres.major)?);
        let user = user::find(&self.site.settings, &endpoint.socket)?;
        let new = init::New { cluster: self, postgres: &postgres, password: &password[self.password] };
        let created = new.finish(&data, &lock, user.as_ref())?;
        said.extend(conf::have_ours_included(&data)?);
        let (tuning, warnings) = tune(&postgres, &data)?;
        said.extend(warnings);
        let name = user.as_ref().map(|user| user.name.as_str());
        let access = self.access(name);
        if let Some(published) = &self.certificate {
            certificate::make(&data, &self.endpoint().host(), published)?;
        }
        said.extend(conf::write(&data, &self.relied_on(), &tuning, &access)?);
        Ok(Prepared { postgres, data, created, warnings: said })
    }

    /// Whom it lets in, its server being run by a user of this name.
    fn access<'a>(&self, user: Option<&'a str>) -> conf::Access<'a> {
        conf::Access { superuser: self.superuser, over_tcp: self.superuser_over_tcp, user }
    }

    /// Writes who is kept out for want of room from when the server reads its configuration again.
    pub(crate) fn keep_out(&self, out: Out) -> Result<(), Error> {
        let user = user::find(&self.site.settings, &self.endpoint().socket)?;
        conf::keep_out(&self.data(), out, &self.access(user.as_ref().map(|user| user.name.as_str())))
    }

    /// What its server is told, whatever files say.
    fn relied_on(&self) -> Vec<(&'static str, String)> {
        conf::relied_on(&self.data(), &self.endpoint(), self.certificate.is_some())
    }

    /// Becomes the server; returns only when that fails.
    ///
    /// The lock that it takes is inherited by every process of the server, so that nobody starts a second one while a
    /// single one of them lives, in whatever container.
    pub fn serve(&self) -> Error {
        self.become_server().unwrap_or_else(|error| error)
    }

    fn become_server(&self) -> Result<Error, Error> {
        let mut server = self.server_command()?;
        let _inherited = inherited(busy::take_lock(&self.data())?)?;
        let source = server.exec();
        Ok(Error::File { action: "run", path: server.get_program().into(), source })
    }

    /// The server on its prepared data directory, without the lock.
    ///
    /// # Errors
    /// There is no installation that will do.
    pub fn server_command(&self) -> Result<Command, Error> {
        let (data, endpoint) = (self.data(), self.endpoint());
        let user = user::find(&self.site.settings, &endpoint.socket)?;
        let mut server = Command::new(self.postgres()?.program("postgres"));
        server.arg("-D").arg(&data).envs(user.into_iter().flat_map(|user| user.env));
        // What we rely on wins over every file.
        for (name, value) in self.relied_on() {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        Ok(server)
    }
}

/// Writes a file so that whoever reads it sees all of the old text or all of the new, whatever happens.
///
/// # Errors
/// As of the file system.
///
/// # Panics
/// When the path is the root of the file system.
pub fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
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
    let path = endpoint.socket_file();
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
