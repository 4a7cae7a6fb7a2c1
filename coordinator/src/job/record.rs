//! What the metadata keep of a job, so that another coordinator can go on with it.

use std::collections::BTreeSet;

use tidemill_plans::codec;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{JobId, RunId};
use tidemill_plans::settings::Settings;

use crate::error::Result;
use crate::meta::{MetaChange, MetaStore};

const PREFIX: &str = "job/record/";

/// Failed jobs that are kept; of more, the oldest are forgotten.
const FAILED_KEPT: usize = 100;

/// A job that has checkpoints, from its submission until it has ended other than by failing.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct JobRecord {
    /// The newest attempt: no older one may do anything any more.
    pub run: RunId,
    /// What the job runs.
    pub graph: DataflowGraph,
    /// The settings that it was submitted with.
    pub settings: Settings,
    /// The folder or URL of its checkpoints.
    pub checkpoints: String,
    /// The objects of the catalog that it works for, as long as they are not dropped. Once there is none, nobody goes
    /// on with it; a job that is nobody's has no list.
    pub objects: Option<BTreeSet<String>>,
    /// The user who has begun it, by whose limits it counts.
    pub owner: Option<String>,
    /// Why the job has failed, if it has: it is tried again only if somebody says so.
    pub failure: Option<String>,
}

impl JobRecord {
    /// Whether all that it worked for has been dropped.
    pub(crate) fn is_orphan(&self) -> bool {
        self.objects.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

/// The jobs that have not ended and those that have failed, by their ids.
pub fn records(store: &dyn MetaStore) -> Result<Vec<JobRecord>> {
    store.scan(PREFIX.as_bytes())?.iter().map(|(_, value)| Ok(codec::decode(value)?)).collect()
}

/// The record of a job, if it has not ended.
pub fn find(store: &dyn MetaStore, job: JobId) -> Result<Option<JobRecord>> {
    store.get(&key(job))?.map(|value| Ok(codec::decode(&value)?)).transpose()
}

/// The change that keeps a record, in the place of the one before.
pub fn keep(record: &JobRecord) -> Result<MetaChange> {
    Ok((key(record.run.job), Some(codec::encode(record)?)))
}

/// The changes that mark a job as failed, if it is known and works for anything.
pub fn fail(store: &dyn MetaStore, job: JobId, cause: String) -> Result<Vec<MetaChange>> {
    let Some(found) = find(store, job)? else { return Ok(Vec::new()) };
    if found.is_orphan() {
        return Ok(vec![forget(job)]);
    }
    // Those of objects stay as long as these.
    let is_surplus = |record: &&JobRecord| record.failure.is_some() && record.objects.is_none();
    let mut failed: Vec<JobId> = records(store)?.iter().filter(is_surplus).map(|record| record.run.job).collect();
    failed.retain(|other| *other != job);
    let surplus = (failed.len() + 1).saturating_sub(FAILED_KEPT);
    let mut changes: Vec<MetaChange> = failed.into_iter().take(surplus).map(forget).collect();
    changes.push(keep(&JobRecord { failure: Some(cause), ..found })?);
    Ok(changes)
}

/// The changes that say that an object is gone: jobs do not work for it any more, and one that has failed is forgotten
/// if it worked for nothing else.
pub fn disown(store: &dyn MetaStore, object: &str) -> Result<Vec<MetaChange>> {
    let mut changes = Vec::new();
    for mut record in records(store)? {
        if record.objects.as_mut().is_some_and(|objects| objects.remove(object)) {
            let is_over = record.failure.is_some() && record.is_orphan();
            changes.push(if is_over { forget(record.run.job) } else { keep(&record)? });
        }
    }
    Ok(changes)
}

/// The change that forgets a job.
#[must_use]
pub fn forget(job: JobId) -> MetaChange {
    (key(job), None)
}

fn key(job: JobId) -> Vec<u8> {
    format!("{PREFIX}{:020}", job.0).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::JournalStore;
    use crate::testing::two_stage_graph;

    #[tokio::test]
    async fn the_newest_failed_jobs_are_kept_and_all_that_have_not_ended() {
        let mut store = JournalStore::in_memory().await.unwrap();
        for id in 1..=FAILED_KEPT as u64 + 3 {
            let run = RunId::first(JobId(id));
            let (graph, settings) = (two_stage_graph(1, 1), Settings::default());
            let checkpoints = String::from("here");
            let record = JobRecord { run, graph, settings, checkpoints, objects: None, owner: None, failure: None };
            store.commit(vec![keep(&record).unwrap()]).await.unwrap();
            if id != 1 {
                let failed = fail(&store, run.job, format!("cause {id}")).unwrap();
                store.commit(failed).await.unwrap();
            }
        }
        assert!(fail(&store, JobId(999), String::from("of nobody")).unwrap().is_empty());
        let kept: Vec<(u64, Option<String>)> =
            records(&store).unwrap().into_iter().map(|record| (record.run.job.0, record.failure)).collect();
        assert_eq!(kept.len(), FAILED_KEPT + 1);
        assert_eq!(kept[..2], [(1, None), (4, Some(String::from("cause 4")))]);
    }
}
