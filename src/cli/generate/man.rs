//! The manual: a page for the program, one for each command, one for the configuration. Made from the definitions that
//! parse arguments and files, so no page can say what the program does not do.

use std::io::Write;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::{Cli, Usage, exit};
use crate::config::reference::{self, Entry};

const PROGRAM: &str = "unitmedic.1";
const CONFIGURATION: &str = "unitmedic.toml.5";
const MANUAL: &str = "unitmedic";
const VERSION: &str = concat!("unitmedic ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, Default, clap::Args)]
pub struct ManArgs {
    /// The page, such as unitmedic-status.1 or unitmedic.toml.5
    #[arg(value_name = "PAGE", default_value = PROGRAM)]
    pub page: String,
    /// Print the names of all pages instead
    #[arg(long, conflicts_with = "page")]
    pub list: bool,
}

pub fn run(args: &ManArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let commands = commands();
    if args.list {
        for (page, _) in &commands {
            writeln!(out, "{page}")?;
        }
        writeln!(out, "{CONFIGURATION}")?;
        return Ok(0);
    }
    if args.page == CONFIGURATION {
        configuration().to_writer(out)?;
        return Ok(0);
    }
    let found = commands.into_iter().find(|(page, _)| *page == args.page);
    let (_, command) = found.ok_or_else(|| {
        Usage(format!("no page {:?}; `unitmedic generate man --list` prints the names of all", args.page))
    })?;
    render(command, out)?;
    Ok(0)
}

/// The program and its commands, each with the name of its page. `help` has none: what it prints is these.
fn commands() -> Vec<(String, Command)> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut found = Vec::new();
    collect(program, &mut found);
    found
}

fn collect(command: Command, found: &mut Vec<(String, Command)>) {
    let page = format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name()));
    let below: Vec<Command> = command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
    found.push((page, command));
    for command in below {
        collect(command, found);
    }
}

fn render(command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    let title = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let has_commands = command.has_subcommands();
    let has_options = command.get_arguments().any(|argument| !argument.is_hide_set());
    let page = Man::new(command).title(&title).source(VERSION).manual(MANUAL);
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    if has_options {
        page.render_options_section(out)?;
    }
    if has_commands {
        page.render_subcommands_section(out)?;
    }
    let mut rest = Roff::new();
    exit_status(&mut rest);
    if title == "unitmedic" {
        files(&mut rest);
    }
    see_also(&mut rest, &title);
    rest.to_writer(out).context("writing the page")
}

/// The same table that stands below `--help`; running text would join its lines.
fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for line in exit::HELP.lines().skip(1) {
        let (code, meaning) = line.trim().split_once(' ').unwrap_or((line, ""));
        item(roff, code, [roman(meaning.trim())]);
    }
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    for (path, what) in [
        ("/etc/unitmedic/unitmedic.toml", "the configuration"),
        ("/etc/unitmedic/conf.d/*.toml", "further configuration, read after it in the order of the names"),
        ("/run/unitmedic/control.sock", "the control socket, for root and the group unitmedic"),
        ("/run/unitmedic/hold", "while this file exists, nothing is done to any unit"),
        ("/var/lib/unitmedic", "the history"),
        (
            "/usr/share/doc/unitmedic/docs/troubleshooting.md",
            "with a package: for the night in which something is wrong",
        ),
    ] {
        item(roff, path, [roman(what)]);
    }
}

fn see_also(roff: &mut Roff, title: &str) {
    roff.control("SH", ["SEE ALSO"]);
    let pages = [("unitmedic", 1), ("unitmedic.toml", 5), ("systemctl", 1), ("journalctl", 1)];
    let others = pages.iter().filter(|(name, _)| *name != title);
    let mut text = Vec::new();
    for (number, (name, section)) in others.enumerate() {
        let comma = if number > 0 { ", " } else { "" };
        text.extend([roman(comma), bold(*name), roman(format!("({section})"))]);
    }
    roff.text(text);
}

fn configuration() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["unitmedic.toml", "5", "", VERSION, MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman("unitmedic.toml - configuration of unitmedic")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman("/etc/unitmedic/unitmedic.toml")]);
    page.control("PP", []);
    page.text([roman("/etc/unitmedic/conf.d/*.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    for (number, text) in INTRODUCTION.iter().enumerate() {
        if number > 0 {
            page.control("PP", []);
        }
        page.text([roman(*text)]);
    }
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    for table in reference::tables() {
        page.control("SH", [table.titles.join(" AND ").as_str()]);
        for entry in &table.entries {
            item(&mut page, entry.name, describe(entry));
        }
    }
    page.control("SH", ["[worker.NAME.plans] AND [defaults.plans]"]);
    page.text([roman(reference::plans())]);
    see_also(&mut page, "unitmedic.toml");
    page
}

const INTRODUCTION: &[&str] = &[
    "Which workers there are, and how they are judged and repaired. It is TOML. Nothing is touched until a worker is \
     configured.",
    "The main file is read first, then the files of conf.d in the order of their names; a key that is set twice has \
     the later value. A value is looked for in [worker.NAME], then in [defaults]; else it is the default named here.",
    "`unitmedic discover` proposes workers for this host, `unitmedic check-config` checks the files, `systemctl \
     reload unitmedic` takes them into use.",
];

const EXAMPLE: &str = "\
[defaults]
cpu_threshold = 80.0

[worker.mail]
unit = \"mail@.service\"
critical = true
min_instances = 2";

fn describe(entry: &Entry) -> Vec<Inline> {
    let mut text = vec![roman(format!("{} Takes {}.", entry.doc.replace('`', ""), entry.takes))];
    match (&entry.default, entry.example) {
        (Some(default), _) => text.extend([roman(" Default: "), italic(default.as_str()), roman(".")]),
        (None, Some(example)) => text.extend([roman(" Example: "), italic(example), roman(".")]),
        (None, None) => {}
    }
    if entry.own {
        text.push(roman(" Not in [defaults]."));
    }
    text
}

fn item(roff: &mut Roff, name: &str, text: impl Into<Vec<Inline>>) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> String {
        let mut out = Vec::new();
        run(&ManArgs { page: name.into(), list: false }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_command_has_a_page() {
        let mut out = Vec::new();
        run(&ManArgs { list: true, ..ManArgs::default() }, &mut out).unwrap();
        let list = String::from_utf8(out).unwrap();
        for name in ["unitmedic.1", "unitmedic-status.1", "unitmedic-incidents-show.1", "unitmedic.toml.5"] {
            assert!(list.lines().any(|line| line == name), "{name} in\n{list}");
        }
        for name in list.lines() {
            let (title, section) = name.rsplit_once('.').unwrap();
            let text = page(name);
            assert!(text.contains(&format!(".TH {title} {section} ")), "{text}");
            assert!(!name.contains("help") && text.contains(".SH NAME"), "{name}");
        }
        let error = run(&ManArgs { page: "unitmedic-nothing.1".into(), list: false }, &mut Vec::new()).unwrap_err();
        assert!(error.is::<Usage>(), "{error:#}");
    }

    #[test]
    fn the_configuration_page_has_every_key() {
        let text = page(CONFIGURATION);
        for table in reference::tables() {
            for entry in table.entries {
                assert!(text.contains(&format!("\\fB{}\\fR", entry.name)), "{}", entry.name);
            }
        }
        assert!(text.contains("escalate"), "{text}");
    }
}
