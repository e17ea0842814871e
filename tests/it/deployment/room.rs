//! A disk that fills.

use std::fs;
use std::thread;
use std::time::Duration;

use flowkit_core::config::{Origin, StateDir};
use rustix::fs::FallocateFlags;
use tokio_postgres::error::SqlState;

use crate::support::deployment::Deployment;
use crate::support::flowdb::Cluster;
use crate::support::poll::wait;
use crate::support::skip::{Lack, skip};
use crate::support::tmpfs::Tmpfs;

/// More than the disk has, from transactions that write, from one that has written and waits, and from a question that puts its rows aside. Each
/// is ended, what it took is given back, and the server goes on, and so does who only reads.
#[test]
fn who_fills_the_disk_is_ended_and_the_server_is_not() {
    let deployment = Deployment::new();
    let data = deployment.state().parent().unwrap().join("data");
    let Some(_disk) = Tmpfs::at(&data, 900) else {
        return skip(Lack::Mounts, "no file system can be mounted here");
    };
    deployment.configure(&format!("FLOWKIT_FLOWDB_DATA = {data:?}\n"));
    deployment.done(&["up", "--detach", "--role", "flowdb"]);
    let cluster = || {
        let mut cluster = Cluster::of(StateDir::new(deployment.state()));
        cluster.site.settings.set("FLOWDB_PORT", &deployment.ports[0].to_string(), Origin::Flag).unwrap();
        cluster
    };
    let server = deployment.pid("flowdb").unwrap();
    let rows = |count: u32| format!("SELECT i, repeat(md5(i::text), 20) AS text FROM generate_series(1, {count}) AS i");
    let sorted = format!("SELECT count(*) FROM (SELECT text FROM ({}) all_rows ORDER BY text) sorted", rows(5_000_000));
    thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let cluster = cluster();
            let reader = cluster.connect("flowdb");
            let until = "SELECT count(*) FROM (SELECT pg_sleep(0.1) FROM generate_series(1, 200)) AS slept";
            cluster.runtime.block_on(reader.batch_execute(until))
        });
        let cluster = cluster();
        let there_is_room = |times: usize| {
            let said = || deployment.log().matches("there is room again\n").count() == times;
            wait(Duration::from_secs(60), "room again", said);
            cluster.run("flowdb", "CREATE TABLE small AS SELECT 1 AS one; DROP TABLE small").unwrap();
        };

        // Somebody else fills the disk, too.
        let waits = cluster.connect("flowdb");
        let begun = format!("BEGIN; CREATE TABLE waits AS {}", rows(300_000));
        cluster.runtime.block_on(waits.batch_execute(&begun)).unwrap();
        let (disk, ballast) = (rustix::fs::statvfs(&data).unwrap(), data.join("ballast"));
        let file = fs::File::create(&ballast).unwrap();
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, disk.f_bavail * disk.f_frsize - (60 << 20)).unwrap();
        there_is_room(1);
        cluster.runtime.block_on(waits.batch_execute("COMMIT")).expect_err("it was ended");
        fs::remove_file(ballast).unwrap();

        let filling = [("writes", format!("CREATE TABLE big AS {}", rows(5_000_000))), ("puts rows aside", sorted)];
        for (at, (what, sql)) in filling.into_iter().enumerate() {
            let error = cluster.run("flowdb", &sql).expect_err(what);
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{what}: {error:?}");
            there_is_room(2 + at);
        }
        reads.join().unwrap().expect("who reads is not ended");
    });
    let said = deployment.log();
    for part in ["of free space, and 128 MiB are kept for the server itself: ended what flowdb (", "disk-guard"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(deployment.pid("flowdb"), Some(server), "{said}");
    deployment.done(&["down"]);
}
