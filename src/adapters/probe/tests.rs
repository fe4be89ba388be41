use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::model::unit::InvocationId;
use crate::model::{Selector, WorkerName};

const LIMIT: Duration = Duration::from_secs(5);
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
    assert!(why(run("exit 3").await).contains('3'));
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
