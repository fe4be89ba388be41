//! The demo in a virtual machine, for where no systemd-nspawn host is allowed.
//!
//! Outside, this boots the machine of `tests/vm` and passes its lines on. Inside, the same program shows the demo on
//! the machine that it runs on.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use unitmedic::cli::terminal::stdout_look;
use unitmedic::views::look::Look;

use crate::host::Host;
use crate::image;
use crate::interrupt;
use crate::qemu::{Heard, Qemu};
use crate::screen::Screen;
use crate::show::{show, systemd_version};
use crate::testhost::{Failure, Here, Place};

/// Set in the environment of this program in the machine (tests/vm/build-base.sh).
const INSIDE: &str = "UNITMEDIC_VM_INSIDE";
/// On the kernel's command line: how the text is to look.
const LOOK: &str = "unitmedic.look=";
/// The last line that comes out, with what came of it.
const END: &str = "@demo end ";

/// The processor is emulated: what takes 10 ms elsewhere may take 200 ms.
const PATIENCE: u32 = 5;
const BOOT_LIMIT: Duration = Duration::from_secs(180);
const RUN_LIMIT: Duration = Duration::from_secs(900);
const LISTEN_FOR: Duration = Duration::from_millis(100);

pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

pub fn run(program: &Path, stay: bool) -> Result<bool, Failure> {
    let cache = cache()?;
    let base = image::base(&cache)?;
    interrupt::check()?;
    let run = image::programs(&cache, program)?;
    let outcome = boot_and_listen(&base, &run);
    let _ = fs::remove_dir_all(&run);
    if stay && outcome.is_ok() {
        println!("STAY=1 has no meaning here: the virtual machine has no network to be reached by.");
    }
    outcome
}

fn boot_and_listen(base: &Path, run: &Path) -> Result<bool, Failure> {
    let look = stdout_look(false);
    let words = format!("{LOOK}{}", encode(&look));
    println!("Booting it takes about 20 s; its processor is emulated, so all spans are longer than on a real one.");
    let qemu = Qemu::boot(base, run, &words)?;
    let deadline = Instant::now() + RUN_LIMIT;
    loop {
        interrupt::check()?;
        match qemu.hear(deadline.min(Instant::now() + LISTEN_FOR)) {
            Heard::Line(line) => match line.strip_prefix(END) {
                Some("well") => return Ok(true),
                Some("not well") => return Ok(false),
                Some(why) => return Err(Failure::new(why)),
                None => println!("{line}"),
            },
            Heard::Silence if Instant::now() < deadline => {}
            Heard::Silence => return Err(ended("took too long", &qemu)),
            Heard::Ended => return Err(ended("ended before the demo did", &qemu)),
        }
    }
}

fn ended(how: &str, qemu: &Qemu) -> Failure {
    Failure::new(format!("the virtual machine {how}; last on its console:\n{}", qemu.last_words()))
}

/// Beside the other products of the build, and shared with the tests.
fn cache() -> Result<PathBuf, Failure> {
    let own = env::current_exe()?;
    // target/release/examples/demo
    own.ancestors().nth(3).map(|target| target.join("vm")).ok_or_else(|| "the demo lies in no target directory".into())
}

/// In the machine: waits until systemd has started everything, and shows the demo.
pub fn inside() {
    let line = match inside_on(&Here) {
        Ok(true) => "well".to_owned(),
        Ok(false) => "not well".to_owned(),
        Err(error) => error.to_string().replace('\n', "; "),
    };
    println!("{END}{line}");
}

fn inside_on(place: &Here) -> Result<bool, Failure> {
    place.run_for(&["systemctl", "is-system-running", "--wait"], b"", BOOT_LIMIT)?;
    let screen = Arc::new(Screen::of_lines(decode(&fs::read_to_string("/proc/cmdline")?)));
    let version = systemd_version(place);
    screen.line(&format!("{}: a virtual machine, {version}.", screen.look.bold("unitmedic demo")));
    let host = Host { place, socket: "/run/unitmedic/control.sock".into(), patience: PATIENCE };
    host.set_up("127.0.0.1:10119")?;
    show(&host, &screen).map(|(well, _)| well)
}

/// `80,colour,unicode`
fn encode(look: &Look) -> String {
    let width = look.width.map(|width| width.to_string()).unwrap_or_default();
    let colour = if look.colour { ",colour" } else { "" };
    let unicode = if look.unicode { ",unicode" } else { "" };
    format!("{width}{colour}{unicode}")
}

fn decode(command_line: &str) -> Look {
    let words = command_line.split_whitespace().find_map(|word| word.strip_prefix(LOOK)).unwrap_or_default();
    let mut look = Look::plain(TimeZone::UTC);
    for word in words.split(',') {
        match word {
            "colour" => look.colour = true,
            "unicode" => look.unicode = true,
            width => look.width = width.parse().ok().or(look.width),
        }
    }
    look
}
