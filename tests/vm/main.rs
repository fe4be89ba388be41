//! Tests that need what only a whole machine with cgroup v2 has: the memory controller, PSI per unit, OOM kills.
//!
//! Outside, this program builds a virtual machine (cached below `target/vm`), boots it once in QEMU without KVM, and
//! reports what comes back over its second serial port. The program itself goes along and runs the cases inside.
//! Write cases in `cases.rs`.

#[path = "../testhost/testhost.rs"]
mod testhost;

mod cases;
mod image;
mod inside;
mod outside;
mod qemu;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os(inside::MARK).is_some() {
        inside::run();
        return ExitCode::SUCCESS;
    }
    outside::run()
}
