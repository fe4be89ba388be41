//! One run of QEMU: start it, hear it, end it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::image::check_tools;
use crate::testhost::Failure;

/// Dropping it kills it.
pub struct Qemu {
    child: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

pub enum Heard {
    Line(String),
    Silence,
    Ended,
}

impl Qemu {
    /// `base` is from `image::base`, `run` from `image::programs`. Nothing is written to the base image.
    pub fn boot(base: &Path, run: &Path, kernel_arguments: &str) -> Result<Self, Failure> {
        check_tools(&["qemu-system-x86_64"])?;
        let console = run.join("console");
        let mut command = Command::new("qemu-system-x86_64");
        // KVM may be there and still not work in a nested machine, so the processor is always emulated.
        command
            .args(["-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max", "-m", "1024"])
            .args(["-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(base.join("vmlinuz"))
            .arg("-initrd")
            .arg(base.join("initrd"))
            .arg("-append")
            .arg(format!("console=ttyS0 panic=-1 systemd.show_status=0 {kernel_arguments}"))
            .arg("-drive")
            .arg(format!("file={},if=virtio,format=raw,snapshot=on", base.join("base.img").display()))
            .arg("-drive")
            .arg(format!("file={},if=virtio,format=raw,readonly=on", run.join("programs.tar").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(run.join("qemu"))?);
        let mut child =
            command.spawn().map_err(|error| Failure::new(format!("cannot start qemu-system-x86_64: {error}")))?;
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().ok_or("no output of QEMU")?;
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, console })
    }

    /// The next line of the second serial port.
    pub fn hear(&self, deadline: Instant) -> Heard {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::Ended,
        }
    }

    /// The end of what the kernel and systemd printed, and what QEMU complained about.
    pub fn last_words(&self) -> String {
        let console = fs::read(&self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        let lines: Vec<&str> = console.lines().collect();
        let complaints = fs::read_to_string(self.console.with_file_name("qemu")).unwrap_or_default();
        format!("{}\n{complaints}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // The child is unreaped until here, so the number is still its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
