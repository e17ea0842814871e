//! The functions that FlowMachine calls, each against its contract.

use crate::support::flowdb::{Cluster, FLOWMACHINE};

#[test]
fn functions_keep_their_contract() {
    let cluster = Cluster::started();
    for check in [
        grid,
        hartigan,
        random_ints,
        samples,
        medians,
        viewshed,
        small_helpers,
        odd_arguments,
        sizes_and_scores,
        settings_of_the_cache,
    ] {
        check(&cluster);
    }
}

fn grid(cluster: &Cluster) {
    let grid = "SELECT count(*), sum(ST_Area(geom)) FROM (SELECT (ST_Dump(makegrid_2d(ST_MakeEnvelope(0, 0, 10, 10, 3857), 1))).geom) g";
    assert_eq!(cluster.ask(FLOWMACHINE, grid), [["121", "121"]]);
    let degrees = "SELECT ST_SRID(makegrid_2d(ST_MakeEnvelope(0, 0, 1, 1, 4326), 50000))";
    assert_eq!(cluster.value(FLOWMACHINE, degrees), "4326");
    assert!(cluster.run(FLOWMACHINE, "SELECT makegrid_2d(ST_MakeEnvelope(0, 0, 1, 1, 4326), 0)").is_err());
}

fn hartigan(cluster: &Cluster) {
    let sites = "INSERT INTO infrastructure.sites (id, version, geom_point, geom_polygon) VALUES
        ('a', 0, 'SRID=4326;POINT(0 0)', 'SRID=4326;MULTIPOLYGON(((0 0, 0 1, 1 1, 0 0)))'),
        ('b', 1, 'SRID=4326;POINT(0.005 0)', NULL),
        ('c', 0, 'SRID=4326;POINT(1 1)', 'SRID=4326;MULTIPOLYGON(((1 1, 1 2, 2 2, 1 1)))'),
        ('d', 0, 'SRID=4326;POINT(2 2)', NULL), ('e', 0, NULL, NULL)";
    cluster.run("flowdb", sites).unwrap();
    // What HartiganCluster asks, for one subscriber with sites by falling weight.
    let cluster_of = |radius: f64, buffer: f64, threshold: i32| {
        let sql = format!(
            "SELECT rank, weights, site_ids, versions,
                    CASE WHEN GeometryType(c::geometry) = 'POINT' THEN ST_AsText(c, 4) ELSE GeometryType(c::geometry) END
             FROM (SELECT unnest(rank) rank, unnest(weights) weights, unnest(site_ids) site_ids, unnest(versions) versions,
                          unnest(clusters) c
                   FROM (SELECT (hartigan(id, version, w::int, {radius}, {buffer}, {threshold})).*
                         FROM (VALUES ('a', 0, 10), ('c', 0, 6), ('b', 1, 5), ('d', 0, 2), ('e', 0, 1), ('nowhere', 0, 1))
                              t (id, version, w)) h) clusters"
        );
        cluster.ask(FLOWMACHINE, &sql)
    };
    assert_eq!(
        cluster_of(1.0, 0.0, 0),
        [
            ["1", "15", "a::b", "0::1", "POINT(0.0017 0)"],
            ["2", "6", "c", "0", "POINT(1 1)"],
            ["3", "2", "d", "0", "POINT(2 2)"]
        ]
    );
    assert_eq!(cluster_of(1.0, 0.5, 6), [["1", "15", "a::b", "0::1", "POLYGON"], ["2", "6", "c", "0", "MULTIPOLYGON"]]);
    assert_eq!(cluster_of(0.1, 0.5, 0).len(), 4, "b is 556 m from a");
    assert_eq!(cluster_of(1.0, 0.5, 100), Vec::<Vec<String>>::new());
    let none = "SELECT unnest(rank) FROM (SELECT (hartigan('a', 0, 1, 1, 0, 0)).* WHERE false) h";
    assert_eq!(cluster.ask(FLOWMACHINE, none), Vec::<Vec<String>>::new());
}

fn random_ints(cluster: &Cluster) {
    let draw = |n: i64, max: i64| {
        let sql = format!(
            "SELECT count(*), count(DISTINCT id), min(id) >= 1, max(id) <= {max} FROM random_ints(0.25, {n}, {max})"
        );
        cluster.ask(FLOWMACHINE, &sql)[0].join(" ")
    };
    assert_eq!(draw(10, 1_000_000), "10 10 t t");
    assert_eq!(draw(49, 100), "49 49 t t");
    assert_eq!(draw(50, 100), "50 50 t t");
    assert_eq!(draw(100, 100), "100 100 t t");
    assert_eq!(draw(150, 100), "100 100 t t");
    assert_eq!(draw(0, 100), "0 0 - -");
    assert_eq!(draw(5, 0), "0 0 - -");
    let seeded = |seed: &str| {
        cluster.value(
            FLOWMACHINE,
            &format!("SELECT string_agg(id::text, ' ' ORDER BY id) FROM random_ints({seed}, 20, 100000)"),
        )
    };
    assert_eq!(seeded("0.5"), seeded("0.5"));
    assert_ne!(seeded("0.5"), seeded("-0.5"));
    assert!(cluster.run(FLOWMACHINE, "SELECT random_ints(1.5, 1, 1)").is_err());
    // The session must not be left predictable.
    let after = "SELECT random() FROM random_ints(0.5, 1, 10)";
    assert_ne!(cluster.value(FLOWMACHINE, after), cluster.value(FLOWMACHINE, after));
    // Every number has the same chance, for a small share (drawn) and a large one (shuffled).
    for share in [20, 70] {
        let sql = format!(
            "SELECT min(n) > {share} * 20 - 400 AND max(n) < {share} * 20 + 400, count(*) FROM (SELECT id, count(*) n FROM generate_series(1, 2000) s, random_ints(s / 2000.0, {share}, 100) GROUP BY id) counts"
        );
        assert_eq!(cluster.ask(FLOWMACHINE, &sql), [["t", "100"]], "{share} of 100");
    }
}

/// The samples that FlowMachine's `random_sample` draws: their sizes, and that a seed repeats them.
fn samples(cluster: &Cluster) {
    cluster.run(FLOWMACHINE, "CREATE TABLE cache.people AS SELECT id FROM generate_series(1, 5000) id").unwrap();
    let by_number = |seed: &str| {
        format!(
            "(SELECT row_number() OVER () AS n, id FROM cache.people) p JOIN random_ints({seed}, 10, 5000) r ON r.id = n"
        )
    };
    let of_table = |sample: &str| format!("cache.people p TABLESAMPLE {sample}");
    let ids = |from: &str| {
        cluster.value(FLOWMACHINE, &format!("SELECT string_agg(p.id::text, ' ' ORDER BY p.id) FROM {from}"))
    };
    let count = |from: &str| ids(from).split(' ').count();
    assert_eq!(count(&by_number("-0.5")), 10);
    assert_eq!(count(&of_table("SYSTEM_ROWS(10)")), 10);
    assert!((1000..1500).contains(&count(&of_table("BERNOULLI(25)"))), "a quarter of 5000, and 8 deviations");
    for (one, other) in [
        (by_number("-0.5"), by_number("0.75")),
        (of_table("BERNOULLI(1) REPEATABLE (1)"), of_table("BERNOULLI(1) REPEATABLE (2)")),
        (of_table("SYSTEM(30) REPEATABLE (1)"), of_table("SYSTEM(30) REPEATABLE (2)")),
    ] {
        assert_eq!(ids(&one), ids(&one), "{one}");
        assert_ne!(ids(&one), ids(&other), "{one}");
    }
}

fn medians(cluster: &Cluster) {
    let ask = |sql: &str| cluster.value(FLOWMACHINE, sql);
    assert_eq!(ask("SELECT median(x) FROM generate_series(1, 4) x"), "2.5");
    assert_eq!(ask("SELECT median(x) FROM (VALUES (3.5::numeric), (NULL), (1), (9)) t (x)"), "3.5");
    assert_eq!(ask("SELECT median(x) FROM (VALUES (NULL::int)) t (x)"), "-");
    assert_eq!(ask("SELECT pg_typeof(median(x)) FROM generate_series(1, 4) x"), "double precision");
}

fn viewshed(cluster: &Cluster) {
    let table = "CREATE TABLE cache.slopes AS SELECT 'l'::text AS location_id, ST_Point(0, 0) AS geom_point, line AS od_line_identifier,
            ST_Point(d, 0) AS geom, d::float AS distance, slope
        FROM (VALUES ('00000000-0000-0000-0000-00000000000a'::uuid)) lines (line),
             (VALUES (4, 2.0), (1, 1.0), (5, 3.0), (3, 2.0), (2, 0.5), (6, NULL)) pixels (d, slope)";
    cluster.run(FLOWMACHINE, table).unwrap();
    let seen = "SELECT string_agg(ST_X(geom_viewshed)::text, ' ' ORDER BY ST_X(geom_viewshed)) FROM viewshed('cache.slopes') WHERE visible";
    assert_eq!(cluster.value(FLOWMACHINE, seen), "1 3 5");
    assert_eq!(
        cluster.value(FLOWMACHINE, "SELECT count(*) FROM viewshed('cache.slopes') WHERE visible IS NOT NULL"),
        "6"
    );
}

fn small_helpers(cluster: &Cluster) {
    let ask = |sql: &str| cluster.value(FLOWMACHINE, sql);
    let numbers = "SELECT string_agg(isnumeric(x)::text, ' ') FROM unnest('{1,-2.5e3,x,\"\",1.2.3}'::text[]) x";
    assert_eq!(ask(numbers), "true true false false false");
    assert_eq!(ask("SELECT isnumeric(NULL)"), "-");
    assert_eq!(
        ask(
            "SELECT abs(avg(random_poisson(4.0)) - 4) < 0.2 AND min(random_poisson(0)) = 0 FROM generate_series(1, 10000)"
        ),
        "t"
    );
    assert_eq!(ask("SELECT count(DISTINCT random_pick('{a,b,c}'::text[])) FROM generate_series(1, 200)"), "3");
    assert_eq!(ask("SELECT random_pick('{}'::int[])"), "-");
    assert_eq!(ask("SELECT count(*) FROM long_running_queries()"), "0");
    // For FlowAPI's login, not for those who could see more by it than they may.
    let figures = "SELECT since < now() AND bytes > 1000000 AND cache_bytes >= 0 AND results >= 0 AND running = 0 FROM cache.figures()";
    assert_eq!(cluster.value("flowapi", figures), "t");
    assert!(cluster.run(FLOWMACHINE, figures).is_err());
    let extent = "SELECT ST_EstimatedExtent('infrastructure', 'sites', 'geom_point') IS NOT NULL";
    cluster.run("flowdb", "ANALYZE infrastructure.sites").unwrap();
    assert_eq!(ask(extent), "t");
    assert!(cluster.run("flowapi", &extent.replace("sites", "cells").replace("infrastructure", "events")).is_err());
    assert_eq!(ask("SELECT uuid_generate_v4() IS NOT NULL"), "t");
    assert_eq!(ask("SELECT count(*) FROM infrastructure.sites TABLESAMPLE SYSTEM_ROWS(2)"), "2");
}

/// Null, negative, empty, without an end, by name: an answer or an error at once, never a core that burns.
fn odd_arguments(cluster: &Cluster) {
    let ask = |sql: &str| cluster.value(FLOWMACHINE, &format!("SET statement_timeout = '20s'; {sql}"));
    for no_rows in ["0.3, 3, NULL", "0.3, NULL, 3", "NULL, 3, 3", "0.3, -1, 3", "0.3, 3, -1", "0.3, 0, 0"] {
        assert_eq!(ask(&format!("SELECT count(*) FROM random_ints({no_rows})")), "0", "{no_rows}");
    }
    assert_eq!(ask("SELECT count(*) FROM random_ints(max_val => 2147483647, seed => 0, n_samples => 5)"), "5");
    assert_eq!(ask("SELECT random_poisson(NULL)"), "-");
    assert_eq!(ask("SELECT random_poisson(-1)"), "0");
    assert_eq!(ask("SELECT random_poisson(lambda => 0)"), "0");
    let near = "SELECT abs(random_poisson(1e9) - 1e9) < 3e5 AND abs(random_poisson(1e5) - 1e5) < 3e3";
    assert_eq!(ask(near), "t");
    assert_eq!(ask("SELECT count(DISTINCT random_poisson(2e5)) > 90 FROM generate_series(1, 100)"), "t");
    assert_eq!(ask("SELECT random_pick(a => ARRAY[5])"), "5");
    assert_eq!(ask("SELECT x FROM random_pick('{NULL,6,NULL}'::int[])"), "6");
    for nothing in ["NULL::int[]", "'{}'::int[]", "'{NULL}'::int[]"] {
        assert_eq!(ask(&format!("SELECT random_pick({nothing})")), "-", "{nothing}");
    }
    assert_eq!(ask("SELECT count(*) FROM viewshed(NULL)"), "0");
    assert_eq!(ask("SELECT makegrid_2d(NULL, 5)"), "-");
    assert_eq!(ask("SELECT makegrid_2d(bound_polygon => 'SRID=3857;POLYGON EMPTY', grid_step => 5)"), "-");
    assert_eq!(ask("SELECT table_size(NULL, NULL)"), "0");
    assert_eq!(ask("SELECT cache_score(NULL, NULL, NULL)"), "-");
    assert_eq!(ask("SELECT cardinality((hartigan(NULL, NULL, NULL, NULL, NULL, NULL)).rank)"), "-");
    assert_eq!(ask("SELECT median(x) FROM unnest('{Infinity,1,-Infinity}'::float[]) x"), "1");
    for refused in [
        "random_poisson('infinity')",
        "random_poisson('nan')",
        "random_ints('nan', 1, 1)",
        "makegrid_2d('SRID=3857;POLYGON((0 0, 0 1000000, 1000000 0, 0 0))', 0.001)",
        "makegrid_2d('SRID=3857;POLYGON((0 0, 0 1, 1 0, 0 0))', 'nan')",
        "touch_cache(NULL)",
    ] {
        let error = cluster.run(FLOWMACHINE, &format!("SET statement_timeout = '20s'; SELECT {refused}")).unwrap_err();
        assert_ne!(error.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{refused} went on and on");
    }
}

fn sizes_and_scores(cluster: &Cluster) {
    let ask = |sql: &str| cluster.value(FLOWMACHINE, sql);
    let number = |sql: &str| ask(sql).parse::<f64>().unwrap();
    assert_eq!(ask("SELECT table_size('vanished', 'cache')"), "0");
    assert_eq!(ask("SELECT table_size('calls', 'events')"), "0", "a partitioned parent");
    cluster
        .run(
            FLOWMACHINE,
            "CREATE TABLE cache.sized AS SELECT generate_series(1, 10000) n; CREATE INDEX ON cache.sized (n)",
        )
        .unwrap();
    assert_eq!(ask("SELECT table_size('sized', 'cache') = pg_total_relation_size('cache.sized')"), "t");
    assert_eq!(number("SELECT cache_score(2, 3000, 10)"), 0.6);
    assert!(number("SELECT cache_score(2, 3000, 0)").is_finite());
    assert!(number("SELECT cache_score(2, 3000, NULL)").is_finite());

    let insert = |id: &str, class: &str| {
        let sql = format!(
            "INSERT INTO cache.cached (query_id, created, access_count, compute_time, cache_score_multiplier, class, schema, tablename) VALUES ('{id}', now(), 0, 1000, 0, '{class}', 'cache', 'gone')"
        );
        cluster.run(FLOWMACHINE, &sql).unwrap();
    };
    let multiplier =
        |id: &str| number(&format!("SELECT cache_score_multiplier FROM cache.cached WHERE query_id = '{id}'"));
    let touch = |id: &str| number(&format!("SELECT touch_cache('{id}')"));
    for (id, class) in [("q", "Flows"), ("r", "Flows"), ("t", "Table")] {
        insert(id, class);
    }
    // Reading a table ages nothing: the first touch of a result is the first of all.
    assert_eq!(touch("t"), 0.0);
    assert_eq!(ask("SELECT is_called FROM cache.cache_touches"), "f");
    // The first touch of all adds growth to the power of -1, the next growth to the power of 0.
    let growth = 1.0 + std::f64::consts::LN_2 / 1000.0;
    let score = touch("q");
    assert!((multiplier("q") - 1.0 / growth).abs() < 1e-9);
    assert!((score / (multiplier("q") * 1.0 / 0.00001) - 1.0).abs() < 1e-9);
    touch("q");
    assert!((multiplier("q") - 1.0 / growth - 1.0).abs() < 1e-9);
    assert_eq!(touch("t"), 0.0);
    assert_eq!(ask("SELECT access_count FROM cache.cached WHERE query_id = 't'"), "2");
    let error = cluster.run(FLOWMACHINE, "SELECT touch_cache('no-such-id')").unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("no-such-id"));

    // Half-life: 1000 touches later a touch weighs twice as much.
    cluster.run("flowdb", "SELECT setval('cache.cache_touches', 1001)").unwrap();
    touch("r");
    assert!((multiplier("r") / growth.powi(1000) - 1.0).abs() < 1e-9 && (1.99..2.01).contains(&growth.powi(1000)));

    // A double would overflow at touch 1,024,350 or so: scores go on, in the same order, and the newest weighs most.
    cluster.run("flowdb", "SELECT setval('cache.cache_touches', 300000)").unwrap();
    touch("q");
    touch("r");
    touch("r");
    cluster.run("flowdb", "SELECT setval('cache.cache_touches', 1023999)").unwrap();
    for _ in 0..2 {
        assert!(touch("q").is_finite());
    }
    assert!((multiplier("q") - 1.0 - growth).abs() < 1e-6);
    cluster.run("flowdb", "SELECT setval('cache.cache_touches', 1100000)").unwrap();
    touch("r");
    assert!(multiplier("r") > multiplier("q") * growth.powi(70_000) && multiplier("r").is_finite());
    for touches in [5_000_000_u64, 9_000_000_000_000_000] {
        cluster.run("flowdb", &format!("SELECT setval('cache.cache_touches', {touches})")).unwrap();
        assert!(touch("q").is_finite());
        assert_eq!(multiplier("q"), 1.0, "all that was before has faded");
    }
    // FlowMachine resets its cache.
    cluster.run(FLOWMACHINE, "SELECT setval('cache.cache_touches', 1)").unwrap();
    cluster.run("flowdb", "UPDATE cache.cached SET cache_score_multiplier = 0").unwrap();
    touch("q");
    assert_eq!(multiplier("q"), 1.0);

    // While somebody else writes, scales are left alone and nobody waits or fails.
    let other = cluster.connect(FLOWMACHINE);
    let run = |sql: &str| cluster.runtime.block_on(other.batch_execute(sql)).unwrap();
    run("BEGIN; UPDATE cache.cached SET access_count = 7 WHERE query_id = 'r'");
    cluster.run("flowdb", "SELECT setval('cache.cache_touches', 400000)").unwrap();
    assert!(touch("q").is_finite());
    assert!((multiplier("q").ln() - 399_999.0 * growth.ln()).abs() < 1e-3);
    cluster.run("flowdb", "SELECT setval('cache.cache_touches', 20000000)").unwrap();
    assert!(touch("q").is_finite(), "beyond what a double holds");
    run("ROLLBACK");
    touch("q");
    assert_eq!(cluster.value("flowdb", "SELECT first_touch > 0 FROM flowkit.cache_origin"), "t");
}

/// What FlowMachine's setters write is taken, and takes effect, even under the key that it alone knows.
fn settings_of_the_cache(cluster: &Cluster) {
    let set = |key: &str, value: &str| {
        cluster.run(FLOWMACHINE, &format!("UPDATE cache.cache_config SET value = '{value}' WHERE key = '{key}'"))
    };
    let period = || cluster.value(FLOWMACHINE, "SELECT cache_protected_period()");
    set("cache_protected_period", "-5").unwrap();
    assert_eq!(period(), "-5");
    set("protected_period", "17").unwrap();
    assert_eq!(period(), "17");
    set("cache_protected_period", "18").unwrap();
    assert_eq!(period(), "18");
    set("cache_size", "-1").unwrap();
    set("half_life", "1e+20").unwrap();
    for (key, nonsense) in [("cache_size", "10GB"), ("half_life", "0"), ("protected_period", "a day")] {
        assert!(set(key, nonsense).is_err(), "{key} = {nonsense}");
    }
}
