//! How the last try to have another token went, and when the next one is due. It touches nothing.

use serde::{Deserialize, Serialize};

/// Seconds after which FlowAuth is asked again, as it may be starting too; doubled each time, up to six hours.
const AGAIN: i64 = 5;
pub const AGAIN_AT_MOST: i64 = 6 * 3600;

/// What came of it. Secrets are known by their digests.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Renewal {
    /// What was wrong, if anything was.
    pub failed: String,
    /// How often, one after another.
    pub failures: u32,
    /// Not before, in seconds since 1970.
    pub again: i64,
    /// The key that it was tried with: with another one it is tried at once.
    pub key: String,
    /// A token that FlowAPI did not take.
    pub refused: String,
    /// How many it did not take, one after another.
    pub refusals: u32,
}

impl Renewal {
    /// Whether it is too early to try it again with this key.
    pub fn waits(&self, key: &str, now: i64) -> bool {
        // By a clock that was wrong it may be in what is the future again.
        self.key == key && self.again > now && self.again <= now + AGAIN_AT_MOST
    }

    /// FlowAuth has given another token.
    pub fn went_well(self) -> Renewal {
        Renewal { refused: self.refused, refusals: self.refusals, ..Renewal::default() }
    }

    /// It has not; `end` is that of the token that there is.
    pub fn went_wrong(self, failed: String, key: String, now: i64, end: Option<i64>) -> Renewal {
        // Its end is a moment at which the answer may be another.
        let until_end = end.filter(|end| *end > now).map_or(AGAIN_AT_MOST, |end| (end - now).max(AGAIN));
        let again = now + later(self.failures).min(until_end);
        Renewal { failed, failures: (self.failures + 1).min(16), again, key, ..self }
    }

    /// FlowAPI does not take a token: another is due at once for the first time, later and later where the new ones are not taken either.
    pub fn was_refused(self, token: String, key: String, now: i64) -> Renewal {
        let wait = self.refusals.checked_sub(1).map_or(0, later);
        let again = self.again.max(now + wait);
        Renewal { refused: token, refusals: (self.refusals + 1).min(16), again, key, ..self }
    }

    /// FlowAPI takes what it is shown.
    pub fn was_taken(self) -> Renewal {
        Renewal { refused: String::new(), refusals: 0, ..self }
    }
}

/// Seconds until it is asked again after so many failures before this one.
fn later(failures: u32) -> i64 {
    AGAIN.checked_shl(failures).unwrap_or(AGAIN_AT_MOST).clamp(AGAIN, AGAIN_AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_later_and_later_and_when_the_token_ends() {
        let wrong = |failures, now, end| {
            let before = Renewal { failures, ..Renewal::default() };
            before.went_wrong(String::new(), String::new(), now, end).again - now
        };
        assert_eq!([0, 1, 2, 12, 16].map(|failures| wrong(failures, 1_000, None)), [5, 10, 20, 20_480, AGAIN_AT_MOST]);
        assert_eq!(wrong(16, 1_000, Some(1_600)), 600);
        assert_eq!(wrong(16, 1_000, Some(1_001)), 5);
        assert_eq!(wrong(16, 1_600, Some(1_600)), AGAIN_AT_MOST, "it has ended");
    }

    #[test]
    fn what_flowapi_does_not_take_is_renewed_at_once_and_then_later_and_later() {
        let mut renewal = Renewal::default();
        for (at, wait) in [(1_000, 0), (1_000, 5), (1_060, 10), (1_120, 20)] {
            renewal = renewal.was_refused(format!("token of {at}"), "key".to_owned(), at);
            assert_eq!(renewal.again, at + wait);
        }
        assert!(renewal.waits("key", 1_139) && !renewal.waits("key", 1_140) && !renewal.waits("another", 1_139));
        assert!(!renewal.waits("key", 1_139 - AGAIN_AT_MOST), "a clock was in the future");
        assert_eq!(renewal.was_taken().refusals, 0);
    }
}
