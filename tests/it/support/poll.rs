//! Waiting for what happens by itself.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long nothing is asked in between: at first, and after long waiting. Asking may cost a process of its own.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// Asks until there is an answer. The last "not yet" is in the panic.
#[track_caller]
pub fn until<T, E: Display>(patience: Duration, what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = PAUSES.0;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(Instant::now() < deadline, "not within {patience:?}: {what}; last seen: {why}"),
        }
        sleep(pause);
        pause = (pause * 3 / 2).min(PAUSES.1);
    }
}

/// Waits until something is so.
#[track_caller]
pub fn wait(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    until(patience, what, || if so() { Ok(()) } else { Err("it is not so") });
}
