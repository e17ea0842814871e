//! The same three places in every form; and whatever is broken in a file, an error is all that comes of it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ::shapefile::dbase::{FieldValue, Record, TableWriterBuilder};
use ::shapefile::{Point, Polygon, PolygonRing};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const WKT: &str = "code,geom,name\nA,\"POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1))\",Größe\nB,\"POLYGON((4 0,8 0,8 4,4 4,4 0))\",\nC,,Nowhere\n";
const GEOJSON: &str = r#"{"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}, "features": [
    {"type": "Feature", "properties": {"code": "A", "name": "Größe"}, "geometry": {"type": "Polygon", "coordinates": [[[0,0],[4,0],[4,4],[0,4],[0,0]],[[1,1],[2,1],[2,2],[1,2],[1,1]]]}},
    {"type": "Feature", "properties": {"code": "B", "name": null}, "geometry": {"type": "Polygon", "coordinates": [[[4,0],[8,0],[8,4],[4,4],[4,0]]]}},
    {"type": "Feature", "properties": {"code": "C", "name": "Nowhere"}, "geometry": null}]}"#;

fn reading() -> Reading {
    Reading { shape: Shape { delimiter: b',', quote: b'"' }, encoding: None, layer: None }
}

/// A file in a directory of its own.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn layer(path: &Path) -> Result<Layer, Unreadable> {
    read(path, kind(path)?, &reading())
}

fn text_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(|error| error.to_string()).collect::<Vec<_>>().join(": ")
}

fn wrong(path: &Path) -> String {
    text_of(&layer(path).unwrap_err())
}

/// A, with a hole that stands first of all, and B; in UTF-8, as the `.cpg` says.
fn shapes() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("areas.shp");
    let ring = |points: &[(f64, f64)]| points.iter().map(|&(x, y)| Point::new(x, y)).collect::<Vec<_>>();
    let square = |x: f64, y: f64, side: f64| {
        PolygonRing::Outer(ring(&[(x, y), (x, y + side), (x + side, y + side), (x + side, y)]))
    };
    let hole = PolygonRing::Inner(ring(&[(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0)]));
    let table = TableWriterBuilder::new()
        .add_character_field("code".try_into().unwrap(), 10)
        .add_character_field("name".try_into().unwrap(), 40)
        .add_numeric_field("people".try_into().unwrap(), 12, 0);
    let mut writer = ::shapefile::Writer::from_path(&path, table).unwrap();
    for (rings, code, name) in
        [(vec![hole, square(0.0, 0.0, 4.0)], "A", "Größe"), (vec![square(4.0, 0.0, 4.0)], "B", "")]
    {
        let mut record = Record::default();
        record.insert("code".to_owned(), FieldValue::Character(Some(code.to_owned())));
        record.insert("name".to_owned(), FieldValue::Character(Some(name.to_owned())));
        record.insert("people".to_owned(), FieldValue::Numeric(Some(12_345.0)));
        writer.write_shape_and_record(&Polygon::with_rings(rings), &record).unwrap();
    }
    drop(writer);
    std::fs::write(path.with_extension("cpg"), "UTF-8").unwrap();
    std::fs::write(path.with_extension("PRJ"), "PROJCS[\"WGS_1984_UTM_Zone_18N\"]").unwrap();
    (dir, path)
}

fn zipped(names: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in names {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn package() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("areas.gpkg");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA synchronous = off;
         CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT);
         CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, srs_id INTEGER);
         CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT, organization_coordsys_id INTEGER);
         INSERT INTO gpkg_spatial_ref_sys VALUES ('UTM 18N', 7, 'epsg', 32618), ('undefined', 0, 'NONE', 0);
         INSERT INTO gpkg_contents VALUES ('areas', 'features'), ('pictures', 'tiles');
         INSERT INTO gpkg_geometry_columns VALUES ('areas', 'geom', 7);
         CREATE TABLE areas (fid INTEGER PRIMARY KEY, geom BLOB, code TEXT, people REAL, name TEXT)",
    )
    .unwrap();
    let blob = |bounds: bool| {
        let head = if bounds { vec![b'G', b'P', 0, 3, 7, 0, 0, 0] } else { vec![b'G', b'P', 0, 1, 7, 0, 0, 0] };
        let point = [&[1, 1, 0, 0, 0][..], &4.0f64.to_le_bytes(), &2.0f64.to_le_bytes()].concat();
        [head, vec![0; if bounds { 32 } else { 0 }], point].concat()
    };
    let sql = "INSERT INTO areas (geom, code, people, name) VALUES (?1, ?2, ?3, ?4)";
    db.execute(sql, rusqlite::params![blob(true), "A", 1.5, "Größe"]).unwrap();
    db.execute(sql, rusqlite::params![blob(false), 7, 2, ""]).unwrap();
    db.execute(sql, rusqlite::params![vec![b'G', b'P', 0, 0x11, 7, 0, 0, 0], "C", 3, "Nowhere"]).unwrap();
    drop(db);
    (dir, path)
}

fn values(layer: &Layer) -> Vec<Vec<&str>> {
    layer
        .features
        .iter()
        .map(|feature| feature.values.iter().map(|value| value.as_deref().unwrap_or("-")).collect())
        .collect()
}

#[test]
fn a_table_with_wkt() {
    let (_dir, path) = file("areas.csv", WKT.as_bytes());
    let layer = layer(&path).unwrap();
    assert_eq!((layer.names.join(" "), layer.unit, &layer.system), ("code name".to_owned(), "line", &System::Unsaid));
    assert_eq!(values(&layer), [["A", "Größe"], ["B", "-"], ["C", "Nowhere"]]);
    assert!(matches!(&layer.features[1].geometry, Some(Geometry::Wkt(text)) if text.starts_with("POLYGON((4 0")));
    assert_eq!((layer.features[2].number, &layer.features[2].geometry), (4, &None));
    // As it comes from others: packed, in another encoding.
    let (_dir, path) = file("areas.csv.zst", &zstd::encode_all(WKT.as_bytes(), 1).unwrap());
    assert_eq!(super::read(&path, kind(&path).unwrap(), &reading()).unwrap().features.len(), 3);
    let (_dir, path) = file("areas.csv", &encoding_rs::WINDOWS_1252.encode(WKT).0);
    assert!(
        wrong(&path).ends_with("areas.csv: line 2 is not UTF-8; say with --encoding what it is"),
        "{}",
        wrong(&path)
    );
    let western = Reading { encoding: Some(encoding_rs::WINDOWS_1252), ..reading() };
    assert_eq!(values(&read(&path, Kind::Csv, &western).unwrap())[0], ["A", "Größe"]);
    let (_dir, path) = file("areas.csv", b"code,geom\nA\n");
    assert!(wrong(&path).ends_with("line 2: 1 fields in place of 2"));
}

#[test]
fn a_feature_collection() {
    let (_dir, path) = file("areas.geojson", format!("\u{feff}\n {GEOJSON}").as_bytes());
    let layer = layer(&path).unwrap();
    assert_eq!((layer.names.join(" "), &layer.system), ("code name".to_owned(), &System::WGS84));
    assert_eq!(values(&layer), [["A", "Größe"], ["B", "-"], ["C", "Nowhere"]]);
    assert!(matches!(&layer.features[0].geometry, Some(Geometry::GeoJson(text)) if text.contains("[[1,1],[2,1]")));
    assert_eq!(layer.features[2].geometry, None);
    for (text, said) in [
        ("{\"type\": \"Topology\", \"objects\": {}}", "it is no GeoJSON with features: missing field `features`"),
        ("{\"features\": [{]}", "it is no GeoJSON with features: "),
        (&format!("{{\"features\": {}", "[".repeat(100_000)), "it is no GeoJSON with features: "),
    ] {
        let (_dir, path) = file("areas.json", text.as_bytes());
        assert!(wrong(&path).contains(said), "{}", wrong(&path));
    }
}

#[test]
fn a_shapefile_and_the_same_in_a_zip() {
    let (dir, path) = shapes();
    let beside = layer(&path).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let parts = [("areas.shp", read("areas.shp")), ("areas.dbf", read("areas.dbf")), ("areas.prj", read("areas.PRJ"))];
    let named: Vec<(String, &[u8])> =
        parts.iter().map(|(name, bytes)| (format!("deep/{name}"), bytes.as_slice())).collect();
    let mut named: Vec<(&str, &[u8])> = named.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    named.push(("__MACOSX/deep/._areas.shp", b"x"));
    let (_zip, zip) = file("areas.zip", &zipped(&named));
    let packed = layer(&zip).unwrap();
    for layer in [&beside, &packed] {
        assert_eq!((layer.names.join(" "), &layer.system), ("code name people".to_owned(), &System::Epsg(32618)));
        assert_eq!(values(layer), [["A", "Größe", "12345"], ["B", "-", "12345"]]);
        let Some(Geometry::Wkb(bytes)) = &layer.features[0].geometry else { panic!("{layer:?}") };
        // One area of two rings of five points, whichever stood first.
        assert_eq!(bytes.len(), 9 + 9 + 2 * (4 + 5 * 16));
    }
    let two = zipped(&[("a.shp", b""), ("b.SHP", b"")]);
    let (_zip, zip) = file("two.zip", &two);
    assert!(wrong(&zip).ends_with("it has several layers, a, b: say which with --layer"), "{}", wrong(&zip));
    let (_zip, zip) = file("none.zip", &zipped(&[("a.geojson", GEOJSON.as_bytes())]));
    assert!(wrong(&zip).ends_with("there is no .shp in it; unpack archives of anything else"));

    // A record that is marked as deleted takes its shape with it, and no other.
    let mut table = read("areas.dbf");
    let first = usize::from(u16::from_le_bytes([table[8], table[9]]));
    table[first] = b'*';
    std::fs::write(dir.path().join("areas.dbf"), &table).unwrap();
    let one = layer(&path).unwrap();
    assert_eq!((values(&one), one.features[0].number), (vec![vec!["B", "-", "12345"]], 2));
    std::fs::write(dir.path().join("areas.dbf"), &table[..table.len() - 30]).unwrap();
    assert!(wrong(&path).ends_with("the .dbf ends before the last of its 2 records"), "{}", wrong(&path));
    std::fs::remove_file(dir.path().join("areas.dbf")).unwrap();
    assert!(wrong(&path).ends_with("there is no .dbf with the attributes of its shapes beside it"));
}

#[test]
fn a_geopackage() {
    let (_dir, path) = package();
    let layer = layer(&path).unwrap();
    assert_eq!((layer.names.join(" "), &layer.system), ("code people name".to_owned(), &System::Epsg(32618)));
    assert_eq!(values(&layer), [["A", "1.5", "Größe"], ["7", "2", "-"], ["C", "3", "Nowhere"]]);
    let places: Vec<_> =
        layer.features.iter().map(|feature| feature.geometry.as_ref().and_then(|g| g.point().ok())).collect();
    assert_eq!(places, [Some([4.0, 2.0]), Some([4.0, 2.0]), None]);
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    change("UPDATE gpkg_geometry_columns SET srs_id = 0");
    assert_eq!(super::tests::layer(&path).unwrap().system, System::Unknown("undefined".to_owned()));
    change(
        "INSERT INTO gpkg_contents VALUES ('more', 'features'); INSERT INTO gpkg_geometry_columns VALUES ('more', 'geom', 7)",
    );
    assert!(wrong(&path).ends_with("it has several layers, areas, more: say which with --layer"), "{}", wrong(&path));
    // What computes for ever is not asked.
    change("CREATE VIEW more AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i FROM n) SELECT i AS geom FROM n");
    let more = Reading { layer: Some("more".to_owned()), ..reading() };
    let error = text_of(&read(&path, Kind::GeoPackage, &more).unwrap_err());
    assert!(error.ends_with("\"more\" is no plain table in it"), "{error}");
    let (_dir, path) = file("other.gpkg", b"SQLite format 3\0 and no more");
    assert!(wrong(&path).contains("it is no sound GeoPackage: "), "{}", wrong(&path));
}

/// Names that are there again and again: two small tables that would be joined to millions of layers.
#[test]
fn a_geopackage_of_too_many_layers_is_refused() {
    let (_dir, path) = package();
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    change(
        "ALTER TABLE gpkg_contents RENAME TO old; CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT);
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO gpkg_contents SELECT 'areas', 'features' FROM n;
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO gpkg_geometry_columns SELECT 'areas', 'geom', 7 FROM n",
    );
    let began = Instant::now();
    assert!(wrong(&path).ends_with("it has more than 1000 layers"), "{}", wrong(&path));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_virtual_table_is_none_however_it_is_written() {
    let (_dir, path) = package();
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    change(
        "UPDATE gpkg_contents SET table_name = 'more' WHERE data_type = 'features'; UPDATE gpkg_geometry_columns SET table_name = 'more';
         PRAGMA writable_schema = on;
         INSERT INTO sqlite_schema VALUES ('table', 'more', 'more', 0, 'CREATE/**/VIRTUAL TABLE more USING json_each')",
    );
    assert!(wrong(&path).ends_with("\"more\" is no plain table in it"), "{}", wrong(&path));
}

/// Two bytes of a file would be a value of many times as much.
#[test]
fn what_would_be_many_values_is_refused() {
    let many = format!("[{}1]", "1,".repeat(1 << 20));
    let feature = |properties: &str| format!("{{\"features\": [{{\"properties\": {properties}, \"geometry\": null}}]");
    let names: Vec<String> = (0..5000).map(|n| format!("\"{n}\": 1")).collect();
    for (text, said) in [
        (format!("{}}}", feature(&format!("{{\"a\": {many}}}"))), "the properties of feature 1 are longer than 1 MiB"),
        (format!("{}, \"crs\": {many}}}", feature("{}")), "the members of its crs are longer than 1 MiB"),
        (format!("{}}}", feature(&format!("{{{}}}", names.join(",")))), "its features have more than 4096 attributes"),
    ] {
        let (_dir, path) = file("areas.json", text.as_bytes());
        assert!(wrong(&path).ends_with(said), "{}", wrong(&path));
    }
}

/// Four bytes of a shape would be a list.
#[test]
fn rings_without_points_are_none() {
    const RINGS: u32 = 1 << 20;
    let (_, table) = &*SHAPES;
    let record = |shape: &[u8]| [&1u32.to_be_bytes()[..], &(shape.len() as u32 / 2).to_be_bytes(), shape].concat();
    let counts = [&5u32.to_le_bytes()[..], &[0; 32], &RINGS.to_le_bytes(), &0u32.to_le_bytes()].concat();
    let empty = [counts, vec![0; RINGS as usize * 4]].concat();
    let mut head = shapefile::CODE.to_be_bytes().to_vec();
    head.resize(100, 0);
    let (dir, path) = file("areas.shp", &[head, record(&empty), record(&[0; 4])].concat());
    std::fs::write(dir.path().join("areas.dbf"), table).unwrap();
    let layer = layer(&path).unwrap();
    assert_eq!(layer.features.iter().filter_map(|feature| feature.geometry.as_ref()).count(), 0);
}

#[test]
fn companions_are_plain_files() {
    let (dir, path) = shapes();
    let prj = dir.path().join("areas.PRJ");
    std::fs::remove_file(&prj).unwrap();
    let (_other, secret) = file("secret", b"a \"secret\"");
    std::os::unix::fs::symlink(secret, &prj).unwrap();
    let said = "areas.PRJ beside it is no plain file, and links are not followed";
    assert!(wrong(&path).ends_with(said), "{}", wrong(&path));
    std::fs::remove_file(&prj).unwrap();
    // Nobody ever writes to it.
    rustix::fs::mknodat(rustix::fs::CWD, &prj, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(wrong(&path).ends_with(said), "{}", wrong(&path));
}

#[test]
fn as_much_of_a_value_is_shown_as_fits_a_line() {
    let (_dir, path) = file("areas.csv", format!("code\n{}\n", "é".repeat(100_000)).as_bytes());
    assert_eq!(layer(&path).unwrap().examples(0), ["é".repeat(40)]);
}

#[test]
fn what_unpacks_to_more_than_is_taken_is_not() {
    assert!(within(std::io::repeat(0), 1 << 20).unwrap_err().to_string().starts_with("it has more than 1 MiB"));
    assert_eq!(within(&[0; 1 << 10][..], 1 << 10).unwrap().len(), 1 << 10);
}

/// Holes without end, each in a box that every outline fills: what would take hours is given up.
#[test]
fn rings_that_no_search_ends_for_are_refused() {
    let ring = |points: usize, left: bool| {
        let turn = |at: usize| std::f64::consts::TAU * at as f64 / points as f64 * if left { 1.0 } else { -1.0 };
        (0..=points).map(|at| [turn(at).cos(), turn(at).sin()]).collect::<Vec<_>>()
    };
    let outlines = || (0..50).map(|_| ring(100, false));
    let outside = (0..50).map(|_| vec![[0.99, 0.99], [1.0, 0.99], [1.0, 1.0], [0.99, 0.99]]);
    let rings: Vec<_> = outlines().chain(outside).collect();
    let said = "it has too many holes to find the areas that they are in";
    assert_eq!(rings::within(rings.clone(), 100_000), Err(said.to_owned()));
    // In steps enough, what is in no area is one of its own; and one that is in the first takes few.
    assert_eq!(rings::within(rings, 10_000_000).unwrap()[5..9], 100u32.to_le_bytes());
    let inside = vec![[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0]];
    assert_eq!(rings::within(outlines().chain([inside]).collect(), 1000).unwrap()[5..9], 50u32.to_le_bytes());
}

static SHAPES: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let (dir, _) = shapes();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    (read("areas.shp"), read("areas.dbf"))
});
static PACKAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (_dir, path) = package();
    std::fs::read(path).unwrap()
});

/// Changes of a file: bytes that are others, and where it ends.
fn changes() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff])];
    (prop::collection::vec((any::<prop::sample::Index>(), byte), 0..12), prop::option::of(any::<prop::sample::Index>()))
}

fn changed(good: &[u8], (bytes, end): &(Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)) -> Vec<u8> {
    let mut bad = good.to_vec();
    for (at, byte) in bytes {
        // Most of what matters stands at the beginning.
        let at = at.index(bad.len() * 2);
        let at = if at < bad.len() { at } else { (at - bad.len()) % bad.len().min(200) };
        bad[at] = *byte;
    }
    bad.truncate(end.map_or(bad.len(), |end| end.index(good.len())));
    bad
}

/// Reads what may be broken; whatever comes out is whole.
fn harmless(path: &Path) {
    let began = Instant::now();
    if let Ok(layer) = layer(path) {
        assert!(layer.features.iter().all(|feature| feature.values.len() == layer.names.len()));
        layer.features.iter().filter_map(|feature| feature.geometry.as_ref()).for_each(|g| drop(g.point()));
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_shapefile_does_harm(shp in changes(), dbf in changes(), prj in "\\PC{0,60}") {
        let (shapes, table) = &*SHAPES;
        let (dir, path) = file("areas.shp", &changed(shapes, &shp));
        std::fs::write(dir.path().join("areas.dbf"), changed(table, &dbf)).unwrap();
        std::fs::write(path.with_extension("PRJ"), format!("PROJCS[\"{prj}")).unwrap();
        // Whatever its first bytes have become.
        let _ = read(&path, Kind::Shapefile, &reading());
        harmless(&path);
    }

    #[test]
    fn no_zip_does_harm(changes in changes()) {
        let (shapes, table) = &*SHAPES;
        let good = zipped(&[("areas.shp", shapes), ("areas.dbf", table)]);
        let (_dir, path) = file("areas.zip", &changed(&good, &changes));
        harmless(&path);
    }

    #[test]
    fn no_geopackage_does_harm(changes in changes()) {
        let (_dir, path) = file("areas.gpkg", &changed(&PACKAGE, &changes));
        harmless(&path);
    }

    #[test]
    fn no_text_does_harm(changes in changes(), json in any::<bool>()) {
        let good = if json { GEOJSON } else { WKT };
        let (_dir, path) = file("areas", &changed(good.as_bytes(), &changes));
        harmless(&path);
    }
}
