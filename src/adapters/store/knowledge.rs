//! What was learned, kept as it is given: a text with the number of its format, under a name. What is in it is the
//! business of who learned it; a text that its owner refuses is set aside under another name, and never deleted.

use super::db::read;
use super::queue::Ask;
use super::{Store, StoreError};
use crate::model::Wall;

/// Bytes of one text; more is not written and not read.
pub(super) const BODY_MAX: usize = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge {
    pub name: &'static str,
    pub at: Wall,
    pub format: u32,
    pub body: String,
}

impl Store {
    /// Writes it, off this thread; of several that wait under a name, the newest. `false`: it is too long.
    pub fn keep_knowledge(&self, knowledge: Knowledge) -> bool {
        let fits = knowledge.body.len() <= BODY_MAX;
        if fits {
            self.shared.queue.push_knowledge(knowledge);
        }
        fits
    }

    /// Format and text as they were last written; `None`: there is none.
    pub async fn knowledge(&self, name: &'static str) -> Result<Option<(u32, String)>, StoreError> {
        self.ask(move |connection| read::knowledge(connection, name)).await
    }

    /// What is under this name will not be written over. Its new name; `None`: there is none.
    pub async fn set_knowledge_aside(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.ask_writer(|reply| Ask::SetAside(name, reply)).await
    }
}
