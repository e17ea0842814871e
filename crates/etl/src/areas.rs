//! Areas out of a file: which of its attributes are codes and names, and whether they can be.

use std::collections::HashMap;
use std::path::Path;

use crate::features::{self, Geometry, Layer, Reading, System, Unreadable};

/// Levels that there may be. FlowMachine's server offers the first four.
pub const LEVELS: std::ops::RangeInclusive<u8> = 0..=5;

/// What others call the code of a level's areas, with `#` for the level: OCHA, GADM, and more.
const CODES: &[&str] = &["admin#pcod", "admin#pcode", "adm#pcode", "adm#pcod", "admin#code", "adm#code", "gid#"];
/// The same of names.
const NAMES: &[&str] =
    &["admin#name", "adm#name", "adm#name1", "adm#en", "adm#fr", "adm#es", "adm#pt", "adm#ht", "name#"];
/// What they call them where the file has but one level.
const OWN_CODES: &[&str] = &["pcode", "pcod", "shapeid", "shapeiso", "code", "id"];
const OWN_NAMES: &[&str] = &["shapename", "name", "nom", "nombre", "nome"];

/// Areas of a level that can be told apart.
#[derive(Debug)]
pub struct Areas {
    /// 0 is the country.
    pub level: u8,
    /// Which column is which attribute, with examples.
    pub columns: Vec<Column>,
    /// Attributes that are left out.
    pub left: Vec<String>,
    /// What their coordinates are counted in.
    pub(crate) srid: i32,
    pub(crate) areas: Vec<Area>,
    /// What is wrong with single ones, as far as attributes tell.
    pub(crate) faults: Vec<String>,
}

/// A column of the level's table, of type text.
#[derive(Debug)]
pub struct Column {
    /// `admin3pcod`
    pub name: String,
    /// As the file calls it, or what that begins with.
    pub attribute: String,
    /// Some of its values.
    pub examples: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Area {
    /// What a person is told that it is.
    pub(crate) label: String,
    /// As many as there are columns.
    pub(crate) values: Vec<Option<String>>,
    pub(crate) geometry: Option<Geometry>,
}

/// Why there are no areas.
#[derive(Debug, thiserror::Error)]
pub enum NoAreas {
    /// The file.
    #[error(transparent)]
    Read(#[from] Unreadable),
    /// An attribute that is wanted is not there, or one that is there is unclear.
    #[error("{0}")]
    Attributes(String),
    /// The system of its coordinates.
    #[error("{0}")]
    System(String),
}

/// Reads areas. `names` says which attribute holds which column, `ignored` what is left out, `srid` what coordinates are counted
/// in, whatever the file says. What is wrong with single areas is told together with what PostGIS finds.
///
/// # Errors
/// [`NoAreas`].
pub fn areas(
    path: &Path,
    level: u8,
    reading: &Reading,
    srid: Option<i32>,
    names: &HashMap<String, String>,
    ignored: &[String],
) -> Result<Areas, NoAreas> {
    let layer = features::read(path, features::kind(path)?, reading)?;
    let places = places(level, &layer, names, ignored).map_err(NoAreas::Attributes)?;
    let srid = srid_of(&layer.system, srid).map_err(NoAreas::System)?;
    if layer.features.is_empty() {
        return Err(NoAreas::Attributes("there are no areas in it".to_owned()));
    }
    if layer.features.iter().all(|feature| feature.geometry.is_none()) {
        let hint = "there are no geometries in it; in CSV a column has to hold them as WKT (POLYGON …, MULTIPOLYGON …)";
        return Err(NoAreas::Attributes(hint.to_owned()));
    }
    let column = |(name, at): &(String, usize)| Column {
        name: name.clone(),
        attribute: features::cut(&layer.names[*at]).to_owned(),
        examples: layer.examples(*at).into_iter().map(String::from).collect(),
    };
    let columns = places.iter().map(column).collect();
    let is_left = |at: &usize| !places.iter().any(|(_, place)| place == at);
    let left = (0..layer.names.len()).filter(is_left).map(|at| features::cut(&layer.names[at]).to_owned()).collect();
    let (areas, faults) = told_apart(level, layer, &places);
    Ok(Areas { level, columns, left, srid, areas, faults })
}

/// The code and the name of a level, as its table has them.
pub(crate) fn own(level: u8) -> [String; 2] {
    [format!("admin{level}pcod"), format!("admin{level}name")]
}

/// Which attribute each column is, those of the levels above first. A level without names is given its codes.
fn places(
    level: u8,
    layer: &Layer,
    names: &HashMap<String, String>,
    ignored: &[String],
) -> Result<Vec<(String, usize)>, String> {
    let there = |name: &str| layer.names.iter().position(|other| other.eq_ignore_ascii_case(name));
    let listed = || {
        const SHOWN: usize = 100;
        let list = |at: usize| format!("{} ({})", features::cut(&layer.names[at]), layer.examples(at).join(", "));
        (0..layer.names.len()).take(SHOWN).map(list).collect::<Vec<_>>().join("; ")
    };
    for name in names.keys().chain(ignored) {
        there(name).ok_or_else(|| format!("there is no attribute \"{name}\"; there is {}", listed()))?;
    }
    let columns: Vec<String> = (0..=level).flat_map(own).collect();
    if let Some(column) = names.values().find(|column| !columns.contains(column)) {
        return Err(format!("--map: geography.admin{level} has no column \"{column}\"; it has {}", columns.join(", ")));
    }
    let free = |at: &usize| {
        let name = &layer.names[*at];
        let is_it = |other: &String| other.eq_ignore_ascii_case(name);
        !ignored.iter().any(is_it) && !names.keys().any(is_it)
    };
    let plain = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
    let guess = |known: &str| (0..layer.names.len()).filter(free).find(|&at| plain(&layer.names[at]) == known);
    let of = |column: &str, above: u8, general: &[&str], own: &[&str]| {
        let named = names.iter().find(|(_, to)| to.as_str() == column).and_then(|(from, _)| there(from));
        let own = own.iter().filter(|_| above == level).map(|known| known.to_string());
        let mut known = general.iter().map(|known| known.replace('#', &above.to_string())).chain(own);
        named.or_else(|| known.find_map(|known| guess(&known)))
    };
    let mut places = Vec::new();
    for above in 0..=level {
        let [code, name] = own(above);
        let found = (of(&code, above, CODES, OWN_CODES), of(&name, above, NAMES, OWN_NAMES));
        let found = match found {
            (None, _) if above == level => {
                return Err(format!("which attribute is {code}? say --map {code}=ATTRIBUTE; there is {}", listed()));
            }
            (Some(code), None) if above == level => (Some(code), Some(code)),
            found => found,
        };
        places.extend(found.0.map(|at| (code, at)));
        places.extend(found.1.map(|at| (name, at)));
    }
    Ok(places)
}

/// The number that PostGIS knows a system by.
pub(crate) fn srid_of(system: &System, given: Option<i32>) -> Result<i32, String> {
    match (given, system) {
        (Some(srid), _) => Ok(srid),
        (None, System::Epsg(srid)) => Ok(*srid),
        // What is not degrees is found by its range.
        (None, System::Unsaid) => Ok(4326),
        (None, System::Unknown(name)) => Err(format!(
            "its coordinates are counted in \"{name}\", which has no EPSG code there: look it up, and give --srid CODE"
        )),
    }
}

/// Each area that has a code, and what is wrong with codes and texts.
fn told_apart(level: u8, layer: Layer, places: &[(String, usize)]) -> (Vec<Area>, Vec<String>) {
    let [code, _] = own(level);
    let code = places.iter().position(|(name, _)| *name == code).unwrap_or_default();
    let (mut seen, mut faults, mut areas) = (HashMap::new(), Vec::new(), Vec::new());
    for feature in layer.features {
        let value = |(_, at): &(String, usize)| {
            feature.values[*at].as_deref().map(str::trim).filter(|text| !text.is_empty()).map(String::from)
        };
        let values: Vec<Option<String>> = places.iter().map(value).collect();
        let place = format!("{} {}", layer.unit, feature.number);
        let Some(own) = values[code].clone() else {
            faults.push(format!("{place} has no code"));
            continue;
        };
        if values.iter().flatten().any(|value| value.contains('\0')) {
            faults.push(format!("{place} has a text with a character 0"));
        }
        let label = format!("{place} ({:?})", own.chars().take(40).collect::<String>());
        if let Some(first) = seen.insert(own, place) {
            faults.push(format!("{label} has the same code as {first}"));
        }
        areas.push(Area { label, values, geometry: feature.geometry });
    }
    if level == 0 && areas.len() > 1 {
        faults.push(format!("admin0 is the country, one area; there are {}", areas.len()));
    }
    (areas, faults)
}
