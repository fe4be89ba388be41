//! Clients of the API, each with a connection of its own, and readers of its events.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{cpu_of_all, cpu_since, memory};

/// What the page and its readers ask for.
pub const MIX: [&str; 6] = ["overview", "workers/load-1", "instances", "incidents", "history/summary", "targets"];
const EVERY: Duration = Duration::from_millis(100);

/// `count` clients ask for so long, each every 100 ms; from the question to the last byte of the answer.
pub fn load(address: &str, count: u64, span: Duration) -> Value {
    let until = Instant::now() + span;
    let clients: Vec<_> = (0..count)
        .map(|n| {
            let address = address.to_owned();
            std::thread::spawn(move || client(&address, n, count, until))
        })
        .collect();
    let mut by_question: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let (mut all, mut bad) = (Vec::new(), 0);
    for client in clients {
        for (question, took, good) in client.join().expect("a client that asks") {
            by_question.entry(question).or_default().push(took);
            all.push(took);
            bad += usize::from(!good);
        }
    }
    all.sort_unstable();
    let at = |times: &[u64], share: f64| times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied();
    let spread = |times: &mut Vec<u64>| {
        times.sort_unstable();
        json!({ "p50": at(times, 0.5), "p99": at(times, 0.99) })
    };
    let by_question: BTreeMap<&str, Value> =
        by_question.iter_mut().map(|(what, times)| (*what, spread(times))).collect();
    json!({
        "answers": all.len(), "bad": bad, "p50_us": at(&all, 0.5), "p99_us": at(&all, 0.99), "max_us": all.last(),
        "by_question": by_question,
    })
}

fn client(address: &str, number: u64, count: u64, until: Instant) -> Vec<(&'static str, u64, bool)> {
    let mut answers = BufReader::new(TcpStream::connect(address).expect("it listens"));
    let mut requests = answers.get_ref().try_clone().expect("a second handle");
    requests.set_nodelay(true).expect("TCP");
    let mut seen = Vec::new();
    // Evenly, as clients that know nothing of each other.
    let mut due = Instant::now() + EVERY * number as u32 / count as u32;
    for question in MIX.iter().cycle().skip(number as usize) {
        if due >= until {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        let head = format!("GET /api/v1/{question} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
        requests.write_all(head.as_bytes()).expect("it takes a request");
        let good = answer(&mut answers);
        seen.push((*question, asked.elapsed().as_micros() as u64, good));
        due = (due + EVERY).max(Instant::now());
    }
    seen
}

/// Reads an answer to its end; whether it is a good one.
fn answer(stream: &mut BufReader<TcpStream>) -> bool {
    let (mut line, mut length, mut good) = (String::new(), 0, false);
    loop {
        line.clear();
        assert!(stream.read_line(&mut line).expect("it answers") > 0, "it hangs up");
        if line == "\r\n" {
            break;
        }
        good |= line.starts_with("HTTP/1.1 200");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let read = std::io::copy(&mut stream.take(length), &mut std::io::sink()).expect("it answers");
    assert_eq!(read, length);
    good
}

/// `count` readers of the events for so long; and what the processes spent and hold meanwhile.
pub fn listen(address: &str, count: u64, span: Duration, pids: &[&str]) -> Value {
    let connect = || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it takes a request");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("TCP");
        stream
    };
    let streams: Vec<TcpStream> = (0..count).map(|_| connect()).collect();
    let before = cpu_of_all(pids);
    let began = Instant::now();
    let readers: Vec<_> =
        streams.into_iter().map(|stream| std::thread::spawn(move || reader(stream, began + span))).collect();
    std::thread::sleep(span);
    let spent = cpu_since(&before);
    let memory: BTreeMap<&str, Value> = pids.iter().map(|pid| (*pid, memory(pid))).collect();
    let span_us = began.elapsed().as_micros() as u64;
    let seen: Vec<(u64, u64, u64)> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    let (events, reads, bytes) = seen.first().copied().unwrap_or_default();
    let same = seen.iter().filter(|one| one.0 == events).count();
    json!({
        "span_us": span_us, "cpu_us": spent, "memory": memory, "readers_with_as_many": same,
        "events": events, "reads": reads, "bytes": bytes,
    })
}

/// Events, reads that brought something, and bytes.
fn reader(mut stream: TcpStream, until: Instant) -> (u64, u64, u64) {
    let (mut events, mut reads, mut bytes) = (0, 0, 0);
    let mut some = vec![0; 256 << 10];
    while Instant::now() < until {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(read) => {
                reads += 1;
                bytes += read as u64;
                events += some[..read].windows(7).filter(|window| window == b"\nevent:").count() as u64;
            }
            // Nothing has happened.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
    (events, reads, bytes)
}
