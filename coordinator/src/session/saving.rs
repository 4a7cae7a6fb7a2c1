//! Savepoints that somebody waits for: what that takes depends on the job and its storage, and the session is others' meanwhile.

use std::fmt;

use tidemill_plans::ids::JobId;

use crate::access::Who;
use crate::error::Result;
use crate::handle::CoordinatorHandle;

/// A savepoint that is to be written. Whoever gets it waits until it is.
pub struct Saving {
    pub(super) coordinator: CoordinatorHandle,
    pub(super) job: JobId,
    /// Where, if that was said.
    pub(super) url: Option<String>,
    /// Whether the job ends with it.
    pub(super) stops: bool,
    /// Who has asked for it by which statement, for the audit log.
    pub(super) asked: Option<(Who, String)>,
}

/// A savepoint that has been written.
#[derive(Debug)]
pub struct Saved {
    /// Where it is.
    pub url: String,
    /// A message such as `CREATE SAVEPOINT 'url'`.
    pub message: String,
}

impl Saving {
    /// Has it written. It is written to its end, whether anybody waits for that or not.
    pub async fn wait(self) -> Result<Saved> {
        let Self { coordinator, job, url, stops, asked } = self;
        let saved = coordinator.savepoint(job, url, stops).await;
        if let Some((who, text)) = asked {
            coordinator.access().note(&who, "statement", &text, &saved).await;
        }
        let url = saved?;
        let done = if stops { format!("STOP {job} WITH SAVEPOINT") } else { String::from("CREATE SAVEPOINT") };
        Ok(Saved { message: format!("{done} '{url}'"), url })
    }
}

impl fmt::Debug for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saving").field("job", &self.job).field("url", &self.url).finish_non_exhaustive()
    }
}
