//! Tables of bad inputs and the exact words that come back; origins; documentation that is fresh.

mod work;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::model::{Action, Condition, Selector};

fn files(texts: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
    texts.iter().map(|(name, text)| (PathBuf::from(name), text.to_string())).collect()
}

fn one(text: &str) -> Result<Settings, ConfigErrors> {
    parse(&files(&[("u.toml", text)]), &Mode::System)
}

fn good(text: &str) -> Settings {
    one(text).unwrap_or_else(|errors| panic!("{errors}\nin:\n{text}"))
}

fn bad(text: &str, expected: Expect) {
    match one(text) {
        Ok(settings) => panic!("accepted: {:?}", settings.workers.keys()),
        Err(errors) => expected.assert_eq(&errors.to_string()),
    }
}

#[test]
fn the_example_of_the_design() {
    let settings = good(
        "[defaults]\ncpu_threshold = 70\nplans.dead = [\"escalate\"]\n\n[worker.simple_task]\nunit = \"simple-task@.service\"\n\
         critical = true\nmin_instances = 1\nmax_instances = 3\nbackoff = 0.5\ndrain_signal = \"USR1\"\n\
         [worker.simple_task.plans]\ncpu_high = [\"graceful_restart\", \"restart\", \"escalate\"]\n",
    );
    let worker = &settings.workers["simple_task"];
    assert_eq!(worker.unit, Selector::Template("simple-task".into()));
    assert_eq!((worker.min_instances, worker.max_instances, worker.critical), (Some(1), Some(3), true));
    assert_eq!((worker.cpu_threshold, worker.memory_threshold), (70.0, 85.0));
    assert_eq!((worker.backoff, worker.drain_signal), (Duration::from_millis(500), 10));
    assert_eq!(worker.plans[&Condition::Dead], [Action::Escalate]);
    assert_eq!(worker.plans[&Condition::CpuHigh], [Action::GracefulRestart, Action::Restart, Action::Escalate]);
    assert_eq!(settings.origins["worker.simple_task.cpu_threshold"], "u.toml:2");
    assert_eq!(settings.origins["worker.simple_task.plans.dead"], "u.toml:3");
    assert_eq!(settings.origins["worker.simple_task.critical"], "u.toml:7");
    assert!(!settings.origins.contains_key("worker.simple_task.memory_threshold"));
}

#[test]
fn nothing_configured_is_valid() {
    assert_eq!(good(""), Settings::empty());
}

#[test]
fn later_fragments_win_and_workers_merge() {
    let fragments = files(&[
        ("main", "[worker.mail]\nunit = \"mail.service\"\ncpu_threshold = 50\n[daemon]\ndry_run = true"),
        ("10", "[defaults]\nmemory_threshold = 60\n[worker.mail]\ncritical = true\ncpu_threshold = 55"),
        ("20", "[daemon]\ndry_run = false\n[defaults]\nmemory_threshold = 65"),
    ]);
    let settings = parse(&fragments, &Mode::System).unwrap();
    let mail = &settings.workers["mail"];
    assert_eq!((mail.cpu_threshold, mail.memory_threshold, mail.critical), (55.0, 65.0, true));
    assert!(!settings.daemon.dry_run);
    assert_eq!(settings.origins["worker.mail.cpu_threshold"], "10:5");
    assert_eq!(settings.origins["worker.mail.memory_threshold"], "20:4");
    assert_eq!(settings.origins["worker.mail.unit"], "main:2");
    assert_eq!(settings.origins["daemon.dry_run"], "20:2");
}

#[test]
fn the_command_line_wins() {
    let mut settings = good("[daemon]\nhealth_check_interval = \"1min\"");
    Overrides { interval: Some(Duration::from_secs(5)), dry_run: true }.apply(&mut settings);
    assert_eq!(settings.daemon.health_check_interval, Duration::from_secs(5));
    assert!(settings.daemon.dry_run);
    assert_eq!(settings.origins["daemon.health_check_interval"], "command line");
    assert_eq!(interval("10"), Ok(Duration::from_secs(10)));
    assert!(interval("0").is_err() && interval("2h").is_err() && interval("x").is_err());
}

#[test]
fn daemon_values() {
    let settings = good(
        "[daemon]\nlisten = \"none\"\nrecord_bytes = 0\nruntime_dir = \"/run/other\"\nretention = \"2w\"\ncontrol_group = \"ops\"",
    );
    let daemon = &settings.daemon;
    assert_eq!((daemon.listen, daemon.record_bytes), (None, 0));
    assert_eq!(daemon.control_socket, Path::new("/run/other/control.sock"));
    assert_eq!(daemon.retention, Duration::from_secs(14 * 86_400));
    assert_eq!(settings.origins["daemon.control_socket"], "u.toml:4");
}

#[test]
fn a_user_has_paths_of_their_own_and_no_port() {
    let vars = |name: &str| match name {
        "HOME" => Some(PathBuf::from("/home/ada")),
        "XDG_RUNTIME_DIR" => Some("/run/user/1000".into()),
        "XDG_CONFIG_HOME" => Some("relative/is/ignored".into()),
        _ => None,
    };
    let mode = Mode::User(UserDirs::from_vars(vars).unwrap());
    let source = Source::new(None, mode.clone());
    assert_eq!(source.main, Path::new("/home/ada/.config/unitmedic/unitmedic.toml"));
    assert_eq!(source.fragments_dir.as_deref(), Some(Path::new("/home/ada/.config/unitmedic/conf.d")));
    let daemon = parse(&[], &mode).unwrap().daemon;
    assert_eq!(daemon.listen, None);
    assert_eq!(daemon.state_dir, Path::new("/home/ada/.local/state/unitmedic"));
    assert_eq!(daemon.control_socket, Path::new("/run/user/1000/unitmedic/control.sock"));
    let error = UserDirs::from_vars(|name| (name == "HOME").then(|| "/home/ada".into())).unwrap_err();
    assert!(error.contains("XDG_RUNTIME_DIR"), "{error}");
}

#[test]
fn config_option_reads_one_file_alone() {
    let alone = Source::new(Some(Path::new("/tmp/x.toml")), Mode::System);
    assert_eq!((alone.main.to_str(), alone.fragments_dir), (Some("/tmp/x.toml"), None));
    let default = Source::new(Some(Path::new("/etc/unitmedic/unitmedic.toml")), Mode::System);
    assert_eq!(default, Source::new(None, Mode::System));
    assert_eq!(default.fragments_dir.as_deref(), Some(Path::new("/etc/unitmedic/conf.d")));
}

#[test]
fn unknown_keys_and_tables() {
    bad(
        r#"
retention = "1d"
colour = 1
[deamon]
[workers.mail]
unit = "mail.service"
[plugin]
[daemon]
dry-run = true
cpu_threshold = 3
[guard]
interval = 5
[defaults]
unit = "x.service"
zzz = 1
[worker.mail]
unit = "mail.service"
cpu_treshold = 80
cooldown = 3
plan = {}
"#,
        expect![[r#"
            u.toml:2: key "retention" is outside of any table; it belongs in [daemon]
            u.toml:3: unknown key "colour" outside of any table
            u.toml:4: unknown table [deamon]; did you mean [daemon]?
            u.toml:5: unknown table [workers]; did you mean [worker.NAME]?
            u.toml:7: unknown table [plugin]; known are [daemon], [guard], [alerts], [alertmanager.NAME], [webhook], [defaults] and [worker.NAME]
            u.toml:9: unknown key "dry-run" in [daemon]; did you mean "dry_run"?
            u.toml:10: unknown key "cpu_threshold" in [daemon]; it belongs in [defaults] or [worker.NAME]
            u.toml:12: unknown key "interval" in [guard]; known are storm_threshold, storm_min_instances, max_concurrent_actions, max_concurrent_starts, boot_grace
            u.toml:14: unknown key "unit" in [defaults]; it belongs in [worker.NAME]
            u.toml:15: unknown key "zzz" in [defaults]
            u.toml:18: unknown key "cpu_treshold" in [worker.mail]; did you mean "cpu_threshold"?
            u.toml:19: unknown key "cooldown" in [worker.mail]; did you mean "restart_cooldown"?
            u.toml:20: unknown key "plan" in [worker.mail]; did you mean "plans"?"#]],
    );
}

#[test]
fn wrong_types() {
    bad(
        r#"
worker.a = "a.service"
daemon = 3
[[guard]]
[defaults]
critical = "yes"
min_samples = 3
raise_samples = "3"
window_samples = 5.5
cpu_threshold = "80%"
memory_threshold = true
start_timeout = ["30s"]
drain_signal = 1.5
on_stop = "restrat"
plans = "restart"
[worker.b]
unit = 5
plans.dead = "restart"
"#,
        expect![[r#"
            u.toml:2: [worker.a] must be a table; found the string "a.service"
            u.toml:3: [daemon] must be a table; found the number 3
            u.toml:4: [guard] must be a table; found an array
            u.toml:6: critical in [defaults] takes true or false; found the string "yes"
            u.toml:7: unknown key "min_samples" in [defaults]; did you mean "window_samples"?
            u.toml:8: raise_samples in [defaults] takes a whole number from 1 to 60; found the string "3"
            u.toml:9: window_samples in [defaults] takes a whole number from 1 to 60; found the number 5.5
            u.toml:10: cpu_threshold in [defaults] takes a percentage over 0 and up to 100, as a number; found the string "80%"
            u.toml:11: memory_threshold in [defaults] takes a percentage over 0 and up to 100, as a number; found true
            u.toml:12: start_timeout in [defaults] takes a time span from 1s to 1d; found an array
            u.toml:13: drain_signal in [defaults] takes a signal, such as "SIGTERM" or 15; found the number 1.5
            u.toml:14: on_stop in [defaults] takes "respect" or "restart"; found the string "restrat" (did you mean "restart"?)
            u.toml:15: plans in [defaults] takes a table of lists, dead = ["restart"]; found the string "restart"
            u.toml:17: unit in [worker.b] takes a unit, a template or a pattern of units; found the number 5
            u.toml:18: plan dead of [worker.b] takes a list of actions, such as ["restart", "escalate"]; found the string "restart""#]],
    );
}

#[test]
fn out_of_range() {
    bad(
        r#"
[daemon]
health_check_interval = 0
retention = "1h"
listen = "localhost"
control_socket = "run/x.sock"
state_dir = "/var/../etc"
control_group = "a b"
record_bytes = "12 lots"
[guard]
storm_threshold = 101
max_concurrent_actions = 0
[defaults]
cpu_threshold = 0
memory_threshold = -1
pressure_threshold = nan
cpu_cores = inf
cpu_sustained = "5 parsecs"
max_restart_attempts = 0
crash_loop_failures = 99999999999999999999
drain_signal = "SIGKILL"
restart_cooldown = "infinity"
"#,
        expect![[r#"
            u.toml:3: health_check_interval in [daemon] takes a time span from 1s to 1h; found the number 0
            u.toml:4: retention in [daemon] takes a time span from 1d to 3650d; found the string "1h"
            u.toml:5: listen in [daemon] takes an address with its port, such as "127.0.0.1:10119", or "none"; found the string "localhost"
            u.toml:6: control_socket in [daemon] takes an absolute path of at most 107 bytes; found the string "run/x.sock"
            u.toml:7: state_dir in [daemon] takes an absolute path of at most 1024 bytes; found the string "/var/../etc"
            u.toml:8: control_group in [daemon] takes the name of a group, or "" for none; found the string "a b"
            u.toml:9: record_bytes in [daemon] takes 0, or a size from "1M" to "1T"; found the string "12 lots" (a whole number with K, M, G or T)
            u.toml:11: storm_threshold in [guard] takes a percentage over 0 and up to 100, as a number; found the number 101
            u.toml:12: max_concurrent_actions in [guard] takes a whole number from 1 to 32; found the number 0 (zero does not mean unlimited)
            u.toml:14: cpu_threshold in [defaults] takes a percentage over 0 and up to 100, as a number; found the number 0
            u.toml:15: memory_threshold in [defaults] takes a percentage over 0 and up to 100, as a number; found the number -1
            u.toml:16: pressure_threshold in [defaults] takes a percentage over 0 and up to 100, as a number; found the number nan
            u.toml:17: cpu_cores in [defaults] takes a number over 0 and up to 1024; found the number inf
            u.toml:18: cpu_sustained in [defaults] takes a time span from 1s to 1h; found the string "5 parsecs" (unknown unit "parsecs"; known are us, ms, s, min, h, d, w)
            u.toml:19: max_restart_attempts in [defaults] takes a whole number from 1 to 100; found the number 0 (zero does not mean unlimited)
            u.toml:20: crash_loop_failures in [defaults] takes a whole number from 2 to 100; found the number 99999999999999999999
            u.toml:21: drain_signal in [defaults] takes a signal, such as "SIGTERM" or 15; found the string "SIGKILL" (a process cannot catch it, so it cannot finish its work)
            u.toml:22: restart_cooldown in [defaults] takes a time span from 1s to 1h; found the string "infinity" (unknown unit "infinity"; known are us, ms, s, min, h, d, w)"#]],
    );
}

#[test]
fn values_that_contradict_each_other() {
    bad(
        r#"
[defaults]
raise_samples = 6
[worker.a]
unit = "a@.service"
min_instances = 3
max_instances = 2
[worker.b]
unit = "b.service"
min_instances = 2
backoff = "10min"
[worker.c]
critical = true
"#,
        expect![[r#"
            u.toml:3: raise_samples in [defaults] is above window_samples: 6 of 5 samples can never be
            u.toml:7: max_instances in [worker.a] is 2, below min_instances (3)
            u.toml:10: min_instances in [worker.b] is above 1, but b.service is a single unit; use a template, NAME@.service
            u.toml:11: backoff in [worker.b] is above restart_cooldown, which is the longest pause between two attempts
            u.toml:12: [worker.c] has no unit; add, for example, unit = "c.service""#]],
    );
}

#[test]
fn selectors() {
    bad(
        r#"
worker.a.unit = "*"
worker.b.unit = "*.service"
worker.c.unit = "c"
worker.d.unit = "d.timer"
worker.e.unit = "dbus.service"
worker.f.unit = "user@.service"
worker.g.unit = "g[ab].service"
worker.h.unit = "h h.service"
worker.i.unit = ""
worker."j j".unit = "j.service"
"#,
        expect![[r#"
            u.toml:2: unit in [worker.a] is "*", which would take every service of the host; name the units of this worker
            u.toml:3: unit in [worker.b] is "*.service", which would take every service of the host; name the units of this worker
            u.toml:4: unit in [worker.c] is "c", which does not end in .service; write "c.service"
            u.toml:5: unit in [worker.d] is "d.timer", which does not end in .service; unitmedic watches services
            u.toml:6: unit in [worker.e] is "dbus.service", which is never touched: it is the message bus, over which everything is done
            u.toml:7: unit in [worker.f] is "user@.service", which is never touched: it holds all sessions of a user
            u.toml:8: unit in [worker.g] is "g[ab].service"; a pattern has only * and ?, no [ ]
            u.toml:9: unit in [worker.h] is refused: unit name "h h.service" has a character that systemd does not allow; allowed are ASCII letters, digits and : _ . - \ @
            u.toml:10: unit in [worker.i] is "", which does not end in .service; name the units of this worker, such as "mail.service"
            u.toml:11: worker name "j j" is not 1 to 64 characters of a-z, A-Z, 0-9, - and _"#]],
    );
}

#[test]
fn a_unit_has_one_worker() {
    bad(
        r#"
worker.a.unit = "a.service"
worker.b.unit = "a.service"
worker.t.unit = "t@.service"
worker.t1.unit = "t@1.service"
worker.t2.unit = "t@.service"
worker.g.unit = "g-*.service"
worker.h.unit = "*-x.service"
worker.g1.unit = "g-1.service"
worker.tg.unit = "t@*.service"
"#,
        expect![[r#"
            u.toml:3: unit in [worker.b] and unit in [worker.a] (u.toml:2) both match "a.service"; a unit can have one worker only
            u.toml:5: unit in [worker.t1] and unit in [worker.t] (u.toml:4) both match "t@1.service"; a unit can have one worker only
            u.toml:6: unit in [worker.t2] and unit in [worker.t1] (u.toml:5) both match "t@1.service"; a unit can have one worker only
            u.toml:6: unit in [worker.t2] and unit in [worker.t] (u.toml:4) both match "t@1.service"; a unit can have one worker only
            u.toml:8: unit in [worker.h] and unit in [worker.g] (u.toml:7) both match "g-x.service"; a unit can have one worker only
            u.toml:8: unit in [worker.h] and unit in [worker.t2] (u.toml:6) both match "t@-x.service"; a unit can have one worker only
            u.toml:8: unit in [worker.h] and unit in [worker.t] (u.toml:4) both match "t@-x.service"; a unit can have one worker only
            u.toml:9: unit in [worker.g1] and unit in [worker.g] (u.toml:7) both match "g-1.service"; a unit can have one worker only
            u.toml:10: unit in [worker.tg] and unit in [worker.h] (u.toml:8) both match "t@-x.service"; a unit can have one worker only
            u.toml:10: unit in [worker.tg] and unit in [worker.t1] (u.toml:5) both match "t@1.service"; a unit can have one worker only
            u.toml:10: unit in [worker.tg] and unit in [worker.t2] (u.toml:6) both match "t@1.service"; a unit can have one worker only
            u.toml:10: unit in [worker.tg] and unit in [worker.t] (u.toml:4) both match "t@1.service"; a unit can have one worker only"#]],
    );
}

#[test]
fn plans() {
    bad(
        r#"
[defaults.plans]
hangs = ["restart"]
memory_hi = ["restart"]
[worker.a]
unit = "a.service"
[worker.a.plans]
dead = []
cpu_high = ["reboot"]
starved = [
  "restart",
  "restart",
]
crash_loop = ["escalate", "restart"]
oom_killed = ["restrat", 5]
"#,
        expect![[r#"
            u.toml:3: unknown condition "hangs" in the plans of [defaults]; known are unusual, predicted, external, cpu_high, starved, backlog_high, error_rate_high, memory_high, consumer_stalled, no_consumer, probe_failed, hung, start_stuck, oom_killed, dead, crash_loop
            u.toml:4: unknown condition "memory_hi" in the plans of [defaults]; did you mean "memory_high"?
            u.toml:8: plan dead of [worker.a] is empty; to be told and nothing more, write ["escalate"]
            u.toml:9: plan cpu_high of [worker.a] has the unknown action "reboot"; it can be "memory_cleanup", "connection_reset", "scale_up", "graceful_restart", "restart", "escalate" or "hook:NAME"
            u.toml:12: plan starved of [worker.a] has "restart" twice
            u.toml:14: plan crash_loop of [worker.a] goes on after "escalate", which must be last: nothing follows it
            u.toml:15: plan oom_killed of [worker.a] has the unknown action "restrat"; did you mean "restart"?
            u.toml:15: plan oom_killed of [worker.a] takes "memory_cleanup", "connection_reset", "scale_up", "graceful_restart", "restart", "escalate" or "hook:NAME"; found the number 5"#]],
    );
}

#[test]
fn syntax_errors_do_not_hide_the_rest() {
    let errors = parse(
        &files(&[
            ("1.toml", "[worker.a]\nunit = \"a.service\nx = 1\n"),
            ("2.toml", "[worker.a]\ncritical = 3\n[worker.a]\n"),
            ("3.toml", "[worker.a]\ncritical = 3\n"),
        ]),
        &Mode::System,
    )
    .unwrap_err();
    expect![[r#"
        1.toml:2: not valid TOML: invalid basic string, expected `"`
        2.toml:3: not valid TOML: duplicate key
        3.toml:2: critical in [worker.a] takes true or false; found the number 3"#]]
    .assert_eq(&errors.to_string());
}

#[test]
fn many_problems_are_counted_not_all_told() {
    let text: String = (0..150).map(|n| format!("[worker.w{n}]\n")).collect();
    let errors = one(&text).unwrap_err();
    assert_eq!((errors.len(), errors.problems().len()), (150, PROBLEMS_MAX));
    assert!(errors.to_string().ends_with("and 50 more problems"));
    let text: String = (0..=WORKERS_MAX).map(|n| format!("worker.w{n}.unit = \"w{n}.service\"\n")).collect();
    assert!(one(&text).unwrap_err().to_string().contains("more than 4096 workers"));
}

/// What a file says when read from a disk, with the directory's name taken out.
fn load_in(dir: &Path) -> String {
    let source =
        Source { main: dir.join("unitmedic.toml"), fragments_dir: Some(dir.join("conf.d")), mode: Mode::System };
    let told = match load(&source) {
        Ok(settings) => settings.workers.keys().map(|name| name.to_string()).collect::<Vec<_>>().join(" "),
        Err(errors) => errors.to_string(),
    };
    told.replace(dir.to_str().unwrap(), "DIR")
}

#[test]
fn files_and_their_faults() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let main = dir.join("unitmedic.toml");
    let told = |expected: Expect| expected.assert_eq(&load_in(dir));

    told(expect![[
        r#"DIR/unitmedic.toml: does not exist; `unitmedic discover` proposes what to write in it, or start with: [worker.NAME] and unit = "NAME.service""#
    ]]);
    fs::create_dir(&main).unwrap();
    told(expect!["DIR/unitmedic.toml: is not a regular file"]);
    fs::remove_dir(&main).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &main, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    told(expect!["DIR/unitmedic.toml: is not a regular file"]);
    fs::remove_file(&main).unwrap();
    std::os::unix::fs::symlink("nowhere", &main).unwrap();
    told(expect!["DIR/unitmedic.toml: cannot be opened: No such file or directory (os error 2)"]);
    fs::remove_file(&main).unwrap();
    fs::write(&main, b"a = 1\nb = \"\xff\"\n").unwrap();
    told(expect!["DIR/unitmedic.toml: is not UTF-8 (line 2); save it as UTF-8"]);
    fs::write(&main, vec![b'#'; FILE_MAX as usize + 1]).unwrap();
    told(expect!["DIR/unitmedic.toml: is larger than 1024 KiB; that is no configuration"]);
    fs::write(&main, "worker.a.unit = \"a.service\"").unwrap();
    told(expect!["a"]);
    fs::set_permissions(&main, fs::Permissions::from_mode(0o646)).unwrap();
    told(expect![
        "DIR/unitmedic.toml: can be written by everybody, who could so steer unitmedic; run: chmod go-w DIR/unitmedic.toml"
    ]);
    fs::set_permissions(&main, fs::Permissions::from_mode(0o644)).unwrap();

    let fragments = dir.join("conf.d");
    fs::create_dir(&fragments).unwrap();
    for (name, text) in [("b.toml", "worker.b.unit = \"b.service\""), (".hidden.toml", "x"), ("c.toml.bak", "x")] {
        fs::write(fragments.join(name), text).unwrap();
    }
    told(expect!["a b"]);
    fs::set_permissions(&fragments, fs::Permissions::from_mode(0o757)).unwrap();
    told(expect!["DIR/conf.d: can be written by everybody, who could so steer unitmedic; run: chmod go-w DIR/conf.d"]);
    fs::set_permissions(&fragments, fs::Permissions::from_mode(0o755)).unwrap();
    for n in 0..FRAGMENTS_MAX {
        fs::write(fragments.join(format!("n{n}.toml")), "").unwrap();
    }
    told(expect!["DIR/conf.d: has more than 256 files; put several workers into one"]);
}

#[test]
fn root_reads_only_what_root_wrote() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("unitmedic.toml");
    fs::write(&main, "").unwrap();
    std::os::unix::fs::chown(&main, Some(1000), Some(1000)).unwrap();
    expect!["DIR/unitmedic.toml: is owned by uid 1000, who could so steer unitmedic; run: chown root:root DIR/unitmedic.toml"].assert_eq(&load_in(dir.path()));
    std::os::unix::fs::chown(&main, Some(0), Some(1000)).unwrap();
    fs::set_permissions(&main, fs::Permissions::from_mode(0o664)).unwrap();
    expect!["DIR/unitmedic.toml: can be written by a group other than root, who could so steer unitmedic; run: chmod go-w DIR/unitmedic.toml"].assert_eq(&load_in(dir.path()));
}

#[test]
fn settings_in_force_name_their_origin() {
    let settings = good("[worker.a]\nunit = \"a.service\"\ncpu_threshold = 50\nplans.dead = [\"escalate\"]");
    let views = reference::in_force(&settings, &settings.workers["a"]);
    let view =
        |key: &str| views.iter().find(|view| view.key == key).map(|view| (view.value.as_str(), view.origin.as_str()));
    assert_eq!(view("worker.a.cpu_threshold"), Some(("50.0", "u.toml:3")));
    assert_eq!(view("worker.a.restart_cooldown"), Some(("\"5min\"", "default")));
    assert_eq!(view("worker.a.plans.dead"), Some(("[\"escalate\"]", "u.toml:4")));
}

/// Whatever is in a file, the answer is settings or problems, and it comes soon.
#[test]
fn hostile_files_are_answered() {
    let deep = FILE_MAX as usize / 2;
    for text in [
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}{}", "[".repeat(deep - 8), "]".repeat(deep - 8)),
        format!("a{} = 1", ".a".repeat(deep - 8)),
        format!("[a{}]", ".a".repeat(deep - 8)),
        format!("worker.a.plans{} = 1", ".a".repeat(deep - 16)),
        format!("a = {}1", "{a=".repeat(deep / 2)),
        format!("x = \"{}\"", "\\u0007".repeat(deep / 6)),
        "\0\u{7f}\u{feff}\r\r\n= =[\"\"\"".repeat(1000),
    ] {
        let errors = one(&text).expect_err("accepted");
        assert!(errors.to_string().len() < 100_000, "{} bytes of errors", errors.to_string().len());
    }
}

/// The default file with bytes changed, by a generator that always starts alike.
#[test]
fn damaged_files_are_answered() {
    let whole = reference::default_file().replace("\n#", "\n").into_bytes();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..500 {
        let mut bytes = whole.clone();
        for _ in 0..=random(8) {
            let at = random(bytes.len());
            bytes[at] = b"[]{}=\"#.\n\\-9a\xff"[random(14)];
        }
        if let Err(errors) = one(&String::from_utf8_lossy(&bytes)) {
            assert!(!errors.is_empty());
        }
    }
}

/// Every pair is compared, so a pair must cost little.
#[test]
fn many_patterns_are_compared_in_time() {
    let text: String = (0..1000).map(|n| format!("worker.w{n}.unit = \"*a*b*c*-{n:04}.service\"\n")).collect();
    assert_eq!(one(&text).map(|settings| settings.workers.len()), Ok(1000), "different ends share nothing");
    let same: String = (0..1000).map(|n| format!("worker.w{n}.unit = \"{}x.service\"\n", "*a".repeat(100))).collect();
    assert_eq!(one(&same).unwrap_err().len(), PROBLEMS_MAX);
}

const BEGIN: &str = "<!-- keys: begin (made from src/config/keys.rs) -->\n";
const END: &str = "<!-- keys: end -->";

fn in_package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares, or with UPDATE_DOCS=1 writes.
fn fresh(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, expected).unwrap();
    }
    let name = path.file_name().unwrap();
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{name:?} is not what src/config/keys.rs says; run: UPDATE_DOCS=1 cargo test --lib config"
    );
}

#[test]
fn the_documentation_is_fresh() {
    let path = in_package("docs/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("docs/configuration.md has the mark where keys begin");
    let (_, after) = rest.split_once(END).expect("docs/configuration.md has the mark where keys end");
    fresh(&path, &format!("{before}{BEGIN}\n{}\n{END}{after}", reference::markdown()));
}

#[test]
fn the_default_file_is_fresh_and_says_the_defaults() {
    fresh(&in_package("packaging/unitmedic.toml"), &reference::default_file());
    assert_eq!(good(&reference::default_file()), Settings::empty());
    let is_key = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let text = reference::default_file();
    let text: String =
        text.lines().map(|line| if is_key(&line) { &line[1..] } else { line }).map(|l| format!("{l}\n")).collect();
    let settings = good(&text);
    assert_eq!(settings.daemon, Settings::empty().daemon);
    assert_eq!(settings.guard, Settings::empty().guard);
    assert_eq!(settings.workers["mail"].restart_cooldown, Duration::from_secs(300));
}

/// The TOML that a page shows.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1);
    blocks.map(|block| block.split_once("```").map_or(block, |(toml, _)| toml).to_string()).collect()
}

#[test]
fn every_example_of_the_documentation_is_valid() {
    let page = fs::read_to_string(in_package("docs/configuration.md")).unwrap();
    let examples = examples(&page);
    assert!(examples.len() >= 4, "{} examples found", examples.len());
    for example in examples {
        good(&example);
    }
}
