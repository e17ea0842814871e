//! An invented country in the open Atlantic: four levels of administrative areas that tile it exactly.
//!
//! The country is the same for every seed, so that manuals and tests can name its places. Areas of the lowest level are
//! the squares of [`MAP`] with their corners moved and their sides roughened; each side is made once, whichever area it
//! belongs to, and larger areas are bounded by those sides that only one of their squares has.

use std::collections::{BTreeMap, BTreeSet};

use super::dice::{Dice, Purpose};
use super::shape::{Point, Ring, STEPS};

/// North is up. A letter is a district (admin2), each of its squares a ward (admin3), a dot the sea.
const MAP: [&str; 10] = [
    "...aab...",
    "..aaabbcc",
    ".ddaabbcc",
    ".dddeefcc",
    ".hdeeeffg",
    ".hheeffig",
    "jhhkkfiig",
    "jjkkkliim",
    ".jjkkll..",
    "..j..ll.m",
];

/// The districts of each province (admin1).
const PROVINCES: [&str; 4] = ["abc", "dhj", "efk", "gilm"];

/// The district whose first ward is the capital.
const CAPITAL: char = 'e';

/// Side of a square of the map: half a degree, 55 km.
const SQUARE: i32 = STEPS / 2;
/// South-western corner of the map.
const CORNER: Point = Point { x: -26 * STEPS, y: 2 * STEPS };
/// The country never changes with the user's seed.
const SEED: u64 = 0;

/// An administrative area.
#[derive(Debug)]
pub struct Unit {
    /// "VD", "VD03", "VD0302", "VD030204": each level adds two digits.
    pub pcode: String,
    /// An invented name, unique in the country.
    pub name: String,
    /// The area of the level above that it belongs to; 0 at the top.
    pub parent: usize,
    /// Its outline: one ring for each part, counterclockwise, without holes.
    pub rings: Vec<Ring>,
}

/// What only the lowest level has.
#[derive(Debug)]
pub struct Ward {
    /// How many people live here, relative to the others.
    pub weight: u32,
    /// The middle of its town, well inside.
    pub town: Point,
}

/// The whole country.
pub struct Country {
    /// Areas by level, 0 to 3.
    pub levels: [Vec<Unit>; 4],
    /// As many as there are areas of level 3, in their order.
    pub wards: Vec<Ward>,
}

/// A square of the map, by column and row.
type Square = (usize, usize);

impl Country {
    /// Makes the country, always the same.
    pub fn new() -> Country {
        let mut names = Names::new();
        let mut levels: [Vec<Unit>; 4] = Default::default();
        let all: Vec<Square> = squares(|_| true);
        levels[0].push(Unit { pcode: "VD".into(), name: names.next(), parent: 0, rings: outline(&all) });
        let mut wards = Vec::new();
        for (p, districts) in PROVINCES.iter().enumerate() {
            let pcode = format!("VD{:02}", p + 1);
            let of_province = squares(|letter| districts.contains(letter));
            levels[1].push(Unit { pcode: pcode.clone(), name: names.next(), parent: 0, rings: outline(&of_province) });
            for (d, district) in districts.chars().enumerate() {
                let pcode = format!("{pcode}{:02}", d + 1);
                let of_district = squares(|letter| letter == district);
                let rings = outline(&of_district);
                levels[2].push(Unit { pcode: pcode.clone(), name: names.next(), parent: p, rings });
                for (w, &square) in of_district.iter().enumerate() {
                    let parent = levels[2].len() - 1;
                    let pcode = format!("{pcode}{:02}", w + 1);
                    levels[3].push(Unit { pcode, name: names.next(), parent, rings: outline(&[square]) });
                    wards.push(ward(district, w, square));
                }
            }
        }
        Country { levels, wards }
    }

    /// Areas of level 3 that belong to this one of level 2.
    pub fn wards_of_district(&self, district: usize) -> impl Iterator<Item = usize> {
        (0..self.wards.len()).filter(move |&ward| self.levels[3][ward].parent == district)
    }

    /// The district of a ward.
    pub fn district(&self, ward: usize) -> usize {
        self.levels[3][ward].parent
    }
}

impl Default for Country {
    fn default() -> Self {
        Country::new()
    }
}

/// A district's first ward is its town, the capital's the city; the rest is countryside.
fn ward(district: char, index: usize, square: Square) -> Ward {
    let mut dice = Dice::new(SEED, Purpose::Country, 1 + (square.1 * MAP[0].len() + square.0) as u64, 0);
    let weight = match (district, index) {
        (CAPITAL, 0) => 60,
        (_, 0) => dice.between(14, 24),
        _ => dice.between(2, 7),
    };
    let corners = corners(square);
    let town =
        Point { x: corners.iter().map(|p| p.x).sum::<i32>() / 4, y: corners.iter().map(|p| p.y).sum::<i32>() / 4 };
    Ward { weight: weight as u32, town }
}

/// The squares whose letter is wanted, row by row.
fn squares(wanted: impl Fn(char) -> bool) -> Vec<Square> {
    let rows = MAP.iter().enumerate();
    let letters =
        rows.flat_map(|(row, line)| line.chars().enumerate().map(move |(column, letter)| (column, row, letter)));
    letters.filter(|&(_, _, letter)| letter != '.' && wanted(letter)).map(|(column, row, _)| (column, row)).collect()
}

/// A corner of the map's squares: column from the west, row from the north.
type Corner = (usize, usize);

/// Where a corner lies: its place in the regular lattice, moved by up to a fifth of a square.
fn place((column, row): Corner) -> Point {
    let mut dice = Dice::new(SEED, Purpose::Country, 1000 + (row * 100 + column) as u64, 0);
    let reach = SQUARE / 5;
    Point {
        x: CORNER.x + column as i32 * SQUARE + dice.between(-reach, reach),
        y: CORNER.y + (MAP.len() - row) as i32 * SQUARE + dice.between(-reach, reach),
    }
}

/// The corners of a square, counterclockwise from the south-west.
fn corners((column, row): Square) -> [Point; 4] {
    [(column, row + 1), (column + 1, row + 1), (column + 1, row), (column, row)].map(place)
}

/// The points of a side from `a` on, without `b`: halved three times, each half moved by at most a sixteenth of its
/// length. The same points whichever way it is walked.
fn side(a: Corner, b: Corner) -> Ring {
    let (first, last) = (a.min(b), a.max(b));
    let mut dice =
        Dice::new(SEED, Purpose::Country, 100_000 + (first.1 * 100 + first.0) as u64, (last.1 - first.1) as u64);
    let mut line = vec![place(first), place(last)];
    for _ in 0..3 {
        let halves = line.windows(2).flat_map(|ends| [ends[0], middle(ends[0], ends[1], &mut dice)]).collect::<Ring>();
        line = [halves, line[line.len() - 1..].to_vec()].concat();
    }
    if a > b {
        line.reverse();
    }
    line.pop();
    line
}

fn middle(a: Point, b: Point, dice: &mut Dice) -> Point {
    let reach = ((a.x - b.x).abs() + (a.y - b.y).abs()) / 16;
    Point { x: (a.x + b.x) / 2 + dice.between(-reach, reach), y: (a.y + b.y) / 2 + dice.between(-reach, reach) }
}

/// The outline of some squares together: the sides that only one of them has, walked counterclockwise.
fn outline(squares: &[Square]) -> Vec<Ring> {
    let mut sides: BTreeSet<(Corner, Corner)> = BTreeSet::new();
    for &(column, row) in squares {
        let around = [(column, row + 1), (column + 1, row + 1), (column + 1, row), (column, row), (column, row + 1)];
        for ends in around.windows(2) {
            // A neighbour walks the shared side the other way.
            if !sides.remove(&(ends[1], ends[0])) {
                sides.insert((ends[0], ends[1]));
            }
        }
    }
    // No two squares of an area touch at a corner only (a test sees to it), so one side leaves each corner.
    let mut after: BTreeMap<Corner, Corner> = sides.into_iter().collect();
    let mut rings = Vec::new();
    while let Some((&start, _)) = after.first_key_value() {
        let mut ring = Ring::new();
        let mut at = start;
        while let Some(next) = after.remove(&at) {
            ring.extend(side(at, next));
            at = next;
        }
        rings.push(ring);
    }
    rings
}

/// Invented names, none twice.
struct Names {
    dice: Dice,
    used: BTreeSet<String>,
}

impl Names {
    fn new() -> Names {
        Names { dice: Dice::new(SEED, Purpose::Country, 0, 0), used: BTreeSet::new() }
    }

    /// The country is the first to be named.
    fn next(&mut self) -> String {
        const BEGIN: [&str; 12] = ["Vel", "Tar", "Mor", "Lin", "Sa", "Ke", "Bro", "Ul", "Ne", "Ga", "Dri", "Hol"];
        const MIDDLE: [&str; 10] = ["da", "ri", "mo", "sen", "lu", "ka", "ve", "ta", "no", "be"];
        const END: [&str; 10] = ["ra", "mund", "lia", "dor", "nes", "vik", "ton", "sha", "rin", "go"];
        if self.used.is_empty() {
            self.used.insert("Veldara".into());
            return "Veldara".into();
        }
        loop {
            let dice = &mut self.dice;
            let name = [*dice.one_of(&BEGIN), *dice.one_of(&MIDDLE), *dice.one_of(&END)].concat();
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }
}
