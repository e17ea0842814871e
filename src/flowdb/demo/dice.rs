//! Reproducible chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What numbers are drawn for. Each purpose has streams of its own, so that a change to one leaves the others' bytes.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Coastlines, borders and names.
    Country = 1,
    /// Sites and cells.
    Network,
    /// Handset models.
    Handsets,
    /// What stays the same about a person.
    Person,
    /// A person's acquaintances.
    Friends,
    /// A person's journeys of some days.
    Journeys,
    /// Where a person is during one day.
    Whereabouts,
    /// A person's calls of one day.
    Calls,
    /// ... text messages.
    Sms,
    /// ... data sessions.
    Mds,
    /// ... top-ups.
    Topups,
    /// ... mobile money.
    Money,
}

/// A stream of random numbers that depends on nothing but what it was made for: neither on the machine, nor on the
/// order of work, nor on the number of threads.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `purpose` for the `item`-th thing (a person, a site) on the `day`-th day (or another number).
    pub fn new(seed: u64, purpose: Purpose, item: u64, day: u64) -> Dice {
        let mut key = [0; 32];
        for (place, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, item, day]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `n` - 1. The bias is below `n` / 2^32. `n` is at least 1.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as u32) as i32
    }

    /// Like [`Dice::between`], with values near the middle more likely: the mean of three.
    pub fn around_middle(&mut self, low: i32, high: i32) -> i32 {
        (0..3).map(|_| self.between(low, high)).sum::<i32>() / 3
    }

    /// A number from 1 to 2^`high`, small ones more likely: it is below 2^`low` or a power of two up to
    /// 2^`high`, each power as likely.
    pub fn skewed(&mut self, low: i32, high: i32) -> u32 {
        let magnitude = self.between(low, high);
        1 + self.below(1 << magnitude)
    }

    /// True in so many cases of a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille
    }

    /// How many of `trials` succeed, each in so many cases of a thousand.
    pub fn successes(&mut self, trials: u32, per_mille: u32) -> u32 {
        (0..trials).map(|_| u32::from(self.chance(per_mille))).sum()
    }

    /// The index of one of the weights, each as likely as it is heavy. Their sum is at least 1.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().sum());
        weights.iter().position(|&weight| left.checked_sub(weight).map(|rest| left = rest).is_none()).unwrap_or(0)
    }

    /// One of the values, each as likely. There is at least one.
    pub fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_each_part_of_their_name() {
        let first = |seed, purpose, item, day| Dice::new(seed, purpose, item, day).bits();
        let reference = first(1, Purpose::Calls, 2, 3);
        assert_eq!(reference, first(1, Purpose::Calls, 2, 3));
        for other in [
            first(2, Purpose::Calls, 2, 3),
            first(1, Purpose::Sms, 2, 3),
            first(1, Purpose::Calls, 3, 3),
            first(1, Purpose::Calls, 2, 4),
        ] {
            assert_ne!(reference, other);
        }
    }

    #[test]
    fn weights_are_kept_within_three_standard_deviations() {
        let mut dice = Dice::new(1, Purpose::Person, 0, 0);
        let mut seen = [0u32; 4];
        for _ in 0..10_000 {
            seen[dice.weighted(&[1, 0, 2, 7])] += 1;
        }
        assert_eq!(seen[1], 0);
        for (index, expected) in [(0, 1000), (2, 2000), (3, 7000)] {
            assert!(seen[index].abs_diff(expected) < 140, "{seen:?}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut dice = Dice::new(1, Purpose::Person, 0, 0);
        let seen: std::collections::BTreeSet<i32> = (0..200).map(|_| dice.between(-1, 2)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-1, 0, 1, 2]);
    }
}
