//! `unitmedic discover`: looks at the services that run here and proposes workers. It changes nothing.
//!
//! What it prints is a fragment of configuration. It is cautious: a unit that is not proposed can still be
//! configured by hand, a bad proposal costs trust.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::config::{self, Mode, Source};
use crate::model::name::WORKER_NAME_MAX;
use crate::model::never::never_touch;
use crate::model::{Settings, UnitName};

/// Most output of systemctl that is read: 10,000 units with every property at its longest.
const OUTPUT_MAX: u64 = 32 << 20;
/// Longest description that is repeated.
const DESCRIPTION_MAX: usize = 80;
/// Most names of instances that a comment lists.
const NAMES_MAX: usize = 4;

const PROPERTIES: &str = "Id,Description,LoadState,ActiveState,UnitFileState,FragmentPath,TriggeredBy,\
    Type,Restart,NRestarts,WatchdogUSec,Transient";

/// Propose workers for the units that run on this host.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// The units of the user's own manager
    #[arg(long)]
    pub user: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let units = parse_units(&ask_systemd(args.user)?);
    // What is configured already is not proposed again; a configuration that cannot be read is not our business here.
    let loaded = Mode::from_env(args.user).and_then(|mode| config::load(&Source::new(None, mode)));
    let survey = survey(&units, &loaded.unwrap_or_else(|_| Settings::empty()));
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &survey).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", toml(&survey))?;
    }
    Ok(0)
}

fn ask_systemd(user: bool) -> anyhow::Result<String> {
    let mut command = Command::new("systemctl");
    if user {
        command.arg("--user");
    }
    command.args(["show", "*.service", "--no-pager", "--property", PROPERTIES]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("systemctl cannot be run; discover needs a host with systemd")?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_MAX).read_to_end(&mut text).context("the output of systemctl cannot be read")?;
    }
    let output = child.wait_with_output().context("systemctl did not end")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("systemctl show failed: {}", said.lines().next().unwrap_or("it said nothing").trim());
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

type Unit = BTreeMap<String, String>;

/// `systemctl show` of many units: lines `Key=Value`, a blank line between units.
fn parse_units(text: &str) -> Vec<Unit> {
    let pairs = |block: &str| {
        block.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
    };
    text.split("\n\n").map(pairs).filter(|unit: &Unit| unit.contains_key("Id")).collect()
}

/// What was found.
#[derive(Debug, Serialize)]
struct Survey {
    proposals: Vec<Proposal>,
    /// Why units were left out, with their number.
    left_out: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct Proposal {
    worker: String,
    unit: String,
    instances: Vec<String>,
    description: String,
    /// Why it is proposed, and what is worth knowing.
    why: Vec<String>,
}

fn survey(units: &[Unit], settings: &Settings) -> Survey {
    let mut left_out: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut groups: BTreeMap<String, Vec<&Unit>> = BTreeMap::new();
    for unit in units {
        match left_out_because(unit, settings) {
            Some(why) => *left_out.entry(why).or_default() += 1,
            None => groups.entry(selector_of(get(unit, "Id"))).or_default().push(unit),
        }
    }
    let mut taken: Vec<String> = settings.workers.keys().map(|name| name.to_string()).collect();
    let mut proposals = Vec::new();
    for (selector, mut units) in groups {
        // systemd lists them in no order, and what is said of the first shall not change from call to call.
        units.sort_by_key(|unit| get(unit, "Id"));
        let worker = worker_name(&selector, &taken);
        taken.push(worker.clone());
        proposals.push(proposal(worker, selector, &units));
    }
    Survey { proposals, left_out }
}

fn get<'a>(unit: &'a Unit, key: &str) -> &'a str {
    unit.get(key).map_or("", String::as_str)
}

fn left_out_because(unit: &Unit, settings: &Settings) -> Option<&'static str> {
    let id = get(unit, "Id");
    let file_state = get(unit, "UnitFileState");
    let triggered = |ending: &str| get(unit, "TriggeredBy").split(' ').any(|by| by.ends_with(ending));
    let down = matches!(get(unit, "ActiveState"), "inactive" | "deactivating" | "");
    if UnitName::new(id).is_err() || get(unit, "LoadState") != "loaded" {
        Some("not loaded or not found")
    } else if never_touch(id).is_some() {
        Some("never touched (systemd, the bus, polkit, logins, unitmedic)")
    } else if settings.worker_of(id).is_some() {
        Some("has a worker already")
    } else if get(unit, "Type") == "oneshot" {
        Some("oneshot: not running is normal")
    } else if down {
        Some("not running")
    } else if get(unit, "Transient") == "yes" {
        Some("transient: gone when it ends")
    } else if triggered(".timer") || triggered(".path") {
        Some("started by a timer or a path: not running is normal")
    } else if triggered(".socket") && !file_state.starts_with("enabled") {
        Some("started by a socket: not running is normal")
    } else if is_vendor(unit)
        && !id.contains('@')
        && matches!(file_state, "static" | "generated" | "indirect" | "alias")
    {
        Some("static: part of something else")
    } else {
        None
    }
}

/// Its unit file came with a package, not from the operator.
fn is_vendor(unit: &Unit) -> bool {
    let path = get(unit, "FragmentPath");
    path.is_empty() || path.starts_with("/usr/lib/") || path.starts_with("/lib/") || path.contains("/systemd/generator")
}

fn selector_of(id: &str) -> String {
    match id.split_once('@') {
        Some((prefix, _)) => format!("{prefix}@.service"),
        None => id.into(),
    }
}

/// A worker's name from its selector: `dev-disk\x2d1.service` becomes `dev-disk_x2d1`, a second one gets a number.
fn worker_name(selector: &str, taken: &[String]) -> String {
    let stem = selector.trim_end_matches(".service").trim_end_matches('@');
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = stem.chars().map(allowed).take(WORKER_NAME_MAX - 6).collect();
    let name = match name.strip_prefix('-') {
        Some(rest) => format!("_{rest}"),
        None => name,
    };
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name)
}

fn proposal(worker: String, unit: String, units: &[&Unit]) -> Proposal {
    let instances = units.iter().map(|unit| get(unit, "Id").to_string()).collect();
    let description = units.first().map_or("", |unit| get(unit, "Description"));
    let description = description.chars().filter(|c| !c.is_control()).take(DESCRIPTION_MAX).collect();
    Proposal { worker, unit, description, why: reasons(units), instances }
}

fn reasons(units: &[&Unit]) -> Vec<String> {
    let Some(first) = units.first() else { return Vec::new() };
    let mut why = Vec::new();
    let failed = units.iter().filter(|unit| get(unit, "ActiveState") == "failed").count();
    let running = units.len() - failed;
    let file = match get(first, "UnitFileState") {
        "" => "no unit file",
        state => state,
    };
    why.push(format!("{running} running, {failed} failed; unit file: {file}"));
    why.push(match get(first, "Restart") {
        "no" | "" => "Restart=no: systemd does not start it again, unitmedic would".into(),
        policy => format!("Restart={policy}: systemd goes first, unitmedic steps in when it loops or gives up"),
    });
    if let restarts @ 1.. = units.iter().filter_map(|unit| get(unit, "NRestarts").parse::<u64>().ok()).sum::<u64>() {
        why.push(format!("systemd has restarted it {restarts} times since it was started: worth a look"));
    }
    if !matches!(get(first, "WatchdogUSec"), "" | "0" | "infinity") {
        why.push("has a watchdog: systemd notices when it hangs".into());
    }
    why
}

fn toml(survey: &Survey) -> String {
    let mut text = String::from(
        "# Proposed by `unitmedic discover` from what runs on this host. Delete what unitmedic shall not touch,\n\
         # then save it as /etc/unitmedic/conf.d/found.toml and run `unitmedic check-config`.\n",
    );
    for proposal in &survey.proposals {
        text.push('\n');
        if !proposal.description.is_empty() {
            text.push_str(&format!("# {}\n", proposal.description));
        }
        for why in &proposal.why {
            text.push_str(&format!("# {why}\n"));
        }
        text.push_str(&format!("[worker.{}]\nunit = {}\n", proposal.worker, quote(&proposal.unit)));
        if proposal.unit.ends_with("@.service") {
            text.push_str(&instances_comment(&proposal.instances));
        }
    }
    if survey.proposals.is_empty() {
        text.push_str("\n# Nothing to propose.\n");
    }
    if !survey.left_out.is_empty() {
        text.push_str("\n# Left out:\n");
    }
    for (why, count) in &survey.left_out {
        text.push_str(&format!("# {count:4} {why}\n"));
    }
    text
}

/// The number that runs now is a hint, not a promise that somebody made: it stays a comment.
fn instances_comment(instances: &[String]) -> String {
    let count = instances.len();
    let mut names = instances.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if count > NAMES_MAX {
        names.push_str(&format!(" and {} more", count - NAMES_MAX));
    }
    format!("# Here now: {names}. To have so many kept running:\n#min_instances = {count}\n")
}

/// A unit name as a TOML string; systemd's escapes have backslashes.
fn quote(unit: &str) -> String {
    format!("\"{}\"", unit.replace('\\', "\\\\"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn unit(id: &str, more: &[(&str, &str)]) -> String {
        let mut text = format!("Id={id}\n");
        let usual = [
            ("Description", "A service = with \u{7}signs"),
            ("LoadState", "loaded"),
            ("ActiveState", "active"),
            ("UnitFileState", "enabled"),
            ("FragmentPath", "/etc/systemd/system/x.service"),
            ("TriggeredBy", ""),
            ("Type", "simple"),
            ("Restart", "no"),
            ("NRestarts", "0"),
            ("WatchdogUSec", "0"),
            ("Transient", "no"),
        ];
        for (key, value) in usual {
            let value = more.iter().find(|(name, _)| *name == key).map_or(value, |(_, value)| value);
            text.push_str(&format!("{key}={value}\n"));
        }
        text
    }

    fn host() -> Vec<Unit> {
        let vendor = ("FragmentPath", "/lib/systemd/system/x.service");
        parse_units(
            &[
                unit("mail@2.service", &[("UnitFileState", "static"), ("Description", "Mail worker 2")]),
                unit("mail@1.service", &[("UnitFileState", "static"), ("ActiveState", "failed"), ("NRestarts", "3")]),
                unit("mail.service", &[("Restart", "on-failure"), ("WatchdogUSec", "30s")]),
                unit("a\\x2db.service", &[]),
                unit("dbus.service", &[]),
                unit("systemd-logind.service", &[]),
                unit("getty@tty1.service", &[vendor]),
                unit("backup.service", &[("TriggeredBy", "backup.timer")]),
                unit("setup.service", &[("Type", "oneshot")]),
                unit("gone.service", &[("LoadState", "not-found"), ("ActiveState", "inactive")]),
                unit("off.service", &[("ActiveState", "inactive")]),
                unit("run-u1.service", &[("Transient", "yes")]),
                unit("helper.service", &[vendor, ("UnitFileState", "static")]),
            ]
            .join("\n"),
        )
    }

    #[test]
    fn proposals_and_what_was_left_out() {
        expect![[r##"
            # Proposed by `unitmedic discover` from what runs on this host. Delete what unitmedic shall not touch,
            # then save it as /etc/unitmedic/conf.d/found.toml and run `unitmedic check-config`.

            # A service = with signs
            # 1 running, 0 failed; unit file: enabled
            # Restart=no: systemd does not start it again, unitmedic would
            [worker.a_x2db]
            unit = "a\\x2db.service"

            # A service = with signs
            # 1 running, 0 failed; unit file: enabled
            # Restart=on-failure: systemd goes first, unitmedic steps in when it loops or gives up
            # has a watchdog: systemd notices when it hangs
            [worker.mail]
            unit = "mail.service"

            # A service = with signs
            # 1 running, 1 failed; unit file: static
            # Restart=no: systemd does not start it again, unitmedic would
            # systemd has restarted it 3 times since it was started: worth a look
            [worker.mail-2]
            unit = "mail@.service"
            # Here now: mail@1.service, mail@2.service. To have so many kept running:
            #min_instances = 2

            # Left out:
            #    3 never touched (systemd, the bus, polkit, logins, unitmedic)
            #    1 not loaded or not found
            #    1 not running
            #    1 oneshot: not running is normal
            #    1 started by a timer or a path: not running is normal
            #    1 static: part of something else
            #    1 transient: gone when it ends
        "##]]
        .assert_eq(&toml(&survey(&host(), &Settings::empty())));
    }

    #[test]
    fn what_is_proposed_is_accepted_and_not_proposed_again() {
        let proposed = toml(&survey(&host(), &Settings::empty()));
        for text in [proposed.clone(), proposed.replace("#min_instances", "min_instances")] {
            let settings = config::parse(&[("conf.d/found.toml".into(), text)], &Mode::System).unwrap();
            assert_eq!(settings.workers.len(), 3, "mail and mail@ share no unit");
            assert!(settings.worker_of("a\\x2db.service").is_some());
            assert!(survey(&host(), &settings).proposals.is_empty());
        }
    }

    #[test]
    fn names_of_workers_are_valid_and_differ() {
        let name = |selector: &str, taken: &[&str]| {
            worker_name(selector, &taken.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(name("mail@.service", &[]), "mail");
        assert_eq!(name("mail@.service", &["mail", "mail-2"]), "mail-3");
        assert_eq!(name("-x:y.service", &[]), "_x_y");
        let long = format!("{}.service", "a".repeat(240));
        assert!(crate::model::WorkerName::new(&name(&long, &["a"])).is_ok());
    }
}
