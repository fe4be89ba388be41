//! One checker per promise. Each sees what the engine is told, what it says, and what really is.

mod approval;
mod authority;
mod capacity;
mod doubt;
mod ends;
mod facts;
mod honesty;
mod intent;
mod progress;
mod spacing;

use unitmedic::engine::Engine;
use unitmedic::model::input::Memory;
use unitmedic::model::{Command, Input, Now, Settings};

use crate::driver::Known;
use crate::host::{Host, SEC};

/// Between the host's truth and our knowledge of it lie the bus, the journal, the store and the root side.
/// What has been so for less than this is not held against the engine.
pub const WINDOW: u64 = 2 * SEC;

pub struct World<'a> {
    pub now: Now,
    pub host: &'a Host,
    pub known: &'a Known,
    pub settings: &'a Settings,
    pub engine: Option<&'a Engine>,
}

pub enum Seen<'a> {
    /// We start, and remember this.
    Life(&'a Memory),
    Crashed,
    /// Before the engine handles it.
    Input(&'a Input),
    Timer,
    Command(&'a Command),
    /// All commands of a turn are drained.
    Turn {
        commands: usize,
    },
    /// The run is over; all was mended long ago.
    End,
}

pub trait Checker {
    fn name(&self) -> &'static str;
    /// An error says which promise was broken, in a sentence.
    fn see(&mut self, world: &World<'_>, seen: &Seen<'_>) -> Result<(), String>;
}

pub fn all_checkers() -> Vec<Box<dyn Checker>> {
    vec![
        Box::<intent::Intents>::default(),
        Box::<authority::Authority>::default(),
        Box::<approval::Approvals>::default(),
        Box::<capacity::Capacity>::default(),
        Box::<spacing::Spacing>::default(),
        Box::<doubt::Doubt>::default(),
        Box::<facts::Facts>::default(),
        Box::<progress::Progress>::default(),
        Box::<honesty::Honesty>::default(),
        Box::<ends::Ends>::default(),
    ]
}

pub fn require(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}
