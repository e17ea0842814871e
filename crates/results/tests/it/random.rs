//! Random values of every type, read back by PostgreSQL itself and compared there with what they were.

use futures_util::SinkExt;
use results::Format::{Csv, Json};

use crate::rig::{ID, Server};

/// A column a type, and how its values are made: small and huge, before Christ and far off.
const COLUMNS: &[(&str, &str)] = &[
    ("int2", "(random() * 65535 - 32768)::int2"),
    ("int4", "(random() * 4294967295 - 2147483648)::int4"),
    ("int8", "(random() * 1.8e19 - 9e18)::int8"),
    ("float4", "((random() - 0.5) * 10 ^ (random() * 70 - 35))::float4"),
    ("float8", "(random() - 0.5) * 10 ^ (random() * 600 - 300)"),
    ("numeric", "((random() - 0.5)::numeric * 10 ^ (random() * 60 - 30)::int::numeric)::numeric"),
    ("bool", "random() < 0.5"),
    (
        "text",
        "(SELECT string_agg(chr((1 + random() * CASE WHEN random() < 0.5 THEN 126 ELSE 55000 END)::int), '') || i FROM generate_series(1, 12))",
    ),
    ("date", "DATE '2000-01-01' + (random() * 3e6 - 2.4e6)::int"),
    ("timestamp", "TIMESTAMP '2000-01-01' + (random() * 2e11 - 1.5e11) * INTERVAL '1 second'"),
    ("timestamptz", "TIMESTAMPTZ '2000-01-01' + (random() * 2e11 - 1.5e11) * INTERVAL '1 second'"),
    ("time", "TIME '00:00' + random() * INTERVAL '1 day'"),
    ("timetz", "(TIME '00:00' + random() * INTERVAL '1 day' || '+05:45')::timetz"),
    ("interval", "(random() - 0.5) * INTERVAL '1000 days' + (random() * 99)::int * INTERVAL '1 month'"),
    ("uuid", "md5(random()::text)::uuid"),
    ("bytea", "decode(md5(random()::text), 'hex')"),
    ("jsonb", "jsonb_build_object(md5(random()::text), random() * 1e6, E'\\u00e9\"\\\\', ARRAY[i, NULL])"),
];

#[test]
fn values_are_read_back_as_they_were() {
    let server = Server::start();
    let names: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("\"c {name}\"")).collect();
    let types: Vec<String> = names.iter().zip(COLUMNS).map(|(column, (name, _))| format!("{column} {name}")).collect();
    // Each is NULL now and then.
    let values: Vec<String> =
        COLUMNS.iter().map(|(_, sql)| format!("CASE WHEN random() < 0.9 THEN {sql} END")).collect();
    server.run(&format!(
        "CREATE TABLE t (i int, {types}); CREATE TABLE back (LIKE t);
         INSERT INTO t SELECT i, {values} FROM generate_series(1, 2000) i",
        types = types.join(", "),
        values = values.join(", ")
    ));
    for format in [Json, Csv] {
        let file = server.file("SELECT * FROM t", format);
        server.run("TRUNCATE back");
        let client = server.connect();
        server.runtime.block_on(async {
            if format == Json {
                let text = String::from_utf8(file).expect("UTF-8");
                let sql = "INSERT INTO back SELECT r.* FROM json_populate_recordset(NULL::t, $1::text::json -> 'query_result') r";
                client.execute(sql, &[&text]).await.expect("PostgreSQL reads it");
            } else {
                let sink = client.copy_in("COPY back FROM STDIN (FORMAT csv, HEADER)").await.expect("a COPY");
                let mut sink = std::pin::pin!(sink);
                sink.send(bytes::Bytes::from(file)).await.expect("a COPY");
                sink.finish().await.expect("PostgreSQL reads it");
            }
            // As text, for a numeric's zeros and a zone's offset count too.
            for name in &names {
                let sql = format!(
                    "SELECT count(*), min(t.{name}::text || ' became ' || coalesce(back.{name}::text, 'NULL'))
                     FROM t FULL JOIN back USING (i) WHERE t.{name}::text IS DISTINCT FROM back.{name}::text"
                );
                let row = client.query_one(&sql, &[]).await.expect("an answer");
                let (count, one): (i64, Option<String>) = (row.get(0), row.get(1));
                assert_eq!(count, 0, "{format:?} {name}: {one:?}");
            }
        });
    }
}

/// The longest numbers there are, digit by digit.
#[test]
fn numbers_keep_all_their_digits() {
    let server = Server::start();
    let sql = "SELECT (repeat('1234567890', 13107) || '12.' || repeat('0987654321', 1638) || '098')::numeric AS v";
    let digits = format!("{}12.{}098", "1234567890".repeat(13107), "0987654321".repeat(1638));
    assert_eq!(server.text(sql, Json), format!("{{\"query_id\":\"{ID}\", \"query_result\":[{{\"v\":{digits}}}]}}"));
    assert_eq!(server.text(sql, Csv), format!("v\r\n{digits}\r\n"));
}
