//! Making an exposition of 200,000 series, side by side with gather and encode of the `prometheus` crate; and a whole
//! scrape of 1,000 units over TCP.

#[path = "report/report.rs"]
mod report;

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use prometheus::{Encoder, GaugeVec, IntGaugeVec, Opts, Registry, TextEncoder};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use unitmedic::adapters::http::{Answers, Denial, Endpoint, Feed, Port, PortError, Snapshot, Web, bind_tcp, serve_tcp};
use unitmedic::model::action::Action;
use unitmedic::model::advice::Advice;
use unitmedic::model::alert::Alerts;
use unitmedic::model::approval::Card;
use unitmedic::model::condition::Health;
use unitmedic::model::fact::{Cause, Fact, ResyncReason, What};
use unitmedic::model::history::{AuditEntry, AuditFilter, Filter, Recovery, Summary, Told};
use unitmedic::model::incident::{Incident, IncidentId};
use unitmedic::model::name::{UnitName, WorkerName};
use unitmedic::model::overview::{Preview, Series, Targets};
use unitmedic::model::pattern::{PatternFilter, PatternsView};
use unitmedic::model::request::{Ask, Reply, Target};
use unitmedic::model::settings::{Selector, Settings, WebhookSettings, WorkerSettings};
use unitmedic::model::signal::ExternalAlert;
use unitmedic::model::status::{Explanation, SettingsTable};
use unitmedic::model::strategy::{Export, Strategy};
use unitmedic::model::time::{Mono, Now, Wall};
use unitmedic::model::unit::{ActiveState, LoadState};
use unitmedic::model::usage::{Pressure, Usage};
use unitmedic::views::metrics::{Board, Build, Instance, Own, Process};

use report::{Row, publish};

const SERIES: usize = 200_000;
const ROUNDS: usize = 41;
/// The peer takes some 200 ms each.
const PEER_ROUNDS: usize = 11;

fn main() {
    let now = Now { mono: Mono(100_000_000), wall: Wall(1_700_000_000_000_000) };
    let per_unit = (count(&board(1100, now), now) - count(&board(100, now), now)) / 1000;
    let units = SERIES / per_unit;
    let big = board(units, now);
    let series = count(&big, now);

    let ours = median(ROUNDS, || big.lock().unwrap().render(now, &Process::default(), false).len());
    let registry = peer(series, per_unit);
    let theirs = median(PEER_ROUNDS, || {
        let mut out = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut out).expect("a Vec takes everything");
        out.len()
    });
    println!(
        "{series} series: ours {:.2} ms ({:.2} ms CPU), prometheus crate gather+encode {:.1} ms ({:.1} ms CPU), ratio {:.0}",
        ms(ours.wall),
        ms(ours.cpu),
        ms(theirs.wall),
        ms(theirs.cpu),
        theirs.wall.as_secs_f64() / ours.wall.as_secs_f64()
    );

    let (wall, peer) = (ms(ours.wall), ms(theirs.wall));
    let row =
        Row::new(&format!("exposition of {series} series, wall"), format!("{wall:.2} ms ({:.2} ms CPU)", ms(ours.cpu)));
    let row = row.peer(format!("prometheus crate {peer:.0} ms"), wall / peer).asked("< 10 ms", wall < 10.0);

    let thousand = board(1000, now);
    let lines = count(&thousand, now);
    let render = median(ROUNDS, || thousand.lock().unwrap().render(now, &Process::read(), false).len());
    println!(
        "1000 units, {lines} series: render {:.2} ms ({:.2} ms CPU), whole scrape over TCP {:.2} ms",
        ms(render.wall),
        ms(render.cpu),
        ms(scrape(thousand, now))
    );
    publish(&[row]);
}

/// Wall time, and CPU time of this thread, which a busy machine does not stretch as much. Each its own median.
struct Medians {
    wall: Duration,
    cpu: Duration,
}

fn median(rounds: usize, mut work: impl FnMut() -> usize) -> Medians {
    let thread_cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (cpu, wall) = (thread_cpu(), Instant::now());
        black_box(work());
        walls.push(wall.elapsed());
        cpus.push(thread_cpu() - cpu);
    }
    walls.sort();
    cpus.sort();
    Medians { wall: walls[rounds / 2], cpu: cpus[rounds / 2] }
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn count(board: &Mutex<Board>, now: Now) -> usize {
    let text = board.lock().unwrap().render(now, &Process::default(), false);
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Ten workers and so many instances, every reading there.
fn board(units: usize, now: Now) -> Mutex<Board> {
    let mut settings = Settings::empty();
    let workers: Vec<WorkerName> = (0..10).map(|n| WorkerName::new(&format!("worker-{n}")).unwrap()).collect();
    for worker in &workers {
        let one = WorkerSettings::new(worker.clone(), Selector::Template(worker.to_string()));
        settings.workers.insert(worker.clone(), one);
    }
    let mut board = Board::new(Build::default(), Own::new(), &settings);
    let what = What::Resynced { reason: ResyncReason::Connected, units };
    board.apply(&Fact { seq: 0, at: now, cause: Cause::Start, worker: None, unit: None, incident: None, what });
    for n in 0..units {
        let worker = &workers[n % workers.len()];
        let unit = UnitName::new(&format!("{worker}@{n}.service")).unwrap();
        let up_since = Some(Wall(1_690_000_000_000_000 + n as i64 * 1_234_567));
        let (health, load, active) = (Health::Healthy, LoadState::Loaded, ActiveState::Active);
        board.unit(worker, &unit, Instance { health, load, active, up_since });
        board.usage(&[usage(unit, now.mono, n as u64)]);
    }
    Mutex::new(board)
}

fn usage(unit: UnitName, at: Mono, n: u64) -> Usage {
    let pressure = Some(Pressure { avg10: 0.0, total_usec: n * 77_777 });
    Usage {
        cpu_usec: Some(n * 123_457),
        memory_bytes: Some((n + 1) << 20),
        memory_inactive_file_bytes: Some(n << 12),
        memory_max_bytes: Some(2 << 30),
        tasks: Some(n % 17),
        io_read_bytes: Some(n * 4096),
        io_written_bytes: Some(n * 8192),
        cpu_pressure: pressure,
        memory_pressure: pressure,
        io_pressure: pressure,
        oom_kills: Some(0),
        ..Usage::gap(unit, at)
    }
}

/// The same number of series of the same kind: for each unit six of health, eight of state, the rest one by one.
fn peer(series: usize, per_unit: usize) -> Registry {
    let registry = Registry::new();
    let vec = |name: &str, labels: &[&str]| {
        let vec =
            IntGaugeVec::new(Opts::new(name, "Help text of an ordinary length for this family."), labels).unwrap();
        registry.register(Box::new(vec.clone())).unwrap();
        vec
    };
    let health = vec("unitmedic_unit_health", &["worker", "unit", "health"]);
    let state = vec("unitmedic_unit_active_state", &["worker", "unit", "state"]);
    let singles: Vec<IntGaugeVec> =
        (0..per_unit - 15).map(|n| vec(&format!("unitmedic_unit_reading_{n}_bytes"), &["worker", "unit"])).collect();
    let cpu = GaugeVec::new(Opts::new("unitmedic_unit_cpu_seconds", "Help."), &["worker", "unit"]).unwrap();
    registry.register(Box::new(cpu.clone())).unwrap();
    for n in 0..series / per_unit {
        let (worker, unit) = (format!("worker-{}", n % 10), format!("worker-{}@{n}.service", n % 10));
        for each in Health::ALL {
            health.with_label_values(&[&worker, &unit, each.as_str()]).set(i64::from(*each == Health::Healthy));
        }
        for each in &ActiveState::ALL[..8] {
            state.with_label_values(&[&worker, &unit, each.as_str()]).set(i64::from(*each == ActiveState::Active));
        }
        singles.iter().for_each(|vec| vec.with_label_values(&[&worker, &unit]).set(n as i64 * 4096));
        cpu.with_label_values(&[&worker, &unit]).set(n as f64 * 0.123457);
    }
    registry
}

/// From connect to the last byte.
fn scrape(board: Mutex<Board>, now: Now) -> Duration {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, shutdown) = watch::channel(false);
        let feed = Arc::new(Feed::new(String::new(), |_| String::new()));
        let web = Arc::new(Web::new(None).expect("no file is read"));
        tokio::spawn(serve_tcp(
            vec![listener],
            web,
            Arc::new(Scraped { board, now, answers: Answers::default(), feed }),
            shutdown,
        ));
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"));
            times.push(begun.elapsed());
        }
        times.sort();
        times[ROUNDS / 2]
    })
}

/// An app that has nothing but metrics.
struct Scraped {
    board: Mutex<Board>,
    now: Now,
    answers: Answers,
    feed: Arc<Feed>,
}

const NOTHING: PortError = PortError::Busy;

impl Port for Scraped {
    fn metrics(&self, _: bool) -> Bytes {
        self.board.lock().unwrap().render(self.now, &Process::read(), false).into()
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    async fn snapshot(&self) -> Result<Arc<Snapshot>, PortError> {
        Err(NOTHING)
    }
    fn turn(&self) -> Option<u64> {
        None
    }
    fn moved(&self) -> u64 {
        0
    }
    fn answers(&self) -> &Answers {
        &self.answers
    }
    async fn series(&self, _: UnitName) -> Result<Series, PortError> {
        Err(NOTHING)
    }
    async fn targets(&self) -> Result<Targets, PortError> {
        Err(NOTHING)
    }
    async fn audit(&self, _: AuditFilter) -> Result<Vec<AuditEntry>, PortError> {
        Err(NOTHING)
    }
    fn configuration(&self) -> Vec<SettingsTable> {
        Vec::new()
    }
    async fn explain(&self, _: Target) -> Result<Vec<Explanation>, PortError> {
        Err(NOTHING)
    }
    async fn incidents(&self, _: Filter) -> Result<Vec<Incident>, PortError> {
        Err(NOTHING)
    }
    async fn alerts(&self, _: Filter) -> Result<Alerts, PortError> {
        Err(NOTHING)
    }
    async fn patterns(&self, _: PatternFilter) -> Result<PatternsView, PortError> {
        Err(NOTHING)
    }
    async fn story(&self, _: IncidentId) -> Result<Told, PortError> {
        Err(NOTHING)
    }
    async fn recoveries(&self, _: Filter) -> Result<Vec<Recovery>, PortError> {
        Err(NOTHING)
    }
    async fn summary(&self, _: Option<Wall>, _: Option<WorkerName>) -> Result<Summary, PortError> {
        Err(NOTHING)
    }
    async fn strategies(&self, _: Option<WorkerName>) -> Result<Vec<Strategy>, PortError> {
        Err(NOTHING)
    }
    async fn export_strategies(&self, _: Option<WorkerName>) -> Result<Export, PortError> {
        Err(NOTHING)
    }
    async fn advice(&self, _: Option<Wall>, _: Option<WorkerName>) -> Result<Advice, PortError> {
        Err(NOTHING)
    }
    async fn approvals(&self) -> Result<Vec<Card>, PortError> {
        Err(NOTHING)
    }
    async fn preview(&self, _: Target, _: Action, _: bool) -> Result<Preview, PortError> {
        Err(NOTHING)
    }
    async fn request(&self, _: String, _: Ask) -> Result<Reply, PortError> {
        Err(NOTHING)
    }
    fn webhook(&self) -> WebhookSettings {
        WebhookSettings::default()
    }
    async fn external(&self, _: Vec<ExternalAlert>) -> Result<(), PortError> {
        Err(NOTHING)
    }
    fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }
    fn answered(&self, _: Endpoint, _: u16) {}
    fn denied(&self, _: Denial) {}
}
