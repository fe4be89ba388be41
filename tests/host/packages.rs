//! The packages: what is in them, and what they do to a clean Debian from the installation to the purge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use unitmedic::model::{Health, Incident};

use crate::fixture::{CONFIG, DAEMON, Host, LIMIT, SLEEPER, ensure, until};
use crate::testhost::{Failure, Machine, Output, Place, debian, leftovers, new_name, run_bounded};

/// Compressing takes most of it.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

/// apt on a machine that has other work.
const APT_LIMIT: Duration = Duration::from_secs(120);

const WORKER: &str = "mail.service";

/// What an administrator adds after the installation, with spans short enough to wait for.
const FRAGMENT: &str = "\
[daemon]
health_check_interval = \"1s\"

[guard]
boot_grace = 0

[defaults]
verify_dead_for = \"1s\"
backoff = \"200ms\"

[alerts]
alert_after = \"1s\"
resend_interval = \"1s\"

[alertmanager.main]
url = \"http://127.0.0.1:9093\"

[worker.mail]
unit = \"mail.service\"
";

/// Only in one of the two: what Debian wants and rpm has in another way.
const DEBIAN_ONLY: &[&str] = &["/usr/share/doc/unitmedic/changelog.gz", "/usr/share/doc/unitmedic/copyright"];
const RPM_ONLY: &[&str] =
    &["/usr/share/licenses/unitmedic/LICENSE-APACHE", "/usr/share/licenses/unitmedic/LICENSE-MIT"];

#[test]
fn both_packages_have_the_same_files_and_are_the_same_each_time() -> Result<(), Failure> {
    let first = packages()?;
    let again = Directory::new()?;
    build(&again.0, &[])?;
    for kind in ["deb", "rpm"] {
        let (one, other) = (the_one(&first.old, kind)?, the_one(&again.0, kind)?);
        ensure(fs::read(&one)? == fs::read(&other)?, || format!("two builds of {} differ", one.display()))?;
    }
    let (deb, rpm) = (the_one(&first.old, "deb")?, the_one(&first.old, "rpm")?);
    let in_deb = outer(&["dpkg-deb", "--fsys-tarfile", text(&deb)], "tar --list | sed 's|^\\.||'")?;
    let in_rpm = outer(&["rpm", "--query", "--list", "--package", text(&rpm)], "cat")?;
    let mut in_deb = files_of(&in_deb, &in_deb);
    // What is a directory is told by the other package alone: rpm's list has no sign for it.
    let mut in_rpm = files_of(&in_rpm, &in_rpm);
    for (set, only) in [(&mut in_deb, DEBIAN_ONLY), (&mut in_rpm, RPM_ONLY)] {
        for path in only {
            ensure(set.remove(*path), || format!("{path} is missing"))?;
        }
    }
    let moved = in_rpm.remove("/usr/share/zsh/site-functions/_unitmedic");
    ensure(moved && in_rpm.insert("/usr/share/zsh/vendor-completions/_unitmedic".into()), || "zsh".into())?;
    ensure(in_deb == in_rpm, || format!("{:?}", in_deb.symmetric_difference(&in_rpm).collect::<Vec<_>>()))?;
    for file in ["/usr/bin/unitmedic", CONFIG, "/usr/lib/systemd/system/unitmedic.service"] {
        ensure(in_deb.contains(file), || format!("{file} is missing"))?;
    }
    Ok(())
}

#[test]
fn every_file_of_systemd_and_every_command_is_in_the_package() -> Result<(), Failure> {
    let deb = the_one(&packages()?.old, "deb")?;
    let listed = outer(&["dpkg-deb", "--fsys-tarfile", text(&deb)], "tar --list | sed 's|^\\.||'")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = outer(&["find", text(&root.join("systemd")), "-type", "f", "-printf", "%f\\n"], "cat")?;
    let pages = outer(&[env!("CARGO_BIN_EXE_unitmedic"), "generate", "man", "--list"], "sed 's|$|.gz|'")?;
    for name in ours.lines().chain(pages.lines()) {
        let there = listed.lines().any(|path| path.ends_with(&format!("/{name}")));
        ensure(there, || format!("{name} is not in the package"))?;
    }
    Ok(())
}

#[test]
fn lintian_and_the_shell_have_no_complaint() -> Result<(), Failure> {
    let (deb, rpm) = (the_one(&packages()?.old, "deb")?, the_one(&packages()?.old, "rpm")?);
    let said = outer(&["lintian", "--allow-root", "--fail-on", "error,warning", text(&deb)], "cat")?;
    ensure(said.is_empty(), || said)?;
    let scripts = Directory::new()?;
    outer(&["dpkg-deb", "--control", text(&deb), text(&scripts.0)], "cat")?;
    for script in ["postinst", "prerm", "postrm"] {
        let path = scripts.0.join(script);
        outer(&["sh", "-n", text(&path)], "cat")?;
        let names = fs::read_to_string(&path)?;
        ensure(!names.contains('@'), || format!("{script} has a name that is not filled in"))?;
    }
    outer(&["rpm", "--query", "--scripts", "--package", text(&rpm)], "grep -v ' scriptlet (using ' | sh -n")?;
    Ok(())
}

#[test]
fn a_debian_12_from_installation_to_purge() -> Result<(), Failure> {
    whole_life("bookworm", "systemd 252 ")
}

#[test]
fn a_debian_13_from_installation_to_purge() -> Result<(), Failure> {
    whole_life("trixie", "systemd 257 ")
}

fn whole_life(suite: &str, systemd: &str) -> Result<(), Failure> {
    let packages = packages()?;
    let machine = Machine::builder(suite)
        .tree(debian(&target().join("trees"), suite)?)
        .program("/root/old.deb", the_one(&packages.old, "deb")?)
        .program("/root/new.deb", the_one(&packages.new, "deb")?)
        .file(&format!("/etc/systemd/system/{WORKER}"), SLEEPER)
        // It has no network, and so no neighbours.
        .file("/etc/default/prometheus-alertmanager", "ARGS=\"--cluster.listen-address=\"\n")
        .boot()?;
    let host = Host::of(machine);
    let version = host.ctl(&["--version"])?;
    ensure(version.starts_with(systemd), || version)?;
    host.ctl(&["start", WORKER, "prometheus-alertmanager"])?;
    until("Alertmanager answers", LIMIT, || host.sh("curl -sf http://127.0.0.1:9093/-/ready"))?;
    let before = files(&host)?;
    install(&host)?;
    recover(&host)?;
    upgrade(&host)?;
    upgrade_while_stopped(&host)?;
    remove(&host)?;
    come_back(&host)?;
    purge(&host, &before)?;
    host.done()
}

fn install(host: &Host) -> Result<(), Failure> {
    apt(host, &["install", "/root/old.deb"])?;
    ensure_runs(host)?;
    host.unitmedic(&["check-config"])?.success()?;
    let group = host.sh("stat -c %U:%G /run/unitmedic/control.sock")?;
    ensure(group == "unitmedic:unitmedic", || format!("the control socket is of {group}"))?;
    let catalog = host.sh("journalctl --list-catalog | grep -c unitmedic")?;
    ensure(catalog.parse::<u32>()? > 10, || format!("{catalog} texts"))?;
    host.sh("dpkg --verify unitmedic && test -d /etc/unitmedic/conf.d")?;
    Ok(())
}

/// As docs/getting-started.md has it: configure, kill, see it well again, scrape.
fn recover(host: &Host) -> Result<(), Failure> {
    host.sh(&format!("echo '# edited by the administrator' >> {CONFIG}"))?;
    host.write("/etc/unitmedic/conf.d/mail.toml", FRAGMENT)?;
    host.unitmedic(&["check-config"])?.success()?;
    host.ctl(&["reload", DAEMON])?;
    until("the worker is watched", LIMIT, || match host.instance(WORKER)?.health {
        Health::Healthy => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    host.kill(WORKER)?;
    host.wait_recovered(WORKER, 1)?;
    let series = "unitmedic_unit_restarts_total{worker=\"mail\",unit=\"mail.service\",cause=\"unitmedic\"}";
    let restarts = host.metric(series)?;
    ensure(restarts == Some(1.0), || format!("{restarts:?} restarts"))
}

/// The hold file keeps an incident open; that it still does so afterwards shows that `/run/unitmedic` was kept, too.
fn upgrade(host: &Host) -> Result<(), Failure> {
    host.sh("touch /run/unitmedic/hold")?;
    host.kill(WORKER)?;
    // So soon after the last one it is the same incident.
    let open = until("the incident is open again", LIMIT, || reopened(host))?;
    until("Alertmanager has the alert", LIMIT, || alert(host, true))?;
    let before = host.activation(DAEMON)?;
    apt(host, &["install", "/root/new.deb"])?;
    ensure_runs(host)?;
    alert(host, true)?;
    ensure(host.activation(DAEMON)? != before, || "the service was not restarted".into())?;
    let installed = host.sh("dpkg-query --show --showformat='${Version}' unitmedic")?;
    ensure(installed.starts_with("9."), || installed)?;
    let survivor = until("the incident is there", LIMIT, || reopened(host))?;
    ensure(survivor.failed_wall == open.failed_wall, || format!("{survivor:#?}"))?;
    let config = host.read(CONFIG)?;
    ensure(config.ends_with("# edited by the administrator\n"), || config)?;
    host.sh("rm /run/unitmedic/hold")?;
    host.wait_recovered(WORKER, 1)?;
    until("Alertmanager knows that it is over", LIMIT, || alert(host, false))
}

/// Whether the Alertmanager of the host holds an alert of ours.
fn alert(host: &Host, wanted: bool) -> Result<(), Failure> {
    let held = host.sh("curl -sf 'http://127.0.0.1:9093/api/v2/alerts?filter=source=unitmedic'")?;
    ensure(held.contains("\"UnitmedicWorkerFailed\"") == wanted, || held)
}

fn upgrade_while_stopped(host: &Host) -> Result<(), Failure> {
    host.ctl(&["stop", DAEMON])?;
    apt(host, &["install", "--reinstall", "/root/new.deb"])?;
    let state = host.property(DAEMON, "ActiveState")?;
    ensure(state == "inactive", || format!("it was stopped on purpose and is {state}"))?;
    host.ctl(&["start", DAEMON])?;
    Ok(())
}

fn remove(host: &Host) -> Result<(), Failure> {
    apt(host, &["remove", "unitmedic"])?;
    let state = host.property(DAEMON, "ActiveState")?;
    ensure(state == "inactive", || format!("it is {state}"))?;
    let links = host.sh("find /etc/systemd /var/lib/systemd -name '*unitmedic*'")?;
    ensure(links.is_empty(), || format!("it is still enabled: {links}"))?;
    host.sh("test ! -e /usr/bin/unitmedic && test -e /var/lib/unitmedic && test -e /etc/unitmedic/conf.d/mail.toml")?;
    host.wait_active(WORKER, LIMIT)
}

/// Removed and not purged: what it had is taken up again.
fn come_back(host: &Host) -> Result<(), Failure> {
    apt(host, &["install", "/root/new.deb"])?;
    ensure_runs(host)?;
    let incidents = host.incidents(WORKER)?;
    ensure(incidents.len() == 1, || format!("{incidents:#?}"))
}

fn purge(host: &Host, before: &BTreeSet<String>) -> Result<(), Failure> {
    apt(host, &["purge", "unitmedic"])?;
    let after = files(host)?;
    let left: Vec<&String> = after.difference(before).collect();
    let gone: Vec<&String> = before.difference(&after).collect();
    ensure(left.is_empty() && gone.is_empty(), || format!("left behind: {left:#?}\ntaken along: {gone:#?}"))?;
    host.sh("test ! -e /run/unitmedic && test ! -e /run/unitmedic-helper && test ! -e /run/unitmedic-helper.sock")?;
    let catalog = host.sh("journalctl --list-catalog | grep unitmedic || true")?;
    ensure(catalog.is_empty(), || catalog)?;
    let state = host.property(DAEMON, "LoadState")?;
    ensure(state == "not-found", || state)?;
    // Files elsewhere may belong to them, as docs/installation.md says.
    host.sh("getent group unitmedic && getent passwd unitmedic")?;
    host.wait_active(WORKER, LIMIT)
}

fn ensure_runs(host: &Host) -> Result<(), Failure> {
    host.wait_active(DAEMON, LIMIT)?;
    let enabled = host.ctl(&["is-enabled", DAEMON])?;
    ensure(enabled == "enabled", || enabled)?;
    let (code, _) = host.http("/-/healthy")?;
    ensure(code == 200, || format!("/-/healthy says {code}"))
}

fn reopened(host: &Host) -> Result<Incident, Failure> {
    let incidents = host.incidents(WORKER)?;
    let open =
        incidents.first().filter(|incident| incidents.len() == 1 && incident.is_open() && incident.reopened == 1);
    open.cloned().ok_or_else(|| Failure::new(format!("{incidents:#?}")))
}

/// Without a question to anybody, and without the network.
fn apt(host: &Host, arguments: &[&str]) -> Result<(), Failure> {
    let call = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2", "--yes", "--no-install-recommends"];
    let output = host.run_for(&[&call, arguments].concat(), b"", APT_LIMIT)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    output.success()?;
    let complaint = said.lines().find(|line| line.contains("warning: ") || line.contains("Failed to"));
    ensure(complaint.is_none(), || said.clone())
}

/// All paths of the host but those of mounts and of what dpkg, apt, the journal and whoever changes a user keep.
fn files(host: &Host) -> Result<BTreeSet<String>, Failure> {
    let kept = "^/(root|tmp|var/lib/(dpkg|apt)|var/cache/(apt|debconf)|var/log|var/lib/prometheus)/|^/etc/(passwd|group|shadow|gshadow)-$\
                |^/etc/\\.pwd\\.lock$|^/var/(lib/systemd/(catalog|timers|timesync|random-seed)|cache/ldconfig)";
    let listed = host.sh(&format!("find / -xdev | grep -vE '{kept}'"))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

struct Packages {
    old: PathBuf,
    /// Of a higher version.
    new: PathBuf,
}

/// Built once for all tests of this process, from the program under test.
fn packages() -> Result<&'static Packages, Failure> {
    static BUILT: OnceLock<Result<Packages, Failure>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        // Nothing drops what is static: the next run removes it.
        let directory = target().join("tmp").join(new_name());
        for name in leftovers(&target().join("tmp")) {
            let _ = fs::remove_dir_all(target().join("tmp").join(name));
        }
        let built = Packages { old: directory.join("old"), new: directory.join("new") };
        build(&built.old, &[])?;
        build(&built.new, &["--only", "deb", "--version", "9.0.0-rc.1"])?;
        Ok(built)
    });
    built.as_ref().map_err(Clone::clone)
}

fn build(out: &Path, more: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package"));
    command.args(["--binary", env!("CARGO_BIN_EXE_unitmedic"), "--out"]).arg(out).args(more);
    run_bounded(command, "scripts/package", b"", BUILD_LIMIT)?.success()?;
    Ok(())
}

/// The target directory.
fn target() -> &'static Path {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp)
}

fn the_one(directory: &Path, kind: &str) -> Result<PathBuf, Failure> {
    let paths = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == kind)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(Failure::new(format!("not one .{kind} in {}", directory.display()))),
    }
}

/// Runs a command on this machine, and what it prints through a filter.
fn outer(argv: &[&str], filter: &str) -> Result<String, Failure> {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("set -o pipefail; \"$@\" | {filter}"), "outer"]).args(argv);
    let output: Output = run_bounded(command, &argv.join(" "), b"", BUILD_LIMIT)?;
    output.success()
}

/// The paths of a list that are files, or directories of our own with nothing in them.
fn files_of(list: &str, all: &str) -> BTreeSet<String> {
    let paths = list.lines().map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty());
    let holds =
        |path: &str| all.lines().any(|other| other.starts_with(&format!("{path}/")) && other.len() > path.len() + 1);
    paths.filter(|path| !holds(path)).map(str::to_owned).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Gone with its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Failure> {
        let directory = target().join("tmp").join(new_name());
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
