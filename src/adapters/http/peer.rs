//! Who is at the other end of a connection; of the control socket by name where the local files know it.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

/// Largest part of /etc/passwd and /etc/group that is looked at.
const ACCOUNTS_BYTES_MAX: u64 = 4 << 20;

/// The other end, as the kernel knows it. Among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Local(Credentials),
    Remote(Remote),
}

/// Credentials of the peer, as the kernel had them when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub pid: Option<i32>,
}

/// The other end of a TCP connection: a client, or the proxy before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    pub address: IpAddr,
    /// Nobody on the way can read it.
    pub tls: bool,
}

impl Credentials {
    /// `alice`, or `uid 1000` where the number has no name. Reads /etc/passwd.
    pub fn name(&self) -> String {
        user_name(&read("/etc/passwd"), self.uid).map_or_else(|| format!("uid {}", self.uid), str::to_owned)
    }

    /// `alice (uid 1000, pid 4242)`. Reads /etc/passwd: for deeds, not for every request.
    pub fn who(&self) -> String {
        self.who_in(&read("/etc/passwd"))
    }

    fn who_in(&self, passwd: &str) -> String {
        let name = user_name(passwd, self.uid);
        let pid = self.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        match name {
            Some(name) => format!("{name} (uid {}{pid})", self.uid),
            None => format!("uid {}{pid}", self.uid),
        }
    }
}

/// Number of a user of /etc/passwd.
pub fn user_id(name: &str) -> Option<u32> {
    // Both files have the number in the third field.
    group_id_in(&read("/etc/passwd"), name)
}

/// Number of a group of /etc/group.
pub fn group_id(name: &str) -> Option<u32> {
    group_id_in(&read("/etc/group"), name)
}

fn read(path: &str) -> String {
    let mut text = Vec::new();
    // A host without the file has no names to show; the number is told anyway.
    if let Ok(file) = File::open(path) {
        let _ = file.take(ACCOUNTS_BYTES_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// `name:password:uid:…`. Names that a terminal or a log could misread are not shown.
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        let plain = !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_graphic());
        (plain && id.parse() == Ok(uid)).then_some(name)
    })
}

/// `name:password:gid:…`
fn group_id_in(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken line\n\x1b[31mred:x:7:7::/:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";

    #[test]
    fn who() {
        let cases = [
            (0, Some(12), "root (uid 0, pid 12)"),
            (1000, None, "alice (uid 1000)"),
            (1001, Some(9), "uid 1001, pid 9"),
            (7, None, "uid 7"),
        ];
        for (uid, pid, expected) in cases {
            assert_eq!(Credentials { uid, pid }.who_in(PASSWD), expected);
        }
    }

    #[test]
    fn groups() {
        let groups = "root:x:0:\nunitmedic:x:990:alice\n";
        assert_eq!(group_id_in(groups, "unitmedic"), Some(990));
        assert_eq!(group_id_in(groups, "unit"), None);
    }
}
