//! Patterns of log lines, found while they come: lines that were said by the same statement of a program have one.
//!
//! Lines are masked ([`super::mask`]); equal ones are one *shape*. Shapes with as many tokens stand in a *bucket*, and a
//! bucket is divided into patterns by what its shapes have in common: the tokens of a statement's text come together
//! each time, so that they are equally frequent, and the largest such set in a line is most likely its text (the idea of
//! Brain: Yu et al., "Brain: Log Parsing With Bidirectional Parallel Tree", IEEE TSC 2023, there for a finished file).
//! Among shapes with the same text a place with more than [`CHOICES`] different words is a variable, and one with fewer
//! tells statements apart. The division depends on which shapes there are, not on the order in which they came.

mod kept;

use std::collections::{BTreeMap, BTreeSet};

use super::mask::{self, Masked, Token};
use crate::model::PatternId;

pub use kept::Kept;

/// Different words at one place that can still be different statements; more are values.
const CHOICES: usize = 4;
/// A pattern that has so many shapes keeps one, with its variables masked.
const MERGE_AT: usize = 24;
/// A bucket is divided anew when one in so many of its shapes is new.
const STALE_SHARE: usize = 8;

/// Seen so often, a shape makes room only when there is none that was hardly seen: a flood of new lines takes nothing away.
const ESTABLISHED: u64 = 3;

/// What may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Shapes of lines; those hardly seen, and then those not seen for longest, go first.
    pub shapes: usize,
    /// Lines that are remembered beyond, so that equal ones are found fast.
    pub lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { shapes: 20_000, lines: 50_000 }
    }
}

/// A line that was learned, to ask for its pattern later: what it belongs to shows when more have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line(u64);

/// What is counted for the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub lines: u64,
    /// Shapes that had to make room.
    pub evicted: u64,
}

/// Learns patterns from lines.
#[derive(Debug)]
pub struct Miner {
    limits: Limits,
    shapes: Vec<Option<Shape>>,
    free: Vec<u32>,
    /// By the number of tokens.
    buckets: BTreeMap<usize, Bucket>,
    /// Lines by what they look like when masked; of one that went another may have taken the place.
    known: BTreeMap<u64, Place>,
    births: u64,
    counts: Counts,
    masked: Masked,
    gone: Vec<(PatternId, PatternId)>,
}

#[derive(Debug)]
struct Shape {
    tokens: Box<[Token]>,
    /// See [`mask::GLUE`].
    text: Box<str>,
    count: u64,
    /// Number of the line that it was seen in last.
    seen: u64,
    born: u64,
    pattern: PatternId,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    slot: u32,
    born: u64,
}

#[derive(Debug, Default)]
struct Bucket {
    slots: Vec<u32>,
    /// Of those that stand for many.
    general: Vec<u32>,
    /// Shapes that came since it was divided.
    new: usize,
}

/// A pattern as it is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub id: PatternId,
    pub template: String,
    /// Lines that had it.
    pub count: u64,
}

impl Default for Miner {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Miner {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits { shapes: limits.shapes.max(16), ..limits },
            shapes: Vec::new(),
            free: Vec::new(),
            buckets: BTreeMap::new(),
            known: BTreeMap::new(),
            births: 0,
            counts: Counts::default(),
            masked: Masked::default(),
            gone: Vec::new(),
        }
    }

    /// Takes a line in. An empty one is a line like any other.
    pub fn learn(&mut self, line: &str) -> Line {
        self.counts.lines += 1;
        let mut masked = std::mem::take(&mut self.masked);
        masked.read(line);
        let key = Token::all(&masked.tokens);
        match self.slot_of(key, &masked.tokens) {
            Some(slot) => {
                let seen = self.counts.lines;
                let shape = self.shapes[slot as usize].as_mut().expect("taken");
                (shape.count, shape.seen) = (shape.count + 1, seen);
                let place = Place { slot, born: shape.born };
                self.remember(key, place);
            }
            None => self.add(key, &masked, line),
        }
        self.masked = masked;
        Line(key)
    }

    /// The pattern that a learned line has now. `None`: it was forgotten to make room.
    pub fn pattern_of(&self, line: Line) -> Option<PatternId> {
        self.placed(line.0).map(|slot| self.shape(slot).pattern)
    }

    /// The pattern of a line that need not have been learned.
    pub fn find(&self, line: &str) -> Option<PatternId> {
        let mut masked = Masked::default();
        masked.read(line);
        self.slot_of(Token::all(&masked.tokens), &masked.tokens).map(|slot| self.shape(slot).pattern)
    }

    /// All patterns, by their ids. Settle first.
    pub fn patterns(&self) -> Vec<Pattern> {
        self.patterns_that(|_| true)
    }

    /// Those of these ids that are known.
    pub fn described(&self, ids: &BTreeSet<PatternId>) -> Vec<Pattern> {
        self.patterns_that(|id| ids.contains(&id))
    }

    fn patterns_that(&self, wanted: impl Fn(PatternId) -> bool) -> Vec<Pattern> {
        let mut members: BTreeMap<PatternId, Vec<&Shape>> = BTreeMap::new();
        for shape in self.shapes.iter().flatten().filter(|shape| wanted(shape.pattern)) {
            members.entry(shape.pattern).or_default().push(shape);
        }
        let pattern = |(id, mut shapes): (PatternId, Vec<&Shape>)| {
            shapes.sort_by_key(|shape| shape.born);
            let count = shapes.iter().map(|shape| shape.count).sum();
            Pattern { id, template: mask::shown(&common(&shapes).1), count }
        };
        members.into_iter().map(pattern).collect()
    }

    /// Divides what has come since the last time, so that every line has the pattern that all of them say.
    pub fn settle(&mut self) {
        let lengths: Vec<usize> = self.buckets.keys().copied().collect();
        lengths.into_iter().for_each(|length| self.divide(length));
    }

    /// As [`Miner::settle`], but only where there is something new.
    pub fn settle_new(&mut self) {
        let lengths = self.buckets.iter().filter(|(_, bucket)| bucket.new > 0).map(|(length, _)| *length);
        let lengths: Vec<usize> = lengths.collect();
        lengths.into_iter().for_each(|length| self.divide(length));
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Shapes that are kept now.
    pub fn len(&self) -> usize {
        self.shapes.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Patterns that became part of others since the last call: which, and of which. What was known of one is now known
    /// of the other.
    pub fn take_merged(&mut self) -> Vec<(PatternId, PatternId)> {
        std::mem::take(&mut self.gone)
    }

    fn shape(&self, slot: u32) -> &Shape {
        self.shapes[slot as usize].as_ref().expect("taken")
    }

    fn placed(&self, key: u64) -> Option<u32> {
        let place = self.known.get(&key)?;
        let shape = self.shapes[place.slot as usize].as_ref()?;
        (shape.born == place.born).then_some(place.slot)
    }

    fn slot_of(&self, key: u64, tokens: &[Token]) -> Option<u32> {
        self.placed(key).or_else(|| {
            let general = &self.buckets.get(&tokens.len())?.general;
            general.iter().copied().find(|slot| self.shape(*slot).covers(tokens))
        })
    }

    fn add(&mut self, key: u64, masked: &Masked, line: &str) {
        if self.len() >= self.limits.shapes {
            self.make_room();
        }
        self.births += 1;
        let shape = Shape {
            tokens: masked.tokens.clone().into(),
            text: masked.text(line).into(),
            count: 1,
            seen: self.counts.lines,
            born: self.births,
            pattern: PatternId(key),
        };
        let place = Place { slot: self.put(shape), born: self.births };
        self.remember(key, place);
        let bucket = self.buckets.entry(masked.tokens.len()).or_default();
        bucket.slots.push(place.slot);
        bucket.new += 1;
        if bucket.new * STALE_SHARE > bucket.slots.len() {
            self.divide(masked.tokens.len());
        }
    }

    fn remember(&mut self, key: u64, place: Place) {
        if self.known.len() >= self.limits.shapes + self.limits.lines {
            self.known.clear();
            for (slot, shape) in self.shapes.iter().enumerate() {
                let Some(shape) = shape else { continue };
                self.known.insert(Token::all(&shape.tokens), Place { slot: slot as u32, born: shape.born });
            }
        }
        self.known.insert(key, place);
    }

    fn put(&mut self, shape: Shape) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.shapes[slot as usize] = Some(shape);
                slot
            }
            None => {
                self.shapes.push(Some(shape));
                (self.shapes.len() - 1) as u32
            }
        }
    }

    /// A tenth goes: those that were hardly seen before others, and of these those not seen for longest.
    fn make_room(&mut self) {
        let mut worth: Vec<(bool, u64)> = self.shapes.iter().flatten().map(Shape::worth).collect();
        let tenth = worth.len() / 10;
        let (_, last_to_go, _) = worth.select_nth_unstable(tenth);
        let last_to_go = *last_to_go;
        for slot in 0..self.shapes.len() {
            if self.shapes[slot].as_ref().is_some_and(|shape| shape.worth() <= last_to_go) {
                self.shapes[slot] = None;
                self.free.push(slot as u32);
                self.counts.evicted += 1;
            }
        }
        let shapes = &self.shapes;
        let there = |slot: &u32| shapes[*slot as usize].is_some();
        self.buckets.retain(|_, bucket| {
            bucket.slots.retain(there);
            bucket.general.retain(there);
            !bucket.slots.is_empty()
        });
        self.known
            .retain(|_, place| shapes[place.slot as usize].as_ref().is_some_and(|shape| shape.born == place.born));
    }

    /// Gives each shape of the bucket its pattern.
    fn divide(&mut self, length: usize) {
        let Some(bucket) = self.buckets.get_mut(&length) else { return };
        bucket.new = 0;
        let slots = bucket.slots.clone();
        let mut groups = {
            let members: Vec<Member<'_>> =
                slots.iter().map(|slot| Member { slot: *slot, shape: self.shape(*slot) }).collect();
            divided(&members)
        };
        // The pattern that has the oldest shape keeps the name.
        for group in &mut groups {
            group.sort_by_key(|slot| self.shape(*slot).born);
        }
        groups.sort_by_key(|group| self.shape(group[0]).born);
        let mut taken: BTreeMap<PatternId, ()> = BTreeMap::new();
        for group in groups {
            let oldest = self.shape(group[0]);
            let own = PatternId(Token::all(&oldest.tokens));
            let name = if taken.contains_key(&oldest.pattern) { own } else { oldest.pattern };
            taken.insert(name, ());
            self.name(&group, name);
            if group.len() >= MERGE_AT {
                self.merge(length, &group);
            }
        }
        let merged = std::mem::take(&mut self.gone);
        self.gone = merged.into_iter().filter(|(old, _)| !taken.contains_key(old)).collect();
    }

    fn name(&mut self, group: &[u32], name: PatternId) {
        for slot in group {
            let shape = self.shapes[*slot as usize].as_mut().expect("taken");
            let old = std::mem::replace(&mut shape.pattern, name);
            if old != name && self.gone.last() != Some(&(old, name)) {
                self.gone.push((old, name));
            }
        }
        // Nobody asked for long: who asks later finds the pattern by its lines.
        let beyond = self.gone.len().saturating_sub(self.limits.shapes);
        self.gone.drain(..beyond);
    }

    /// One shape takes the place of all.
    fn merge(&mut self, length: usize, group: &[u32]) {
        let shapes: Vec<&Shape> = group.iter().map(|slot| self.shape(*slot)).collect();
        let (tokens, text) = common(&shapes);
        let (born, pattern) = (shapes[0].born, shapes[0].pattern);
        let count = shapes.iter().map(|shape| shape.count).sum();
        let seen = shapes.iter().map(|shape| shape.seen).max().unwrap_or_default();
        let old: BTreeMap<u32, u64> = group.iter().map(|slot| (*slot, self.shape(*slot).born)).collect();
        for slot in group {
            self.shapes[*slot as usize] = None;
        }
        self.free.extend(&group[1..]);
        let slot = group[0];
        let general = Shape { tokens: tokens.into(), text: text.into(), count, seen, born, pattern };
        let own = Token::all(&general.tokens);
        self.shapes[slot as usize] = Some(general);
        let place = Place { slot, born };
        for known in self.known.values_mut().filter(|known| old.get(&known.slot) == Some(&known.born)) {
            *known = place;
        }
        self.known.insert(own, place);
        if let Some(bucket) = self.buckets.get_mut(&length) {
            let others = &group[1..];
            bucket.slots.retain(|slot| !others.contains(slot));
            bucket.general.retain(|slot| !group.contains(slot));
            bucket.general.push(slot);
        }
    }
}

impl Shape {
    fn worth(&self) -> (bool, u64) {
        (self.count >= ESTABLISHED, self.seen)
    }

    fn covers(&self, tokens: &[Token]) -> bool {
        self.tokens.iter().zip(tokens).all(|(own, given)| own.is_value() || own == given)
    }
}

/// What shapes of one length have in common, the rest masked.
fn common(shapes: &[&Shape]) -> (Vec<Token>, String) {
    let first = shapes[0];
    let same = |place: usize| shapes.iter().all(|shape| shape.tokens[place] == first.tokens[place]);
    let mut tokens = Vec::with_capacity(first.tokens.len());
    let mut text = String::with_capacity(first.text.len());
    for (place, part) in first.text.split(mask::GLUE).enumerate().take(first.tokens.len()) {
        let keep = same(place);
        tokens.push(if keep { first.tokens[place] } else { Token::VALUE });
        if place > 0 {
            text.push(mask::GLUE);
        }
        match keep {
            true => text.push_str(part),
            false => {
                text.push_str(if part.starts_with(' ') { " " } else { "" });
                text.push_str(mask::VALUE);
            }
        }
    }
    (tokens, text)
}

struct Member<'s> {
    slot: u32,
    shape: &'s Shape,
}

/// Divides shapes of one length into those of one statement each.
fn divided(members: &[Member<'_>]) -> Vec<Vec<u32>> {
    let mut frequency: BTreeMap<(usize, Token), u64> = BTreeMap::new();
    for member in members {
        for (place, token) in member.shape.tokens.iter().enumerate().filter(|(_, token)| !token.is_value()) {
            *frequency.entry((place, *token)).or_default() += member.shape.count;
        }
    }
    let mut by_text: BTreeMap<Vec<(usize, Token)>, Vec<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        by_text.entry(text_of(&member.shape.tokens, &frequency)).or_default().push(index);
    }
    let mut groups = Vec::new();
    for (text, of_text) in by_text {
        let length = members[of_text[0]].shape.tokens.len();
        let mut open: Vec<bool> = vec![true; length];
        text.iter().for_each(|(place, _)| open[*place] = false);
        split(members, of_text, open, &mut groups);
    }
    groups.into_iter().map(|group| group.into_iter().map(|index| members[index].slot).collect()).collect()
}

/// The tokens that most likely are the statement's own: the most words that are equally frequent, of as many the more
/// frequent ones.
fn text_of(tokens: &[Token], frequency: &BTreeMap<(usize, Token), u64>) -> Vec<(usize, Token)> {
    let mut sets: Vec<(u64, usize)> = Vec::with_capacity(8);
    let of = |place: usize, token: Token| frequency[&(place, token)];
    for (place, token) in tokens.iter().enumerate().filter(|(_, token)| !token.is_value()) {
        let (frequency, words) = (of(place, *token), usize::from(token.is_word()));
        match sets.iter_mut().find(|(same, _)| *same == frequency) {
            Some((_, sum)) => *sum += words,
            None => sets.push((frequency, words)),
        }
    }
    let Some((best, _)) = sets.into_iter().max_by_key(|(frequency, words)| (*words, *frequency)) else {
        return Vec::new();
    };
    let of_best = |(place, token): &(usize, Token)| !token.is_value() && of(*place, *token) == best;
    tokens.iter().copied().enumerate().filter(of_best).collect()
}

/// Divides shapes that have the same text by the places with few words, the fewest first.
fn split(members: &[Member<'_>], group: Vec<usize>, mut open: Vec<bool>, groups: &mut Vec<Vec<usize>>) {
    let mut choice: Option<(usize, usize)> = None;
    for (place, open) in open.iter_mut().enumerate().filter(|(_, open)| **open) {
        match words_at(members, &group, place) {
            Some(1) => {}
            Some(words) if choice.is_none_or(|(fewest, _)| words < fewest) => choice = Some((words, place)),
            Some(_) => {}
            None => *open = false,
        }
    }
    let Some((_, place)) = choice.filter(|_| group.len() > 1) else { return groups.push(group) };
    let mut by_word: BTreeMap<Token, Vec<usize>> = BTreeMap::new();
    for index in group {
        by_word.entry(members[index].shape.tokens[place]).or_default().push(index);
    }
    for part in by_word.into_values() {
        split(members, part, open.clone(), groups);
    }
}

/// How many words stand at the place; `None`: a value does, or more words than statements differ in.
fn words_at(members: &[Member<'_>], group: &[usize], place: usize) -> Option<usize> {
    let mut words: Vec<Token> = Vec::with_capacity(CHOICES);
    let mut value = false;
    for index in group {
        let token = members[*index].shape.tokens[place];
        value |= token.is_value();
        if !words.contains(&token) {
            words.push(token);
        }
        if words.len() > CHOICES {
            return None;
        }
    }
    (!value || words.len() == 1).then_some(words.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const USERS: [&str; 7] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace"];

    /// Three statements of a program, with values that are not masked.
    fn said() -> Vec<String> {
        let mut lines = Vec::new();
        for (number, user) in USERS.iter().enumerate() {
            lines.push(format!("session opened for {user} by system"));
            lines.push(format!("session closed for {user} by system"));
            lines.push(format!("queue {user} has {number} jobs waiting"));
            lines.push("no route to host".into());
        }
        lines
    }

    fn learned(lines: &[String]) -> Miner {
        let mut miner = Miner::default();
        for line in lines {
            miner.learn(line);
        }
        miner.settle();
        miner
    }

    fn templates(miner: &Miner) -> BTreeSet<(String, u64)> {
        miner.patterns().into_iter().map(|pattern| (pattern.template, pattern.count)).collect()
    }

    fn shuffled(lines: &[String], seed: u64) -> Vec<String> {
        let order = |line: &(usize, &String)| (line.0 as u64 + 1).wrapping_mul(seed).rotate_left(31).wrapping_mul(seed);
        let mut numbered: Vec<_> = lines.iter().enumerate().collect();
        numbered.sort_by_key(order);
        numbered.into_iter().map(|(_, line)| line.clone()).collect()
    }

    #[test]
    fn statements_are_found_whatever_the_order() {
        let expected: BTreeSet<(String, u64)> = [
            ("session opened for <*> by system".to_owned(), 7),
            ("session closed for <*> by system".to_owned(), 7),
            ("queue <*> has <*> jobs waiting".to_owned(), 7),
            ("no route to host".to_owned(), 7),
        ]
        .into();
        for seed in [1, 0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9] {
            assert_eq!(templates(&learned(&shuffled(&said(), seed))), expected, "seed {seed}");
        }
    }

    #[test]
    fn a_learned_line_has_its_pattern_afterwards() {
        let lines = said();
        let mut miner = Miner::default();
        let told: Vec<Line> = lines.iter().map(|line| miner.learn(line)).collect();
        miner.settle();
        for (line, text) in told.iter().zip(&lines) {
            let pattern = miner.pattern_of(*line).expect("known");
            assert_eq!(miner.find(text), Some(pattern), "{text}");
            assert!(miner.patterns().iter().any(|one| one.id == pattern), "{text}");
        }
        assert_eq!(miner.find("never said"), None);
    }

    #[test]
    fn few_words_are_statements_and_many_are_values() {
        let lines = |words: &[&str]| words.iter().map(|word| format!("machine {word} by request")).collect::<Vec<_>>();
        assert_eq!(learned(&lines(&["started", "stopped", "paused"])).patterns().len(), 3);
        assert_eq!(templates(&learned(&lines(&USERS))), [("machine <*> by request".to_owned(), 7)].into());
    }

    #[test]
    fn a_pattern_keeps_its_name_when_it_becomes_general_and_others_are_told_of() {
        let mut miner = Miner::default();
        let first = miner.learn("machine alice by request");
        let name = miner.pattern_of(first).unwrap();
        let second = miner.learn("machine bob by request");
        let other = miner.pattern_of(second).unwrap();
        assert_ne!(name, other);
        for user in USERS {
            miner.learn(&format!("machine {user} by request"));
        }
        miner.settle();
        assert_eq!((miner.pattern_of(first), miner.pattern_of(second)), (Some(name), Some(name)));
        let merged = miner.take_merged();
        assert!(merged.contains(&(other, name)), "{merged:?}");
        assert!(miner.take_merged().is_empty());
    }

    #[test]
    fn many_shapes_of_a_pattern_become_one() {
        let mut miner = Miner::default();
        let word =
            |n: u32| -> String { (0..4).map(|place| char::from(b'a' + (n >> (4 * place) & 15) as u8)).collect() };
        for n in 0..5_000 {
            miner.learn(&format!("machine {} by request", word(n)));
        }
        miner.settle();
        assert_eq!(templates(&miner), [("machine <*> by request".to_owned(), 5_000)].into());
        assert!(miner.len() < 2 * MERGE_AT, "{}", miner.len());
        assert!(miner.find("machine zzzz by request").is_some(), "a value that never was");
    }

    #[test]
    fn what_never_repeats_is_bounded() {
        let mut miner = Miner::new(Limits { shapes: 100, lines: 50 });
        for n in 0..20_000_u32 {
            let letter =
                |place: u32, bit: u32| char::from(b'a' + (n.wrapping_mul(place * 77 + 9_973) >> (4 * bit) & 15) as u8);
            let word = |place: u32| (0..8).map(|bit| letter(place, bit)).collect::<String>();
            let words: Vec<String> = (0..=n % 7).map(word).collect();
            miner.learn(&words.join(" "));
            assert!(miner.len() <= 100 && miner.known.len() <= 350, "{} {}", miner.len(), miner.known.len());
        }
        assert!(miner.counts().evicted > 1_000 && miner.counts().lines == 20_000, "{:?}", miner.counts());
        assert!(miner.take_merged().len() <= 100 && miner.shapes.len() <= 101);
    }

    #[test]
    fn a_flood_of_new_lines_takes_nothing_away_that_is_established() {
        let mut miner = Miner::new(Limits { shapes: 100, lines: 50 });
        let known: Vec<Line> = (0..4).map(|_| miner.learn("no route to host")).collect();
        let word = |n: u32| -> String { (0..7).map(|bit| char::from(b'a' + (n >> (2 * bit) & 15) as u8)).collect() };
        for n in 0..5_000_u32 {
            let words: Vec<String> = (0..3 + n % 5).map(|place| word(n.wrapping_mul(977 + place))).collect();
            miner.learn(&words.join(" "));
        }
        assert!(miner.counts().evicted > 1_000 && miner.pattern_of(known[0]).is_some());
    }
}
