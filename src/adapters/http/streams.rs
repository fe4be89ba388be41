//! Room for event streams: each is held for as long as its reader likes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::buckets::client;
use super::denied::{Denial, Refusal};

/// How many event streams there may be, in all and of one client over TCP; an extension of every request.
#[derive(Debug, Clone)]
pub struct Streams {
    max: usize,
    of_one_max: usize,
    /// By client; those of the control socket have none.
    open: Arc<Mutex<BTreeMap<Option<IpAddr>, usize>>>,
}

/// A stream's place, held for as long as it goes on.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    of: Option<IpAddr>,
}

impl Streams {
    pub fn new(max: usize, of_one_max: usize) -> Self {
        Self { max, of_one_max, open: Arc::default() }
    }

    pub fn enter(&self, from: Option<IpAddr>) -> Result<Place, Refusal> {
        let of = from.map(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&of).copied().unwrap_or(0);
        let refusal = |detail| Err(Refusal::new(Denial::Streams, detail).wait(super::EVENTS_KEEP_ALIVE));
        if open.values().sum::<usize>() >= self.max {
            return refusal("as many read the events as can; close one of them, or ask again in a while");
        }
        if of.is_some() && own >= self.of_one_max {
            return refusal("as many from this address read the events as may; close one of them");
        }
        open.insert(of, own + 1);
        Ok(Place { streams: self.clone(), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.of) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(open.remove(&self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn so_many_and_no_more() {
        let streams = Streams::new(3, 2);
        let first = streams.enter(ONE).unwrap();
        let _second = streams.clone().enter(ONE).unwrap();
        assert_eq!(streams.enter(ONE).unwrap_err().why, Denial::Streams, "of one client");
        let third = streams.enter(OTHER).unwrap();
        assert_eq!(streams.enter(None).unwrap_err().why, Denial::Streams, "in all");
        drop(first);
        assert!(streams.enter(ONE).is_ok());
        drop(third);
        let local: Vec<_> = (0..2).map(|_| streams.enter(None).unwrap()).collect();
        drop(local);
        assert_eq!(streams.open.lock().unwrap().len(), 1, "who is gone leaves nothing");
    }
}
