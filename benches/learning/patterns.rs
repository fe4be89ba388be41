//! Patterns of log lines: grouping accuracy on LogHub's labelled lines, speed, and memory when nothing repeats.
//!
//! Grouping accuracy as usual: a line counts when its group has exactly the lines of its label; FGA is the harmonic mean
//! of the shares of found groups that are right and of labelled groups that were found (Zhu et al. 2019, Jiang et al. 2024).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use unitmedic::learn::patterns::{Limits, Miner};

use crate::report::{Row, median};

/// Drain on the same lines, with settings tuned for each set, as published with LogHub.
const PEERS: [(&str, f64); 8] = [
    ("HDFS", 0.9975),
    ("Spark", 0.920),
    ("Linux", 0.690),
    ("OpenSSH", 0.7875),
    ("Apache", 1.0),
    ("Mac", 0.7865),
    ("OpenStack", 0.7325),
    ("Windows", 0.997),
];
const ROUNDS: usize = 5;
const SHUFFLES: [usize; 5] = [777, 1_009, 1_277, 1_531, 1_999];
const SPEED_LINES: usize = 400_000;
const DISTINCT_LINES: u64 = 10_000_000;

struct Labelled {
    name: String,
    lines: Vec<String>,
    labels: Vec<String>,
}

pub fn measure() -> Vec<Row> {
    let sets = sets();
    if sets.is_empty() {
        println!("no labelled lines: LogHub's *_2k.csv (LineId, Content, EventId) are looked for in $LOGHUB");
    }
    let mut rows = accuracy(&sets);
    rows.extend(orders(&sets));
    rows.push(speed(&sets));
    rows.push(memory());
    rows
}

fn sets() -> Vec<Labelled> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/loghub");
    let directory = std::env::var_os("LOGHUB").map_or(beside, PathBuf::from);
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "csv")).collect();
    files.sort();
    files.iter().map(|path| labelled(path)).collect()
}

fn labelled(path: &Path) -> Labelled {
    let mut reader = csv::Reader::from_path(path).expect("a readable file");
    let head = reader.headers().expect("a first line").clone();
    let column = |name: &str| head.iter().position(|field| field == name).expect("LineId, Content and EventId");
    let (content, event) = (column("Content"), column("EventId"));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut set = Labelled { name: stem.trim_end_matches("_2k").into(), lines: Vec::new(), labels: Vec::new() };
    for record in reader.records() {
        let record = record.expect("a record");
        set.lines.push(record[content].into());
        set.labels.push(record[event].into());
    }
    set
}

/// One pass, one configuration.
fn grouped(lines: &[String]) -> Vec<u64> {
    let mut miner = Miner::default();
    let learned: Vec<_> = lines.iter().map(|line| miner.learn(line)).collect();
    miner.settle();
    learned.into_iter().map(|line| miner.pattern_of(line).map_or(0, |id| id.0)).collect()
}

/// Grouping accuracy of lines, and of groups.
fn judged(found: &[u64], labels: &[String]) -> (f64, f64) {
    let mut groups: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    let mut truths: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (index, (group, label)) in found.iter().zip(labels).enumerate() {
        groups.entry(*group).or_default().insert(index);
        truths.entry(label).or_default().insert(index);
    }
    let truths: BTreeSet<BTreeSet<usize>> = truths.into_values().collect();
    let right: Vec<&BTreeSet<usize>> = groups.values().filter(|group| truths.contains(*group)).collect();
    let lines: usize = right.iter().map(|group| group.len()).sum();
    let (precision, recall) = (right.len() as f64 / groups.len() as f64, right.len() as f64 / truths.len() as f64);
    let fga = if right.is_empty() { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    (lines as f64 / found.len() as f64, fga)
}

fn accuracy(sets: &[Labelled]) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut sum, mut sum_fga) = (0.0, 0.0);
    for set in sets {
        let (ga, fga) = judged(&grouped(&set.lines), &set.labels);
        (sum, sum_fga) = (sum + ga, sum_fga + fga);
        let row =
            Row::new(&format!("patterns: {}, grouping accuracy", set.name), format!("{ga:.3}, of groups {fga:.3}"));
        let peer = PEERS.iter().find(|(name, _)| *name == set.name);
        rows.push(match peer {
            Some((_, peer)) => row.peer(format!("Drain, tuned: {peer:.3}"), ga / peer),
            None => row,
        });
    }
    if !sets.is_empty() {
        let (mean, mean_fga) = (sum / sets.len() as f64, sum_fga / sets.len() as f64);
        let peer = PEERS.iter().map(|(_, accuracy)| accuracy).sum::<f64>() / PEERS.len() as f64;
        rows.push(
            Row::new(
                "patterns: mean grouping accuracy, one configuration",
                format!("{mean:.3}, of groups {mean_fga:.3}"),
            )
            .asked("> 0.90", mean > 0.90)
            .peer(format!("Drain, tuned: {peer:.3}"), mean / peer),
        );
    }
    rows
}

/// The same lines in other orders: how far the worst mean accuracy is from that of the order in which they were logged.
fn orders(sets: &[Labelled]) -> Option<Row> {
    if sets.is_empty() {
        return None;
    }
    let mean = |order: &dyn Fn(usize) -> usize| {
        let of = |set: &Labelled| {
            let pick =
                |from: &[String]| (0..from.len()).map(|at| from[order(at) % from.len()].clone()).collect::<Vec<_>>();
            judged(&grouped(&pick(&set.lines)), &pick(&set.labels)).0
        };
        sets.iter().map(of).sum::<f64>() / sets.len() as f64
    };
    let logged = mean(&|at| at);
    // Steps without a common divisor with the 2,000 lines of each set, so that every line comes once.
    let others = SHUFFLES.map(|step| mean(&|at| at * step + step / 2));
    let worst = others.iter().copied().fold(logged, f64::min);
    let text = format!("{worst:.3}, against {logged:.3} as logged");
    Some(
        Row::new("patterns: the worst mean of five other orders", text)
            .asked("the same, within reason", logged - worst < 0.02),
    )
}

/// Lines as they are in logs: the labelled ones, or, without them, one.
pub fn some_lines() -> Vec<String> {
    lines_of(&sets())
}

fn lines_of(sets: &[Labelled]) -> Vec<String> {
    match sets.is_empty() {
        true => vec!["worker 17 took 12 ms for job 8f14e45f from 10.0.0.1".to_owned()],
        false => sets.iter().flat_map(|set| set.lines.iter().cloned()).collect(),
    }
}

fn speed(sets: &[Labelled]) -> Row {
    let some = lines_of(sets);
    let rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut miner = Miner::default();
            let begun = processor_time();
            for line in some.iter().cycle().take(SPEED_LINES) {
                miner.learn(line);
            }
            miner.settle();
            SPEED_LINES as f64 / (processor_time() - begun).as_secs_f64()
        })
        .collect();
    let rate = median(&rates);
    Row::new("patterns: lines per second on one core", format!("{rate:.0}")).asked("> 500,000", rate > 500_000.0)
}

/// Every line is another one, without a digit that would be masked.
fn memory() -> Row {
    let limits = Limits::default();
    let mut miner = Miner::new(limits);
    let begun = Instant::now();
    let mut most = 0;
    for number in 0..DISTINCT_LINES {
        let line = distinct(number);
        miner.learn(&line);
        most = most.max(miner.len());
    }
    let rate = DISTINCT_LINES as f64 / begun.elapsed().as_secs_f64();
    let text = format!("at most {most} shapes, {} MiB resident, {rate:.0} lines/s", resident() >> 20);
    Row::new("patterns: 10 million distinct lines", text).asked("bounded", most <= limits.shapes)
}

fn distinct(number: u64) -> String {
    let mut left = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut line = String::from("it said");
    for _ in 0..(3 + number % 9) {
        line.push(' ');
        for _ in 0..4 {
            line.push(char::from(b'a' + (left % 26) as u8));
            left = left / 26 + number.rotate_left(7);
        }
    }
    line
}

/// Of this thread: what others do on the machine meanwhile does not count.
pub fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}
