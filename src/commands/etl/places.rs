//! What commands are told alike that read geographical files.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use etl::{Encoding, Reading, Shape};

use super::super::Failure;
use super::files::{character, encoding, names, pair};

/// A file, and how it is written.
#[derive(Args)]
pub struct Places {
    /// CSV (as it is or compressed), GeoJSON, a Shapefile (its .shp, or a zip with all of it) or a GeoPackage
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which layer of a GeoPackage, or which Shapefile in a zip
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The EPSG code of what coordinates are counted in, whatever the file says; PostGIS makes longitude and latitude of them
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(i32).range(1..=998_999))]
    pub srid: Option<i32>,
    /// Between two fields of CSV: a character, or tab
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = character)]
    delimiter: u8,
    /// How text is encoded, such as windows-1252 [default: what the file says, or UTF-8]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<&'static Encoding>,
    /// The file's attribute NAME holds COLUMN of the table; may be given several times
    #[arg(long, value_name = "COLUMN=NAME", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Leave out an attribute; may be given several times
    #[arg(long, value_name = "NAME")]
    pub ignore: Vec<String>,
}

impl Places {
    /// How it is written.
    pub fn reading(&self) -> Reading {
        let shape = Shape { delimiter: self.delimiter, quote: b'"' };
        Reading { shape, encoding: self.encoding, layer: self.layer.clone() }
    }

    /// What it calls the table's columns, and those.
    pub fn names(&self) -> Result<HashMap<String, String>, Failure> {
        names(&self.map)
    }
}
