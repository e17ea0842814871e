//! Reads a list of cells: a table with their places as two numbers, or whatever else has points.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use encoding_rs::Encoding;
use time::Date;
use time::macros::format_description;

use super::{Cell, Cells, OTHERS, WGS84};
use crate::areas::srid_of;
use crate::features::{self, Kind, Layer, Reading, Unreadable};
use crate::records::{Batch, Broken, Records};
use crate::source::Input;

/// What others call id and place.
const NAMES: &[(&str, &[&str])] = &[
    ("id", &["id", "cell_id", "cell", "location_id", "cgi"]),
    ("longitude", &["longitude", "lon", "long", "lng", "x"]),
    ("latitude", &["latitude", "lat", "y"]),
];
/// Those of them that a point says as well.
const PLACE: [&str; 2] = ["longitude", "latitude"];

/// Why a list of cells is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// It is not there, or no table.
    #[error("cannot read {0}")]
    Read(Input, #[source] Broken),
    /// The same of what is no CSV.
    #[error(transparent)]
    File(#[from] Unreadable),
    /// Columns that are missing or unknown.
    #[error("{0}")]
    Columns(String),
    /// Lines, each with what is wrong.
    #[error("nothing was changed; {} of its cells are not sound:\n{}", .0.len(), crate::error::listed(.0))]
    Cells(Vec<String>),
}

/// Reads a list. `names` says what it calls columns of FlowDB's, `ignored` what is left out, `srid` what places are counted in,
/// whatever the file says.
///
/// # Errors
/// [`Unsound`], with everything that is wrong at once.
pub fn cells(
    path: &Path,
    reading: &Reading,
    srid: Option<i32>,
    names: &HashMap<String, String>,
    ignored: &[String],
) -> Result<Cells, Unsound> {
    let kind = features::kind(path)?;
    if kind == Kind::Csv {
        let table = Table::open(path, reading)?;
        if PLACE.iter().any(|name| table.header.iter().any(|other| known(name).contains(&called(other, names)))) {
            return table.list(srid.unwrap_or(WGS84), names, ignored);
        }
    }
    let layer = features::read(path, kind, reading)?;
    match layer.features.iter().all(|feature| feature.geometry.is_none()) {
        // It says in its own words what it lacks.
        true if kind == Kind::Csv => Table::open(path, reading)?.list(WGS84, names, ignored),
        _ => of_layer(layer, srid, names, ignored),
    }
}

/// A table whose header has been read.
struct Table {
    input: Input,
    records: Records<Box<dyn Read + Send>>,
    encoding: Option<&'static Encoding>,
    header: Vec<String>,
}

impl Table {
    fn open(path: &Path, reading: &Reading) -> Result<Table, Unsound> {
        let input = Input::File(path.to_owned());
        let read = |error| Unsound::Read(input.clone(), error);
        let (text, encoding) = input.open(reading.encoding, |_| ()).map_err(|error| read(Broken::Read(error)))?;
        let mut records = Records::new(text, reading.shape);
        let mut batch = Batch::default();
        records.first(&mut batch).map_err(read)?;
        let header = match batch.records().next() {
            Some(header) => header.fields().map(|name| String::from_utf8_lossy(name).trim().to_lowercase()).collect(),
            None => return Err(Unsound::Columns("there are no cells in it".to_owned())),
        };
        Ok(Table { input, records, encoding, header })
    }

    fn list(mut self, srid: i32, names: &HashMap<String, String>, ignored: &[String]) -> Result<Cells, Unsound> {
        let header = Header::new(&self.header, srid, names, ignored)?;
        let mut list = List::new(header);
        let mut batch = Batch::default();
        while self.records.fill(&mut batch).map_err(|error| Unsound::Read(self.input.clone(), error))? {
            for record in batch.records() {
                let fields: Option<Vec<&str>> = record.fields().map(|field| std::str::from_utf8(field).ok()).collect();
                let cell = match fields {
                    None => Err("it is not UTF-8".to_owned()),
                    Some(fields)
                        if self.encoding.is_some() && fields.iter().any(|field| field.contains('\u{fffd}')) =>
                    {
                        Err("it has bytes that the encoding lacks".to_owned())
                    }
                    Some(fields) => list.header.cell(&fields),
                };
                list.add("line", record.line, cell);
            }
        }
        list.finish(srid)
    }
}

/// Cells out of points.
fn of_layer(
    layer: Layer,
    srid: Option<i32>,
    names: &HashMap<String, String>,
    ignored: &[String],
) -> Result<Cells, Unsound> {
    let srid = srid_of(&layer.system, srid).map_err(Unsound::Columns)?;
    let mut header: Vec<String> = layer.names.iter().map(|name| name.trim().to_lowercase()).collect();
    // What else the file says of the place is what the point says.
    let says_place = |name: &&String| PLACE.iter().any(|place| known(place).contains(&called(name, names)));
    let ignored: Vec<String> = header.iter().filter(says_place).chain(ignored).cloned().collect();
    header.extend(PLACE.map(|name| format!("the point's {name}")));
    let place = PLACE.map(|name| (format!("the point's {name}"), name.to_owned()));
    let names: HashMap<String, String> = names.clone().into_iter().chain(place).collect();
    let mut list = List::new(Header::new(&header, srid, &names, &ignored)?);
    for feature in &layer.features {
        let point = feature.geometry.as_ref().ok_or_else(|| "it has no geometry".to_owned()).and_then(|g| g.point());
        let cell = point.and_then(|point| {
            let place = point.map(|coordinate| coordinate.to_string());
            let values = feature.values.iter().map(|value| value.as_deref().unwrap_or_default());
            let fields: Vec<&str> = values.chain(place.iter().map(String::as_str)).collect();
            list.header.cell(&fields)
        });
        list.add(layer.unit, feature.number, cell);
    }
    list.finish(srid)
}

/// Cells and faults, as they come.
struct List {
    header: Header,
    seen: HashSet<String>,
    cells: Vec<Cell>,
    faults: Vec<String>,
}

impl List {
    fn new(header: Header) -> List {
        List { header, seen: HashSet::new(), cells: Vec::new(), faults: Vec::new() }
    }

    fn add(&mut self, unit: &str, number: u64, cell: Result<Cell, String>) {
        match cell {
            Ok(cell) if !self.seen.insert(cell.id.clone()) => {
                self.faults.push(format!("{unit} {number}: cell \"{}\" is there twice", cell.id));
            }
            Ok(cell) => self.cells.push(cell),
            Err(fault) => self.faults.push(format!("{unit} {number}: {fault}")),
        }
    }

    fn finish(self, srid: i32) -> Result<Cells, Unsound> {
        let List { header, cells, faults, .. } = self;
        match (cells.is_empty(), faults.is_empty()) {
            (true, true) => Err(Unsound::Columns("there are no cells in it".to_owned())),
            (_, false) => Err(Unsound::Cells(faults)),
            _ => Ok(Cells { columns: header.others.iter().map(|(_, name)| *name).collect(), cells, srid }),
        }
    }
}

/// What others call a column.
fn known(name: &str) -> &'static [&'static str] {
    NAMES.iter().find(|(known, _)| *known == name).map_or(&[], |(_, known)| known)
}

/// What a column is, when it was said.
fn called<'a>(column: &'a str, names: &'a HashMap<String, String>) -> &'a str {
    let renamed = names.iter().find(|(from, _)| from.to_lowercase() == column);
    renamed.map_or(column, |(_, to)| to.as_str())
}

/// Where in a line what is.
struct Header {
    width: usize,
    /// Whether places are in degrees.
    degrees: bool,
    id: usize,
    longitude: usize,
    latitude: usize,
    others: Vec<(usize, &'static str)>,
}

impl Header {
    fn new(
        header: &[String],
        srid: i32,
        names: &HashMap<String, String>,
        ignored: &[String],
    ) -> Result<Header, Unsound> {
        let called = |at: usize| called(&header[at], names);
        let is_ignored = |at: &usize| ignored.iter().any(|name| name.to_lowercase() == header[*at]);
        let of = |name: &str| {
            let is_it = |at: &usize| known(name).contains(&called(*at)) && !is_ignored(at);
            let found: Vec<usize> = (0..header.len()).filter(is_it).collect();
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
            if is_ignored(&at) {
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
                    let name = features::cut(&header[at]);
                    return Err(Unsound::Columns(format!(
                        "column \"{name}\" is none of infrastructure.cells: say which it is with --map COLUMN={name}, or leave it out with --ignore {name}"
                    )));
                }
            }
        }
        Ok(Header { width: header.len(), degrees: srid == WGS84, id, longitude, latitude, others })
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
            Ok(value) if value.abs() <= most || !self.degrees && value.is_finite() => Ok(value),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Shape;

    fn unsound(text: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let reading = Reading { shape: Shape { delimiter: b',', quote: b'"' }, encoding: None, layer: None };
        cells(file.path(), &reading, None, &HashMap::new(), &[]).unwrap_err().to_string()
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
