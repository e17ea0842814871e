//! What a start leaves alone, and what it says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flowkit::flowdb::{Error, cluster, probe};
use flowkit_core::Site;
use flowkit_core::config::{Origin, StateDir};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use supervisor::Probe;

use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::skip::{Lack, skip};
use crate::support::tmpfs::Tmpfs;

/// Every file below a directory with what a touch would change.
fn picture(dir: &Path) -> BTreeMap<std::path::PathBuf, (u64, i64, i64, u32)> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                dirs.push(entry.path());
            }
            all.insert(entry.path(), (found.len(), found.mtime(), found.mtime_nsec(), found.mode()));
        }
    }
    all
}

/// The text of the refusal, which must have touched nothing.
fn refusal(cluster: &Cluster) -> String {
    let data = cluster.data();
    let before = picture(&data);
    let error = cluster.prepare().expect_err("it is refused");
    assert_eq!(picture(&data), before, "{error}");
    error.to_string()
}

#[test]
fn what_is_not_ours_stays_as_it_is() {
    let cluster = Cluster::new();
    let data = cluster.data();
    fs::create_dir_all(&data).unwrap();
    for dir in [data.parent().unwrap(), &data] {
        chown(dir, Some(cluster.uid), Some(cluster.uid)).unwrap();
    }
    fs::write(data.join("letter.txt"), "to mum").unwrap();
    assert_eq!(
        refusal(&cluster),
        format!(
            "{} is not empty and was not made by flowkit (it holds \"letter.txt\"); give an empty directory, or move its \
             data with dump and restore. Nothing was touched",
            data.display()
        )
    );
    fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    assert!(refusal(&cluster).contains("(a cluster of PostgreSQL 15)"));
}

#[test]
fn data_of_another_major_version_stay_as_they_are() {
    let cluster = Cluster::new();
    let data = cluster.data();
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    fs::write(data.join("flowkit.cluster"), "").unwrap();
    let text = refusal(&cluster);
    let start = format!("{} holds data of PostgreSQL 14, and ", data.display());
    assert!(text.starts_with(&start) && text.ends_with("Nothing was touched"), "{text}");
}

#[test]
fn a_directory_in_use_is_refused_and_a_stale_pid_is_not() {
    let mut cluster = Cluster::new();
    cluster.prepare().unwrap();
    cluster.start();
    cluster.apply().unwrap();
    let data = cluster.data();
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap().lines().next().unwrap().to_owned();
    let text = cluster.prepare().expect_err("a server runs there").to_string();
    let expected = format!(
        "{} is in use by a PostgreSQL server (pid {pid}); stop that server first. Nothing was touched",
        data.display()
    );
    assert_eq!(text, expected);
    assert_eq!(cluster.value("flowdb", "SELECT 1"), "1", "it runs on");
    cluster.stop();

    // In a restarted container the number soon belongs to somebody else of the same user.
    let mut sleeper = cluster.as_service_user(Command::new("sleep").arg("600")).spawn().unwrap();
    let stale = format!("{}\n{}\n1\n5432\n\n127.0.0.1\n\nready\n", sleeper.id(), data.display());
    fs::write(data.join("postmaster.pid"), stale).unwrap();
    cluster.prepare().unwrap();
    cluster.start();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

/// A power cut leaves files empty, or with anything in them, that were written shortly before.
#[test]
fn files_that_a_power_cut_spoils_are_mended_and_named() {
    let mut cluster = Cluster::started();
    cluster.stop();
    let data = cluster.data();
    let lock = cluster
        .site
        .state
        .role("flowdb")
        .join("run")
        .join(format!(".s.PGSQL.{}.lock", cluster.site.settings.port("FLOWDB_PORT")));
    for spoilt in [&b""[..], b"\0\0\0\0", b"\xff\xfe garbage"] {
        let files =
            [data.join("postmaster.pid"), lock.clone(), data.join("PG_VERSION"), data.join("base/1/PG_VERSION")];
        for path in &files {
            fs::write(path, spoilt).unwrap();
            chown(path, Some(cluster.uid), Some(cluster.uid)).unwrap();
        }
        fs::write(data.join("postgresql.conf"), "").unwrap();
        let prepared = cluster.prepare().unwrap();
        for path in files.iter().chain([&data.join("postgresql.conf")]) {
            let named = |said: &String| said.starts_with(&format!("{} ", path.display()));
            assert!(prepared.warnings.iter().any(named), "{} is not in {:?}", path.display(), prepared.warnings);
        }
        cluster.start();
        cluster.apply().unwrap();
        assert_eq!(cluster.value("flowdb", "SHOW timezone"), "UTC", "our settings are not read");
        cluster.stop();
        assert_eq!(cluster.prepare().unwrap().warnings, Vec::<String>::new());
    }
    // What our own start leaves half written is written anew.
    for name in
        ["pg_hba.conf", "pg_ident.conf", "flowkit.conf", "flowkit.partitions", "flowkit.cluster", "flowkit.lock"]
    {
        fs::write(data.join(name), "").unwrap();
    }
    cluster.prepare().unwrap();
    cluster.start();
    cluster.apply().unwrap();
}

/// The manual sends people's own settings to postgresql.conf. Where we listen is ours to say.
#[test]
fn settings_that_we_rely_on_are_not_overruled() {
    let mut cluster = Cluster::started();
    cluster.stop();
    let path = cluster.data().join("postgresql.conf");
    let text = fs::read_to_string(&path).unwrap();
    let own =
        "port = 5499\nlisten_addresses = '192.0.2.1' # ours\nunix_socket_directories='/nowhere'\nwork_mem = '5MB'\n";
    fs::write(&path, format!("{text}{own}")).unwrap();
    let port = cluster.site.settings.port("FLOWDB_PORT");
    let warnings = cluster.prepare().unwrap().warnings;
    let first = format!(
        "postgresql.conf says `port = 5499`, which has no effect: port is {port}, as flowkit's settings have it"
    );
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!(warnings[0], first);
    assert!(warnings[1].starts_with("postgresql.conf says `listen_addresses = '192.0.2.1'`, which"), "{warnings:?}");
    cluster.start();
    cluster.apply().unwrap();
    assert_eq!(cluster.value(FLOWMACHINE, "SHOW work_mem"), "5MB", "other lines of people's win");
    assert_eq!(cluster.value("flowdb", "SHOW port"), port.to_string());
}

#[test]
fn only_one_works_on_a_directory_whoever_it_is() {
    let cluster = Cluster::new();
    cluster.prepare().unwrap();
    let usual = how_long(|| cluster.prepare().unwrap());
    // What is left of a killed server holds the lock that the server was given.
    let lock = fs::File::open(cluster.data().join("flowkit.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    thread::scope(|scope| {
        let start = scope.spawn(|| cluster.prepare());
        thread::sleep(5 * usual);
        assert!(!start.is_finished(), "it does not wait");
        drop(lock);
        start.join().unwrap().unwrap();
    });
}

/// What work takes here and now, a fifth of a second at least.
fn how_long<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    drop(work());
    began.elapsed().max(Duration::from_millis(200))
}

/// Started as the product starts it, every process of the server holds the lock. A session that computes does not notice
/// that the server's first process was killed; a second server beside it would destroy the data.
#[test]
fn a_session_that_outlives_its_server_keeps_the_next_one_out() {
    let mut cluster = Cluster::new();
    cluster.prepare().unwrap();
    let usual = how_long(|| cluster.prepare().unwrap());
    let mut server = Command::new(crate::support::programs::flowkit());
    server.args(["step", "flowdb-server", "--dir"]).arg(cluster.site.state.root());
    server.env("FLOWDB_PORT", cluster.site.settings.port("FLOWDB_PORT").to_string());
    cluster.as_service_user(&mut server).stderr(Stdio::null());
    cluster.start_with(server);
    cluster.apply().unwrap();

    let busy = cluster.connect("flowdb");
    let pid: i32 = cluster.runtime.block_on(busy.query_one("SELECT pg_backend_pid()", &[])).unwrap().get(0);
    let endless = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$";
    let begun = async { tokio::time::timeout(Duration::from_millis(500), busy.batch_execute(endless)).await };
    assert!(cluster.runtime.block_on(begun).is_err(), "it ended");
    cluster.kill();
    let session = Path::new("/proc").join(pid.to_string());
    assert!(session.exists(), "the session ended with the server; this test shows nothing");
    thread::scope(|scope| {
        let start = scope.spawn(|| cluster.prepare());
        thread::sleep(5 * usual);
        assert!(!start.is_finished(), "it goes on beside a session of the old server");
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        start.join().unwrap().unwrap();
    });
    cluster.start();
    assert_eq!(cluster.value(FLOWMACHINE, "SELECT count(*) FROM events.calls"), "0");
}

#[test]
fn mistakes_are_named() {
    let mut cluster = Cluster::new();
    fs::remove_file(cluster.site.state.secrets().join("FLOWDB_POSTGRES_PASSWORD")).unwrap();
    let error = cluster.prepare().expect_err("a secret is missing");
    assert!(error.to_string().contains("FLOWDB_POSTGRES_PASSWORD is missing"), "{error}");
    assert!(!cluster.data().exists(), "nothing is made before all secrets are there");
    cluster.set_secret("FLOWDB_POSTGRES_PASSWORD", "again-Pass-4");

    cluster.site.settings.set("FLOWKIT_POSTGRES_BIN", "/usr/share", Origin::Flag).unwrap();
    let error = cluster.prepare().expect_err("no PostgreSQL there");
    let expected = "/usr/share/postgres could not be asked for its version; does FLOWKIT_POSTGRES_BIN name a directory of PostgreSQL's?";
    assert_eq!(error.to_string(), expected);
    assert!(error.is_mistake());
}

#[test]
fn a_long_path_is_refused_before_the_server_would() {
    let cluster = Cluster::new();
    let deep = cluster.site.state.root().join("d".repeat(100));
    let deep = Site { state: StateDir::new(deep), ..cluster.site.clone() };
    let error = cluster.as_user(|| cluster::prepare(&deep)).unwrap_err();
    assert!(matches!(error, Error::SocketPath { .. }), "{error}");
    assert!(!deep.state.root().exists());
}

#[test]
fn directories_that_are_not_ours_to_write_are_named() {
    if !geteuid().is_root() {
        return skip(Lack::Root, "another user's directory takes root to make");
    }
    let cluster = Cluster::new();
    assert!(matches!(cluster::prepare(&cluster.site), Err(Error::Root)));
    let data = cluster.data();
    fs::create_dir_all(&data).unwrap();
    chown(data.parent().unwrap(), Some(65534), Some(65534)).unwrap();
    let me = fs::metadata(cluster.site.state.root()).unwrap().uid();
    let expected = |what: &str| format!("{} belongs to user id 0, {what}, or run as its owner", data.display());
    let nothing = format!("and {me}, who runs this, may make nothing in it; change that with chown or chmod 1777");
    assert_eq!(refusal(&cluster), expected(&nothing));
    fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    fs::write(data.join("flowkit.cluster"), "").unwrap();
    assert_eq!(refusal(&cluster), expected(&format!("not to {me}, who runs this; change it with chown")));
    fs::remove_dir_all(&data).unwrap();
    fs::set_permissions(data.parent().unwrap(), fs::Permissions::from_mode(0o555)).unwrap();
    chown(data.parent().unwrap(), Some(0), Some(0)).unwrap();
    let error = cluster.prepare().unwrap_err().to_string();
    assert!(error.starts_with(&data.parent().unwrap().display().to_string()), "{error}");
}

#[test]
fn a_mount_point_will_do_for_a_data_directory_if_there_is_room() {
    let mut cluster = Cluster::new();
    let data = cluster.data();
    let Some(full) = Tmpfs::at(&data, 20) else {
        return skip(Lack::Mounts, "no file system can be mounted here");
    };
    let me = Some(cluster.uid);
    chown(data.parent().unwrap(), me, me).unwrap();
    chown(&data, me, me).unwrap();
    let text = cluster.prepare().expect_err("it is full").to_string();
    let expected = format!(
        "{} has 20 MiB of free space, and an empty FlowDB needs 256; make room, or use another disk",
        data.display()
    );
    assert_eq!(text, expected);
    drop(full);
    let room = Tmpfs::at(&data, 600).unwrap();
    fs::create_dir(data.join("lost+found")).unwrap();
    chown(&data, me, me).unwrap();
    assert!(cluster.prepare().unwrap().created);
    cluster.start();
    cluster.apply().unwrap();
    cluster.stop();
    drop(room);
}

/// Docker gives volumes to root, and images can make them open to all like `/tmp`: PostgreSQL wants a directory of its own.
#[test]
fn a_volume_of_roots_gets_a_directory_inside_and_keeps_it() {
    if !geteuid().is_root() {
        return skip(Lack::Root, "root's directory takes root to make");
    }
    let mut cluster = Cluster::new();
    let volume = cluster.site.state.root().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o1777)).unwrap();
    cluster.site.settings.set("FLOWKIT_FLOWDB_DATA", volume.to_str().unwrap(), Origin::Environment).unwrap();
    let data = volume.join("pgdata");
    assert_eq!(cluster.prepare().unwrap().data, data);
    cluster.start();
    cluster.apply().unwrap();
    cluster.stop();
    assert!(!cluster.data().exists());
    // A new state directory, as in a new container, and a volume that was given to its user meanwhile.
    fs::remove_dir_all(cluster.site.state.root().join("flowdb")).unwrap();
    chown(&volume, Some(cluster.uid), None).unwrap();
    let prepared = cluster.prepare().unwrap();
    assert_eq!((prepared.data, prepared.created), (data, false));
    cluster.start();
    cluster.stop();
}

/// Containers run as any number. initdb asks for its name; without one this has to be said before anything is made.
#[test]
fn a_user_without_a_name_is_served_or_told_what_is_missing() {
    if !geteuid().is_root() {
        return skip(Lack::Root, "another user's process takes root to start");
    }
    let mut cluster = Cluster::owned_by(54_321);
    match cluster.prepare() {
        Ok(_) => {
            cluster.start();
            cluster.apply().unwrap();
            assert_eq!(cluster.value("flowdb", "SELECT 1"), "1");
        }
        Err(Error::NoUserName { uid: 54_321 }) => {
            assert_eq!(picture(&cluster.data()).len(), 1, "more than the lock was made");
        }
        Err(other) => panic!("{other}"),
    }
}

/// Another deployment's server at our address is not ours, whatever it answers.
#[test]
fn another_server_on_the_port_is_told_apart() {
    let other = Cluster::started();
    other.apply().unwrap();
    let mut ours = Cluster::new();
    ours.prepare().unwrap();
    ours.site.settings.set("FLOWDB_PORT", &other.site.settings.port("FLOWDB_PORT").to_string(), Origin::Flag).unwrap();
    for probe in [probe::server(&ours.site), probe::schema(&ours.site)] {
        let why = ours.as_user(|| probe.check(Duration::from_secs(10))).unwrap_err();
        let (address, data) = (other.site.settings.port("FLOWDB_PORT"), ours.data());
        let expected = format!(
            "the server at 127.0.0.1:{address} is not the one of {}; is its port taken by another PostgreSQL?",
            data.display()
        );
        assert_eq!(why, expected);
    }
    ours.set_secret("FLOWMACHINE_FLOWDB_PASSWORD", "of-somebody-Else-5");
    let probe = probe::schema(&ours.site);
    let why = ours.as_user(|| probe.check(Duration::from_secs(10))).unwrap_err();
    assert!(why.contains("password authentication failed") && !why.contains("Else-5"), "{why}");
}
