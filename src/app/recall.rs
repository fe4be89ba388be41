//! What was learned in earlier runs comes back from the store. What cannot be understood is set aside before anything is
//! written in its place; while the store cannot tell, nothing is written at all. So nothing that is known is ever lost.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::adapters::store::{Store, StoreError};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(60);

/// What is kept under a name.
pub struct Kind<T> {
    pub name: &'static str,
    /// For people: what was learned of this.
    pub of: &'static str,
    /// The text says why it is refused.
    pub read: fn(format: u32, body: &str) -> Result<T, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled<T> {
    Known(T),
    Nothing,
    /// It is damaged or not ours, and was set aside.
    Refused,
}

/// Waits until the store can tell; `not_yet` is called once when that takes longer.
pub async fn recall<T>(store: &Store, kind: &Kind<T>, not_yet: impl FnOnce()) -> Recalled<T> {
    let mut not_yet = Some(not_yet);
    loop {
        match recalled(store, kind).await {
            Ok(recalled) => {
                if not_yet.is_none() {
                    info!("what was learned of {} can be read again", kind.of);
                }
                return recalled;
            }
            Err(error) => {
                if let Some(not_yet) = not_yet.take() {
                    warn!(%error, "what was learned of {} cannot be read now; nothing is written until it can", kind.of);
                    not_yet();
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn recalled<T>(store: &Store, kind: &Kind<T>) -> Result<Recalled<T>, StoreError> {
    let Some((format, body)) = store.knowledge(kind.name).await? else { return Ok(Recalled::Nothing) };
    match (kind.read)(format, &body) {
        Ok(known) => Ok(Recalled::Known(known)),
        Err(why) => {
            let aside = store.set_knowledge_aside(kind.name).await?.unwrap_or_default();
            error!(
                %why,
                aside,
                "what was learned of {} is damaged or not ours; it is kept in the table knowledge under another name, \
                 and learning begins anew",
                kind.of
            );
            Ok(Recalled::Refused)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::adapters::store::{Knowledge, Opened};
    use crate::model::settings::DaemonSettings;
    use crate::model::{Mono, Now, Wall};

    const FORMAT: u32 = 3;

    fn read(format: u32, body: &str) -> Result<u64, String> {
        if format == FORMAT { body.parse().map_err(|_| "it is no number".into()) } else { Err("its format".into()) }
    }

    pub fn open(directory: &tempfile::TempDir) -> Store {
        let settings = DaemonSettings {
            state_dir: directory.path().join("state"),
            runtime_dir: directory.path().join("run"),
            ..DaemonSettings::default()
        };
        let clock = Arc::new(|| Now { mono: Mono(1), wall: Wall(7) });
        let Opened { store, .. } = Store::open(&settings, "boot", clock);
        store
    }

    #[tokio::test]
    async fn what_is_sound_comes_back_and_what_is_not_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let kind = Kind { name: "numbers", of: "numbers", read };
        let told = || recall(&store, &kind, || panic!("it can be read"));
        assert_eq!(told().await, Recalled::Nothing);
        let keep = |format: u32, body: &str| {
            store.keep_knowledge(Knowledge { name: "numbers", at: Wall(7), format, body: body.into() });
        };
        keep(FORMAT, "7");
        assert_eq!(told().await, Recalled::Known(7));
        keep(FORMAT, "of somebody else");
        assert_eq!(told().await, Recalled::Refused);
        assert_eq!(told().await, Recalled::Nothing, "it is said once");
        keep(FORMAT, "8");
        assert_eq!(told().await, Recalled::Known(8));
        assert_eq!(store.knowledge("numbers.refused.7").await.unwrap(), Some((FORMAT, "of somebody else".into())));
        store.close().await;
    }
}
