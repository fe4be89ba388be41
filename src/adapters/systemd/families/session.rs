//! One life of the connection. Questions, answers and signals are one stream, in systemd's order.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::watch as cell;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, ObjectPath, OwnedVariant, Variant};

use super::keeper::{Ask, Keeper, Listed, TICK};
use super::{End, Families, Filter, Wanted};
use crate::adapters::systemd::bus::{
    BULK_CALLS, BusAddress, CALL_TIMEOUT, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, error_name, error_text,
};
use crate::adapters::systemd::look::is_reply;
use crate::adapters::systemd::path::{unit_of_path, unit_path};
use crate::adapters::systemd::signals::{self, OWNER_RULE, Signal};
use crate::model::Settings;
use crate::model::families::HostUnits;
use crate::model::unit::{ActiveState, LoadState};

/// Messages that wait for us inside zbus. When it is full the bus holds the rest back: nothing is lost.
const QUEUE: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
/// Messages that are handled before the table is let go and questions are sent.
const BATCH: usize = 256;
/// What a burst of signals makes doubtful is asked for once, this long after its first.
const SETTLE: Duration = Duration::from_millis(100);

/// Jobs are of no interest here.
const RULES: [&str; 7] = [
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.DBus.Properties',\
     path_namespace='/org/freedesktop/systemd1/unit'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.DBus.Properties',\
     path='/org/freedesktop/systemd1'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='UnitNew'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='UnitRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='Reloading'",
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',\
     member='StartupFinished'",
    OWNER_RULE,
];

/// name, description, load, active, sub, following, path, job, job type, job path.
type UnitRow<'m> = (&'m str, &'m str, &'m str, &'m str, &'m str, &'m str, ObjectPath<'m>, u32, &'m str, ObjectPath<'m>);

/// Keeps the table until the bus is lost or the configuration wants something else.
pub(super) async fn run(
    bus: BusAddress,
    wanted: &Wanted,
    settings: &mut cell::Receiver<Arc<Settings>>,
    families: &Families,
) -> End {
    let filter = match Filter::new(wanted) {
        Ok(filter) => filter,
        Err(error) => return End::Lost(error.to_string()),
    };
    match Session::connect(bus, wanted, filter, families).await {
        Ok(mut session) => session.turn(wanted, settings).await,
        Err(error) => End::Lost(error_text(&error)),
    }
}

struct Session<'f> {
    families: &'f Families,
    connection: Connection,
    stream: MessageStream,
    /// systemd's unique name on the bus.
    systemd: String,
    keeper: Keeper,
    /// The table until it is whole, and then is shown.
    young: Option<HostUnits>,
    asked: HashMap<NonZeroU32, (Ask, Instant)>,
    settle_due: Option<Instant>,
    tick_due: Instant,
}

impl<'f> Session<'f> {
    async fn connect(
        bus: BusAddress,
        wanted: &Wanted,
        filter: Filter,
        families: &'f Families,
    ) -> Result<Self, zbus::Error> {
        let connection = bus.connect().await?;
        let mut stream = MessageStream::from(&connection);
        stream.set_max_queued(QUEUE);
        for rule in RULES {
            on_the_bus(&connection, "AddMatch", rule).await?;
        }
        let manager = Some(MANAGER);
        match connection.call_method(Some(SYSTEMD), MANAGER_PATH, manager, "Subscribe", &()).await {
            Err(error) if error_name(&error).as_deref() != Some("org.freedesktop.systemd1.AlreadySubscribed") => {
                return Err(error);
            }
            _ => {}
        }
        let systemd = on_the_bus(&connection, "GetNameOwner", SYSTEMD).await?.body().deserialize::<String>()?;
        Ok(Self {
            families,
            connection,
            stream,
            systemd,
            keeper: Keeper::new(filter, &wanted.families, families.tasks.is_some()),
            young: Some(HostUnits { families: wanted.families.clone(), ..HostUnits::default() }),
            asked: HashMap::new(),
            settle_due: None,
            tick_due: Instant::now() + TICK,
        })
    }

    async fn turn(&mut self, wanted: &Wanted, settings: &mut cell::Receiver<Arc<Settings>>) -> End {
        loop {
            if let Err(error) = self.ask().await {
                return End::Lost(error_text(&error));
            }
            if self.keeper.is_restless() && self.settle_due.is_none() {
                self.settle_due = Some(Instant::now() + SETTLE);
            }
            let wake = self.settle_due.map_or(self.tick_due, |due| due.min(self.tick_due));
            let lost = tokio::select! {
                biased;
                changed = settings.changed() => match changed {
                    Ok(()) if Wanted::of(&settings.borrow_and_update()) == *wanted => None,
                    Ok(()) => return End::Changed,
                    Err(_) => return End::Stopped,
                },
                message = self.stream.next() => self.messages(message),
                () = tokio::time::sleep_until(wake.into()) => self.timers(),
            };
            if let Some(why) = lost {
                return End::Lost(why);
            }
        }
    }

    /// Sends questions as long as few are on their way.
    async fn ask(&mut self) -> Result<(), zbus::Error> {
        let mut calls = Vec::new();
        while self.asked.len() < BULK_CALLS
            && let Some(ask) = self.keeper.next_ask()
        {
            let call = call(&ask)?;
            self.asked.insert(call.primary_header().serial_num(), (ask, Instant::now()));
            calls.push(call);
        }
        self.families.calls.fetch_add(calls.len() as u64, Ordering::Relaxed);
        self.connection.send_all(&calls).await
    }

    fn timers(&mut self) -> Option<String> {
        let now = Instant::now();
        if self.settle_due.is_some_and(|due| due <= now) {
            self.settle_due = None;
            self.keeper.settle();
        }
        if self.tick_due <= now {
            self.tick_due = now + TICK;
            if self.asked.values().any(|(_, at)| now.duration_since(*at) >= CALL_TIMEOUT) {
                return Some("systemd does not answer".into());
            }
            let keeper = &mut self.keeper;
            self.families.change(|host| keeper.tick(host));
        }
        None
    }

    /// One message, and those that are there already. `Some`: the session is over.
    fn messages(&mut self, first: Option<Result<Message, zbus::Error>>) -> Option<String> {
        let mut next = first;
        for _ in 0..BATCH {
            match next {
                Some(Ok(message)) => {
                    if let Some(why) = self.message(&message) {
                        return Some(why);
                    }
                }
                Some(Err(error)) => return Some(error_text(&error)),
                None => return Some("the bus closed the connection".into()),
            }
            next = match futures_util::FutureExt::now_or_never(self.stream.next()) {
                Some(more) => more,
                None => break,
            };
        }
        if self.keeper.is_whole()
            && let Some(host) = self.young.take()
        {
            self.families.show(Some(host));
        }
        None
    }

    fn message(&mut self, message: &Message) -> Option<String> {
        match message.message_type() {
            Type::MethodReturn | Type::Error => self.answer(message),
            Type::Signal => {
                self.families.signals.fetch_add(1, Ordering::Relaxed);
                self.signal(message)
            }
            Type::MethodCall => None,
        }
    }

    fn signal(&mut self, message: &Message) -> Option<String> {
        match signals::read(message, &self.systemd, |_| false) {
            Some(Signal::UnitNew { unit }) => self.keeper.unit_new(unit),
            Some(Signal::UnitRemoved { unit }) => self.change(|keeper, host| keeper.unit_removed(host, &unit)),
            Some(Signal::Reloading { active }) => self.keeper.reloading(active),
            Some(Signal::StartupFinished) => self.keeper.startup_finished(),
            Some(Signal::Owner { .. }) => return Some("systemd has a new name on the bus".into()),
            Some(_) => {}
            None => self.properties_changed(message),
        }
        None
    }

    fn properties_changed(&mut self, message: &Message) {
        let header = message.header();
        let is = |field: Option<&str>, wanted: &str| field == Some(wanted);
        if !is(header.sender().map(|name| name.as_str()), &self.systemd)
            || !is(header.interface().map(|name| name.as_str()), PROPERTIES)
            || !is(header.member().map(|name| name.as_str()), "PropertiesChanged")
        {
            return;
        }
        let Some(path) = header.path().map(|path| path.as_str()) else { return };
        if path == MANAGER_PATH {
            return self.keeper.manager_changed();
        }
        let Some(unit) = unit_of_path(path) else { return };
        let body = message.body();
        let read: Result<(&str, HashMap<&str, Variant<'_>>, Vec<&str>), _> = body.deserialize();
        if let Ok((_, properties, _)) = read {
            self.change(|keeper, host| keeper.changed(host, &unit, &properties));
        }
    }

    /// The answer to one of our questions. `Some`: nobody answers any more.
    fn answer(&mut self, message: &Message) -> Option<String> {
        let serial = message.header().reply_serial()?;
        let (ask, _) = self.asked.remove(&serial)?;
        if message.message_type() == Type::Error {
            let error = zbus::Error::from(message.clone());
            if matches!(ask, Ask::Units(_)) || !is_reply(&error) {
                return Some(error_text(&error));
            }
            self.change(|keeper, host| keeper.answered(host, &ask, None));
            return None;
        }
        let body = message.body();
        if let Ask::Units(asked) = &ask {
            let rows: Vec<UnitRow<'_>> = match body.deserialize() {
                Ok(rows) => rows,
                Err(error) => return Some(error_text(&error)),
            };
            let units = rows.into_iter().map(|(unit, _, load, active, ..)| Listed {
                unit: unit.to_owned(),
                load: LoadState::parse(load),
                active: ActiveState::parse(active),
            });
            let units = units.collect();
            self.change(|keeper, host| keeper.listed(host, asked, units));
        } else {
            let value = body.deserialize::<OwnedVariant>().ok();
            self.change(|keeper, host| keeper.answered(host, &ask, value.as_deref()));
        }
        None
    }

    fn change(&mut self, change: impl FnOnce(&mut Keeper, &mut HostUnits)) {
        let keeper = &mut self.keeper;
        match &mut self.young {
            Some(host) => change(keeper, host),
            None => self.families.change(|host| change(keeper, host)),
        }
    }
}

/// The question as a message.
fn call(ask: &Ask) -> Result<Message, zbus::Error> {
    let states: [&str; 0] = [];
    let of_manager = |property: &str| get(MANAGER_PATH, MANAGER, property);
    match ask {
        Ask::Units(names) if names.is_empty() => {
            Message::method_call(MANAGER_PATH, "ListUnits").destination(SYSTEMD).interface(MANAGER).build(&())
        }
        // By patterns, because asking by names would load what is not loaded. No name has a wildcard in it.
        Ask::Units(names) => Message::method_call(MANAGER_PATH, "ListUnitsByPatterns")
            .destination(SYSTEMD)
            .interface(MANAGER)
            .build(&(&states[..], names)),
        Ask::Running => of_manager("SystemState"),
        Ask::Version => of_manager("Version"),
        Ask::Virtualization => of_manager("Virtualization"),
        Ask::Stage { stage, monotonic } => {
            of_manager(&format!("{stage}Timestamp{}", if *monotonic { "Monotonic" } else { "" }))
        }
        Ask::Property { unit, number } => {
            let (interface, property) = Ask::property(*number);
            get(&unit_path(unit), interface, property)
        }
    }
}

fn get(path: &str, interface: &str, property: &str) -> Result<Message, zbus::Error> {
    Message::method_call(path, "Get").destination(SYSTEMD).interface(PROPERTIES).build(&(interface, property))
}

async fn on_the_bus(connection: &Connection, method: &str, argument: &str) -> Result<Message, zbus::Error> {
    const BUS: &str = "org.freedesktop.DBus";
    connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), method, &argument).await
}
