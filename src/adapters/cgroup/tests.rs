//! The sampler on trees of plain files, and on a real cgroup v2 tree where this process may make cgroups.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::files::Budget;
use super::limits::LIMITS_FOR;
use super::open_files::{LOOK_EVERY, LOOKED_AT_MAX};
use super::*;
use crate::model::usage::OpenFiles;
use crate::model::{HostUsage, Input};

fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

const T0: Mono = Mono(1_000_000_000);

/// A tree of plain files that looks like one of cgroup v2.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, cgroup: &str, files: &[(&str, &str)]) -> &Self {
        let dir = self.0.path().join(cgroup);
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        self
    }

    fn sampler(&self, files: usize) -> Sampler {
        Sampler::with_budget(CgroupRoot::at(self.0.path()).unwrap(), Budget::of(files)).unwrap()
    }
}

const FULL: &[(&str, &str)] = &[
    ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
    ("cpu.max", "50000 100000\n"),
    (
        "cpu.pressure",
        "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    (
        "memory.pressure",
        "some avg10=2.50 avg60=0.00 avg300=0.00 total=88\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    (
        "io.pressure",
        "some avg10=3.50 avg60=0.00 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    ("memory.current", "1048576\n"),
    ("memory.stat", "anon 4096\nfile 8192\ninactive_file 6144\nactive_file 2048\n"),
    ("memory.max", "max\n"),
    ("memory.high", "900000000\n"),
    ("memory.events", "low 0\nhigh 0\nmax 0\noom 1\noom_kill 1\noom_group_kill 0\n"),
    ("pids.current", "4\n"),
    ("pids.max", "512\n"),
    ("io.stat", "8:0 rbytes=100 wbytes=200 rios=1 wios=1 dbytes=0 dios=0\n"),
    ("cgroup.procs", ""),
    ("cgroup.threads", "1\n"),
];

#[test]
fn every_file_is_read_and_the_lowest_limit_of_the_path_holds() {
    let tree = Tree::new();
    tree.write(
        "a.slice",
        &[
            ("pids.max", "300\n"),
            ("cpu.max", "200000 100000\n"),
            ("memory.max", "500000000\n"),
            ("memory.high", "max\n"),
        ],
    )
    .write("a.slice/a-b.slice", &[("pids.max", "max\n"), ("cpu.max", "25000 100000\n"), ("memory.max", "700000000\n")])
    .write("a.slice/a-b.slice/x.service", FULL);
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("x.service"), "/a.slice/a-b.slice/x.service").unwrap();
    let mut expected = Usage::gap(unit("x.service"), T0);
    expected.cpu_usec = Some(1500);
    expected.cpu_quota = Some(0.25);
    expected.memory_bytes = Some(1_048_576);
    expected.memory_inactive_file_bytes = Some(6144);
    expected.memory_max_bytes = Some(500_000_000);
    expected.memory_high_bytes = Some(900_000_000);
    expected.tasks = Some(4);
    expected.tasks_max = Some(300);
    expected.io_read_bytes = Some(100);
    expected.io_written_bytes = Some(200);
    expected.cpu_pressure = Some(crate::model::usage::Pressure { avg10: 1.5, total_usec: 77 });
    expected.memory_pressure = Some(crate::model::usage::Pressure { avg10: 2.5, total_usec: 88 });
    expected.io_pressure = Some(crate::model::usage::Pressure { avg10: 3.5, total_usec: 99 });
    expected.oom_kills = Some(1);
    assert_eq!(sampler.sample(T0), [expected]);
}

#[test]
fn what_is_missing_or_garbage_is_none_and_never_zero() {
    let tree = Tree::new();
    tree.write("x.service", &[("cpu.stat", "usage_usec 7\n"), ("memory.current", "lots\n"), ("io.stat", "\u{0}")]);
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("x.service"), "/x.service").unwrap();
    sampler.watch(unit("gone.service"), "/gone.service").unwrap();
    let mut expected = Usage::gap(unit("x.service"), T0);
    expected.cpu_usec = Some(7);
    assert_eq!(sampler.sample(T0), [Usage::gap(unit("gone.service"), T0), expected]);
}

#[test]
fn a_file_that_appears_is_found_and_limits_are_read_again() {
    let tree = Tree::new();
    tree.write("x.service", &[("cpu.stat", "usage_usec 7\n")]);
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("x.service"), "/x.service").unwrap();
    assert_eq!(sampler.sample(T0)[0].tasks, None);
    tree.write("x.service", &[("pids.current", "3\n"), ("memory.max", "4096\n")]);
    let soon = sampler.sample(T0 + Duration::from_secs(1));
    assert_eq!((soon[0].tasks, soon[0].memory_max_bytes), (None, None), "not looked for in every sample");
    let later = sampler.sample(T0 + LIMITS_FOR);
    assert_eq!((later[0].tasks, later[0].memory_max_bytes), (Some(3), Some(4096)));
    tree.write("x.service", &[("memory.max", "8192\n")]);
    sampler.watch(unit("x.service"), "/x.service").unwrap();
    assert_eq!(sampler.sample(T0 + LIMITS_FOR)[0].memory_max_bytes, Some(8192), "watched again: looked at again");
}

#[test]
fn with_too_few_descriptors_the_readings_are_the_same() {
    let tree = Tree::new();
    for name in ["a.service", "b.service", "c.service"] {
        tree.write(name, FULL);
    }
    let sampled = |files: usize| {
        let mut sampler = tree.sampler(files);
        for name in ["a.service", "b.service", "c.service"] {
            sampler.watch(unit(name), &format!("/{name}")).unwrap();
        }
        let first = sampler.sample(T0);
        assert_eq!(first, sampler.sample(T0), "the second sample reads what is open");
        assert!(sampler.kept_files() <= files, "{} of {files}", sampler.kept_files());
        first
    };
    let all = sampled(1000);
    assert!(all.iter().all(|usage| usage.cpu_usec == Some(1500)));
    for files in [0, 1, 2, 13, 14, 20] {
        assert_eq!(sampled(files), all, "{files} descriptors");
    }
}

#[test]
fn room_that_was_freed_is_used() {
    let tree = Tree::new();
    tree.write("a.service", FULL).write("b.service", FULL);
    let mut sampler = tree.sampler(14);
    sampler.watch(unit("a.service"), "/a.service").unwrap();
    sampler.watch(unit("b.service"), "/b.service").unwrap();
    sampler.sample(T0);
    assert_eq!(sampler.kept_files(), 14);
    sampler.forget(&unit("a.service"));
    let one = sampler.kept_files();
    assert!(one < 10, "{one}");
    assert_eq!(sampler.sample(T0 + LIMITS_FOR).len(), 1);
    assert_eq!(sampler.kept_files(), 10, "nine files and their directory");
    sampler.forget(&unit("b.service"));
    assert_eq!(sampler.kept_files(), 0);
}

#[test]
fn only_new_instances_are_fresh_and_a_bad_path_ends_the_watch() {
    let tree = Tree::new();
    tree.write("a.service", FULL).write("b.service", FULL);
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("a.service"), "/a.service").unwrap();
    assert_eq!(sampler.sample_fresh(T0).len(), 1);
    assert_eq!(sampler.sample_fresh(T0).len(), 0);
    sampler.watch(unit("b.service"), "/b.service").unwrap();
    assert_eq!(sampler.sample_fresh(T0)[0].unit, unit("b.service"));
    assert!(sampler.watch(unit("b.service"), "/../b.service").is_err());
    assert_eq!(sampler.watched(), 1);
}

#[test]
fn processes_of_this_test_have_memory() {
    let tree = Tree::new();
    let me = std::process::id();
    tree.write("x.service", &[("cpu.stat", "usage_usec 7\n"), ("cgroup.procs", &format!("{me}\n"))])
        .write("x.service/inner", &[("cgroup.procs", ""), ("cgroup.threads", "5\n6\n")])
        .write("y.service", &[("cpu.stat", "usage_usec 7\n"), ("cgroup.procs", "0\n")])
        .write("x.service", &[("cgroup.threads", "4\n")]);
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("x.service"), "/x.service").unwrap();
    sampler.watch(unit("y.service"), "/y.service").unwrap();
    let samples = sampler.sample(T0);
    assert!(samples[0].memory_bytes.is_some_and(|bytes| bytes > 100_000), "{:?}", samples[0].memory_bytes);
    assert_eq!(samples[1].memory_bytes, None, "a process that we cannot see");
    assert_eq!(samples[1].tasks, None, "no file");
    let many: String = (0..513).map(|_| format!("{me}\n")).collect();
    tree.write("x.service", &[("cgroup.procs", &many)]);
    assert!(sampler.sample(T0)[0].memory_bytes.is_some(), "nothing in it ran: the list is not read again");
    tree.write("x.service", &[("cpu.stat", "usage_usec 8\n")]);
    assert_eq!(sampler.sample(T0)[0].memory_bytes, None, "more than we look at");
}

/// A process that was started with this limit of open files.
struct Holder(Child);

impl Holder {
    fn new(limit: u32) -> Self {
        let orders = format!("ulimit -n {limit}; exec sleep 600");
        let child = Command::new("sh").args(["-c", &orders]).stdin(Stdio::null()).spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        until("sleep", || fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n"));
        Self(child)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn files(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count() as u64
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn open_files_are_those_of_the_process_that_is_nearest_to_its_limit() {
    let (wide, narrow, fill) = (Holder::new(200), Holder::new(20), "4194304\n".repeat(LOOKED_AT_MAX - 1));
    let of = |holder: &Holder, limit: u64| Some(OpenFiles { count: holder.files(), limit });
    let tree = Tree::new();
    let now_in = |pids: &str| {
        tree.write("x.service", &[("cpu.stat", "usage_usec 7\n"), ("cgroup.procs", pids)]);
    };
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("x.service"), "/x.service").unwrap();
    let mut now = T0;
    let mut after = |span: Duration| {
        now = now + span;
        sampler.sample(now)[0].open_files
    };
    now_in(&format!("{}\n", wide.id()));
    assert_eq!(after(Duration::ZERO), of(&wide, 200));
    now_in(&format!("{}\n{}\n", wide.id(), narrow.id()));
    assert_eq!(after(LOOK_EVERY / 2), of(&wide, 200), "the last look stands for a while");
    assert_eq!(after(LOOK_EVERY / 2), of(&narrow, 20));
    now_in(&format!("{}\n{fill}{}\n", wide.id(), narrow.id()));
    assert_eq!(after(LOOK_EVERY), of(&wide, 200), "no more than the first are looked at");
    now_in(&format!("{}\n{}", wide.id(), narrow.id()));
    assert_eq!(after(LOOK_EVERY), of(&wide, 200), "a number that was cut off is none");
    tree.write("x.service/inner", &[("cgroup.procs", &format!("{}\n", narrow.id()))]);
    assert_eq!(after(LOOK_EVERY), of(&narrow, 20), "those of cgroups below count");
    now_in("0\n4194304\n");
    fs::remove_dir_all(tree.0.path().join("x.service/inner")).unwrap();
    assert_eq!(after(LOOK_EVERY), None, "nobody that we see");
}

#[test]
fn instances_that_begin_together_are_looked_at_one_after_the_other() {
    let holder = Holder::new(200);
    let tree = Tree::new();
    let mut sampler = tree.sampler(10_000);
    for number in 0..120 {
        let name = format!("x{number}.service");
        let procs = format!("{}\n", holder.id());
        tree.write(&name, &[("cpu.stat", "usage_usec 7\n"), ("cgroup.procs", &procs)]);
        sampler.watch(unit(&name), &format!("/{name}")).unwrap();
    }
    for (round, seen) in [(0, 2), (15, 32), (30, 62), (45, 92), (60, 120)] {
        let samples = sampler.sample(T0 + Duration::from_secs(round));
        assert_eq!(samples.iter().filter(|usage| usage.open_files.is_some()).count(), seen, "after {round} s");
    }
}

#[test]
fn pressure_is_read_when_the_slice_stalled() {
    let psi = |avg10: &str, total: u32| format!("some avg10={avg10} avg60=0.00 avg300=0.00 total={total}\n");
    let tree = Tree::new();
    let write = |cgroup: &str, avg10: &str, total: u32| {
        tree.write(cgroup, &[("cpu.stat", "usage_usec 7\n"), ("memory.pressure", &psi(avg10, total))]);
    };
    let mut sampler = tree.sampler(100);
    sampler.watch(unit("x.service"), "/a.slice/x.service").unwrap();
    let mut now = T0;
    let mut total = |what: &str, expected: u64| {
        now = now + Duration::from_secs(1);
        let told = sampler.sample(now)[0].memory_pressure.map(|pressure| pressure.total_usec);
        assert_eq!(told, Some(expected), "{what}");
    };
    write("a.slice", "0.00", 100);
    write("a.slice/x.service", "0.50", 40);
    total("first", 40);
    write("a.slice/x.service", "0.00", 41);
    total("its average was not zero", 41);
    write("a.slice/x.service", "0.00", 42);
    total("the slice stands still", 41);
    write("a.slice", "0.00", 101);
    total("the slice stalled", 42);
    fs::remove_file(tree.0.path().join("a.slice/memory.pressure")).unwrap();
    write("a.slice/x.service", "0.00", 43);
    total("what is open stays readable in this tree", 42);
    sampler.watch(unit("x.service"), "/a.slice/./x.service").unwrap_err();
    sampler.watch(unit("x.service"), "/a.slice/x.service").unwrap();
    assert_eq!(sampler.sample(T0)[0].memory_pressure.map(|pressure| pressure.total_usec), Some(43));
}

fn started(tree: &Tree, room: usize) -> (SamplerHandle, tokio::sync::mpsc::Receiver<Input>) {
    let (inputs, received) = tokio::sync::mpsc::channel(room);
    let sources = Sources { clock: Box::new(|| T0), host: Box::new(|| Some(HostUsage::default())) };
    (spawn(tree.sampler(100), Duration::from_secs(3600), sources, inputs).unwrap(), received)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn the_thread_obeys_and_hands_over_one_input_per_round() {
    let tree = Tree::new();
    tree.write("a.service", FULL).write("b.service", FULL);
    let (handle, mut received) = started(&tree, 4);
    for name in ["a.service", "b.service"] {
        handle.watch(unit(name), format!("/{name}")).unwrap();
    }
    handle.sample_now().unwrap();
    let Some(Input::Usage { samples, host }) = received.blocking_recv() else { panic!("no round") };
    assert_eq!(samples.iter().map(|usage| usage.unit.as_str()).collect::<Vec<_>>(), ["a.service", "b.service"]);
    assert!(samples[0].cpu_usec.is_some() && host.is_some());
    handle.forget(unit("a.service")).unwrap();
    handle.watch(unit("b.service"), String::new()).unwrap();
    handle.sample_now().unwrap();
    let Some(Input::Usage { samples, .. }) = received.blocking_recv() else { panic!("no round") };
    assert_eq!(samples, [], "no control group: nothing to read");
    handle.stop().unwrap();
    assert!(received.blocking_recv().is_none());
}

#[test]
fn a_round_that_nobody_takes_is_dropped_and_counted() {
    let tree = Tree::new();
    let (handle, received) = started(&tree, 1);
    handle.sample_now().unwrap();
    until("the first round", || handle.stats().rounds == 1);
    handle.sample_now().unwrap();
    until("the second round", || handle.stats().dropped_rounds == 1);
    drop(received);
    handle.sample_now().unwrap();
    until("the end of the thread", || handle.sample_now().is_err());
    assert_eq!(handle.stop(), Ok(()));
}

/// A cgroup of the real tree, removed at the end.
struct Real {
    path: PathBuf,
    processes: Vec<Child>,
}

impl Real {
    /// `None` where there is no cgroup v2 tree or where it may not be written.
    fn new(name: &str) -> Option<Self> {
        let root = CgroupRoot::detect().ok()?;
        let path = root.path().join(format!("unitmedic-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self { path, processes: Vec::new() })
    }

    fn name(&self) -> String {
        format!("/{}", self.path.file_name().unwrap().to_string_lossy())
    }

    fn sleep_in(&mut self, cgroup: &Path) {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        self.processes.push(child);
    }

    fn kill_all(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
        }
        for mut child in self.processes.drain(..) {
            let _ = child.wait();
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.kill_all();
        for child in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if child.path().is_dir() {
                let _ = fs::remove_dir(child.path());
            }
        }
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn a_removed_cgroup_is_a_gap_and_one_made_again_is_opened_anew() {
    let Some(mut real) = Real::new("anew") else { return };
    let cgroup = real.path.join("x.service");
    let name = format!("{}/x.service", real.name());
    for files in [1000, 1, 0] {
        fs::create_dir(&cgroup).unwrap();
        let root = CgroupRoot::detect().unwrap();
        let mut sampler = Sampler::with_budget(root, Budget::of(files)).unwrap();
        sampler.watch(unit("x.service"), &name).unwrap();
        real.sleep_in(&cgroup);
        let first = sampler.sample(T0);
        assert!(first[0].cpu_usec.is_some(), "{first:?}");
        assert!(first[0].memory_bytes.is_some_and(|bytes| bytes > 0), "{first:?}");
        assert_eq!(first[0].tasks, Some(1));
        assert_eq!(sampler.sample(T0)[0].tasks, Some(1));

        real.kill_all();
        remove_when_empty(&cgroup);
        assert_eq!(sampler.sample(T0), [Usage::gap(unit("x.service"), T0)]);

        fs::create_dir(&cgroup).unwrap();
        let again = sampler.sample(T0);
        assert!(again[0].cpu_usec.is_some_and(|usec| usec < 1000), "a new count: {again:?}");
        fs::remove_dir(&cgroup).unwrap();
    }
}

/// The kernel lets a cgroup go a moment after its last process was reaped.
fn remove_when_empty(cgroup: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::remove_dir(cgroup).is_err() {
        assert!(Instant::now() < deadline, "{} stays busy", cgroup.display());
        std::thread::yield_now();
    }
}

#[test]
fn tasks_are_counted_where_there_is_a_controller() {
    let tree = Tree::new();
    tree.write("a.slice/x.service", &[("pids.current", "12\n")]).write("y.service", &[("pids.current", "max\n")]);
    fs::write(tree.0.path().join("pids.current"), "3\n").unwrap();
    let root = CgroupRoot::at(&tree.0.path().join("a.slice")).unwrap();
    assert_eq!(tasks(&root, "/x.service"), Some(12));
    assert_eq!(tasks(&root, "/../y.service"), None, "no path leads out");
    let root = CgroupRoot::at(tree.0.path()).unwrap();
    assert_eq!(tasks(&root, "/a.slice/x.service"), Some(12));
    for none in ["/", "", "/a.slice", "/y.service", "/gone.service"] {
        assert_eq!(tasks(&root, none), None, "{none}");
    }
}
