//! What is measured in the host itself: this program, started there again. Prints one line of JSON.
//!
//! Polls files only, so that neither PID 1 nor the bus has work because of the measuring.

pub mod api;

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, UCred,
    sendmsg_addr,
};
use rustix::process::{Gid, Pid, Signal, Uid, kill_process};
use serde_json::{Value, json};
use unitmedic::adapters::clock;
use unitmedic::adapters::store::recorder;
use unitmedic::model::{ActiveState, Input, Mono};

/// Longest wait for a unit that was killed to run again.
const AGAIN_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at one killed unit; a look takes about 10 us.
const LOOK_PAUSE: Duration = Duration::from_micros(50);
/// Between two looks at all that were killed at once.
const STORM_PAUSE: Duration = Duration::from_millis(10);
/// After one kill, before the next: what follows a recovery (history, log, metrics) must not be in the way.
const KILL_PAUSE: Duration = Duration::from_millis(150);

pub fn main(arguments: &[String]) {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words.as_slice() {
        ["kill", units @ ..] => units.iter().map(|unit| kill_one(unit)).collect(),
        ["storm", pids, units @ ..] => storm(&pids.split(',').collect::<Vec<_>>(), units),
        ["scrape", address, rounds, pause_ms, pids @ ..] => scrape(address, number(rounds), number(pause_ms), pids),
        ["beats", socket, templates, period, seconds, pids @ ..] => {
            beats(socket, templates, Duration::from_secs(number(period)), Duration::from_secs(number(seconds)), pids)
        }
        ["load", address, clients, seconds] => {
            api::load(address, number(clients), Duration::from_secs(number(seconds)))
        }
        ["listen", address, readers, seconds, pids @ ..] => {
            api::listen(address, number(readers), Duration::from_secs(number(seconds)), pids)
        }
        ["idle", seconds, pids @ ..] => idle(Duration::from_secs(number(seconds)), pids),
        ["spent", pids @ ..] => json!(pids.iter().map(|pid| (*pid, spent(pid))).collect::<BTreeMap<_, _>>()),
        ["stages", state_dir, kills @ ..] => stages(Path::new(state_dir), kills),
        other => panic!("nothing to do for {other:?}"),
    };
    println!("{answer}");
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

/// Where systemd puts an instance of a template: a slice for the template, a group for the instance.
fn group(unit: &str) -> PathBuf {
    let template = unit.split('@').next().expect("a template");
    PathBuf::from(format!("/sys/fs/cgroup/system.slice/system-{template}.slice/{unit}/cgroup.procs"))
}

/// The first process of the unit.
fn forked(procs: &Path) -> Option<i32> {
    fs::read_to_string(procs).ok()?.lines().next()?.parse().ok()
}

/// Whether the process runs the worker's program. Between fork and exec it is still systemd.
fn executes(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

/// The process of the unit that runs the worker's program.
fn process(procs: &Path) -> Option<i32> {
    forked(procs).filter(|pid| executes(*pid))
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("root may kill");
}

/// Kills the unit and waits until its program runs again. Times are on CLOCK_MONOTONIC, in microseconds.
fn kill_one(unit: &str) -> Value {
    let procs = group(unit);
    let before = process(&procs).unwrap_or_else(|| panic!("{unit} does not run"));
    let killed = clock::now().mono;
    let began = Instant::now();
    kill(before);
    let (mut gone, mut begun) = (false, None);
    loop {
        match fs::read_to_string(&procs).map(|pids| pids.lines().next().and_then(|pid| pid.parse().ok())) {
            Err(_) => gone = true,
            Ok(pid) => {
                // systemd removed the group of the dead unit, and makes it anew as the first thing of a start.
                if gone {
                    begun.get_or_insert_with(|| began.elapsed());
                }
                if pid.is_some_and(|pid: i32| pid != before && executes(pid)) {
                    break;
                }
            }
        }
        assert!(began.elapsed() < AGAIN_LIMIT, "{unit} does not come back");
        std::thread::sleep(LOOK_PAUSE);
    }
    let took = began.elapsed();
    std::thread::sleep(KILL_PAUSE);
    json!({
        "unit": unit,
        "killed": killed.0,
        "begun_us": begun.map(|at| at.as_micros() as u64),
        "took_us": took.as_micros() as u64,
    })
}

/// Kills all of them at once and waits until all run again; and the CPU time that the processes spent meanwhile.
fn storm(pids: &[&str], units: &[&str]) -> Value {
    let before: Vec<(PathBuf, i32)> = units
        .iter()
        .map(|unit| {
            let procs = group(unit);
            let pid = process(&procs).unwrap_or_else(|| panic!("{unit} does not run"));
            (procs, pid)
        })
        .collect();
    let spent = cpu_of_all(pids);
    let began = Instant::now();
    before.iter().for_each(|(_, pid)| kill(*pid));
    let mut missing: Vec<&(PathBuf, i32)> = before.iter().collect();
    let mut half = None;
    while !missing.is_empty() {
        assert!(began.elapsed() < AGAIN_LIMIT * 2, "{} of {} do not come back", missing.len(), units.len());
        missing.retain(|(procs, old)| process(procs).is_none_or(|pid| pid == *old));
        if missing.len() <= units.len() / 2 {
            half.get_or_insert(began.elapsed());
        }
        std::thread::sleep(STORM_PAUSE);
    }
    let took = began.elapsed();
    let half = half.unwrap_or(took);
    json!({ "took_us": took.as_micros() as u64, "half_us": half.as_micros() as u64, "cpu_us": cpu_since(&spent) })
}

/// From connect to the last byte, so many times; and the CPU time that the processes spent meanwhile.
fn scrape(address: &str, rounds: u64, pause_ms: u64, pids: &[&str]) -> Value {
    let before = cpu_of_all(pids);
    let began = Instant::now();
    let mut walls = Vec::new();
    let mut bytes = 0;
    for _ in 0..rounds {
        let begun = Instant::now();
        let answer = get(address);
        walls.push(begun.elapsed().as_micros() as u64);
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..answer.len().min(200)]));
        bytes = answer.len();
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    let span = began.elapsed().as_micros() as u64;
    json!({ "walls_us": walls, "bytes": bytes, "span_us": span, "cpu_us": cpu_since(&before) })
}

fn get(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = Vec::with_capacity(4 << 20);
    stream.read_to_end(&mut answer).expect("it answers");
    answer
}

/// CPU time of the processes while nothing happens, and what they hold in memory afterwards.
fn idle(span: Duration, pids: &[&str]) -> Value {
    let before = cpu_of_all(pids);
    let began = Instant::now();
    std::thread::sleep(span);
    let spent = cpu_since(&before);
    let memory: BTreeMap<&str, Value> = pids.iter().map(|pid| (*pid, memory(pid))).collect();
    json!({ "span_us": began.elapsed().as_micros() as u64, "cpu_us": spent, "memory": memory })
}

/// Sends `WATCHDOG=1` for each main process of the templates once in a period, evenly, and idles meanwhile.
fn beats(socket: &str, templates: &str, period: Duration, span: Duration, pids: &[&str]) -> Value {
    let slices = templates.split(',').map(|template| format!("/sys/fs/cgroup/system.slice/system-{template}.slice"));
    let groups = slices.flat_map(|slice| fs::read_dir(slice).expect("the slice")).flatten();
    let senders: Vec<i32> = groups.filter_map(|group| forked(&group.path().join("cgroup.procs"))).collect();
    let gap = period / u32::try_from(senders.len()).expect("fewer than 4 billion");
    let count = span.as_nanos() / gap.as_nanos();
    let to = SocketAddrUnix::new(socket).expect("a path");
    let door = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket");
    let before = cpu_of_all(pids);
    let began = Instant::now();
    for (sent, pid) in (0..u32::try_from(count).expect("fewer than 4 billion")).zip(senders.iter().cycle()) {
        std::thread::sleep((gap * sent).saturating_sub(began.elapsed()));
        send_as(&door, &to, *pid);
    }
    std::thread::sleep(span.saturating_sub(began.elapsed()));
    let threads: BTreeMap<&str, Value> = before.iter().map(|(pid, old)| (*pid, threads_since(pid, old))).collect();
    json!({
        "span_us": began.elapsed().as_micros() as u64,
        "cpu_us": cpu_since(&before),
        "threads_us": threads,
        "sent": count as u64,
    })
}

/// Microseconds by the names of the threads.
fn threads_since(pid: &str, old: &BTreeMap<String, u64>) -> Value {
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for (thread, spent) in cpu(pid) {
        let name = fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm")).unwrap_or_default();
        *sum.entry(name.trim().to_owned()).or_default() += (spent - old.get(&thread).copied().unwrap_or(0)) / 1000;
    }
    json!(sum)
}

/// A datagram whose credentials name another process, which root may do.
fn send_as(door: &OwnedFd, to: &SocketAddrUnix, pid: i32) {
    let credentials = UCred { pid: Pid::from_raw(pid).expect("a pid"), uid: Uid::ROOT, gid: Gid::ROOT };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmCredentials(credentials)), "room for credentials");
    let message = [IoSlice::new(b"WATCHDOG=1")];
    sendmsg_addr(door, to, &message, &mut control, SendFlags::empty()).expect("somebody listens");
}

fn memory(pid: &str) -> Value {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of the status");
        value.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).expect("a number")
    };
    json!({
        "rss_kb": field("VmRSS:"),
        "anon_kb": field("RssAnon:"),
        "peak_kb": field("VmHWM:"),
        "threads": field("Threads:"),
    })
}

fn cpu_of_all<'p>(pids: &[&'p str]) -> BTreeMap<&'p str, BTreeMap<String, u64>> {
    pids.iter().map(|pid| (*pid, cpu(pid))).collect()
}

/// CPU time of each thread, ns. `schedstat` counts exactly what utime + stime count in ticks of 10 ms.
fn cpu(pid: &str) -> BTreeMap<String, u64> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let spent = text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        threads.insert(thread.file_name().to_string_lossy().into_owned(), spent);
    }
    threads
}

/// Microseconds that the threads of the process have spent since they began.
fn spent(pid: &str) -> u64 {
    cpu(pid).values().sum::<u64>() / 1000
}

/// Microseconds since then, by process. A thread that ended meanwhile is not in it, one that began is.
fn cpu_since<'p>(before: &BTreeMap<&'p str, BTreeMap<String, u64>>) -> BTreeMap<&'p str, u64> {
    let since = |pid: &str, old: &BTreeMap<String, u64>| {
        let now = cpu(pid);
        now.iter().map(|(thread, spent)| spent - old.get(thread).copied().unwrap_or(0)).sum::<u64>() / 1000
    };
    before.iter().map(|(pid, old)| (*pid, since(pid, old))).collect()
}

/// Reads from the recorded inputs when the daemon knew what, for kills given as `UNIT=MICROSECONDS`.
fn stages(state_dir: &Path, kills: &[&str]) -> Value {
    let mut inputs: Vec<(Mono, Input)> = Vec::new();
    for entry in recorder::read(&state_dir.join("inputs")).expect("a recording") {
        if let Ok(recorder::Entry::Input { now, input }) = entry {
            inputs.push((now.mono, *input));
        }
    }
    kills.iter().filter_map(|kill| stages_of(&inputs, kill)).collect()
}

/// Microseconds from the kill. The kills were one after the other, so the next answer belongs to the last kill.
fn stages_of(inputs: &[(Mono, Input)], kill: &str) -> Option<Value> {
    let (unit, killed) = kill.split_once('=').expect("UNIT=TIME");
    let killed = number(killed);
    let after = &inputs[inputs.partition_point(|(at, _)| at.0 < killed)..];
    let first = |wanted: &dyn Fn(&Input) -> bool| after.iter().find(|(_, it)| wanted(it)).map(|(at, _)| at.0 - killed);
    let change = |input: &Input, state: Option<ActiveState>| match input {
        Input::Unit { unit: named, change } => named.as_str() == unit && (state.is_none() || change.active == state),
        _ => false,
    };
    Some(json!({
        "seen": first(&|it| change(it, None))?,
        "failed": first(&|it| change(it, Some(ActiveState::Failed)))?,
        "recorded": first(&|it| matches!(it, Input::Recorded { .. }))?,
        "acted": first(&|it| matches!(it, Input::Acted { .. }))?,
        "active": first(&|it| change(it, Some(ActiveState::Active)))?,
    }))
}
