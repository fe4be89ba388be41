//! Readings of our own process, from a few small files below /proc/self.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Listing 8,000 descriptors takes 15 to 20 ms, longer than all the rest of a scrape.
const FDS_LISTED_MAX: u64 = 512;

/// What was readable; the rest has no series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    pub cpu: Option<Duration>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
}

impl Process {
    /// Some 50 us.
    pub fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { cpu: Duration::try_from(cpu).ok(), resident_bytes: resident_bytes(&status), open_fds: open_fds(&status) }
    }
}

/// When this process began, in seconds since 1970-01-01 UTC.
pub fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Field 2 is a name in parentheses that may hold anything; field 22 is the start in ticks after boot.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    // The kernel gives times to user space in ticks of 100 Hz, whatever its own rate (USER_HZ).
    let after_boot = ticks / 100.0;
    let uptime = clock_gettime(ClockId::Boottime);
    let since_boot = uptime.tv_sec as f64 + uptime.tv_nsec as f64 / 1e9;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(wall - since_boot + after_boot)
}

/// `VmRSS:     5120 kB`
fn resident_bytes(status: &str) -> Option<u64> {
    let kibibytes: u64 = field(status, "VmRSS:")?.strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Since Linux 6.2 the size of the directory is the number of descriptors. Before, they must be listed, which is
/// done only while the table (`FDSize`) is small.
fn open_fds(status: &str) -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 if field(status, "FDSize:")?.parse::<u64>().ok()? <= FDS_LISTED_MAX => {
            // The listing has a descriptor of its own.
            Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
        }
        0 => None,
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let process = Process::read();
        assert!(process.cpu.unwrap() > Duration::ZERO);
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!((3..100_000).contains(&process.open_fds.unwrap()));
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - started().unwrap();
        assert!((-1.0..86_400.0).contains(&age), "{age}");
    }
}
