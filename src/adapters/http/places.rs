//! Who holds the connections of TCP. A connection needs a place; nobody gets so many that others get none.
//!
//! Two things keep room. Where there is none, the connection is ended that has waited longest for a request, of the client
//! that has the most: half-open ones cost those who open them their own, and who connects and asks at once is served.
//! That is no help where none is idle, for answers under way are not cut off. So the last places are for clients that have
//! no connection yet: a scraper that comes every 15 s finds one, whatever those do who are here already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::buckets::client;

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub all: usize,
    /// For one client at most.
    pub of_one: usize,
    /// Of all, for clients without a connection.
    pub reserved: usize,
}

pub struct Places {
    room: Room,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    taken: usize,
    clients: BTreeMap<IpAddr, Client>,
}

/// The places of one client; it has at least one.
#[derive(Default)]
struct Client {
    taken: BTreeMap<u64, Taken>,
    /// Those that wait for a request, longest first.
    idle: BTreeSet<(Instant, u64)>,
}

struct Taken {
    /// Since when it waits for a request; `None` while one is answered.
    idle_since: Option<Instant>,
    end: Arc<Notify>,
}

/// What came of asking for a place.
pub struct Asked {
    /// `None` where every place is in use.
    pub place: Option<Place>,
    /// Whether another connection of this client, or of whom, was ended for it.
    pub ended: Option<IpAddr>,
}

/// A connection's place, free again when it is dropped.
pub struct Place {
    key: Key,
    end: Arc<Notify>,
    places: Arc<Places>,
}

/// While it is there, a request is answered.
pub struct Busy {
    key: Key,
    places: Arc<Places>,
}

#[derive(Clone, Copy)]
struct Key {
    client: IpAddr,
    id: u64,
}

impl Places {
    pub fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, table: Mutex::default() })
    }

    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Asked {
        let client = client(address);
        let mut table = self.lock();
        let mine = table.clients.get(&client).map_or(0, |client| client.taken.len());
        let all = if mine == 0 { self.room.all } else { self.room.all.saturating_sub(self.room.reserved) };
        let ended = if mine >= self.room.of_one {
            table.end_idle(Some(client))
        } else if table.taken >= all {
            table.end_idle(None)
        } else {
            return Asked { place: Some(self.take(&mut table, client)), ended: None };
        };
        Asked { place: ended.map(|_| self.take(&mut table, client)), ended }
    }

    fn take(self: &Arc<Self>, table: &mut Table, client: IpAddr) -> Place {
        let (key, end) = (Key { client, id: table.next }, Arc::new(Notify::new()));
        table.next += 1;
        table.taken += 1;
        let places = table.clients.entry(client).or_default();
        places.taken.insert(key.id, Taken { idle_since: None, end: end.clone() });
        table.idle_is(key, Some(Instant::now()));
        Place { key, end, places: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Ends the longest idle connection of this client, or of the one that has the most of those that have any.
    fn end_idle(&mut self, of: Option<IpAddr>) -> Option<IpAddr> {
        let most = || {
            let idle = self.clients.iter().filter(|(_, client)| !client.idle.is_empty());
            idle.max_by_key(|(_, client)| client.taken.len()).map(|(client, _)| *client)
        };
        let client = of.or_else(most)?;
        let (_, id) = *self.clients.get(&client)?.idle.first()?;
        self.remove(Key { client, id })?.end.notify_one();
        Some(client)
    }

    fn remove(&mut self, key: Key) -> Option<Taken> {
        self.idle_is(key, None);
        let client = self.clients.get_mut(&key.client)?;
        let taken = client.taken.remove(&key.id)?;
        if client.taken.is_empty() {
            self.clients.remove(&key.client);
        }
        self.taken -= 1;
        Some(taken)
    }

    /// Nothing where the place has been taken away.
    fn idle_is(&mut self, key: Key, since: Option<Instant>) {
        let Some(client) = self.clients.get_mut(&key.client) else { return };
        let Some(taken) = client.taken.get_mut(&key.id) else { return };
        if let Some(before) = std::mem::replace(&mut taken.idle_since, since) {
            client.idle.remove(&(before, key.id));
        }
        client.idle.extend(since.map(|since| (since, key.id)));
    }
}

impl Place {
    /// Resolves when it must be left.
    pub async fn ended(&self) {
        self.end.notified().await;
    }

    /// From now on a request is answered.
    pub fn busy(&self) -> Busy {
        self.places.lock().idle_is(self.key, None);
        Busy { key: self.key, places: self.places.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.key);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.places.lock().idle_is(self.key, Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ROOM: Room = Room { all: 6, of_one: 4, reserved: 1 };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_ended(place: &Place) -> bool {
        place.ended().now_or_never().is_some()
    }

    #[test]
    fn one_client_ends_its_own_and_no_other() {
        let places = Places::new(ROOM);
        let other = places.enter(address(2)).place.unwrap();
        let mut mine = Vec::new();
        for n in 0..10_000 {
            let asked = places.enter(address(1));
            assert_eq!(asked.ended, (n >= 4).then_some(address(1)), "{n}");
            mine.push(asked.place.unwrap());
            assert!(places.lock().taken <= 5, "{n}");
        }
        assert_eq!(mine.iter().filter(|place| is_ended(place)).count(), 9_996);
        assert!(mine[9_996..].iter().all(|place| !is_ended(place)), "the oldest went");
        assert!(!is_ended(&other));
    }

    #[test]
    fn who_is_served_is_not_ended() {
        let places = Places::new(ROOM);
        let mine: Vec<Place> = (0..4).map(|_| places.enter(address(1)).place.unwrap()).collect();
        let busy: Vec<Busy> = mine.iter().map(Place::busy).collect();
        let asked = places.enter(address(1));
        assert!(asked.place.is_none() && asked.ended.is_none());
        drop(busy);
        assert!(places.enter(address(1)).place.is_some());
    }

    #[test]
    fn the_last_places_are_for_new_clients() {
        let places = Places::new(ROOM);
        let ids = [1, 1, 1, 2, 2];
        let held: Vec<Place> = ids.iter().map(|id| places.enter(address(*id)).place.unwrap()).collect();
        let busy: Vec<Busy> = held.iter().map(Place::busy).collect();
        assert!(places.enter(address(1)).place.is_none() && places.enter(address(2)).place.is_none());
        let scraper = places.enter(address(3)).place.unwrap();
        let _served = scraper.busy();
        assert!(places.enter(address(4)).place.is_none(), "now there is none");
        drop(busy);
        let asked = places.enter(address(4));
        assert_eq!(asked.ended, Some(address(1)), "of the client that has the most");
        assert!(is_ended(&held[0]) && !is_ended(&held[1]));
    }

    #[test]
    fn a_place_is_free_again() {
        let places = Places::new(Room { all: 1, of_one: 1, reserved: 0 });
        for _ in 0..3 {
            let place = places.enter(address(1)).place.unwrap();
            let _busy = place.busy();
            assert!(places.enter(address(2)).place.is_none());
        }
        let table = places.lock();
        assert!(table.taken == 0 && table.clients.is_empty());
    }
}
