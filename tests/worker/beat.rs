//! Signs of life, and READY=1.

use std::env;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::orders::Orders;

const HEARTBEAT_SOCKET: &str = "/run/unitmedic/heartbeat.sock";

/// Says a word to systemd, if it listens.
pub fn notify(word: &str) {
    if let Some(path) = env::var_os("NOTIFY_SOCKET") {
        send(&path.to_string_lossy(), word);
    }
}

/// A lost message is the receiver's to notice.
fn send(path: &str, word: &str) {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(word.as_bytes(), path)
    });
    drop(sent);
}

/// Beats for ever, as `BEATS` says, unless told not to.
pub async fn beat(orders: Orders) {
    let ways = env::var("BEATS").unwrap_or_default();
    let every = env::var("BEAT_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    loop {
        if !orders.given("no-beat") {
            ways.split_whitespace().for_each(beat_once);
        }
        tokio::time::sleep(Duration::from_millis(every)).await;
    }
}

fn beat_once(way: &str) {
    match way {
        "watchdog" => notify("WATCHDOG=1"),
        "socket" => send(HEARTBEAT_SOCKET, "WATCHDOG=1"),
        _ => {
            if let Some(path) = way.strip_prefix("file:") {
                let _ = fs::write(path, "");
            }
        }
    }
}
