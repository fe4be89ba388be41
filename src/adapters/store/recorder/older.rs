//! Settings of an older version lack the keys of today: they have their defaults then.

use serde_json::Value;

use super::reader::Line;
use crate::model::{Selector, Settings, WorkerName, WorkerSettings};

/// The line with what its settings lack; `None` where that is not what is wrong with it.
pub(super) fn completed(bytes: &[u8]) -> Option<Line> {
    let mut line: Value = serde_json::from_slice(bytes).ok()?;
    let of = ["header", "input"].into_iter().find(|part| line[*part]["settings"].is_object())?;
    let settings = &mut line[of]["settings"];
    *settings = over_defaults(settings.take())?;
    serde_json::from_value(line).ok()
}

fn over_defaults(mut recorded: Value) -> Option<Value> {
    let Value::Object(workers) = recorded["workers"].take() else { return None };
    let mut settings = serde_json::to_value(Settings::empty()).ok()?;
    let empty = settings["workers"].take();
    lay_over(&mut settings, recorded);
    settings["workers"] = empty;
    for (name, worker) in workers {
        let unit: Selector = serde_json::from_value(worker["unit"].clone()).ok()?;
        let mut whole = serde_json::to_value(WorkerSettings::new(WorkerName::new(&name).ok()?, unit)).ok()?;
        lay_over(&mut whole, worker);
        settings["workers"][name] = whole;
    }
    Some(settings)
}

/// Puts what was recorded over the defaults; one level deep into the tables of the settings.
fn lay_over(defaults: &mut Value, recorded: Value) {
    let Value::Object(recorded) = recorded else { return };
    for (key, value) in recorded {
        match &mut defaults[&key] {
            Value::Object(table) if value.is_object() && !table.is_empty() => lay_over(&mut defaults[&key], value),
            place => *place = value,
        }
    }
}
