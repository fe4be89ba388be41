//! Both clocks and the boot id.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Mono, Now, Wall};

/// Reads CLOCK_MONOTONIC and CLOCK_REALTIME.
pub fn now() -> Now {
    let mono = clock_gettime(ClockId::Monotonic);
    let wall = clock_gettime(ClockId::Realtime);
    Now {
        mono: Mono(mono.tv_sec as u64 * 1_000_000 + mono.tv_nsec as u64 / 1000),
        wall: Wall(wall.tv_sec * 1_000_000 + wall.tv_nsec / 1000),
    }
}

/// The id of this boot, as the kernel gives it; monotonic times are comparable within it only.
pub fn boot_id() -> std::io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_string())
}
