//! What the loader leaves in the database, and what it refuses.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flowkit::flowdb::demo;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::flowdb::{Cluster, FLOWMACHINE};

const SUPERUSER: &str = "flowdb";
/// Small, but with more than 15 people in some wards.
const OPTIONS: [&str; 6] = ["--days", "3", "--subscribers", "500", "--sites", "100"];
const EVENTS: [&str; 4] = ["calls", "sms", "mds", "topups"];

/// `flowkit db demo` on a cluster, as the user that runs it.
fn command(cluster: &Cluster, options: &[&str]) -> Command {
    let mut command = Command::new(crate::support::programs::flowkit());
    command.args(["db", "demo", "--dir"]).arg(cluster.site.state.root()).args(options);
    command.env_clear().env("FLOWDB_PORT", cluster.site.settings.port("FLOWDB_PORT").to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cluster.as_service_user(&mut command);
    command
}

fn demo(cluster: &Cluster, options: &[&str]) -> Output {
    command(cluster, options).output().expect("flowkit starts")
}

#[must_use]
fn text(output: &Output) -> (Option<i32>, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), string(&output.stdout), string(&output.stderr))
}

fn loaded(cluster: &Cluster, options: &[&str]) -> String {
    let (status, stdout, stderr) = text(&demo(cluster, options));
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    stdout
}

fn refused(cluster: &Cluster, options: &[&str]) -> String {
    let (status, stdout, stderr) = text(&demo(cluster, options));
    assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
    stderr
}

/// A digest of everything that must be the same for the same options.
fn digest(cluster: &Cluster) -> Vec<String> {
    let tables = EVENTS.map(|event| format!("events.{event}")).into_iter().chain(
        ["infrastructure.sites", "infrastructure.cells", "infrastructure.tacs", "dfs.transactions"].map(String::from),
    );
    let more = ["dfs.transactions_metadata", "dfs.subscribers", "geography.admin3", "events.location_ids"];
    let digest = |table: String| {
        let key =
            if table.starts_with("infrastructure.") && !table.ends_with("tacs") { "id || version" } else { "t::text" };
        // Serial numbers of rows that were copied by several workers would differ; here only one transaction makes them.
        let sql = format!(
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ';' ORDER BY {key}, t::text)), '') FROM {table} t"
        );
        format!("{table} {}", cluster.value(SUPERUSER, &sql))
    };
    tables.chain(more.map(String::from)).map(digest).collect()
}

#[test]
fn three_days_are_loaded_as_flowetl_would_leave_them() {
    let cluster = Cluster::started();
    let said = loaded(&cluster, &OPTIONS);
    assert!(said.starts_with("loaded 3 days, "), "{said}");
    let value = |sql: &str| cluster.value(SUPERUSER, sql);

    let total: i64 =
        EVENTS.iter().map(|event| value(&format!("SELECT count(*) FROM events.{event}")).parse::<i64>().unwrap()).sum();
    assert!(said.replace(',', "").contains(&format!(" {total} events")), "{said} but there are {total}");

    let ingested = cluster.ask(FLOWMACHINE, "SELECT cdr_type, cdr_date FROM etl.available_dates ORDER BY 1, 2");
    let days = ["2016-01-01", "2016-01-02", "2016-01-03"];
    let mut expected: Vec<Vec<String>> =
        EVENTS.iter().flat_map(|event| days.map(|day| vec![event.to_string(), day.into()])).collect();
    expected.sort();
    assert_eq!(ingested, expected);

    let flags = cluster.ask(
        FLOWMACHINE,
        "SELECT * FROM available_tables() WHERE table_name IN ('calls', 'sms', 'mds', 'topups') ORDER BY 1",
    );
    assert_eq!(flags.concat().join(" "), "calls t t t mds t t f sms t t t topups t t f");

    let bounds = "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid \
                  WHERE i.inhparent = 'events.mds'::regclass ORDER BY 1 LIMIT 1";
    let first = cluster.ask(SUPERUSER, bounds).concat();
    assert_eq!(first, ["mds_20160101", "FOR VALUES FROM ('2016-01-01 00:00:00+00') TO ('2016-01-02 00:00:00+00')"]);

    let indexes = |table: &str| {
        let sql = format!(
            "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'events' AND tablename = '{table}'"
        );
        value(&sql)
    };
    let named = |table: &str, columns: &[&str]| {
        columns.iter().map(|c| format!("{table}_{c}_idx")).collect::<Vec<_>>().join(" ")
    };
    for day in ["calls_20160102", "topups_20160103"] {
        assert_eq!(indexes(day), named(day, &["datetime", "location_id", "msisdn"]));
    }

    // Statistics of parents too, and rows that no vacuum has to look at again.
    assert_eq!(
        value(
            "SELECT count(*) FROM pg_class WHERE oid = ANY ('{events.calls,events.sms,events.mds,events.topups}'::regclass[]) AND reltuples > 0"
        ),
        "4"
    );
    assert_eq!(
        value(
            "SELECT count(*) FROM events.location_ids WHERE first_active_date > last_active_date OR cdr_type NOT IN ('calls','sms','mds','topups')"
        ),
        "0"
    );
    assert_eq!(
        value(
            "SELECT outcome FROM etl.deduped_post_etl_queries WHERE cdr_type = 'sms' AND cdr_date = '2016-01-02' AND type_of_query_or_check = 'count_added_rows'"
        ),
        value("SELECT count(*) FROM events.sms_20160102")
    );
}

#[test]
fn areas_and_cells_are_what_flowmachine_needs() {
    let cluster = Cluster::started();
    loaded(&cluster, &["--days", "1", "--subscribers", "100", "--sites", "100"]);
    let value = |sql: &str| cluster.value(FLOWMACHINE, sql);
    for level in 0..4 {
        let table = format!("geography.admin{level}");
        assert_eq!(
            value(&format!("SELECT count(*) FROM {table} WHERE NOT st_isvalid(geom) OR st_srid(geom) <> 4326")),
            "0"
        );
        assert_eq!(
            value(&format!("SELECT st_equals((SELECT geom FROM geography.admin0), st_union(geom)) FROM {table}")),
            "t"
        );
        assert_eq!(
            value(&format!(
                "SELECT count(*) FROM {table} a JOIN {table} b ON a.gid < b.gid AND st_overlaps(a.geom, b.geom)"
            )),
            "0"
        );
        assert_eq!(
            value(&format!("SELECT count(DISTINCT (admin{level}pcod, admin{level}name)) = count(*) FROM {table}")),
            "t"
        );
        // FlowAPI shows results on maps.
        assert_ne!(cluster.value("flowapi", &format!("SELECT count(*) FROM {table}")), "0");
    }
    assert_eq!(
        value(
            "SELECT count(*) FROM geography.admin3 w JOIN geography.admin2 d USING (admin2pcod) WHERE NOT st_coveredby(w.geom, d.geom)"
        ),
        "0"
    );
    assert_eq!(
        value(
            "SELECT count(*) = (SELECT sum(n) FROM (SELECT count(*) n FROM geography.admin0 UNION ALL SELECT count(*) FROM geography.admin1 UNION ALL SELECT count(*) FROM geography.admin2 UNION ALL SELECT count(*) FROM geography.admin3) x) FROM geography.geoms"
        ),
        "t"
    );
    for table in ["sites", "cells"] {
        let table = format!("infrastructure.{table}");
        assert_eq!(
            value(&format!(
                "SELECT count(*) FROM {table} WHERE NOT st_isvalid(geom_polygon) OR st_distance(geom_point, geom_polygon) > 1e-9"
            )),
            "0"
        );
        assert_eq!(
            value(&format!(
                "SELECT count(*) FROM {table} c WHERE (SELECT count(*) FROM geography.admin3 a WHERE st_within(c.geom_point, a.geom)) <> 1"
            )),
            "0"
        );
        assert_eq!(value(&format!("SELECT count(*) > 0 FROM {table} WHERE version = 1")), "t");
        let meet = "a.id = b.id AND a.version < b.version AND a.date_of_last_service >= b.date_of_first_service";
        assert_eq!(value(&format!("SELECT count(*) FROM {table} a JOIN {table} b ON {meet}")), "0");
    }
    assert_eq!(
        value(
            "SELECT count(*) FROM infrastructure.cells c LEFT JOIN infrastructure.sites s ON s.id = c.site_id AND s.version = c.version WHERE s.id IS NULL"
        ),
        "0"
    );
    assert_eq!(
        value(
            "SELECT count(*) FROM events.calls e LEFT JOIN infrastructure.cells c ON c.id = e.location_id AND c.version = 0 LEFT JOIN infrastructure.tacs t ON t.id = e.tac WHERE c.id IS NULL OR t.id IS NULL"
        ),
        "0"
    );
    assert_eq!(
        value("SELECT count(*) = 2 * (SELECT count(*) FROM dfs.transactions) FROM dfs.transactions_metadata"),
        "t"
    );
}

#[test]
fn doing_it_twice_changes_nothing_and_more_days_are_added() {
    let cluster = Cluster::started();
    loaded(&cluster, &["--days", "1", "--subscribers", "200", "--sites", "20"]);
    let before = digest(&cluster);
    assert_eq!(
        loaded(&cluster, &["--days", "1", "--subscribers", "200", "--sites", "20"]),
        "all 1 days were there; nothing to do\n"
    );
    assert_eq!(digest(&cluster), before);
    let said = loaded(&cluster, &["--days", "2", "--subscribers", "200", "--sites", "20"]);
    assert!(said.starts_with("loaded 1 days (1 were there), "), "{said}");

    // Other people would be mixed with the first ones.
    let other = refused(&cluster, &["--days", "2", "--subscribers", "200", "--sites", "20", "--seed", "2"]);
    assert_eq!(
        other,
        "flowkit: this FlowDB holds demo data made with other options; nothing was changed. There is: made by flowkit db \
         demo 1: --seed 1 --subscribers 200 --sites 20 --first-day 2016-01-01. Asked for: made by flowkit db demo 1: --seed \
         2 --subscribers 200 --sites 20 --first-day 2016-01-01\n"
    );
}

#[test]
fn other_data_is_left_alone() {
    let cluster = Cluster::started();
    let refusal = |what: &str| {
        format!(
            "flowkit: {what} holds data that `flowkit db demo` did not make; nothing was changed. Demo data goes into a \
             FlowDB of its own (`flowkit up --dir DIR --demo`)\n"
        )
    };
    for (make, what, undo) in [
        (
            "INSERT INTO infrastructure.cells (id) VALUES ('real')",
            "infrastructure.cells",
            "TRUNCATE infrastructure.cells CASCADE",
        ),
        ("CREATE TABLE geography.admin0 ()", "geography.admin0", "DROP TABLE geography.admin0"),
        ("CREATE TABLE events.calls_20160102 ()", "events.calls_20160102", "DROP TABLE events.calls_20160102"),
        (
            // A month in one partition, one record in the middle of our days.
            "CREATE TABLE events.january PARTITION OF events.sms FOR VALUES FROM ('2016-01-01') TO ('2016-02-01'); \
             INSERT INTO events.sms (datetime, msisdn) VALUES ('2016-01-03 12:00', 'somebody')",
            "events.sms on 2016-01-03",
            "DROP TABLE events.january",
        ),
    ] {
        cluster.run(SUPERUSER, make).expect(make);
        assert_eq!(refused(&cluster, &OPTIONS), refusal(what));
        assert_eq!(cluster.value(SUPERUSER, "SELECT count(*) FROM infrastructure.sites"), "0", "{what}");
        cluster.run(SUPERUSER, undo).expect(undo);
    }
    loaded(&cluster, &OPTIONS);
}

#[test]
fn a_loader_killed_at_any_moment_leaves_whole_days_and_the_next_one_ends_the_work() {
    let undisturbed = Cluster::started();
    loaded(&undisturbed, &OPTIONS);
    let expected = digest(&undisturbed);
    drop(undisturbed);

    let cluster = Cluster::started();
    let mut moment = Duration::from_millis(40);
    let mut interrupted = 0;
    loop {
        let mut loader = command(&cluster, &OPTIONS).spawn().expect("flowkit starts");
        let until = Instant::now() + moment;
        while Instant::now() < until && loader.try_wait().expect("it is our child").is_none() {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = kill_process(Pid::from_child(&loader), Signal::KILL);
        let ended = loader.wait().expect("it is our child").success();
        if ended {
            break;
        }
        interrupted += 1;
        let days = "SELECT count(DISTINCT cdr_type) FROM etl.available_dates GROUP BY cdr_date";
        assert!(cluster.ask(SUPERUSER, days).iter().all(|day| day == &["4"]), "a day is there in part");
        moment = moment * 4 / 3;
        assert!(moment < Duration::from_secs(60), "it never ends");
    }
    assert!(interrupted >= 3, "killed only {interrupted} times");
    // The last one may have been let finish; whatever was left is finished now.
    loaded(&cluster, &OPTIONS);
    assert_eq!(digest(&cluster), expected);
}

#[test]
fn two_at_once_are_refused() {
    let cluster = Cluster::started();
    let first = cluster.connect(SUPERUSER);
    let lock = "SELECT pg_advisory_lock(x'666c6f776b697401'::bigint)";
    cluster.runtime.block_on(first.batch_execute(lock)).expect("the lock of a run");
    assert_eq!(
        refused(&cluster, &OPTIONS),
        "flowkit: another `flowkit db demo` is loading into this FlowDB; wait until it is done\n"
    );
    assert_eq!(cluster.value(SUPERUSER, "SELECT count(*) FROM infrastructure.sites"), "0");
}

#[test]
fn wrong_options_are_the_users_mistakes() {
    for options in
        [["--days", "0"], ["--subscribers", "1"], ["--sites", "0"], ["--first-day", "2016-02-30"], ["--seed", "-1"]]
    {
        let output =
            Command::new(crate::support::programs::flowkit()).args(["db", "demo"]).args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
    }
    assert_eq!(demo::Options::default().marker().matches("--").count(), 4);
}
