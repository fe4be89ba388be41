//! The status at a glance: what of it fits on one page, sick first.

use std::collections::BTreeMap;

use crate::model::Health;
use crate::model::overview::{InstanceGlance, Overview, WorkerGlance};
use crate::model::status::{InstanceStatus, Status, WorkerStatus};

/// `last_event` is the last one that is in the status.
pub fn overview(status: &Status, last_event: String, host: &str) -> Overview {
    let mut counts: BTreeMap<Health, usize> = BTreeMap::new();
    for instance in status.workers.iter().flat_map(|worker| &worker.instances) {
        *counts.entry(instance.health).or_default() += 1;
    }
    Overview {
        at: status.at,
        last_event,
        host: host.into(),
        version: status.version.clone(),
        ready: status.ready,
        not_ready: status.not_ready.clone(),
        dry_run: status.dry_run,
        held: status.held,
        watch_only: status.watch_only.clone(),
        storm: status.storm,
        pauses: status.pauses.clone(),
        disk_warning: status.disk.as_ref().and_then(|disk| disk.warning.clone()),
        open_incidents: status.open_incidents,
        waiting_approvals: status.waiting_approvals,
        counts,
        workers: status.workers.iter().map(worker).collect(),
    }
}

fn worker(worker: &WorkerStatus) -> WorkerGlance {
    WorkerGlance {
        worker: worker.worker.clone(),
        critical: worker.critical,
        health: worker.health,
        because: worker.because.clone(),
        paused: worker.paused,
        min_instances: worker.min_instances,
        max_instances: worker.max_instances,
        desired: worker.desired,
        running: worker.running,
        serving: worker.serving,
        healthy: worker.healthy,
        instances: worker.instances.iter().map(instance).collect(),
    }
}

fn instance(instance: &InstanceStatus) -> InstanceGlance {
    let is_news = instance.health != Health::Healthy || instance.incident.is_some();
    InstanceGlance {
        unit: instance.unit.clone(),
        health: instance.health,
        because: is_news.then(|| instance.because.clone()),
        doing: instance.doing.clone(),
        incident: instance.incident,
    }
}
