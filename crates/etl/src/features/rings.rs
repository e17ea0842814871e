//! Rings become areas. In a Shapefile they stand in any order, and only their direction says what they are: clockwise around an
//! area, the other way around a hole in one.

use std::mem;

type Ring = Vec<[f64; 2]>;

/// Most steps of the search for the area that a hole is in: a second's work. A country of islands needs a few million.
const STEPS: usize = 1_000_000_000;
/// How many points of a hole are looked at. The first may lie on the outline of an area beside its own.
const LOOKS: usize = 4;

/// An area: its outline, its holes, and the box around it.
struct Area {
    rings: Vec<Ring>,
    bounds: [[f64; 2]; 2],
}

/// Rings as a multipolygon in well-known binary. Whether they make sense is found out by who reads that: a hole that is in no area
/// is one of its own there.
pub(super) fn areas(rings: Vec<Ring>) -> Result<Vec<u8>, String> {
    within(rings, STEPS)
}

/// The same in so many steps of the search.
pub(super) fn within(rings: Vec<Ring>, mut steps: usize) -> Result<Vec<u8>, String> {
    let mut areas: Vec<Area> = Vec::new();
    let mut holes = Vec::new();
    for ring in rings {
        if turns_left(&ring) {
            // After which area it stands is a good guess, and no more.
            holes.push((areas.len().saturating_sub(1), ring));
        } else {
            areas.push(Area::new(ring));
        }
    }
    let outlines = areas.len();
    for (guess, ring) in holes {
        let candidates = (guess..outlines).take(1).chain(0..outlines);
        match find(&areas, candidates, &ring, &mut steps)? {
            Some(at) => areas[at].rings.push(ring),
            None => areas.push(Area::new(ring)),
        }
    }
    Ok(binary(&areas))
}

impl Area {
    fn new(ring: Ring) -> Area {
        Area { bounds: bounds(&ring), rings: vec![ring] }
    }
}

fn find(
    areas: &[Area],
    candidates: impl Iterator<Item = usize>,
    hole: &Ring,
    steps: &mut usize,
) -> Result<Option<usize>, String> {
    let inner = bounds(hole);
    for at in candidates {
        let Area { rings, bounds } = &areas[at];
        let is_within = (0..2).all(|axis| bounds[0][axis] <= inner[0][axis] && inner[1][axis] <= bounds[1][axis]);
        let cost = if is_within { LOOKS * rings[0].len() + 1 } else { 1 };
        *steps = steps.checked_sub(cost).ok_or("it has too many holes to find the areas that they are in")?;
        if is_within && hole.iter().take(LOOKS).any(|&point| contains(&rings[0], point)) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Whether a ring runs against the clock. One without an area does not.
fn turns_left(ring: &Ring) -> bool {
    let Some(&[x, y]) = ring.first() else { return false };
    // Counted from a corner: far from the origin nothing else would be left of small areas.
    let sides = ring.iter().zip(ring.iter().skip(1));
    sides.map(|(a, b)| (a[0] - x) * (b[1] - y) - (b[0] - x) * (a[1] - y)).sum::<f64>() > 0.0
}

fn bounds(ring: &Ring) -> [[f64; 2]; 2] {
    let corner = |start: f64, far: fn(f64, f64) -> f64| {
        ring.iter().fold([start; 2], |corner, point| [far(corner[0], point[0]), far(corner[1], point[1])])
    };
    [corner(f64::INFINITY, f64::min), corner(f64::NEG_INFINITY, f64::max)]
}

/// Whether a point is in a ring: how many sides a ray from it crosses is odd.
fn contains(ring: &Ring, [x, y]: [f64; 2]) -> bool {
    let crosses = |(a, b): &(&[f64; 2], &[f64; 2])| {
        (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]
    };
    ring.iter().zip(ring.iter().skip(1)).filter(crosses).count() % 2 == 1
}

fn binary(areas: &[Area]) -> Vec<u8> {
    let points: usize = areas.iter().flat_map(|area| &area.rings).map(Vec::len).sum();
    let mut out = Vec::with_capacity(points * mem::size_of::<[f64; 2]>() + areas.len() * 32 + 16);
    let number = |out: &mut Vec<u8>, number: usize| out.extend((number as u32).to_le_bytes());
    const POLYGON: usize = 3;
    const MULTIPOLYGON: usize = 6;
    out.push(1);
    number(&mut out, MULTIPOLYGON);
    number(&mut out, areas.len());
    for area in areas {
        out.push(1);
        number(&mut out, POLYGON);
        number(&mut out, area.rings.len());
        for ring in &area.rings {
            number(&mut out, ring.len());
            out.extend(ring.iter().flatten().flat_map(|coordinate| coordinate.to_le_bytes()));
        }
    }
    out
}
