//! FlatGeobuf 3 without its index, which would have to stand before the features. Every GDAL opens it, and so does QGIS.
//!
//! The crate of that name keeps a whole file before the first byte of it goes out, so the format's four tables are written here:
//! <https://github.com/flatgeobuf/flatgeobuf/tree/master/src/fbs>.

use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, VOffsetT, WIPOffset};

use crate::batch;
use crate::columns::{Column, Scalar};
use crate::encode::{self, Encode, in_column};
use crate::wire::{self, Malformed, Result};

/// What a file begins with; the digit is the version.
const MAGIC: &[u8] = b"fgb\x03fgb\0";

/// Geometries within geometries at most.
const DEPTH: usize = 32;

type Table = WIPOffset<TableFinishedWIPOffset>;
type Builder = FlatBufferBuilder<'static>;

/// Where the field of this number stands in a table's directory.
const fn field(number: VOffsetT) -> VOffsetT {
    4 + 2 * number
}

mod header {
    use super::{VOffsetT, field};
    pub(super) const COLUMNS: VOffsetT = field(7);
    pub(super) const INDEX_NODE_SIZE: VOffsetT = field(9);
    pub(super) const CRS: VOffsetT = field(10);
}

mod crs {
    use super::{VOffsetT, field};
    pub(super) const ORG: VOffsetT = field(0);
    pub(super) const CODE: VOffsetT = field(1);
}

mod column {
    use super::{VOffsetT, field};
    pub(super) const NAME: VOffsetT = field(0);
    pub(super) const TYPE: VOffsetT = field(1);
}

mod feature {
    use super::{VOffsetT, field};
    pub(super) const GEOMETRY: VOffsetT = field(0);
    pub(super) const PROPERTIES: VOffsetT = field(1);
}

mod geometry {
    use super::{VOffsetT, field};
    pub(super) const ENDS: VOffsetT = field(0);
    pub(super) const XY: VOffsetT = field(1);
    pub(super) const TYPE: VOffsetT = field(6);
    pub(super) const PARTS: VOffsetT = field(7);
}

/// Rows as features.
pub(crate) struct FlatGeobuf {
    /// All but the last, which is the geometry.
    columns: Vec<Column>,
    builder: Builder,
    properties: Vec<u8>,
}

impl FlatGeobuf {
    /// The columns are those of [`crate::columns::feature`].
    pub(crate) fn begin(columns: &[Column], out: &mut Vec<u8>) -> FlatGeobuf {
        let columns = columns.split_last().map_or(&[][..], |(_, others)| others).to_vec();
        let mut builder = Builder::new();
        let names = batch::names(columns.iter().map(|column| column.name.as_str()));
        let named: Vec<Table> =
            names.iter().zip(&columns).map(|(name, of)| described(&mut builder, name, of)).collect();
        let named = builder.create_vector(&named);
        let org = builder.create_string("EPSG");
        let began = builder.start_table();
        builder.push_slot_always(crs::ORG, org);
        builder.push_slot_always(crs::CODE, 4326_i32);
        let system = builder.end_table(began);
        // What is not said: the type, so that each geometry has one of its own, and the number of features, which is not known yet.
        let began = builder.start_table();
        builder.push_slot_always(header::COLUMNS, named);
        builder.push_slot_always(header::INDEX_NODE_SIZE, 0_u16);
        builder.push_slot_always(header::CRS, system);
        let header = builder.end_table(began);
        out.extend_from_slice(MAGIC);
        let mut begun = FlatGeobuf { columns, builder, properties: Vec::new() };
        begun.hand_over(header, out);
        begun
    }

    /// What was built, behind its length.
    fn hand_over(&mut self, table: Table, out: &mut Vec<u8>) {
        self.builder.finish_size_prefixed(table, None);
        out.extend_from_slice(self.builder.finished_data());
        self.builder.reset();
    }
}

impl Encode for FlatGeobuf {
    fn row(&mut self, mut fields: &[u8], out: &mut Vec<u8>) -> encode::Result {
        self.properties.clear();
        for (i, column) in self.columns.iter().enumerate() {
            if let Some(bytes) = wire::field(&mut fields).map_err(in_column(i))? {
                // PostgreSQL has at most 1,664 columns.
                self.properties.extend_from_slice(&(i as u16).to_le_bytes());
                property(&mut self.properties, column.scalar, bytes).map_err(in_column(i))?;
            }
        }
        let in_geometry = in_column(self.columns.len());
        let shape = match wire::field(&mut fields).map_err(&in_geometry)? {
            Some(mut wkb) => Some(shape(&mut self.builder, &mut wkb, DEPTH).map_err(in_geometry)?),
            None => None,
        };
        let properties = self.builder.create_vector(&self.properties);
        let began = self.builder.start_table();
        if let Some(shape) = shape {
            self.builder.push_slot_always(feature::GEOMETRY, shape);
        }
        self.builder.push_slot_always(feature::PROPERTIES, properties);
        let feature = self.builder.end_table(began);
        self.hand_over(feature, out);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> encode::Result {
        Ok(())
    }
}

fn described(builder: &mut Builder, name: &str, of: &Column) -> Table {
    let kind: u8 = match of.scalar {
        Scalar::Int2 => 3,
        Scalar::Int4 => 5,
        Scalar::Int8 => 7,
        Scalar::Float8 => 10,
        // A feature's columns are nothing else.
        _ => 11,
    };
    let name = builder.create_string(name);
    let began = builder.start_table();
    builder.push_slot_always(column::NAME, name);
    builder.push_slot_always(column::TYPE, kind);
    builder.end_table(began)
}

fn property(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<()> {
    match scalar {
        Scalar::Int2 => out.extend(i16::from_be_bytes(wire::whole(bytes)?).to_le_bytes()),
        Scalar::Int4 => out.extend(i32::from_be_bytes(wire::whole(bytes)?).to_le_bytes()),
        Scalar::Int8 => out.extend(i64::from_be_bytes(wire::whole(bytes)?).to_le_bytes()),
        Scalar::Float8 => out.extend(f64::from_be_bytes(wire::whole(bytes)?).to_le_bytes()),
        _ => {
            out.extend(u32::try_from(bytes.len()).map_err(|_| Malformed)?.to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

/// Types of geometries, by the numbers that they have in WKB and here.
mod kind {
    pub(super) const POINT: u32 = 1;
    pub(super) const LINE_STRING: u32 = 2;
    pub(super) const POLYGON: u32 = 3;
    pub(super) const MULTI_POINT: u32 = 4;
    pub(super) const MULTI_LINE_STRING: u32 = 5;
    pub(super) const MULTI_POLYGON: u32 = 6;
    pub(super) const COLLECTION: u32 = 7;
}

/// A geometry out of little-endian WKB, flat: heights are left out.
fn shape(builder: &mut Builder, wkb: &mut &[u8], depth: usize) -> Result<Table> {
    let (of, more) = head(wkb)?;
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    // Coordinates in pairs, and of each part the number of pairs up to its end.
    let (mut xy, mut ends, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    match of {
        kind::POINT => {
            pairs(wkb, 1, more, &mut xy)?;
            // How WKB says that there is none.
            xy.retain(|value| !value.is_nan());
        }
        kind::LINE_STRING => line(wkb, more, &mut xy)?,
        kind::POLYGON => {
            for _ in 0..count(wkb)? {
                line(wkb, more, &mut xy)?;
                ends.push((xy.len() / 2) as u32);
            }
        }
        kind::MULTI_POINT => {
            for _ in 0..count(wkb)? {
                let (_, more) = head(wkb)?;
                pairs(wkb, 1, more, &mut xy)?;
            }
        }
        kind::MULTI_LINE_STRING => {
            for _ in 0..count(wkb)? {
                let (_, more) = head(wkb)?;
                line(wkb, more, &mut xy)?;
                ends.push((xy.len() / 2) as u32);
            }
        }
        kind::MULTI_POLYGON | kind::COLLECTION => {
            for _ in 0..count(wkb)? {
                parts.push(shape(builder, wkb, depth)?);
            }
        }
        _ => return Err(Malformed),
    }
    // Readers want them of a collection without any, too.
    let parts = matches!(of, kind::MULTI_POLYGON | kind::COLLECTION).then(|| builder.create_vector(&parts));
    let xy = builder.create_vector(&xy);
    // One that is the end of all needs no saying.
    let ends = (ends.len() > 1).then(|| builder.create_vector(&ends));
    let began = builder.start_table();
    if let Some(ends) = ends {
        builder.push_slot_always(geometry::ENDS, ends);
    }
    builder.push_slot_always(geometry::XY, xy);
    builder.push_slot_always(geometry::TYPE, of as u8);
    if let Some(parts) = parts {
        builder.push_slot_always(geometry::PARTS, parts);
    }
    Ok(builder.end_table(began))
}

/// A geometry's type, and how many numbers a coordinate has beyond two.
fn head(wkb: &mut &[u8]) -> Result<(u32, usize)> {
    let order: [u8; 1] = wire::take(wkb)?;
    let code = count(wkb)?;
    let more = match code / 1000 {
        0 => 0,
        1 | 2 => 1,
        3 => 2,
        _ => return Err(Malformed),
    };
    if order == [1] { Ok((code % 1000, more)) } else { Err(Malformed) }
}

fn count(wkb: &mut &[u8]) -> Result<u32> {
    wire::take(wkb).map(u32::from_le_bytes)
}

fn line(wkb: &mut &[u8], more: usize, xy: &mut Vec<f64>) -> Result<()> {
    let many = count(wkb)?;
    pairs(wkb, many, more, xy)
}

fn pairs(wkb: &mut &[u8], many: u32, more: usize, xy: &mut Vec<f64>) -> Result<()> {
    for _ in 0..many {
        for _ in 0..2 {
            xy.push(f64::from_le_bytes(wire::take(wkb)?));
        }
        for _ in 0..more {
            wire::take::<8>(wkb)?;
        }
    }
    Ok(())
}
