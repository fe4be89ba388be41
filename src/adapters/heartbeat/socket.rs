//! The socket and its thread: wake, drain, tell, rest a little.
//!
//! A sender's cgroup is looked up before the next datagram is taken: `systemd-notify` waits until its second one has
//! been received, and so is still there while the first is looked at.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, recvmsg, socket_with,
};
use tracing::{info, warn};

use super::members::Groups;
use super::message::{MESSAGE_MAX, is_beat};
use super::outbox::{Outbox, Told};
use super::sender::Senders;
use super::{Clock, HeartbeatStats, Refused, Sources};
use crate::model::Mono;

/// Anybody may write: who it was is known.
const MODE: u32 = 0o666;
/// Datagrams that are read before others get their word.
const DRAIN_MAX: usize = 1024;
/// Rest after each drain, so that a thousand datagrams a second wake us far less often. With [`DRAIN_MAX`] it bounds what
/// a flood can cost: 20,480 datagrams a second. The kernel holds 512 on a host with systemd (net.unix.max_dgram_qlen);
/// then senders wait, or are told so.
const REST: Duration = Duration::from_millis(50);
/// Without datagrams: how often we look whether anybody still listens.
const IDLE: Duration = Duration::from_secs(1);
/// A complaint about refused senders comes at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(600);

/// What one datagram brought.
struct Datagram {
    length: usize,
    cut: bool,
    /// As the kernel says. `None`: it does not.
    pid: Option<i32>,
}

pub struct Socket {
    fd: OwnedFd,
    buffer: Box<[u8; MESSAGE_MAX]>,
}

impl Socket {
    /// Binds it, in the place of one that a former life has left.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        // Before it can be reached: a datagram from before would have no sender, which rustix has no value for.
        set_socket_passcred(&fd, true)?;
        bind(&fd, &SocketAddrUnix::new(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        Ok(Self { fd, buffer: Box::new([0; MESSAGE_MAX]) })
    }

    /// `None`: there is none now.
    fn receive(&mut self) -> io::Result<Option<Datagram>> {
        // Room for the credentials alone: descriptors that somebody sends along are not let in, the kernel closes them.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.fd, &mut [IoSliceMut::new(&mut self.buffer[..])], &mut control, flags) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let pid = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid.as_raw_nonzero().get()),
            _ => None,
        });
        Ok(Some(Datagram { length: received.bytes, cut: received.flags.contains(ReturnFlags::TRUNC), pid }))
    }

    fn wait(&self, span: Duration) {
        let span = Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) };
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&span));
    }
}

pub struct Listener {
    socket: Socket,
    clock: Clock,
    groups: Groups,
    senders: Senders,
    outbox: Outbox,
    stats: Arc<HeartbeatStats>,
    complained: Option<Mono>,
    failing: bool,
}

impl Listener {
    /// `proc` is `/proc`, but in tests.
    pub fn new(socket: Socket, sources: Sources, proc: &Path) -> Self {
        Self {
            socket,
            clock: sources.clock,
            groups: Groups::new(sources.members),
            senders: Senders::new(proc),
            outbox: Outbox::new(sources.inputs),
            stats: sources.stats,
            complained: None,
            failing: false,
        }
    }

    pub fn run(&mut self) {
        loop {
            let now = (self.clock)().mono;
            self.socket.wait(self.outbox.due().map_or(IDLE, |due| due.since(now).min(IDLE)));
            let came = self.drain();
            let now = (self.clock)().mono;
            match self.outbox.tell(now) {
                Told::NobodyListens => return,
                Told::Later => drop(self.stats.held_back.fetch_add(1, Relaxed)),
                Told::Nothing | Told::All => {}
            }
            if self.groups.keep_fresh(now) {
                self.senders.forget_idle(now);
            }
            if came {
                thread::sleep(REST);
            }
        }
    }

    /// Takes what is there. True when there was something.
    fn drain(&mut self) -> bool {
        let now = (self.clock)().mono;
        for taken in 0..DRAIN_MAX {
            match self.socket.receive() {
                Ok(Some(datagram)) => self.take(&datagram, now),
                Ok(None) => return taken > 0,
                Err(error) => {
                    // A broken socket must not make us spin; the rest after it bounds how often we try.
                    if !std::mem::replace(&mut self.failing, true) {
                        warn!(%error, "the heartbeat socket cannot be read");
                    }
                    return true;
                }
            }
            self.failing = false;
        }
        true
    }

    fn take(&mut self, datagram: &Datagram, now: Mono) {
        self.stats.datagrams.fetch_add(1, Relaxed);
        self.stats.cut.fetch_add(u64::from(datagram.cut), Relaxed);
        if !is_beat(&self.socket.buffer[..datagram.length], datagram.cut) {
            self.stats.other.fetch_add(1, Relaxed);
            return;
        }
        let pid = datagram.pid.ok_or(Refused::Unseen);
        match pid.and_then(|pid| self.senders.instance(pid, &mut self.groups, now)) {
            Ok(unit) => {
                self.stats.beats.fetch_add(1, Relaxed);
                self.outbox.beat(unit, now);
            }
            Err(reason) => self.refuse(reason, datagram.pid, now),
        }
    }

    fn refuse(&mut self, reason: Refused, pid: Option<i32>, now: Mono) {
        self.stats.refuse(reason);
        if self.complained.is_some_and(|at| now.since(at) < COMPLAIN_EVERY) {
            return;
        }
        self.complained = Some(now);
        match reason {
            Refused::Stranger => {
                let cgroup = self.senders.place();
                info!(pid, cgroup, "a heartbeat came from a process of no watched instance, and counts for nobody");
            }
            reason => {
                info!(pid, %reason, "a heartbeat came from a process that cannot be looked at, and counts for nobody")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::sync::mpsc;

    use super::super::members::tests::{fixed, member};
    use super::*;
    use crate::model::{Input, Now, Wall};

    /// A socket of which this process is mail.service, as a made-up `/proc` says.
    struct Scene {
        dir: tempfile::TempDir,
        listener: Listener,
        inputs: mpsc::Receiver<Input>,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let own = dir.path().join(std::process::id().to_string());
            fs::create_dir(&own).unwrap();
            fs::write(own.join("cgroup"), "0::/system.slice/mail.service\n").unwrap();
            let (inputs_in, inputs) = mpsc::channel(8);
            let members = vec![
                member("mail.service", "/system.slice/mail.service"),
                member("other.service", "/system.slice/other.service"),
            ];
            let sources = Sources {
                clock: Arc::new(|| Now { mono: Mono(77), wall: Wall(0) }),
                members: fixed(members),
                inputs: inputs_in,
                stats: Arc::default(),
            };
            let socket = Socket::bind(&dir.path().join("s")).unwrap();
            let listener = Listener::new(socket, sources, dir.path());
            Self { dir, listener, inputs }
        }

        fn client(&self) -> UnixDatagram {
            let client = UnixDatagram::unbound().unwrap();
            client.connect(self.dir.path().join("s")).unwrap();
            client
        }

        fn send(&mut self, message: &[u8]) {
            assert_eq!(self.client().send(message).unwrap(), message.len());
            assert!(self.listener.drain());
        }

        /// Datagrams, beats, others, cut ones, refused ones.
        fn counts(&self) -> [u64; 5] {
            let stats = &self.listener.stats;
            let refused = stats.refused().map(|(_, count)| count).sum();
            [stats.datagrams(), stats.beats(), stats.other(), stats.cut(), refused]
        }

        fn told(&mut self) -> Vec<(String, u64)> {
            self.listener.outbox.tell(Mono(u64::MAX));
            match self.inputs.try_recv() {
                Ok(Input::Beats { beats }) => beats.iter().map(|beat| (beat.unit.to_string(), beat.at.0)).collect(),
                _ => Vec::new(),
            }
        }
    }

    #[test]
    fn the_sender_beats_for_itself_whatever_it_says() {
        let mut scene = Scene::new();
        assert!(!scene.listener.drain());
        scene.send(b"UNIT=other.service\nOBJECT_SYSTEMD_UNIT=other.service\nMAINPID=1\nWATCHDOG=1\n");
        assert_eq!(scene.told(), [("mail.service".into(), 77)]);
        scene.send(b"READY=1\nSTATUS=well");
        scene.send(b"");
        assert_eq!(scene.told(), []);
        assert_eq!(scene.counts(), [3, 1, 2, 0, 0]);
    }

    #[test]
    fn a_sender_of_no_instance_is_refused_and_counted() {
        let mut scene = Scene::new();
        let own = scene.dir.path().join(format!("{}/cgroup", std::process::id()));
        fs::write(&own, "0::/system.slice/mail.service2\n").unwrap();
        scene.send(b"WATCHDOG=1");
        fs::remove_file(&own).unwrap();
        scene.listener.senders.forget_idle(Mono(u64::MAX));
        scene.send(b"WATCHDOG=1");
        let refused: Vec<_> = scene.listener.stats.refused().collect();
        assert_eq!(refused, [(Refused::Stranger, 1), (Refused::Gone, 1), (Refused::Unseen, 0)]);
        assert_eq!(scene.told(), []);
    }

    #[test]
    fn a_long_datagram_is_cut_and_counted() {
        let mut scene = Scene::new();
        let long = |message: &[u8]| [message, &b"x".repeat(64 << 10)].concat();
        scene.send(&long(b"STATUS="));
        scene.send(&long(b"WATCHDOG=1\nSTATUS="));
        assert_eq!(scene.counts(), [2, 1, 1, 2, 0]);
    }

    #[test]
    fn descriptors_that_are_sent_along_are_not_let_in() {
        let mut scene = Scene::new();
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        {
            let fds = [theirs.as_fd(); 20];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(scene.client(), &[IoSlice::new(b"WATCHDOG=1")], &mut control, SendFlags::empty()).unwrap();
        }
        drop(theirs);
        scene.listener.drain();
        assert_eq!(scene.counts(), [1, 1, 0, 0, 0]);
        // The pipe's other end is open nowhere any more: reading ends at once, which a barrier of systemd-notify waits for.
        assert_eq!(rustix::io::read(&ours, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn a_flood_is_taken_in_portions() {
        let mut scene = Scene::new();
        let client = scene.client();
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while client.send(b"WATCHDOG=1").is_ok() {
            sent += 1;
        }
        assert!(sent > 0, "the kernel holds some and then refuses: it keeps none of them back from us");
        while scene.listener.drain() && scene.counts()[0] < sent {}
        assert_eq!(scene.counts(), [sent, sent, 0, 0, 0]);
        assert_eq!(scene.told().len(), 1);
    }

    #[test]
    fn everybody_may_write_and_what_a_former_life_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(Socket::bind(&path).unwrap());
        let _socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let file = dir.path().join("file");
        fs::write(&file, "somebody's").unwrap();
        assert!(Socket::bind(&file).is_err(), "what is no socket is not removed");
        assert!(file.exists());
    }
}
