//! One connection for calls to systemd: bounded in flight, bounded in time, counted. Knows no units.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use zbus::connection::{Builder, Connection};
use zbus::{DBusError, Message, OwnedVariant};

pub const SYSTEMD: &str = "org.freedesktop.systemd1";
pub const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub const UNIT_PREFIX: &str = "/org/freedesktop/systemd1/unit/";
pub const JOB_PREFIX: &str = "/org/freedesktop/systemd1/job/";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub const SERVICE: &str = "org.freedesktop.systemd1.Service";
pub const JOB: &str = "org.freedesktop.systemd1.Job";
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Calls in flight for reading many properties. dbus-daemon refuses the 129th on one connection; 32 is as fast as any.
pub const BULK_CALLS: usize = 32;
/// Calls in flight for what cannot wait behind a snapshot, such as the kind of a job that will soon be gone.
pub const QUICK_CALLS: usize = 32;
/// Limit of one call. systemd answers in microseconds, but a daemon-reload with thousands of units takes seconds.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of connecting and greeting.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which manager to speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusAddress {
    /// The system's manager; DBUS_SYSTEM_BUS_ADDRESS or the well-known socket.
    System,
    /// The user's manager; DBUS_SESSION_BUS_ADDRESS, or `bus` in XDG_RUNTIME_DIR.
    User,
}

impl BusAddress {
    /// Connects and says hello, within [`CONNECT_TIMEOUT`].
    pub async fn connect(self) -> Result<Connection, zbus::Error> {
        let builder = match self {
            BusAddress::System => Builder::system(),
            BusAddress::User => Builder::session(),
        };
        let building = builder.method_timeout(CALL_TIMEOUT).build();
        match tokio::time::timeout(CONNECT_TIMEOUT, building).await {
            Ok(connection) => connection,
            Err(_) => Err(timed_out("the bus did not answer while connecting")),
        }
    }
}

/// Which budget of calls in flight a call draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    Bulk,
    Quick,
}

/// Makes calls to systemd. Cheap to clone; clones share the connection and the budgets.
#[derive(Clone)]
pub struct Caller {
    connection: Connection,
    bulk: Arc<Semaphore>,
    quick: Arc<Semaphore>,
    calls: Arc<AtomicU64>,
}

impl Caller {
    /// `calls` counts every call that is sent.
    pub fn new(connection: Connection, calls: Arc<AtomicU64>) -> Self {
        let budget = |calls| Arc::new(Semaphore::new(calls));
        Self { connection, bulk: budget(BULK_CALLS), quick: budget(QUICK_CALLS), calls }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// One call to systemd.
    pub async fn call<B>(
        &self,
        haste: Haste,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, zbus::Error>
    where
        B: serde::ser::Serialize + zbus::DynamicType,
    {
        let budget = match haste {
            Haste::Bulk => &self.bulk,
            Haste::Quick => &self.quick,
        };
        // Never closed, so the error cannot happen; going on without a permit would only lose the bound.
        let _permit = budget.acquire().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.connection.call_method(Some(SYSTEMD), path, Some(interface), method, body).await
    }

    /// One call to the manager object.
    pub async fn manager<B>(&self, method: &str, body: &B) -> Result<Message, zbus::Error>
    where
        B: serde::ser::Serialize + zbus::DynamicType,
    {
        self.call(Haste::Quick, MANAGER_PATH, MANAGER, method, body).await
    }

    /// One property.
    pub async fn get(
        &self,
        haste: Haste,
        path: &str,
        interface: &str,
        property: &str,
    ) -> Result<OwnedVariant, zbus::Error> {
        let reply = self.call(haste, path, PROPERTIES, "Get", &(interface, property)).await?;
        reply.body().deserialize::<OwnedVariant>()
    }
}

/// The D-Bus name of an error reply; `None` where no reply came.
pub fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, _, _) => Some(name.as_str().to_owned()),
        zbus::Error::FDO(error) => Some(error.name().as_str().to_owned()),
        _ => None,
    }
}

/// What the error reply says, without the name; else the error itself in words.
pub fn error_text(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text.clone(),
        zbus::Error::FDO(error) => error.description().map_or_else(|| error.to_string(), str::to_owned),
        zbus::Error::Connection(error, address) => format!("cannot connect to {address}: {error}"),
        other => other.to_string(),
    }
}

fn timed_out(text: &str) -> zbus::Error {
    zbus::Error::InputOutput(Arc::new(std::io::Error::new(std::io::ErrorKind::TimedOut, text.to_owned())))
}
