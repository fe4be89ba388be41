//! The port of the metrics as a socket of systemd, by the unit that docs/metrics.md has.

use crate::documented::block;
use crate::fixture::{AS_THE_DAEMON, CONFIG, DAEMON, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};
use crate::tls::Authority;

const SOCKET: &str = "unitmedic.socket";
const MORE: &str = "/etc/systemd/system/unitmedic.socket.d/more.conf";
/// A scrape after the other, each with curl's exit code and the status of the answer.
const SCRAPER: &str = "
until test -e /run/enough; do
    code=0; answer=$(curl -s -o /dev/null -m 20 -w '%{http_code}' --cacert /etc/house-ca.pem https://localhost/metrics) || code=$?
    echo $code $answer >> /run/scrapes
done
echo done
";

fn boot(name: &str, setup: impl FnOnce(Setup) -> Setup) -> Result<Host, Failure> {
    let unit = block("metrics.md", "# /etc/systemd/system/unitmedic.socket")?;
    setup(Setup::new(name).unit(SOCKET, &unit)).boot()
}

fn status(host: &Host, url: &str) -> Result<String, Failure> {
    host.sh(&format!("curl -s -o /dev/null -m 20 -w '%{{http_code}}' --cacert /etc/house-ca.pem {url} || true"))
}

fn with_daemon_settings(host: &Host, lines: &str) -> Result<(), Failure> {
    host.write(CONFIG, &host.config.replacen("[daemon]\n", &format!("[daemon]\n{lines}\n"), 1))
}

fn scrapes(host: &Host) -> Result<Vec<String>, Failure> {
    Ok(host.sh("cat /run/scrapes 2>/dev/null || true")?.lines().map(str::to_owned).collect())
}

fn wait_scrapes(host: &Host, more: usize) -> Result<(), Failure> {
    let before = scrapes(host)?.len();
    until("it is scraped", LIMIT, || match scrapes(host)?.len() {
        now if now >= before + more => Ok(()),
        now => Err(Failure::new(format!("{now} scrapes, {before} before"))),
    })
}

#[test]
fn no_scrape_is_refused_while_unitmedic_restarts() -> Result<(), Failure> {
    let authority = Authority::new()?;
    let certificate = authority.signs("localhost")?;
    let ca = std::fs::read_to_string(authority.file())?;
    let host = boot("passed", |setup| {
        setup
            .file("/etc/house-ca.pem", &ca)
            .file("/etc/unitmedic/it.pem", &certificate.certificate)
            .file("/etc/unitmedic/it.key", &certificate.key)
            .file("/etc/unitmedic/web.yml", "tls_server_config: {cert_file: it.pem, key_file: it.key}\n")
            .file(MORE, "[Socket]\nListenStream=127.0.0.1:443\n")
            .worker("mail", "mail.service", SLEEPER)
    })?;
    let complaints = host.run(&["systemd-analyze", "verify", &format!("/etc/systemd/system/{SOCKET}")])?;
    ensure(complaints.ok() && complaints.stderr.is_empty(), || format!("{complaints:?}"))?;
    // It runs already, on a port of its own.
    with_daemon_settings(&host, "listen = \"127.0.0.1:10120\"\nweb_config_file = \"/etc/unitmedic/web.yml\"")?;
    host.start_daemon()?;
    ensure(status(&host, "https://localhost:10120/metrics")? == "200", || "it does not listen".into())?;
    host.ctl(&["enable", SOCKET])?;
    host.ctl(&["restart", DAEMON])?;
    for (url, expected) in [
        ("https://localhost/metrics", "200"),
        ("https://localhost:10119/-/ready", "200"),
        ("http://localhost:10119/metrics", "000"),
        ("https://localhost:10120/metrics", "000"),
    ] {
        let status = status(&host, url)?;
        ensure(status == expected, || format!("{url}: {status}, not {expected}"))?;
    }
    let told = host.journal(&["-u", DAEMON])?;
    for address in ["10119", "443"] {
        let line = format!("address=127.0.0.1:{address} socket=unitmedic.socket");
        ensure(told.contains(&line), || format!("{line} is not in {told}"))?;
    }

    let mut scraper = host.spawn(&["sh", "-c", SCRAPER])?;
    for _ in 0..3 {
        wait_scrapes(&host, 3)?;
        host.ctl(&["restart", DAEMON])?;
    }
    wait_scrapes(&host, 3)?;
    host.sh("touch /run/enough")?;
    scraper.wait_output("done", LIMIT)?;
    let scrapes = scrapes(&host)?;
    ensure(scrapes.iter().all(|scrape| scrape == "0 200"), || format!("{scrapes:?}"))?;

    // Killed, and away for the two seconds of RestartSec=.
    let killed = host.activation(DAEMON)?;
    host.kill(DAEMON)?;
    let status = status(&host, "https://localhost/metrics")?;
    ensure(status == "200" && host.activation(DAEMON)? != killed, || status)?;
    host.done()
}

#[test]
fn children_of_the_daemon_know_nothing_of_the_sockets() -> Result<(), Failure> {
    let host = boot("passed-on", |setup| setup.worker("mail", "mail.service", SLEEPER))?;
    // What opens no port serves the one that systemd has opened.
    with_daemon_settings(&host, "listen = \"none\"")?;
    host.ctl(&["enable", SOCKET])?;
    host.start_daemon()?;
    ensure(host.http("/metrics")?.0 == 200, || "the socket is not served".into())?;
    let pid = host.main_pid(DAEMON)?;
    let child = until("it has a child", LIMIT, || {
        let child = host.sh(&format!("pgrep -P {pid} || true"))?;
        child.lines().next().map(str::to_owned).ok_or_else(|| Failure::new("none"))
    })?;
    let inode = host.sh("ss -lteH 'sport = :10119' | grep -o 'ino:[0-9]*'")?.replace("ino:", "");
    let files = |pid: &str| host.sh(&format!("ls -l /proc/{pid}/fd"));
    let socket = format!("socket:[{inode}]");
    ensure(files(&pid.to_string())?.contains(&socket), || format!("the daemon has no {socket}"))?;
    ensure(!files(&child)?.contains(&socket), || format!("the child has {socket}"))?;
    let environment = host.sh(&format!("tr '\\0' '\\n' < /proc/{child}/environ"))?;
    ensure(!environment.contains("LISTEN_") && environment.contains("INVOCATION_ID"), || environment.clone())?;
    host.done()
}

#[test]
fn what_is_no_port_keeps_it_from_starting_and_what_is_for_others_is_left_alone() -> Result<(), Failure> {
    let host = boot("passed-wrong", |setup| setup.worker("mail", "mail.service", SLEEPER))?;
    host.ctl(&["enable", SOCKET])?;
    let many: String = (1..=16).map(|port| format!("ListenStream=127.0.0.1:{port}\n")).collect();
    for (lines, why) in [
        ("ListenStream=/run/metrics.sock\n", "the socket unitmedic.socket that systemd passed is not of TCP"),
        (
            "ListenDatagram=127.0.0.1:10119\nFileDescriptorName=udp\n",
            "the socket udp that systemd passed is not of TCP",
        ),
        (
            "ListenFIFO=/run/metrics.fifo\nFileDescriptorName=pipe\n",
            "the socket pipe that systemd passed is not a socket",
        ),
        (many.as_str(), "systemd passed 17 sockets, and 16 are the most"),
    ] {
        host.write(MORE, &format!("[Socket]\n{lines}"))?;
        host.ctl(&["daemon-reload"])?;
        ensure(host.run(&["systemctl", "start", DAEMON])?.code() == Some(1), || format!("it started with {lines}"))?;
        let told = host.journal(&["-u", DAEMON])?;
        ensure(told.contains(why), || format!("{why} is not in {told}"))?;
        host.ctl(&["stop", SOCKET, DAEMON])?;
    }
    host.ctl(&["disable", SOCKET])?;
    // Meant for another process.
    let listens = ["LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=theirs"];
    let mut by_hand = host.spawn(&[AS_THE_DAEMON, &["env"], &listens, &["unitmedic", "run"]].concat())?;
    by_hand.wait_output("began to watch", LIMIT)?;
    ensure(host.http("/metrics")?.0 == 200, || "its own port is not served".into())?;
    by_hand.stop(LIMIT)?;
    host.done()
}

#[test]
fn a_scrape_starts_what_is_stopped_and_a_wrong_configuration_is_not_tried_for_ever() -> Result<(), Failure> {
    let host = boot("passed-trigger", |setup| setup.worker("mail", "mail.service", SLEEPER))?;
    host.ctl(&["enable", SOCKET])?;
    host.start_daemon()?;
    host.ctl(&["stop", DAEMON])?;
    ensure(host.http("/metrics")?.0 == 200, || "a scrape does not start it".into())?;
    host.wait_active(DAEMON, LIMIT)?;
    host.ctl(&["stop", SOCKET, DAEMON])?;
    ensure(host.http("/metrics").is_err(), || "somebody listens".into())?;

    host.start_daemon()?;
    host.write(CONFIG, "unknown = 1\n")?;
    ensure(!host.run(&["systemctl", "restart", DAEMON])?.ok(), || "it started".into())?;
    ensure(host.http("/metrics").is_err(), || "it answers".into())?;
    host.wait_property(SOCKET, "Result", "trigger-limit-hit", LIMIT)?;
    let tried = host.journal(&["-u", DAEMON, "-g", "unknown key"])?.lines().count();
    ensure(tried <= 6, || format!("tried {tried} times"))?;
    host.write(CONFIG, &host.config)?;
    host.start_daemon()?;
    ensure(host.http("/metrics")?.0 == 200 && host.property(SOCKET, "ActiveState")? == "active", || {
        "the socket is not open again".into()
    })?;
    host.done()
}
