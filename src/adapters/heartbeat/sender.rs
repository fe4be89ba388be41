//! From the process that sent to the cgroup that it is in, by kept descriptors.
//!
//! A descriptor of `/proc/PID/cgroup` belongs to the process and not to the number: of one that has ended, every read
//! fails with ESRCH, whoever has the number now. So one read tells the cgroup of the process that is meant, or nothing.
//! Between two reads a pidfd, which costs a tenth, tells that the process has not ended.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Refused;
use super::members::Groups;
use crate::model::{Mono, UnitName};

/// Processes whose descriptors are kept: more than the 10,000 that are to cost next to nothing. The kernel keeps a page
/// for each.
const KEPT_MAX: usize = 16_384;
/// One that has not beaten for so long is not kept; opening it anew takes microseconds.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// The cgroup of a process that lives on is read anew after this: the kernel writes a dozen lines for it where there are
/// cgroups of version 1. systemd never moves a process out of its unit; root may.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// A cgroup path (PATH_MAX of Linux) and the lines of a dozen hierarchies of version 1.
const CGROUP_FILE_MAX: usize = 8192;

struct Sender {
    file: OwnedFd,
    /// Of the same process as the file, where the kernel has such descriptors.
    process: Option<OwnedFd>,
    used: Mono,
    read: Mono,
    group: String,
    found: Option<(u64, UnitName)>,
}

/// The processes that have beaten lately.
pub struct Senders {
    /// `/proc`, but in tests.
    proc: PathBuf,
    kept: HashMap<i32, Sender>,
    max: usize,
    buffer: Box<[u8; CGROUP_FILE_MAX]>,
    /// Where the last one was.
    place: String,
}

impl Senders {
    pub fn new(proc: &Path) -> Self {
        let buffer = Box::new([0; CGROUP_FILE_MAX]);
        Self { proc: proc.into(), kept: HashMap::new(), max: KEPT_MAX, buffer, place: String::new() }
    }

    /// The instance in whose cgroup the process is now.
    pub fn instance(&mut self, pid: i32, groups: &mut Groups, now: Mono) -> Result<UnitName, Refused> {
        self.place.clear();
        if !self.is_as_read(pid, now) {
            self.read(pid, now)?;
        }
        let Some(sender) = self.kept.get_mut(&pid) else { return Err(Refused::Unseen) };
        sender.used = now;
        match &sender.found {
            Some((at, unit)) if *at == groups.generation() => Ok(unit.clone()),
            _ => {
                let Some(unit) = groups.find(&sender.group, now) else {
                    self.place.clone_from(&sender.group);
                    return Err(Refused::Stranger);
                };
                sender.found = Some((groups.generation(), unit.clone()));
                Ok(unit)
            }
        }
    }

    /// The cgroup of the last stranger, cut to what a complaint can show.
    pub fn place(&self) -> String {
        self.place.chars().take(200).collect()
    }

    pub fn forget_idle(&mut self, now: Mono) {
        self.kept.retain(|_, sender| now.since(sender.used) < KEPT_FOR);
    }

    /// The process was looked at a moment ago and has not ended since, so the number is its own.
    fn is_as_read(&self, pid: i32, now: Mono) -> bool {
        let Some(sender) = self.kept.get(&pid).filter(|sender| now.since(sender.read) < READ_AGAIN) else {
            return false;
        };
        sender.process.as_ref().is_some_and(lives)
    }

    /// Reads the cgroup by the kept file; where there is none, or it is of a process that has ended, by a new one.
    fn read(&mut self, pid: i32, now: Mono) -> Result<(), Refused> {
        let kept = self.kept.get(&pid).map(|sender| pread(&sender.file, &mut self.buffer[..], 0));
        let length = match kept {
            Some(Ok(length)) if length > 0 => length,
            _ => {
                self.kept.remove(&pid);
                self.read_new(pid, now)?
            }
        };
        let Some(group) = group(&self.buffer[..length]) else {
            return Err(Refused::Unseen);
        };
        let Some(sender) = self.kept.get_mut(&pid) else { return Err(Refused::Unseen) };
        sender.read = now;
        if sender.group != group {
            sender.group = group.to_owned();
            sender.found = None;
        }
        Ok(())
    }

    fn read_new(&mut self, pid: i32, now: Mono) -> Result<usize, Refused> {
        self.make_room();
        let file = match open(&self.proc, pid) {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.drop_oldest(self.kept.len() / 2 + 1);
                open(&self.proc, pid)
            }
            other => other,
        };
        let file = file.map_err(reason)?;
        // What stands in for /proc in a test has no processes.
        let process = if self.proc == Path::new("/proc") { process(pid) } else { None };
        // After the descriptor was opened: when this succeeds, both are of one process.
        let length = pread(&file, &mut self.buffer[..], 0).map_err(reason)?;
        self.kept.insert(pid, Sender { file, process, used: now, read: now, group: String::new(), found: None });
        Ok(length)
    }

    fn make_room(&mut self) {
        if self.kept.len() >= self.max {
            // Many at once, so that senders that come only once do not cost a search each.
            self.drop_oldest(self.max / 4 + 1);
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        let mut used: Vec<Mono> = self.kept.values().map(|sender| sender.used).collect();
        if used.is_empty() {
            return;
        }
        let last = count.min(used.len()) - 1;
        let (_, limit, _) = used.select_nth_unstable(last);
        let (limit, mut left) = (*limit, count);
        self.kept.retain(|_, sender| {
            let goes = sender.used <= limit && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }
}

fn open(proc: &Path, pid: i32) -> Result<OwnedFd, Errno> {
    openat(CWD, proc.join(format!("{pid}/cgroup")), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// None on a kernel that has none, or when there are no descriptors left: then the file is read each time.
fn process(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// The descriptor of a process becomes readable when it ends.
fn lives(process: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

fn reason(error: Errno) -> Refused {
    match error {
        Errno::NOENT | Errno::SRCH => Refused::Gone,
        _ => Refused::Unseen,
    }
}

/// The path in the tree that systemd makes its groups in: version 2, which is numbered 0; without it systemd's own.
fn group(text: &[u8]) -> Option<&str> {
    let lines = || text.split(|byte| *byte == b'\n');
    let unified = lines().find_map(|line| line.strip_prefix(b"0::"));
    let named = || lines().find_map(|line| after(line, b":name=systemd:"));
    std::str::from_utf8(unified.or_else(named)?).ok()
}

fn after<'l>(line: &'l [u8], word: &[u8]) -> Option<&'l [u8]> {
    let start = line.iter().position(|byte| *byte == b':')?;
    line[start..].strip_prefix(word)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::super::members::tests::{fixed, member};
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    const PROC: &str = "/proc";

    fn nobody() -> Groups {
        Groups::new(fixed(vec![member("other.service", "/not/here")]))
    }

    #[test]
    fn the_line_of_the_tree_that_counts() {
        let hybrid = b"4:memory:/m\n1:name=systemd:/s\n0::/system.slice/mail.service\n";
        assert_eq!(group(hybrid), Some("/system.slice/mail.service"));
        assert_eq!(group(b"4:memory:/m\n1:name=systemd:/s:x\n"), Some("/s:x"));
        assert_eq!(group(b"4:memory:/0::/m\n"), None);
        assert_eq!(group(b""), None);
        assert_eq!(group(b"0::/\xff\n"), None);
    }

    /// The claim that the kept descriptors rest on.
    #[test]
    fn a_kept_file_of_an_ended_process_is_never_that_of_another() {
        let child = sleeper();
        let pid = child.id() as i32;
        let file = open(Path::new(PROC), pid).unwrap();
        let mut text = [0; CGROUP_FILE_MAX];
        assert!(pread(&file, &mut text[..], 0).unwrap() > 0);
        end(child);
        assert_eq!(pread(&file, &mut text[..], 0), Err(Errno::SRCH));
        // Until another process has the number, which is possible where the next number can be asked for.
        if let Some(mut other) = with_number(pid) {
            assert!(open(Path::new(PROC), pid).is_ok(), "the number is in use again");
            assert_eq!(pread(&file, &mut text[..], 0), Err(Errno::SRCH));
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }

    /// A new process with this number; `None` where the kernel does not let us choose (needs root).
    fn with_number(pid: i32) -> Option<Child> {
        for _ in 0..200 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
            let child = sleeper();
            if child.id() as i32 == pid {
                return Some(child);
            }
            end(child);
        }
        None
    }

    #[test]
    fn a_number_that_another_process_has_now_is_read_anew() {
        let (mut senders, mut groups) = (Senders::new(Path::new(PROC)), nobody());
        let child = sleeper();
        let pid = child.id() as i32;
        assert_eq!(senders.instance(pid, &mut groups, Mono(1)), Err(Refused::Stranger));
        assert_eq!(senders.instance(pid, &mut groups, Mono(1)), Err(Refused::Stranger), "also when it is kept");
        assert_eq!(senders.kept.len(), 1);
        end(child);
        assert_eq!(senders.instance(pid, &mut groups, Mono(2)), Err(Refused::Gone));
        assert!(senders.kept.is_empty());
        if let Some(child) = with_number(pid) {
            assert_eq!(senders.instance(pid, &mut groups, Mono(3)), Err(Refused::Stranger));
            end(child);
        }
        assert_eq!(senders.instance(0, &mut groups, Mono(3)), Err(Refused::Gone));
    }

    #[test]
    fn a_process_that_moves_belongs_where_it_is() {
        let proc = tempfile::tempdir().unwrap();
        let (mut senders, mut groups) = (
            Senders::new(proc.path()),
            Groups::new(fixed(vec![member("a.service", "/s/a"), member("b.service", "/s/b")])),
        );
        std::fs::create_dir(proc.path().join("7")).unwrap();
        for (text, found) in [
            ("0::/s/a\n", Ok("a.service")),
            ("0::/s/a\n", Ok("a.service")),
            ("0::/s/b/inner\n", Ok("b.service")),
            ("0::/s/bb\n", Err(Refused::Stranger)),
            ("0::/s/a\n", Ok("a.service")),
            ("nonsense\n", Err(Refused::Unseen)),
        ] {
            std::fs::write(proc.path().join("7/cgroup"), text).unwrap();
            let unit = senders.instance(7, &mut groups, Mono(5));
            assert_eq!(unit.as_ref().map(UnitName::as_str), found.as_ref().copied(), "{text}");
        }
        assert_eq!(senders.kept.len(), 1);
    }

    #[test]
    fn the_kept_ones_are_bounded_and_the_idle_go_first() {
        let (mut senders, mut groups) = (Senders::new(Path::new(PROC)), nobody());
        senders.max = 4;
        let children: Vec<Child> = (0..9).map(|_| sleeper()).collect();
        for (at, child) in children.iter().enumerate() {
            // The first one beats all the time.
            for pid in [children[0].id(), child.id()] {
                let _ = senders.instance(pid as i32, &mut groups, Mono(at as u64 + 1));
            }
            assert!(senders.kept.len() <= 4);
        }
        assert!(senders.kept.contains_key(&(children[8].id() as i32)));
        assert!(senders.kept.contains_key(&(children[0].id() as i32)), "it was never idle");
        senders.forget_idle(Mono(9) + KEPT_FOR);
        assert!(senders.kept.is_empty());
        children.into_iter().for_each(end);
    }
}
