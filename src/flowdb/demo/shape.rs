//! Points and areas on a fine lattice, and how PostGIS wants to read them.
//!
//! Coordinates are whole numbers of 1/4096 degree (27 m at the equator). Such a number is exact as a double, so areas that
//! share a border share it to the last bit.

/// Lattice steps in a degree.
pub const STEPS: i32 = 4096;

/// A place, in lattice steps east and north of (0, 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// East.
    pub x: i32,
    /// North.
    pub y: i32,
}

impl Point {
    /// Longitude and latitude in degrees, exact.
    pub fn degrees(self) -> [f64; 2] {
        [f64::from(self.x) / f64::from(STEPS), f64::from(self.y) / f64::from(STEPS)]
    }

    /// The square of the distance, in lattice steps; good for comparing.
    pub fn distance2(self, other: Point) -> i64 {
        let (dx, dy) = (i64::from(self.x - other.x), i64::from(self.y - other.y));
        dx * dx + dy * dy
    }
}

/// A closed line, the first point not repeated.
pub type Ring = Vec<Point>;

/// Where a point lies with respect to a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Within.
    Inside,
    /// On its line.
    Border,
    /// Neither.
    Outside,
}

/// Where `p` lies with respect to `ring`, exactly.
pub fn side(p: Point, ring: &[Point]) -> Side {
    let mut inside = false;
    for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
        let turn = i64::from(b.x - a.x) * i64::from(p.y - a.y) - i64::from(b.y - a.y) * i64::from(p.x - a.x);
        let between = (a.x.min(b.x)..=a.x.max(b.x)).contains(&p.x) && (a.y.min(b.y)..=a.y.max(b.y)).contains(&p.y);
        if turn == 0 && between {
            return Side::Border;
        }
        // A ray to the east crosses the edge when its ends lie on either side of the ray and p is left of it.
        if (a.y > p.y) != (b.y > p.y) && (turn > 0) == (b.y > a.y) {
            inside = !inside;
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// A point as PostGIS's binary format (EWKB, WGS 84).
pub fn point_ewkb(p: Point) -> Vec<u8> {
    let mut out = header(1);
    coordinates(&mut out, p.degrees());
    out
}

/// A MultiPolygon, one polygon a ring, as PostGIS's binary format (EWKB, WGS 84). Rings are in degrees, not repeating
/// their first point.
pub fn multipolygon_ewkb<R: AsRef<[[f64; 2]]>>(rings: &[R]) -> Vec<u8> {
    const POLYGON: u32 = 3;
    let mut out = header(6);
    number(&mut out, rings.len() as u32);
    for ring in rings {
        let ring = ring.as_ref();
        out.push(1);
        number(&mut out, POLYGON);
        number(&mut out, 1);
        number(&mut out, ring.len() as u32 + 1);
        ring.iter().chain(&ring[..1]).for_each(|&point| coordinates(&mut out, point));
    }
    out
}

/// Byte order (little), kind of geometry with the flag "has a reference system", and that system.
fn header(kind: u32) -> Vec<u8> {
    const HAS_SRID: u32 = 0x2000_0000;
    const WGS84: u32 = 4326;
    let mut out = vec![1];
    number(&mut out, kind | HAS_SRID);
    number(&mut out, WGS84);
    out
}

fn number(out: &mut Vec<u8>, n: u32) {
    out.extend(n.to_le_bytes());
}

fn coordinates(out: &mut Vec<u8>, [x, y]: [f64; 2]) {
    out.extend(x.to_le_bytes());
    out.extend(y.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowdb::demo::tests::area2;

    fn ring(points: &[(i32, i32)]) -> Ring {
        points.iter().map(|&(x, y)| Point { x, y }).collect()
    }

    #[test]
    fn areas_are_signed_by_direction() {
        let square = ring(&[(0, 0), (4, 0), (4, 4), (0, 4)]);
        assert_eq!(area2(&square), 32);
        assert_eq!(area2(&square.iter().rev().copied().collect::<Ring>()), -32);
    }

    #[test]
    fn sides_are_exact_at_corners_and_edges() {
        // A notch makes it concave.
        let shape = ring(&[(0, 0), (4, 0), (4, 4), (2, 2), (0, 4)]);
        for (p, expected) in [
            ((1, 1), Side::Inside),
            ((2, 1), Side::Inside),
            ((2, 3), Side::Outside),
            ((2, 2), Side::Border),
            ((3, 3), Side::Border),
            ((0, 2), Side::Border),
            ((4, 0), Side::Border),
            ((5, 2), Side::Outside),
            ((-1, 0), Side::Outside),
        ] {
            assert_eq!(side(Point { x: p.0, y: p.1 }, &shape), expected, "{p:?}");
        }
    }

    #[test]
    fn binary_geometry_has_the_length_that_its_parts_add_up_to() {
        assert_eq!(point_ewkb(Point { x: 4096, y: 0 }).len(), 1 + 4 + 4 + 16);
        let triangle = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
        assert_eq!(multipolygon_ewkb(&[triangle]).len(), 1 + 4 + 4 + 4 + (1 + 4 + 4 + 4 + 4 * 16));
    }
}
