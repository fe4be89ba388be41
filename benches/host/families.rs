//! The drop-in families of all units, beside the exporter that they replace.

use serde_json::{Value, json};

use crate::report::{Row, median};
use crate::testhost::{Failure, Place, wait_for};
use crate::{CONFIGURATION, Host, OUR_ADDRESS, OURS, PEER_ADDRESS, START_LIMIT, cpu, walls};

const SCRAPES: u32 = 60;
/// Between two scrapes.
const PAUSE_MS: u32 = 100;
/// How long is looked at what they cost when nobody scrapes, and how long the start has to be over.
const IDLE_SECONDS: &str = "60";
const SETTLE_SECONDS: &str = "10";
const CONFIG: &str = "/etc/unitmedic/unitmedic.toml";

impl Host {
    pub fn families(&self, rows: &mut Vec<Row>) -> Result<Value, Failure> {
        eprintln!("{SCRAPES} scrapes with the families of node_exporter …");
        let (init, bus) = ("1".to_owned(), self.pid("dbus.service")?);
        let plain = self.build(&init, &bus, false)?;
        self.stop_medic()?;
        let ours = self.build(&init, &bus, true)?;
        let medic = self.pid("unitmedic.service")?;
        let pause = PAUSE_MS.to_string();
        let scraped = self.inside(&["scrape", OUR_ADDRESS, &SCRAPES.to_string(), &pause, &init, &bus, &medic])?;
        self.stop_medic()?;
        self.machine.write(CONFIG, CONFIGURATION)?;
        self.machine.ctl(&["start", "exporter.service"])?;
        wait_for("node_exporter listens", START_LIMIT, || self.machine.sh("ss -Hltn | grep -q 127.0.0.1:9100"))?;
        let exporter = self.pid("exporter.service")?;
        let theirs = self.inside(&["scrape", PEER_ADDRESS, &SCRAPES.to_string(), &pause, &init, &bus, &exporter])?;
        self.machine.ctl(&["stop", "exporter.service"])?;
        let spent = |one: &Value, program: &str| [&init, &bus, program].map(|pid: &str| cpu(one, pid) / 1e3);
        let of =
            |spent: [f64; 3]| format!("PID 1 {:.1}, dbus-daemon {:.1}, itself {:.1}", spent[0], spent[1], spent[2]);
        let (us, them) = (spent(&scraped, &medic), spent(&theirs, &exporter));
        println!("{SCRAPES} scrapes of all units, CPU in ms: unitmedic: {}; node_exporter: {}", of(us), of(them));
        for (what, name) in [("until all is read", "start"), ("at rest, nobody scrapes", "idle")] {
            println!("  {what}: {}; without families: {}", of(three(&ours[name])), of(three(&plain[name])));
        }
        println!("  a scrape: ours {} bytes, node_exporter's {} bytes", scraped["bytes"], theirs["bytes"]);
        let (ours_ms, theirs_ms) = (median(&walls(&scraped)), median(&walls(&theirs)));
        let what = "one scrape with node_exporter's families, wall, median";
        let measured = format!("{ours_ms:.2} ms");
        rows.push(Row::new(what, measured).peer(format!("node_exporter {theirs_ms:.0} ms"), ours_ms / theirs_ms));
        let sum = |spent: [f64; 3]| spent.iter().sum::<f64>();
        let what = "the same, CPU of all three for 60 scrapes";
        let row = Row::new(what, format!("{:.0} ms", sum(us)));
        rows.push(row.peer(format!("node_exporter {:.0} ms", sum(them)), sum(us) / sum(them)));
        Ok(json!({ "ours": scraped, "theirs": theirs, "with": ours, "without": plain }))
    }

    /// Starts unitmedic anew and waits until everything is read; what all three have spent meanwhile, and at rest.
    fn build(&self, init: &str, bus: &str, families: bool) -> Result<Value, Failure> {
        let line = if families { "[daemon]\nfamilies = [\"node_exporter\"]\n" } else { "[daemon]\n" };
        self.machine.write(CONFIG, &CONFIGURATION.replacen("[daemon]\n", line, 1))?;
        let before = self.inside(&["spent", init, bus])?;
        self.start_medic()?;
        if families {
            wait_for("the families are there", START_LIMIT, || {
                let count = "curl -s 127.0.0.1:10119/metrics | grep -c '^node_systemd_service_restart_total'";
                let count: u32 = self.machine.sh(count)?.parse()?;
                if count >= OURS { Ok(()) } else { Err(Failure::new(format!("{count} services"))) }
            })?;
        }
        let medic = self.pid("unitmedic.service")?;
        let after = self.inside(&["spent", init, bus, &medic])?;
        let since = |pid: &str| after[pid].as_f64().unwrap_or(f64::NAN) - before[pid].as_f64().unwrap_or(0.0);
        self.inside(&["idle", SETTLE_SECONDS])?;
        let idle = self.inside(&["idle", IDLE_SECONDS, init, bus, &medic])?;
        let of = |since: &dyn Fn(&str) -> f64| [init, bus, &medic].map(|pid| since(pid) / 1e3);
        Ok(json!({ "start": of(&since), "idle": of(&|pid| cpu(&idle, pid)) }))
    }
}

fn three(one: &Value) -> [f64; 3] {
    [0, 1, 2].map(|at| one[at].as_f64().unwrap_or(f64::NAN))
}
