//! What must hold of the made-up world as a whole.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use time::macros::date;

use super::copy::{Rows, moment};
use super::country::Country;
use super::network::MOVING_DAY;
use super::shape::{Point, STEPS, Side, side};
use super::traffic::Event;
use super::{Options, World};

/// Twice the area, in square lattice steps; positive when the ring runs counterclockwise.
pub fn area2(ring: &[Point]) -> i64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| i64::from(a.x) * i64::from(b.y) - i64::from(b.x) * i64::from(a.y)).sum()
}

fn small() -> World {
    World::new(&Options { subscribers: 600, sites: 150, ..Options::default() })
}

/// Splits rows into fields; `None` for null.
fn fields(rows: &Rows) -> Vec<Vec<Option<Vec<u8>>>> {
    let mut rest = rows.0.as_slice();
    let mut take = |n: usize| {
        let (taken, left) = rest.split_at(n);
        rest = left;
        taken.to_vec()
    };
    let mut all = Vec::new();
    let mut left = rows.0.len();
    while left > 0 {
        let count = i16::from_be_bytes(take(2).try_into().unwrap());
        left -= 2;
        let row = (0..count).map(|_| {
            let length = i32::from_be_bytes(take(4).try_into().unwrap());
            left -= 4 + length.max(0) as usize;
            (length >= 0).then(|| take(length as usize))
        });
        all.push(row.collect());
    }
    all
}

fn events(world: &World, event: Event, day: u32) -> Vec<BTreeMap<&'static str, Vec<u8>>> {
    let mut rows = Rows::default();
    world.events(event, day, 0..world.subscribers(), &mut rows);
    let names: Vec<&str> = event.columns().split(", ").collect();
    let named = |row: Vec<Option<Vec<u8>>>| {
        assert_eq!(row.len(), names.len());
        names.iter().copied().zip(row).map(|(name, value)| (name, value.expect("no event has a null"))).collect()
    };
    fields(&rows).into_iter().map(named).collect()
}

#[test]
fn each_level_tiles_the_country_exactly() {
    let country = Country::new();
    let area = |level: usize, index: usize| country.levels[level][index].rings.iter().map(|r| area2(r)).sum::<i64>();
    for level in 1..4 {
        for (parent, unit) in country.levels[level - 1].iter().enumerate() {
            let children: Vec<usize> =
                (0..country.levels[level].len()).filter(|&c| country.levels[level][c].parent == parent).collect();
            assert!(!children.is_empty(), "{}", unit.name);
            assert_eq!(children.iter().map(|&c| area(level, c)).sum::<i64>(), area(level - 1, parent), "{}", unit.name);
            for child in children {
                assert!(country.levels[level][child].pcode.starts_with(&unit.pcode));
            }
        }
    }
    let sizes: Vec<usize> = country.levels.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 4, 13, 70]);
}

#[test]
fn every_place_belongs_to_one_area_of_each_level_or_to_the_sea() {
    let country = Country::new();
    let (mut land, mut sea) = (0, 0);
    // Steps that are no divisor of the lattice, so that borders are met at all kinds of places.
    for x in (-27 * STEPS..-20 * STEPS).step_by(397) {
        for y in (STEPS..8 * STEPS).step_by(401) {
            let p = Point { x, y };
            let within = |units: &[super::country::Unit], wanted: Side| -> Vec<usize> {
                (0..units.len()).filter(|&u| units[u].rings.iter().any(|ring| side(p, ring) == wanted)).collect()
            };
            if !within(&country.levels[3], Side::Border).is_empty() {
                continue;
            }
            let found: Vec<Vec<usize>> = country.levels.iter().map(|units| within(units, Side::Inside)).collect();
            match found[3].as_slice() {
                [] => {
                    assert!(found.iter().all(Vec::is_empty), "{p:?}");
                    sea += 1;
                }
                &[ward] => {
                    let district = country.levels[3][ward].parent;
                    let province = country.levels[2][district].parent;
                    assert_eq!(found, [vec![0], vec![province], vec![district], vec![ward]], "{p:?}");
                    land += 1;
                }
                more => panic!("{p:?} is in {more:?}"),
            }
        }
    }
    assert!(land > 1000 && sea > 1000, "{land} {sea}");
}

#[test]
fn outlines_are_simple_rings_without_holes() {
    let country = Country::new();
    for unit in country.levels.iter().flatten() {
        for ring in &unit.rings {
            assert!(area2(ring) > 0, "{} has a hole", unit.name);
            let distinct: BTreeSet<Point> = ring.iter().copied().collect();
            assert_eq!(distinct.len(), ring.len(), "{} touches itself", unit.name);
        }
    }
    let names: BTreeSet<&str> = country.levels.iter().flatten().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names.len(), 1 + 4 + 13 + 70);
    // The country and one of its districts have an island.
    assert_eq!(country.levels[0][0].rings.len(), 2);
    assert_eq!(country.levels[2].iter().filter(|unit| unit.rings.len() == 2).count(), 1);
}

#[test]
fn masts_stand_inside_their_wards_and_few_of_them_move_once() {
    let world = small();
    for site in &world.network.sites {
        for placement in &site.placements {
            assert_eq!(side(placement.point, &world.country.levels[3][placement.ward].rings[0]), Side::Inside);
        }
        assert!(matches!(site.cells.len(), 1 | 3));
    }
    let moving: Vec<_> = world.network.sites.iter().filter(|site| site.placements.len() == 2).collect();
    assert_eq!(moving.len(), 1);
    assert_ne!(moving[0].placements[0].ward, moving[0].placements[1].ward);
    let index = world.network.cells[moving[0].cells.start as usize].site;
    assert_eq!(world.network.placement(index, MOVING_DAY - 1), 0);
    assert_eq!(world.network.placement(index, MOVING_DAY), 1);
    assert!(world.network.of_ward.iter().all(|sites| !sites.is_empty()), "each ward has a site");
}

#[test]
fn events_lie_within_their_day_and_name_known_cells() {
    let world = small();
    let cells: BTreeSet<&[u8]> = world.network.cells.iter().map(|cell| cell.id.as_bytes()).collect();
    for day in [0, 1, 40] {
        let [begin, end] = [day, day + 1].map(|day| moment(world.date(day), 0));
        for event in Event::ALL {
            let rows = events(&world, event, day);
            assert!(!rows.is_empty(), "{event:?}");
            for row in rows {
                let time = i64::from_be_bytes(row["datetime"].as_slice().try_into().unwrap());
                assert!((begin..end).contains(&time));
                assert!(cells.contains(row["location_id"].as_slice()));
            }
        }
    }
}

#[test]
fn each_call_and_text_has_an_outgoing_and_an_incoming_row() {
    let world = small();
    for event in [Event::Calls, Event::Sms] {
        let mut by_id: BTreeMap<Vec<u8>, Vec<_>> = BTreeMap::new();
        for row in events(&world, event, 3) {
            by_id.entry(row["id"].clone()).or_default().push(row);
        }
        for pair in by_id.values() {
            let [out, back] = pair.as_slice() else { panic!("{} rows with one id", pair.len()) };
            assert_eq!((out["outgoing"].as_slice(), back["outgoing"].as_slice()), (&[1][..], &[0][..]));
            assert_eq!(out["msisdn"], back["msisdn_counterpart"]);
            assert_eq!(out["msisdn_counterpart"], back["msisdn"]);
            assert_ne!(out["msisdn"], back["msisdn"], "nobody calls themselves");
            for same in ["datetime", "duration", "operator_code"] {
                assert_eq!(out.get(same), back.get(same));
            }
        }
    }
}

#[test]
fn the_smallest_worlds_work() {
    for (subscribers, sites) in [(2, 1), (3, 2), (50, 69)] {
        let world = World::new(&Options { subscribers, sites, ..Options::default() });
        let calls: usize = (0..20).map(|day| events(&world, Event::Calls, day).len()).sum();
        assert!(calls > 0, "{subscribers} people, {sites} sites");
        assert!(world.people.iter().enumerate().all(|(me, person)| person.friends.iter().all(|&f| f as usize != me)));
    }
}

/// How many of those who work and are not travelling are at home or at work at an hour.
fn seen(world: &World, day: u32, minute: u16) -> (usize, usize, usize) {
    let mut counts = (0, 0, 0);
    for (index, person) in (0..).zip(&world.people) {
        let Some(work) = person.work.filter(|&work| work != person.home) else { continue };
        let at = world.plan(index, day).at(minute);
        counts.0 += usize::from(at == person.home);
        counts.1 += usize::from(at == work);
        counts.2 += 1;
    }
    counts
}

#[test]
fn people_sleep_at_home_and_work_on_working_days() {
    let world = small();
    let (wednesday, saturday) = (5, 1);
    let (home, work, all) = seen(&world, wednesday, 3 * 60);
    assert!(home > all * 9 / 10 && work < all / 20, "at night {home} at home, {work} at work of {all}");
    let (home, work, all) = seen(&world, wednesday, 11 * 60);
    assert!(work > all * 8 / 10 && home < all * 2 / 10, "at noon {home} at home, {work} at work of {all}");
    let (home, work, all) = seen(&world, saturday, 11 * 60);
    assert!(home > all / 2 && work < all / 10, "on Saturday {home} at home, {work} at work of {all}");
    let (home, _, all) = seen(&world, wednesday, 23 * 60 + 59);
    assert!(home > all * 9 / 10, "by midnight {home} of {all} are at home again");
}

#[test]
fn few_travel_and_come_back() {
    let world = small();
    let away = |day: u32| {
        let count =
            (0..world.subscribers()).filter(|&index| world.plan(index, day).at(0) != world.people[index as usize].home);
        count.count()
    };
    let days: Vec<usize> = (0..7).map(away).collect();
    assert!(days.iter().sum::<usize>() > 10 && days.iter().all(|&n| n < 40), "{days:?}");
}

/// All rows of a day, made in pieces of so many people.
fn day_hash(world: &World, day: u32, piece: u32) -> String {
    let mut hash = Sha256::new();
    for event in Event::ALL {
        for first in (0..world.subscribers()).step_by(piece as usize) {
            let mut rows = Rows::default();
            world.events(event, day, first..world.subscribers().min(first + piece), &mut rows);
            hash.update(&rows.0);
        }
    }
    let (mut transactions, mut metadata) = (Rows::default(), Rows::default());
    world.transactions(day, 0..world.subscribers(), &mut transactions, &mut metadata);
    hash.update(&transactions.0);
    hash.update(&metadata.0);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_everywhere() {
    let world = small();
    // Sites' areas are the only fractions that are computed.
    let mut ground = Sha256::new();
    for cell in &world.network.cells {
        let site = &world.network.sites[cell.site as usize];
        ground.update(super::shape::multipolygon_ewkb(&[cell.area(site, 0)]));
    }
    let ground: String = ground.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // A change of these means that everybody's demo data changes: raise the number in the marker with it.
    let days = [0, 5].map(|day| day_hash(&world, day, 600)[..16].to_owned());
    assert_eq!([ground, days.concat()], ["f7a4f2050e6c332d", "1f1009de8ba7b09556b5eaa8cbfc4ee3"]);
}

#[test]
fn neither_threads_nor_pieces_change_the_bytes() {
    let world = small();
    let whole: Vec<String> = (0..4).map(|day| day_hash(&world, day, 600)).collect();
    let again: Vec<String> = std::thread::scope(|scope| {
        let world = &world;
        let days: Vec<_> = (0..4).map(|day| scope.spawn(move || day_hash(world, day, 7 + 50 * day))).collect();
        days.into_iter().map(|day| day.join().unwrap()).collect()
    });
    assert_eq!(whole, again);
    assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 4, "days differ");
    let other = World::new(&Options { subscribers: 600, sites: 150, seed: 2, ..Options::default() });
    assert_ne!(day_hash(&other, 0, 600), whole[0], "seeds differ");
}

#[test]
fn the_marker_names_all_options_but_the_number_of_days() {
    let options = Options { days: 3, subscribers: 500, sites: 20, seed: 7, first_day: date!(2020 - 02 - 01) };
    assert_eq!(
        options.marker(),
        "made by flowkit db demo 1: --seed 7 --subscribers 500 --sites 20 --first-day 2020-02-01"
    );
    assert_eq!(options.marker(), Options { days: 9, ..options.clone() }.marker());
    assert_ne!(options.marker(), Options { seed: 8, ..options.clone() }.marker());
}
