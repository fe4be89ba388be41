//! Who carries out orders: the helper process, or we ourselves where we are root or a user with services of his own.

use std::path::Path;
use std::sync::Arc;

use rustix::process::geteuid;
use tokio::sync::watch;

use crate::adapters::systemd::BusAddress;
use crate::helper::remote::Remote;
use crate::helper::{Helper, wire};
use crate::model::Settings;
use crate::model::action::{Answer, Order};

pub(crate) enum Authority {
    Here(Helper),
    There(Remote),
}

impl Authority {
    /// The daemon as installed has no rights of its own; root for a trial has, and so has a user over the own units.
    pub fn new(bus: BusAddress, settings: watch::Receiver<Arc<Settings>>, runtime_dir: &Path) -> Self {
        match bus == BusAddress::User || geteuid().is_root() {
            true => Authority::Here(Helper::new(bus, settings, runtime_dir)),
            false => Authority::There(Remote::new(wire::SOCKET, settings)),
        }
    }

    /// Connects ahead of the first order. Here it also puts back what a killed process of ours left changed; there the
    /// helper does so when it starts.
    pub async fn prepare(&self) {
        match self {
            Authority::Here(helper) => helper.prepare().await,
            Authority::There(remote) => remote.prepare().await,
        }
    }

    /// New settings are in force. Here they are ours; there root's own files count.
    pub async fn refresh(&self) {
        if let Authority::There(remote) = self {
            remote.refresh().await;
        }
    }

    pub async fn act(&self, order: &Order) -> Answer {
        match self {
            Authority::Here(helper) => helper.act(order).await,
            Authority::There(remote) => remote.act(order).await,
        }
    }

    /// Calls of ours to systemd for acting; what the helper calls is not among them.
    pub fn calls(&self) -> u64 {
        match self {
            Authority::Here(helper) => helper.calls(),
            Authority::There(_) => 0,
        }
    }
}
