//! A disk that fills.

use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use flowkit_core::config::{Origin, StateDir};
use futures_util::SinkExt as _;
use rustix::fs::FallocateFlags;
use tokio_postgres::error::SqlState;

use crate::support::deployment::{Deployment, kill};
use crate::support::flowdb::{Cluster, FLOWMACHINE};
use crate::support::poll::wait;
use crate::support::skip::{Lack, skip};
use crate::support::tmpfs::Tmpfs;

/// What anybody writes, the superuser's transactions of this program apart.
const SMALL: &str = "CREATE TABLE cache.small AS SELECT 1 AS one; DROP TABLE cache.small";

fn rows(count: u32) -> String {
    format!("SELECT i, repeat(md5(i::text), 20) AS text FROM generate_series(1, {count}) AS i")
}

fn sorted() -> String {
    format!("SELECT count(*) FROM (SELECT text FROM ({}) all_rows ORDER BY text) sorted", rows(5_000_000))
}

/// FlowDB on a disk of its own, which is soon full.
struct Disk<'a> {
    deployment: &'a Deployment,
    data: &'a Path,
    cluster: Cluster,
    /// How often there was room again.
    times: usize,
}

impl Disk<'_> {
    fn cluster(deployment: &Deployment) -> Cluster {
        let mut cluster = Cluster::of(StateDir::new(deployment.state()));
        cluster.site.settings.set("FLOWDB_PORT", &deployment.ports[0].to_string(), Origin::Flag).unwrap();
        cluster
    }

    /// Waits until all may write again.
    fn has_room(&mut self) {
        self.times += 1;
        let times = || self.deployment.log().matches("there is room again\n").count();
        wait(Duration::from_secs(60), "room again", || times() == self.times);
        self.cluster.run(FLOWMACHINE, SMALL).unwrap();
    }

    /// What somebody else has put there, until so many mebibytes are left.
    fn leave(&self, mebibytes: u64) -> tempfile::NamedTempFile {
        let disk = rustix::fs::statvfs(self.data).unwrap();
        let file = tempfile::NamedTempFile::new_in(self.data).unwrap();
        let length = disk.f_bavail * disk.f_frsize - (mebibytes << 20);
        rustix::fs::fallocate(file.as_file(), FallocateFlags::empty(), 0, length).unwrap();
        file
    }

    /// A statement that takes more than there is.
    fn is_ended(&mut self, what: &str, sql: &str) {
        let error = self.cluster.run("flowdb", sql).expect_err(what);
        let ways = [SqlState::QUERY_CANCELED, SqlState::ADMIN_SHUTDOWN];
        assert!(error.code().is_some_and(|code| ways.contains(code)), "{what}: {error:?}");
        self.has_room();
    }

    /// Who holds what they have taken and waits: their session ends.
    fn holder_is_ended(&mut self, sql: &str) {
        let waits = self.cluster.connect("flowdb");
        self.cluster.runtime.block_on(waits.batch_execute(sql)).unwrap();
        let other = self.leave(60);
        self.is_closed();
        self.has_room();
        self.cluster.runtime.block_on(waits.batch_execute("COMMIT")).expect_err("it was ended");
        drop(other);
    }

    /// Nobody may write.
    fn is_closed(&self) {
        wait(Duration::from_secs(20), "nobody to write", || {
            let asked = self.cluster.runtime.block_on(async {
                let client = flowkit::flowdb::connect(&self.cluster.site, FLOWMACHINE).await.ok()?;
                client.query_one("SHOW default_transaction_read_only", &[]).await.ok()
            });
            asked.is_some_and(|row| row.get::<_, String>(0) == "on")
        });
    }

    /// The schema's task runs all the same, and a server that died lets nobody write when it is back.
    fn is_closed_after_whatever_begins_again(&mut self) {
        let other = self.leave(60);
        self.is_closed();
        self.deployment.done(&["restart", "flowdb-schema"]);
        self.deployment.wait_ready(Duration::from_secs(60));
        self.is_closed();
        let server = self.deployment.pid("flowdb").unwrap();
        kill(server);
        wait(Duration::from_secs(60), "another server", || {
            self.deployment.pid("flowdb").is_some_and(|pid| pid != server)
        });
        self.deployment.wait_ready(Duration::from_secs(60));
        self.is_closed();
        drop(other);
        self.has_room();
    }

    /// So does that of who sends rows and then none: a statement that waits for its client does not hear that it is cancelled.
    fn silent_sender_is_ended(&mut self) {
        self.cluster.run("flowdb", "CREATE TABLE sent (text text)").unwrap();
        let sends = self.cluster.connect("flowdb");
        let mut rows = self.cluster.runtime.block_on(async {
            let mut rows = Box::pin(sends.copy_in("COPY sent FROM STDIN").await.unwrap());
            let piece = Bytes::from("x".repeat(1000) + "\n").repeat(1000);
            for _ in 0..200 {
                rows.send(Bytes::from(piece.clone())).await.unwrap();
            }
            rows
        });
        let other = self.leave(60);
        self.has_room();
        self.cluster.runtime.block_on(rows.as_mut().finish()).expect_err("it was ended");
        drop(other);
        self.cluster.run("flowdb", "DROP TABLE sent").unwrap();
    }

    /// Whoever means to write, and in bits that are committed before anybody looks, is kept out in the end; the superuser makes room.
    fn who_will_not_stop_is_kept_out(&mut self) {
        const TABLE: &str = "cache.bits";
        let made = format!("CREATE TABLE IF NOT EXISTS {TABLE} (i int, text text)");
        let bit = format!("INSERT INTO {TABLE} {}", rows(3000));
        let mut sessions = 0;
        let refused = loop {
            sessions += 1;
            assert!(sessions < 1000, "never kept out");
            let login = self.cluster.runtime.block_on(flowkit::flowdb::connect(&self.cluster.site, FLOWMACHINE));
            let session = match login {
                Ok(session) => session,
                Err(error) => break say::in_full(&error),
            };
            for begin in ["SET default_transaction_read_only = off", &made] {
                let _ = self.cluster.runtime.block_on(session.batch_execute(begin));
            }
            let written = || self.cluster.runtime.block_on(session.execute(&bit, &[]));
            let error = std::iter::repeat_with(written).find_map(Result::err).expect("there is an end");
            let ways = [SqlState::QUERY_CANCELED, SqlState::ADMIN_SHUTDOWN];
            assert!(error.is_closed() || error.code().is_some_and(|code| ways.contains(code)), "{error:?}");
        };
        assert!(refused.contains("pg_hba.conf rejects connection"), "{refused}");
        self.cluster.run("flowdb", &format!("BEGIN READ WRITE; DROP TABLE {TABLE}; COMMIT")).unwrap();
        self.has_room();
        self.cluster.run(FLOWMACHINE, "SELECT 1").unwrap();
    }
}

/// More than the disk has, in every way that was seen to take it. Each is ended, what it took is given back, and the server goes on, and so does
/// who only reads.
#[test]
fn who_fills_the_disk_is_ended_and_the_server_is_not() {
    let deployment = Deployment::new();
    let data = deployment.state().parent().unwrap().join("data");
    let Some(_disk) = Tmpfs::at(&data, 900) else {
        return skip(Lack::Mounts, "no file system can be mounted here");
    };
    deployment.configure(&format!("FLOWKIT_FLOWDB_DATA = {data:?}\n"));
    deployment.done(&["up", "--detach", "--role", "flowdb"]);
    let server = deployment.pid("flowdb").unwrap();
    let mut disk = Disk { deployment: &deployment, data: &data, cluster: Disk::cluster(&deployment), times: 0 };
    disk.cluster.run(FLOWMACHINE, SMALL).unwrap();

    thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let cluster = Disk::cluster(&deployment);
            let reader = cluster.connect("flowdb");
            let until = "SELECT count(*) FROM (SELECT pg_sleep(0.1) FROM generate_series(1, 200)) AS slept";
            cluster.runtime.block_on(reader.batch_execute(until))
        });
        disk.is_ended("writes", &format!("CREATE TABLE big AS {}", rows(5_000_000)));
        disk.is_ended("puts rows aside", &sorted());
        let helped = "SET parallel_leader_participation = off; SET max_parallel_workers_per_gather = 2; SET min_parallel_table_scan_size = 0; \
                      SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET debug_parallel_query = on";
        let helped = if disk.cluster.value("flowdb", "SHOW server_version_num").as_str() < "160000" {
            helped.replace("debug_parallel_query", "force_parallel_mode")
        } else {
            helped.to_owned()
        };
        disk.is_ended("has its helper put them aside", &format!("{helped}; {}", sorted()));
        disk.holder_is_ended(&format!("BEGIN; CREATE TABLE waits AS {}", rows(300_000)));
        disk.holder_is_ended(&format!("BEGIN; DECLARE kept CURSOR WITH HOLD FOR {}; COMMIT", rows(300_000)));
        disk.silent_sender_is_ended();
        reads.join().unwrap().expect("who reads is not ended");
    });
    disk.who_will_not_stop_is_kept_out();

    let said = deployment.log();
    for part in ["of free space, and 90 MiB are kept for the server itself: nothing new is written", "disk-guard"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(deployment.pid("flowdb"), Some(server), "{said}");
    disk.is_closed_after_whatever_begins_again();
    // Its configuration is nobody else's by then.
    deployment.done(&["down"]);
    deployment.done(&["up", "--detach", "--role", "flowdb"]);
    disk.cluster.run(FLOWMACHINE, SMALL).unwrap();
    deployment.done(&["down"]);
}
