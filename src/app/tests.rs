//! The whole daemon, without a bus: what its readers see of what operators do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::adapters::http::client::Client;
use crate::model::fact::What;
use crate::model::history::AuditFilter;
use crate::model::settings::HOLD_FILE;
use crate::model::{Selector, WorkerSettings};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

fn settings(dir: &TempDir) -> Settings {
    let mut settings = Settings::empty();
    settings.daemon.listen = None;
    settings.daemon.control_group = String::new();
    settings.daemon.control_socket = dir.path().join("control.sock");
    settings.daemon.state_dir = dir.path().join("state");
    settings.daemon.runtime_dir = dir.path().join("run");
    let mail = WorkerName::new("mail").unwrap();
    let unit = Selector::Template("unitmedic-test".into());
    settings.workers.insert(mail.clone(), WorkerSettings::new(mail, unit));
    settings
}

async fn start(dir: &TempDir, options: Options) -> (Daemon, Client) {
    let settings = settings(dir);
    let client = Client::new(&settings.daemon.control_socket);
    (Daemon::start(settings, options).await.unwrap(), client)
}

fn pause(reason: usize) -> Ask {
    Ask::Pause { worker: None, until: None, reason: reason.to_string() }
}

/// Who has read the overview reads on behind its last event: nothing may fall between the two, nor come twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_the_overview_is_in_the_events_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, client) = start(&dir, Options::default()).await;
    let (mut seen, mut told) = (0, 0);
    for n in 0..40 {
        let deed = {
            let shared = daemon.shared.clone();
            tokio::spawn(async move { shared.request("ada".into(), pause(n)).await.unwrap() })
        };
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let overview = client.overview().await.unwrap();
        let mut events = client.events_after(&overview.last_event).await.unwrap();
        deed.await.unwrap();
        daemon.request("ada", Ask::Resume { worker: None }).await.unwrap();
        let in_overview = overview.pauses.iter().any(|pause| pause.reason == n.to_string());
        let mut in_events = false;
        loop {
            let fact = timeout(PATIENCE, events.next()).await.unwrap().unwrap().expect("no reset");
            match fact.what {
                What::Paused { reason, .. } => in_events |= reason == n.to_string(),
                What::Resumed { .. } => break,
                _ => {}
            }
        }
        assert!(in_overview != in_events, "{n}: in the overview {in_overview}, in the events {in_events}");
        seen += usize::from(in_overview);
        told += usize::from(in_events);
    }
    assert_eq!(seen + told, 40);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_something_sees_it_at_once_and_others_share_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, client) = start(&dir, Options::default()).await;
    for n in 0..50 {
        daemon.request("ada", pause(n)).await.unwrap();
        let pauses = daemon.status().await.unwrap().pauses;
        assert_eq!(pauses.iter().map(|pause| pause.reason.clone()).collect::<Vec<_>>(), [n.to_string()]);
    }
    let hold = dir.path().join("run").join(HOLD_FILE);
    for _ in 0..10 {
        std::fs::write(&hold, "").unwrap();
        assert!(client.overview().await.unwrap().held, "who has touched the file hears of it");
        std::fs::remove_file(&hold).unwrap();
        assert!(!client.overview().await.unwrap().held);
    }
    // While nothing happens, all get the same one. A second may begin in between.
    let asked = (0..100).map(|_| daemon.shared.snapshot());
    let snapshots = futures_util::future::join_all(asked).await;
    let different: BTreeSet<*const _> = snapshots.iter().map(|one| Arc::as_ptr(one.as_ref().unwrap())).collect();
    assert!(different.len() <= 2, "{}", different.len());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_an_operator_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Arc::new(AtomicBool::new(true));
    let (is_bad, found) = (bad.clone(), Settings { workers: Default::default(), ..settings(&dir) });
    let load: Loader = Arc::new(move || match is_bad.load(Ordering::SeqCst) {
        true => Err("u.toml:7: unit takes a text".into()),
        false => Ok(found.clone()),
    });
    let (daemon, client) = start(&dir, Options { reload: Some(load), ..Options::default() }).await;
    let Reply::Unknown { text } = client.ask(&Ask::Reload).await.unwrap() else { panic!("a bad file is in force") };
    assert!(text.contains("the one in force stays in force: u.toml:7"), "{text}");
    assert_eq!(client.status().await.unwrap().workers.len(), 1);
    bad.store(false, Ordering::SeqCst);
    assert!(matches!(client.ask(&Ask::Reload).await.unwrap(), Reply::Done { .. }));
    assert_eq!(client.status().await.unwrap().workers.len(), 0, "in force at once");
    let deeds = client.audit(&AuditFilter::default()).await.unwrap();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(deeds[0].event, "settings_changed");
    assert!(deeds[0].who.as_ref().is_some_and(|who| who.contains(&format!("uid {uid}"))), "{deeds:?}");
    assert!(deeds[0].text.contains("; asked by "), "{deeds:?}");
    daemon.stop().await;

    let (daemon, client) = start(&dir, Options::default()).await;
    let Reply::Unknown { text } = client.ask(&Ask::Reload).await.unwrap() else { panic!("there is nothing to read") };
    assert!(text.contains("from a program"), "{text}");
    daemon.stop().await;
}
