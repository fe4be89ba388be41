//! What an error of systemd means for an order: somebody's no, or a failure. Pure.

use crate::model::action::{Answer, Refused};
use crate::model::name::UnitName;

/// Reads an error reply. `name` is its D-Bus name, `None` where no reply came; `text` is what it says.
pub fn answer_to(unit: &UnitName, name: Option<&str>, text: &str) -> Answer {
    let Some(name) = name else {
        return Answer::Failed { text: format!("{unit}: no answer from systemd: {text}") };
    };
    let refused = |why, text| Answer::Refused { why, text };
    match name.strip_prefix("org.freedesktop.systemd1.").unwrap_or(name) {
        "TransactionIsDestructive" | "TransactionJobsConflicting" => {
            refused(Refused::JobInFlight, format!("{unit}: another job is queued and goes first: {text}"))
        }
        "JobTypeNotApplicable" => refused(Refused::NotAllowed, format!("{unit} cannot be started: {text}")),
        "OnlyByDependency" => {
            refused(Refused::NotAllowed, format!("{unit} has RefuseManualStart= or RefuseManualStop=: {text}"))
        }
        "UnitMasked" => refused(Refused::NotAllowed, format!("{unit} is masked; `systemctl unmask {unit}` allows it")),
        "ShuttingDown" => refused(Refused::NotAllowed, format!("{unit}: systemd is shutting down")),
        "NoSuchUnit" | "LoadFailed" | "BadUnitSetting" | "UnitGenerated" => {
            refused(Refused::NoSuchUnit, format!("{unit} cannot be loaded: {text}"))
        }
        "NoSuchProcess" => refused(Refused::Superseded, format!("{unit} has no main process any more")),
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
        | "org.freedesktop.DBus.Error.AuthFailed" => {
            refused(Refused::NotAllowed, format!("{unit}: systemd does not let this user act on it: {text}"))
        }
        _ => Answer::Failed { text: format!("{unit}: {text} ({name})") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_systemd() {
        let unit = UnitName::new("mail.service").unwrap();
        let refused = |name: &str| match answer_to(&unit, Some(name), "text") {
            Answer::Refused { why, text } => {
                assert!(text.contains("mail.service"), "{text}");
                Some(why)
            }
            Answer::Failed { .. } | Answer::DidNotWork { .. } => None,
            Answer::Accepted { .. } => panic!("an error is never a yes"),
        };
        for (name, why) in [
            ("org.freedesktop.systemd1.TransactionIsDestructive", Some(Refused::JobInFlight)),
            ("org.freedesktop.systemd1.TransactionJobsConflicting", Some(Refused::JobInFlight)),
            ("org.freedesktop.systemd1.NoSuchUnit", Some(Refused::NoSuchUnit)),
            ("org.freedesktop.systemd1.LoadFailed", Some(Refused::NoSuchUnit)),
            ("org.freedesktop.systemd1.UnitMasked", Some(Refused::NotAllowed)),
            ("org.freedesktop.DBus.Error.AccessDenied", Some(Refused::NotAllowed)),
            ("org.freedesktop.DBus.Error.NoReply", None),
            ("org.freedesktop.DBus.Error.LimitsExceeded", None),
            ("org.freedesktop.systemd1.TransactionOrderIsCyclic", None),
        ] {
            assert_eq!(refused(name), why, "{name}");
        }
        assert!(matches!(answer_to(&unit, None, "timed out"), Answer::Failed { .. }));
    }
}
