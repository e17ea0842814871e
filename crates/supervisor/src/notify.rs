//! What systemd is told, when it asks to be (`Type=notify`).
//!
//! The supervisor composes the messages and its guard sends them: systemd knows the guard as the main process, and with
//! `NotifyAccess=main` listens to nobody else. The services never see `NOTIFY_SOCKET`, since PostgreSQL would speak for the
//! whole role.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::machine::Time;

/// While starting, systemd is asked for this much more time, each third of it.
const EXTENSION: Duration = Duration::from_secs(30);

/// Composes messages; pure but for the clock it is given.
pub struct Notify {
    wanted: bool,
    ready: bool,
    stopping: bool,
    status: String,
    extend_at: Time,
    watchdog: Option<(Duration, Time)>,
}

impl Notify {
    /// From the environment: whether there is a socket, and how often the watchdog wants to hear.
    pub fn from_env() -> Notify {
        let variable = |name: &str| std::env::var(name).ok();
        let wanted = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        Notify::new(wanted, watchdog.map(Duration::from_micros))
    }

    fn new(wanted: bool, watchdog: Option<Duration>) -> Notify {
        let watchdog = watchdog.map(|interval| (interval / 2, Time::ZERO));
        Notify { wanted, ready: false, stopping: false, status: String::new(), extend_at: Time::ZERO, watchdog }
    }

    /// When [`Notify::due`] has something to say without a change.
    pub fn deadline(&self) -> Option<Time> {
        let extend = (!self.ready && !self.stopping).then_some(self.extend_at);
        let watchdog = self.watchdog.map(|(_, at)| at);
        self.wanted.then(|| [extend, watchdog].into_iter().flatten().min()).flatten()
    }

    /// What is to be said now, if anything. Called by the main loop in each round, so silence means that it stands still.
    pub fn due(&mut self, now: Time, ready: bool, stopping: Option<Duration>, status: &str) -> Option<String> {
        if !self.wanted {
            return None;
        }
        let mut message = String::new();
        if ready && !self.ready {
            self.ready = true;
            message.push_str("READY=1\n");
        }
        if let Some(left) = stopping
            && !self.stopping
        {
            self.stopping = true;
            message.push_str(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n", (left + EXTENSION).as_micros()));
        }
        if !self.ready && !self.stopping && now >= self.extend_at {
            self.extend_at = now + EXTENSION / 3;
            message.push_str(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTENSION.as_micros()));
        }
        if let Some((every, at)) = &mut self.watchdog
            && now >= *at
        {
            *at = now + *every;
            message.push_str("WATCHDOG=1\n");
        }
        if status != self.status {
            self.status = status.to_owned();
            message.push_str(&format!("STATUS={status}\n"));
        }
        (!message.is_empty()).then_some(message)
    }
}

/// Sends a message to systemd. Failing is silent: there is nobody to tell, and nothing depends on it.
pub fn send(message: &[u8]) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to_addr(message, &address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn systemd_hears_each_thing_once_and_the_watchdog_at_half_its_interval() {
        let mut notify = Notify::new(true, Some(10 * SECOND));
        let first = notify.due(SECOND, false, None, "starting db").expect("something");
        assert_eq!(first, "EXTEND_TIMEOUT_USEC=30000000\nWATCHDOG=1\nSTATUS=starting db\n");
        assert_eq!(notify.due(SECOND, false, None, "starting db"), None);
        assert_eq!(notify.deadline(), Some(6 * SECOND));
        assert_eq!(
            notify.due(6 * SECOND, true, None, "all ready").as_deref(),
            Some("READY=1\nWATCHDOG=1\nSTATUS=all ready\n")
        );
        assert_eq!(notify.due(7 * SECOND, false, None, "all ready"), None);
        assert_eq!(
            notify.due(8 * SECOND, false, Some(8 * SECOND), "stopping").as_deref(),
            Some("STOPPING=1\nEXTEND_TIMEOUT_USEC=38000000\nSTATUS=stopping\n")
        );
    }

    #[test]
    fn without_a_socket_there_is_nothing_to_say_and_nothing_to_wake_for() {
        let mut notify = Notify::new(false, Some(SECOND));
        assert_eq!((notify.due(SECOND, true, None, "x"), notify.deadline()), (None, None));
    }
}
