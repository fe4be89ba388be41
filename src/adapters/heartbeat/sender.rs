//! From the process that sent to the cgroup that it is in.
//!
//! A pidfd belongs to the process and not to the number: while it says that the process lives, the number is its own. What
//! was read of `/proc/PID` before that is of the process that is meant.

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

/// Processes that are kept, each with a descriptor: more than the 10,000 that are to cost next to nothing.
const KEPT_MAX: usize = 16_384;
/// One that has not beaten for so long is not kept; looking at it anew takes microseconds.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// The cgroup of a process that lives on is read anew after this: the kernel writes a dozen lines for it where there are
/// cgroups of version 1. systemd never moves a process out of its unit; root may.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// Given up when there are no descriptors left, so that there are some to work with.
const GIVEN_UP: usize = 16;
/// A cgroup path (PATH_MAX of Linux) and the lines of a dozen hierarchies of version 1.
const CGROUP_FILE_MAX: usize = 8192;

struct Sender {
    process: OwnedFd,
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
        let Some(sender) = self.kept.get_mut(&pid).filter(|sender| lives(&sender.process)) else {
            return self.first(pid, groups, now);
        };
        sender.used = now;
        if now.since(sender.read) >= READ_AGAIN {
            let Ok(group) = read(&self.proc, pid, &mut self.buffer) else { return self.first(pid, groups, now) };
            sender.read = now;
            if sender.group != group {
                (sender.group, sender.found) = (group.to_owned(), None);
            }
        }
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

    /// One that is not kept. Where there is room it is from now on.
    fn first(&mut self, pid: i32, groups: &mut Groups, now: Mono) -> Result<UnitName, Refused> {
        self.kept.remove(&pid);
        let looked = match self.look(pid) {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.give_up(GIVEN_UP);
                self.max = self.kept.len();
                self.look(pid)
            }
            other => other,
        };
        let (process, group) = looked.map_err(reason)?;
        let unit = groups.find(&group, now);
        if self.kept.len() < self.max {
            let found = unit.clone().map(|unit| (groups.generation(), unit));
            self.kept.insert(pid, Sender { process, used: now, read: now, group: group.clone(), found });
        }
        unit.ok_or_else(|| {
            self.place = group;
            Refused::Stranger
        })
    }

    /// The process that has the number, and its cgroup.
    fn look(&mut self, pid: i32) -> Result<(OwnedFd, String), Errno> {
        let process = open(pid)?;
        let group = read(&self.proc, pid, &mut self.buffer)?.to_owned();
        // What was read is of this process when it has lived all the time.
        if lives(&process) { Ok((process, group)) } else { Err(Errno::SRCH) }
    }

    /// Any will do: they are looked at anew when they beat.
    fn give_up(&mut self, count: usize) {
        let some: Vec<i32> = self.kept.keys().copied().take(count).collect();
        some.iter().for_each(|pid| drop(self.kept.remove(pid)));
    }

    /// The cgroup of the last stranger, cut to what a complaint can show.
    pub fn place(&self) -> String {
        self.place.chars().take(200).collect()
    }

    pub fn forget_idle(&mut self, now: Mono) {
        self.kept.retain(|_, sender| now.since(sender.used) < KEPT_FOR && lives(&sender.process));
        // There may be descriptors again.
        self.max = KEPT_MAX;
    }
}

fn open(pid: i32) -> Result<OwnedFd, Errno> {
    pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

/// The cgroup of the process that has the number now.
fn read<'b>(proc: &Path, pid: i32, buffer: &'b mut [u8; CGROUP_FILE_MAX]) -> Result<&'b str, Errno> {
    let path = proc.join(format!("{pid}/cgroup"));
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = pread(&file, &mut buffer[..], 0)?;
    group(&buffer[..length]).ok_or(Errno::NODATA)
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
    fn the_descriptor_of_an_ended_process_is_never_that_of_another() {
        let child = sleeper();
        let pid = child.id() as i32;
        let process = open(pid).unwrap();
        assert!(lives(&process));
        end(child);
        assert!(!lives(&process));
        // Until another process has the number, which is possible where the next number can be asked for.
        if let Some(mut other) = with_number(pid) {
            assert!(open(pid).is_ok_and(|other| lives(&other)), "the number is in use again");
            assert!(!lives(&process));
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
        let me = std::process::id() as i32;
        std::fs::create_dir(proc.path().join(me.to_string())).unwrap();
        let mut at = Mono(5);
        for (text, found) in [
            ("0::/s/a\n", Ok("a.service")),
            ("0::/s/a\n", Ok("a.service")),
            ("0::/s/b/inner\n", Ok("b.service")),
            ("0::/s/bb\n", Err(Refused::Stranger)),
            ("0::/s/a\n", Ok("a.service")),
            ("nonsense\n", Err(Refused::Unseen)),
        ] {
            std::fs::write(proc.path().join(format!("{me}/cgroup")), text).unwrap();
            at = at + READ_AGAIN;
            for _ in 0..2 {
                let unit = senders.instance(me, &mut groups, at);
                assert_eq!(unit.as_ref().map(UnitName::as_str), found.as_ref().copied(), "{text}");
            }
        }
    }

    #[test]
    fn the_kept_ones_are_bounded_and_the_others_are_heard_all_the_same() {
        let (mut senders, mut groups) = (Senders::new(Path::new(PROC)), nobody());
        senders.max = 4;
        let children: Vec<Child> = (0..9).map(|_| sleeper()).collect();
        for child in &children {
            assert_eq!(senders.instance(child.id() as i32, &mut groups, Mono(1)), Err(Refused::Stranger));
            assert!(senders.kept.len() <= 4);
        }
        let last = children[8].id() as i32;
        assert!(!senders.kept.contains_key(&last));
        senders.give_up(1);
        let _ = senders.instance(last, &mut groups, Mono(2));
        assert!(senders.kept.contains_key(&last), "there is room again");
        let (ended, idle) = (children[8].id() as i32, senders.kept.len());
        assert_eq!(idle, 4);
        children.into_iter().for_each(end);
        senders.forget_idle(Mono(3));
        assert!(!senders.kept.contains_key(&ended) && senders.kept.is_empty(), "none of them lives");
        let me = std::process::id() as i32;
        let _ = senders.instance(me, &mut groups, Mono(4));
        senders.forget_idle(Mono(4) + KEPT_FOR);
        assert!(senders.kept.is_empty());
    }
}
