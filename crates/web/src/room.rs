//! How many connections there are, and from whom; how many requests, and how much they hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::activity::Activity;
use super::limits::Limits;
use super::listener::Peer;

/// Room for connections.
pub struct Room {
    most: usize,
    per_peer: Option<usize>,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    taken: HashMap<u64, (Option<IpAddr>, Arc<Activity>)>,
    by_peer: HashMap<IpAddr, usize>,
    next: u64,
}

/// One connection's place; given back when it goes.
pub struct Seat {
    room: Arc<Room>,
    number: u64,
    pub activity: Arc<Activity>,
}

impl Room {
    pub fn new(limits: &Limits) -> Room {
        let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let open = open.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let most = limits.connections.min(open.saturating_sub(Limits::RESERVE)).max(1);
        Room { most, per_peer: limits.per_peer, seats: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody, if need be that of the connection that has been idle longest: of this peer where it has too many,
    /// else of anybody. `None` when all that could make room are busy.
    pub fn admit(self: &Arc<Self>, peer: Peer) -> Option<Seat> {
        let peer = peer.counted();
        let mut seats = self.lock();
        let has = peer.and_then(|peer| seats.by_peer.get(&peer)).copied().unwrap_or(0);
        if self.per_peer.is_some_and(|most| has >= most) {
            seats.make_room(|other| other == peer)?;
        } else if seats.taken.len() >= self.most {
            seats.make_room(|_| true)?;
        }
        seats.next += 1;
        let (number, activity) = (seats.next, Arc::new(Activity::new()));
        seats.taken.insert(number, (peer, activity.clone()));
        peer.into_iter().for_each(|peer| *seats.by_peer.entry(peer).or_default() += 1);
        Some(Seat { room: self.clone(), number, activity })
    }

    /// Makes room for when the system has none left.
    pub fn shed(&self) {
        self.lock().make_room(|_| true);
    }
}

impl Seats {
    fn make_room(&mut self, of: impl Fn(Option<IpAddr>) -> bool) -> Option<()> {
        let candidates = self.taken.iter().filter(|(_, (peer, _))| of(*peer));
        let idle = candidates.filter_map(|(number, (_, activity))| Some((activity.idle_since()?, *number)));
        let (_, number) = idle.min()?;
        self.leave(number).into_iter().for_each(|activity| activity.evict());
        Some(())
    }

    fn leave(&mut self, number: u64) -> Option<Arc<Activity>> {
        let (peer, activity) = self.taken.remove(&number)?;
        if let Some(peer) = peer {
            uncount(&mut self.by_peer, peer);
        }
        Some(activity)
    }
}

/// What all requests have of the server together.
#[derive(Default)]
pub struct Load {
    requests: Mutex<Requests>,
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Requests {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// What one request has of it; given back when it goes.
pub struct Share {
    load: Arc<Load>,
    peer: Option<IpAddr>,
    most: usize,
    bytes: AtomicUsize,
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A further request; `None` when there are too many, or too many of this peer.
    pub fn request(self: &Arc<Self>, peer: Peer, limits: &Limits) -> Option<Share> {
        let peer = peer.counted().filter(|_| limits.per_peer.is_some());
        let mut requests = self.lock();
        let has = peer.and_then(|peer| requests.by_peer.get(&peer)).copied().unwrap_or(0);
        if requests.all >= limits.requests || has >= limits.requests.div_ceil(4) {
            return None;
        }
        requests.all += 1;
        peer.into_iter().for_each(|peer| *requests.by_peer.entry(peer).or_default() += 1);
        Some(Share { load: self.clone(), peer, most: limits.held_bytes, bytes: AtomicUsize::new(0) })
    }
}

impl Share {
    /// Takes so many bytes more; whether there is room for them.
    pub fn take(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.load.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.most
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut requests = self.load.lock();
        requests.all -= 1;
        if let Some(peer) = self.peer {
            uncount(&mut requests.by_peer, peer);
        }
    }
}

/// One less of this peer.
fn uncount(by_peer: &mut HashMap<IpAddr, usize>, peer: IpAddr) {
    if let Some(count) = by_peer.get_mut(&peer) {
        *count -= 1;
        if *count == 0 {
            by_peer.remove(&peer);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(last: u8) -> Peer {
        Peer::Net(([10, 0, 0, last], 1).into())
    }

    fn room(connections: usize, per_peer: usize) -> Arc<Room> {
        Arc::new(Room::new(&Limits { connections, per_peer: Some(per_peer), ..Limits::default() }))
    }

    #[test]
    fn who_is_idle_longest_makes_room_and_who_is_busy_does_not() {
        let room = room(2, 2);
        let (first, second) = (room.admit(peer(1)).unwrap(), room.admit(peer(2)).unwrap());
        first.activity.request_began();
        let third = room.admit(peer(3)).unwrap();
        assert!(room.lock().taken.contains_key(&first.number) && !room.lock().taken.contains_key(&second.number));
        third.activity.request_began();
        assert!(room.admit(peer(4)).is_none(), "both are busy");
    }

    #[test]
    fn a_peer_with_too_many_makes_room_itself() {
        let room = room(10, 2);
        let other = room.admit(peer(9)).unwrap();
        let own: Vec<Seat> = (0..3).map(|_| room.admit(peer(1)).unwrap()).collect();
        let seats = room.lock();
        let stays = |seat: &Seat| seats.taken.contains_key(&seat.number);
        assert!(stays(&other) && !stays(&own[0]) && stays(&own[1]) && stays(&own[2]));
    }

    proptest! {
        #[test]
        fn limits_hold_and_nothing_is_counted_twice(steps in prop::collection::vec((0_u8..5, any::<bool>(), any::<bool>()), 1..200)) {
            let room = room(6, 3);
            let mut held: Vec<Seat> = Vec::new();
            for (who, come, busy) in steps {
                if come {
                    held.extend(room.admit(peer(who)).inspect(|seat| if busy { seat.activity.request_began(); }));
                } else if !held.is_empty() {
                    held.swap_remove(usize::from(who) % held.len());
                }
                let seats = room.lock();
                prop_assert!(seats.taken.len() <= 6);
                prop_assert!(seats.by_peer.values().all(|count| (1..=3).contains(count)));
                prop_assert_eq!(seats.by_peer.values().sum::<usize>(), seats.taken.len());
            }
            held.clear();
            prop_assert!(room.lock().taken.is_empty() && room.lock().by_peer.is_empty());
        }
    }
}
