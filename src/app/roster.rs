//! Who is up: kept by the event loop, read by the adapters that ask instances for signs of work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::UnitName;
use crate::model::signal::Member;

#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Mutex<BTreeMap<UnitName, Member>>>);

impl Roster {
    /// The unit is up as described, or it is not up.
    pub fn note(&self, unit: &UnitName, member: Option<Member>) {
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match member {
            Some(member) if members.get(unit) == Some(&member) => {}
            Some(member) => drop(members.insert(unit.clone(), member)),
            None => drop(members.remove(unit)),
        }
    }

    pub fn replace(&self, all: impl Iterator<Item = Member>) {
        let all = all.map(|member| (member.unit.clone(), member)).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// All that are up now, by name.
    pub fn members(&self) -> Vec<Member> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
