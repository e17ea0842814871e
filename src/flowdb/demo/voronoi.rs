//! The area that is nearer to one site than to any other.
//!
//! Plain double arithmetic in a fixed order, with no function of a maths library, gives the same bits on every machine.

use super::shape::Point;

/// A convex polygon, counterclockwise, in degrees.
pub type Convex = Vec<[f64; 2]>;

/// What is nearer to `sites[index]` than to its `others`, within a box (south-west and north-east corner).
///
/// `others` are indices of sites from near to far; those too far away to matter are not looked at.
pub fn cell(sites: &[Point], index: usize, others: impl Iterator<Item = usize>, bounds: [Point; 2]) -> Convex {
    let [[west, south], [east, north]] = bounds.map(Point::degrees);
    let centre = sites[index].degrees();
    let mut polygon = vec![[west, south], [east, south], [east, north], [west, north]];
    for other in others {
        let rival = sites[other].degrees();
        let reach = polygon.iter().map(|&corner| distance2(centre, corner)).fold(0.0, f64::max);
        if distance2(centre, rival) > 4.0 * reach {
            break;
        }
        let middle = [(centre[0] + rival[0]) / 2.0, (centre[1] + rival[1]) / 2.0];
        polygon = cut(&polygon, middle, [rival[0] - centre[0], rival[1] - centre[1]]);
    }
    polygon
}

/// The part of a convex polygon that lies within a sector, seen from `apex`.
///
/// `right` and `left` are the directions of its two sides, less than half a turn apart.
pub fn sector(polygon: &Convex, apex: Point, right: [f64; 2], left: [f64; 2]) -> Convex {
    let apex = apex.degrees();
    let polygon = cut(polygon, apex, [right[1], -right[0]]);
    cut(&polygon, apex, [-left[1], left[0]])
}

/// What is left of a convex polygon behind the line through `at`, seen in direction `ahead`.
fn cut(polygon: &Convex, at: [f64; 2], ahead: [f64; 2]) -> Convex {
    let beyond = |p: [f64; 2]| (p[0] - at[0]) * ahead[0] + (p[1] - at[1]) * ahead[1];
    let mut kept = Vec::with_capacity(polygon.len() + 1);
    for (&a, &b) in polygon.iter().zip(polygon.iter().cycle().skip(1)) {
        let (from, to) = (beyond(a), beyond(b));
        if from <= 0.0 {
            kept.push(a);
        }
        if (from < 0.0 && to > 0.0) || (from > 0.0 && to < 0.0) {
            let part = from / (from - to);
            kept.push([a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part]);
        }
    }
    kept.dedup();
    kept
}

fn distance2(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Point; 2] = [Point { x: 0, y: 0 }, Point { x: 8 * 4096, y: 4 * 4096 }];

    fn area(polygon: &Convex) -> f64 {
        let next = polygon.iter().cycle().skip(1);
        polygon.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>() / 2.0
    }

    #[test]
    fn two_sites_share_the_box_along_the_middle() {
        let sites = [Point { x: 2 * 4096, y: 2 * 4096 }, Point { x: 6 * 4096, y: 2 * 4096 }];
        let left = cell(&sites, 0, [1].into_iter(), BOUNDS);
        assert_eq!(left, [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]);
        assert_eq!(area(&cell(&sites, 1, [0].into_iter(), BOUNDS)), 16.0);
    }

    #[test]
    fn three_sectors_add_up_to_the_whole() {
        let whole = vec![[0.0, 0.0], [8.0, 0.0], [8.0, 4.0], [0.0, 4.0]];
        let apex = Point { x: 2 * 4096, y: 4096 };
        let sides = [[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]];
        let areas: Vec<f64> = (0..3).map(|i| area(&sector(&whole, apex, sides[i], sides[(i + 1) % 3]))).collect();
        assert!(areas.iter().all(|&area| area > 1.0), "{areas:?}");
        assert!((areas.iter().sum::<f64>() - 32.0).abs() < 1e-9, "{areas:?}");
    }
}
