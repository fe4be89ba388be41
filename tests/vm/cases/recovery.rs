//! What goes on after unitmedic itself was killed.

use std::time::Instant;

use unitmedic::model::incident::Stage;
use unitmedic::model::{Condition, Outcome, Resolution};

use super::LIMIT;
use crate::medic;
use crate::testhost::{Failure, Here, Place, wait_for};

pub const WORKERS: &str = r#"
[worker.victim]
unit = "vm-victim.service"
verify_dead_for = "6s"
"#;

pub const UNITS: &[(&str, &str)] = &[("vm-victim.service", "[Service]\nExecStart=/bin/sleep infinity\n")];

pub fn verification_goes_on() -> Result<(), Failure> {
    let name = "vm-victim.service";
    medic::start(&[name])?;
    let killed = Here.main_pid(name)?;
    Here.sh(&format!("kill -KILL {killed}"))?;
    let incident = wait_for("the restart is being verified", LIMIT, || {
        let incident = medic::incidents(name)?.into_iter().next().ok_or("no incident")?;
        match incident.last_attempt() {
            Some(attempt) if attempt.stage == Stage::Verifying && attempt.well_at.is_some() => Ok(incident),
            _ => Err(Failure::new(format!("{incident:?}"))),
        }
    })?;
    let invocation = Here.property(name, "InvocationID")?;
    let medic = Here.main_pid("unitmedic")?;
    Here.sh(&format!("kill -KILL {medic}"))?;
    let down = Instant::now();
    wait_for("unitmedic is back", LIMIT, || match Here.main_pid("unitmedic")? {
        pid if pid != medic => medic::status().map(drop),
        _ => Err(Failure::new("not yet")),
    })?;
    let back = down.elapsed();
    let closed = medic::wait_closed(name)?;
    let attempt = closed.last_attempt().ok_or("no attempt")?;
    let facts = (closed.id, closed.attempts.len(), attempt.outcome, closed.resolution);
    if facts != (incident.id, 1, Some(Outcome::Succeeded), Some(Resolution::Recovered)) {
        return Err(format!("{closed:?}").into());
    }
    if !closed.conditions.contains_key(&Condition::Dead) || Here.property(name, "InvocationID")? != invocation {
        return Err(format!("it was restarted once more: {closed:?}").into());
    }
    println!("unitmedic was back after {:.1} s; {:?}", back.as_secs_f64(), closed.time_to_recover);
    medic::stop(&[name])
}
