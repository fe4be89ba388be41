use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::model::unit::InvocationId;
use crate::model::{Selector, WorkerName};

const LIMIT: Duration = Duration::from_secs(5);
/// A name that never resolves (RFC 2606).
const NOWHERE: &str = "no-such-host.invalid";
const SHORT: Duration = Duration::from_millis(200);

fn member() -> Member {
    Member {
        unit: UnitName::new("web@2.service").unwrap(),
        worker: WorkerName::new("web").unwrap(),
        invocation: InvocationId(7),
        main_pid: 1,
        control_group: None,
        up_since: None,
    }
}

/// A server that says `answer` to whoever comes, and then nothing more.
async fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

fn why(result: ProbeResult) -> String {
    match result {
        ProbeResult::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn http_judges_the_status() {
    let good = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(http::get(&format!("http://{good}/healthz?x=1"), LIMIT).await, ProbeResult::Passed);
    let bad = server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let url = format!("http://{bad}/");
    assert_eq!(why(http::get(&url, LIMIT).await), format!("{url} answered 503"));
    let silent = server("").await;
    assert!(why(http::get(&format!("http://{silent}/"), SHORT).await).contains("did not answer within"));
    let strange = server("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert!(matches!(http::get(&format!("http://{strange}/"), LIMIT).await, ProbeResult::Failed { .. }));
}

#[tokio::test]
async fn the_head_of_the_answer_decides() {
    let stalled = server("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhalf").await;
    let began = Instant::now();
    assert_eq!(http::get(&format!("http://{stalled}/"), LIMIT).await, ProbeResult::Passed);
    assert!(began.elapsed() < LIMIT, "its body is not waited for");
    let endless: &'static str = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(300_000)).leak();
    let url = format!("http://{}/", server(endless).await);
    assert!(matches!(http::get(&url, LIMIT).await, ProbeResult::Failed { .. }), "a head without end");
}

#[tokio::test]
async fn a_token_in_a_url_is_shown_to_nobody() {
    let bad = server("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let silent = server("").await;
    for (host, limit) in [(bad, LIMIT), (closed.to_string(), LIMIT), (silent, SHORT)] {
        let why = why(http::get(&format!("http://{host}/health?token=hunter2"), limit).await);
        assert!(why.contains("/health?…") && !why.contains("hunter2"), "{why}");
    }
}

#[tokio::test]
async fn what_is_not_the_instances_fault_is_unknown() {
    for result in [
        tcp(&format!("{NOWHERE}:80"), LIMIT).await,
        http::get(&format!("http://{NOWHERE}/?token=hunter2"), LIMIT).await,
        refused("x", &Errno::MFILE.into()),
        refused("x", &Errno::ADDRNOTAVAIL.into()),
        refused("x", &Errno::NETUNREACH.into()),
    ] {
        let ProbeResult::Unknown { why } = result else { panic!("{result:?}") };
        assert!(!why.contains("hunter2"), "{why}");
    }
    assert!(matches!(refused("x", &Errno::CONNREFUSED.into()), ProbeResult::Failed { .. }));
}

#[tokio::test]
async fn tcp_judges_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert_eq!(tcp(&address, LIMIT).await, ProbeResult::Passed);
    drop(listener);
    assert!(why(tcp(&address, LIMIT).await).contains("refused"));
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(String::from).to_vec()
}

#[tokio::test]
async fn a_command_passes_by_its_exit_code() {
    let run = |script: &str| {
        let words = shell(script);
        async move { command::run(&member(), &words, LIMIT).await }
    };
    assert_eq!(run("exit 0").await, ProbeResult::Passed);
    assert_eq!(why(run("exit 3").await), "/bin/sh: exit status: 3");
    assert_eq!(
        why(run("echo fine; echo; echo 'queue\tis \u{1b}[1mfull' >&2; echo; exit 1").await),
        "/bin/sh: exit status: 1: queue is  [1mfull"
    );
    let long = why(run("yes out | head -c 3000000; exit 2").await);
    assert_eq!(long, "/bin/sh: exit status: 2: out");
    let wide = why(run("head -c 3000000 /dev/zero | tr '\\0' x; exit 2").await);
    assert_eq!(wide.len(), "/bin/sh: exit status: 2: ".len() + 200, "{wide}");
    assert_eq!(run("test \"$UNITMEDIC_UNIT\" = web@2.service && test %i = 2").await, ProbeResult::Passed);
    assert_eq!(run("head -c 5000000 /dev/zero").await, ProbeResult::Passed, "megabytes do no harm");
    let missing = command::run(&member(), &["/nonexistent".into()], LIMIT).await;
    assert!(matches!(missing, ProbeResult::Unknown { .. }), "{missing:?}");
}

#[tokio::test]
async fn one_that_never_ends_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", mark.display());
    let began = Instant::now();
    let result = command::run(&member(), &shell(&script), Duration::from_millis(500)).await;
    assert!(why(result).contains("did not answer within"));
    assert!(began.elapsed() < LIMIT);
    let pid = std::fs::read_to_string(&mark).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    while began.elapsed() < LIMIT && !state().is_empty() && !state().contains(") Z") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(state().is_empty() || state().contains(") Z"), "what it started lives: {}", state());
}

#[tokio::test]
async fn what_a_command_may_use_is_limited() {
    let limits =
        "sleep 0.2; test $(ulimit -Hn) = 1024 && test $(ulimit -c) = 0 && test $(cat /proc/self/oom_score_adj) = 500";
    assert_eq!(command::run(&member(), &shell(limits), LIMIT).await, ProbeResult::Passed);
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let began = Instant::now();
    let script = format!("sleep 1000 & echo $! > {}; exit 0", mark.display());
    assert_eq!(command::run(&member(), &shell(&script), LIMIT).await, ProbeResult::Passed);
    assert!(began.elapsed() < LIMIT, "it holds the pipes");
    let pid = std::fs::read_to_string(&mark).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    while began.elapsed() < LIMIT && !state().is_empty() && !state().contains(") Z") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(state().is_empty() || state().contains(") Z"), "it lives: {}", state());
}

fn probed(name: &str, script: &str) -> WorkerSettings {
    let mut worker = WorkerSettings::new(WorkerName::new(name).unwrap(), Selector::Template(name.into()));
    worker.probe_command = Some(shell(script));
    worker.probe_timeout = Duration::from_secs(60);
    worker
}

fn of(worker: &str, number: u32) -> Member {
    let unit = UnitName::new(&format!("{worker}@{number}.service")).unwrap();
    Member { unit, worker: WorkerName::new(worker).unwrap(), ..member() }
}

#[tokio::test]
async fn a_worker_that_is_slow_does_not_push_away_another() {
    let mut settings = Settings::empty();
    for worker in [probed("slow", "exec sleep 60"), probed("quick", "exit 1")] {
        settings.workers.insert(worker.name.clone(), worker);
    }
    let slow: Vec<Member> = (0..500).map(|number| of("slow", number)).collect();
    let clock: Clock = Arc::new(Now::default);
    let mut under_way = UnderWay::default();
    for turn in 0..TICKS {
        under_way.queue(&settings, slow.clone(), turn);
        under_way.begin(&settings, &clock);
    }
    assert_eq!(under_way.tasks.len(), IN_FLIGHT / 2, "its share");
    let quick = of("quick", 1);
    under_way.queue(&settings, vec![quick.clone()], slot(&quick.unit));
    under_way.begin(&settings, &clock);
    let reading = timeout(LIMIT, under_way.tasks.join_next()).await.expect("in time").unwrap().unwrap();
    assert_eq!(reading.unit, quick.unit);
    under_way.take(Some(reading));
    assert_eq!(under_way.asked.len(), 500, "one that waits is there once");
    under_way.queue(&settings, slow, slot(&quick.unit));
    assert_eq!(under_way.asked.len(), 500);
}

#[tokio::test]
async fn all_of_many_are_asked_in_the_order_of_their_turns() {
    let mut settings = Settings::empty();
    let worker = probed("quick", "exit 0");
    settings.workers.insert(worker.name.clone(), worker);
    let clock: Clock = Arc::new(Now::default);
    let mut under_way = UnderWay::default();
    for turn in 0..TICKS {
        under_way.queue(&settings, (0..150).map(|number| of("quick", number)).collect(), turn);
    }
    under_way.begin(&settings, &clock);
    assert_eq!(under_way.tasks.len(), IN_FLIGHT);
    while let Some(done) = under_way.tasks.join_next().await {
        under_way.take(done.ok());
        under_way.begin(&settings, &clock);
    }
    assert_eq!((under_way.found.len(), under_way.asked.len()), (150, 0));
}

#[tokio::test]
async fn each_instance_is_asked_once_in_an_interval() {
    let unit = Selector::Template("web".into());
    let mut worker = WorkerSettings::new(member().worker, unit);
    worker.probe_command = Some(shell("exit 0"));
    let mut settings = Settings::empty();
    settings.daemon.health_check_interval = Duration::from_millis(400);
    settings.workers.insert(worker.name.clone(), worker);
    let (_keep, settings) = watch::channel(Arc::new(settings));
    let (sender, mut inputs) = mpsc::channel(16);
    let clock: Clock = Arc::new(Now::default);
    let task = tokio::spawn(watch(settings, Arc::new(|| vec![member()]), clock, sender));
    for _ in 0..3 {
        let input = timeout(LIMIT, inputs.recv()).await.expect("in time").expect("an input");
        let Input::Probes { readings } = input else { panic!("{input:?}") };
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].result, ProbeResult::Passed);
    }
    task.abort();
}
