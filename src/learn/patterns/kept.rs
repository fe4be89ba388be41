//! What a miner knows, to be written and read: names that patterns were given stay theirs over restarts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Limits, Miner, Place, Shape};
use crate::learn::mask::{self, Token};
use crate::model::PatternId;

/// Shapes that are written, those that are worth most, and bytes of their texts.
const SHAPES_MAX: usize = 4_000;
const BYTES_MAX: usize = 1 << 20;
/// Lines of one; nobody lives to write more.
const COUNT_MAX: u64 = 1 << 50;
/// Bytes of one text: a line that was looked at, masked, with what stands between its tokens.
const TEXT_MAX: usize = mask::LINE_MAX + 4 * mask::TOKENS_MAX;

/// The shapes of a miner, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(Vec<One>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct One {
    text: String,
    count: u64,
    pattern: PatternId,
    /// It stands for many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    general: bool,
}

impl Kept {
    /// Whether a miner could have written it. The text says what is not so.
    pub fn check(&self) -> Result<(), String> {
        let odd = |one: &One| one.text.len() > TEXT_MAX || one.text.chars().any(|c| c.is_control() && c != mask::GLUE);
        match self.0.len() > SHAPES_MAX {
            true => Err("it has more templates than are kept".into()),
            false if self.0.iter().any(|one| one.count > COUNT_MAX) => Err("a count is not a count".into()),
            false if self.0.iter().any(odd) => Err("a template is no masked line".into()),
            false => Ok(()),
        }
    }
}

impl Miner {
    pub fn kept(&self) -> Kept {
        let general: Vec<u32> = self.buckets.values().flat_map(|bucket| bucket.general.iter().copied()).collect();
        let is_general = |slot: usize| general.contains(&(slot as u32));
        let mut shapes: Vec<(bool, &Shape)> = self
            .shapes
            .iter()
            .enumerate()
            .filter_map(|(slot, shape)| Some((is_general(slot), shape.as_ref()?)))
            .collect();
        shapes.sort_by_key(|(general, shape)| std::cmp::Reverse((*general, shape.worth())));
        let mut room = BYTES_MAX;
        shapes.retain(|(_, shape)| match room.checked_sub(shape.text.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        shapes.truncate(SHAPES_MAX);
        shapes.sort_by_key(|(_, shape)| shape.born);
        let one = |(general, shape): (bool, &Shape)| One {
            text: shape.text.as_ref().into(),
            count: shape.count,
            pattern: shape.pattern,
            general,
        };
        Kept(shapes.into_iter().map(one).collect())
    }

    /// A miner that knows this from the start.
    pub fn knowing(kept: &Kept, limits: Limits) -> Self {
        let mut miner = Miner::new(limits);
        let mut taken: BTreeMap<u64, ()> = BTreeMap::new();
        for one in kept.0.iter().take(miner.limits.shapes) {
            let tokens = mask::tokens(&one.text);
            let key = Token::all(&tokens);
            if tokens.len() > mask::TOKENS_MAX || taken.insert(key, ()).is_some() {
                continue;
            }
            miner.births += 1;
            let born = miner.births;
            let length = tokens.len();
            let shape = Shape {
                tokens: tokens.into(),
                text: one.text.as_str().into(),
                count: one.count,
                seen: 0,
                born,
                pattern: one.pattern,
            };
            let place = Place { slot: miner.put(shape), born };
            miner.remember(key, place);
            let bucket = miner.buckets.entry(length).or_default();
            bucket.slots.push(place.slot);
            if one.general {
                bucket.general.push(place.slot);
            }
        }
        miner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(n: u32) -> String {
        (0..4).map(|place| char::from(b'a' + (n >> (4 * place) & 15) as u8)).collect()
    }

    #[test]
    fn what_was_known_has_its_names_and_templates_afterwards() {
        let mut miner = Miner::default();
        let lines: Vec<String> = (0..100)
            .flat_map(|n| {
                let lines = ["machine WORD by request", "took 12 ms, (WORD) 'x' failed", "no route", ""];
                lines.map(|line| line.replace("WORD", &words(n * 77)))
            })
            .collect();
        for line in &lines {
            miner.learn(line);
        }
        miner.settle();
        let kept = miner.kept();
        kept.check().unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        let again = Miner::knowing(&serde_json::from_str(&text).unwrap(), Limits::default());
        assert_eq!(again.patterns(), miner.patterns());
        for line in &lines {
            assert_eq!(again.find(line), miner.find(line), "{line}");
        }
        let mut again = again;
        let line = again.learn("machine zzzz by request");
        again.settle();
        assert_eq!(again.pattern_of(line), miner.find("machine aaaa by request"));
    }

    #[test]
    fn what_is_written_is_bounded_and_what_is_odd_is_refused() {
        let mut miner = Miner::default();
        for n in 0..30_000_u32 {
            let line: Vec<String> = (0..3 + n % 7).map(|place| words(n.wrapping_mul(7 + place * 1_001))).collect();
            miner.learn(&line.join(" "));
        }
        let kept = miner.kept();
        assert!(kept.0.len() <= SHAPES_MAX && kept.0.iter().map(|one| one.text.len()).sum::<usize>() <= BYTES_MAX);
        let one = One { text: "a".into(), count: 1, pattern: PatternId(1), general: false };
        for bad in [
            One { count: u64::MAX, ..one.clone() },
            One { text: "x".repeat(TEXT_MAX + 1), ..one.clone() },
            One { text: "\x1b[31m".into(), ..one.clone() },
        ] {
            assert!(Kept(vec![bad]).check().is_err());
        }
        assert!(Kept(vec![one; SHAPES_MAX + 1]).check().is_err());
    }
}
