//! The format in random pieces, whose error an entry is, and a journalctl that does as it likes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::export::{Entry, VALUE_MAX};
use super::*;
use crate::model::{JournalLine, Selector, UnitName, WorkerName, WorkerSettings};

/// A generator that always starts alike.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn text(name: &str, value: &str) -> Vec<u8> {
    format!("{name}={value}\n").into_bytes()
}

fn bytes(name: &str, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u64).to_le_bytes();
    [name.as_bytes(), b"\n", &length, value, b"\n"].concat()
}

/// Everything at once; the entries that came.
fn read_in(stream: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<Entry>, u64) {
    let (mut parser, mut found) = (Parser::default(), Vec::new());
    let mut rest = stream;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        parser.feed(now, |entry| found.push(entry.clone()));
        rest = later;
    }
    (found, parser.damaged())
}

/// An entry and how it is written, with fields in between that nobody asked for.
fn an_entry(chance: &mut Chance, nth: usize) -> (Entry, Vec<u8>) {
    let mut entry = Entry { cursor: format!("s=1;i={nth}"), ..Entry::default() };
    let mut stream = text("__CURSOR", &entry.cursor);
    for _ in 0..chance.below(8) {
        match chance.below(8) {
            0 => stream.extend(text("__REALTIME_TIMESTAMP", "1423944916375353")),
            1 => stream.extend(bytes("COREDUMP", &vec![b'\n'; chance.below(300_000)])),
            2 => {
                let priority = chance.below(10) as u8;
                stream.extend(text("PRIORITY", &priority.to_string()));
                let valid = Some(priority).filter(|priority| *priority < 8);
                entry.priority = entry.priority.into_iter().chain(valid).min();
            }
            3 => {
                entry.unit = format!("mail@{}.service", chance.below(5));
                stream.extend(text("_SYSTEMD_UNIT", &entry.unit));
            }
            4 => {
                entry.pid = Some(chance.below(70_000) as u32);
                stream.extend(text("_PID", &entry.pid.unwrap().to_string()));
            }
            5 => {
                entry.about = format!("mail@{}.service", chance.below(5));
                stream.extend(text(["UNIT", "USER_UNIT"][chance.below(2)], &entry.about));
            }
            6 if entry.message.is_empty() => {
                entry.message = (0..=chance.below(200)).map(|_| chance.below(256) as u8).collect();
                stream.extend(bytes("MESSAGE", &entry.message));
            }
            // The rest of what is too long is passed over.
            7 if entry.message.is_empty() => {
                entry.message = vec![7; VALUE_MAX];
                stream.extend(bytes("MESSAGE", &vec![7; VALUE_MAX + 1 + chance.below(100_000)]));
            }
            _ => stream.extend(bytes("_SYSTEMD_UNIT", &vec![0; VALUE_MAX + 1 + chance.below(100_000)])),
        }
    }
    stream.push(b'\n');
    (entry, stream)
}

#[test]
fn entries_are_the_same_in_whatever_pieces_they_come() {
    for seed in 1..40 {
        let mut chance = Chance(seed);
        let (entries, streams): (Vec<Entry>, Vec<Vec<u8>>) = (0..12).map(|nth| an_entry(&mut chance, nth)).unzip();
        let stream = streams.concat();
        let large = [1, 3, 100, 70_000][chance.below(4)];
        let (found, damaged) = read_in(&stream, || chance.below(large) + 1);
        assert_eq!(damaged, 0, "seed {seed}");
        assert!(found == entries, "seed {seed}: {found:?}\nnot {entries:?}");
    }
}

#[test]
fn garbage_costs_the_entries_that_it_hits() {
    for seed in 1..200 {
        let mut chance = Chance(seed);
        let (entries, mut streams): (Vec<Entry>, Vec<Vec<u8>>) = (0..12).map(|nth| an_entry(&mut chance, nth)).unzip();
        let hit = 1 + chance.below(10);
        let garbage: Vec<u8> = (0..chance.below(200)).map(|_| chance.below(256) as u8).collect();
        let at = chance.below(streams[hit].len());
        streams[hit].splice(at..at, garbage);
        let (found, _) = read_in(&streams.concat(), || chance.below(5000) + 1);
        assert!(found.starts_with(&entries[..hit]), "seed {seed}");
        // A length that garbage made up may swallow what follows, but never makes entries.
        assert!(found.len() <= entries.len() + 1, "seed {seed}: {} entries", found.len());
    }
    let words = b"-- Boot 1 --\n\n__CURSOR=s=1\nPRIORITY=3\n\n".to_vec();
    let (found, damaged) = read_in(&words, || 1);
    assert_eq!((found.len(), damaged), (1, 1));
    assert_eq!(found[0].priority, Some(3));
    let absurd = [b"__CURSOR=s=0\nMESSAGE\n".to_vec(), vec![0xff; 8], b"x\n\n\n__CURSOR=s=1\n\n".to_vec()].concat();
    let (found, damaged) = read_in(&absurd, || 1);
    assert_eq!((found.len(), damaged, found[0].cursor.as_str()), (1, 1, "s=1"));
}

#[test]
fn a_repeated_message_is_looked_at_as_a_whole() {
    let stream = [text("__CURSOR", "s=1"), text("MESSAGE", "one"), bytes("MESSAGE", b"two"), b"\n".to_vec()].concat();
    assert_eq!(read_in(&stream, || 2).0[0].message, b"one\ntwo");
}

fn settings(error_match: Option<&str>) -> Arc<Settings> {
    let mut settings = Settings::empty();
    for (name, unit, error_match) in [
        ("mail", Selector::Template("mail".into()), error_match),
        ("batch", Selector::Glob("batch-*.service".into()), None),
    ] {
        let name = WorkerName::new(name).unwrap();
        let mut worker = WorkerSettings::new(name.clone(), unit);
        worker.error_match = error_match.map(str::to_owned);
        settings.workers.insert(name, worker);
    }
    Arc::new(settings)
}

fn entry(unit: &str, priority: Option<u8>, message: &str) -> Entry {
    Entry { cursor: "s=1".into(), unit: unit.into(), priority, message: message.into(), ..Entry::default() }
}

#[test]
fn whose_error_it_is() {
    let mut tally = Tally::new(Scope::System, settings(Some("(?i)panic")));
    for (unit, priority, message) in [
        ("mail@1.service", Some(3), "x"),
        ("mail@1.service", Some(0), "x"),
        ("mail@1.service", Some(4), "warn"),
        ("mail@1.service", Some(6), "thread PANICked"),
        ("mail@1.service", None, "a panic without a priority"),
        ("mail@2.service", None, "fine"),
        ("batch-x.service", Some(6), "panic, but of another worker"),
        ("batch-x.service", Some(2), ""),
        ("other.service", Some(0), "not watched"),
        ("init.scope", Some(3), "mail@1.service: Failed with result 'exit-code'."),
        ("systemd-journald.service", Some(3), "never touched"),
        ("", Some(3), "the kernel"),
    ] {
        tally.note(&entry(unit, priority, message));
    }
    let own = Entry { pid: Some(std::process::id()), ..entry("mail@1.service", Some(3), "ours") };
    tally.note(&own);
    tally.note(&Entry { user_unit: "mail@1.service".into(), ..entry("user@1000.service", Some(3), "a user's") });
    let systemd = entry("mail@1.service", Some(3), "Failed at step EXEC spawning /x: Permission denied");
    tally.note(&Entry { about: "mail@1.service".into(), ..systemd });
    tally.note(&Entry { about: "mail@1.service".into(), ..entry("batch-x.service", Some(3), "mail@1 is broken") });
    let counts: Vec<(String, u64)> = tally.counts().into_iter().map(|(unit, n)| (unit.to_string(), n)).collect();
    assert_eq!(counts, [("batch-x.service".to_string(), 2), ("mail@1.service".to_string(), 4)]);
    tally.set(Arc::new(Settings::empty()));
    assert_eq!(tally.counts(), [], "nobody's any more");

    let mut tally = Tally::new(Scope::User, settings(None));
    assert!(!tally.needs_all());
    tally.note(&entry("mail@1.service", Some(3), "of the system"));
    tally.note(&Entry { user_unit: "mail@1.service".into(), ..entry("user@1000.service", Some(3), "") });
    assert_eq!(tally.counts(), [(UnitName::new("mail@1.service").unwrap(), 1)]);
}

/// A watcher with a shell script for a journalctl.
struct Rig {
    dir: tempfile::TempDir,
    inputs: mpsc::Receiver<Input>,
    settings: watch::Sender<Arc<Settings>>,
    heard: Arc<std::sync::Mutex<Vec<JournalLine>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const ERROR: &str = r"printf '__CURSOR=s=1;i=%s\nPRIORITY=3\n_SYSTEMD_UNIT=mail@1.service\n\n' $i";

impl Rig {
    fn start(script: &str, kept: Option<&str>) -> Self {
        Self::with(script, kept, settings(None))
    }

    fn with(script: &str, kept: Option<&str>, settings: Arc<Settings>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("journalctl");
        // Written by a shell: a file that this process had open for writing could still be so in another test's child.
        let text = format!("#!/bin/sh\ncd {}\n{QUESTIONS}echo \"$@\" >> calls\n{script}\n", dir.path().display());
        let place = program.display();
        let command = format!("cat > {place}.new && chmod 755 {place}.new && mv {place}.new {place}");
        let mut shell = std::process::Command::new("sh");
        let mut shell = shell.args(["-c", &command]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut shell.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        if let Some(kept) = kept {
            std::fs::write(dir.path().join("journal.cursor"), kept).unwrap();
        }
        let pace = Pace {
            program: place.to_string(),
            round: Duration::from_millis(150),
            flood_entries: 1000,
            pause_first: Duration::from_millis(20),
            pause_max: Duration::from_millis(60),
        };
        let (settings, in_force) = watch::channel(settings);
        let (sender, inputs) = mpsc::channel(64);
        let clock: Clock = Arc::new(|| crate::model::Now { mono: mono(), wall: crate::model::Wall(WALL) });
        let heard = Arc::<std::sync::Mutex<Vec<JournalLine>>>::default();
        let into = heard.clone();
        let lines = Lines::new(Arc::new(move |line| into.lock().unwrap().push(line)), Arc::default());
        let watcher = Watcher::new(Scope::System, Keeper::new(dir.path()), clock, in_force, sender, pace, lines);
        Self { dir, inputs, settings, heard, task: tokio::spawn(watcher.run()) }
    }

    async fn round(&mut self) -> ErrorCounts {
        match tokio::time::timeout(Duration::from_secs(20), self.inputs.recv()).await {
            Ok(Some(Input::Errors(counts))) => counts,
            other => panic!("{other:?}"),
        }
    }

    /// The first round that is so.
    async fn until(&mut self, what: &str, want: impl Fn(&ErrorCounts) -> bool) -> ErrorCounts {
        let mut seen = Vec::new();
        for _ in 0..60 {
            let counts = self.round().await;
            if want(&counts) {
                return counts;
            }
            seen.push(counts);
        }
        panic!("{what}: {seen:#?}");
    }

    fn calls(&self) -> Vec<String> {
        read_lines(&self.dir.path().join("calls"))
    }

    /// The arguments of a call, once it has been made.
    async fn call(&self, nth: usize) -> String {
        self.eventually(|| self.calls().get(nth).cloned()).await
    }

    async fn eventually<T>(&self, look: impl Fn() -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            match look() {
                Some(found) => return found,
                None if std::time::Instant::now() > deadline => panic!("not within 20 s; calls: {:#?}", self.calls()),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// What every journalctl answers: the last entry of all; and whether there is more behind one, if a file says so.
const QUESTIONS: &str = r#"case "$*" in
*--follow*|*--cursor=*|*--until*|*--since*) ;;
*--after-cursor*) [ -e more ] && printf '__CURSOR=s=1;i=7\n\n'; exit;;
*--lines=1*) printf '__CURSOR=s=1;i=0\n\n'; exit;;
esac
"#;

fn read_lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// 2026-01-01, and a host that has been up for a day.
const WALL: i64 = 1_767_225_600_000_000;

fn mono() -> Mono {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    Mono(86_400_000_000) + START.get_or_init(std::time::Instant::now).elapsed()
}

fn gap(counts: &ErrorCounts, words: &str) -> bool {
    counts.gap.as_ref().is_some_and(|gap| gap.contains(words))
}

#[tokio::test]
async fn errors_are_counted_and_the_cursor_is_kept() {
    let mut rig = Rig::start(&format!("for i in 1 2 3; do {ERROR}; done; exec sleep 60"), None);
    let counts = rig.until("three errors", |counts| !counts.counts.is_empty()).await;
    assert_eq!((counts.counts[0].1, counts.gap.clone()), (3, None));
    assert!(counts.span >= Duration::from_millis(150), "{counts:?}");
    let next = rig.round().await;
    assert_eq!((next.counts, next.gap, next.at - next.span), (vec![], None, counts.at), "a quiet round is told");
    let kept = rig.dir.path().join("journal.cursor");
    rig.eventually(|| (read_lines(&kept) == ["s=1;i=3"]).then_some(())).await;
    let call = rig.call(0).await;
    assert!(call.contains("--priority=err") && call.contains("--after-cursor=s=1;i=0"), "{call}");
    assert!(call.contains(",MESSAGE"), "{call}");
}

#[tokio::test]
async fn all_entries_are_asked_for_when_a_worker_matches_them() {
    let script = format!("case \"$*\" in *--priority*) i=1; {ERROR};; *) i=9; {ERROR};; esac; exec sleep 60");
    let mut rig = Rig::start(&script, None);
    rig.until("an error", |counts| !counts.counts.is_empty()).await;
    rig.settings.send_replace(settings(Some("panic")));
    let counts = rig.until("the other one", |counts| !counts.counts.is_empty()).await;
    assert_eq!(counts.gap, None, "a change of settings loses nothing");
    let call = rig.calls().pop().unwrap();
    assert!(call.contains("--after-cursor=s=1;i=1") && !call.contains("--priority"), "{call}");
    rig.settings.send_replace(Arc::new(Settings::empty()));
    let end = tokio::time::timeout(Duration::from_millis(600), rig.until("an input", |_| false)).await;
    assert!(end.is_err(), "without workers nothing is told");
    rig.settings.send_replace(settings(None));
    rig.round().await;
}

#[tokio::test]
async fn a_child_that_dies_is_started_again_behind_what_was_read() {
    let script = format!("i=$(wc -l < calls); {ERROR}; [ $i -gt 3 ] && exec sleep 60; echo oh no >&2; exit 7");
    let mut rig = Rig::start(&script, None);
    let counts = rig.until("its death", |counts| counts.gap.is_some()).await;
    assert!(gap(&counts, "journalctl ended (exit status: 7): oh no"), "{counts:?}");
    rig.until("a round without a gap", |counts| counts.gap.is_none()).await;
    let calls = rig.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls[3].contains("--after-cursor=s=1;i=3"), "{calls:#?}");
}

#[tokio::test]
async fn a_child_that_does_not_show_what_is_there_is_replaced() {
    let script = format!("if [ -e more ]; then rm more; i=7; {ERROR}; fi; exec sleep 60");
    let mut rig = Rig::start(&script, None);
    assert_eq!(rig.round().await.counts, vec![]);
    std::fs::write(rig.dir.path().join("more"), "").unwrap();
    let counts = rig.until("what it did not show", |counts| !counts.counts.is_empty()).await;
    assert_eq!(counts.gap, None, "nothing is lost");
    assert!(rig.call(1).await.contains("--after-cursor=s=1;i=0"));
    for _ in 0..2 * QUIET_ROUNDS {
        rig.round().await;
    }
    assert_eq!(rig.calls().len(), 2, "one that shows everything is left alone");
}

#[tokio::test]
async fn what_may_not_be_read_is_unknown_in_every_round() {
    for script in [
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
        "echo 'Hint: You are currently not seeing messages from other users and the system.' >&2; exec sleep 60",
    ] {
        let mut rig = Rig::start(script, None);
        rig.until("the first gap", |counts| counts.gap.is_some()).await;
        for nth in 0..4 {
            let counts = rig.round().await;
            assert!(gap(&counts, "no permission"), "round {nth}: {counts:?}");
        }
    }
    let mut rig = Rig::start("echo 'No journal files were found.' >&2; exec sleep 60", None);
    rig.until("there is none", |counts| gap(counts, "there is no journal")).await;
    std::fs::set_permissions(rig.dir.path().join("journalctl"), std::fs::Permissions::from_mode(0o644)).unwrap();
    rig.until("it is gone", |counts| gap(counts, "cannot be run")).await;
}

#[tokio::test]
async fn a_flood_is_not_read_to_its_end() {
    let script = format!("i=1; while :; do {ERROR}; done");
    let mut rig = Rig::start(&script, None);
    let counts = rig.until("the flood", |counts| gap(counts, "flooded")).await;
    let most = counts.counts.iter().map(|(_, count)| *count).max();
    assert!(most.is_none_or(|count| count < 20_000), "{counts:?}");
    for _ in 0..3 {
        assert!(gap(&rig.round().await, "flooded"), "it goes on, and so does the gap");
    }
    let calls = rig.calls();
    assert!(calls.len() > 1 && calls[1..].iter().all(|call| call.contains("--after-cursor=s=1;i=0")), "{calls:#?}");
}

/// A cursor so many seconds before now.
fn kept(before: i64) -> String {
    format!("s=1;i=1;t={:x}", WALL - before * 1_000_000)
}

#[tokio::test]
async fn after_our_absence_it_goes_on_where_it_was() {
    let answers = |script: &str| {
        format!("case \"$*\" in *--cursor=*) {script};; *--until=*|*--quiet*) i=5; {ERROR};; *) exec sleep 60;; esac")
    };
    let mut rig = Rig::start(&answers(&format!("printf '__CURSOR=%s\\n\\n' '{}'", kept(60))), Some(&kept(60)));
    let counts = rig.round().await;
    assert_eq!(counts.gap, None);
    assert!(counts.span >= Duration::from_secs(60) && counts.span < Duration::from_secs(90), "{counts:?}");
    let call = rig.call(1).await;
    assert!(call.contains(&format!("--after-cursor={}", kept(60))), "{call}");

    let mut rig = Rig::start(&answers("printf '__CURSOR=s=other\\n\\n'"), Some(&kept(60)));
    assert!(gap(&rig.round().await, "rotated away"));
    let call = rig.call(2).await;
    assert!(call.contains("--since=@1767225540.000000"), "{call}");

    let mut rig = Rig::start(&answers(&format!("printf '__CURSOR=%s\\n\\n' '{}'", kept(7200))), Some(&kept(7200)));
    let counts = rig.round().await;
    assert!(gap(&counts, "older than 10 min"), "{counts:?}");
    assert!(counts.span >= OLDEST && counts.span < OLDEST + Duration::from_secs(30), "{counts:?}");
    let call = rig.call(3).await;
    assert!(call.contains("--since=@1767225000.000000"), "{call}");
}

#[tokio::test]
async fn a_round_that_finds_no_room_goes_on_into_the_next() {
    let mut rig = Rig::start(&format!("i=1; {ERROR}; exec sleep 60"), None);
    let (sender, mut inputs) = mpsc::channel(1);
    let in_force = rig.settings.subscribe();
    let pace = Pace { program: rig.dir.path().join("journalctl").display().to_string(), ..Pace::default() };
    let clock: Clock = Arc::new(|| crate::model::Now { mono: mono(), wall: crate::model::Wall(WALL) });
    let (keeper, lines) = (Keeper::new(rig.dir.path()), Lines::new(Arc::new(drop), Arc::default()));
    let mut watcher = Watcher::new(Scope::System, keeper, clock, in_force, sender, pace, lines);
    watcher.tally.note(&entry("mail@1.service", Some(3), ""));
    assert!(watcher.hand_over().await);
    watcher.tally.note(&entry("mail@1.service", Some(3), ""));
    assert!(watcher.hand_over().await, "there is no room");
    watcher.tally.note(&entry("mail@1.service", Some(3), ""));
    let first = inputs.recv().await;
    assert!(watcher.hand_over().await);
    match (first, inputs.recv().await) {
        (Some(Input::Errors(first)), Some(Input::Errors(second))) => {
            assert_eq!((first.counts[0].1, second.counts[0].1), (1, 2));
            assert_eq!(second.at - second.span, first.at, "no time is missing");
        }
        other => panic!("{other:?}"),
    }
    drop(inputs);
    assert!(!watcher.hand_over().await, "nobody listens");
    rig.round().await;
}

#[tokio::test]
async fn the_text_of_errors_is_heard_and_no_other() {
    let said = r"printf '__CURSOR=s=1;i=1\nPRIORITY=%s\n_SYSTEMD_UNIT=%s\n_PID=%s\nMESSAGE=%s\n\n'";
    let own = std::process::id();
    let script = format!(
        "{said} 3 mail@1.service 7 broken; {said} 4 mail@1.service 7 warning; {said} 3 other.service 7 'of others';
        {said} 3 mail@1.service {own} ours; {said} 2 batch-x.service 7 worse; exec sleep 60"
    );
    let rig = Rig::start(&script, None);
    let heard = || {
        let lines = rig.heard.lock().unwrap();
        let lines: Vec<String> = lines.iter().map(|line| format!("{} {}", line.unit, line.text)).collect();
        (lines.len() >= 2).then_some(lines)
    };
    assert_eq!(rig.eventually(heard).await, ["mail@1.service broken", "batch-x.service worse"]);
    assert!(rig.call(0).await.contains(",MESSAGE"));
}
