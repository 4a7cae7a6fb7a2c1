//! Removes the segments of logs that are not kept, and that nobody needs.
//!
//! A job needs what its oldest checkpoint does, one that has failed, too, for it may be gone on with; of one that this
//! process knows no checkpoint of yet, everything is kept. So are rows for savepoints, as long as these are there. Jobs
//! without checkpoints, such as SELECTs, come too late if they read too slowly.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_plans::ids::{Epoch, JobId};
use tidemill_plans::node::NodeKind;
use tidemill_plans::pushed::{LogNeed, PUSH_CONNECTOR, Retention};
use tracing::warn;

use super::{PushedLogs, holds, lock, on_disk};
use crate::error::Result;
use crate::job::record::JobRecord;

impl PushedLogs {
    /// Says how much is kept of a log.
    pub(super) fn set_kept(&self, source: &str, retention: Retention) {
        lock(&self.kept).insert(source.to_owned(), retention);
        if retention.is_for_ever() {
            self.readers().retain(source, &[]);
        }
    }

    /// Whether it is known that nothing of a log is removed.
    fn is_kept_for_ever(&self, source: &str) -> bool {
        lock(&self.kept).get(source).is_some_and(|retention| retention.is_for_ever())
    }

    /// Notes from where on a checkpoint of a job needs a log.
    pub(crate) fn note_need(&self, job: JobId, epoch: Epoch, need: LogNeed) {
        if !self.is_kept_for_ever(&need.source) {
            self.readers().note(job, epoch, need);
        }
    }

    /// No checkpoint of a job from before an epoch is kept any more: what only they needed may go.
    pub(crate) async fn keep_for(self: &Arc<Self>, job: JobId, oldest: Epoch) {
        let sources = self.readers().keep_from(job, oldest);
        for source in sources {
            self.shorten_or_warn(&source).await;
        }
    }

    /// Keeps what a savepoint needs, which is a checkpoint of a job, as long as it is at this place.
    pub(crate) async fn hold(&self, job: JobId, epoch: Epoch, url: &str) -> Result<()> {
        let needs = self.readers().needed_at(job, epoch);
        for LogNeed { source, segment } in needs {
            let url = url.to_owned();
            self.change_holds(&source, move |holds| holds.extend([(url, segment)])).await?;
        }
        Ok(())
    }

    pub(super) async fn shorten_or_warn(self: &Arc<Self>, source: &str) {
        if let Err(error) = self.shorten(source).await {
            warn!(source, error = error.chain(), "rows that nobody needs are kept");
        }
    }

    /// Removes the segments that are not kept, and that nobody needs.
    async fn shorten(self: &Arc<Self>, source: &str) -> Result<()> {
        if self.is_kept_for_ever(source) {
            return Ok(());
        }
        let readers = self.readers_of(source).await?;
        let said = readers.first().map(|(_, retention)| *retention);
        let retention = said.or_else(|| lock(&self.kept).get(source).copied()).unwrap_or_default();
        self.set_kept(source, retention);
        let (log, now) = (self.open_log(source).await?.log, self.clock.calendar());
        let asked = Arc::clone(&log);
        let kept_from = on_disk(source, move || lock(&asked).kept_from(retention, now)).await?;
        let Some(kept_from) = kept_from else { return Ok(()) };
        let jobs: Vec<JobId> = readers.iter().map(|(job, _)| *job).collect();
        let needed = {
            let mut known = self.readers();
            known.retain(source, &jobs);
            jobs.iter().map(|job| known.needed_by(*job, source)).min()
        };
        let kept_from = kept_from.min(needed.unwrap_or(kept_from));
        let kept_from = self.held_from(source, kept_from).await?;
        on_disk(source, move || lock(&log).remove_before(kept_from)).await
    }

    /// The jobs that read a log, and what each says of how much is kept.
    async fn readers_of(&self, source: &str) -> Result<Vec<(JobId, Retention)>> {
        let reads = |JobRecord { run, graph, .. }: JobRecord| {
            graph.nodes.iter().find_map(|node| match &node.kind {
                NodeKind::Source(read) if read.connector == PUSH_CONNECTOR && read.table == source => {
                    Some((run.job, Retention::of(&read.options)))
                }
                _ => None,
            })
        };
        Ok(self.metadata.jobs().await?.into_iter().filter_map(reads).collect())
    }

    /// The least of this segment and those from which on savepoints need the log that are still there.
    async fn held_from(&self, source: &str, kept_from: u64) -> Result<u64> {
        let folder = self.folder_of(source)?;
        let noted = on_disk(source, move || holds::read(&folder)).await?;
        let (mut least, mut gone) = (kept_from, Vec::new());
        for (url, segment) in noted.into_iter().filter(|(_, segment)| *segment < kept_from) {
            match holds::is_gone(&url).await {
                true => gone.push(url),
                false => least = least.min(segment),
            }
        }
        if !gone.is_empty() {
            self.change_holds(source, move |holds| holds.retain(|url, _| !gone.contains(url))).await?;
        }
        Ok(least)
    }

    async fn change_holds(
        &self,
        source: &str,
        change: impl FnOnce(&mut BTreeMap<String, u64>) + Send + 'static,
    ) -> Result<()> {
        let folder = self.folder_of(source)?;
        // One at a time: each reads what the one before has written.
        let _turn = self.holding.lock().await;
        on_disk(source, move || {
            let mut noted = holds::read(&folder)?;
            change(&mut noted);
            holds::write(&folder, &noted)
        })
        .await
    }
}
