//! A month (or any number of days) of made-up but structured call records, for trying FlowKit out and for testing it.
//!
//! ```text
//! country       an invented country: four levels of areas that tile it exactly
//! network       sites and cells in it           voronoi   which ground a site covers
//! handsets      models of telephones
//! people        homes, work places, acquaintances
//! whereabouts   where a person is at which minute of a day
//! traffic       calls, texts, data, top-ups     money     mobile money
//! copy          rows as PostgreSQL's binary COPY wants them
//! load          puts all that into a FlowDB, one transaction a day
//! ```
//!
//! Everything is drawn from streams of random numbers that are named by seed, purpose, person and day ([`dice`]), with whole
//! numbers (and, for the outlines of cells, plain double arithmetic): the same options give the same bytes on any machine
//! and with any number of threads, and a day's records don't depend on how many days are asked for.

mod base;
mod copy;
mod country;
mod day;
mod dice;
mod error;
mod handsets;
mod load;
mod money;
mod network;
mod people;
mod shape;
mod traffic;
mod voronoi;
mod whereabouts;

#[cfg(test)]
mod tests;

use std::ops::{Range, RangeInclusive};

use time::{Date, Duration};

pub use error::Error;
pub use load::{Progress, Summary, load};
pub use traffic::Event;

use country::Country;
use handsets::Model;
use network::Network;
use people::Person;

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many days.
    pub days: u32,
    /// How many subscribers.
    pub subscribers: u32,
    /// How many sites; most have three cells.
    pub sites: u32,
    /// Another seed gives other sites, people and calls (in the same country).
    pub seed: u64,
    /// The first of the days.
    pub first_day: Date,
}

impl Options {
    /// Accepted numbers of days.
    pub const DAYS: RangeInclusive<i64> = 1..=3_660;
    /// Accepted numbers of subscribers; each takes about 150 bytes of memory.
    pub const SUBSCRIBERS: RangeInclusive<i64> = 2..=2_000_000;
    /// Accepted numbers of sites.
    pub const SITES: RangeInclusive<i64> = 1..=5_000;

    /// What is written beside the data, to know it again. Only `days` is not part of it: more can be added.
    pub fn marker(&self) -> String {
        let Options { subscribers, sites, seed, first_day, .. } = self;
        format!("{MARK} 1: --seed {seed} --subscribers {subscribers} --sites {sites} --first-day {first_day}")
    }
}

/// What each marker begins with; the number after it is the version of the generator.
const MARK: &str = "made by flowkit db demo";

impl Default for Options {
    /// A month of an operator that fits a small machine: 5.4 million events.
    fn default() -> Options {
        Options { days: 30, subscribers: 20_000, sites: 300, seed: 1, first_day: time::macros::date!(2016 - 01 - 01) }
    }
}

/// Everything that does not change from day to day.
pub struct World {
    seed: u64,
    first_day: Date,
    country: Country,
    network: Network,
    models: Vec<Model>,
    people: Vec<Person>,
    /// For each ward, the sites of its district's town.
    towns: Vec<Range<u32>>,
}

impl World {
    /// Makes a world. `days` of the options plays no part.
    pub fn new(options: &Options) -> World {
        let seed = options.seed;
        let country = Country::new();
        let network = Network::new(&country, options.sites, seed);
        let models = handsets::models(seed);
        let people = people::people(&country, &network, &models, options.subscribers, seed);
        let towns = (0..country.wards.len()).map(|ward| people::town_sites(&country, &network, ward)).collect();
        World { seed, first_day: options.first_day, country, network, models, people, towns }
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> u32 {
        self.people.len() as u32
    }

    /// The date of a day that is counted from 0.
    pub fn date(&self, day: u32) -> Date {
        self.first_day + Duration::days(i64::from(day))
    }

    fn is_weekend(&self, day: u32) -> bool {
        matches!(self.date(day).weekday(), time::Weekday::Saturday | time::Weekday::Sunday)
    }
}
