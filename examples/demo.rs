//! `make demo`: a throwaway systemd host, sample workers, unitmedic as its real service; then one fault after the
//! other while the story is told live, and a table of what came of them.
//!
//! The host is systemd-nspawn on an overlay of this machine. Where that is not allowed, it is a virtual machine in
//! QEMU: this program goes along, and what it prints inside comes back over the serial port. Nothing stays behind.
//!
//! `STAY=1` (or `--stay`) leaves the host running until Ctrl-C. `DEMO_MACHINE=host` or `vm` chooses by force.

#[path = "../tests/vm/image.rs"]
mod image;
#[path = "../tests/vm/qemu.rs"]
mod qemu;
#[path = "../tests/testhost/testhost.rs"]
mod testhost;

#[path = "demo/faults.rs"]
mod faults;
#[path = "demo/host.rs"]
mod host;
#[path = "demo/interrupt.rs"]
mod interrupt;
#[path = "demo/nspawn.rs"]
mod nspawn;
#[path = "demo/report.rs"]
mod report;
#[path = "demo/screen.rs"]
mod screen;
#[path = "demo/show.rs"]
mod show;
#[path = "demo/vm.rs"]
mod vm;
#[path = "demo/watch.rs"]
mod watch;
#[path = "demo/workers.rs"]
mod workers;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use testhost::{Failure, Machine};

fn main() -> ExitCode {
    if vm::is_inside() {
        vm::inside();
        return ExitCode::SUCCESS;
    }
    interrupt::listen();
    let stay = env::args().any(|word| word == "--stay") || env::var("STAY").is_ok_and(|value| value == "1");
    match run(stay) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt::asked() => {
            println!("Stopped. Nothing is left behind.");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("\nThe demo broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything recovered.
fn run(stay: bool) -> Result<bool, Failure> {
    let program = program()?;
    let forced = env::var("DEMO_MACHINE").unwrap_or_default();
    match (forced.as_str(), Machine::supported()) {
        ("vm", _) => println!("DEMO_MACHINE=vm: a virtual machine in QEMU, instead of a systemd-nspawn host."),
        ("host", Err(why)) => return Err(why.into()),
        ("host" | "", Ok(())) => return nspawn::run(&program, stay),
        ("", Err(why)) => {
            println!("A systemd-nspawn host cannot run here: {why}.");
            println!("So the demo runs in a virtual machine in QEMU.");
        }
        (other, _) => return Err(format!("DEMO_MACHINE={other}: it is `host` or `vm`").into()),
    }
    vm::run(&program, stay)
}

/// The daemon of the same build: `examples/demo` lies beside it.
fn program() -> Result<PathBuf, Failure> {
    let own = env::current_exe()?;
    let found = own.ancestors().nth(2).map(|directory| directory.join("unitmedic"));
    let missing = || Failure::new("unitmedic is not built: run `make demo`, or `cargo build` with the same profile");
    found.filter(|path| path.is_file()).ok_or_else(missing)
}
