//! What every deed asks systemd at the time of the act: which activation it is, and where its processes are.

use std::path::PathBuf;

use zbus::Variant;

use crate::adapters::cgroup::{CgroupPath, CgroupRoot};
use crate::adapters::systemd::bus::{Caller, Haste, SERVICE, UNIT};
use crate::adapters::systemd::unit_path;
use crate::model::action::{Answer, Refused};
use crate::model::name::UnitName;
use crate::model::unit::{InvocationId, signal_name};

/// The refusal where the unit is no longer in the activation that was meant. Asked last before a deed.
pub async fn superseded(caller: &Caller, unit: &UnitName, meant: InvocationId) -> Result<Option<Answer>, zbus::Error> {
    let value = caller.get(Haste::Quick, &unit_path(unit.as_str()), UNIT, "InvocationID").await?;
    let now = match &*value {
        Variant::Array(id) => {
            let bytes: Vec<u8> = id.iter().filter_map(|byte| u8::try_from(byte).ok()).collect();
            InvocationId::from_bytes(&bytes)
        }
        _ => InvocationId::default(),
    };
    if now == meant && !now.is_none() {
        return Ok(None);
    }
    let text = format!("{unit} is no longer in the activation {meant:?} that was meant");
    Ok(Some(Answer::Refused { why: Refused::Superseded, text }))
}

/// Sends a signal to the main process of the activation that was meant, and to no other.
pub async fn signal_main(
    caller: &Caller,
    unit: &UnitName,
    meant: InvocationId,
    signal: i32,
    did: Option<String>,
) -> Result<Answer, zbus::Error> {
    if let Some(refusal) = superseded(caller, unit, meant).await? {
        return Ok(refusal);
    }
    caller.manager("KillUnit", &(unit.as_str(), "main", signal)).await?;
    Ok(Answer::Accepted { job: None, did })
}

/// `sent SIGHUP (1) to the main process`
pub fn sent(signal: i32) -> String {
    format!("sent {} to the main process", signal_name(signal))
}

/// The directory of a unit's processes.
#[derive(Debug, Clone)]
pub struct Group {
    /// Where cgroup v2 is mounted.
    pub root: PathBuf,
    pub path: CgroupPath,
}

impl Group {
    pub fn directory(&self) -> PathBuf {
        self.root.join(self.path.as_str())
    }

    /// Where systemd has the processes of the unit now; else why that is not known, for a person.
    pub async fn of(caller: &Caller, unit: &UnitName) -> Result<Result<Self, String>, zbus::Error> {
        let value = caller.get(Haste::Quick, &unit_path(unit.as_str()), SERVICE, "ControlGroup").await?;
        let path = match &*value {
            Variant::Str(path) if !path.is_empty() => path.as_str(),
            _ => return Ok(Err(format!("{unit} has no control group: it does not run"))),
        };
        let found = CgroupPath::parse(path).map_err(|error| error.to_string());
        let root = CgroupRoot::detect().map_err(|error| error.to_string());
        Ok(found.and_then(|path| Ok(Self { root: root?.path().to_owned(), path })))
    }
}
