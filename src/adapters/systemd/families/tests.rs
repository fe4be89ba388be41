//! The keeper against a made-up manager: what it asks, and what the table then says.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use zbus::Variant;

use super::keeper::{Ask, Keeper, Listed, UNITS_MAX};
use super::{Families, Filter, Wanted};
use crate::model::families::{Family, HostUnits};
use crate::model::settings::DaemonSettings;
use crate::model::unit::{ActiveState, LoadState};

fn filter(include: &str, exclude: &str) -> Filter {
    Filter::new(&Wanted { families: Vec::new(), include: include.into(), exclude: exclude.into() }).unwrap()
}

fn unit(name: &str, load: LoadState, active: ActiveState) -> Listed {
    Listed { unit: name.into(), load, active }
}

/// A host of a few units; answers every property with the same number, which is a text where a text is wanted.
struct Host {
    keeper: Keeper,
    table: HostUnits,
    units: Vec<Listed>,
    number: u32,
}

impl Host {
    fn new(families: &[Family], units: Vec<Listed>) -> Self {
        let defaults = DaemonSettings::default();
        let filter = filter(&defaults.families_include, &defaults.families_exclude);
        let mut host =
            Self { keeper: Keeper::new(filter, families, true), table: HostUnits::default(), units, number: 7 };
        host.answer_all();
        host
    }

    /// Answers until nothing is asked any more; returns what was asked, as words.
    fn answer_all(&mut self) -> BTreeSet<String> {
        let mut asked = BTreeSet::new();
        while let Some(ask) = self.keeper.next_ask() {
            asked.insert(words(&ask));
            self.answer(&ask);
        }
        asked
    }

    fn answer(&mut self, ask: &Ask) {
        let value = match ask {
            Ask::Units(names) => {
                let wanted = |listed: &&Listed| names.is_empty() || names.contains(&listed.unit);
                let units = self.units.iter().filter(wanted).cloned().collect();
                return self.keeper.listed(&mut self.table, names, units);
            }
            Ask::Running => Variant::from("running"),
            Ask::Version => Variant::from("252"),
            Ask::Virtualization => Variant::from(""),
            Ask::Stage { .. } => Variant::from(5u64),
            Ask::Property { number, .. } => match Ask::property(*number).1 {
                "Type" => Variant::from("simple"),
                "ControlGroup" => Variant::from("/system.slice/x"),
                "NRestarts" | "NAccepted" | "NConnections" | "NRefused" => Variant::from(self.number),
                _ => Variant::from(u64::from(self.number)),
            },
        };
        self.keeper.answered(&mut self.table, ask, Some(&value));
    }

    fn changed(&mut self, name: &str, properties: &[(&'static str, &'static str)]) {
        let properties: HashMap<&str, Variant<'_>> =
            properties.iter().map(|(property, value)| (*property, Variant::from(*value))).collect();
        self.keeper.changed(&mut self.table, name, &properties);
    }

    fn settled(&mut self) -> BTreeSet<String> {
        self.keeper.settle();
        self.answer_all()
    }
}

fn words(ask: &Ask) -> String {
    match ask {
        Ask::Property { unit, number } => format!("{unit} {}", Ask::property(*number).1),
        Ask::Units(names) => format!("units {names:?}"),
        other => format!("{other:?}"),
    }
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn small() -> Host {
    use LoadState::{Loaded, Masked};
    let units = vec![
        unit("mail.service", Loaded, ActiveState::Active),
        unit("masked.service", Masked, ActiveState::Inactive),
        unit("echo.socket", Loaded, ActiveState::Active),
        unit("echo@1.service", Loaded, ActiveState::Active),
        unit("home.mount", Loaded, ActiveState::Active),
    ];
    Host::new(&[Family::NodeExporter], units)
}

#[test]
fn patterns_match_whole_names() {
    let all = filter(".+", r".+\.(automount|device|mount|scope|slice)");
    assert!(all.wants("mail.service") && !all.wants("home.mount") && all.wants("home.mounted.service"));
    let one = filter("mail|web.*", "");
    assert!(!one.wants("mail.service") && one.wants("mail") && one.wants("web.service"));
}

#[test]
fn a_unit_is_shown_when_everything_of_it_has_been_read() {
    let mut host = small();
    assert!(host.keeper.is_whole());
    let shown: Vec<&str> =
        host.table.units.iter().filter(|(_, unit)| unit.shown).map(|(name, _)| name.as_ref()).collect();
    assert_eq!(shown, ["echo.socket", "echo@1.service", "mail.service"]);
    assert_eq!(host.table.units.len(), 5, "those that are not shown are counted");
    let mail = &host.table.units["mail.service"];
    assert_eq!((mail.kind.as_deref(), mail.restarts, mail.active_enter), (Some("simple"), Some(7), Some(7)));
    assert_eq!((host.table.running, host.table.version.as_deref()), (Some(true), Some("252")));
    assert_eq!(host.settled(), set(&[]), "at rest nothing is asked");

    host.units.push(unit("new.service", LoadState::Loaded, ActiveState::Active));
    host.keeper.unit_new("new.service".into());
    assert!(host.keeper.is_restless());
    host.keeper.settle();
    let first = host.keeper.next_ask().unwrap();
    assert_eq!(words(&first), r#"units ["new.service"]"#);
    host.answer(&first);
    assert!(!host.table.units["new.service"].shown, "its type is not known yet");
    host.answer_all();
    assert!(host.table.units["new.service"].shown);
}

#[test]
fn what_is_gone_is_not_asked_for_that_would_load_it_again() {
    let mut host = small();
    host.keeper.unit_new("passing.service".into());
    host.keeper.unit_removed(&mut host.table, "passing.service");
    host.changed("mail.service", &[("ActiveState", "inactive")]);
    host.changed("echo.socket", &[("ActiveState", "failed")]);
    host.keeper.unit_removed(&mut host.table, "echo.socket");
    assert_eq!(host.settled(), set(&["Running"]));
    assert!(!host.table.units.contains_key("echo.socket"));
}

#[test]
fn signals_are_taken_and_what_they_leave_out_is_asked() {
    let mut host = small();
    host.changed("mail.service", &[("ActiveState", "failed")]);
    assert_eq!(host.table.units["mail.service"].active, ActiveState::Failed);
    host.changed("home.mount", &[("ActiveState", "inactive"), ("Type", "ext4")]);
    let mount = &host.table.units["home.mount"];
    assert_eq!((mount.active, mount.kind.as_deref()), (ActiveState::Inactive, None), "counted, not shown");
    assert_eq!(host.settled(), set(&["Running"]));
    // A connection is accepted: that the socket changed is signalled, its counters are not. One question is enough.
    let counters = set(&["echo.socket NAccepted", "echo.socket NConnections", "echo.socket NRefused"]);
    host.changed("echo.socket", &[("SubState", "running")]);
    host.changed("echo.socket", &[("SubState", "listening")]);
    assert_eq!(host.settled(), counters);
    // It ends: only its service says so.
    host.changed("echo@1.service", &[("ActiveState", "inactive")]);
    assert!(host.settled().is_superset(&counters));
    // A masked unit that changes has been loaded after all.
    host.units[1].load = LoadState::Loaded;
    host.changed("masked.service", &[("ActiveState", "active")]);
    host.settled();
    assert!(host.table.units["masked.service"].shown);
}

#[test]
fn a_reload_is_over_before_anything_is_believed() {
    let mut host = small();
    host.keeper.reloading(true);
    host.keeper.unit_removed(&mut host.table, "mail.service");
    host.keeper.unit_new("mail.service".into());
    assert!(!host.keeper.is_restless() && host.table.units["mail.service"].shown);
    host.units.retain(|unit| unit.unit != "echo@1.service");
    host.number = 8;
    host.keeper.reloading(false);
    let asked = host.settled();
    assert!(asked.is_superset(&set(&["units []", "mail.service Type", "mail.service TasksMax", "Running"])));
    assert!(!asked.contains("mail.service ActiveEnterTimestamp"), "times survive");
    assert!(!host.table.units.contains_key("echo@1.service"));
    assert_eq!(host.table.units["mail.service"].restarts, Some(8));
    // Its slice may be another one when it starts again.
    host.changed("mail.service", &[("ActiveState", "inactive")]);
    host.changed("mail.service", &[("ActiveState", "activating")]);
    assert!(host.answer_all().contains("mail.service ControlGroup"));
    host.changed("mail.service", &[("ActiveState", "active")]);
    assert!(!host.answer_all().contains("mail.service ControlGroup"), "once is enough");
}

#[test]
fn what_is_never_signalled_has_its_turn() {
    let units = (0..700).map(|n| unit(&format!("{n:03}.service"), LoadState::Loaded, ActiveState::Active));
    let mut host = Host::new(&[Family::NodeExporter], units.collect());
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        host.keeper.tick(&host.table);
        let asked = host.answer_all();
        assert!((2..=6).contains(&asked.len()), "{asked:?}");
        seen.extend(asked);
    }
    assert_eq!(seen.len(), 1400, "each service twice: TasksMax and NRestarts");

    let mut host = small();
    host.keeper.tick(&host.table);
    assert!(host.answer_all().contains("echo.socket NRefused"), "it has connections");
    host.number = 0;
    host.keeper.tick(&host.table);
    host.answer_all();
    host.keeper.tick(&host.table);
    assert!(!host.answer_all().contains("echo.socket NRefused"), "it has none any more");
}

#[test]
fn too_many_units_are_left_out_and_counted() {
    let name = |n: usize| unit(&format!("u{n:05}.target"), LoadState::Loaded, ActiveState::Active);
    let mut host = Host::new(&[Family::NodeExporter], (0..UNITS_MAX + 3).map(name).collect());
    assert_eq!((host.table.units.len(), host.table.left_out), (UNITS_MAX, 3));
    let first = host.units.remove(0);
    host.keeper.unit_removed(&mut host.table, &first.unit);
    assert!(host.settled().contains("units []"), "there is room for another one");
    assert_eq!((host.table.units.len(), host.table.left_out), (UNITS_MAX, 2));
}

#[test]
fn a_reading_counts_the_tasks_of_those_that_have_a_cgroup() {
    let families = Families::new(Some(Arc::new(|group| (group == "/system.slice/x").then_some(3))));
    assert_eq!(families.read(), None, "nothing has been read");
    let host = small();
    families.show(Some(host.table));
    let reading = families.read().unwrap();
    let tasks: Vec<(&str, u64)> = reading.tasks.iter().map(|(name, count)| (name.as_ref(), *count)).collect();
    assert_eq!(tasks, [("echo@1.service", 3), ("mail.service", 3)]);
    families.change(|host| host.left_out = 9);
    assert_eq!((reading.host.left_out, families.read().unwrap().host.left_out), (0, 9), "a reading is a moment");
    families.show(None);
    assert_eq!(families.read(), None, "what is lost is not shown");
}
