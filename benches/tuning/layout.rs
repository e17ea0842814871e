//! How a day's rows lie, and what indexes it has: the same queries, under our settings, in databases that differ in nothing else.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::queries::Query;
use crate::report::{self, Outcome, Results};
use crate::rivals::{MIB, Settings};
use crate::server::{Cluster, Server};

/// One way to keep a day.
pub struct Layout {
    name: &'static str,
    /// What the rows are sorted by.
    order: &'static str,
    /// Method and columns of each index. One on a column that a kind of event does not have is left out.
    indexes: &'static [(&'static str, &'static str)],
}

/// What FlowETL makes unless it is told otherwise, but for the columns that a kind does not have.
const FLOWETL: &[(&str, &str)] =
    &[("btree", "msisdn_counterpart"), ("btree", "location_id"), ("btree", "datetime"), ("btree", "tac")];

/// All that are compared. The first is what the others are held against.
pub const LAYOUTS: &[Layout] = &[
    // Files come in order of time.
    Layout { name: "flowetl", order: "datetime", indexes: FLOWETL },
    // FlowETL's with `cluster_field="msisdn"`.
    Layout {
        name: "clustered",
        order: "msisdn",
        indexes: &[FLOWETL[0], FLOWETL[1], FLOWETL[2], FLOWETL[3], ("btree", "msisdn")],
    },
    Layout {
        name: "sorted",
        order: "msisdn, datetime",
        indexes: &[FLOWETL[0], FLOWETL[1], FLOWETL[2], FLOWETL[3], ("btree", "msisdn")],
    },
    Layout {
        name: "place",
        order: "location_id, datetime",
        indexes: &[FLOWETL[0], FLOWETL[1], FLOWETL[2], FLOWETL[3], ("btree", "msisdn")],
    },
    Layout {
        name: "brin_time",
        order: "msisdn, datetime",
        indexes: &[FLOWETL[0], FLOWETL[1], ("brin", "datetime"), FLOWETL[3], ("btree", "msisdn")],
    },
    Layout {
        name: "few",
        order: "msisdn, datetime",
        indexes: &[("btree", "location_id"), ("brin", "datetime"), ("btree", "msisdn")],
    },
    // What the loader makes.
    Layout {
        name: "ours",
        order: "msisdn, datetime",
        indexes: &[("btree", "msisdn"), ("btree", "location_id"), ("btree", "datetime")],
    },
    Layout { name: "brin_only", order: "msisdn, datetime", indexes: &[("brin", "msisdn"), ("brin", "datetime")] },
    Layout {
        name: "pair",
        order: "msisdn, datetime",
        indexes: &[FLOWETL[0], FLOWETL[1], FLOWETL[2], FLOWETL[3], ("btree", "msisdn, datetime")],
    },
    Layout { name: "none", order: "msisdn, datetime", indexes: &[] },
];

/// The layouts of these names.
pub fn named(names: &[String]) -> Result<Vec<&'static Layout>, String> {
    let find = |name: &String| LAYOUTS.iter().find(|layout| layout.name == name);
    let all = || LAYOUTS.iter().map(|layout| layout.name).collect::<Vec<_>>().join(", ");
    names.iter().map(|name| find(name).ok_or_else(|| format!("no layout is called {name}: {}", all()))).collect()
}

impl Layout {
    fn database(&self) -> String {
        format!("layout_{}", self.name)
    }

    /// Lays out one day anew.
    fn of(&self, table: &str, columns: &[String], old: &[String]) -> String {
        let mut sql: String = old.iter().map(|index| format!("DROP INDEX {index};")).collect();
        sql += &format!(
            "CREATE INDEX in_order ON events.{table} ({}); CLUSTER events.{table} USING in_order; DROP INDEX events.in_order;",
            self.order
        );
        let there = |list: &str| list.split(", ").all(|column| columns.iter().any(|name| name == column));
        for (method, list) in self.indexes.iter().filter(|(_, list)| there(list)) {
            sql += &format!("CREATE INDEX ON events.{table} USING {method} ({list});");
        }
        sql
    }

    /// Lays out all days of the database, and says what they take: seconds, bytes of rows and of indexes.
    async fn apply(&self, client: &Client) -> Result<(f64, [i64; 2]), tokio_postgres::Error> {
        let days = "SELECT c.relname, array_agg(DISTINCT a.attname::text),
                coalesce(array_agg(DISTINCT i.indexrelid::regclass::text) FILTER (WHERE i.indexrelid IS NOT NULL), '{}')
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                LEFT JOIN pg_index i ON i.indrelid = c.oid
            WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'events'::regnamespace GROUP BY 1";
        let days = client.query(days, &[]).await?;
        let begun = Instant::now();
        for day in days {
            let (table, columns, old): (String, Vec<String>, Vec<String>) = (day.get(0), day.get(1), day.get(2));
            client.batch_execute(&self.of(&table, &columns, &old)).await?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        client.batch_execute("VACUUM (FREEZE, ANALYZE)").await?;
        let sizes = "SELECT sum(pg_table_size(oid))::int8, sum(pg_indexes_size(oid))::int8 FROM pg_class
            WHERE relispartition AND relkind = 'r' AND relnamespace = 'events'::regnamespace";
        let sizes = client.query_one(sizes, &[]).await?;
        Ok((seconds, [sizes.get(0), sizes.get(1)]))
    }
}

/// Every query in the databases in turn, in each round from another one on: a machine that is busier for a while is so for all.
pub async fn compare(
    cluster: &Cluster,
    layouts: &[&Layout],
    settings: &Settings,
    set: &[Query],
    rounds: usize,
    patience: u64,
) -> Result<Results, String> {
    let mut server = cluster.start(settings, None).await?;
    make(&mut server, layouts).await?;
    let names: Vec<(String, Settings)> =
        layouts.iter().map(|layout| (layout.name.to_owned(), Settings::default())).collect();
    let mut results = Results::new(&names, set);
    for round in 0..rounds {
        say::tell!("round {} of {rounds}", round + 1);
        let mut outcomes = vec![vec![Outcome::TimedOut; set.len()]; layouts.len()];
        for (at, query) in set.iter().enumerate() {
            for turn in 0..layouts.len() {
                let layout = (turn + round + at) % layouts.len();
                server.database = layouts[layout].database();
                outcomes[layout][at] = crate::one_query(&mut server, &query.sql, Duration::from_secs(patience)).await;
            }
        }
        outcomes.into_iter().enumerate().for_each(|(layout, of_all)| results.add(layout, of_all));
    }
    server.stop().await;
    Ok(results)
}

/// Makes the databases, out of the one that was loaded.
async fn make(server: &mut Server<'_>, layouts: &[&Layout]) -> Result<(), String> {
    let say = |error: tokio_postgres::Error| error.as_db_error().map_or(error.to_string(), |e| e.message().to_owned());
    let loaded = std::mem::replace(&mut server.database, "postgres".to_owned());
    let control = server.wait().await?;
    let mut rows = Vec::new();
    for layout in layouts {
        let database = layout.database();
        let create = [
            format!("DROP DATABASE IF EXISTS {database}"),
            format!("CREATE DATABASE {database} TEMPLATE {loaded} STRATEGY file_copy"),
        ];
        for statement in &create {
            control.batch_execute(statement).await.map_err(say)?;
        }
        server.database = database;
        let client = server.wait().await?;
        let (seconds, [rows_bytes, index_bytes]) = layout.apply(&client).await.map_err(say)?;
        client.batch_execute(crate::WARM).await.map_err(say)?;
        let mib = |bytes: i64| format!("{}", bytes.unsigned_abs() / MIB);
        rows.push([layout.name.to_owned(), format!("{seconds:.1}"), mib(rows_bytes), mib(index_bytes)]);
    }
    report::layouts(&rows);
    Ok(())
}
