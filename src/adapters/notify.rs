//! sd_notify: READY, STATUS, WATCHDOG, RELOADING, STOPPING.
//!
//! Without a service manager everything here does nothing. A message is never waited for: a systemd that hangs
//! must not hang us.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Between two status lines at least this long: each is a signal on the bus for everybody who watches units.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// Longest status line, characters; `systemctl status` shows one line.
const STATUS_MAX: usize = 200;

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    status: Status,
}

impl Notifier {
    /// Takes NOTIFY_SOCKET and the watchdog's settings out of the environment, so that no child process can
    /// speak in our name.
    ///
    /// # Safety
    ///
    /// Changes the environment: to be called from `main` before there is any other thread.
    pub unsafe fn take_from_env() -> io::Result<Self> {
        let address = env::var_os("NOTIFY_SOCKET");
        // SAFETY: the caller is the only thread.
        let watchdog = unsafe { sd_notify::watchdog_enabled_and_unset_env() };
        // SAFETY: as above.
        unsafe { env::remove_var("NOTIFY_SOCKET") };
        match address {
            Some(address) => Self::to(address.as_bytes(), watchdog),
            None => Ok(Self::silent()),
        }
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self { socket: None, watchdog: None, status: Status::default() }
    }

    fn to(address: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let watchdog = watchdog.filter(|interval| !interval.is_zero());
        Ok(Self { socket: Some((socket, address)), watchdog, status: Status::default() })
    }

    /// How long systemd waits for a sign of life before it kills us; ping at half of it or sooner.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Started, or done with a reload.
    pub fn ready(&mut self, status: &str) -> io::Result<()> {
        let status = self.status.force(status);
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)])
    }

    /// Shows `text` in `systemctl status`, unless it is there already. Within 500 ms of the last change it is
    /// kept until [`Notifier::flush`].
    pub fn status(&mut self, now: Instant, text: &str) -> io::Result<()> {
        self.status.want(text);
        self.flush(now)
    }

    /// Sends the status that had to wait, if its time has come.
    pub fn flush(&mut self, now: Instant) -> io::Result<()> {
        match self.status.take(now) {
            Some(status) => self.send(&[NotifyState::Status(&status)]),
            None => Ok(()),
        }
    }

    /// When [`Notifier::flush`] has something to send.
    pub fn flush_due(&self) -> Option<Instant> {
        self.status.due()
    }

    /// The sign of life for systemd's watchdog. To be sent by the event loop itself, at the end of a turn.
    pub fn watchdog(&self) -> io::Result<()> {
        match self.watchdog {
            Some(_) => self.send(&[NotifyState::Watchdog]),
            None => Ok(()),
        }
    }

    /// A reload begins; it ends with [`Notifier::ready`].
    pub fn reloading(&self) -> io::Result<()> {
        self.send(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
    }

    pub fn stopping(&mut self, status: &str) -> io::Result<()> {
        let status = self.status.force(status);
        self.send(&[NotifyState::Stopping, NotifyState::Status(&status)])
    }

    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some((socket, address)) = &self.socket else { return Ok(()) };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }
}

/// The status line: what was sent and what waits.
#[derive(Debug, Default)]
struct Status {
    sent: String,
    sent_at: Option<Instant>,
    wanted: Option<String>,
}

impl Status {
    fn want(&mut self, text: &str) {
        let text = one_line(text);
        self.wanted = (text != self.sent).then_some(text);
    }

    fn due(&self) -> Option<Instant> {
        let wanted = self.wanted.as_ref().and(self.sent_at);
        wanted.map(|at| at + STATUS_EVERY)
    }

    fn take(&mut self, now: Instant) -> Option<String> {
        if self.due().is_some_and(|due| now < due) {
            return None;
        }
        let text = self.wanted.take()?;
        self.sent.clone_from(&text);
        self.sent_at = Some(now);
        Some(text)
    }

    fn force(&mut self, text: &str) -> String {
        self.wanted = None;
        self.sent = one_line(text);
        self.sent.clone()
    }
}

/// A line break would begin another assignment of the protocol.
fn one_line(text: &str) -> String {
    text.chars().take(STATUS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Notifier, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(path.as_os_str().as_bytes(), Some(Duration::from_secs(30))).unwrap();
        (notifier, manager, dir)
    }

    fn received(manager: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 1024];
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn messages() {
        let (mut notifier, manager, _dir) = pair();
        notifier.ready("watching 3 units").unwrap();
        assert_eq!(received(&manager).unwrap(), "READY=1\nSTATUS=watching 3 units\n");
        notifier.watchdog().unwrap();
        assert_eq!(received(&manager).unwrap(), "WATCHDOG=1\n");
        notifier.reloading().unwrap();
        let reloading = received(&manager).unwrap();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().is_ok_and(|usec| usec > 0), "{reloading}");
        notifier.stopping("bye\nMAINPID=1").unwrap();
        assert_eq!(received(&manager).unwrap(), "STOPPING=1\nSTATUS=bye MAINPID=1\n", "no assignment of another");
    }

    #[test]
    fn status_changes_are_throttled_and_the_last_one_is_not_lost() {
        let (mut notifier, manager, _dir) = pair();
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        notifier.status(at(0), "a").unwrap();
        assert_eq!(received(&manager).unwrap(), "STATUS=a\n");
        notifier.status(at(100), "a").unwrap();
        notifier.status(at(200), "b").unwrap();
        notifier.status(at(300), "c").unwrap();
        assert_eq!(received(&manager), None, "too soon");
        assert_eq!(notifier.flush_due(), Some(at(500)));
        notifier.flush(at(499)).unwrap();
        assert_eq!(received(&manager), None);
        notifier.flush(at(500)).unwrap();
        assert_eq!(received(&manager).unwrap(), "STATUS=c\n");
        notifier.status(at(600), "d").unwrap();
        notifier.status(at(700), "c").unwrap();
        assert_eq!(notifier.flush_due(), None, "back to what is shown");
        notifier.flush(at(2000)).unwrap();
        assert_eq!(received(&manager), None);
    }

    #[test]
    fn without_a_manager_nothing_happens_and_with_a_dead_one_it_is_told() {
        let mut silent = Notifier::silent();
        silent.ready("x").unwrap();
        silent.watchdog().unwrap();
        assert_eq!(silent.watchdog_interval(), None);
        let (mut notifier, manager, dir) = pair();
        drop(manager);
        drop(dir);
        assert!(notifier.ready("x").is_err());
    }

    #[test]
    fn abstract_addresses() {
        let name = format!("unitmedic-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut notifier = Notifier::to(format!("@{name}").as_bytes(), None).unwrap();
        notifier.ready("x").unwrap();
        assert!(received(&manager).unwrap().starts_with("READY=1\n"));
        notifier.watchdog().unwrap();
        assert_eq!(received(&manager), None, "no watchdog was asked for");
    }
}
