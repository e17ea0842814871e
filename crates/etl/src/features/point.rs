//! The two numbers of a geometry that is a point. Everything else about geometries is PostGIS's; a list of cells is looked through
//! before FlowDB is asked.

use serde::Deserialize;

use super::Geometry;

#[derive(Deserialize)]
struct Point {
    r#type: String,
    #[serde(default)]
    coordinates: Vec<serde_json::Value>,
}

impl Geometry {
    /// Longitude and latitude, or what else the file counts in.
    pub(crate) fn point(&self) -> Result<[f64; 2], String> {
        let point = match self {
            Geometry::Wkt(text) => text_point(text)?,
            Geometry::GeoJson(text) => {
                let point: Option<Point> = serde_json::from_str(text).ok();
                let coordinates = point.filter(|point| point.r#type == "Point").map(|point| point.coordinates);
                coordinates.and_then(|all| Some([all.first()?.as_f64()?, all.get(1)?.as_f64()?]))
            }
            Geometry::Wkb(bytes) => binary_point(bytes),
        };
        point.ok_or_else(|| "its geometry is no point".to_owned())
    }
}

/// `POINT(1 2)`, `Point Z (1 2 3)`
fn text_point(text: &str) -> Result<Option<[f64; 2]>, String> {
    let upper = text.trim().to_ascii_uppercase();
    if upper.starts_with("SRID=") && !upper.starts_with("SRID=4326;") {
        return Err("its geometry has an SRID of its own; give it with --srid, and take it out of the file".to_owned());
    }
    let bare = upper.strip_prefix("SRID=4326;").unwrap_or(&upper);
    Ok(bare.strip_prefix("POINT").and_then(|rest| {
        let numbers = rest.trim_start().trim_start_matches(['Z', 'M']).trim();
        let mut numbers = numbers.strip_prefix('(')?.strip_suffix(')')?.split_ascii_whitespace();
        Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
    }))
}

fn binary_point(bytes: &[u8]) -> Option<[f64; 2]> {
    let (&order, rest) = bytes.split_first()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let little = order == 1;
    let kind = if little { u32::from_le_bytes(*kind) } else { u32::from_be_bytes(*kind) };
    // Thousands say that heights and measures follow (ISO).
    if order > 1 || kind > 3001 || kind % 1000 != 1 {
        return None;
    }
    let mut numbers = rest.as_chunks::<8>().0.iter();
    let mut next = || {
        let bytes = *numbers.next()?;
        Some(if little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) })
    };
    Some([next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_in_every_form() {
        let wkt = |text: &str| Geometry::Wkt(text.to_owned()).point();
        for text in ["POINT(-72.5 18.25)", " point Z (-72.5 18.25 3) ", "SRID=4326;POINT (-72.5 18.25)"] {
            assert_eq!(wkt(text), Ok([-72.5, 18.25]), "{text}");
        }
        for text in ["POINT EMPTY", "POINT(1)", "POINT(1 2", "LINESTRING(1 2, 3 4)", "POINT", "POINT(a b)", ""] {
            assert_eq!(wkt(text), Err("its geometry is no point".to_owned()), "{text}");
        }
        assert!(wkt("SRID=32618;POINT(1 2)").is_err());
        let json = |text: &str| Geometry::GeoJson(text.to_owned()).point();
        assert_eq!(json(r#"{"type": "Point", "coordinates": [-72.5, 18.25, 7]}"#), Ok([-72.5, 18.25]));
        assert!(json(r#"{"type": "LineString", "coordinates": [[1, 2], [3, 4]]}"#).is_err());
        assert!(json("null").is_err());
        let little = [&[1, 1, 0, 0, 0][..], &(-72.5f64).to_le_bytes(), &18.25f64.to_le_bytes()].concat();
        let big = [&[0, 0, 0, 3, 0xe9][..], &(-72.5f64).to_be_bytes(), &18.25f64.to_be_bytes(), &[0; 8]].concat();
        for bytes in [&little, &big] {
            assert_eq!(Geometry::Wkb(bytes.clone()).point(), Ok([-72.5, 18.25]));
            assert!(Geometry::Wkb(bytes[..12].to_vec()).point().is_err());
        }
    }
}
