//! Sockets that systemd opened and hands over at the start (sd_listen_fds(3)). What they are good for is for others to
//! say.

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// What tells of them; the last one says from systemd 259 on of whom LISTEN_PID tells.
const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// A socket, and the name that its unit gives it: `FileDescriptorName=`, else the unit's own.
#[derive(Debug)]
pub struct Passed {
    pub name: String,
    pub socket: OwnedFd,
}

/// Takes what was passed to this process and to no other, closes it for its children, and takes what told of it out of
/// the environment. Nothing where nothing was passed; an error where what is told cannot be true.
///
/// # Safety
///
/// Changes the environment, and owns what it returns: to be called once, from `main`, before any other thread is started
/// and before anything is opened.
pub unsafe fn take_from_env() -> io::Result<Vec<Passed>> {
    let told = sd_notify::listen_fds();
    // Not by sd-notify: it takes names that are for another process for wrong ones.
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    for variable in VARIABLES {
        // SAFETY: the caller is the only thread.
        unsafe { env::remove_var(variable) };
    }
    // SAFETY: they are open, which was seen when they were closed for children, and nobody else has taken them.
    let own = |(fd, name): (_, &str)| Passed { name: name.into(), socket: unsafe { OwnedFd::from_raw_fd(fd) } };
    Ok(told?.zip(names.split(':').chain(std::iter::repeat("without a name"))).map(own).collect())
}
