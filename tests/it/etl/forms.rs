//! The same places in every form that geographical files come in.

use std::io::Write;
use std::path::{Path, PathBuf};

use shapefile::dbase::{FieldValue, Record, TableWriterBuilder};
use shapefile::record::EsriShape;
use shapefile::{Point, Polygon, PolygonRing};

/// Degrees, in Esri's words.
pub const DEGREES: &str = r#"GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]"#;
/// Metres, in the same.
pub const METRES: &str = r#"PROJCS["WGS_1984_UTM_Zone_18N",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],UNIT["Meter",1.0]]"#;

/// A place: code, name, its outline or its one point.
pub type Place = (&'static str, &'static str, Vec<[f64; 2]>);

/// Four squares of a degree that share their sides, clockwise.
pub fn squares() -> Vec<Place> {
    let square = |x: f64, y: f64| vec![[x, y], [x, y + 1.0], [x + 1.0, y + 1.0], [x + 1.0, y], [x, y]];
    vec![
        ("HT01", "Grand'Anse", square(-75.0, 18.0)),
        ("HT02", "Artibonite é", square(-74.0, 18.0)),
        ("HT03", "Nippes", square(-75.0, 19.0)),
        ("HT04", "Ouest", square(-74.0, 19.0)),
    ]
}

/// A point in the middle of each.
pub fn middles(squares: &[Place]) -> Vec<Place> {
    squares.iter().map(|(code, name, ring)| (*code, *name, vec![[ring[0][0] + 0.5, ring[0][1] + 0.5]])).collect()
}

fn text(ring: &[[f64; 2]], between: &str) -> String {
    ring.iter().map(|[x, y]| format!("{x}{between}{y}")).collect::<Vec<_>>().join(if between == " " {
        ","
    } else {
        "],["
    })
}

pub fn wkt(places: &[Place], names: [&str; 2]) -> String {
    let shape = |ring: &[[f64; 2]]| match ring.len() {
        1 => format!("POINT({})", text(ring, " ")),
        _ => format!("MULTIPOLYGON((({})))", text(ring, " ")),
    };
    let line = |(code, name, ring): &Place| format!("{code},\"{name}\",\"{}\"\n", shape(ring));
    format!("{},{},where\n{}", names[0], names[1], places.iter().map(line).collect::<String>())
}

pub fn geojson(places: &[Place], names: [&str; 2]) -> String {
    let feature = |(code, name, ring): &Place| {
        let (kind, coordinates) = match ring.len() {
            1 => ("Point", format!("[{}]", text(ring, ","))),
            _ => ("Polygon", format!("[[[{}]]]", text(ring, ","))),
        };
        format!(
            r#"{{"type":"Feature","properties":{{"{}":"{code}","{}":"{name}"}},"geometry":{{"type":"{kind}","coordinates":{coordinates}}}}}"#,
            names[0], names[1]
        )
    };
    let features: Vec<String> = places.iter().map(feature).collect();
    format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","))
}

/// Writes a Shapefile: `NAME.shp` and what belongs to it.
pub fn shapefile(dir: &Path, name: &str, places: &[Place], names: [&str; 2], prj: &str) -> PathBuf {
    let path = dir.join(name).with_extension("shp");
    match places[0].2.len() {
        1 => shapes(&path, places, names, |ring| Point::new(ring[0][0], ring[0][1])),
        _ => shapes(&path, places, names, |ring| {
            Polygon::new(PolygonRing::Outer(ring.iter().map(|&[x, y]| Point::new(x, y)).collect()))
        }),
    }
    std::fs::write(path.with_extension("prj"), prj).expect("a .prj");
    std::fs::write(path.with_extension("cpg"), "UTF-8").expect("a .cpg");
    path
}

fn shapes<S: EsriShape>(path: &Path, places: &[Place], names: [&str; 2], shape: impl Fn(&[[f64; 2]]) -> S) {
    let field = |table: TableWriterBuilder, name: &str| table.add_character_field(name.try_into().expect("a name"), 40);
    let table = names.iter().fold(TableWriterBuilder::new(), |table, name| field(table, name));
    let mut writer = shapefile::Writer::from_path(path, table).expect("a Shapefile");
    for (code, name, ring) in places {
        let mut record = Record::default();
        for (field, value) in names.iter().zip([code, name]) {
            record.insert(field.to_string(), FieldValue::Character(Some(value.to_string())));
        }
        writer.write_shape_and_record(&shape(ring), &record).expect("a shape");
    }
}

/// A zip of a Shapefile that is there.
pub fn zipped(shp: &Path) -> PathBuf {
    let path = shp.with_extension("zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).expect("a file"));
    for extension in ["shp", "shx", "dbf", "prj", "cpg"] {
        let part = shp.with_extension(extension);
        let name = Path::new("inside").join(part.file_name().expect("it has a name"));
        archive
            .start_file(name.to_str().expect("it is text"), zip::write::SimpleFileOptions::default())
            .expect("a part");
        archive.write_all(&std::fs::read(part).expect("a part")).expect("its bytes");
    }
    archive.finish().expect("a zip");
    path
}

/// Writes a GeoPackage with one layer, in a system with an EPSG code.
pub fn geopackage(dir: &Path, name: &str, places: &[Place], names: [&str; 2], epsg: i32) -> PathBuf {
    let path = dir.join(name);
    let db = rusqlite::Connection::open(&path).expect("an SQLite file");
    let make = format!(
        "CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT, srs_id INTEGER PRIMARY KEY, organization TEXT, organization_coordsys_id INTEGER, definition TEXT, description TEXT);
         CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT, identifier TEXT, srs_id INTEGER);
         CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT, srs_id INTEGER, z TINYINT, m TINYINT);
         INSERT INTO gpkg_spatial_ref_sys VALUES ('a system', {epsg}, 'EPSG', {epsg}, '', '');
         INSERT INTO gpkg_contents VALUES ('places', 'features', 'places', {epsg});
         INSERT INTO gpkg_geometry_columns VALUES ('places', 'geom', 'GEOMETRY', {epsg}, 0, 0);
         CREATE TABLE places (fid INTEGER PRIMARY KEY AUTOINCREMENT, geom BLOB, \"{}\" TEXT, \"{}\" TEXT)",
        names[0], names[1]
    );
    db.execute_batch(&make).expect("its tables");
    for (code, name, ring) in places {
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let coordinates: Vec<u8> = ring.iter().flatten().flat_map(|coordinate| coordinate.to_le_bytes()).collect();
        let head = [b"GP\0\x01", &epsg.to_le_bytes()[..], &[1]].concat();
        let kind = if ring.len() == 1 { numbers(&[1]) } else { numbers(&[3, 1, ring.len() as u32]) };
        let insert = format!("INSERT INTO places (geom, \"{}\", \"{}\") VALUES (?1, ?2, ?3)", names[0], names[1]);
        db.execute(&insert, rusqlite::params![[head, kind, coordinates].concat(), code, name]).expect("a place");
    }
    path
}
