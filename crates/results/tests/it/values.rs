//! What each value becomes, exactly.

use results::Format::{Csv, GeoJson, GeoParquet, Json};

use crate::rig::{ID, Server};

/// The one value of a query in JSON, and in CSV without its header.
fn both(server: &Server, sql: &str) -> (String, String) {
    let sql = format!("SELECT {sql} AS v");
    let (json, csv) = (server.text(&sql, Json), server.text(&sql, Csv));
    let json = json.strip_prefix(&format!("{{\"query_id\":\"{ID}\", \"query_result\":[{{\"v\":")).expect(&json);
    let csv = csv.strip_prefix("v\r\n").and_then(|csv| csv.strip_suffix("\r\n")).expect(&csv);
    (json.strip_suffix("}]}").expect(json).to_owned(), csv.to_owned())
}

/// SQL, JSON, CSV.
const VALUES: &[(&str, &str, &str)] = &[
    ("NULL::int", "null", "\"\""),
    ("(-32768)::int2", "-32768", "-32768"),
    ("(-2147483648)::int4", "-2147483648", "-2147483648"),
    ("9223372036854775807::int8", "9223372036854775807", "9223372036854775807"),
    ("4294967295::oid", "4294967295", "4294967295"),
    ("true", "true", "True"),
    ("false", "false", "False"),
    ("1::float8", "1.0", "1.0"),
    ("'-0'::float8", "-0.0", "-0.0"),
    ("0.1::float8", "0.1", "0.1"),
    ("1e15::float8", "1000000000000000.0", "1000000000000000.0"),
    ("1e16::float8", "1e+16", "1e+16"),
    ("-1.5e20::float8", "-1.5e+20", "-1.5e+20"),
    ("1e-4::float8", "0.0001", "0.0001"),
    ("-1.25e-5::float8", "-1.25e-05", "-1.25e-05"),
    ("1e-7::float8", "1e-07", "1e-07"),
    ("1e300::float8", "1e+300", "1e+300"),
    ("5e-324::float8", "5e-324", "5e-324"),
    ("0.1::float4", "0.1", "0.1"),
    ("3.4028235e38::float4", "3.4028235e+38", "3.4028235e+38"),
    ("1.5e15::float4", "1500000000000000.0", "1500000000000000.0"),
    ("1e16::float4", "1e+16", "1e+16"),
    ("1.5e-5::float4", "1.5e-05", "1.5e-05"),
    ("-1.25e-4::float4", "-0.000125", "-0.000125"),
    ("1e-45::float4", "1e-45", "1e-45"),
    ("'NaN'::float8", "null", "nan"),
    ("'Infinity'::float8", "null", "inf"),
    ("'-Infinity'::float4", "null", "-inf"),
    ("1.50::numeric", "1.50", "1.50"),
    ("-0.00::numeric", "0.00", "0.00"),
    (
        "12345678901234567890.12345678901234567890::numeric",
        "12345678901234567890.12345678901234567890",
        "12345678901234567890.12345678901234567890",
    ),
    ("-0.00001234::numeric", "-0.00001234", "-0.00001234"),
    ("1e40::numeric", "10000000000000000000000000000000000000000", "10000000000000000000000000000000000000000"),
    ("123456::numeric(6,-3)", "123000", "123000"),
    ("'NaN'::numeric", "null", "NaN"),
    ("'-Infinity'::numeric", "null", "-Infinity"),
    ("''::text", "\"\"", "\"\""),
    ("'a,\"b\"'::text", "\"a,\\\"b\\\"\"", "\"a,\"\"b\"\"\""),
    ("E'\\\\/\\b\\t\\n\\f\\r\\x01\\x7f'::text", "\"\\\\/\\b\\t\\n\\f\\r\\u0001\x7f\"", "\"\\/\x08\t\n\x0c\r\x01\x7f\""),
    ("'é שלום'::text", "\"\\u00E9 \\u05E9\\u05DC\\u05D5\\u05DD\"", "é שלום"),
    (
        "U&'\\2028\\+01F600\\FFFF\\D7FF\\E000'::text",
        "\"\\u2028\\uD83D\\uDE00\\uFFFF\\uD7FF\\uE000\"",
        "\u{2028}\u{1f600}\u{ffff}\u{d7ff}\u{e000}",
    ),
    ("'2016-01-01'::date", "\"2016-01-01\"", "2016-01-01"),
    ("'1969-12-31'::date", "\"1969-12-31\"", "1969-12-31"),
    ("'0001-01-01'::date", "\"0001-01-01\"", "0001-01-01"),
    ("'0044-03-15 BC'::date", "\"0044-03-15 BC\"", "0044-03-15 BC"),
    ("'4713-11-24 BC'::date", "\"4713-11-24 BC\"", "4713-11-24 BC"),
    ("'5874897-12-31'::date", "\"5874897-12-31\"", "5874897-12-31"),
    ("'infinity'::date", "\"infinity\"", "infinity"),
    ("'-infinity'::timestamp", "\"-infinity\"", "-infinity"),
    ("'2016-01-01 02:03:04'::timestamp", "\"2016-01-01T02:03:04\"", "2016-01-01 02:03:04"),
    ("'1900-02-28 23:59:59.9'::timestamp", "\"1900-02-28T23:59:59.900000\"", "1900-02-28 23:59:59.900000"),
    ("'0044-03-15 01:00:00 BC'::timestamp", "\"0044-03-15T01:00:00 BC\"", "0044-03-15 01:00:00 BC"),
    ("'2016-01-01 02:03:04+02'::timestamptz", "\"2016-01-01T00:03:04+00:00\"", "2016-01-01 00:03:04+00:00"),
    ("'infinity'::timestamptz", "\"infinity\"", "infinity"),
    ("'03:04:00'::time", "\"03:04:00\"", "03:04:00"),
    ("'24:00:00'::time", "\"24:00:00\"", "24:00:00"),
    ("'03:04:05.000001+05:45'::timetz", "\"03:04:05.000001+05:45\"", "03:04:05.000001+05:45"),
    ("'03:04:05-08:00:30'::timetz", "\"03:04:05-08:00:30\"", "03:04:05-08:00:30"),
    (
        "'1 year 2 mons -3 days 04:05:06.7'::interval",
        "\"1 year 2 mons -3 days +04:05:06.7\"",
        "1 year 2 mons -3 days +04:05:06.7",
    ),
    (
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid",
        "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("'\\x00ff'::bytea", "\"\\\\x00ff\"", "\\x00ff"),
    ("'{}'::int[]", "[]", "[]"),
    ("'{{1,2},{3,NULL}}'::int[]", "[[1,2],[3,null]]", "\"[[1,2],[3,null]]\""),
    ("'[5:6]={a,\"b c\"}'::text[]", "[\"a\",\"b c\"]", "\"[\"\"a\"\",\"\"b c\"\"]\""),
    ("'{1.50,NaN}'::numeric[]", "[1.50,null]", "\"[1.50,null]\""),
    ("ARRAY['{\"a\": 1}'::json]", "[{\"a\":1}]", "\"[{\"\"a\"\":1}]\""),
    ("'{10.0.0.1}'::inet[]", "[\"10.0.0.1/32\"]", "\"[\"\"10.0.0.1/32\"\"]\""),
    (
        "' { \"a b\" :\n[1.50 , \"\\\\\" ,\"é\\\"  \"] } '::json",
        "{\"a b\":[1.50,\"\\\\\",\"\\u00E9\\\"  \"]}",
        "\"{\"\"a b\"\":[1.50,\"\"\\\\\"\",\"\"\\u00E9\\\"\"  \"\"]}\"",
    ),
    ("'{\"b\": [1, 2], \"a\": null}'::jsonb", "{\"a\":null,\"b\":[1,2]}", "\"{\"\"a\"\":null,\"\"b\"\":[1,2]}\""),
    ("'10.0.0.0/8'::cidr", "\"10.0.0.0/8\"", "10.0.0.0/8"),
    ("'x'::\"char\"", "\"x\"", "x"),
    ("int4range(1, 5)", "\"[1,5)\"", "\"[1,5)\""),
    ("'happy'::mood", "\"happy\"", "happy"),
    ("'{happy,sad}'::mood[]", "[\"happy\",\"sad\"]", "\"[\"\"happy\"\",\"\"sad\"\"]\""),
    ("5::percent", "5", "5"),
    ("ROW(1, 'x')::pair", "{\"a\":1,\"b\":\"x\"}", "\"{\"\"a\"\":1,\"\"b\"\":\"\"x\"\"}\""),
    ("pg_sleep(0)", "\"\"", "\"\""),
];

#[test]
fn values_of_every_kind() {
    let server = Server::start();
    server.run(
        "CREATE TYPE mood AS ENUM ('happy', 'sad'); CREATE DOMAIN percent AS int4 CHECK (VALUE <= 100);
         CREATE TYPE pair AS (a int, b text)",
    );
    let wrong: Vec<_> = VALUES
        .iter()
        .map(|(sql, json, csv)| (*sql, both(&server, sql), (json.to_string(), csv.to_string())))
        .filter(|(_, got, wanted)| got != wanted)
        .collect();
    assert!(wrong.is_empty(), "SQL, got, wanted: {wrong:#?}");
}

#[test]
fn rows_and_columns() {
    let server = Server::start();
    let none = "SELECT 1 AS a, 'x' AS b WHERE false";
    assert_eq!(server.text(none, Json), format!("{{\"query_id\":\"{ID}\", \"query_result\":[]}}"));
    assert_eq!(server.text(none, Csv), "");
    assert_eq!(server.text(none, GeoJson), "{\"type\":\"FeatureCollection\", \"features\":[]}");

    let two =
        "SELECT i, NULL::text AS nothing, 'é' AS \"na\"\"me,\" FROM generate_series(1, 2) i ORDER BY i -- the end";
    assert_eq!(
        server.text(two, Json),
        format!(
            "{{\"query_id\":\"{ID}\", \"query_result\":[{{\"i\":1,\"nothing\":null,\"na\\\"me,\":\"\\u00E9\"}}, \
             {{\"i\":2,\"nothing\":null,\"na\\\"me,\":\"\\u00E9\"}}]}}"
        )
    );
    assert_eq!(server.text(two, Csv), "i,nothing,\"na\"\"me,\"\r\n1,,é\r\n2,,é\r\n");

    // Names that are missing or the same; with a cast, which wraps the query.
    let same = "SELECT 1, 2 AS a, '1 day'::interval AS a, 3";
    assert_eq!(
        server.text(same, Json),
        format!("{{\"query_id\":\"{ID}\", \"query_result\":[{{\"a\":\"1 day\",\"?column?\":3}}]}}")
    );
    assert_eq!(server.text(same, Csv), "?column?,a,a,?column?\r\n1,2,1 day,3\r\n");

    assert_eq!(server.text("SELECT", Json), format!("{{\"query_id\":\"{ID}\", \"query_result\":[{{}}]}}"));

    let feature = "SELECT 'Feature' AS type, 7::bigint AS id, '{\"type\": \"Point\"}'::json AS geometry,
                   json_build_object('pcod', 'NPL.1') AS properties";
    assert_eq!(
        server.text(feature, GeoJson),
        "{\"type\":\"FeatureCollection\", \"features\":[{\"type\":\"Feature\",\"id\":7,\
         \"geometry\":{\"type\":\"Point\"},\"properties\":{\"pcod\":\"NPL.1\"}}]}"
    );
}

#[test]
fn geometries() {
    let server = Server::start();
    server.run("CREATE EXTENSION postgis");
    let collection =
        "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(84.5 28),LINESTRING EMPTY,POLYGON((0 0,1 0,1 1,0 0)))')";
    let sql = format!(
        "SELECT 'Feature' AS type, 1::bigint AS id, ST_AsGeoJSON({collection})::json AS geometry, NULL::json AS properties"
    );
    assert_eq!(
        server.text(&sql, GeoJson),
        "{\"type\":\"FeatureCollection\", \"features\":[{\"type\":\"Feature\",\"id\":1,\
         \"geometry\":{\"type\":\"GeometryCollection\",\"geometries\":[\
         {\"type\":\"Point\",\"coordinates\":[84.5,28]},{\"type\":\"LineString\",\"coordinates\":[]},\
         {\"type\":\"Polygon\",\"coordinates\":[[[0,0],[1,0],[1,1],[0,0]]]}]},\"properties\":null}]}"
    );
    assert_eq!(feature_table(&server), ["NPL.1 2.5 x {\"a\":[1]} 1", "null null null null 2", "NPL.3 3.0 y null 3"]);
    // A column that is a geometry itself comes as PostGIS prints it.
    assert_eq!(both(&server, "ST_MakePoint(0, 1)").1, "01010000000000000000000000000000000000F03F");
}

/// Features as GeoParquet: properties by columns, geometries as WKB, and what says so.
fn feature_table(server: &Server) -> Vec<String> {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Float64Type, Int64Type};
    let sql = "SELECT 'Feature' AS type, i::bigint AS id, ST_AsGeoJSON(ST_MakePoint(i, 28.5))::json AS geometry, p::json AS properties
        FROM (VALUES (1, '{\"pcod\": \"NPL.1\", \"value\": 2.5, \"it''s\": \"x\", \"more\": {\"a\":[1]}}'),
            (2, '{\"pcod\": null, \"value\": null, \"other\": 1}'), (3, '{\"pcod\": \"NPL.3\", \"value\": 3, \"it''s\": \"y\"}')) v(i, p)";
    let file = bytes::Bytes::from(server.file(sql, GeoParquet));
    let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let said = builder.metadata().file_metadata().key_value_metadata().expect("metadata").clone();
    let geo = said.iter().find(|pair| pair.key == "geo").and_then(|pair| pair.value.clone()).expect("geo");
    assert_eq!(
        geo,
        "{\"version\":\"1.1.0\",\"primary_column\":\"geometry\",\"columns\":{\"geometry\":{\"encoding\":\"WKB\",\"geometry_types\":[]}}}"
    );
    let batch = builder.build().expect("a reader").next().expect("a batch").expect("a batch");
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["id", "pcod", "value", "it's", "more", "geometry"]);
    let text = |column: usize, row: usize| {
        let column = batch.column(column).as_string::<i32>().iter().nth(row).flatten();
        column.unwrap_or("null").to_owned()
    };
    (0..batch.num_rows())
        .map(|row| {
            let id = batch.column(0).as_primitive::<Int64Type>().value(row);
            let value = batch.column(2).as_primitive::<Float64Type>().iter().nth(row).flatten();
            let value = value.map_or("null".to_owned(), |value| format!("{value:?}"));
            // Little-endian, a point, its coordinates.
            let point = [&[1, 1, 0, 0, 0][..], &(id as f64).to_le_bytes(), &28.5f64.to_le_bytes()].concat();
            assert_eq!(batch.column(5).as_binary::<i32>().value(row), point);
            format!("{} {value} {} {} {id}", text(1, row), text(3, row), text(4, row))
        })
        .collect()
}
