//! The two ways to make the kernel take memory back, towards a target and until a deadline. Both block.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::group::Cgroup;
use super::restore::Records;
use crate::adapters::cgroup::CgroupPath;

const MIB: u64 = 1 << 20;
/// First request, bytes. A request is not interrupted, so its size follows what the ones before took.
const FIRST_STEP: u64 = 4 * MIB;
const STEP_MIN: u64 = MIB;
const STEP_MAX: u64 = 256 * MIB;
/// A request that takes longer is followed by a smaller one; one that takes a quarter of it by a larger one. So the
/// deadline is missed by little.
const STEP_TIME: Duration = Duration::from_millis(100);
/// Requests in all; the time is over before, unless the kernel answers at once and does nothing.
const STEPS_MAX: usize = 512;
/// Less than this is no progress, bytes.
const PROGRESS_MIN: u64 = MIB / 4;
/// Requests in a row without progress after which there is nothing more to take.
const FRUITLESS_MAX: usize = 5;
/// Pause after one: pages that are being written to disk can be taken when they are.
const FRUITLESS_PAUSE: Duration = Duration::from_millis(20);

/// Values of memory.high between what is in use and the target. A single step would throttle the worker until all of
/// it is reclaimed.
const HIGH_STEPS: u64 = 8;
/// Steps without progress after which the rest is not tried: it would only hold the worker up.
const HIGH_FRUITLESS_MAX: usize = 2;
/// Tasks of the cgroup may have waited this long for memory, in all, since we began: a tenth of the time box.
/// Without swap a worker that needs its memory would stand still.
const STALL_MAX: Duration = Duration::from_millis(200);
/// Granularity of the limits. A kernel with larger pages rounds down, and what it shows is then not taken for ours.
const PAGE: u64 = 4096;

/// When to stop.
pub struct Until<'a> {
    /// `memory.current` that is enough, bytes.
    pub target: u64,
    pub deadline: Instant,
    /// `false` when nobody waits for it any more.
    pub go_on: &'a dyn Fn() -> bool,
}

impl Until<'_> {
    fn over(&self, current: u64) -> bool {
        current <= self.target || Instant::now() >= self.deadline || !(self.go_on)()
    }
}

/// Asks the kernel by memory.reclaim (Linux 5.19), step by step.
pub fn reclaim(cgroup: &Cgroup, until: &Until<'_>) -> io::Result<()> {
    let (mut step, mut fruitless) = (FIRST_STEP, 0);
    for _ in 0..STEPS_MAX {
        let current = cgroup.current()?;
        if until.over(current) || fruitless == FRUITLESS_MAX {
            break;
        }
        let began = Instant::now();
        let wanted = step.min(current - until.target);
        match cgroup.write("memory.reclaim", &wanted.to_string()) {
            // It took less than it was asked for.
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {}
            done => done?,
        }
        step = next_step(step, began.elapsed());
        if current.saturating_sub(cgroup.current()?) >= PROGRESS_MIN.min(wanted) {
            fruitless = 0;
        } else {
            fruitless += 1;
            thread::sleep(FRUITLESS_PAUSE);
        }
    }
    Ok(())
}

fn next_step(step: u64, took: Duration) -> u64 {
    let next = match took {
        long if long > STEP_TIME => step / 2,
        short if short < STEP_TIME / 4 => step * 2,
        _ => step,
    };
    next.clamp(STEP_MIN, STEP_MAX)
}

/// Lowers memory.high for a while, where there is no memory.reclaim. Returns why it stopped early, if it did.
pub fn time_box(
    cgroup: &Cgroup,
    path: &CgroupPath,
    records: &Records,
    until: &Until<'_>,
) -> io::Result<Option<&'static str>> {
    let mut current = cgroup.current()?;
    let original = cgroup.high()?.parse().unwrap_or(u64::MAX);
    let values: Vec<u64> = steps_down(current, until.target).filter(|value| *value < original).collect();
    let stalled = cgroup.stalled();
    let kept = records.keep(path, cgroup, &values)?;
    let (mut fruitless, mut early) = (0, None);
    for value in values {
        if until.over(current) {
            break;
        }
        // The write itself reclaims down to the value, as far as that is possible.
        cgroup.write("memory.high", &value.to_string())?;
        let now = cgroup.current()?;
        fruitless = if current.saturating_sub(now) >= PROGRESS_MIN { 0 } else { fruitless + 1 };
        current = now;
        let waited = cgroup.stalled().zip(stalled).map(|(now, before)| now.saturating_sub(before));
        early = match waited.map(Duration::from_micros) {
            Some(waited) if waited > STALL_MAX => Some("the worker waited for its memory"),
            _ if fruitless == HIGH_FRUITLESS_MAX => Some("no more could be taken"),
            _ => continue,
        };
        break;
    }
    drop(kept);
    Ok(early)
}

/// Values from `current` down to `target`, evenly, in whole pages.
fn steps_down(current: u64, target: u64) -> impl Iterator<Item = u64> {
    let surplus = current.saturating_sub(target);
    (1..=HIGH_STEPS).map(move |step| (target + surplus / HIGH_STEPS * (HIGH_STEPS - step)) / PAGE * PAGE)
}

/// Puts back what processes of ours left lowered when they were killed.
pub fn restore_leftovers(root: &Path, runtime_dir: &Path, limit: Duration) -> io::Result<usize> {
    Records::lock(runtime_dir, limit)?.restore_leftovers(root)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn steps_follow_the_time_they_take() {
        assert_eq!(next_step(4 * MIB, Duration::ZERO), 8 * MIB);
        assert_eq!(next_step(4 * MIB, STEP_TIME / 2), 4 * MIB);
        assert_eq!(next_step(4 * MIB, STEP_TIME * 2), 2 * MIB);
        assert_eq!(next_step(STEP_MIN, STEP_TIME * 2), STEP_MIN);
        assert_eq!(next_step(STEP_MAX, Duration::ZERO), STEP_MAX);
    }

    #[test]
    fn steps_go_down_to_the_target_and_no_further() {
        let steps: Vec<u64> = steps_down(100 * MIB, 20 * MIB).collect();
        assert_eq!(steps.first(), Some(&(90 * MIB)));
        assert_eq!(steps.last(), Some(&(20 * MIB)));
        assert_eq!(steps.len(), 8);
        assert!(steps.is_sorted_by(|a, b| a > b) && steps.iter().all(|step| step % PAGE == 0));
        assert!(steps_down(10, 20 * MIB).all(|step| step == 20 * MIB));
    }

    /// A cgroup of plain files. What its kernel would do is done where the way asks whether to go on.
    struct Fake {
        dir: tempfile::TempDir,
        path: CgroupPath,
    }

    impl Fake {
        fn new(current: u64, high: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("cgroup/mail.service")).unwrap();
            fs::create_dir(dir.path().join("run")).unwrap();
            let fake = Self { dir, path: CgroupPath::parse("/mail.service").unwrap() };
            fake.set("memory.current", &current.to_string());
            fake.set("memory.high", high);
            fake.set("memory.reclaim", "");
            fake.set_stalled(0);
            fake
        }
        fn file(&self, name: &str) -> PathBuf {
            self.dir.path().join("cgroup/mail.service").join(name)
        }
        fn set(&self, name: &str, value: &str) {
            fs::write(self.file(name), format!("{value}\n")).unwrap();
        }
        fn set_stalled(&self, usec: u64) {
            self.set("memory.pressure", &format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={usec}"));
        }
        fn get(&self, name: &str) -> String {
            fs::read_to_string(self.file(name)).unwrap().trim().into()
        }
        fn number(&self, name: &str) -> u64 {
            self.get(name).parse().unwrap_or(0)
        }
        fn cgroup(&self) -> Cgroup {
            Cgroup::open(&self.dir.path().join("cgroup"), &self.path).unwrap()
        }
        fn records(&self) -> Records {
            Records::lock(&self.dir.path().join("run"), Duration::ZERO).unwrap()
        }
        fn left(&self) -> usize {
            fs::read_dir(self.dir.path().join("run/restore")).unwrap().count() - 1
        }
    }

    fn soon(limit: Duration) -> Instant {
        Instant::now() + limit
    }

    #[test]
    fn reclaim_stops_at_the_target() {
        let fake = Fake::new(40 * MIB, "max");
        let asked = RefCell::new(Vec::new());
        let go_on = || {
            let last = fake.number("memory.reclaim");
            fake.set("memory.reclaim", "");
            asked.borrow_mut().push(last);
            // What was asked for before has been taken; the counter is read again before the next request.
            fake.set("memory.current", &(fake.number("memory.current") - last).to_string());
            true
        };
        // The fake takes memory one look late, so requests may overlap by one.
        let until = Until { target: 30 * MIB, deadline: soon(Duration::from_secs(30)), go_on: &go_on };
        reclaim(&fake.cgroup(), &until).unwrap();
        let asked = asked.into_inner();
        assert_eq!(asked[1], FIRST_STEP);
        assert!(asked.iter().all(|step| *step <= 10 * MIB), "never more than the surplus: {asked:?}");
        assert!(fake.number("memory.current") <= 30 * MIB, "{}", fake.get("memory.current"));
    }

    #[test]
    fn reclaim_ends_when_nothing_is_left_to_take() {
        let fake = Fake::new(40 * MIB, "max");
        let looks = RefCell::new(0);
        let go_on = || {
            *looks.borrow_mut() += 1;
            true
        };
        let until = Until { target: 30 * MIB, deadline: soon(Duration::from_secs(30)), go_on: &go_on };
        reclaim(&fake.cgroup(), &until).unwrap();
        assert_eq!(looks.into_inner(), FRUITLESS_MAX + 1);
    }

    #[test]
    fn nothing_is_asked_after_the_deadline_or_below_the_target() {
        for (target, deadline, on) in
            [(30 * MIB, Duration::ZERO, true), (40 * MIB, Duration::from_secs(9), true), (0, Duration::MAX / 4, false)]
        {
            let fake = Fake::new(40 * MIB, "max");
            let deadline = Instant::now().checked_add(deadline).unwrap_or_else(|| soon(Duration::from_secs(9)));
            let until = Until { target, deadline, go_on: &|| on };
            reclaim(&fake.cgroup(), &until).unwrap();
            assert_eq!(fake.get("memory.reclaim"), "");
            assert_eq!(time_box(&fake.cgroup(), &fake.path, &fake.records(), &until).unwrap(), None);
            assert_eq!((fake.get("memory.high").as_str(), fake.left()), ("max", 0));
        }
    }

    #[test]
    fn the_time_box_puts_back_what_was_there() {
        for original in ["max", "41943040"] {
            let fake = Fake::new(40 * MIB, original);
            let seen = RefCell::new(Vec::new());
            let go_on = || {
                let high = fake.get("memory.high");
                if let Ok(high) = high.parse::<u64>() {
                    fake.set("memory.current", &high.to_string());
                }
                seen.borrow_mut().push((high, fake.left()));
                true
            };
            let until = Until { target: 24 * MIB, deadline: soon(Duration::from_secs(30)), go_on: &go_on };
            time_box(&fake.cgroup(), &fake.path, &fake.records(), &until).unwrap();
            let seen = seen.into_inner();
            assert_eq!(seen[0], (original.to_owned(), 1), "recorded before the first change");
            assert_eq!(seen[1], ((38 * MIB).to_string(), 1), "lowered by an eighth");
            assert_eq!((fake.get("memory.high").as_str(), fake.left()), (original, 0));
        }
    }

    #[test]
    fn a_worker_that_waits_for_memory_is_let_go() {
        let fake = Fake::new(40 * MIB, "max");
        let looks = RefCell::new(0);
        let go_on = || {
            *looks.borrow_mut() += 1;
            fake.set_stalled(*looks.borrow() * 150_000);
            true
        };
        let until = Until { target: 24 * MIB, deadline: soon(Duration::from_secs(30)), go_on: &go_on };
        let early = time_box(&fake.cgroup(), &fake.path, &fake.records(), &until).unwrap();
        assert_eq!((early, looks.into_inner()), (Some("the worker waited for its memory"), 2));
        assert_eq!((fake.get("memory.high").as_str(), fake.left()), ("max", 0));
    }

    #[test]
    fn a_lower_value_of_the_operator_is_not_raised() {
        let fake = Fake::new(40 * MIB, &(20 * MIB).to_string());
        let until = Until { target: 24 * MIB, deadline: soon(Duration::from_secs(30)), go_on: &|| true };
        assert_eq!(time_box(&fake.cgroup(), &fake.path, &fake.records(), &until).unwrap(), None);
        assert_eq!((fake.number("memory.high"), fake.left()), (20 * MIB, 0));
    }

    #[test]
    fn a_cancelled_time_box_puts_back_what_was_there() {
        let fake = Fake::new(40 * MIB, "max");
        let looks = RefCell::new(0);
        let go_on = || {
            *looks.borrow_mut() += 1;
            *looks.borrow() < 3
        };
        let until = Until { target: 24 * MIB, deadline: soon(Duration::from_secs(30)), go_on: &go_on };
        time_box(&fake.cgroup(), &fake.path, &fake.records(), &until).unwrap();
        assert_eq!((fake.get("memory.high").as_str(), fake.left()), ("max", 0));
    }
}
