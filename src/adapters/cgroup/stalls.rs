//! Pressure of the slices, read once per round, to know which instances cannot have stalled since the last one.
//!
//! A task that waits in a cgroup waits in every cgroup above it. While the `some` total of the slice stands still,
//! so do those of its instances, and their three files, the dearest to read, need not be read. The kernel weighs
//! stalls by CPU, so a stall below a few thousandths of the interval may show up a round late; none is lost, since
//! totals are cumulative.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::files::{Budget, Dir, Failure, Slot};
use super::parse;
use super::path::CgroupRoot;
use crate::model::Mono;
use crate::model::usage::Pressure;

/// The pressure files, in the order of [`Totals`].
pub(super) const FILES: [&CStr; 3] = [c"cpu.pressure", c"memory.pressure", c"io.pressure"];
/// A slice that nobody asked for so long is forgotten and its files are closed.
const FORGET_AFTER: Duration = Duration::from_secs(120);
/// Longer than any pressure file, bytes.
const PRESSURE_MAX: usize = 256;

/// Microseconds of `some`, by resource.
pub(super) type Totals = [Option<u64>; 3];

/// What an instance remembers of its own pressure.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    above: Totals,
    own: [Option<Pressure>; 3],
}

impl Seen {
    /// The last reading, where it must be the present one, too: nothing stalled in the slice above since, and the
    /// average had already come down to zero.
    pub fn still(&self, resource: usize, above: &Totals) -> Option<Pressure> {
        let same = above[resource].is_some() && above[resource] == self.above[resource];
        self.own[resource].filter(|own| same && own.avg10 == 0.0)
    }

    /// Takes over a reading, made after `above` was.
    pub fn take(&mut self, resource: usize, above: &Totals, own: Option<Pressure>) {
        self.above[resource] = above[resource];
        self.own[resource] = own;
    }
}

#[derive(Debug, Default)]
struct Slice {
    files: [Slot; 3],
    read: Mono,
    totals: Totals,
}

/// The slices that instances are in.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    slices: HashMap<Box<str>, Slice>,
    pruned: Mono,
}

impl Stalls {
    /// Totals of the directory `path`, read once for each `now`; empty for the root of the tree.
    pub fn totals(&mut self, root: &CgroupRoot, budget: &Budget, path: &str, now: Mono) -> Totals {
        match self.slices.get_mut(path) {
            Some(slice) if slice.read == now => slice.totals,
            Some(slice) => {
                slice.refresh(root, budget, path);
                slice.read = now;
                slice.totals
            }
            None => {
                let mut slice = Slice { read: now, ..Slice::default() };
                slice.refresh(root, budget, path);
                self.slices.entry(path.into()).or_insert(slice).totals
            }
        }
    }

    /// Closes the files of slices that no instance is in any more.
    pub fn prune(&mut self, now: Mono) {
        if now.since(self.pruned) >= FORGET_AFTER {
            self.slices.retain(|_, slice| now.since(slice.read) < FORGET_AFTER);
            self.pruned = now;
        }
    }
}

impl Slice {
    fn refresh(&mut self, root: &CgroupRoot, budget: &Budget, path: &str) {
        if self.read_all() {
            return;
        }
        // New, removed and made again, or without room for its files. In the last case it stays unread, and its
        // instances are read one by one.
        self.files = Default::default();
        let path = if path.is_empty() { "." } else { path };
        if let Some(dir) = Dir::open(budget, root.as_fd(), path) {
            self.files = FILES.map(|name| match Slot::open(budget, dir.as_fd(), name) {
                Slot::Kept(kept) => Slot::Kept(kept),
                Slot::PerRead | Slot::Missing => Slot::Missing,
            });
        }
        self.read_all();
    }

    /// False where not one file could be read.
    fn read_all(&mut self) -> bool {
        for (total, file) in self.totals.iter_mut().zip(&self.files) {
            *total = read(file).ok().flatten().map(|pressure| pressure.total_usec);
        }
        self.totals.iter().any(Option::is_some)
    }
}

fn read(file: &Slot) -> Result<Option<Pressure>, Failure> {
    let mut buffer = [0; PRESSURE_MAX];
    let length = file.read_kept(&mut buffer)?;
    Ok(parse::pressure(&buffer[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(avg10: f32, total_usec: u64) -> Option<Pressure> {
        Some(Pressure { avg10, total_usec })
    }

    #[test]
    fn a_reading_stands_while_the_slice_stands_still() {
        let above = [Some(100), Some(7), None];
        let mut seen = Seen::default();
        assert_eq!(seen.still(0, &above), None, "never read");
        seen.take(0, &above, pressure(0.0, 40));
        seen.take(1, &above, pressure(0.1, 3));
        seen.take(2, &above, pressure(0.0, 9));
        assert_eq!(seen.still(0, &above), pressure(0.0, 40));
        assert_eq!(seen.still(0, &[Some(101), Some(7), None]), None, "something in the slice stalled");
        assert_eq!(seen.still(0, &[Some(99), Some(7), None]), None, "another slice of the same name");
        assert_eq!(seen.still(1, &above), None, "its average still falls");
        assert_eq!(seen.still(2, &above), None, "the slice cannot be read");
        seen.take(0, &above, None);
        assert_eq!(seen.still(0, &above), None, "a gap is not remembered as a value");
    }
}
