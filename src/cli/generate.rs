//! `unitmedic generate`: prints a systemd unit for a worker, with the reason for every directive; a token for the API; and
//! what packages bring along, pages of the manual and completions for shells. It writes no files.

mod completions;
mod man;
mod token;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::Usage;
use crate::config::span::{parse_size, parse_span, show_size, show_span};
use crate::model::never::never_touch;
use crate::model::{UnitName, WorkerName};

/// Longest line that systemd reads from a unit file is 1 MiB; nothing sensible comes near this.
const EXEC_MAX: usize = 4096;
const TEXT_MAX: usize = 200;
/// useradd's limit.
const USER_MAX: usize = 32;
/// Less memory than this does not even load a program.
const MEMORY_MIN: u64 = 1 << 20;
/// systemd's specifiers that make sense in ExecStart= of a service (systemd.unit(5)).
const SPECIFIERS: &str = "%aAbBCdDeEfgGhHIijJlLmMnNopPqsStTuUvVwWy";

/// Print files for a worker, or those that go with the program.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum What {
    /// A systemd unit, or with --toml the configuration for it
    Unit(UnitArgs),
    /// A token with which a program asks over TCP, and its line for the web configuration
    Token(token::TokenArgs),
    /// A page of the manual, as man(1) reads it
    Man(man::ManArgs),
    /// Completions for a shell
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, Clone, Default, clap::Args)]
pub struct UnitArgs {
    /// Name of the worker and of its unit, without .service
    pub name: String,
    /// Command line, with the absolute path of the program first; a template may have %i
    #[arg(long, value_name = "COMMAND")]
    pub exec: String,
    /// What the worker is, in a few words
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A template, NAME@.service, of which several instances can run
    #[arg(long)]
    pub template: bool,
    /// Run as this user; without it, systemd makes one up while it runs
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The program sends READY=1 and WATCHDOG=1 (sd_notify); without a sign for so long it counts as hung
    #[arg(long, value_name = "TIME")]
    pub watchdog: Option<String>,
    /// Most memory that it may use, as 512M
    #[arg(long, value_name = "SIZE")]
    pub memory_max: Option<String>,
    /// Print the configuration of unitmedic for this unit instead
    #[arg(long)]
    pub toml: bool,
}

/// Returns the exit code; wrong arguments are a [`Usage`].
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.what {
        What::Unit(args) => unit(args, out),
        What::Token(args) => token::run(args, out),
        What::Man(args) => man::run(args, out),
        What::Completions(args) => completions::run(args, out),
    }
}

fn unit(args: &UnitArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let plan = Plan::from_args(args).map_err(|error| Usage(format!("{error:#}")))?;
    write!(out, "{}", if args.toml { plan.toml() } else { plan.unit() })?;
    Ok(0)
}

/// Arguments that have been checked: nothing in here can begin a new line of a unit file.
struct Plan {
    name: WorkerName,
    /// `mail.service` or `mail@.service`.
    file: String,
    template: bool,
    exec: String,
    description: String,
    user: Option<String>,
    watchdog: Option<Duration>,
    memory_max: Option<u64>,
}

impl Plan {
    fn from_args(args: &UnitArgs) -> anyhow::Result<Self> {
        let bare = args.name.trim_end_matches(".service").trim_end_matches('@');
        ensure!(
            bare == args.name,
            "name {:?}: give it without .service and @; a template is asked for with --template",
            args.name
        );
        let name = WorkerName::new(&args.name)?;
        let file = format!("{name}{}.service", if args.template { "@" } else { "" });
        let example = file.replace('@', "@1");
        UnitName::new(&example)?;
        if let Some(why) = never_touch(&example) {
            bail!("name {name}: unitmedic never touches {example}: {why}");
        }
        let description = args.description.clone().unwrap_or_else(|| format!("Worker {name}"));
        Ok(Self {
            exec: check_exec(&args.exec, args.template)?,
            description: check_line("description", &description, TEXT_MAX)?.replace('%', "%%"),
            user: args.user.as_deref().map(check_user).transpose()?,
            watchdog: args.watchdog.as_deref().map(check_watchdog).transpose()?,
            memory_max: args.memory_max.as_deref().map(check_memory).transpose()?,
            template: args.template,
            file,
            name,
        })
    }

    fn unit(&self) -> String {
        let mut text = self.head();
        text.push_str("\n[Service]\n");
        text.push_str(&self.start());
        text.push_str(LIFE);
        if let Some(bytes) = self.memory_max {
            text.push_str(&format!(
                "\n# The kernel stops it here, rather than the whole host. unitmedic warns before.\nMemoryMax={}\n",
                show_size(bytes)
            ));
        }
        text.push_str(&self.identity());
        text.push_str(&self.hardening());
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        text
    }

    fn head(&self) -> String {
        let unit = self.file.replace('@', "@1");
        let instance = if self.template { ", instance %i" } else { "" };
        format!(
            "# Save as /etc/systemd/system/{file}, then: systemctl daemon-reload && systemctl enable --now {unit}\n\
             [Unit]\n\
             Description={}{instance}\n\
             # Ordering only: a worker must cope with a network that comes later or goes.\n\
             After=network.target\n\
             # systemd gives up after five quick crashes; from there on unitmedic takes over, with pauses.\n\
             StartLimitIntervalSec=60s\n\
             StartLimitBurst=5\n",
            self.description,
            file = self.file,
        )
    }

    fn start(&self) -> String {
        let exec = &self.exec;
        match self.watchdog {
            None => format!(
                "# Started when the program has been executed. With sd_notify in it, Type=notify says when it is ready.\n\
                 Type=exec\nExecStart={exec}\n"
            ),
            Some(span) => format!(
                "# Started when it says READY=1; alive while it says WATCHDOG=1 at least this often.\n\
                 Type=notify\nNotifyAccess=main\nExecStart={exec}\nWatchdogSec={}\n",
                show_span(span)
            ),
        }
    }

    fn identity(&self) -> String {
        match self.user.as_deref() {
            None => format!(
                "\n# A user that exists while it runs, the same for all instances. Its files belong in /var/lib/{name}.\n\
                 DynamicUser=yes\nUser={user}\nStateDirectory={name}\n",
                name = self.name,
                user = dynamic_user(&self.name),
            ),
            Some(user) => format!(
                "\nUser={user}\n# /var/lib/{name} is created for this user; the rest of the file system is read-only.\n\
                 StateDirectory={name}\n",
                name = self.name,
            ),
        }
    }

    fn hardening(&self) -> String {
        let home = if self.exec_in_home() {
            "# The program is in a home directory, which is readable for it and no more.\nProtectHome=read-only\n"
        } else {
            "ProtectHome=yes\n"
        };
        format!("\n# It can do its work and little else. Take out what it needs, one by one.\n{home}{HARDENING}")
    }

    fn exec_in_home(&self) -> bool {
        ["/home/", "/root/", "/run/user/"].iter().any(|home| self.exec.starts_with(home))
    }

    fn toml(&self) -> String {
        let mut text = format!("[worker.{}]\nunit = \"{}\"\n", self.name, self.file);
        if self.template {
            text.push_str("# Instances that must run, and the most that may:\nmin_instances = 1\nmax_instances = 3\n");
        }
        text.push_str(
            "# A graceful restart asks it to finish with this signal, and waits so long before it restarts it:\n",
        );
        text.push_str("drain_signal = \"SIGTERM\"\ndrain_timeout = \"30s\"\n");
        if self.memory_max.is_some() {
            text.push_str("# Percent of MemoryMax= of its unit:\nmemory_threshold = 85\n");
        }
        text
    }
}

/// A name that no real user has: with the name of one, systemd would run the worker as that one. Without any,
/// instances would have different users and take the state directory from each other.
fn dynamic_user(name: &WorkerName) -> String {
    format!("worker-{name}").chars().take(USER_MAX - 1).collect()
}

/// What every worker gets between its start and its limits.
const LIFE: &str = "
# Most crashes are over in 100 ms by this. A clean exit is not a crash; unitmedic judges it.
Restart=on-failure
RestartSec=100ms
TimeoutStartSec=90s

# SIGTERM to the main process: finish the work in hand. After the timeout, SIGKILL to all that is left.
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=30s
# An out-of-memory kill of one process ends the whole unit, so that it is seen and restarted as one.
OOMPolicy=stop
";

const HARDENING: &str = "ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0027
";

fn check_line(what: &str, text: &str, max: usize) -> anyhow::Result<String> {
    ensure!(!text.trim().is_empty(), "{what} is empty");
    ensure!(text.len() <= max, "{what} is longer than {max} bytes");
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        bail!("{what} has the control character {c:?}; it must be one line of plain text");
    }
    ensure!(!text.ends_with('\\'), "{what} ends with a backslash, which would join it to the next line");
    Ok(text.trim().to_string())
}

fn check_exec(exec: &str, template: bool) -> anyhow::Result<String> {
    let exec = check_line("--exec", exec, EXEC_MAX)?;
    let program = exec.split(' ').next().unwrap_or_default();
    ensure!(
        program.starts_with('/') && program.len() > 1 && !program.ends_with('/'),
        "--exec must begin with the absolute path of a program, not with {program:?}"
    );
    ensure!(
        !program.contains(['"', '\'', '$', '%', '\\']),
        "--exec: the path {program:?} has a quote, a $, a % or a backslash"
    );
    ensure!(!program.split('/').any(|part| part == ".."), "--exec: the path {program:?} goes up with ..");
    for shared in ["/tmp/", "/var/tmp/", "/dev/shm/"] {
        ensure!(
            !program.starts_with(shared),
            "--exec: {program} is in {shared}, where others can write and the unit has its own; install it elsewhere"
        );
    }
    let lone = exec.split(' ').any(|word| word == ";");
    ensure!(!lone, "--exec has a lone ; which systemd takes for a second command; one command only, or a script");
    check_quotes(&exec)?;
    check_specifiers(&exec, template)?;
    Ok(exec)
}

fn check_quotes(exec: &str) -> anyhow::Result<()> {
    let mut open: Option<char> = None;
    let mut letters = exec.chars();
    while let Some(c) = letters.next() {
        match (open, c) {
            (_, '\\') => {
                letters.next();
            }
            (None, '"' | '\'') => open = Some(c),
            (Some(quote), c) if c == quote => open = None,
            _ => {}
        }
    }
    match open {
        Some(quote) => bail!("--exec has a {quote} that is not closed"),
        None => Ok(()),
    }
}

fn check_specifiers(exec: &str, template: bool) -> anyhow::Result<()> {
    let mut letters = exec.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            continue;
        }
        match letters.next() {
            Some(c @ ('i' | 'I')) if !template => bail!("--exec has %{c}, the name of an instance; add --template"),
            Some(c) if SPECIFIERS.contains(c) => {}
            Some(c) => bail!("--exec has %{c}, which systemd does not know; a percent sign itself is %%"),
            None => bail!("--exec ends with %; a percent sign itself is %%"),
        }
    }
    Ok(())
}

fn check_user(user: &str) -> anyhow::Result<String> {
    let first = user.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    ensure!(first && rest && user.len() <= USER_MAX, "--user {user:?} is not the name of a user");
    Ok(user.into())
}

fn check_watchdog(text: &str) -> anyhow::Result<Duration> {
    let span = parse_span(text)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("--watchdog {text:?} is not a time span"))?;
    let sensible = Duration::from_secs(1)..=Duration::from_secs(3600);
    ensure!(sensible.contains(&span), "--watchdog {text:?} is not from 1s to 1h");
    Ok(span)
}

fn check_memory(text: &str) -> anyhow::Result<u64> {
    let bytes =
        parse_size(text).map_err(anyhow::Error::msg).with_context(|| format!("--memory-max {text:?} is not a size"))?;
    ensure!(bytes >= MEMORY_MIN, "--memory-max {text:?} is less than 1M; no program runs in that");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Mode};
    use expect_test::expect;

    fn args(name: &str, exec: &str) -> UnitArgs {
        UnitArgs { name: name.into(), exec: exec.into(), ..UnitArgs::default() }
    }

    fn print(args: UnitArgs) -> Result<String, String> {
        let mut out = Vec::new();
        match run(&Args { what: What::Unit(args) }, &mut out) {
            Ok(code) => {
                assert_eq!(code, 0);
                Ok(String::from_utf8(out).unwrap())
            }
            Err(error) => {
                assert!(error.is::<Usage>(), "wrong arguments have an exit code of their own: {error:#}");
                Err(error.to_string())
            }
        }
    }

    fn full() -> UnitArgs {
        UnitArgs {
            template: true,
            user: Some("mail".into()),
            watchdog: Some("30".into()),
            memory_max: Some("512M".into()),
            description: Some("Mail, 100 % of it".into()),
            ..args("mail", "/usr/bin/mail --instance %i 'a b'")
        }
    }

    #[test]
    fn a_plain_unit() {
        expect![[r#"
            # Save as /etc/systemd/system/mail.service, then: systemctl daemon-reload && systemctl enable --now mail.service
            [Unit]
            Description=Worker mail
            # Ordering only: a worker must cope with a network that comes later or goes.
            After=network.target
            # systemd gives up after five quick crashes; from there on unitmedic takes over, with pauses.
            StartLimitIntervalSec=60s
            StartLimitBurst=5

            [Service]
            # Started when the program has been executed. With sd_notify in it, Type=notify says when it is ready.
            Type=exec
            ExecStart=/usr/bin/mail

            # Most crashes are over in 100 ms by this. A clean exit is not a crash; unitmedic judges it.
            Restart=on-failure
            RestartSec=100ms
            TimeoutStartSec=90s

            # SIGTERM to the main process: finish the work in hand. After the timeout, SIGKILL to all that is left.
            KillMode=mixed
            KillSignal=SIGTERM
            TimeoutStopSec=30s
            # An out-of-memory kill of one process ends the whole unit, so that it is seen and restarted as one.
            OOMPolicy=stop

            # A user that exists while it runs, the same for all instances. Its files belong in /var/lib/mail.
            DynamicUser=yes
            User=worker-mail
            StateDirectory=mail

            # It can do its work and little else. Take out what it needs, one by one.
            ProtectHome=yes
            ProtectSystem=strict
            PrivateTmp=yes
            PrivateDevices=yes
            ProtectClock=yes
            ProtectControlGroups=yes
            ProtectHostname=yes
            ProtectKernelLogs=yes
            ProtectKernelModules=yes
            ProtectKernelTunables=yes
            ProtectProc=invisible
            NoNewPrivileges=yes
            CapabilityBoundingSet=
            RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
            RestrictNamespaces=yes
            RestrictRealtime=yes
            RestrictSUIDSGID=yes
            LockPersonality=yes
            SystemCallArchitectures=native
            SystemCallFilter=@system-service
            UMask=0027

            [Install]
            WantedBy=multi-user.target
        "#]].assert_eq(&print(args("mail", "/usr/bin/mail")).unwrap());
    }

    #[test]
    fn a_template_with_everything() {
        let text = print(full()).unwrap();
        for line in [
            "Description=Mail, 100 %% of it, instance %i",
            "Type=notify",
            "WatchdogSec=30s",
            "MemoryMax=512M",
            "User=mail",
            "ExecStart=/usr/bin/mail --instance %i 'a b'",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("DynamicUser"));
        let text = print(args("mail", "/home/ada/mail")).unwrap();
        assert!(text.contains("ProtectHome=read-only\n"), "{text}");
    }

    #[test]
    fn its_configuration_is_accepted() {
        let text = print(UnitArgs { toml: true, ..full() }).unwrap();
        let settings = config::parse(&[("x".into(), text)], &Mode::System).unwrap();
        assert!(settings.worker_of("mail@1.service").is_some());
        let text = print(UnitArgs { toml: true, ..args("web", "/usr/bin/web") }).unwrap();
        assert!(config::parse(&[("x".into(), text)], &Mode::System).is_ok());
    }

    #[test]
    fn bad_arguments() {
        let told = |args: UnitArgs| print(args).expect_err("accepted");
        let mut lines = Vec::new();
        for name in ["mail.service", "mail@", "a b", "", "dbus", "systemd-x", "x\ny"] {
            lines.push(told(args(name, "/bin/true")));
        }
        for exec in [
            "",
            "true",
            "-/bin/true",
            "/bin/true\nUser=root",
            "/bin/true \u{1b}[2J",
            "/bin/true \\",
            "/bin/../true",
            "/tmp/mail",
            "/bin/true ; /bin/false",
            "/bin/echo \"a",
            "/bin/echo %i",
            "/bin/echo %k",
            "/bin/echo 100%",
        ] {
            lines.push(told(args("mail", exec)));
        }
        let with = |change: fn(&mut UnitArgs)| {
            let mut args = args("mail", "/bin/true");
            change(&mut args);
            told(args)
        };
        lines.push(with(|args| args.user = Some("a\nb".into())));
        lines.push(with(|args| args.watchdog = Some("0".into())));
        lines.push(with(|args| args.watchdog = Some("soon".into())));
        lines.push(with(|args| args.memory_max = Some("0".into())));
        lines.push(with(|args| args.memory_max = Some("much".into())));
        lines.push(with(|args| args.description = Some("a\nExecStart=/bin/sh".into())));
        expect![[r#"
            name "mail.service": give it without .service and @; a template is asked for with --template
            name "mail@": give it without .service and @; a template is asked for with --template
            worker name "a b" is not 1 to 64 characters of a-z, A-Z, 0-9, - and _
            worker name "" is not 1 to 64 characters of a-z, A-Z, 0-9, - and _
            name dbus: unitmedic never touches dbus.service: it is the message bus, over which everything is done
            name systemd-x: unitmedic never touches systemd-x.service: it is part of systemd
            worker name "x\ny" is not 1 to 64 characters of a-z, A-Z, 0-9, - and _
            --exec is empty
            --exec must begin with the absolute path of a program, not with "true"
            --exec must begin with the absolute path of a program, not with "-/bin/true"
            --exec has the control character '\n'; it must be one line of plain text
            --exec has the control character '\u{1b}'; it must be one line of plain text
            --exec ends with a backslash, which would join it to the next line
            --exec: the path "/bin/../true" goes up with ..
            --exec: /tmp/mail is in /tmp/, where others can write and the unit has its own; install it elsewhere
            --exec has a lone ; which systemd takes for a second command; one command only, or a script
            --exec has a " that is not closed
            --exec has %i, the name of an instance; add --template
            --exec has %k, which systemd does not know; a percent sign itself is %%
            --exec ends with %; a percent sign itself is %%
            --user "a\nb" is not the name of a user
            --watchdog "0" is not from 1s to 1h
            --watchdog "soon" is not a time span: unknown unit "soon"; known are us, ms, s, min, h, d, w
            --memory-max "0" is less than 1M; no program runs in that
            --memory-max "much" is not a size: a whole number with K, M, G or T
            description has the control character '\n'; it must be one line of plain text"#]]
        .assert_eq(&lines.join("\n"));
    }
}
