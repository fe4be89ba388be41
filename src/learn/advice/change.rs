//! A change of the configuration as TOML, as it goes into a file of `conf.d`.

use std::time::Duration;

use crate::model::{Action, Condition, Settings, WorkerName};

/// What is to be changed of one worker.
pub struct Change<'w> {
    worker: &'w WorkerName,
    keys: Vec<(&'static str, String)>,
    plan: Option<(Condition, Vec<Action>)>,
}

impl<'w> Change<'w> {
    pub fn of(worker: &'w WorkerName) -> Self {
        Self { worker, keys: Vec::new(), plan: None }
    }

    pub fn span(mut self, key: &'static str, value: Duration) -> Self {
        self.keys.push((key, format!("\"{}\"", span_text(value))));
        self
    }

    pub fn switch(mut self, key: &'static str, value: bool) -> Self {
        self.keys.push((key, value.to_string()));
        self
    }

    pub fn number(mut self, key: &'static str, value: f64) -> Self {
        self.keys.push((key, number_text(value)));
        self
    }

    pub fn count(mut self, key: &'static str, value: u32) -> Self {
        self.keys.push((key, value.to_string()));
        self
    }

    pub fn plan(mut self, condition: Condition, order: Vec<Action>) -> Self {
        self.plan = Some((condition, order));
        self
    }

    /// A line for each key, with its whole path, so that changes of one worker may stand in one file without being merged.
    /// Names of workers are bare keys of TOML by their own rules.
    pub fn toml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.keys {
            text.push_str(&format!("worker.{}.{key} = {value}\n", self.worker));
        }
        if let Some((condition, order)) = &self.plan {
            let order: Vec<String> = order.iter().map(|action| format!("\"{action}\"")).collect();
            text.push_str(&format!("worker.{}.plans.{condition} = [{}]\n", self.worker, order.join(", ")));
        }
        text
    }

    /// Where the worker's own keys are set at present. A file of `conf.d` whose name comes later wins over it.
    pub fn set_at(&self, settings: &Settings) -> Vec<String> {
        let keys = self.keys.iter().map(|(key, _)| format!("worker.{}.{key}", self.worker));
        let plan = self.plan.iter().map(|(condition, _)| format!("worker.{}.plans.{condition}", self.worker));
        let mut found: Vec<String> = keys.chain(plan).filter_map(|key| settings.origins.get(&key).cloned()).collect();
        found.dedup();
        found
    }
}

/// `93`, `0.7`: with at most one digit behind the point.
pub fn number_text(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_string).unwrap_or(text)
}

/// `45s`, `5min`, `2h`: as the configuration reads it.
pub fn span_text(span: Duration) -> String {
    match (span.as_secs(), span.subsec_millis()) {
        (_, 1..) => format!("{}ms", span.as_millis()),
        (seconds, _) if seconds % 3600 == 0 && seconds > 0 => format!("{}h", seconds / 3600),
        (seconds, _) if seconds % 60 == 0 && seconds > 0 => format!("{}min", seconds / 60),
        (seconds, _) => format!("{seconds}s"),
    }
}

/// Up to a number that one would choose: whole seconds, from 10 s on fives, from a minute on tens, from 10 min on minutes.
pub fn round_up(span: Duration) -> Duration {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let step = match seconds {
        0..=10 => 1,
        11..=60 => 5,
        61..=600 => 10,
        _ => 60,
    };
    Duration::from_secs(seconds.max(1).div_ceil(step) * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_one_would_write_them() {
        let shown: Vec<String> = [250, 1_000, 7_300, 12_000, 59_000, 61_500, 605_000, 7_200_000]
            .iter()
            .map(|ms| span_text(round_up(Duration::from_millis(*ms))))
            .collect();
        assert_eq!(shown, ["1s", "1s", "8s", "15s", "1min", "70s", "11min", "2h"]);
        assert_eq!(span_text(Duration::from_millis(1_500)), "1500ms");
    }
}
