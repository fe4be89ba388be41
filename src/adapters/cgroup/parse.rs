//! Parsers of the small text files of cgroupfs and procfs.
//!
//! Every function takes the bytes as the kernel gave them and returns `None` for what it does not
//! understand: a reading that is missing is never a zero. Nothing here allocates, reads files or panics.

use crate::model::usage::Pressure;

/// Bytes read and written by all devices of an `io.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct IoBytes {
    pub read: u64,
    pub written: u64,
}

/// A decimal number alone in a file or a field. No sign, no fraction, no overflow.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// The value of `key` in a flat keyed file (`cpu.stat`, `memory.stat`, `memory.events`): `key value\n`.
/// Reads no further than that line; a last line without its newline was cut off and is not trusted.
pub(super) fn keyed(bytes: &[u8], key: &[u8]) -> Option<u64> {
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        if let Some(value) = line.strip_prefix(key).and_then(|tail| tail.strip_prefix(b" ")) {
            return number(value);
        }
        rest = &rest[end + 1..];
    }
    None
}

/// `memory.max`, `memory.high`: bytes; `pids.max`: tasks; `None` for `max`, which means no limit.
pub fn limit(bytes: &[u8]) -> Option<u64> {
    number(bytes)
}

/// `cpu.max`, such as `150000 100000`: CPUs that may be used (1.5); `None` for `max`, which means no limit.
pub(super) fn cpu_quota(bytes: &[u8]) -> Option<f64> {
    let mut fields = fields(bytes);
    let quota = number(fields.next()?)?;
    let period = number(fields.next()?)?;
    if quota == 0 || period == 0 || fields.next().is_some() {
        return None;
    }
    Some(quota as f64 / period as f64)
}

/// The `some` line of a pressure file: `some avg10=0.13 avg60=0.14 avg300=0.39 total=23364161`.
pub fn pressure(bytes: &[u8]) -> Option<Pressure> {
    let line = bytes.split_inclusive(|byte| *byte == b'\n').find(|line| line.starts_with(b"some "))?;
    let line = line.strip_suffix(b"\n")?;
    let avg10 = fields(line).find_map(|field| field.strip_prefix(b"avg10="))?;
    let total = fields(line).find_map(|field| field.strip_prefix(b"total="))?;
    let avg10: f32 = std::str::from_utf8(avg10).ok()?.parse().ok()?;
    if !(0.0..=100.0).contains(&avg10) {
        return None;
    }
    Some(Pressure { avg10, total_usec: number(total)? })
}

/// The sums over all devices of an `io.stat`. An empty file is a true zero: the kernel lists a device only
/// after its first request. Some kernels write a device without statistics as a bare `7:0 ` with no newline,
/// which may be the end of the file; the caller sees to it that the file is whole.
pub(super) fn io_bytes(bytes: &[u8]) -> Option<IoBytes> {
    let mut sum = IoBytes::default();
    for field in fields(bytes) {
        if let Some(value) = field.strip_prefix(b"rbytes=") {
            sum.read = sum.read.checked_add(number(value)?)?;
        } else if let Some(value) = field.strip_prefix(b"wbytes=") {
            sum.written = sum.written.checked_add(number(value)?)?;
        } else if !field.contains(&b'=') {
            device(field)?;
        }
    }
    let unfinished = bytes.rsplit(|byte| *byte == b'\n').next().is_some_and(|tail| tail.contains(&b'='));
    (!unfinished).then_some(sum)
}

/// Resident pages, the second field of `/proc/PID/statm`.
pub(super) fn resident_pages(bytes: &[u8]) -> Option<u64> {
    let mut fields = fields(bytes);
    number(fields.next()?)?;
    let resident = number(fields.next()?)?;
    // A third field proves that the second one is whole.
    fields.next().map(|_| resident)
}

/// The soft limit of open files in `/proc/PID/limits`; `None` for `unlimited`.
pub(super) fn open_files_limit(bytes: &[u8]) -> Option<u64> {
    let line = bytes.split_inclusive(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Max open files "))?;
    let mut fields = fields(line.strip_suffix(b"\n")?);
    number(fields.next()?)
}

/// Number of entries of `cgroup.threads`; `None` when the list was cut off.
pub(super) fn lines(bytes: &[u8]) -> Option<u64> {
    if !(bytes.is_empty() || bytes.ends_with(b"\n")) {
        return None;
    }
    Some(bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Adds the process ids of a `cgroup.procs` to `pids`, up to `most` in all. `None` when there are more, when
/// the list was cut off, or when a process is in a PID namespace that we cannot see (the kernel writes 0).
pub(super) fn pids(bytes: &[u8], pids: &mut Vec<u32>, most: usize) -> Option<()> {
    if !(bytes.is_empty() || bytes.ends_with(b"\n")) {
        return None;
    }
    for field in fields(bytes) {
        let pid = number(field).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)?;
        if pids.len() >= most {
            return None;
        }
        pids.push(pid);
    }
    Some(())
}

/// `major:minor`
fn device(field: &[u8]) -> Option<()> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    number(&field[..colon]).and(number(&field[colon + 1..])).map(drop)
}

fn fields(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, expected) in [
            ("0\n", Some(0)),
            ("18446744073709551615\n", Some(u64::MAX)),
            ("18446744073709551616\n", None),
            ("max\n", None),
            ("", None),
            ("\n", None),
            ("-1\n", None),
            ("+1\n", None),
            ("1 2\n", None),
            ("1.5\n", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn keyed_values_are_matched_whole() {
        let events = b"low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 9\n";
        assert_eq!(keyed(events, b"oom_kill"), Some(2));
        assert_eq!(keyed(events, b"oom"), Some(3));
        assert_eq!(keyed(events, b"oom_"), None);
        assert_eq!(keyed(b"usage_usec 12345\nuser_usec 1\n", b"usage_usec"), Some(12345));
        assert_eq!(keyed(b"usage_usec 12345", b"usage_usec"), None, "cut off in the number");
        assert_eq!(keyed(b"usage_usec \n", b"usage_usec"), None);
        assert_eq!(keyed(b"usage_usec\n", b"usage_usec"), None);
        assert_eq!(keyed(b"usage_usec 99999999999999999999999\n", b"usage_usec"), None);
        assert_eq!(keyed(b"inactive_file 4096\n\xff\xfe garbage", b"inactive_file"), Some(4096), "stops at its line");
    }

    #[test]
    fn quotas() {
        for (text, expected) in [
            ("150000 100000\n", Some(1.5)),
            ("max 100000\n", None),
            ("1000 1000000\n", Some(0.001)),
            ("0 100000\n", None),
            ("100000 0\n", None),
            ("100000\n", None),
            ("1 2 3\n", None),
            ("", None),
        ] {
            assert_eq!(cpu_quota(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn pressures() {
        let file =
            b"some avg10=0.13 avg60=0.14 avg300=0.39 total=23364161\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(pressure(file), Some(Pressure { avg10: 0.13, total_usec: 23_364_161 }));
        for bad in [
            "",
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            "some avg10=0.13 avg60=0.14 avg300=0.39 total=233",
            "some avg10=0.13 avg60=0.14\n",
            "some avg10=nan avg60=0 avg300=0 total=1\n",
            "some avg10=inf avg60=0 avg300=0 total=1\n",
            "some avg10=-1 avg60=0 avg300=0 total=1\n",
            "some avg10=100.01 avg60=0 avg300=0 total=1\n",
            "some avg10= avg60=0 avg300=0 total=1\n",
            "some avg10=1 avg60=0 avg300=0 total=-1\n",
        ] {
            assert_eq!(pressure(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn io_sums() {
        let two = b"8:16 rbytes=100 wbytes=7 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=11 wbytes=3 rios=1 wios=2\n";
        assert_eq!(io_bytes(two), Some(IoBytes { read: 111, written: 10 }));
        assert_eq!(io_bytes(b""), Some(IoBytes::default()));
        // A device without statistics has no newline of its own.
        assert_eq!(io_bytes(b"7:0 8:0 rbytes=5 wbytes=6\n"), Some(IoBytes { read: 5, written: 6 }));
        assert_eq!(io_bytes(b"8:0 rbytes=5 wbytes=6\n7:0 "), Some(IoBytes { read: 5, written: 6 }));
        assert_eq!(io_bytes(b"8:0 rbytes=5 wbytes=6"), None, "cut off");
        assert_eq!(io_bytes(b"8:0 rbyt"), None, "cut off");
        assert_eq!(io_bytes(b"\0"), None);
        assert_eq!(io_bytes(b"8:0 rbytes=x wbytes=6\n"), None);
        assert_eq!(io_bytes(b"8:0 rbytes=18446744073709551615\n8:1 rbytes=1\n"), None, "overflow");
    }

    #[test]
    fn processes() {
        assert_eq!(resident_pages(b"2000 431 300 5 0 90 0\n"), Some(431));
        assert_eq!(resident_pages(b"2000 43"), None, "cut off in the number");
        assert_eq!(resident_pages(b"x 431 300\n"), None);
        assert_eq!(resident_pages(b""), None);

        let limits = b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             96365                96365                processes \n\
            Max open files            1024                 524288               files     \n\
            Max locked memory         8388608              8388608              bytes     \n";
        assert_eq!(open_files_limit(limits), Some(1024));
        assert_eq!(open_files_limit(b"Max open files            unlimited            unlimited  files\n"), None);
        assert_eq!(open_files_limit(b"Max open files            102"), None, "cut off in the number");
        assert_eq!(open_files_limit(b"Max open filesystems 7 8 files\n"), None);
        assert_eq!(open_files_limit(b""), None);

        assert_eq!(lines(b""), Some(0));
        assert_eq!(lines(b"1\n22\n"), Some(2));
        assert_eq!(lines(b"1\n22"), None);

        let mut found = Vec::new();
        assert_eq!(pids(b"12\n7\n", &mut found, 3), Some(()));
        assert_eq!(found, [12, 7]);
        assert_eq!(pids(b"13\n14\n", &mut found, 3), None, "more than the limit");
        for bad in [&b"0\n"[..], b"12", b"x\n", b"4294967296\n", b"-1\n"] {
            assert_eq!(pids(bad, &mut Vec::new(), 3), None, "{bad:?}");
        }
    }

    /// Xorshift64*: the same bytes on every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }
        fn below(&mut self, limit: usize) -> usize {
            (self.next() % limit as u64) as usize
        }
    }

    const REAL: [&[u8]; 8] = [
        b"usage_usec 461573544\nuser_usec 336707267\nsystem_usec 124866276\nnice_usec 0\n",
        b"some avg10=0.13 avg60=0.14 avg300=0.39 total=23364161\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        b"low 0\nhigh 0\nmax 0\noom 0\noom_kill 12\noom_group_kill 0\n",
        b"8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
        b"150000 100000\n",
        b"max\n",
        b"2000 431 300 5 0 90 0\n",
        b"101\n102\n4000000\n",
    ];

    fn parse_everything(bytes: &[u8]) {
        let _ = (number(bytes), limit(bytes), keyed(bytes, b"oom_kill"), keyed(bytes, b""), cpu_quota(bytes));
        let _ = (io_bytes(bytes), resident_pages(bytes), lines(bytes));
        if let Some(pressure) = pressure(bytes) {
            assert!(pressure.avg10.is_finite() && (0.0..=100.0).contains(&pressure.avg10), "{bytes:?}");
        }
        if let Some(quota) = cpu_quota(bytes) {
            assert!(quota.is_finite() && quota > 0.0, "{bytes:?}");
        }
        let mut found = Vec::new();
        let _ = pids(bytes, &mut found, 5);
        assert!(found.len() <= 5 && !found.contains(&0), "{bytes:?}");
    }

    #[test]
    fn no_bytes_make_a_parser_panic_or_lie() {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        for _ in 0..20_000 {
            let noise: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            parse_everything(&noise);
            let mut real = REAL[random.below(REAL.len())].to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(real.len());
                real[at] = random.next() as u8;
            }
            real.truncate(random.below(real.len() + 1));
            parse_everything(&real);
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_gives_the_value_or_nothing() {
        let [cpu, psi, events, io, quota, _, statm, procs] = REAL;
        let whole =
            |value: Option<u64>, expected: u64| assert!(value.is_none() || value == Some(expected), "{value:?}");
        for end in 0..cpu.len() {
            whole(keyed(&cpu[..end], b"usage_usec"), 461_573_544);
        }
        for end in 0..psi.len() {
            whole(pressure(&psi[..end]).map(|p| p.total_usec), 23_364_161);
        }
        for end in 0..events.len() {
            whole(keyed(&events[..end], b"oom_kill"), 12);
        }
        for end in b"8:0 r".len()..io.len() {
            assert_eq!(io_bytes(&io[..end]), None);
        }
        for end in 0..statm.len() {
            whole(resident_pages(&statm[..end]), 431);
        }
        for end in 1..procs.len() {
            let known = |pid: &u32| [101, 102, 4_000_000].contains(pid);
            let mut found = Vec::new();
            let _ = pids(&procs[..end], &mut found, 8);
            assert!(found.iter().all(known), "{found:?}");
        }
        assert_eq!(cpu_quota(&quota[..6]), None);
    }
}
