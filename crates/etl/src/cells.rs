//! Cells: where they are, and since when. A list of them becomes rows of `infrastructure.cells`, with their history.
//!
//! Of a cell that has moved the old place stays, with the day before as its last, and the new one is its next version: events of
//! before are still counted where it was. Nothing is changed unless the whole list is sound.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use time::Date;
use time::macros::format_description;
use tokio_postgres::Client;

use crate::error::Error;
use crate::records::{Batch, Broken, Records, Shape};
use crate::source::Input;

/// Columns of `infrastructure.cells` that a list may have beside id and place, with their types.
const OTHERS: &[(&str, &str)] = &[
    ("site_id", "text"),
    ("name", "text"),
    ("type", "text"),
    ("msc", "text"),
    ("bsc_rnc", "text"),
    ("antenna_type", "text"),
    ("status", "text"),
    ("lac", "text"),
    ("height", "numeric"),
    ("azimuth", "numeric"),
    ("transmitter", "text"),
    ("max_range", "numeric"),
    ("min_range", "numeric"),
    ("electrical_tilt", "numeric"),
    ("mechanical_downtilt", "numeric"),
    ("date_of_first_service", "date"),
    ("date_of_last_service", "date"),
];
/// What others call id and place.
const NAMES: &[(&str, &[&str])] = &[
    ("id", &["id", "cell_id", "cell", "location_id", "cgi"]),
    ("longitude", &["longitude", "lon", "long", "lng", "x"]),
    ("latitude", &["latitude", "lat", "y"]),
];
/// Two places that are nearer, in degrees (some centimetres), are the same: coordinates are rounded on their way.
const SAME: f64 = 1e-6;

/// A list of cells that is sound.
#[derive(Debug, Default, PartialEq)]
pub struct Cells {
    /// Columns beside id and place, of `OTHERS`.
    columns: Vec<&'static str>,
    cells: Vec<Cell>,
}

#[derive(Debug, PartialEq)]
struct Cell {
    id: String,
    longitude: f64,
    latitude: f64,
    others: Vec<Option<String>>,
}

/// Why a list of cells is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// It is not there, or no table.
    #[error("cannot read {0}")]
    Read(Input, #[source] Broken),
    /// Columns that are missing or unknown.
    #[error("{0}")]
    Columns(String),
    /// Lines, each with what is wrong.
    #[error("nothing was changed; {} of its cells are not sound:\n{}", .0.len(), listed(.0))]
    Cells(Vec<String>),
}

/// The first of many.
fn listed(faults: &[String]) -> String {
    const SHOWN: usize = 20;
    let more = if faults.len() > SHOWN { format!("\n  and {} more", faults.len() - SHOWN) } else { String::new() };
    faults.iter().take(SHOWN).map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n") + &more
}

/// What became of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Cells that were not there.
    pub new: u64,
    /// Cells that are somewhere else now.
    pub moved: u64,
    /// Cells that are where they were.
    pub same: u64,
    /// Cells that FlowDB has and the list has not; they stay.
    pub unnamed: u64,
}

/// Reads a list. `names` says what it calls columns of FlowDB's, `ignored` what is left out.
///
/// # Errors
/// [`Unsound`], with everything that is wrong at once.
pub fn cells(
    input: &Input,
    shape: Shape,
    names: &HashMap<String, String>,
    ignored: &[String],
) -> Result<Cells, Unsound> {
    let read = |error| Unsound::Read(input.clone(), error);
    let opened = input.open(None, |_| ()).map_err(|error| read(Broken::Read(error)))?;
    let (text, encoding) = opened;
    let mut records = Records::new(text, shape);
    let mut batch = Batch::default();
    records.first(&mut batch).map_err(read)?;
    let header: Vec<String> = match batch.records().next() {
        Some(header) => header.fields().map(|name| String::from_utf8_lossy(name).trim().to_lowercase()).collect(),
        None => return Err(Unsound::Columns("there are no cells in it".to_owned())),
    };
    let header = Header::new(&header, names, ignored)?;
    let mut list = Cells { columns: header.others.iter().map(|(_, name)| *name).collect(), cells: Vec::new() };
    let (mut seen, mut faults) = (HashSet::new(), Vec::new());
    while records.fill(&mut batch).map_err(read)? {
        for record in batch.records() {
            let fields: Option<Vec<&str>> = record.fields().map(|field| std::str::from_utf8(field).ok()).collect();
            let cell = match fields {
                None => Err("it is not UTF-8".to_owned()),
                Some(fields) if encoding.is_some() && fields.iter().any(|field| field.contains('\u{fffd}')) => {
                    Err("it has bytes that the encoding lacks".to_owned())
                }
                Some(fields) => header.cell(&fields),
            };
            match cell {
                Ok(cell) if !seen.insert(cell.id.clone()) => {
                    faults.push(format!("line {}: cell \"{}\" is there twice", record.line, cell.id));
                }
                Ok(cell) => list.cells.push(cell),
                Err(fault) => faults.push(format!("line {}: {fault}", record.line)),
            }
        }
    }
    if list.cells.is_empty() && faults.is_empty() {
        return Err(Unsound::Columns("there are no cells in it".to_owned()));
    }
    if faults.is_empty() { Ok(list) } else { Err(Unsound::Cells(faults)) }
}

/// Where in a line what is.
struct Header {
    width: usize,
    id: usize,
    longitude: usize,
    latitude: usize,
    others: Vec<(usize, &'static str)>,
}

impl Header {
    fn new(header: &[String], names: &HashMap<String, String>, ignored: &[String]) -> Result<Header, Unsound> {
        let called = |at: usize| {
            let renamed = names.iter().find(|(from, _)| from.to_lowercase() == header[at]);
            renamed.map_or(header[at].as_str(), |(_, to)| to.as_str())
        };
        let of = |name: &str| {
            let known = NAMES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, known)| known);
            let found: Vec<usize> = (0..header.len()).filter(|&at| known.contains(&called(at))).collect();
            match found.as_slice() {
                [at] => Ok(*at),
                [] => Err(Unsound::Columns(format!("there is no column {name}; name it with --map {name}=COLUMN"))),
                _ => {
                    Err(Unsound::Columns(format!("several columns may be {name}; leave the others out with --ignore")))
                }
            }
        };
        let (id, longitude, latitude) = (of("id")?, of("longitude")?, of("latitude")?);
        let mut others = Vec::new();
        for at in (0..header.len()).filter(|at| ![id, longitude, latitude].contains(at)) {
            if ignored.iter().any(|name| name.to_lowercase() == header[at]) {
                continue;
            }
            match OTHERS.iter().find(|(name, _)| *name == called(at)) {
                Some((name, _)) if others.iter().any(|(_, other)| other == name) => {
                    return Err(Unsound::Columns(format!(
                        "there are two columns {name}; leave one of them out with --ignore"
                    )));
                }
                Some((name, _)) => others.push((at, *name)),
                None => {
                    let name = &header[at];
                    return Err(Unsound::Columns(format!(
                        "column \"{name}\" is none of infrastructure.cells: say which it is with --map COLUMN={name}, or leave it out with --ignore {name}"
                    )));
                }
            }
        }
        Ok(Header { width: header.len(), id, longitude, latitude, others })
    }

    fn cell(&self, fields: &[&str]) -> Result<Cell, String> {
        if fields.len() != self.width {
            return Err(format!("{} fields in place of {}", fields.len(), self.width));
        }
        let id = fields[self.id].trim();
        if id.is_empty() {
            return Err("it has no id".to_owned());
        }
        if id.contains('\0') {
            return Err(format!("id {id:?} has a character 0"));
        }
        let degrees = |at: usize, name: &str, most: f64| match fields[at].trim().parse::<f64>() {
            Ok(value) if value.abs() <= most => Ok(value),
            Ok(value) if value.is_finite() => Err(format!(
                "cell \"{id}\": {name} {value} is not in degrees: are these metres of a projection, or longitude and latitude the wrong way round?"
            )),
            _ => Err(format!("cell \"{id}\": {name} \"{}\" is no number", fields[at])),
        };
        let (longitude, latitude) =
            (degrees(self.longitude, "longitude", 180.0)?, degrees(self.latitude, "latitude", 90.0)?);
        if longitude == 0.0 && latitude == 0.0 {
            return Err(format!("cell \"{id}\" is at 0, 0, in the sea: it has no place"));
        }
        let mut others = Vec::new();
        for (at, name) in &self.others {
            let value = Some(fields[*at].trim()).filter(|value| !value.is_empty());
            others.push(
                value.map(|value| sound(name, value)).transpose().map_err(|fault| format!("cell \"{id}\": {fault}"))?,
            );
        }
        Ok(Cell { id: id.to_owned(), longitude, latitude, others })
    }
}

/// A value that its column takes.
fn sound(name: &str, value: &str) -> Result<String, String> {
    let r#type = OTHERS.iter().find(|(known, _)| *known == name).map_or("text", |(_, r#type)| r#type);
    let is_sound = match r#type {
        "numeric" => crate::value::is_number(value.as_bytes()),
        "date" => Date::parse(value, format_description!("[year]-[month]-[day]"))
            .is_ok_and(|date| date.year() > 0 && value.starts_with(|c: char| c.is_ascii_digit())),
        _ => !value.contains('\0'),
    };
    if is_sound { Ok(value.to_owned()) } else { Err(format!("{name} \"{value}\" is no {type}")) }
}

/// Brings `infrastructure.cells` up to a list, in one transaction; cells that have moved are where the list says from `date` on.
///
/// # Errors
/// Cells have moved and no day is given, or one before the cell's last change; a statement fails.
pub async fn apply(client: &mut Client, list: &Cells, date: Option<Date>) -> Result<Changed, Error> {
    let failed = || Error::when("bring infrastructure.cells up to the list");
    let transaction = client.transaction().await.map_err(failed())?;
    let columns: Vec<(&str, &str)> = OTHERS.iter().copied().filter(|(name, _)| list.columns.contains(name)).collect();
    let fields: String = columns.iter().map(|(name, r#type)| format!(", {name} {type}")).collect();
    let make = format!(
        "LOCK infrastructure.cells IN SHARE ROW EXCLUSIVE MODE;
         CREATE TEMPORARY TABLE delivered (id text PRIMARY KEY, place public.geometry{fields}) ON COMMIT DROP"
    );
    transaction.batch_execute(&make).await.map_err(failed())?;
    let sql = format!(
        "INSERT INTO delivered (id, place{}) SELECT cell->>0, public.ST_SetSRID(public.ST_Point((cell->>1)::double precision, (cell->>2)::double precision), 4326){}
         FROM unnest($1::text[]) AS line, LATERAL (SELECT line::json AS cell) AS parsed",
        columns.iter().map(|(name, _)| format!(", {name}")).collect::<String>(),
        columns.iter().map(|(name, r#type)| {
            let at = 3 + list.columns.iter().position(|column| column == name).unwrap_or_default();
            format!(", (cell->>{at})::{type}")
        }).collect::<String>(),
    );
    let lines: Vec<String> = list.cells.iter().map(Cell::json).collect();
    transaction.execute(&sql, &[&lines]).await.map_err(failed())?;
    let compare = format!(
        "CREATE TEMPORARY TABLE compared ON COMMIT DROP AS
         SELECT delivered.id, now_.cell_id, now_.version, now_.date_of_first_service AS since,
             now_.cell_id IS NOT NULL AND (now_.geom_point IS NULL OR public.ST_Distance(now_.geom_point, delivered.place) > {SAME}) AS moved
         FROM delivered LEFT JOIN (
             SELECT DISTINCT ON (id) * FROM infrastructure.cells ORDER BY id, version DESC NULLS LAST) AS now_ USING (id)"
    );
    transaction.batch_execute(&compare).await.map_err(failed())?;
    let counts = transaction
        .query_one(
            "SELECT count(*) FILTER (WHERE cell_id IS NULL), count(*) FILTER (WHERE moved), count(*) FILTER (WHERE cell_id IS NOT NULL AND NOT moved),
                 (SELECT count(DISTINCT id) FROM infrastructure.cells WHERE id NOT IN (SELECT id FROM delivered)),
                 min(id) FILTER (WHERE moved), min(id) FILTER (WHERE moved AND since >= $1::date) FROM compared",
            &[&date],
        )
        .await
        .map_err(failed())?;
    let count = |at: usize| counts.get::<_, i64>(at).unsigned_abs();
    let changed = Changed { new: count(0), moved: count(1), same: count(2), unnamed: count(3) };
    match (date, counts.get::<_, Option<String>>(4), counts.get::<_, Option<String>>(5)) {
        (None, Some(cell), _) => return Err(Error::Moved { cells: changed.moved, cell }),
        (Some(date), _, Some(cell)) => return Err(Error::TooEarly { cell, date }),
        _ => {}
    }
    transaction.batch_execute(&update(&columns, date)).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(changed)
}

impl Cell {
    /// The cell as a JSON array: id, longitude, latitude, the others.
    fn json(&self) -> String {
        let mut all = vec![json!(self.id), json!(self.longitude), json!(self.latitude)];
        all.extend(self.others.iter().map(|value| json!(value)));
        json!(all).to_string()
    }
}

/// What is no history (a name, an antenna) is brought up to date where it stands; a field without a value changes nothing. Since when a
/// cell that has moved is where it is, FlowDB knows better than a list.
fn update(columns: &[(&str, &str)], date: Option<Date>) -> String {
    let is_listed = |name: &str| columns.iter().any(|(listed, _)| *listed == name);
    let set = |name: &str| match name {
        "date_of_first_service" => {
            format!(
                "{name} = CASE WHEN cell.version > 0 THEN cell.{name} ELSE coalesce(delivered.{name}, cell.{name}) END"
            )
        }
        _ => format!("{name} = coalesce(delivered.{name}, cell.{name})"),
    };
    let sets: Vec<String> = columns.iter().map(|(name, _)| set(name)).collect();
    let mut sql = String::new();
    if !sets.is_empty() {
        sql += &format!(
            "UPDATE infrastructure.cells AS cell SET {} FROM delivered JOIN compared USING (id)
             WHERE cell.cell_id = compared.cell_id AND NOT compared.moved;",
            sets.join(", ")
        );
    }
    if let Some(date) = date {
        // What the list does not say is as it was, but for the days of service.
        let value = |name: &str| match (name, is_listed(name)) {
            ("date_of_first_service", _) => format!("date '{date}'"),
            ("date_of_last_service", true) => format!("delivered.{name}"),
            ("date_of_last_service", false) => "NULL::date".to_owned(),
            (_, true) => format!("coalesce(delivered.{name}, old.{name})"),
            (_, false) => format!("old.{name}"),
        };
        let (names, values): (Vec<&str>, Vec<String>) = OTHERS.iter().map(|(name, _)| (*name, value(name))).unzip();
        sql += &format!(
            "INSERT INTO infrastructure.cells (id, version, geom_point, {})
             SELECT delivered.id, coalesce(compared.version, 0) + 1, delivered.place, {}
             FROM delivered JOIN compared USING (id) JOIN infrastructure.cells AS old ON old.cell_id = compared.cell_id
             WHERE compared.moved;
             UPDATE infrastructure.cells AS cell SET date_of_last_service = date '{date}' - 1 FROM compared
             WHERE cell.cell_id = compared.cell_id AND compared.moved;",
            names.join(", "),
            values.join(", ")
        );
    }
    let names: String = columns.iter().map(|(name, _)| format!(", {name}")).collect();
    let values: String = columns.iter().map(|(name, _)| format!(", delivered.{name}")).collect();
    sql + &format!(
        "INSERT INTO infrastructure.cells (id, version, geom_point{names})
         SELECT delivered.id, 0, delivered.place{values} FROM delivered JOIN compared USING (id) WHERE compared.cell_id IS NULL;"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsound(text: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let shape = Shape { delimiter: b',', quote: b'"' };
        cells(&Input::File(file.path().into()), shape, &HashMap::new(), &[]).unwrap_err().to_string()
    }

    /// Nothing is left for PostgreSQL to find, and nothing is lost in silence.
    #[test]
    fn what_no_cell_can_have_is_named() {
        let utf16: Vec<u8> = "\u{feff}id,x,y\na?,1,1\n"
            .encode_utf16()
            .flat_map(|unit| if unit == u16::from(b'?') { [0, 0xd8] } else { unit.to_le_bytes() })
            .collect();
        for (text, said) in [
            (&b"id,x,y\na\0,1,1\n"[..], "id \"a\\0\" has a character 0"),
            (b"id,x,y,height\na,1,1,1e-20000\n", "height \"1e-20000\" is no numeric"),
            (b"id,x,y,date_of_first_service\na,1,1,-0044-01-01\n", "is no date"),
            (b"id,x,y,Height,height\na,1,1,1,2\n", "there are two columns height"),
            (b"id,x,y,name\na,1,1,\"b\nc,2,2,d\n", "cannot read"),
            (&utf16, "it has bytes that the encoding lacks"),
        ] {
            let all = unsound(text);
            assert!(all.contains(said), "{all}");
        }
    }
}
