//! What a day leaves in FlowDB, beside what a DAG of flowetl 1.34.0 leaves: its tasks' statements, in their order, in our words
//! (`CREATE FOREIGN TABLE` to the last check, `cluster_field` the subscriber), on the same file and the same database.

use std::path::Path;

use etl::{Kind, Type};

use super::{Rig, SUPERUSER};

const DATE: &str = "2016-01-01";

/// A file with each column of a kind, some values missing, some rows twice.
fn made_up(kind: Kind) -> String {
    let names: Vec<&str> = kind.columns().iter().map(|column| column.name).collect();
    let mut text = names.join(",") + "\n";
    for n in (0..400u32).chain(390..400) {
        let value = |at: u32, r#type: Type| match r#type {
            Type::Timestamp => format!("{DATE} {:02}:{:02}:{:02}.{:03}+00", n * 7 % 24, n % 60, n * 13 % 60, n),
            Type::Boolean => ["t", "f", ""][n as usize % 3].to_owned(),
            Type::Numeric => format!("{}{}.{:02}", ["", "-"][n as usize % 5 / 4], n * 37 % 1000, n % 100),
            Type::Digits8 => (35_000_000 + n % 30).to_string(),
            Type::Text | Type::Words => format!("\"{}, grün\"", n * (at + 7) % 40),
        };
        let fields = (0..).zip(kind.columns()).map(|(at, column)| match column.name {
            "location_id" => format!("cell-{}", n % 12),
            _ if !column.is_needed() && (n + at) % 9 == 0 => String::new(),
            _ => value(at, column.r#type),
        });
        text += &(fields.collect::<Vec<_>>().join(",") + "\n");
    }
    text
}

/// The day, as a DAG loads it.
fn by_dag(rig: &Rig, kind: Kind, file: &Path) {
    let name = kind.partition(time::macros::date!(2016 - 01 - 01));
    let (extract, staging) = (format!("etl.extract_{name}"), format!("etl.stg_{name}"));
    let columns =
        |with: &dyn Fn(&etl::Column) -> String| kind.columns().iter().map(with).collect::<Vec<_>>().join(", ");
    let fields = columns(&|column| format!("{} {}", column.name, column.sql()));
    let names = columns(&|column| column.name.to_owned());
    let index = |column: &str| format!("CREATE INDEX {name}_{column}_idx ON {extract} ({column});");
    let indexes: String =
        etl::INDEXES.iter().filter(|column| **column != "msisdn").map(|column| index(column)).collect();
    let (flags, values, update) = match kind.has_counterparts() {
        true => (", has_counterparts", ", true", ", has_counterparts = excluded.has_counterparts"),
        false => ("", "", ""),
    };
    for step in [
        format!(
            "CREATE FOREIGN TABLE {staging} ({fields}) SERVER csv_fdw
             OPTIONS (filename '{}', format 'csv', delimiter ',', header 'TRUE', null '', quote '\"', escape '\"')",
            file.display()
        ),
        format!("CREATE TABLE {extract} AS (SELECT {names} FROM {staging}); DROP FOREIGN TABLE {staging}"),
        format!("{} CLUSTER {extract} USING {name}_msisdn_idx", index("msisdn")),
        format!("ALTER TABLE {extract} ALTER COLUMN msisdn SET NOT NULL, ALTER COLUMN datetime SET NOT NULL"),
        indexes,
        format!("ANALYZE {extract}"),
        format!(
            "DROP TABLE IF EXISTS events.{name}; ALTER TABLE {extract} RENAME TO {name}; ALTER TABLE etl.{name} SET SCHEMA events;
             ALTER TABLE events.{kind} ATTACH PARTITION events.{name} FOR VALUES FROM ('{DATE}') TO ('2016-01-02')"
        ),
        format!("ANALYZE events.{kind}"),
        format!(
            "INSERT INTO etl.etl_records (cdr_type, cdr_date, state, \"timestamp\") VALUES ('{kind}', '{DATE}', 'ingested', now());
             INSERT INTO available_tables (table_name, has_locations, has_subscribers{flags}) VALUES ('{kind}', true, true{values})
             ON CONFLICT (table_name) DO UPDATE SET has_locations = excluded.has_locations, has_subscribers = excluded.has_subscribers{update}"
        ),
        format!(
            "INSERT INTO events.location_ids SELECT location_id, '{kind}', '{DATE}', '{DATE}' FROM events.{name}
             WHERE location_id IS NOT NULL GROUP BY location_id
             ON CONFLICT (location_id, cdr_type) DO UPDATE SET
                 first_active_date = least(excluded.first_active_date, location_ids.first_active_date),
                 last_active_date = greatest(excluded.last_active_date, location_ids.last_active_date)"
        ),
    ] {
        rig.cluster.run(SUPERUSER, &step).unwrap_or_else(|error| panic!("{step}: {error:?}"));
    }
    for (check, question) in checks(kind, &format!("events.{name}")) {
        let step = format!(
            "INSERT INTO etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, outcome, \"timestamp\")
             VALUES (date '{DATE}', '{kind}', '{check}', ({question}), now())"
        );
        rig.cluster.run(SUPERUSER, &step).unwrap_or_else(|error| panic!("{step}: {error:?}"));
    }
}

/// The checks, one question each.
fn checks(kind: Kind, table: &str) -> Vec<(String, String)> {
    let others: Vec<&str> = kind.columns().iter().map(|column| column.name).filter(|name| *name != "id").collect();
    let same = format!("(SELECT count(*) AS n FROM {table} GROUP BY {} HAVING count(*) > 1) x", others.join(", "));
    let known = format!(
        "{table} e JOIN infrastructure.cells c ON e.location_id = c.id WHERE c.geom_point IS NOT NULL
         AND (c.date_of_first_service IS NULL OR c.date_of_first_service <= '{DATE}')
         AND (c.date_of_last_service IS NULL OR c.date_of_last_service >= '{DATE}')"
    );
    let most = |column: &str| {
        format!(
            "SELECT max(n) FROM (SELECT count(DISTINCT msisdn) AS n FROM {table} WHERE {column} IS NOT NULL GROUP BY {column}) x"
        )
    };
    let count = |what: &str| format!("SELECT count({what}) FROM {table}");
    let where_ = |what: &str| format!("SELECT count(*) FROM {table} WHERE {what}");
    let parties = match kind.has_counterparts() {
        true => format!(
            "SELECT count(DISTINCT who) FROM (SELECT unnest(ARRAY[msisdn, msisdn_counterpart]) AS who FROM {table}) x"
        ),
        false => count("DISTINCT msisdn"),
    };
    let mut all = vec![
        ("count_added_rows", count("*")),
        ("count_duplicated", format!("SELECT count(*) FROM {same}")),
        ("count_duplicates", format!("SELECT coalesce(sum(n - 1), 0) FROM {same}")),
        ("count_imeis", count("DISTINCT imei")),
        ("count_imsis", count("DISTINCT imsi")),
        ("count_msisdns", parties),
        (
            "count_location_ids",
            format!("SELECT count(DISTINCT location_id) + max((location_id IS NULL)::int) FROM {table}"),
        ),
        ("count_locatable_events", format!("SELECT count(*) FROM {known}")),
        ("count_locatable_location_ids", format!("SELECT count(DISTINCT location_id) FROM {known}")),
        ("count_null_imeis", where_("imei IS NULL")),
        ("count_null_imsis", where_("imsi IS NULL")),
        ("count_null_location_ids", where_("location_id IS NULL")),
        ("max_msisdns_per_imei", most("imei")),
        ("max_msisdns_per_imsi", most("imsi")),
        ("earliest_timestamp", format!("SELECT min(datetime) FROM {table}")),
        ("latest_timestamp", format!("SELECT max(datetime) FROM {table}")),
    ];
    let mut of_kind = Vec::new();
    if kind.has_counterparts() {
        of_kind.extend([
            ("count_added_rows_outgoing", where_("outgoing")),
            ("count_null_counterparts", where_("msisdn_counterpart IS NULL")),
            ("count_onnet_msisdns", count("DISTINCT msisdn")),
            ("count_onnet_msisdns_incoming", format!("{} WHERE NOT outgoing", count("DISTINCT msisdn"))),
            ("count_onnet_msisdns_outgoing", format!("{} WHERE outgoing", count("DISTINCT msisdn"))),
        ]);
    }
    if kind == Kind::Calls {
        of_kind.extend([
            ("count_null_durations", where_("duration IS NULL")),
            ("max_duration", format!("SELECT max(duration) FROM {table}")),
            ("median_duration", format!("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FROM {table}")),
        ]);
    }
    let of_kind = of_kind.into_iter().map(|(name, question)| (format!("{name}.{kind}"), question));
    all.drain(..).map(|(name, question)| (name.to_owned(), question)).chain(of_kind).collect()
}

/// All that a day leaves, but for numbers of rows and times of the clock, which no two runs share.
fn left(rig: &Rig, kind: Kind) -> Vec<String> {
    let name = kind.partition(time::macros::date!(2016 - 01 - 01));
    let table = format!("'events.{name}'::regclass");
    [
        format!("SELECT t FROM events.{name} t ORDER BY t::text"),
        // Rows of one subscriber stand together, in the order of subscribers.
        format!("SELECT count(*) FROM (SELECT msisdn < lag(msisdn) OVER (ORDER BY ctid) AS wrong FROM events.{name}) pair WHERE wrong"),
        format!(
            "SELECT attnum, attname, format_type(atttypid, atttypmod), attnotnull, attcollation, attstorage, attcompression, attstattarget
             FROM pg_attribute WHERE attrelid = {table} AND attnum > 0 ORDER BY attnum"
        ),
        format!(
            "SELECT pg_get_indexdef(indexrelid), indisclustered, indisvalid FROM pg_index WHERE indrelid = {table} ORDER BY 1"
        ),
        format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {table} AND contype <> 'n' ORDER BY 1"),
        format!(
            "SELECT pg_get_expr(relpartbound, oid), relispartition, relacl, relowner::regrole, relpersistence, reloptions, relreplident,
                 reltuples, relrowsecurity FROM pg_class WHERE oid = {table}"
        ),
        "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('etl', 'events')
             AND relname ~ '20160101' ORDER BY 1, 2".to_owned(),
        format!("SELECT cdr_type, cdr_date, state FROM etl.ingested_state WHERE cdr_type = '{kind}'"),
        "SELECT * FROM available_tables ORDER BY 1".to_owned(),
        format!("SELECT * FROM events.location_ids WHERE cdr_type = '{kind}' ORDER BY 1"),
        format!(
            "SELECT cdr_date, type_of_query_or_check, outcome, optional_comment_or_description FROM etl.deduped_post_etl_queries
             WHERE cdr_type = '{kind}' ORDER BY 2"
        ),
        format!("SELECT attname, null_frac, n_distinct FROM pg_stats WHERE schemaname = 'events' AND tablename = '{name}' AND attname <> 'id' ORDER BY 1"),
    ]
    .iter()
    .flat_map(|question| rig.ask(question))
    .collect()
}

#[test]
fn a_day_leaves_what_a_dag_leaves() {
    let rig = Rig::started();
    let cells = "INSERT INTO infrastructure.cells (id, version, date_of_first_service, date_of_last_service, geom_point) VALUES
        ('cell-0', 0, NULL, NULL, 'SRID=4326;POINT(1 1)'), ('cell-1', 0, '2015-01-01', '2015-12-31', 'SRID=4326;POINT(1 1)'),
        ('cell-1', 1, '2016-01-01', NULL, 'SRID=4326;POINT(2 2)'), ('cell-2', 0, '2016-01-02', NULL, 'SRID=4326;POINT(1 1)'),
        ('cell-3', 0, NULL, NULL, NULL), ('cell-4', 0, NULL, NULL, 'SRID=4326;POINT(1 1)'), ('cell-4', 1, NULL, NULL, 'SRID=4326;POINT(1 1)')";
    rig.cluster.run(SUPERUSER, cells).expect("cells");
    for kind in Kind::ALL {
        let file = rig.file(&format!("{kind}_20160101.csv"), made_up(kind));
        by_dag(&rig, kind, &file);
        let expected = left(&rig, kind);
        assert!(expected.len() > 450, "{expected:?}");
        rig.load(&[kind.name(), "--replace"], &[&file]);
        let found = left(&rig, kind);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{kind}");
        }
        assert_eq!(found.len(), expected.len());
    }
    assert_eq!(rig.value("SELECT count(*) FROM etl.etl_records WHERE state = 'ingested'"), "8");
}
