//! The demo on a systemd-nspawn host.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use unitmedic::cli::terminal::stdout_look;

use crate::host::Host;
use crate::interrupt::until;
use crate::screen::Screen;
use crate::show::{show, systemd_version};
use crate::testhost::{Failure, Machine};

/// The port of unitmedic's own.
const PORT: u16 = 10119;
/// How long a host is left running at most: a week.
const STAY_LIMIT: Duration = Duration::from_secs(7 * 86_400);

pub fn run(program: &Path, stay: bool) -> Result<bool, Failure> {
    let screen = Arc::new(Screen::new(stdout_look(false)));
    let listen = if stay { free_address()? } else { format!("127.0.0.1:{PORT}") };
    let mut builder = Machine::builder("demo").binary(program);
    if stay {
        // So that this machine reaches its pages.
        builder = builder.shared_network();
    }
    let machine = builder.boot()?;
    let version = systemd_version(&machine);
    let boot = machine.boot_time().as_secs_f64();
    screen.line(&format!(
        "{}: a throwaway host on an overlay of this machine, {version}, up in {boot:.1} s.",
        screen.look.bold("unitmedic demo")
    ));
    let socket = PathBuf::from(format!("/proc/{}/root/run/unitmedic/control.sock", machine.leader()));
    let host = Host { place: &machine, socket, patience: 1 };
    host.set_up(&listen)?;
    let (well, watch) = show(&host, &screen)?;
    if stay {
        screen.lines(&invitation(&listen, machine.leader()));
        let _ = until("Ctrl-C", STAY_LIMIT, || None::<()>);
    }
    drop(watch);
    drop(machine);
    if stay {
        screen.line("Ended. Nothing is left behind.");
    }
    Ok(well)
}

fn invitation(listen: &str, leader: u32) -> Vec<String> {
    let enter = format!("nsenter --target {leader} --all");
    [
        String::new(),
        "The host stays up, and its story goes on here.".to_owned(),
        format!("  metrics   http://{listen}/metrics"),
        format!("  health    http://{listen}/-/healthy   http://{listen}/-/ready"),
        format!("  a shell   {enter} bash"),
        format!("  a look    {enter} unitmedic status"),
        format!("  a fault   {enter} systemctl kill --signal=KILL mail"),
        "Ctrl-C ends it, and nothing is left behind.".to_owned(),
        String::new(),
    ]
    .into()
}

/// unitmedic's own port, or any that is free where that one is taken.
fn free_address() -> Result<String, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.to_string())
}
