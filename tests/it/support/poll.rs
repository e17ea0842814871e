//! Waiting for what happens by itself.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long nothing is asked in between: at first, soon after, and at the end of long waiting. Asking may cost a process of its own, so that what
/// takes minutes is asked for with pauses of 3 % of the time that it has taken.
const PAUSES: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(200), Duration::from_secs(1)];
const SHARE: u32 = 32;

/// Asks until there is an answer. The last "not yet" is in the panic.
#[track_caller]
pub fn until<T, E: Display>(patience: Duration, what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    let [mut pause, soon, late] = PAUSES;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(begun.elapsed() < patience, "not within {patience:?}: {what}; last seen: {why}"),
        }
        sleep(pause);
        pause = (pause * 3 / 2).min((begun.elapsed() / SHARE).clamp(soon, late));
    }
}

/// Waits until something is so.
#[track_caller]
pub fn wait(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    until(patience, what, || if so() { Ok(()) } else { Err("it is not so") });
}
