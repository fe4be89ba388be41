//! What is unusual of an instance: which measure, against what, how strongly and since when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::closed_set;
use super::time::{Mono, human};

closed_set!(
    /// What an instance is measured by.
    Measure {
        /// Percent of one CPU, as top shows it.
        Cpu = "cpu",
        /// Memory in use without cache, bytes.
        Memory = "memory",
        Tasks = "tasks",
        /// Read and written, bytes per second.
        Io = "io",
        /// Errors in the journal per minute.
        Errors = "errors",
    }
);

closed_set!(
    /// What it is unusual against.
    Against {
        OwnPast = "own_past",
        Siblings = "siblings",
        Both = "both",
    }
);

/// Most that are kept with an incident, the strongest first.
pub const UNUSUAL_KEPT: usize = 3;

/// What the siblings have at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Siblings {
    pub count: usize,
    pub low: f64,
    pub high: f64,
}

/// A measure that is far from what is usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unusual {
    pub measure: Measure,
    pub value: f64,
    /// The range that the instance itself usually has; `None` while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<(f64, f64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Siblings>,
    /// Distance from what is usual; 3 is where unusual begins, 30 the most that is said.
    pub strength: f64,
    pub since: Mono,
    pub against: Against,
}

impl Unusual {
    /// `CPU 94 %, usually 12 to 31 %; its 4 siblings 15 to 28 %, for 22 min`
    pub fn text(&self, now: Mono) -> String {
        let mut text = format!("{} {}", self.measure.noun(), self.measure.amount(self.value));
        if let Some((low, high)) = self.usual {
            text += &format!(", usually {}", self.measure.span(low, high));
        }
        if let Some(siblings) = self.siblings {
            let span = self.measure.span(siblings.low, siblings.high);
            text += &format!("; its {} siblings {span}", siblings.count);
        }
        match now.since(self.since).as_secs() {
            0..60 => text,
            lasted => text + &format!(", for {}", human(std::time::Duration::from_secs(lasted / 60 * 60))),
        }
    }
}

impl Measure {
    /// Its name in a sentence.
    pub fn noun(self) -> &'static str {
        match self {
            Measure::Cpu => "CPU",
            Measure::Memory => "memory",
            Measure::Tasks => "tasks",
            Measure::Io => "IO",
            Measure::Errors => "errors in the journal",
        }
    }

    fn amount(self, value: f64) -> String {
        format!("{}{}", self.number(value), self.unit(value))
    }

    /// `12 to 31 %`, or `0 %` where both ends read the same.
    fn span(self, low: f64, high: f64) -> String {
        let (from, to) = (self.amount(low), self.amount(high));
        match () {
            () if from == to => to,
            () if self.unit(low) == self.unit(high) => format!("{} to {to}", self.number(low)),
            () => format!("{from} to {to}"),
        }
    }

    fn unit(self, value: f64) -> &'static str {
        match self {
            Measure::Cpu => " %",
            Measure::Memory if value >= GIB => " GiB",
            Measure::Memory => " MiB",
            Measure::Io if value >= MIB => " MiB/s",
            Measure::Io => " KiB/s",
            Measure::Errors => " a minute",
            Measure::Tasks => "",
        }
    }

    fn number(self, value: f64) -> String {
        let scaled = match self.unit(value) {
            " GiB" => value / GIB,
            " MiB" | " MiB/s" => value / MIB,
            " KiB/s" => value / 1024.0,
            _ => value,
        };
        let whole = matches!(self, Measure::Cpu | Measure::Tasks);
        match whole || !(0.05..10.0).contains(&scaled) {
            true => format!("{scaled:.0}"),
            false => format!("{scaled:.1}"),
        }
    }
}

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_what_and_against_what() {
        let mut unusual = Unusual {
            measure: Measure::Cpu,
            value: 94.2,
            usual: Some((11.8, 31.1)),
            siblings: Some(Siblings { count: 4, low: 15.0, high: 28.0 }),
            strength: 5.0,
            since: Mono(60_000_000),
            against: Against::Both,
        };
        let now = Mono(60_000_000 + 22 * 60_000_000 + 17_000_000);
        assert_eq!(unusual.text(now), "CPU 94 %, usually 12 to 31 %; its 4 siblings 15 to 28 %, for 22 min");
        unusual.siblings = None;
        assert_eq!(unusual.text(Mono(70_000_000)), "CPU 94 %, usually 12 to 31 %");
        let memory =
            Unusual { measure: Measure::Memory, value: 3.2 * GIB, usual: Some((300.0 * MIB, 1.5 * GIB)), ..unusual };
        assert_eq!(memory.text(Mono(0)), "memory 3.2 GiB, usually 300 MiB to 1.5 GiB");
        let errors = Unusual { measure: Measure::Errors, value: 4.0, usual: Some((0.0, 0.0)), ..memory };
        assert_eq!(errors.text(Mono(0)), "errors in the journal 4.0 a minute, usually 0 a minute");
    }
}
