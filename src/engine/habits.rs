//! What is usual of an instance and how it grows outlives the instance and our life.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::habits::{HABITS_KEPT, KeptHabits};
use crate::model::{UnitName, Wall};

use super::Engine;
use super::instance::Instance;

/// What has not been there for so long is forgotten.
const AWAY_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What is known of instances that are not there.
pub type Former = BTreeMap<UnitName, KeptHabits>;

impl Engine {
    /// From the store, some time after the start. What has been seen since is worth more where it is more.
    pub(super) fn recall_habits(&mut self, known: Vec<KeptHabits>) {
        for one in known {
            let unit = one.unit.clone();
            self.put_by(one);
            self.take_up_habits(&unit);
        }
    }

    /// An instance that is there goes on from what was known of it.
    pub(super) fn take_up_habits(&mut self, unit: &UnitName) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        let Some(known) = self.former.remove(unit).filter(|known| known.worker == instance.worker) else { return };
        instance.habits.recall(&known.usual);
        instance.readings.outlook.recall(&known.growth);
    }

    pub(super) fn put_habits_by(&mut self, instance: &mut Instance) {
        instance.readings.outlook.begin_life();
        if let Some(kept) = kept(instance, self.desk.now.wall) {
            self.put_by(kept);
        }
    }

    fn put_by(&mut self, kept: KeptHabits) {
        if self.former.len() >= HABITS_KEPT {
            let oldest = self.former.values().min_by_key(|known| known.at).map(|known| known.unit.clone());
            oldest.map(|unit| self.former.remove(&unit));
        }
        self.former.insert(kept.unit.clone(), kept);
    }

    /// What another life goes on with: of the instances that are there, and of those that were there of late.
    pub fn kept_habits(&self, now: Wall) -> Vec<KeptHabits> {
        let present = self.instances.values().filter_map(|instance| kept(instance, now));
        let mut away: Vec<&KeptHabits> = self.former.values().filter(|known| !is_long_ago(known.at, now)).collect();
        away.sort_by_key(|known| std::cmp::Reverse(known.at));
        present.chain(away.into_iter().cloned()).take(HABITS_KEPT).collect()
    }
}

fn kept(instance: &Instance, now: Wall) -> Option<KeptHabits> {
    let (usual, growth) = (instance.habits.kept(), instance.readings.outlook.kept());
    let (unit, worker) = (instance.unit.clone(), instance.worker.clone());
    (!usual.is_empty() || !growth.is_empty()).then_some(KeptHabits { unit, worker, at: now, usual, growth })
}

fn is_long_ago(at: Wall, now: Wall) -> bool {
    now.0.saturating_sub(at.0) > AWAY_MAX.as_micros() as i64
}
