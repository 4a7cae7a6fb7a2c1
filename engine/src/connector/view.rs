//! Materialized views: a sink that holds what a view has, and a source that reads it while it grows.
//!
//! A view is read at an epoch: at a point between two rows of every stream, where all parts of the view
//! agree. Its sink seals what came before each barrier. How long the past can be read is counted in
//! epochs, so a reader that was told of the newest one finds it.

mod followed;
mod held;
mod sink;
mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_plans::ids::{JobId, OperatorId};

use self::held::Held;
pub(super) use self::sink::ViewSink;
pub(super) use self::source::open_source;

/// The materialized views of one worker. They outlive their jobs: what a finished query has found can be
/// read until somebody forgets it.
#[derive(Debug, Default)]
pub struct Views {
    parts: Mutex<HashMap<Part, Arc<Mutex<Held>>>>,
}

/// One instance of a view's sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Part {
    job: JobId,
    operator: OperatorId,
    subtask: u32,
}

impl Views {
    /// Lets go of what the views of a job hold.
    pub fn forget(&self, job: JobId) {
        lock(&self.parts).retain(|part, _| part.job != job);
    }

    /// How many parts of views there are.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.parts).len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&self, part: Part, held: Held) -> Arc<Mutex<Held>> {
        let held = Arc::new(Mutex::new(held));
        lock(&self.parts).insert(part, Arc::clone(&held));
        held
    }

    fn find(&self, part: Part) -> Option<Arc<Mutex<Held>>> {
        lock(&self.parts).get(&part).cloned()
    }
}

/// Nothing is done under these locks that could stop half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
