//! A layer of an SQLite file (GeoPackage, OGC 12-128).
//!
//! The file is somebody else's, and what it calls a table may be a view that computes for ever: only plain tables are asked, and of
//! those only columns that hold values, in so many steps.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{Fault, Feature, Geometry, Layer, Reading, System};

/// Most layers that are looked at: nothing says that the three tables name each once.
const MOST_LAYERS: usize = 1000;
/// Most steps of SQLite's machine: many times what the values of all features take, and less than a minute.
const STEPS: usize = 500_000_000;
/// How many of them are taken between two looks at that.
const PIECE: i32 = 10_000;

/// In no order: as many as are looked at are taken as they come, and no more are joined.
const LAYERS: &str = "
    SELECT c.table_name, g.column_name, substr(s.organization, 1, 80), s.organization_coordsys_id, substr(s.srs_name, 1, 80)
    FROM gpkg_contents c
    JOIN gpkg_geometry_columns g ON g.table_name = c.table_name
    LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = g.srs_id
    WHERE c.data_type = 'features' AND length(c.table_name) < 1000 AND length(g.column_name) < 1000
    LIMIT ?1";

struct Found {
    table: String,
    column: String,
    system: System,
}

pub(super) fn layer(path: &Path, reading: &Reading) -> Result<Layer, Fault> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let mut left = STEPS / PIECE as usize;
    let is_over = move || {
        left = left.saturating_sub(1);
        left == 0
    };
    db.progress_handler(PIECE, Some(is_over))?;
    db.execute_batch("PRAGMA cell_size_check = on; PRAGMA mmap_size = 0")?;
    for table in ["gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys"] {
        columns(&db, table)?;
    }
    let found = layers(&db)?;
    let names: Vec<String> = found.iter().map(|found| found.table.clone()).collect();
    let found = &found[super::chosen(&names, reading.layer.as_deref())?];
    let columns = columns(&db, &found.table)?;
    let at = columns.iter().position(|column| column.eq_ignore_ascii_case(&found.column));
    let at = at.ok_or_else(|| {
        Fault::Other(format!("layer {} has no column {}", super::cut(&found.table), super::cut(&found.column)))
    })?;
    let list: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let mut names = columns;
    names.remove(at);
    let mut layer = Layer::new("feature", names);
    layer.system = found.system.clone();
    let mut statement = db.prepare(&format!("SELECT {} FROM {}", list.join(", "), quoted(&found.table)))?;
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        let mut values = Vec::with_capacity(list.len());
        let mut geometry = None;
        for column in 0..list.len() {
            match row.get_ref(column)? {
                ValueRef::Blob(bytes) if column == at => {
                    geometry = binary(bytes).map_err(|fault| Fault::Other(format!("feature {number}: {fault}")))?;
                }
                _ if column == at => {}
                other => values.push(text(other)),
            }
        }
        layer.push(Feature { number, values, geometry })?;
    }
    Ok(layer)
}

fn layers(db: &Connection) -> Result<Vec<Found>, Fault> {
    let mut statement = db.prepare(LAYERS)?;
    let found = statement.query_map([MOST_LAYERS as i64 + 1], |row| {
        let organization: Option<String> = row.get(2)?;
        let (number, name): (Option<i32>, Option<String>) = (row.get(3)?, row.get(4)?);
        let system = match (organization, number) {
            (Some(organization), Some(number)) if organization.eq_ignore_ascii_case("EPSG") => System::Epsg(number),
            _ => System::Unknown(name.unwrap_or_else(|| "a system without a name".to_owned())),
        };
        Ok(Found { table: row.get(0)?, column: row.get(1)?, system })
    })?;
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    found.sort_by(|one, other| one.table.cmp(&other.table));
    match found.len() <= MOST_LAYERS {
        true => Ok(found),
        false => Err(Fault::Other(format!("it has more than {MOST_LAYERS} layers"))),
    }
}

/// The columns of a plain table that hold values; a number that GDAL has given each row is none. Views and virtual tables have no page of
/// their own, and SQLite writes each plain table's text anew, beginning with these two words.
fn columns(db: &Connection, table: &str) -> Result<Vec<String>, Fault> {
    let sql = "SELECT min(type = 'table' AND rootpage > 0 AND sql LIKE 'CREATE TABLE %') FROM sqlite_schema
         WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')";
    if db.query_row(sql, [table], |row| row.get::<_, Option<bool>>(0))? != Some(true) {
        return Err(Fault::Other(format!("\"{}\" is no plain table in it", super::cut(table))));
    }
    let mut statement = db.prepare(
        "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 AND NOT (pk AND name COLLATE NOCASE IN ('fid', 'ogc_fid'))",
    )?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty()),
    }
}

/// What is inside: after `GP`, a version, flags, the system's number and perhaps a box, the geometry in well-known binary.
fn binary(blob: &[u8]) -> Result<Option<Geometry>, &'static str> {
    const BROKEN: &str = "its geometry is not what a GeoPackage has";
    let &[b'G', b'P', _, flags, ref rest @ ..] = blob else { return Err(BROKEN) };
    const EMPTY: u8 = 0x10;
    let bounds = *[0, 32, 48, 48, 64].get(usize::from(flags >> 1 & 7)).ok_or(BROKEN)?;
    if flags & EMPTY != 0 {
        return Ok(None);
    }
    rest.get(4 + bounds..).map(|bytes| Some(Geometry::Wkb(bytes.to_vec()))).ok_or(BROKEN)
}
