//! redis.conf.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::PASSWORD;
use flowkit_core::Site;
use flowkit_core::config::Problems;
use flowkit_core::secrets::Store;

/// Memory that redis may use, in bytes.
///
/// The state of a query takes 1,941 bytes (redis 7.0, measured over 2,000 of them) and is kept for good: this is room for
/// 130,000 different queries, sub-queries counted. At the limit redis refuses to store more and says so; it must not
/// forget anything by itself, because the state machine of a query breaks when one of its keys is missing.
pub const MAX_MEMORY: u64 = 256 << 20;

/// Memory that redis' process may have of its own, in bytes: its data, and as much again for connections and scripts. Past it
/// a script ends with an error; where redis itself gets no memory it ends, and is started again.
pub const MAX_PROCESS: u64 = 2 * MAX_MEMORY;

/// Memory that one connection may take for a command or for answers, in bytes.
const MAX_BUFFER: u64 = 16 << 20;

/// The same of all connections together: more than 4,000 take that are idle. What takes most is closed first.
const MAX_CLIENTS: u64 = MAX_MEMORY / 2;

/// The file's name in redis' directory.
const CONF_FILE: &str = "redis.conf";

/// FlowMachine's idle connections; it needs EVAL, and its function `resync_redis_with_cache` FLUSHDB; nothing is kept.
const STATES_TIMEOUT: &str = "\
# Seconds after which a connection that says nothing is closed: FlowMachine's clients make another. Whoever has no password
# can hold some, too.
timeout 300";
const STATES_MAY: &str = "-@blocking -@pubsub +flushdb";
const STATES_KEPT: &str = "\
# Nothing is kept over a restart: what redis holds about queries is rebuilt from the database before FlowMachine starts
# (`flowkit step flowmachine-repair`). A saved copy would be older than the database, and wrong.
appendonly no";

/// Celery's workers wait in silence for tasks, and for what is said to all of them; tasks are kept.
const QUEUE_TIMEOUT: &str = "\
# Workers listen in silence until there is something to do.
timeout 0";
const QUEUE_MAY: &str = "&*";
const QUEUE_KEPT: &str = "\
# A task that was on its way is still there after a restart; Airflow would miss it after ten minutes only.
appendonly yes
appendfsync everysec
# Written anew early, as most of what it holds is done: it may be in a container's memory, of which there are 64 MiB.
auto-aof-rewrite-min-size 4mb";

/// Why there is no redis.conf.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The password is missing or malformed.
    #[error(transparent)]
    Password(#[from] Problems),
    /// redis.conf has one directive a line, and no way to write such a character.
    #[error("{} has a line break or a control character in its name: redis can't be given such a directory", .0.display())]
    Unwritable(PathBuf),
    /// Writing failed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a redis holds, which decides about what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The states of FlowMachine's queries.
    States,
    /// Tasks on their way to Celery's workers.
    Queue,
}

/// Which redis: what tells it from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// Address to listen on.
    pub listen: IpAddr,
    /// Port to listen on.
    pub port: u16,
    /// Working directory: its configuration, and what is kept over a restart.
    pub directory: PathBuf,
    /// Bytes that its data may take; see [`MAX_MEMORY`].
    pub max_memory: u64,
    /// The secret that it asks for.
    pub password: &'static str,
    /// What it is there for.
    pub used_for: Use,
}

impl Conf {
    /// FlowMachine's.
    pub fn of(Site { state, settings, .. }: &Site) -> Conf {
        let listen = settings.text("FLOWKIT_REDIS_LISTEN").expect("it has a default");
        Conf {
            listen: listen.parse().expect("the settings hold only addresses there"),
            port: settings.port("REDIS_PORT"),
            directory: state.role("redis"),
            max_memory: MAX_MEMORY,
            password: PASSWORD,
            used_for: Use::States,
        }
    }

    /// The file that it is started with.
    pub fn file(&self) -> PathBuf {
        self.directory.join(CONF_FILE)
    }

    /// Writes that file, with the password of now, and gives its path.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn prepare(&self, store: &Store) -> Result<PathBuf, Error> {
        write(self, store.require(&[self.password])?[self.password].expose())
    }

    /// The file's text. The password appears as its SHA-256, which is all that redis needs to check it.
    pub fn render(&self, password: &str) -> Result<String, Error> {
        let Conf { listen, port, max_memory, used_for, .. } = self;
        let directory = quoted(&self.directory)?;
        let hash = Sha256::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (timeout, may, kept) = match used_for {
            Use::States => (STATES_TIMEOUT, STATES_MAY, STATES_KEPT),
            Use::Queue => (QUEUE_TIMEOUT, QUEUE_MAY, QUEUE_KEPT),
        };
        Ok(format!(
            "\
# Written by `flowkit` at each start; changes are lost.

bind {listen}
port {port}
tcp-keepalive 60
{timeout}
# Milliseconds that a script may take before others are told that redis is busy, and may end it. Those of its clients take less
# than one.
lua-time-limit 1000
# More than one process may hold, as most systems have it; one takes some kilobytes.
maxclients 4000
# Who takes no answers, or never ends a command, loses the connection before redis has no memory left; commands and answers of its
# clients have some kilobytes. The last, for all connections together, is of redis 7.0.
client-output-buffer-limit normal {MAX_BUFFER} 0 0
client-query-buffer-limit {MAX_BUFFER}
proto-max-bulk-len {MAX_BUFFER}
maxmemory-clients {MAX_CLIENTS}
# When it ends for want of memory it is not to look for broken memory first, for seconds.
crash-memcheck-enabled no
daemonize no
supervised no
dir {directory}
databases 1

# Its one user. Everything that reads or changes the server itself (CONFIG, DEBUG, SHUTDOWN, MODULE, MONITOR, KEYS, ...) is off;
# `flowkit` asks INFO.
user default reset on #{hash} ~* +@all -@admin -@dangerous +info {may}

save \"\"
{kept}

# Full is an error that is seen; an evicted key would be a query that hangs, or a task that is lost.
maxmemory {max_memory}
maxmemory-policy noeviction
"
        ))
    }
}

/// A path as redis.conf takes it.
fn quoted(path: &Path) -> Result<String, Error> {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => {
            Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        }
        _ => Err(Error::Unwritable(path.to_owned())),
    }
}

/// The step `redis-prepare`: writes redis.conf for this deployment and gives its path.
///
/// # Errors
/// See [`Error`].
pub fn prepare(site: &Site) -> Result<PathBuf, Error> {
    Conf::of(site).prepare(&site.store)
}

/// Writes `redis.conf` into the configuration's directory, which is made if it is missing, and gives its path.
///
/// The file is for its owner only, and replaces an older one in one step: a crash leaves the one or the other.
pub fn write(conf: &Conf, password: &str) -> Result<PathBuf, Error> {
    let text = conf.render(password)?;
    let path = conf.file();
    let new = conf.directory.join(".redis.conf.new");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&conf.directory).map_err(failed(&conf.directory))?;
    // One left over from a crash may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&new)(error)),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed(&new))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed(&new))?;
    fs::rename(&new, &path).map_err(failed(&path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn conf(directory: &Path) -> Conf {
        let (listen, directory) = ([127, 0, 0, 1].into(), directory.to_owned());
        Conf { listen, port: 6379, directory, max_memory: MAX_MEMORY, password: PASSWORD, used_for: Use::States }
    }

    #[test]
    fn a_second_redis_has_a_place_a_share_and_a_password_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let secrets = root.path().join("secrets");
        fs::create_dir(&secrets).unwrap();
        fs::write(secrets.join("FLOWAUTH_REDIS_PASSWORD"), "correct horse").unwrap();
        let store = Store::only(&secrets);
        let second = Conf {
            port: 6380,
            max_memory: 16 << 20,
            password: "FLOWAUTH_REDIS_PASSWORD",
            used_for: Use::Queue,
            ..conf(&root.path().join("flowauth/redis"))
        };
        let text = fs::read_to_string(second.prepare(&store).unwrap()).unwrap();
        assert!(text.contains("port 6380\n") && text.contains("maxmemory 16777216\n"), "{text}");
        assert!(text.contains(" +info &*\n") && text.contains("\nappendonly yes\n"), "{text}");
        assert!(text.contains("\nauto-aof-rewrite-min-size 4mb\n"), "{text}");
        assert!(text.contains("#4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631"), "{text}");
        let of_flowmachine = conf(&root.path().join("redis")).prepare(&store);
        assert!(matches!(of_flowmachine, Err(Error::Password(_))), "it has not that password");
    }

    #[test]
    fn the_password_itself_is_not_in_the_file() {
        let text = conf(Path::new("/var/lib/flowkit/redis")).render("correct horse").unwrap();
        assert!(text.contains(" +info -@blocking -@pubsub +flushdb\n") && text.contains("\nappendonly no\n"), "{text}");
        assert!(!text.contains("correct horse"));
        // From `printf 'correct horse' | sha256sum`.
        assert!(text.contains("#4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631"), "{text}");
    }

    #[test]
    fn a_path_can_say_nothing_but_itself() {
        assert_eq!(quoted(Path::new("/a b/\"c\\")).unwrap(), r#""/a b/\"c\\""#);
        let error = quoted(Path::new("/a\nport 1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/a\nport 1 has a line break or a control character in its name: redis can't be given such a directory"
        );
    }

    #[test]
    fn the_file_is_private_and_replaces_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("redis");
        let path = write(&conf(&directory), "one").unwrap();
        fs::write(directory.join(".redis.conf.new"), "left over").unwrap();
        let before = fs::read_to_string(&path).unwrap();
        write(&conf(&directory), "two").unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}
