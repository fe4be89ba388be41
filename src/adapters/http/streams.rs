//! Room for event streams: each is held for as long as its reader likes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::denied::{Denial, Refusal};

/// How many event streams there may be; an extension of every request.
#[derive(Debug, Clone)]
pub struct Streams {
    room: Arc<Semaphore>,
}

impl Streams {
    pub fn new(max: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(max)) }
    }

    /// To be held for as long as the stream goes on.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.room.clone().try_acquire_owned().map_err(|_| {
            let detail = "as many read the events as can; close one of them, or ask again in a while";
            Refusal::new(Denial::Streams, detail).wait(super::EVENTS_KEEP_ALIVE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_no_more() {
        let streams = Streams::new(2);
        let first = streams.enter().unwrap();
        let _second = streams.clone().enter().unwrap();
        assert_eq!(streams.enter().unwrap_err().why, Denial::Streams);
        drop(first);
        assert!(streams.enter().is_ok());
    }
}
