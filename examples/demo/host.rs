//! The host of the demo, from within: install, break, ask.

use std::path::PathBuf;
use std::time::Duration;

use unitmedic::adapters::http::client::Client;
use unitmedic::model::history::Filter;
use unitmedic::model::{Incident, UnitName};

use crate::testhost::{Failure, Place, installed};
use crate::workers::{PARSER_CONFIG, PROGRAM, PROGRAM_PATH, SAMPLES, config, units};

const START_LIMIT: Duration = Duration::from_secs(90);

pub struct Host<'a> {
    pub place: &'a dyn Place,
    /// Where its control socket is, seen from here.
    pub socket: PathBuf,
    /// How much longer than on a real processor everything may take.
    pub patience: u32,
}

impl Host<'_> {
    /// Puts the service and the workers in their places, as a package would, and starts the workers, then unitmedic.
    pub fn set_up(&self, listen: &str) -> Result<(), Failure> {
        let place = self.place;
        installed::put(place)?;
        place.write("/etc/unitmedic/unitmedic.toml", &config(listen, self.emulated()))?;
        place.write(PARSER_CONFIG, "")?;
        place.write_program(PROGRAM_PATH, PROGRAM)?;
        for sample in SAMPLES {
            place.write(&format!("/etc/systemd/system/{}", sample.file), sample.text)?;
        }
        place.sh("unitmedic check-config >&2")?;
        place.ctl(&["daemon-reload"])?;
        let all: Vec<&str> = ["start"].into_iter().chain(units()).chain(["unitmedic.service"]).collect();
        place.run_for(&[&["systemctl"], all.as_slice()].concat(), b"", START_LIMIT * self.patience)?.success()?;
        Ok(())
    }

    fn emulated(&self) -> bool {
        self.patience > 1
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// What is known of a unit's incidents, newest first: the answer of `unitmedic incidents --unit UNIT --json`.
    pub fn incidents(&self, unit: &str) -> Result<Vec<Incident>, Failure> {
        let name = UnitName::new(unit).map_err(|error| Failure::new(error.to_string()))?;
        let filter = Filter { unit: Some(name), ..Filter::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(self.client().incidents(&filter));
        answer.map_err(|error| Failure::new(error.to_string()))
    }

    /// What a stop, a start or a restart by anybody would change.
    pub fn life(&self, unit: &str) -> Result<String, Failure> {
        self.place.ctl(&["show", "--property=ActiveState,InvocationID,NRestarts", unit])
    }
}
