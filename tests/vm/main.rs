//! Tests that need what only a whole machine with cgroup v2 has: the memory controller, PSI per unit, OOM kills.
//!
//! Outside, this program builds a virtual machine (cached below `target/vm`), boots it once in QEMU without KVM, and
//! reports what comes back over its second serial port. The program itself goes along and runs the cases inside, and
//! is the process of the workers there, too. Write cases in `cases.rs` and below.

#[path = "../testhost/testhost.rs"]
mod testhost;

mod cases;
mod image;
mod inside;
mod medic;
mod outside;
mod qemu;
mod wire;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == worker::FLAG) {
        return match worker::run(&words[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if std::env::var_os(inside::MARK).is_some() {
        inside::run();
        return ExitCode::SUCCESS;
    }
    outside::run()
}
