//! The MESSAGE_ID of every event: fixed for ever, so that `journalctl MESSAGE_ID=…` and the message catalog find it.

use crate::model::What;

macro_rules! message_ids {
    ($($variant:ident = $event:literal, $id:literal;)+) => {
        /// Every event with its id. An id is never changed and never given to another event.
        pub const MESSAGE_IDS: &[(&str, &str)] = &[$(($event, $id)),+];

        /// The id of the event, 128 bits in hexadecimal.
        pub fn message_id(what: &What) -> &'static str {
            match what { $(What::$variant { .. } => $id,)+ }
        }
    };
}

message_ids! {
    Started = "started", "b750e7e0565633c6ea8c0a4d0397e616";
    BusLost = "bus_lost", "7e3a9e1f40759139970fab5e7d476600";
    Resynced = "resynced", "5fbbb1b74477de7a0c1eb22417af873f";
    InstanceAppeared = "instance_appeared", "0a77ec53c52c8bb11509b24bc96c8705";
    InstanceVanished = "instance_vanished", "74053445b73a458aacdd2d5e050d00e0";
    HealthChanged = "health_changed", "037ad118e28fdca8c4be165b82811a29";
    WorkerHealthChanged = "worker_health_changed", "7eded89b12848f76ae9bca4e3ee24a8c";
    AvailabilityChanged = "availability_changed", "2781c8f249ef876127ff1ff9d4732fac";
    ConditionRaised = "condition_raised", "6363bbc7031132d9dd3186785b5c981d";
    ConditionCleared = "condition_cleared", "cf8d6d86acbf17c306e8429f8f16dc0f";
    Restarted = "restarted", "548b823102fd271140eea531fedf67e3";
    StoppedOnPurpose = "stopped_on_purpose", "703a79897ba74322671f9bb97779c7cd";
    IncidentOpened = "incident_opened", "d471d120a4a10e099396e88df6701bbf";
    IncidentReopened = "incident_reopened", "25f0fa363c03a6ba1d436f544914c9ed";
    ConditionJoined = "condition_joined", "b0b76d4186566e2359d673919616cd28";
    ActionSuppressed = "action_suppressed", "b262bde02ed835b2a02f76e5fee1842d";
    AttemptIntended = "attempt_intended", "cc3e0563251e9c624cdd3f55895872cc";
    IntentNotStored = "intent_not_stored", "704cdeb982ce5bf5955fcb510428c22a";
    AttemptActed = "attempt_acted", "37bb8029e9262eb53b8598a2e4e1766d";
    AttemptDraining = "attempt_draining", "904117077c0fc865c9930137102d3beb";
    VerificationStarted = "verification_started", "8e30f3c5dfb87f67ba638d0eaa255f75";
    AttemptEnded = "attempt_ended", "5a2904a9f6d109ab31aa0d6c493aecaa";
    Escalated = "escalated", "05c9ac71d9ba8e4f6ebe6c581e6f91f3";
    IncidentClosed = "incident_closed", "400b3c029c4c75c01f9dff59c5c4c054";
    MarkedFalse = "marked_false", "9a9c74cdf50bd4a90d23d055bf8aabf0";
    ApprovalAsked = "approval_asked", "5d0b3c1f7a924e6e8f1d2b7c94a6e013";
    ApprovalAnswered = "approval_answered", "e8c2471b90d34b5fa7665f0c1d3a2b94";
    ApprovalExpired = "approval_expired", "0f6a9d83c7b1425ebd40e2918a75cf36";
    StrategiesChanged = "strategies_changed", "3f6d2ab1c0e94d7d8b52a7f1e6c98a40";
    Paused = "paused", "f235b5b46fb5020f98eafb46aed00839";
    Resumed = "resumed", "cfb2535e2814e2d4e941ccc12aa946f9";
    HoldChanged = "hold_changed", "6c7e173be8480bd8bada8406c8f53bde";
    StormOpened = "storm_opened", "6aee26d1661a8a46d37378711a5f481d";
    StormClosed = "storm_closed", "d66f7b92ba9930ec7a017a3a74afcf2f";
    Requested = "requested", "c4a491fbe688fdf3e21122ce32916dfb";
    SettingsChanged = "settings_changed", "a3101fd8de50de8689a8e142ced146a7";
    WatchOnly = "watch_only", "e44183af524fc7833e2e1904cc926b45";
    QueueLost = "queue_lost", "b44e0e736145d4007b045f0d7f238f2a";
    QueueFound = "queue_found", "e23cb5a3cced392025c65b4427f46c9e";
    JournalGap = "journal_gap", "6fed96a7db5d39af3f7adf5e826c4a04";
    ScaleWanted = "scale_wanted", "314996da3cd632bdaa6a3d064e135855";
}
