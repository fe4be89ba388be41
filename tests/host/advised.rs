//! What the daemon advises after what it has seen on a real host, and that its lines are taken.

use std::thread;
use std::time::Duration;

use unitmedic::model::advice::{Advice, ProposalKind};

use crate::fixture::{AS_THE_DAEMON, DAEMON, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Does not heed the signal to drain, nor systemd's.
const STUBBORN: &str =
    "[Service]\nTimeoutStopSec=1s\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1 & wait; done'\n";

#[test]
fn what_is_advised_is_taken_and_then_not_advised_any_more() -> Result<(), Failure> {
    let host = Setup::new("advised")
        .worker_with("stubborn", "stubborn.service", STUBBORN, "drain_timeout = \"1s\"\n")
        .worker("calm", "calm.service", SLEEPER)
        .start()?;
    let none = host.unitmedic(&["advice"])?.success()?;
    ensure(none.starts_with("Nothing to change, by ") && none.lines().count() == 1, || none)?;
    let none = host.unitmedic(&["strategies", "propose"])?.success()?;
    ensure(none.starts_with("# No change of recovery is proposed"), || none)?;
    for _ in 0..5 {
        // Apart by more than the proposed settings need: what comes while one is under way is another story.
        thread::sleep(Duration::from_secs(3));
        host.unitmedic(&["recover", "stubborn", "--action", "graceful_restart", "--force"])?.success()?;
    }

    let advice = until("the drains are in the history", LIMIT, || {
        let advice: Advice = host.json(&["advice", "--json"])?;
        if advice.proposals.is_empty() { Err(Failure::new(format!("{advice:?}"))) } else { Ok(advice) }
    })?;
    let [proposal] = advice.proposals.as_slice() else { return Err(Failure::new(format!("{advice:#?}"))) };
    ensure(proposal.kind == ProposalKind::DrainTime, || format!("{proposal:#?}"))?;
    ensure(proposal.toml == "worker.stubborn.drain_timeout = \"2s\"\n", || proposal.toml.clone())?;
    let at = "/etc/unitmedic/unitmedic.toml:";
    ensure(proposal.set_at.len() == 1 && proposal.set_at[0].starts_with(at), || format!("{proposal:#?}"))?;
    let calm = host.unitmedic(&["advice", "--worker", "calm"])?.success()?;
    ensure(calm.starts_with("Nothing to change, by "), || calm)?;
    let nobody = host.unitmedic(&["advice", "--worker", "nobody"])?;
    ensure(nobody.status.code() == Some(64) && nobody.stderr.contains("no worker nobody"), || nobody.stderr.clone())?;

    let file = until("the recording is on the disk", LIMIT, || {
        let file = host.unitmedic(&["strategies", "propose"])?.success()?;
        if file.contains("# replay  5 incidents replayed") { Ok(file) } else { Err(Failure::new(file)) }
    })?;
    ensure(file.contains("NOTHING OF THIS IS IN FORCE"), || file.clone())?;
    eprintln!("{}\n{file}", host.unitmedic(&["advice"])?.success()?);
    let stranger = host.run(&[AS_THE_DAEMON, &["unitmedic", "advice"]].concat())?.success()?;
    ensure(stranger.contains("drains of stubborn never end"), || stranger)?;

    host.write("/etc/unitmedic/conf.d/zz-strategies.toml", &file)?;
    host.unitmedic(&["check-config"])?.success()?;
    host.ctl(&["reload", DAEMON])?;
    until("it is in force", LIMIT, || {
        let told = host.unitmedic(&["advice"])?.success()?;
        if told.starts_with("Nothing to change") { Ok(()) } else { Err(Failure::new(told)) }
    })?;
    host.done()
}
