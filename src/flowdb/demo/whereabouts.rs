//! Where a person is during a day.

use super::World;
use super::dice::{Dice, Purpose};
use super::people::{Person, any};

/// The places of a day: from which minute on the person is near which cell. The first begins at midnight.
#[derive(Default)]
pub struct Plan {
    stays: Vec<(u16, u32)>,
}

impl Plan {
    /// The cell at a minute of the day.
    pub fn at(&self, minute: u16) -> u32 {
        let later = self.stays.partition_point(|&(from, _)| from <= minute);
        self.stays[later.saturating_sub(1)].1
    }
}

impl World {
    /// The places of a person on a day.
    pub fn plan(&self, index: u32, day: u32) -> Plan {
        let person = &self.people[index as usize];
        let mut dice = Dice::new(self.seed, Purpose::Whereabouts, u64::from(index), u64::from(day));
        let mut stays = Vec::with_capacity(8);
        if let Some(site) = self.journey(index, day) {
            let base = any(&mut dice, &self.network.sites[site as usize].cells);
            stays.push((0, base));
            self.outing(base, 600, &mut stays, &mut dice);
            return Plan { stays };
        }
        stays.push((0, person.home));
        let working = person.work.filter(|_| !self.is_weekend(day) && !dice.chance(80));
        match working {
            Some(work) => {
                self.commute(person, work, &mut stays, &mut dice);
                if dice.chance(150) {
                    self.outing(person.home, 1_200, &mut stays, &mut dice);
                }
            }
            None if dice.chance(if self.is_weekend(day) { 500 } else { 250 }) => {
                self.outing(person.home, 540, &mut stays, &mut dice);
            }
            None => {}
        }
        Plan { stays }
    }

    /// To work in the morning and back in the afternoon, past a site in between.
    fn commute(&self, person: &Person, work: u32, stays: &mut Vec<(u16, u32)>, dice: &mut Dice) {
        let via = self.cell_near(person.home, dice);
        let leave = dice.around_middle(360, 540) as u16;
        let back = dice.around_middle(960, 1_110) as u16;
        let travel = dice.between(15, 60) as u16;
        stays.extend([(leave, via), (leave + travel, work), (back, via), (back + travel, person.home)]);
    }

    /// Some hours elsewhere, in the district's town or near by, and back. Begins at `from` (a minute) or up to an hour later.
    fn outing(&self, base: u32, from: i32, stays: &mut Vec<(u16, u32)>, dice: &mut Dice) {
        let site = self.network.cells[base as usize].site;
        let town = &self.towns[self.network.sites[site as usize].placements[0].ward];
        let there = if dice.chance(500) && !town.is_empty() {
            let site = any(dice, town);
            any(dice, &self.network.sites[site as usize].cells)
        } else {
            self.cell_near(base, dice)
        };
        let begin = from + dice.between(0, 60);
        let end = begin + dice.between(45, 170);
        stays.extend([(begin as u16, there), (end as u16, base)]);
    }

    /// The site where a person spends this day and the next ones, for the few who travel this week.
    fn journey(&self, index: u32, day: u32) -> Option<u32> {
        let mut dice = Dice::new(self.seed, Purpose::Journeys, u64::from(index), u64::from(day / 7));
        if !dice.chance(40) {
            return None;
        }
        let first = dice.below(6);
        let last = first + dice.below(4);
        let site = dice.below(self.network.sites.len() as u32);
        (first..=last).contains(&(day % 7)).then_some(site)
    }

    /// A cell of one of the nearest sites.
    fn cell_near(&self, cell: u32, dice: &mut Dice) -> u32 {
        let near = &self.network.sites[self.network.cells[cell as usize].site as usize].near;
        if near.is_empty() {
            return cell;
        }
        let site = *dice.one_of(near);
        any(dice, &self.network.sites[site as usize].cells)
    }

    /// The cell that a call is made through: mostly the one expected, now and then another one of the site or the next.
    pub fn observed(&self, cell: u32, dice: &mut Dice) -> u32 {
        match dice.below(100) {
            0..5 => self.cell_near(cell, dice),
            5..17 => any(dice, &self.network.sites[self.network.cells[cell as usize].site as usize].cells),
            _ => cell,
        }
    }
}
