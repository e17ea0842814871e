//! The first start, the next one, and what interrupts them.

use crate::support::flowdb::Cluster;

#[test]
fn a_first_start_makes_everything_and_a_second_changes_nothing() {
    let mut cluster = Cluster::new();
    assert!(cluster.prepare().unwrap().created);
    cluster.start();
    let applied = cluster.apply().unwrap();
    assert!(applied.created && applied.migrations > 0);
    assert_eq!(cluster.ask("flowmachine", "SELECT * FROM flowdb_version()"), [["1.34.0", "2025-10-15"]]);
    cluster.stop();
    assert!(!cluster.prepare().unwrap().created);
    cluster.start();
    assert_eq!(cluster.apply().unwrap(), flowkit::flowdb::schema::Applied::default());
    cluster.kill();
    assert!(!cluster.prepare().unwrap().created);
    cluster.start();
    assert_eq!(cluster.value("flowmachine", "SELECT count(*) FROM etl.available_dates"), "0");
}
