//! Signs of life on their way to the event loop: one for each instance, told about once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::model::signal::{Beat, BeatSource};
use crate::model::{Input, Mono, UnitName};

/// Between two inputs. Timeouts are tens of seconds; each input is recorded.
const PAUSE: Duration = Duration::from_secs(1);

/// Bounded by the number of instances, however often they beat and however far behind the event loop is.
pub struct Outbox {
    inputs: mpsc::Sender<Input>,
    latest: BTreeMap<UnitName, Mono>,
    told: Option<Mono>,
}

/// What became of the signs that were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Nothing,
    All,
    /// The event loop is behind. They are kept and told later.
    Later,
    NobodyListens,
}

impl Outbox {
    pub fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, latest: BTreeMap::new(), told: None }
    }

    pub fn beat(&mut self, unit: UnitName, at: Mono) {
        self.latest.insert(unit, at);
    }

    /// When the next input is due; `None`: there is nothing to tell.
    pub fn due(&self) -> Option<Mono> {
        (!self.latest.is_empty()).then(|| self.told.map_or(Mono(0), |told| told + PAUSE))
    }

    pub fn tell(&mut self, now: Mono) -> Told {
        if self.inputs.is_closed() {
            return Told::NobodyListens;
        }
        if self.due().is_none_or(|due| due > now) {
            return Told::Nothing;
        }
        self.told = Some(now);
        let Ok(place) = self.inputs.try_reserve() else {
            return if self.inputs.is_closed() { Told::NobodyListens } else { Told::Later };
        };
        let latest = std::mem::take(&mut self.latest);
        let beats = latest.into_iter().map(|(unit, at)| Beat { unit, at, source: BeatSource::Socket }).collect();
        place.send(Input::Beats { beats });
        Told::All
    }
}

/// Signs that were read as a whole: the next reading makes up for one that was lost. False: nobody listens.
pub fn tell_reading(inputs: &mpsc::Sender<Input>, beats: Vec<Beat>, behind: impl FnOnce()) -> bool {
    if beats.is_empty() {
        return !inputs.is_closed();
    }
    match inputs.try_send(Input::Beats { beats }) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            behind();
            true
        }
        Err(TrySendError::Closed(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(n: u32) -> UnitName {
        UnitName::new(&format!("w@{n}.service")).unwrap()
    }

    fn told(inputs: &mut mpsc::Receiver<Input>) -> Vec<(String, u64)> {
        match inputs.try_recv() {
            Ok(Input::Beats { beats }) => beats.iter().map(|beat| (beat.unit.to_string(), beat.at.0)).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn many_beats_of_one_are_one_and_told_once_a_second() {
        let (sender, mut inputs) = mpsc::channel(4);
        let mut outbox = Outbox::new(sender);
        assert_eq!(outbox.tell(Mono(5)), Told::Nothing);
        outbox.beat(unit(1), Mono(10));
        assert_eq!(outbox.tell(Mono(10)), Told::All, "the first one at once");
        assert_eq!(told(&mut inputs), [("w@1.service".into(), 10)]);
        for us in 20..500 {
            outbox.beat(unit(1), Mono(us));
            outbox.beat(unit(2), Mono(us));
            assert_eq!(outbox.tell(Mono(us)), Told::Nothing);
        }
        assert_eq!(outbox.due(), Some(Mono(1_000_010)));
        assert_eq!(outbox.tell(Mono(1_000_010)), Told::All);
        assert_eq!(told(&mut inputs), [("w@1.service".into(), 499), ("w@2.service".into(), 499)]);
        assert_eq!(outbox.due(), None);
    }

    #[test]
    fn a_loop_that_is_behind_is_told_later_and_loses_nothing() {
        let (sender, mut inputs) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender.clone());
        sender.try_send(Input::Hold { held: true }).unwrap();
        outbox.beat(unit(1), Mono(10));
        assert_eq!(outbox.tell(Mono(10)), Told::Later);
        outbox.beat(unit(1), Mono(20));
        inputs.try_recv().unwrap();
        assert_eq!(outbox.tell(Mono(20)), Told::Nothing, "not a busy loop");
        assert_eq!(outbox.tell(Mono(1_000_010)), Told::All);
        assert_eq!(told(&mut inputs), [("w@1.service".into(), 20)]);
        drop(inputs);
        assert_eq!(outbox.tell(Mono(1_000_011)), Told::NobodyListens);
    }
}
