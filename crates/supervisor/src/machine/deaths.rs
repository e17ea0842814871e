//! Deaths of one service: how long each makes it wait, and when there have been too many.

use std::collections::VecDeque;
use std::time::Duration;

use super::Time;
use crate::service::Restart;

/// What is remembered of them.
#[derive(Clone, Debug, Default)]
pub struct Deaths {
    /// How many since it was last stable, for the back-off.
    streak: u32,
    /// Early ones within the window.
    recent: VecDeque<Time>,
    /// The delay that the last one caused.
    delay: Duration,
}

impl Deaths {
    /// Early ones that count towards the limit.
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// The delay that the last one caused.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// The next one is the first again, as far as its delay goes.
    pub fn end_streak(&mut self) {
        self.streak = 0;
    }

    /// Counts one: the delay before another try, or `None` for no more tries. After a `stable` life it costs nothing.
    pub fn count(&mut self, restart: &Restart, stable: bool, now: Time, chance: u64) -> Option<Duration> {
        if stable {
            self.streak = 0;
            self.delay = Duration::ZERO;
            return Some(Duration::ZERO);
        }
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|death| now.saturating_sub(*death) > restart.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= restart.limit as usize {
            return None;
        }
        let bound = restart.first.saturating_mul(1u32.checked_shl(self.streak).unwrap_or(u32::MAX)).min(restart.cap);
        self.streak = self.streak.saturating_add(1).min(31);
        self.delay = fraction(bound, chance);
        Some(self.delay)
    }
}

/// A random part of a duration, all of it possible.
pub fn fraction(of: Duration, chance: u64) -> Duration {
    of.mul_f64((chance >> 11) as f64 / (1u64 << 53) as f64)
}
