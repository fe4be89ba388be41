use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("unitmedic").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn good_arguments() {
    for line in [
        "run",
        "start --daemon",
        "run --config /x.toml --interval 10s --dry-run --user",
        "status",
        "status -w mail web",
        "status mail --json",
        "--user status",
        "--socket /s status --no-color",
        "incidents --open --worker mail --unit mail@1.service --limit 3 --since 2h --json",
        "incidents show #42 --user",
        "incidents mark-false 42",
        "history --summary --since 7d --worker mail",
        "explain mail",
        "explain mail@2",
        "explain #42 --json",
        "recover mail --action restart",
        "recover mail@1.service --action graceful_restart --force --no-wait --json",
        "pause mail --for 2h --reason deploy",
        "pause --all --until 18:30",
        "resume --all",
        "resume mail",
        "replay",
        "replay --config /new.toml --recordings /r --since 7d --until 2h --worker mail --differences 5 --json",
        "generate man --list",
        "generate man unitmedic-status.1",
        "generate completions zsh",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_arguments() {
    for line in [
        "",
        "frobnicate",
        "run --interval soon",
        "run --interval 0",
        "run --daemon --dry-run",
        "run --socket /s",
        "status --watch --json",
        "status --frob",
        "replay --differences few",
        "replay --worker no/name",
        "incidents --limit 0",
        "incidents --unit mail",
        "incidents show",
        "incidents show x",
        "incidents --open show 3",
        "history --summary --limit 3",
        "explain",
        "explain a/b",
        "recover",
        "recover mail",
        "recover --action restart",
        "recover mail --action scale_sideways",
        "recover mail --action escalate",
        "pause",
        "pause mail --all",
        "pause mail --for 2h --until 18:30",
        "resume",
        "generate --socket /s",
        "generate man unitmedic.1 --list",
        "generate completions csh",
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("taken: {line}"));
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn wrong_arguments_exit_with_64_and_help_with_0() {
    let exit = |line: &str| {
        let arguments = std::iter::once("unitmedic").chain(line.split_whitespace()).map(OsString::from);
        format!("{:?}", main(arguments))
    };
    assert_eq!(exit("status --frob"), format!("{:?}", ExitCode::from(64)));
    assert_eq!(exit("recover mail"), format!("{:?}", ExitCode::from(64)));
    assert_eq!(exit("--version"), format!("{:?}", ExitCode::from(0)));
    assert_eq!(exit("status --socket /nowhere/control.sock"), format!("{:?}", ExitCode::from(69)));
    assert_eq!(exit("--socket /s run"), format!("{:?}", ExitCode::from(64)));
}

#[test]
fn options_before_and_behind_the_command() {
    let global = |line: &str| match parse(line).unwrap() {
        Cli { global, command: Command::Incidents(asking) } => asking.global.or(&global),
        _ => panic!("{line}"),
    };
    let expected = Global { socket: Some("/b".into()), user: true, no_color: true };
    assert_eq!(global("--socket /a --no-color incidents --socket /b --user"), expected);
    assert_eq!(global("--no-color incidents show 42 --socket /b --user"), expected);
    assert_eq!(global("incidents"), Global::default());
    assert_eq!(Global { user: true, ..Global::default() }.given(), Some("--user"));
}

#[test]
fn every_command_and_option_is_in_the_docs() {
    let docs = include_str!("../../docs/commands.md");
    let elsewhere = ["check-config", "discover", "generate", "helper", "help"];
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(docs.contains(&format!("`{name}`")) || docs.contains(&format!("unitmedic {name}")), "{name}");
        let nested = command.get_subcommands().filter(|nested| nested.get_name() != "help");
        for part in nested.chain([command]).filter(|_| !elsewhere.contains(&name)) {
            assert!(docs.contains(part.get_name()), "{name} {}", part.get_name());
            for option in part.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(option == "help" || docs.contains(&format!("--{option}")), "{name} --{option}");
            }
        }
    }
    for line in exit::HELP.lines().skip(1) {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        assert!(docs.contains(&format!("| {code} | {}", meaning.trim().split(';').next().unwrap())), "{line}");
    }
}
