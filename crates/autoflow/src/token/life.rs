//! When a token ends, and what follows from that. It is read as it is, for only FlowAPI can say whether it is good.

use access::Inspection;
use flowkit_core::secrets::Secret;
use time::OffsetDateTime;

use super::TOKEN;
use crate::table::moment;

const DAY: i64 = 86_400;

/// Of a token that does not say when it was made: as if it lived for six weeks.
const LIFE: i64 = 42 * DAY;

/// Days before its end from which on a token is talked about.
const NEAR: i64 = 14;

/// When a token ends.
pub fn end(token: &Secret) -> Option<i64> {
    Inspection::read(token.expose()).ok().and_then(|read| read.token.expires)
}

/// Whether it is none, or less than a third of its life is left.
pub fn is_near_end(token: &Secret, now: i64) -> bool {
    let Ok(read) = Inspection::read(token.expose()) else { return true };
    let Some(expires) = read.token.expires else { return false };
    let life = read.token.issued.map_or(LIFE, |issued| (expires - issued).max(0));
    expires - now < life / 3
}

/// Whether one that ends then is worth having in the place of one that is good.
///
/// # Errors
/// It ends with the other one: why, and who can help. The same words as long as it is so.
pub fn outlives(end: i64, old: Option<i64>) -> Result<(), String> {
    match old {
        Some(old) if end == old => {
            let day = moment(end);
            Err(format!(
                "no token of its roles lives longer than until {day} UTC: an administrator of FlowAuth can give the roles, and the server, a later end"
            ))
        }
        // One that ends sooner is what there is now: its roles' tokens live shorter.
        _ => Ok(()),
    }
}

/// Whether a token that was given is to be taken in the place of one that is good.
///
/// # Errors
/// Why not.
pub fn is_better(new: &Secret, old: Option<&Secret>, now: i64) -> Result<(), String> {
    let (ends, old) = (end(new).ok_or("what it gives is no token")?, old.and_then(end));
    if ends <= now {
        return Err("the new token has ended already: do the clocks agree?".to_owned());
    }
    // Yet another would be due at once.
    if old.is_some_and(|old| ends < old) && is_near_end(new, now) {
        return Err("the new token is near its end already: do the clocks agree?".to_owned());
    }
    outlives(ends, old)
}

/// How long a token lives, in words, if that is near or past; and what to do where nobody renews it.
pub fn ends_soon(token: &Secret, now: i64, is_renewed: bool) -> Option<String> {
    let ends = end(token)?;
    let left = ends - now;
    let day = OffsetDateTime::from_unix_timestamp(ends).ok()?;
    let at = format!("{} {:02}:{:02} UTC", day.date(), day.hour(), day.minute());
    match left {
        ..=0 => Some(format!("{TOKEN} ended at {at}: no run will succeed until there is another")),
        _ if left < NEAR * DAY => {
            let todo = if is_renewed { "" } else { ": make another in FlowAuth and put it there" };
            Some(format!("{TOKEN} ends at {at}, in {} days{todo}", left / DAY))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::token;
    use super::*;

    #[test]
    fn a_shorter_token_is_taken_and_one_that_is_worth_nothing_is_not() {
        let now = 1_000 * DAY;
        let made = |made: i64, ends: i64| Secret::new(token("x", made, ends));
        let old = made(now - 5 * DAY, now + 2 * DAY);
        assert_eq!(is_better(&made(now, now + 7 * DAY), Some(&old), now), Ok(()));
        assert_eq!(is_better(&made(now, now + DAY), Some(&old), now), Ok(()), "the role's tokens live a day by now");
        let why = |new: &Secret, old: Option<&Secret>| is_better(new, old, now).unwrap_err();
        assert!(why(&made(now, now + 2 * DAY), Some(&old)).contains("until 1972-09-29 00:00:00 UTC: an administrator"));
        assert_eq!(is_better(&made(now, now + 2 * DAY), None, now), Ok(()), "the old one is not taken by FlowAPI");
        assert!(why(&made(now - 80 * 60, now + 30 * 60), Some(&old)).contains("do the clocks agree"));
        assert!(why(&made(now - DAY, now), None).contains("has ended already"));
        assert!(why(&Secret::new("x".to_owned()), None).contains("no token"));
    }
}
