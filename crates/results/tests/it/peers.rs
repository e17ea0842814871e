//! What analysts open our files with: pandas and geopandas, whose GDAL and Arrow are those of QGIS and of everybody else.

use std::path::PathBuf;
use std::process::Command;

use results::Format;
use rustix::process::geteuid;

use crate::rig::Server;

/// Geometries as shapely writes them. The last is the height that is left out of FlatGeobuf.
const SHAPES: [&str; 11] = [
    "POINT (84.5 28.25)",
    "LINESTRING (0 0, 1 1, 2 0)",
    "POLYGON ((0 0, 4 0, 4 4, 0 0), (1 0.5, 2 0.5, 2 1, 1 0.5))",
    "MULTIPOINT ((1 2), (3 4))",
    "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3, 4 2))",
    "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 9 5, 9 9, 5 5), (6 5.5, 7 5.5, 7 6, 6 5.5)))",
    "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (0 0, 1 1), MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0))))",
    "POLYGON EMPTY",
    "GEOMETRYCOLLECTION EMPTY",
    "null",
    "POINT Z (1 2 3)",
];

/// Prints each feature of a file in a line: its id, its properties and its geometry.
const FEATURES: &str = r"
import sys, geopandas, shapely
path = sys.argv[1]
frame = geopandas.read_parquet(path) if path.endswith('.geoparquet') else geopandas.read_file(path)
assert frame.crs.to_epsg() == 4326 or frame.crs.to_string() == 'OGC:CRS84', frame.crs
assert list(frame.columns) == ['id', 'pcod', 'value', 'geometry'], frame.columns
for row in frame.itertuples():
    text = row.pcod if isinstance(row.pcod, str) else 'null'
    shape = 'null' if row.geometry is None else shapely.to_wkt(row.geometry, rounding_precision=6)
    print(row.id, text, row.value, shape, sep='|')
";

#[test]
fn geopandas_reads_features() {
    let server = Server::start();
    server.run("CREATE EXTENSION postgis; CREATE TABLE shapes (id int, shape text)");
    for (id, shape) in SHAPES.iter().enumerate() {
        let shape = if *shape == "null" { "NULL".to_owned() } else { format!("'{shape}'") };
        server.run(&format!("INSERT INTO shapes VALUES ({id}, {shape})"));
    }
    let sql = "SELECT 'Feature' AS type, id::bigint AS id, ST_AsGeoJSON(ST_GeomFromText(shape))::json AS geometry,
        json_build_object('pcod', CASE WHEN id % 2 = 0 THEN 'Népal.' || id END, 'value', CASE WHEN id <> 3 THEN id / 4.0 END)
        AS properties FROM shapes ORDER BY id";
    for format in [Format::GeoParquet, Format::FlatGeobuf] {
        let read = read_by(FEATURES, format, &server.file(sql, format));
        let expected = SHAPES.iter().enumerate().map(|(id, shape)| {
            let text = if id % 2 == 0 { format!("Népal.{id}") } else { "null".to_owned() };
            let value = if id == 3 { "nan".to_owned() } else { format!("{:?}", id as f64 / 4.0) };
            let flat = format == Format::FlatGeobuf && *shape == "POINT Z (1 2 3)";
            format!("{id}|{text}|{value}|{}", if flat { "POINT (1 2)" } else { shape })
        });
        assert_eq!(read, expected.collect::<Vec<_>>(), "{format:?}");
    }
    // No feature at all, and many.
    let none = format!("SELECT * FROM ({sql}) f WHERE false");
    let many = "SELECT 'Feature' AS type, i AS id, '{\"type\":\"Point\",\"coordinates\":[1,2]}'::json AS geometry,
        json_build_object('pcod', 'x', 'value', i) AS properties FROM (SELECT generate_series(1, 30000) AS i) g";
    let count = "import sys, geopandas; print(len(geopandas.read_file(sys.argv[1])))";
    for (sql, rows) in [(none.as_str(), "0"), (many, "30000")] {
        assert_eq!(read_by(count, Format::FlatGeobuf, &server.file(sql, Format::FlatGeobuf)), [rows]);
    }
}

/// Prints each row of a file in a line.
const ROWS: &str = r"
import sys, pandas
path = sys.argv[1]
frame = pandas.read_feather(path) if path.endswith('.arrow') else pandas.read_parquet(path)
for row in frame.itertuples(index=False):
    print(*row, sep='|')
";

#[test]
fn pandas_reads_rows() {
    let server = Server::start();
    let sql = "SELECT 7::bigint AS i, 0.1::float8 AS f, 12.50::numeric(10, 2) AS d, 'é' AS t, DATE '1969-12-31' AS day,
        TIMESTAMP '2016-01-02 03:04:05' AS at, true AS b";
    for format in [Format::Arrow, Format::Parquet] {
        let read = read_by(ROWS, format, &server.file(sql, format));
        assert_eq!(read, ["7|0.1|12.50|é|1969-12-31|2016-01-02 03:04:05|True"], "{format:?}");
    }
}

/// The lines that a program in Python prints of a file.
fn read_by(program: &str, format: Format, file: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(format!("file.{}", format.extension()));
    std::fs::write(&path, file).expect("a file");
    let output = Command::new(python()).args(["-I", "-c", program]).arg(&path).env("PYTHONUTF8", "1").output();
    let output = output.expect("Python");
    assert!(output.status.success(), "{format:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// The Python that `make setup-tests` makes.
fn python() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".local");
    let prefix = std::env::var_os("PREFIX").map(PathBuf::from);
    let prefix = prefix.unwrap_or_else(|| if geteuid().is_root() { "/usr/local".into() } else { home() });
    let python = prefix.join("lib/flowkit/client/bin/python");
    assert!(python.exists(), "{} is missing; run `make setup-tests`", python.display());
    python
}
