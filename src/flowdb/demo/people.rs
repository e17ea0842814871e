//! The subscribers: where they live and work, whom they know, what they carry.

use super::country::Country;
use super::dice::{Dice, Purpose};
use super::handsets::Model;
use super::network::Network;

/// How many others each person calls.
pub const FRIENDS: usize = 8;

/// What stays the same about a subscriber.
pub struct Person {
    /// Pseudonym of the telephone number, shown in hexadecimal (as long as an MD5 sum).
    pub msisdn: [u8; 16],
    /// Pseudonym of the SIM card. Half as long, as every row repeats it.
    pub imsi: [u8; 8],
    /// Pseudonym of the handset.
    pub imei: [u8; 8],
    /// Index of the handset's model.
    pub model: u8,
    /// The cell at home.
    pub home: u32,
    /// The cell at work, for those who work.
    pub work: Option<u32>,
    /// How much this person uses the telephone: 1 to 6.
    pub activity: u8,
    /// Whom this person calls, most often the first.
    pub friends: [u32; FRIENDS],
}

/// All subscribers.
pub fn people(country: &Country, network: &Network, models: &[Model], count: u32, seed: u64) -> Vec<Person> {
    let weights: Vec<u32> = country
        .wards
        .iter()
        .zip(&network.of_ward)
        .map(|(ward, sites)| ward.weight * u32::from(!sites.is_empty()))
        .collect();
    let models: Vec<u32> = models.iter().map(|model| model.weight).collect();
    let mut people: Vec<Person> =
        (0..count).map(|index| person(country, network, &weights, &models, index, seed)).collect();
    befriend(network, &mut people, seed);
    people
}

fn person(country: &Country, network: &Network, wards: &[u32], models: &[u32], index: u32, seed: u64) -> Person {
    let mut dice = Dice::new(seed, Purpose::Person, u64::from(index), 0);
    let mut msisdn = [0; 16];
    msisdn[..8].copy_from_slice(&dice.bits().to_be_bytes());
    msisdn[8..].copy_from_slice(&dice.bits().to_be_bytes());
    let (imsi, imei) = (dice.bits().to_be_bytes(), dice.bits().to_be_bytes());
    let ward = dice.weighted(wards);
    let home = any(&mut dice, &network.of_ward[ward]);
    let work = dice.chance(650).then(|| workplace(country, network, ward, home, &mut dice));
    Person {
        msisdn,
        imsi,
        imei,
        model: dice.weighted(models) as u8,
        home: any(&mut dice, &network.sites[home as usize].cells),
        work: work.map(|site| any(&mut dice, &network.sites[site as usize].cells)),
        activity: 1 + dice.weighted(&[10, 25, 30, 20, 10, 5]) as u8,
        friends: [0; FRIENDS],
    }
}

/// Near home, or in the district's town.
fn workplace(country: &Country, network: &Network, ward: usize, home: u32, dice: &mut Dice) -> u32 {
    let town = town_sites(country, network, ward);
    let near = &network.sites[home as usize].near;
    if town.is_empty() || (dice.chance(600) && !near.is_empty()) {
        return near.get(dice.below(near.len().max(1) as u32) as usize).copied().unwrap_or(home);
    }
    any(dice, &town)
}

/// The sites of the town of the district that a ward belongs to.
pub fn town_sites(country: &Country, network: &Network, ward: usize) -> std::ops::Range<u32> {
    let town = country.wards_of_district(country.district(ward)).max_by_key(|&ward| country.wards[ward].weight);
    network.of_ward[town.unwrap_or(ward)].clone()
}

/// One of a range that is not empty.
pub fn any(dice: &mut Dice, range: &std::ops::Range<u32>) -> u32 {
    range.start + dice.below(range.end - range.start)
}

/// Neighbours, then colleagues, then anybody.
fn befriend(network: &Network, people: &mut [Person], seed: u64) {
    let mut neighbours = vec![Vec::new(); network.sites.len()];
    let mut colleagues = neighbours.clone();
    for (index, person) in (0u32..).zip(people.iter()) {
        neighbours[network.cells[person.home as usize].site as usize].push(index);
        if let Some(work) = person.work {
            colleagues[network.cells[work as usize].site as usize].push(index);
        }
    }
    let count = people.len() as u32;
    for (index, person) in (0u32..).zip(people.iter_mut()) {
        let mut dice = Dice::new(seed, Purpose::Friends, u64::from(index), 0);
        let at_home = &neighbours[network.cells[person.home as usize].site as usize];
        let at_work = person.work.map_or(at_home, |work| &colleagues[network.cells[work as usize].site as usize]);
        for (place, friend) in person.friends.iter_mut().enumerate() {
            let picked = match place {
                0..4 => *dice.one_of(at_home),
                4..6 => *dice.one_of(at_work),
                _ => dice.below(count),
            };
            // Nobody calls themselves.
            *friend = if picked == index { (index + 1) % count } else { picked };
        }
    }
}
