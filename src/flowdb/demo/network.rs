//! The operator's sites and cells.
//!
//! Each ward has a site in its town; the others stand where the people are. A site has three cells, one in the countryside
//! now and then, on the same mast. One site in a hundred is on wheels: it stands in another ward from the third day on, and
//! it and its cells then have a second version.

use std::collections::BTreeSet;

use super::country::Country;
use super::dice::{Dice, Purpose};
use super::shape::{Point, STEPS, Side, side};
use super::voronoi::{Convex, cell, sector};

/// The day (counted from 0) on which the sites on wheels stand in their new place for the first time.
pub const MOVING_DAY: u32 = 2;

/// Where a site stands, for as long as it does.
#[derive(Debug)]
pub struct Placement {
    /// The mast.
    pub point: Point,
    /// The ward it stands in.
    pub ward: usize,
    /// What is nearer to it than to any other site.
    pub area: Convex,
}

/// A mast with its cells.
#[derive(Debug)]
pub struct Site {
    /// Its placements: one, or two for a site on wheels.
    pub placements: Vec<Placement>,
    /// Its cells: indices into [`Network::cells`].
    pub cells: std::ops::Range<u32>,
    /// The nearest other sites, nearest first.
    pub near: Vec<u32>,
}

/// A cell of a site. It has as many versions as the site has placements.
#[derive(Debug)]
pub struct Cell {
    /// What `location_id` of an event refers to.
    pub id: String,
    /// Index of its site.
    pub site: u32,
    /// Which of the site's cells it is.
    pub sector: u32,
}

/// All sites and cells.
pub struct Network {
    /// Sites, by ward.
    pub sites: Vec<Site>,
    /// Cells, by site.
    pub cells: Vec<Cell>,
    /// The sites of each ward: a range of indices.
    pub of_ward: Vec<std::ops::Range<u32>>,
}

/// How many nearest sites are remembered.
const NEAR: usize = 8;
/// Directions, in degrees, where a site's three sectors begin, and the same as vectors, in thousandths.
const BEGINS: [(i32, [f64; 2]); 3] = [(90, [0.0, 1.0]), (210, [-0.866, -0.5]), (330, [0.866, -0.5])];

impl Network {
    /// Puts `count` sites into the country.
    pub fn new(country: &Country, count: u32, seed: u64) -> Network {
        let mut points = Vec::new();
        let mut wards = Vec::new();
        let mut of_ward = Vec::new();
        let mut taken = BTreeSet::new();
        for (ward, number) in shares(country, count).into_iter().enumerate() {
            let first = points.len() as u32;
            for index in 0..number {
                let point = spot(country, ward, index, seed, &mut taken);
                points.push(point);
                wards.push(ward);
            }
            of_ward.push(first..points.len() as u32);
        }
        let bounds = bounds(country);
        let mut cells = Vec::new();
        let mut sites: Vec<Site> = (0..points.len()).map(|s| site(&points, s, wards[s], bounds, &mut cells)).collect();
        for wheels in (0..sites.len()).skip(50.min(sites.len() - 1)).step_by(100) {
            move_away(country, &mut sites, &mut points.clone(), wheels, seed, (bounds, &mut taken));
        }
        Network { sites, cells, of_ward }
    }

    /// The id of a site.
    pub fn site_id(index: usize) -> String {
        format!("S{index:04}")
    }

    /// Which placement of a site holds on a day; also the version of its cells.
    pub fn placement(&self, site: u32, day: u32) -> usize {
        usize::from(day >= MOVING_DAY).min(self.sites[site as usize].placements.len() - 1)
    }
}

impl Cell {
    /// The direction it looks to, in degrees clockwise from north; `None` when it is its site's only one.
    pub fn azimuth(&self, site: &Site) -> Option<i32> {
        (site.cells.len() > 1).then(|| (450 - BEGINS[self.sector as usize % 3].0 - 60) % 360)
    }

    /// The part of its site's area that it looks at.
    pub fn area(&self, site: &Site, version: usize) -> Convex {
        let placement = &site.placements[version];
        if site.cells.len() == 1 {
            return placement.area.clone();
        }
        let begin = self.sector as usize % 3;
        sector(&placement.area, placement.point, BEGINS[begin].1, BEGINS[(begin + 1) % 3].1)
    }
}

/// How many sites each ward gets: one each, the heaviest first, and then always one where there are most people for one.
fn shares(country: &Country, count: u32) -> Vec<u32> {
    let mut shares = vec![0u32; country.wards.len()];
    for _ in 0..count {
        // Weight for each site, compared without dividing; a ward without a site comes before all others.
        let most = (0..shares.len()).max_by(|&a, &b| {
            let (weight, other) = (country.wards[a].weight, country.wards[b].weight);
            let (empty, other_empty) = (shares[a] == 0, shares[b] == 0);
            empty.cmp(&other_empty).then((weight * shares[b].max(1)).cmp(&(other * shares[a].max(1)))).then(b.cmp(&a))
        });
        shares[most.expect("the country has wards")] += 1;
    }
    shares
}

/// A free place in a ward: the town first, in towns near its middle, else anywhere.
fn spot(country: &Country, ward: usize, index: u32, seed: u64, taken: &mut BTreeSet<Point>) -> Point {
    let unit = &country.levels[3][ward].rings[0];
    let town = country.wards[ward].town;
    let urban = country.wards[ward].weight >= 14;
    let reach = if urban { STEPS / 8 } else { STEPS / 4 };
    let mut dice = Dice::new(seed, Purpose::Network, ward as u64, u64::from(index));
    let mut point = town;
    while side(point, unit) != Side::Inside || !taken.insert(point) {
        let away =
            |dice: &mut Dice| if urban { dice.around_middle(-reach, reach) } else { dice.between(-reach, reach) };
        point = Point { x: town.x + away(&mut dice), y: town.y + away(&mut dice) };
    }
    point
}

fn site(points: &[Point], index: usize, ward: usize, bounds: [Point; 2], cells: &mut Vec<Cell>) -> Site {
    let near = by_distance(points, index);
    let area = cell(points, index, near.iter().copied(), bounds);
    let first = cells.len() as u32;
    // Every eighth has one aerial for all directions.
    let sectors = if index % 8 == 7 { 1 } else { 3 };
    cells.extend((0..sectors).map(|sector| Cell {
        id: format!("{}-{}", Network::site_id(index), sector + 1),
        site: index as u32,
        sector,
    }));
    Site {
        placements: vec![Placement { point: points[index], ward, area }],
        cells: first..cells.len() as u32,
        near: near.into_iter().take(NEAR).map(|other| other as u32).collect(),
    }
}

/// All other sites, near ones first.
fn by_distance(points: &[Point], index: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..points.len()).filter(|&other| other != index).collect();
    others.sort_unstable_by_key(|&other| (points[other].distance2(points[index]), other));
    others
}

/// Gives a site a second placement, in another ward of the same district (or next door).
fn move_away(
    country: &Country,
    sites: &mut [Site],
    points: &mut [Point],
    index: usize,
    seed: u64,
    (bounds, taken): ([Point; 2], &mut BTreeSet<Point>),
) {
    let ward = sites[index].placements[0].ward;
    let others: Vec<usize> = country.wards_of_district(country.district(ward)).filter(|&other| other != ward).collect();
    let ward = *Dice::new(seed, Purpose::Network, index as u64, u64::MAX).one_of(&others);
    points[index] = spot(country, ward, 1000, seed, taken);
    let near = by_distance(points, index);
    let area = cell(points, index, near.into_iter(), bounds);
    sites[index].placements.push(Placement { point: points[index], ward, area });
}

/// A box around the country, a quarter of a degree wider.
fn bounds(country: &Country) -> [Point; 2] {
    let points = || country.levels[0][0].rings.iter().flatten();
    let (west, east) = (points().map(|p| p.x).min().unwrap_or(0), points().map(|p| p.x).max().unwrap_or(0));
    let (south, north) = (points().map(|p| p.y).min().unwrap_or(0), points().map(|p| p.y).max().unwrap_or(0));
    [Point { x: west - STEPS / 4, y: south - STEPS / 4 }, Point { x: east + STEPS / 4, y: north + STEPS / 4 }]
}
