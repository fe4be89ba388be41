//! One engine, and the time that passes for it.

use std::time::Duration;

use crate::adapters::store::recorder::Header;
use crate::engine::Engine;
use crate::model::input::Memory;
use crate::model::{Command, Input, Now, Settings};

/// Most times that overdue timers are let act before one step: a timer that sets itself for now must not hold us.
const ROUNDS: usize = 10_000;

/// An engine of a replay.
#[derive(Default)]
pub struct Player {
    engine: Option<Engine>,
    last: Now,
    out: Vec<(Now, Command)>,
}

impl Player {
    /// A new engine that remembers, at the moment of the header.
    pub fn begin(&mut self, header: &Header, settings: Settings, memory: Memory, seed: u64) {
        self.last = header.at;
        self.engine = Some(Engine::new(header.at, settings, memory, seed));
        self.drain(header.at);
    }

    pub fn feed(&mut self, now: Now, input: Input) {
        let now = self.not_before(now);
        let Some(engine) = &mut self.engine else { return };
        engine.handle(now, input);
        self.drain(now);
    }

    pub fn timers(&mut self, now: Now) {
        let now = self.not_before(now);
        let Some(engine) = &mut self.engine else { return };
        engine.handle_timeout(now);
        self.drain(now);
    }

    /// Lets one timer act that has been due for longer than `slack` at `now`, at the moment at which it was due.
    pub fn overdue(&mut self, now: Now, slack: Duration) -> bool {
        let Some((due, _)) = self.engine.as_ref().and_then(Engine::poll_timeout) else { return false };
        if due + slack > now.mono {
            return false;
        }
        self.timers(Now { mono: due, wall: now.wall_of(due) });
        true
    }

    /// Lets all timers act that have been due for longer than `slack` at `now`.
    pub fn catch_up(&mut self, now: Now, slack: Duration) {
        for _ in 0..ROUNDS {
            if !self.overdue(now, slack) {
                return;
            }
        }
    }

    /// What the engine has wanted since, with the moment.
    pub fn take(&mut self) -> Vec<(Now, Command)> {
        std::mem::take(&mut self.out)
    }

    /// Time does not go back for an engine, also where what is supposed and what is recorded come together.
    fn not_before(&mut self, now: Now) -> Now {
        let now = if now.mono < self.last.mono { self.last } else { now };
        self.last = now;
        now
    }

    fn drain(&mut self, now: Now) {
        while let Some(command) = self.engine.as_mut().and_then(Engine::poll_command) {
            self.out.push((now, command));
        }
    }
}

/// The memory with which the life of the header began, or goes on.
pub fn memory_of(header: &Header) -> Memory {
    let memory = match &header.checkpoint {
        Some(checkpoint) => checkpoint.memory.clone(),
        // One that this version cannot read is as good as none.
        None => serde_json::from_value(header.memory.clone()).unwrap_or_default(),
    };
    Memory { boot: header.boot.clone(), ..memory }
}

pub fn seed_of(header: &Header) -> u64 {
    header.checkpoint.as_ref().map(|checkpoint| checkpoint.seed).or(header.seed).unwrap_or(0)
}

/// What an engine must be told that begins in the middle of a life.
pub fn catch_up_of(header: &Header) -> Vec<Input> {
    let Some(checkpoint) = &header.checkpoint else { return Vec::new() };
    let hold = Input::Hold { held: checkpoint.held };
    std::iter::once(hold).chain(checkpoint.snapshot.clone().map(Input::Snapshot)).collect()
}
