//! A table with a column of WKT.

use std::path::Path;

use super::{Fault, Feature, Geometry, Layer, Reading};
use crate::records::{Batch, Records};
use crate::source::Input;

/// Longest line in bytes: coastlines have hundreds of thousands of points.
const LONGEST: usize = 128 << 20;
/// What geometries begin with.
const WORDS: [&str; 8] =
    ["SRID=", "POINT", "POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "MULTIPOINT", "LINESTRING", "MULTILINESTRING"];

pub(super) fn layer(path: &Path, reading: &Reading) -> Result<Layer, Fault> {
    let (text, _) = Input::File(path.into()).open(reading.encoding, |_| ())?;
    let mut records = Records::new(text, reading.shape).with_longest(LONGEST);
    let mut batch = Batch::default();
    records.first(&mut batch)?;
    let header = batch.records().next().map(|header| {
        header.fields().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect::<Vec<String>>()
    });
    let mut layer = Layer::new("line", header.ok_or(Fault::other("it is empty"))?);
    while records.fill(&mut batch)? {
        for record in batch.records() {
            let (line, width) = (record.line, layer.names.len());
            if record.width() != width {
                return Err(Fault::Other(format!("line {line}: {} fields in place of {width}", record.width())));
            }
            let value = |field: &[u8]| match std::str::from_utf8(field) {
                Ok(text) => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
                Err(_) => Err(Fault::Other(format!("line {line} is not UTF-8; say with --encoding what it is"))),
            };
            let values = record.fields().map(value).collect::<Result<Vec<_>, Fault>>()?;
            layer.push(Feature { number: line, values, geometry: None })?;
        }
    }
    if let Some(at) = (0..layer.names.len()).find(|&at| layer.examples(at).first().is_some_and(|text| is_wkt(text))) {
        layer.names.remove(at);
        for feature in &mut layer.features {
            feature.geometry = feature.values.remove(at).map(Geometry::Wkt);
        }
    }
    Ok(layer)
}

fn is_wkt(text: &str) -> bool {
    let text = text.trim_start();
    WORDS.iter().any(|word| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)))
}
