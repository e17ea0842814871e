//! Shapefiles: areas or points in a `.shp`, attributes in a `.dbf`, their system in a `.prj`, the encoding in a `.cpg`; beside one
//! another, or in a zip.
//!
//! Coordinates are all that is taken of a shape: heights and measures stand after them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use encoding_rs::Encoding;

use super::{Fault, Feature, Geometry, Layer, Reading, System, dbf, rings, whole};

/// What a `.shp` begins with, in big-endian order.
pub(super) const CODE: i32 = 9994;
/// Bytes before the first shape, and before each.
const HEAD: usize = 100;
const BEFORE: usize = 8;

/// The files of a Shapefile.
pub(super) struct Parts {
    shp: Vec<u8>,
    dbf: Vec<u8>,
    system: System,
    encoding: Option<&'static Encoding>,
}

impl Parts {
    /// Those that lie beside a `.shp`.
    pub fn beside(path: &Path) -> Result<Parts, Fault> {
        let stem = path.file_stem().unwrap_or_default();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let companions: Vec<_> = std::fs::read_dir(dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|other| other.file_stem() == Some(stem))
            .collect();
        Parts::new(|extension| match extension {
            "shp" => Ok(Some(whole(File::open(path)?)?)),
            _ => {
                let is_it =
                    |other: &&std::path::PathBuf| other.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));
                companions.iter().find(is_it).map(|found| whole(companion(found)?)).transpose()
            }
        })
    }

    /// Those in a zip archive.
    pub fn zipped(path: &Path, reading: &Reading) -> Result<Parts, Fault> {
        let mut archive = zip::ZipArchive::new(io::BufReader::new(File::open(path)?))?;
        let names = archive.file_names().map(|name| Ok(name?.into_owned())).collect::<Result<Vec<String>, Fault>>()?;
        let stem_of = |name: &str| {
            let (stem, extension) = name.rsplit_once('.')?;
            // What macOS adds for itself has the names of the real ones.
            (extension.eq_ignore_ascii_case("shp") && !name.starts_with("__MACOSX")).then(|| stem.to_owned())
        };
        let stems: Vec<String> = names.iter().filter_map(|name| stem_of(name)).collect();
        if stems.is_empty() {
            return Err(Fault::other("there is no .shp in it; unpack archives of anything else"));
        }
        let stem = &stems[super::chosen(&stems, reading.layer.as_deref())?];
        Parts::new(|extension| {
            let is_it = |name: &&String| {
                name.rsplit_once('.').is_some_and(|(s, e)| s == stem && e.eq_ignore_ascii_case(extension))
            };
            names.iter().find(is_it).map(|name| whole(archive.by_name(name)?)).transpose()
        })
    }

    fn new(mut part: impl FnMut(&str) -> Result<Option<Vec<u8>>, Fault>) -> Result<Parts, Fault> {
        let shp = part("shp")?.unwrap_or_default();
        let dbf = part("dbf")?.ok_or(Fault::other("there is no .dbf with the attributes of its shapes beside it"))?;
        let prj = part("prj")?.map(|text| System::of_prj(&String::from_utf8_lossy(&text)));
        let encoding = part("cpg")?.and_then(|text| dbf::of_cpg(&String::from_utf8_lossy(&text)));
        Ok(Parts { shp, dbf, system: prj.unwrap_or(System::Unsaid), encoding })
    }

    /// The features.
    pub fn layer(self, reading: &Reading) -> Result<Layer, Fault> {
        let Parts { shp, dbf, system, encoding } = self;
        let table = dbf::Table::new(&dbf, reading.encoding.or(encoding)).map_err(Fault::Other)?;
        let mut layer = Layer::new("feature", table.names.clone());
        layer.system = system;
        let mut shapes = Shapes { bytes: &shp, at: HEAD };
        for at in 0..table.len() {
            let wrong = |fault: String| Fault::Other(format!("shape {}: {fault}", at + 1));
            let Some(shape) = shapes.next().map_err(wrong)? else {
                return Err(Fault::Other(format!("the .dbf has {} records, the .shp {at} shapes", table.len())));
            };
            let geometry = geometry(shape).map_err(wrong)?;
            if let Some(values) = table.record(at) {
                layer.push(Feature { number: at as u64 + 1, values, geometry })?;
            }
        }
        if shapes.next().map_err(Fault::Other)?.is_some() {
            return Err(Fault::Other(format!("the .shp has more shapes than the .dbf records ({})", table.len())));
        }
        Ok(layer)
    }
}

/// Opens a file that nobody has named: whoever may write beside a `.shp` could have us wait at a pipe, or read out what only we may.
fn companion(path: &Path) -> Result<impl Read + use<>, Fault> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let is_link = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match file {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Err(error) if !is_link(&error) => Err(error.into()),
        _ => {
            let name = path.file_name().unwrap_or_default().display();
            Err(Fault::Other(format!("{name} beside it is no plain file, and links are not followed")))
        }
    }
}

/// What is in a `.shp`, one after the other.
struct Shapes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Shapes<'a> {
    /// The next one's bytes.
    fn next(&mut self) -> Result<Option<&'a [u8]>, String> {
        let Some(rest) = self.bytes.get(self.at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
        let early = || "the .shp ends in it".to_owned();
        let words = rest.get(4..BEFORE).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        let length = words.and_then(|words| usize::try_from(words).ok()).ok_or_else(early)? * 2;
        let shape = rest.get(BEFORE..BEFORE + length).ok_or_else(early)?;
        self.at += BEFORE + length;
        Ok(Some(shape))
    }
}

/// The number at a place of a shape.
fn number(shape: &[u8], at: usize) -> Option<usize> {
    let bytes = shape.get(at..)?.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*bytes)).ok()
}

/// A shape as the binary form of a point or areas.
fn geometry(shape: &[u8]) -> Result<Option<Geometry>, String> {
    const BROKEN: &str = "its numbers do not fit its length";
    match number(shape, 0).ok_or(BROKEN)? {
        0 => Ok(None),
        1 | 11 | 21 => {
            let point = shape.get(4..20).ok_or(BROKEN)?;
            Ok(Some(Geometry::Wkb([&[1, 1, 0, 0, 0], point].concat())))
        }
        5 | 15 | 25 => {
            let parts = parts(shape).ok_or(BROKEN)?;
            if parts.is_empty() { Ok(None) } else { Ok(Some(Geometry::Wkb(rings::areas(parts)?))) }
        }
        3 | 13 | 23 => Err("it is a line".to_owned()),
        8 | 18 | 28 => Err("it is several points".to_owned()),
        other => Err(format!("it is neither areas nor a point (type {other})")),
    }
}

/// The rings of areas: how many, how many points in all, where each begins, and the points. What has too few points to be around anything
/// is left out: four bytes would make a list.
fn parts(shape: &[u8]) -> Option<Vec<Vec<[f64; 2]>>> {
    const COUNTS: usize = 36;
    const FEWEST: usize = 4;
    let (rings, points) = (number(shape, COUNTS)?, number(shape, COUNTS + 4)?);
    let starts = shape.get(COUNTS + 8..)?.get(..rings.checked_mul(4)?)?;
    let points = shape.get(COUNTS + 8 + starts.len()..)?.get(..points.checked_mul(16)?)?;
    let mut list = Vec::new();
    for ring in 0..rings {
        let start = number(starts, ring * 4)?;
        let end = if ring + 1 < rings { number(starts, ring * 4 + 4)? } else { points.len() / 16 };
        let points = points.get(start.checked_mul(16)?..end.checked_mul(16)?)?.as_chunks::<8>().0.as_chunks::<2>().0;
        if points.len() >= FEWEST {
            list.push(points.iter().map(|point| point.map(f64::from_le_bytes)).collect());
        }
    }
    Some(list)
}
