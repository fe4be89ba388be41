//! What is asked of `/api/v1`, and what comes back.

use serde_json::{Value, json};

use super::*;
use crate::model::fact::{Gate, Refusal};

/// The answer's status and body, over the control socket.
async fn asked(served: &Served, path: &str) -> (u16, Value) {
    let answer = exchange(UnixStream::connect(&served.path).await.unwrap(), &get(path)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

fn units(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|instance| instance["unit"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_present_in_parts() {
    let served = control(LIMITS);
    for (path, pointer, expected) in [
        ("/overview", "/last_event", json!("run-0")),
        ("/status", "/workers/0/instances/0/unit", json!("web@2.service")),
        ("/workers", "/0/worker", json!("web")),
        ("/workers", "/0/instances", json!([])),
        ("/workers/web", "/instances/1/unit", json!("web@1.service")),
        ("/instances/mail@1.service", "/health", json!("healthy")),
        ("/instances/mail%401.service", "/unit", json!("mail@1.service")),
        ("/audit", "", json!([])),
        ("/configuration", "", json!([])),
    ] {
        let (code, answer) = asked(&served, &format!("/api/v1{path}")).await;
        assert_eq!((code, answer.pointer(pointer)), (200, Some(&expected)), "{path}: {answer}");
    }
}

#[tokio::test]
async fn instances_by_name_and_page_by_page() {
    let served = control(LIMITS);
    for (query, expected) in [
        ("", &["mail@1.service", "web@1.service", "web@2.service"][..]),
        ("?limit=2", &["mail@1.service", "web@1.service"]),
        ("?limit=2&after=web%401.service", &["web@2.service"]),
        ("?after=web%402.service", &[]),
        ("?worker=web", &["web@1.service", "web@2.service"]),
        ("?health=dead", &["web@2.service"]),
        ("?worker=mail&health=dead", &[]),
        ("?limit=0", &[]),
    ] {
        let (code, answer) = asked(&served, &format!("/api/v1/instances{query}")).await;
        assert_eq!((code, units(&answer)), (200, expected.to_vec()), "{query}");
    }
}

#[tokio::test]
async fn a_wrong_question_is_told_what_is_wrong() {
    let served = control(LIMITS);
    for (path, code, word) in [
        ("/workers/nobody", 404, "/api/v1/workers"),
        ("/instances/nobody.service", 404, "/api/v1/instances"),
        ("/instances/nobody.service/series", 404, "/api/v1/instances"),
        ("/instances/nobody.timer", 400, "service"),
        ("/instances?worker=nobody", 404, "there is no worker nobody"),
        ("/instances?health=fine", 400, "health"),
        ("/instances?limit=-1", 400, "limit"),
        ("/workers/a%20b", 400, "worker name"),
        ("/incidents/42?x=1", 400, "x"),
        ("/targets", 503, "try again"),
        ("/nonsense", 404, "/api/v1"),
        ("/overview?worker=mail", 400, "worker"),
        ("/status?x", 400, "x"),
        ("/workers?x=1", 400, "x"),
        ("/targets?since=1", 400, "since"),
        ("/configuration?x=1", 400, "x"),
        ("/audit?unit=mail.service", 400, "unit"),
        ("/events?before=1", 400, "before"),
    ] {
        let (answered, problem) = asked(&served, &format!("/api/v1{path}")).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(answered == code && problem["status"] == code && detail.contains(word), "{path}: {answered} {problem}");
    }
}

#[tokio::test]
async fn what_did_not_change_is_not_made_anew() {
    let served = control(LIMITS);
    let client = Client::new(&served.path);
    let first: Value = client.get("/api/v1/workers").await.unwrap();
    let kept = |served: &Served| served.app.answers.clone_keys();
    assert_eq!(kept(&served), ["/workers"]);
    let second: Value = client.get("/api/v1/workers").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(served.app.snapshots.load(Relaxed), 2, "who asks is asked whether the snapshot is still good");
}

#[tokio::test]
async fn events_go_on_where_a_reader_was() {
    let served = control(LIMITS);
    (1..=3).for_each(|seq| served.app.feed.push(fact(seq)));
    served.app.feed.announce();
    let client = Client::new(&served.path);
    let mut resumed = client.events_after("run-1").await.unwrap();
    for seq in 2..=3 {
        assert_eq!(timeout(PATIENCE, resumed.next()).await.unwrap().unwrap(), Some((*fact(seq)).clone()));
    }
    assert_eq!(resumed.last_id(), Some("run-3"));
    let mut lost = client.events_after("other-1").await.unwrap();
    assert_eq!(timeout(PATIENCE, lost.next()).await.unwrap().unwrap(), None, "a reset: the state must be fetched anew");

    let head = "GET /api/v1/events?after=run-1 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: run-2\r\n\r\n";
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("\"text\":\"told 3\"") {
        let mut some = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut some)).await.unwrap().unwrap();
        seen.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    assert!(
        seen.contains("id: run-3\n") && !seen.contains("id: run-2\n"),
        "the header is newer than the address: {seen}"
    );
}

#[tokio::test]
async fn a_deed_is_answered_by_its_status_and_a_no_has_its_reasons() {
    let served = control(LIMITS);
    let client = Client::new(&served.path);
    let unit = UnitName::new("mail@1.service").unwrap();
    let refusal = Refusal { gate: Gate::Storm, text: "half of them are sick".into(), until: None, setting: None };
    for (reply, code, detail) in [
        (Reply::Done { text: "paused".into() }, 200, None),
        (Reply::Accepted { incidents: vec![IncidentId(7)], waiting: vec![] }, 202, None),
        (Reply::Refused { unit, refusal }, 409, Some("mail@1.service: half of them are sick (gate storm)")),
        (Reply::Unknown { text: "there is no worker male".into() }, 404, Some("there is no worker male")),
    ] {
        *served.app.reply.lock().unwrap() = Some(reply.clone());
        let ask = post("/api/v1/requests", "application/json", "{\"ask\":\"mark_false\",\"incident\":42.0}");
        let answer = exchange(UnixStream::connect(&served.path).await.unwrap(), &ask).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["detail"].as_str(), detail, "{body}");
        let told = if detail.is_some() { &body["reply"] } else { &body };
        assert_eq!(*told, serde_json::to_value(&reply).unwrap());
        *served.app.reply.lock().unwrap() = Some(reply.clone());
        assert_eq!(client.ask(&pause()).await.unwrap(), reply, "a no is an answer, too");
    }
    let (_, ask) = served.app.asked.lock().unwrap()[0].clone();
    assert_eq!(ask, Ask::MarkFalse { incident: IncidentId(42) }, "42.0 is a whole number");
}
