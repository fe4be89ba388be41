//! A wire between two hosts.

use std::process::Command;
use std::time::Duration;

use super::bounded::run_bounded;
use super::machine::Machine;
use super::place::Failure;

const LIMIT: Duration = Duration::from_secs(10);

/// What each of them calls its end.
const DEVICE: &str = "link0";

/// Joins two hosts, each with its address on the wire (`192.0.2.1/24`). It goes with either of them.
pub fn link(one: (&Machine, &str), other: (&Machine, &str)) -> Result<(), Failure> {
    let beyond = other.0.leader().to_string();
    ip(one.0, &["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", &beyond])?;
    for (host, address) in [one, other] {
        ip(host, &["address", "add", address, "dev", DEVICE])?;
        ip(host, &["link", "set", DEVICE, "up"])?;
    }
    Ok(())
}

/// In the network of the host, with the processes of this machine: that is how the other host is named.
fn ip(host: &Machine, words: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", host.leader())).arg("ip").args(words);
    run_bounded(command, &format!("ip {}", words.join(" ")), b"", LIMIT)?.success().map(drop)
}
