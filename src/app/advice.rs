//! Gathers what advice rests on: the history, what was learned, how long was watched, and what is configured now.

use std::collections::BTreeMap;

use crate::adapters::clock;
use crate::adapters::http::PortError;
use crate::adapters::store::{Store, StoreError};
use crate::learn::advice::{Past, advise};
use crate::model::advice::Advice;
use crate::model::history::{FILTER_LIMIT_MAX, Filter};
use crate::model::strategy::Strategy;
use crate::model::{Incident, Settings, Wall, WorkerName};

use super::port::no_history;
use super::{Query, Shared};

/// How far back is looked where nobody says it, microseconds: 30 days, as the ratios of the history.
const USUAL: i64 = 30 * 86_400_000_000;
/// Incidents that are looked at, the newest.
const INCIDENTS_MAX: usize = 5_000;

pub async fn advice(shared: &Shared, since: Option<Wall>, worker: Option<WorkerName>) -> Result<Advice, PortError> {
    let settings = shared.in_force.borrow().clone();
    if let Some(name) = worker.as_ref().filter(|name| !settings.workers.contains_key(*name)) {
        return Err(PortError::NotFound(format!("there is no worker {name}; `unitmedic status` lists them")));
    }
    let until = clock::now().wall;
    let since = since.unwrap_or(Wall(until.0.saturating_sub(USUAL)));
    let strategies = shared.ask(|reply| Query::Strategies(None, reply)).await?;
    let snapshot = shared.snapshot().await?;
    let own = snapshot
        .status
        .workers
        .iter()
        .map(|worker| (worker.worker.clone(), worker.running.saturating_sub(worker.scaled) as u32))
        .collect();
    let present = Present { settings: &settings, strategies, own };
    let mut advice = by_history(&shared.store, &present, since, until).await.map_err(no_history)?;
    if let Some(worker) = &worker {
        advice.proposals.retain(|proposal| proposal.is_about(worker));
    }
    Ok(advice)
}

/// What is known of the present.
struct Present<'p> {
    settings: &'p Settings,
    strategies: Vec<Strategy>,
    /// Instances that run and were not started by us.
    own: BTreeMap<WorkerName, u32>,
}

/// Of all workers, for some advice is about several.
async fn by_history(store: &Store, present: &Present<'_>, since: Wall, until: Wall) -> Result<Advice, StoreError> {
    let (incidents, cut) = incidents(store, since).await?;
    // What was left out was not looked at.
    let since = incidents.last().filter(|_| cut).map_or(since, |oldest| oldest.opened_wall);
    let names = present.settings.workers.keys().cloned().collect();
    let watched = store.watched(names, since).await?;
    let past = Past {
        incidents: &incidents,
        settings: present.settings,
        strategies: &present.strategies,
        watched: &watched,
        own: &present.own,
        since,
        until,
    };
    Ok(Advice { since, until, incidents: incidents.len(), cut, proposals: advise(&past) })
}

/// Newest first, a page at a time; and whether there are more.
async fn incidents(store: &Store, since: Wall) -> Result<(Vec<Incident>, bool), StoreError> {
    let mut found: Vec<Incident> = Vec::new();
    loop {
        let left = (INCIDENTS_MAX + 1 - found.len()).min(FILTER_LIMIT_MAX);
        let before = found.last().map(|oldest| oldest.id.0);
        let filter = Filter { since: Some(since), before, limit: Some(left), ..Filter::default() };
        let page = store.incidents(filter).await?;
        // Some of a page may be left out because they cannot be read, so that only an empty one is the last.
        let last = page.is_empty();
        found.extend(page);
        if found.len() > INCIDENTS_MAX {
            found.truncate(INCIDENTS_MAX);
            return Ok((found, true));
        }
        if last {
            return Ok((found, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::adapters::store::Opened;
    use crate::learn::advice::fixtures::{History, SINCE, SPAN, at, everything, worker};
    use crate::model::advice::ProposalKind;
    use crate::model::fact::{Availability, Cause};
    use crate::model::settings::DaemonSettings;
    use crate::model::{Fact, What};

    const UNTIL: Wall = Wall(SINCE.0 + SPAN as i64 * 1_000_000);

    fn open(dir: &tempfile::TempDir) -> Store {
        let settings = DaemonSettings {
            state_dir: dir.path().join("state"),
            runtime_dir: dir.path().join("run"),
            ..DaemonSettings::default()
        };
        let Opened { store, problems, .. } = Store::open(&settings, "boot", Arc::new(|| at(SPAN as f64)));
        assert!(problems.is_empty(), "{problems:?}");
        store
    }

    fn present(history: &History) -> Present<'_> {
        let own = history.settings.workers.keys().map(|name| (name.clone(), 1)).collect();
        Present { settings: &history.settings, strategies: history.strategies.clone(), own }
    }

    #[tokio::test]
    async fn a_history_that_went_through_the_store_gives_the_same_advice() {
        let dir = tempfile::tempdir().unwrap();
        let history = everything();
        let store = open(&dir);
        for (seq, name) in history.settings.workers.keys().enumerate() {
            let what = What::AvailabilityChanged { to: Availability::Available };
            let worker = Some(name.clone());
            store.tell(Fact {
                seq: seq as u64,
                at: at(0.0),
                cause: Cause::Start,
                worker,
                unit: None,
                incident: None,
                what,
            });
        }
        history.incidents.iter().for_each(|incident| store.save(Box::new(incident.clone())));
        store.close().await;

        let store = open(&dir);
        let advice = by_history(&store, &present(&history), SINCE, UNTIL).await.unwrap();
        assert_eq!(advice.proposals, history.advise());
        assert_eq!((advice.incidents, advice.cut, advice.since), (history.incidents.len(), false, SINCE));
        assert!(advice.proposals.iter().any(|one| one.kind == ProposalKind::MinInstances));

        // What an operator marks, counts: the one that was real is false now, and the threshold stays below nothing.
        let real =
            history.incidents.iter().find(|one| one.worker == worker("cache") && !one.attempts.is_empty()).unwrap();
        assert!(store.mark_false(real.id).await.unwrap());
        let marked = by_history(&store, &present(&history), SINCE, UNTIL).await.unwrap();
        assert!(!marked.proposals.iter().any(|one| one.worker == worker("cache")), "{:#?}", marked.proposals);
        let later = Wall(UNTIL.0 - 3_600_000_000);
        assert_eq!(
            by_history(&store, &present(&history), later, UNTIL).await.unwrap().proposals,
            [],
            "too short a time"
        );
        store.close().await;
    }

    #[tokio::test]
    async fn no_more_incidents_than_the_newest_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let mut history = History::of(&["a"]);
        for n in 0..INCIDENTS_MAX + 10 {
            history.cured("a", n as f64 * 400.0, crate::model::Condition::Dead, crate::model::Action::Restart, 0.0);
        }
        history.incidents.iter().for_each(|incident| store.save(Box::new(incident.clone())));
        store.close().await;
        let store = open(&dir);
        let advice = by_history(&store, &present(&history), SINCE, UNTIL).await.unwrap();
        assert_eq!((advice.incidents, advice.cut), (INCIDENTS_MAX, true));
        assert_eq!(advice.since, at(10.0 * 400.0).wall);
        assert!(advice.proposals.is_empty(), "{:#?}", advice.proposals);
        store.close().await;
    }
}
