//! Features out of files that others made: attributes and a geometry each. Read whole and within bounds, whatever is in them;
//! what a geometry means is left to PostGIS.
//!
//! ```text
//! csv          a table with a column of WKT
//! geojson      a FeatureCollection
//! shapefile    .shp and its companions, beside one another or in a zip      dbf   their attributes
//! geopackage   a layer of an SQLite file
//! point        the two numbers of one
//! rings        a list of rings as areas with holes
//! system       what coordinates are counted in
//! ```

mod csv;
mod dbf;
mod geojson;
mod geopackage;
mod point;
mod rings;
mod shapefile;
mod system;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use encoding_rs::Encoding;

use crate::records::{Broken, Shape};
use crate::source::Input;

pub use system::System;

/// Most bytes of a file, as they are when nothing is packed, and of what is made of it. The boundaries of the largest countries
/// have a few hundred million.
const MOST_BYTES: usize = 1 << 30;
/// Most values of all features; each takes some bytes beside its own.
const MOST_VALUES: usize = 32 << 20;

/// How a file is written, where it does not say so itself.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How the fields of CSV are set apart.
    pub shape: Shape,
    /// How text is encoded.
    pub encoding: Option<&'static Encoding>,
    /// Which of several layers.
    pub layer: Option<String>,
}

/// What a file holds.
#[derive(Debug)]
pub struct Layer {
    /// What its features are called.
    pub unit: &'static str,
    /// Names of attributes.
    pub names: Vec<String>,
    /// What coordinates are counted in, as far as the file says.
    pub system: System,
    /// All of them.
    pub features: Vec<Feature>,
    bytes: usize,
}

/// One thing, and where it is.
#[derive(Debug)]
pub struct Feature {
    /// Its line, or its place among the others, from 1.
    pub number: u64,
    /// As many as there are names.
    pub values: Vec<Option<String>>,
    /// Where it is.
    pub geometry: Option<Geometry>,
}

/// A geometry as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Geometry {
    /// `POINT(1 2)`, perhaps with an SRID before it.
    Wkt(String),
    /// `{"type": "Point", …}`
    GeoJson(String),
    /// The binary form.
    Wkb(Vec<u8>),
}

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: Fault,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    Table(#[from] Broken),
    #[error("it is no GeoJSON with features")]
    Json(#[from] serde_json::Error),
    #[error("it is no sound zip archive")]
    Zip(#[from] zip::result::ZipError),
    #[error("it is no sound GeoPackage")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Other(String),
}

impl Fault {
    fn other(text: impl Into<String>) -> Fault {
        Fault::Other(text.into())
    }
}

impl Geometry {
    fn bytes(&self) -> usize {
        match self {
            Geometry::Wkt(text) | Geometry::GeoJson(text) => text.len(),
            Geometry::Wkb(bytes) => bytes.len(),
        }
    }
}

impl Layer {
    fn new(unit: &'static str, names: Vec<String>) -> Layer {
        Layer { unit, names, system: System::Unsaid, features: Vec::new(), bytes: 0 }
    }

    /// Takes one more, while there is room.
    fn push(&mut self, feature: Feature) -> Result<(), Fault> {
        let text: usize = feature.values.iter().flatten().map(String::len).sum();
        self.bytes += text + feature.geometry.as_ref().map_or(0, Geometry::bytes);
        // Also a feature without a value takes room.
        if self.bytes > MOST_BYTES || (self.features.len() + 1) * (self.names.len() + 1) > MOST_VALUES {
            let most = (MOST_BYTES >> 30, MOST_VALUES >> 20);
            return Err(Fault::Other(format!("it has more than {} GiB, or {} million values", most.0, most.1)));
        }
        self.features.push(feature);
        Ok(())
    }

    /// The first values of an attribute, or what they begin with; none twice.
    pub(crate) fn examples(&self, at: usize) -> Vec<&str> {
        const SHOWN: usize = 3;
        let mut examples: Vec<&str> = Vec::new();
        for value in self.features.iter().filter_map(|feature| feature.values[at].as_deref()).map(cut) {
            if examples.len() < SHOWN && !value.trim().is_empty() && !examples.contains(&value) {
                examples.push(value);
            }
        }
        examples
    }
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Csv,
    GeoJson,
    Shapefile,
    Zip,
    GeoPackage,
}

/// Finds out what a file is.
pub(crate) fn kind(path: &Path) -> Result<Kind, Unreadable> {
    let failed = |error| unreadable(path)(Fault::System(error));
    let (text, _) = Input::File(path.into()).open(None, |_| ()).map_err(failed)?;
    let mut head = Vec::new();
    text.take(512).read_to_end(&mut head).map_err(failed)?;
    Ok(match head.trim_ascii_start() {
        head if head.starts_with(b"PK\x03\x04") => Kind::Zip,
        head if head.starts_with(b"SQLite format 3\0") => Kind::GeoPackage,
        head if head.starts_with(&shapefile::CODE.to_be_bytes()) => Kind::Shapefile,
        // A byte order mark is gone already.
        head if head.starts_with(b"{") => Kind::GeoJson,
        _ => Kind::Csv,
    })
}

fn unreadable(path: &Path) -> impl FnOnce(Fault) -> Unreadable {
    let path = path.to_owned();
    move |source| Unreadable { path, source }
}

/// Reads a file.
///
/// # Errors
/// It is not there, or broken, or beyond what is taken.
pub(crate) fn read(path: &Path, kind: Kind, reading: &Reading) -> Result<Layer, Unreadable> {
    let layer = match kind {
        Kind::Csv => csv::layer(path, reading),
        Kind::GeoJson => geojson::layer(path, reading),
        Kind::Shapefile => shapefile::Parts::beside(path).and_then(|parts| parts.layer(reading)),
        Kind::Zip => shapefile::Parts::zipped(path, reading).and_then(|parts| parts.layer(reading)),
        Kind::GeoPackage => geopackage::layer(path, reading),
    };
    layer.map_err(unreadable(path))
}

/// The whole of something, if it is not too long.
fn whole(input: impl Read) -> Result<Vec<u8>, Fault> {
    within(input, MOST_BYTES)
}

fn within(input: impl Read, most: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    input.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() <= most {
        true => Ok(bytes),
        false => Err(Fault::Other(format!("it has more than {} MiB when it is unpacked", most >> 20))),
    }
}

/// So much of a text as a person is shown.
pub(crate) fn cut(text: &str) -> &str {
    const SHOWN: usize = 40;
    text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end])
}

/// Names as a person is shown them.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 100;
    let more = names.len().saturating_sub(SHOWN);
    let list = names.take(SHOWN).map(cut).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list}, and {more} more") } else { list }
}

/// Which of several layers is meant.
fn chosen(found: &[String], wanted: Option<&str>) -> Result<usize, Fault> {
    let list = || listed(found.iter().map(String::as_str));
    match (found, wanted) {
        ([], _) => Err(Fault::other("there is no layer of features in it")),
        (_, Some(wanted)) => {
            let at = found.iter().position(|name| name == wanted);
            at.ok_or_else(|| Fault::Other(format!("there is no layer \"{wanted}\" in it; there is {}", list())))
        }
        ([_], None) => Ok(0),
        (_, None) => Err(Fault::Other(format!("it has several layers, {}: say which with --layer", list()))),
    }
}
