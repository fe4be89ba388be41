//! The program from the outside: what it prints and its exit codes, without a daemon.

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use tempfile::TempDir;

const GOOD: &str = "[worker.mail]\nunit = \"mail@.service\"\nmin_instances = 2\n";

const BAD: &str = "[daemon]\nlisten = \"somewhere\"\n\n[worker.mail]\nunit = \"mail@.service\"\ncpu_treshold = 70\n";

/// Runs the program in an empty directory with two configurations; shows exit code and output, the directory as DIR.
fn check(arguments: &str, expected: Expect) {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("good.toml"), GOOD).expect("a file");
    fs::write(directory.path().join("bad.toml"), BAD).expect("a file");
    expected.assert_eq(&run(arguments, directory.path()));
}

fn run(arguments: &str, directory: &Path) -> String {
    let place = directory.display().to_string();
    let arguments = arguments.replace("DIR", &place);
    let output = Command::new(env!("CARGO_BIN_EXE_unitmedic"))
        .args(arguments.split_whitespace())
        .env_clear()
        .env("TZ", "UTC")
        .env("LANG", "C.UTF-8")
        .current_dir(directory)
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&place, "DIR");
    let code = output.status.code().map_or("a signal".into(), |code| code.to_string());
    format!("exit code {code}\n{}--\n{}", text(output.stdout), without_time(&text(output.stderr)))
}

/// A line of the log begins with its time.
fn without_time(log: &str) -> String {
    let timed = |line: &str| line.get(..28).is_some_and(|start| start.ends_with("Z ") && start.contains('T'));
    log.lines().map(|line| if timed(line) { format!("TIME {}\n", &line[28..]) } else { format!("{line}\n") }).collect()
}

#[test]
fn help() {
    check(
        "--help",
        expect![[r#"
            exit code 0
            Keeps the workers of a systemd host alive and well

            Usage: unitmedic [OPTIONS] <COMMAND>

            Commands:
              run           Watch and repair the configured workers, until stopped [alias: start]
              status        How the workers are, sick ones first
              incidents     What was wrong, newest first
              history       What was done about it, newest first
              audit         Who did what, and from where, newest first
              alerts        What is firing, where it was sent, and what fired before
              explain       Why something was or was not recovered, and why it is restarted so often
              strategies    What has been learned: which action helps for which failure, and why it is ranked so
              advice        What could be configured better, with the evidence for it and the change it would
                            take
              recover       Restart a worker or a unit now, behind the same gates, and show whether it helped
              approve       Say yes to a planned action that waits for it; without an incident, what waits
              reject        Say no to a planned action that waits for a yes
              pause         Leave a worker, or all, alone for a while
              resume        End a pause
              check-config  Check the configuration without starting anything
              discover      Propose a configuration for services that run here
              patterns      Which errors the workers write, and what they precede; or group the lines of a log
              replay        What would another configuration have done with what was recorded?
              generate      Write files that go with a worker, such as its unit
              help          Print this message or the help of the given subcommand(s)

            Options:
                  --socket <PATH>  Control socket of the daemon [default: /run/unitmedic/control.sock]
                  --user           The user's own services and daemon: socket
                                   $XDG_RUNTIME_DIR/unitmedic/control.sock
                  --no-color       No colours, also on a terminal (as with NO_COLOR in the environment)
              -h, --help           Print help
              -V, --version        Print version

            Exit codes:
              0   done; for recover: it helped
              1   it failed; for recover: it did not help
              3   a gate refused, and nothing was done
              64  wrong arguments, or no such worker, unit or incident
              69  the daemon does not run or does not answer
              77  no permission
              78  the configuration is wrong
            --
        "#]],
    );
}

#[test]
fn version() {
    let version = run("--version", Path::new("/"));
    assert_eq!(version, concat!("exit code 0\nunitmedic ", env!("CARGO_PKG_VERSION"), "\n--\n"));
}

#[test]
fn without_arguments_it_shows_help_and_fails() {
    let [asked, unasked] = ["--help", ""].map(|arguments| run(arguments, Path::new("/")));
    let body = asked.strip_prefix("exit code 0\n").and_then(|text| text.strip_suffix("--\n")).expect("help");
    assert_eq!(unasked, format!("exit code 64\n--\n{body}"));
}

#[test]
fn an_unknown_command() {
    check(
        "statsu",
        expect![[r#"
        exit code 64
        --
        error: unrecognized subcommand 'statsu'

          tip: some similar subcommands exist: 'start', 'status'

        Usage: unitmedic [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn an_unknown_option() {
    check(
        "status --wacth",
        expect![[r#"
        exit code 64
        --
        error: unexpected argument '--wacth' found

          tip: a similar argument exists: '--watch'

        Usage: unitmedic status --watch [WORKER|UNIT]...

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn a_value_that_cannot_be() {
    check(
        "recover mail --action reboot",
        expect![[r#"
            exit code 64
            --
            error: invalid value 'reboot' for '--action <ACTION>'
              [possible values: restart, graceful_restart, scale_up, scale_down, connection_reset, memory_cleanup]

            For more information, try '--help'.
        "#]],
    );
}

#[test]
fn a_time_that_is_none() {
    check(
        "history --since yesterdy",
        expect![[r#"
        exit code 64
        --
        unitmedic: "yesterdy" is neither a span (2h, 7d) nor a date (2026-11-23, 2026-11-23 18:30, an RFC 3339 time)
    "#]],
    );
}

#[test]
fn an_option_without_a_meaning() {
    check(
        "--socket DIR/x.sock run",
        expect![[r#"
        exit code 64
        --
        unitmedic: --socket has no meaning for run: set control_socket in the configuration
    "#]],
    );
}

#[test]
fn a_good_configuration() {
    check(
        "check-config --config DIR/good.toml",
        expect![[r#"
        exit code 0
        ok: 1 worker

        WORKER  UNIT           INSTANCES  CRITICAL
        mail    mail@.service  2–         no
        --
    "#]],
    );
}

#[test]
fn a_bad_configuration() {
    check(
        "check-config --config DIR/bad.toml",
        expect![[r#"
        exit code 78
        --
        DIR/bad.toml:2: listen in [daemon] takes an address with its port, such as "127.0.0.1:10119", or "none"; found the string "somewhere"
        DIR/bad.toml:6: unknown key "cpu_treshold" in [worker.mail]; did you mean "cpu_threshold"?
    "#]],
    );
}

#[test]
fn a_bad_configuration_as_json() {
    check(
        "check-config --json --config DIR/bad.toml",
        expect![[r#"
        exit code 78
        {
          "ok": false,
          "problems": [
            {
              "file": "DIR/bad.toml",
              "line": 2,
              "text": "listen in [daemon] takes an address with its port, such as \"127.0.0.1:10119\", or \"none\"; found the string \"somewhere\""
            },
            {
              "file": "DIR/bad.toml",
              "line": 6,
              "text": "unknown key \"cpu_treshold\" in [worker.mail]; did you mean \"cpu_threshold\"?"
            }
          ]
        }
        --
    "#]],
    );
}

#[test]
fn no_configuration() {
    check(
        "check-config --config DIR/none.toml",
        expect![[r#"
        exit code 78
        --
        DIR/none.toml: does not exist; `unitmedic discover` proposes what to write in it, or start with: [worker.NAME] and unit = "NAME.service"
    "#]],
    );
}

#[test]
fn run_ends_before_anything_is_bound() {
    check(
        "run --config DIR/bad.toml",
        expect![[r#"
        exit code 78
        --
        TIME ERROR DIR/bad.toml:2: listen in [daemon] takes an address with its port, such as "127.0.0.1:10119", or "none"; found the string "somewhere"
        TIME ERROR DIR/bad.toml:6: unknown key "cpu_treshold" in [worker.mail]; did you mean "cpu_threshold"?
    "#]],
    );
}

#[test]
fn every_command_that_asks_says_that_there_is_no_daemon() {
    let expected = expect![[r#"
        exit code 69
        --
        unitmedic: no unitmedic daemon at DIR/none.sock: the socket does not exist; start it with `systemctl start unitmedic` or `unitmedic run`, or name its socket with --socket
    "#]];
    let directory = TempDir::new().expect("a directory");
    let said: Vec<String> = [
        "status",
        "incidents",
        "incidents show 1",
        "incidents mark-false 1",
        "history",
        "history --summary",
        "explain mail",
        "recover mail --action restart",
        "pause mail",
        "resume mail",
    ]
    .iter()
    .map(|command| run(&format!("{command} --socket DIR/none.sock"), directory.path()))
    .collect();
    assert!(said.iter().all(|one| *one == said[0]), "{said:#?}");
    expected.assert_eq(&said[0]);
}
