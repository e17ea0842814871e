//! A disk that fills.

use std::time::Duration;

use flowkit_core::config::{Origin, StateDir};
use tokio_postgres::error::SqlState;

use crate::support::deployment::Deployment;
use crate::support::flowdb::Cluster;
use crate::support::poll::wait;
use crate::support::skip::{Lack, skip};
use crate::support::tmpfs::Tmpfs;

/// More than the disk has, from transactions that write and from a question that puts its rows aside. Each is ended, what it took is given back,
/// and the server goes on.
#[test]
fn who_fills_the_disk_is_ended_and_the_server_is_not() {
    let deployment = Deployment::new();
    let data = deployment.state().parent().unwrap().join("data");
    let Some(_disk) = Tmpfs::at(&data, 900) else {
        return skip(Lack::Mounts, "no file system can be mounted here");
    };
    deployment.configure(&format!("FLOWKIT_FLOWDB_DATA = {data:?}\n"));
    deployment.done(&["up", "--detach", "--role", "flowdb"]);
    let mut cluster = Cluster::of(StateDir::new(deployment.state()));
    cluster.site.settings.set("FLOWDB_PORT", &deployment.ports[0].to_string(), Origin::Flag).unwrap();
    let server = deployment.pid("flowdb").unwrap();

    let rows = "SELECT i, repeat(md5(i::text), 20) AS text FROM generate_series(1, 5000000) AS i";
    for (what, sql) in [
        ("writes", format!("CREATE TABLE big AS {rows}")),
        ("puts rows aside", format!("SELECT count(*) FROM (SELECT text FROM ({rows}) all_rows ORDER BY text) sorted")),
    ] {
        let error = cluster.run("flowdb", &sql).expect_err(what);
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{what}: {error:?}");
        wait(Duration::from_secs(30), "room again", || deployment.log().ends_with("there is room again\n"));
        cluster.run("flowdb", "CREATE TABLE small AS SELECT 1 AS one; DROP TABLE small").unwrap();
    }
    let said = deployment.log();
    for part in ["of free space, and 128 MiB are kept for the server itself: ended what flowdb (", "disk-guard"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(deployment.pid("flowdb"), Some(server), "{said}");
    deployment.done(&["down"]);
}
