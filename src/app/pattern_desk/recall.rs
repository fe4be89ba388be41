//! What was learned in earlier runs comes back from the store. What cannot be understood is set aside before anything is
//! written in its place; while the store cannot tell, nothing is written at all. So nothing that is known is ever lost.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::adapters::store::{Store, StoreError};

use super::inbox::Inbox;
use super::learner::Learned;
use super::{Counted, NAME, Word};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(60);

pub async fn recall(store: &Store, inbox: &Inbox, counted: &Counted) {
    let mut told = false;
    loop {
        let failed = match recalled(store, counted).await {
            Ok(learned) => {
                if told {
                    info!("what was learned of patterns can be read again");
                }
                // A thread that has ended needs it no more.
                inbox.push_word(Word::Recalled(learned));
                return;
            }
            Err(failed) => failed,
        };
        if !std::mem::replace(&mut told, true) {
            warn!(error = %failed, "what was learned of patterns cannot be read now; nothing is written until it can");
            inbox.push_word(Word::NotYet);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn recalled(store: &Store, counted: &Counted) -> Result<Option<Box<Learned>>, StoreError> {
    let Some((format, body)) = store.knowledge(NAME).await? else { return Ok(None) };
    match Learned::read(format, &body) {
        Ok(learned) => Ok(Some(Box::new(learned))),
        Err(why) => {
            let aside = store.set_knowledge_aside(NAME).await?;
            counted.refused.fetch_add(1, Relaxed);
            error!(
                %why,
                aside = aside.unwrap_or_default(),
                "what was learned of patterns is damaged or not ours; it is kept in the table knowledge under another \
                 name, and learning begins anew"
            );
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::adapters::store::{Knowledge, Opened};
    use crate::app::pattern_desk::learner::{FORMAT, Learner};
    use crate::model::settings::DaemonSettings;
    use crate::model::{Mono, Now, Wall};

    fn open(directory: &tempfile::TempDir) -> Store {
        let settings = DaemonSettings {
            state_dir: directory.path().join("state"),
            runtime_dir: directory.path().join("run"),
            ..DaemonSettings::default()
        };
        let clock = Arc::new(|| Now { mono: Mono(1), wall: Wall(7) });
        let Opened { store, .. } = Store::open(&settings, "boot", clock);
        store
    }

    /// What the thread is told of this, and how much was refused.
    async fn told(store: &Store) -> (Option<Box<Learned>>, u64) {
        let (inbox, counted) = (Inbox::default(), Counted::default());
        recall(store, &inbox, &counted).await;
        let mut words = inbox.next(Instant::now(), true).words;
        match words.pop() {
            Some(Word::Recalled(learned)) if words.is_empty() => (learned, counted.totals(0).refused),
            _ => panic!("not recalled"),
        }
    }

    #[tokio::test]
    async fn what_is_sound_comes_back_and_what_is_not_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        assert!(matches!(told(&store).await, (None, 0)), "there is nothing");
        let body = serde_json::to_string(&Learner::default().learned()).unwrap();
        let keep = |format: u32, body: &str| {
            store.keep_knowledge(Knowledge { name: NAME, at: Wall(7), format, body: body.into() });
        };
        keep(FORMAT, &body);
        assert!(matches!(told(&store).await, (Some(_), 0)));
        keep(FORMAT, "of somebody else");
        assert!(matches!(told(&store).await, (None, 1)));
        assert!(matches!(told(&store).await, (None, 0)), "it is said once");
        keep(FORMAT, &body);
        assert!(matches!(told(&store).await, (Some(_), 0)));
        assert_eq!(store.knowledge("patterns.refused.7").await.unwrap(), Some((FORMAT, "of somebody else".into())));
        store.close().await;
    }
}
