//! What is broken, in which order, and how it is known to be over.

use std::time::Duration;

use unitmedic::model::{Fact, Outcome, What};
use unitmedic::views::look::wrap;

use crate::host::Host;
use crate::interrupt::{linger, until};
use crate::screen::Screen;
use crate::testhost::Failure;
use crate::watch::Watch;

/// From a fault to proven health; the longest needs a fifth of it.
const LIMIT: Duration = Duration::from_secs(60);
/// A breath between two faults, so that a reader can follow.
const BREATH: Duration = Duration::from_millis(700);

/// Where the text of a fault begins, below its number.
const INDENT: usize = 7;

pub struct Fault {
    pub title: &'static str,
    pub units: &'static [&'static str],
    /// Run in the host as it is shown.
    command: &'static str,
    remark: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Heals,
    /// Nothing helps until this has been run.
    Mended(&'static str),
    /// Nobody may touch it.
    LeftAlone,
}

pub const FAULTS: &[Fault] = &[
    Fault {
        title: "kill -9",
        units: &["mail.service"],
        command: "systemctl kill --signal=KILL mail",
        remark: "a service with Restart=no, as most are",
        kind: Kind::Heals,
    },
    Fault {
        title: "exit code 1",
        units: &["import.service"],
        command: "systemctl kill --signal=USR1 --kill-who=main import",
        remark: "on SIGUSR1 the worker exits with 1",
        kind: Kind::Heals,
    },
    Fault {
        title: "clean exit 0",
        units: &["sync.service"],
        command: "systemctl kill --signal=USR2 --kill-who=main sync",
        remark: "systemd calls that a success, but nobody asked the worker to go",
        kind: Kind::Heals,
    },
    Fault {
        title: "operator's stop",
        units: &["report.service"],
        command: "systemctl stop report",
        remark: "on purpose, so it must be left alone until the end",
        kind: Kind::LeftAlone,
    },
    Fault {
        title: "three at once",
        units: &["task@1.service", "task@2.service", "task@3.service"],
        command: "systemctl kill --signal=KILL 'task@*'",
        remark: "all instances of a template",
        kind: Kind::Heals,
    },
    Fault {
        title: "kill -9, Restart=always",
        units: &["web.service"],
        command: "systemctl kill --signal=KILL web",
        remark: "systemd restarts this one itself: watch, do not interfere",
        kind: Kind::Heals,
    },
    Fault {
        title: "kill -9, slow starter",
        units: &["index.service"],
        command: "systemctl kill --signal=KILL index",
        remark: "needs 3 s to start: wait for it, do not restart it again",
        kind: Kind::Heals,
    },
    Fault {
        title: "crash loop",
        units: &["parser.service"],
        command: "mv /etc/parser.conf /root/ && systemctl kill --signal=KILL parser",
        remark: "systemd gives up after two starts; the file comes back after our first try",
        kind: Kind::Mended("mv /root/parser.conf /etc/"),
    },
    Fault {
        title: "amid daemon-reloads",
        units: &["feed.service"],
        command: "systemctl daemon-reload && systemctl kill --signal=KILL feed && systemctl daemon-reload",
        remark: "a reload is no failure and must hide none",
        kind: Kind::Heals,
    },
    Fault {
        title: "while unitmedic is dead",
        units: &["queue.service"],
        command: "systemctl kill --signal=KILL unitmedic && systemctl kill --signal=KILL queue",
        remark: "systemd brings unitmedic back after 2 s, and it finds what it missed",
        kind: Kind::Heals,
    },
    Fault {
        title: "asked for by hand",
        units: &["archive.service"],
        command: "unitmedic recover archive --action graceful_restart --no-wait",
        remark: "the worker may finish the job in hand first",
        kind: Kind::Heals,
    },
];

impl Fault {
    /// Breaks it, and waits until unitmedic has told that it is over.
    pub fn happen(&self, number: usize, host: &Host<'_>, watch: &Watch, screen: &Screen) -> Result<(), Failure> {
        self.announce(number, screen);
        let mark = watch.mark();
        let limit = LIMIT * host.patience;
        host.place.sh_for(self.command, limit)?;
        match self.kind {
            Kind::Heals => {}
            Kind::Mended(command) => {
                let what = format!("{}: a try that fails", self.title);
                until(&what, limit, || watch.told(mark, |fact| self.concerns(fact) && is_failed_try(fact)))?;
                // systemd's own restarts come first; the next try is to be ours.
                host.place.wait_property(self.units[0], "ActiveState", "failed", limit)?;
                screen.line(&prompt(command, screen));
                host.place.sh_for(command, limit)?;
            }
            Kind::LeftAlone => {
                let what = format!("{}: seen as a stop on purpose", self.title);
                let stopped = |fact: &Fact| matches!(fact.what, What::StoppedOnPurpose { .. });
                until(&what, limit, || watch.told(mark, |fact| self.concerns(fact) && stopped(fact)))?;
                return linger(BREATH);
            }
        }
        for unit in self.units {
            let closed = |fact: &Fact| {
                matches!(fact.what, What::IncidentClosed { .. })
                    && fact.unit.as_ref().is_some_and(|name| name.as_str() == *unit)
            };
            until(&format!("{}: {unit} proven well", self.title), limit, || watch.told(mark, closed))?;
        }
        linger(BREATH)
    }

    fn concerns(&self, fact: &Fact) -> bool {
        fact.unit.as_ref().is_some_and(|name| self.units.contains(&name.as_str()))
    }

    fn announce(&self, number: usize, screen: &Screen) {
        let look = &screen.look;
        let number = look.dim(&format!("{number:>2}/{}", FAULTS.len()));
        let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT + 2));
        let mut lines = vec![String::new()];
        if self.title.len() + 2 + self.remark.len() <= room {
            lines.push(format!("{number}  {}  {}", look.bold(self.title), look.dim(self.remark)));
        } else {
            lines.push(format!("{number}  {}", look.bold(self.title)));
            lines.extend(wrap(self.remark, room).iter().map(|line| format!("{:INDENT$}{}", "", look.dim(line))));
        }
        lines.push(prompt(self.command, screen));
        screen.lines(&lines);
    }
}

/// The command as it was run, over as many lines as it needs.
fn prompt(command: &str, screen: &Screen) -> String {
    let look = &screen.look;
    let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT + 4));
    let lines = wrap(command, room).join(&format!(" \\\n{:INDENT$}    ", ""));
    format!("{:INDENT$}{} {lines}", "", look.dim("#"))
}

fn is_failed_try(fact: &Fact) -> bool {
    matches!(fact.what, What::AttemptEnded { outcome: Outcome::Failed, .. })
}
