//! The demo from its first line to its table, wherever the host is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use unitmedic::views::look::Tone;

use crate::faults::{FAULTS, Kind};
use crate::host::Host;
use crate::interrupt::until;
use crate::report;
use crate::screen::Screen;
use crate::testhost::{Failure, Place};
use crate::watch::Watch;
use crate::workers::units;

/// From the start of unitmedic until it tells.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Whether everything recovered, and nothing was touched that was to be left alone. The watch goes on until dropped.
pub fn show(host: &Host<'_>, screen: &Arc<Screen>) -> Result<(bool, Watch), Failure> {
    let started = Instant::now();
    let look = &screen.look;
    let watch = Watch::start(host.client(), screen.clone())?;
    until("unitmedic listens", READY_LIMIT * host.patience, || watch.is_listening().then_some(()))?;
    let (workers, instances) = (crate::workers::SAMPLES.len(), units().count());
    screen.lines(&[
        format!(
            "{} unitmedic watches {workers} workers, {instances} instances.",
            look.paint(Tone::Good, look.sign(Tone::Good))
        ),
        look.dim("  Here 2 s of health count as proof of a recovery, not the usual 10 s."),
    ]);
    let mut left_alone = String::new();
    for (index, fault) in FAULTS.iter().enumerate() {
        fault.happen(index + 1, host, &watch, screen)?;
        if fault.kind == Kind::LeftAlone {
            host.place.wait_property(fault.units[0], "ActiveState", "inactive", READY_LIMIT * host.patience)?;
            left_alone = host.life(fault.units[0])?;
        }
    }
    let rows = report::rows(host, &left_alone)?;
    let well = report::all_well(&rows);
    screen.line("");
    screen.lines(&report::table(&rows, look));
    screen.line("");
    let took = started.elapsed().as_secs();
    let (tone, text) = match well {
        true => (Tone::Good, "All recovered, and what its operator had stopped was left alone"),
        false => (Tone::Bad, "NOT all is as it should be"),
    };
    screen.line(&look.paint(tone, &format!("{} {text}. {took} s.", look.sign(tone))));
    screen.line(&look.dim("Spans as in `unitmedic incidents --json`; of several instances, the slowest."));
    Ok((well, watch))
}

/// `systemd 252 (252.39-1~deb12u1)`
pub fn systemd_version(place: &dyn Place) -> String {
    let first = place.sh("systemctl --version").unwrap_or_default();
    first.lines().next().unwrap_or("systemd").to_owned()
}
