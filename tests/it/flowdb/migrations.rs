//! Schema versions: which databases are taken, and which are refused.

use flowkit::flowdb::Error;
use flowkit::flowdb::migrations::MIGRATIONS;

use crate::support::flowdb::{Cluster, FLOWMACHINE};

#[test]
fn databases_of_other_editions_are_refused() {
    let cluster = Cluster::started();
    let latest = MIGRATIONS.latest();
    assert_eq!(cluster.value("flowdb", "SELECT max(version) FROM flowkit.schema_history"), latest.to_string());
    assert_eq!(cluster.apply().unwrap().migrations, 0);

    let newer = latest + 3;
    let insert = format!(
        "INSERT INTO flowkit.schema_history SELECT {newer}, 'later', applied_on, checksum FROM flowkit.schema_history LIMIT 1;
         UPDATE flowdb_version SET appliance = '9.9.9'"
    );
    cluster.run("flowdb", &insert).unwrap();
    let error = cluster.apply().unwrap_err();
    let expected = format!(
        "the database is at schema version {newer} (brought there by flowkit 9.9.9), and flowkit {} knows versions up to \
         {latest}; install the newer flowkit. Nothing was touched",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(cluster.value("flowdb", "SELECT appliance FROM flowdb_version"), "9.9.9");
    cluster.run("flowdb", &format!("DELETE FROM flowkit.schema_history WHERE version = {newer}")).unwrap();
    cluster.apply().unwrap();

    cluster.run("flowdb", "UPDATE flowkit.schema_history SET checksum = '1' WHERE version = 3").unwrap();
    let error = cluster.apply().unwrap_err();
    assert!(matches!(&error, Error::Divergent(what) if what.contains("V3__events")), "{error}");

    cluster.run("flowdb", "DELETE FROM flowkit.schema_history WHERE version = 3").unwrap();
    assert!(matches!(cluster.apply().unwrap_err(), Error::Divergent(_)));
}

/// FlowETL makes a day's table with CREATE TABLE AS in schema etl, and attaches it.
#[test]
fn days_are_attached_as_flowetl_does() {
    let cluster = Cluster::started();
    for (parent, columns) in [
        (
            "calls",
            "'1'::text id, true outgoing, timestamptz '2016-01-01 10:00' datetime, 1::numeric duration, ''::text network, 'a'::text msisdn, 'b'::text msisdn_counterpart, 'c'::text location_id, ''::text imsi, ''::text imei, 1::numeric(8) tac, 1::numeric operator_code, 1::numeric country_code",
        ),
        (
            "mds",
            "'1'::text id, timestamptz '2016-01-01 10:00' datetime, 1::numeric duration, 1::numeric volume_total, 1::numeric volume_upload, 1::numeric volume_download, 'a'::text msisdn, 'c'::text location_id, ''::text imsi, ''::text imei, 1::numeric(8) tac, 1::numeric operator_code, 1::numeric country_code",
        ),
    ] {
        let day = format!(
            "CREATE TABLE etl.extract_{parent}_20160101 AS SELECT {columns};
             ALTER TABLE etl.extract_{parent}_20160101 ALTER msisdn SET NOT NULL, ALTER datetime SET NOT NULL;
             CREATE INDEX ON etl.extract_{parent}_20160101 (location_id);
             ALTER TABLE etl.extract_{parent}_20160101 RENAME TO {parent}_20160101;
             ALTER TABLE etl.{parent}_20160101 SET SCHEMA events;
             ALTER TABLE events.{parent} ATTACH PARTITION events.{parent}_20160101 FOR VALUES FROM ('2016-01-01') TO ('2016-01-02');
             INSERT INTO etl.etl_records (cdr_type, cdr_date, state, timestamp) VALUES ('{parent}', '2016-01-01', 'ingested', now())"
        );
        cluster.run("flowdb", &day).unwrap();
        assert_eq!(
            cluster.value(
                FLOWMACHINE,
                &format!(
                    "SELECT count(*) FROM events.{parent} WHERE datetime >= '2016-01-01' AND datetime < '2016-01-02'"
                )
            ),
            "1"
        );
    }
    cluster.run("flowdb", "INSERT INTO etl.etl_records (cdr_type, cdr_date, state, timestamp) VALUES ('mds', '2016-01-01', 'archived', now() + interval '1 s')").unwrap();
    assert_eq!(cluster.ask(FLOWMACHINE, "SELECT * FROM etl.available_dates"), [["calls", "2016-01-01"]]);
    let checks =
        "INSERT INTO etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, outcome, timestamp) VALUES
        ('2016-01-01', 'calls', 'count', '5', '2016-01-02'), ('2016-01-01', 'calls', 'count', '6', '2016-01-03'),
        ('2016-01-01', 'mds', 'count', '7', '2016-01-03')";
    cluster.run("flowdb", checks).unwrap();
    let latest = "SELECT cdr_type, outcome FROM etl.deduped_post_etl_queries";
    assert_eq!(cluster.ask(FLOWMACHINE, latest), [["calls", "6"]]);
    // Somebody withdraws a day by hand and thinks of no time.
    cluster
        .run(
            "flowdb",
            "INSERT INTO etl.etl_records (cdr_type, cdr_date, state) VALUES ('calls', '2016-01-01', 'quarantine')",
        )
        .unwrap();
    assert_eq!(cluster.value(FLOWMACHINE, "SELECT count(*) FROM etl.available_dates"), "0");
    let upsert = "INSERT INTO events.location_ids VALUES ('c', 'calls', '2016-01-01', '2016-01-01') ON CONFLICT (location_id, cdr_type) DO UPDATE SET last_active_date = '2016-01-02';
        INSERT INTO available_tables (table_name, has_subscribers) VALUES ('calls', true) ON CONFLICT (table_name) DO UPDATE SET has_subscribers = true";
    cluster.run("flowdb", upsert).unwrap();
    // The next start notes how much there is, for the tuning of the one after.
    cluster.apply().unwrap();
    let noted = std::fs::read_to_string(cluster.data().join("flowkit.partitions")).unwrap();
    assert_eq!(noted, "2\n");
}
