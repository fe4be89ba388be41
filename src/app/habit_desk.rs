//! What is known of the habits of instances comes back from the store at the start, and is written to it once an hour and
//! at the end. A crash of ours loses what was learned since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::adapters::clock;
use crate::adapters::store::{Knowledge, Store};
use crate::engine::Engine;
use crate::model::Input;
use crate::model::habits::{HABITS_KEPT, KeptHabits};

use super::recall::{Kind, Recalled, recall};

const KIND: Kind<Vec<KeptHabits>> = Kind { name: "habits", of: "the habits of instances", read };
const FORMAT: u32 = 1;
const SAVE_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct HabitDesk {
    store: Store,
    /// What was known has been read, or there is nothing to be lost.
    may_write: Arc<AtomicBool>,
    save_at: Instant,
}

impl HabitDesk {
    pub fn new(store: Store) -> Self {
        Self { store, may_write: Arc::default(), save_at: Instant::now() + SAVE_EVERY }
    }

    /// Gives the engine what was known, as soon as the store can tell; `refused` is called when it is not ours.
    pub fn recall<R: FnOnce() + Send>(
        &self,
        inputs: mpsc::Sender<Input>,
        refused: R,
    ) -> impl Future<Output = ()> + Send + use<R> {
        let (store, may_write) = (self.store.clone(), self.may_write.clone());
        async move {
            match recall(&store, &KIND, || ()).await {
                Recalled::Known(known) => {
                    // Nobody takes it when we are about to stop, and then nothing is written over it.
                    if inputs.send(Input::Habits { known }).await.is_err() {
                        return;
                    }
                }
                Recalled::Nothing => {}
                Recalled::Refused => refused(),
            }
            may_write.store(true, Relaxed);
        }
    }

    pub fn save_when_due(&mut self, engine: &Engine) {
        if Instant::now() >= self.save_at {
            self.save_at = Instant::now() + SAVE_EVERY;
            // It is made into text on another thread: of many instances it is some megabytes.
            drop(self.save(engine));
        }
    }

    /// Hands to the store what is known now.
    pub fn save(&self, engine: &Engine) -> Option<tokio::task::JoinHandle<()>> {
        if !self.may_write.load(Relaxed) {
            return None;
        }
        let now = clock::now().wall;
        let (store, known) = (self.store.clone(), engine.kept_habits(now));
        Some(tokio::task::spawn_blocking(move || match serde_json::to_string(&known) {
            Ok(body) => {
                let bytes = body.len();
                if !store.keep_knowledge(Knowledge { name: KIND.name, at: now, format: FORMAT, body }) {
                    warn!(bytes, "what was learned of the habits of instances is too much to be written");
                }
            }
            Err(error) => error!(%error, "what was learned of the habits of instances cannot be written"),
        }))
    }
}

fn read(format: u32, body: &str) -> Result<Vec<KeptHabits>, String> {
    if format != FORMAT {
        return Err(format!("it has the format {format}, and this unitmedic reads {FORMAT}"));
    }
    let known: Vec<KeptHabits> = serde_json::from_str(body).map_err(|error| error.to_string())?;
    match known.len() {
        0..=HABITS_KEPT => Ok(known),
        more => Err(format!("it tells of {more} instances, and {HABITS_KEPT} are kept")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::recall::tests::open;
    use crate::model::habits::{KeptGrowth, Resource};
    use crate::model::input::Memory;
    use crate::model::{Settings, UnitName, WorkerName};

    #[tokio::test]
    async fn what_is_known_comes_back_and_nothing_is_written_before_it_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let (unit, worker) = (UnitName::new("a.service").unwrap(), WorkerName::new("a").unwrap());
        let growth = vec![KeptGrowth { resource: Resource::Memory, slope: 2.5, lives: 3 }];
        let known = vec![KeptHabits { unit, worker, at: clock::now().wall, usual: Vec::new(), growth }];
        let mut engine = Engine::new(clock::now(), Settings::empty(), Memory::default(), 1);
        engine.handle(clock::now(), Input::Habits { known: known.clone() });
        let (inputs, mut told) = mpsc::channel(1);
        let desk = HabitDesk::new(store.clone());
        assert!(desk.save(&engine).is_none(), "it has not been read");
        let not_refused = || panic!("it is ours");
        desk.recall(inputs.clone(), not_refused).await;
        assert!(told.try_recv().is_err(), "there is nothing");
        desk.save(&engine).expect("now it may").await.unwrap();
        let next = HabitDesk::new(store.clone());
        next.recall(inputs.clone(), not_refused).await;
        assert_eq!(told.recv().await, Some(Input::Habits { known }));
        store.keep_knowledge(Knowledge { name: KIND.name, at: clock::now().wall, format: FORMAT, body: "?".into() });
        let mut refused = 0;
        HabitDesk::new(store.clone()).recall(inputs, || refused += 1).await;
        assert_eq!((refused, told.try_recv().is_err()), (1, true));
        store.close().await;
    }

    #[test]
    fn what_is_foreign_or_damaged_is_refused() {
        let good = r#"[{"unit":"a.service","worker":"a","at":7,"usual":[],"growth":[{"resource":"memory","slope":2.5,"lives":3}]}]"#;
        assert_eq!(read(FORMAT, good).unwrap()[0].growth[0].lives, 3);
        assert!(read(FORMAT + 1, good).unwrap_err().contains("format"));
        for bad in
            ["", "{}", "[1]", &good[..good.len() - 3], &good.replace("a.service", "../a"), &good.replace("3}", "-3}")]
        {
            assert!(read(FORMAT, bad).is_err(), "{bad}");
        }
        let one = &good[1..good.len() - 1];
        assert!(read(FORMAT, &format!("[{}]", vec![one; HABITS_KEPT + 1].join(","))).is_err(), "too many");
    }
}
