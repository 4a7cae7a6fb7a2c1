//! The model registry's first form: versions and their metrics, as trainers publish them.
//!
//! A version belongs to the job that learnt it: a second run counts from 1 again. All runs are kept;
//! look-ups by name answer from the newest run, or versions of two runs would mix.

use std::collections::BTreeMap;

use tidemill_plans::catalog::ModelVersion;
use tidemill_plans::codec;
use tidemill_plans::ids::JobId;

use crate::error::Result;
use crate::meta::{MetaChange, MetaStore};

const PREFIX: &str = "model/";

/// The changes that record a group of versions: one commit for all that a heartbeat brings.
pub fn append(versions: &[(JobId, ModelVersion)]) -> Result<Vec<MetaChange>> {
    versions
        .iter()
        .map(|(job, version)| Ok((key(*job, version), Some(codec::encode(&(*job, version.clone()))?))))
        .collect()
}

/// The changes that forget all runs of a model that is gone: one that is made by its name is another.
pub fn forget(store: &dyn MetaStore, model: &str) -> Result<Vec<MetaChange>> {
    Ok(store.scan(&name_prefix(model))?.into_iter().map(|(key, _)| (key, None)).collect())
}

/// The newest version of each model, by name.
pub fn models(store: &dyn MetaStore) -> Result<Vec<ModelVersion>> {
    let mut newest: Vec<ModelVersion> = Vec::new();
    // Keys are in the order name, job, version: the last of each name is the newest.
    for (_, version) in stored(store, PREFIX.as_bytes())? {
        match newest.last_mut() {
            Some(last) if last.model == version.model => *last = version,
            _ => newest.push(version),
        }
    }
    Ok(newest)
}

/// The versions of a model's newest run, latest first.
pub fn versions(store: &dyn MetaStore, model: &str) -> Result<Vec<ModelVersion>> {
    let all = stored(store, &name_prefix(model))?;
    let newest_run = all.last().map(|(job, _)| *job);
    Ok(all.into_iter().rev().filter(|(job, _)| Some(*job) == newest_run).map(|(_, version)| version).collect())
}

/// Of each number of a model's versions the one of the newest run that has it, by number: runs over tables go on counting.
pub fn by_number(store: &dyn MetaStore, model: &str) -> Result<Vec<ModelVersion>> {
    let all = stored(store, &name_prefix(model))?;
    let numbered: BTreeMap<i64, ModelVersion> =
        all.into_iter().map(|(_, version)| (version.version, version)).collect();
    Ok(numbered.into_values().collect())
}

/// One version of a model's newest run.
pub fn get(store: &dyn MetaStore, model: &str, version: i64) -> Result<Option<ModelVersion>> {
    Ok(versions(store, model)?.into_iter().find(|found| found.version == version))
}

fn stored(store: &dyn MetaStore, prefix: &[u8]) -> Result<Vec<(JobId, ModelVersion)>> {
    store.scan(prefix)?.iter().map(|(_, value)| Ok(codec::decode(value)?)).collect()
}

fn key(job: JobId, version: &ModelVersion) -> Vec<u8> {
    let mut key = name_prefix(&version.model);
    key.extend(job.0.to_be_bytes());
    // Versions count from 1, so the sign bit never disturbs the order.
    key.extend(version.version.to_be_bytes());
    key
}

/// The zero byte ends the name: `a` is not a prefix of `ab`.
fn name_prefix(model: &str) -> Vec<u8> {
    [PREFIX.as_bytes(), model.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::JournalStore;
    use crate::testing::{model_version, run};

    #[test]
    fn what_an_attempt_publishes_again_is_there_once() {
        run(async {
            let mut store = JournalStore::in_memory().await.unwrap();
            let attempt = |from| (from..=from + 2).map(|n| (JobId(1), model_version("ctr", n))).collect::<Vec<_>>();
            store.commit(append(&attempt(1)).unwrap()).await.unwrap();
            store.commit(append(&attempt(2)).unwrap()).await.unwrap();
            let numbers: Vec<i64> = versions(&store, "ctr").unwrap().iter().map(|found| found.version).collect();
            assert_eq!(numbers, [4, 3, 2, 1]);
        });
    }

    #[test]
    fn look_ups_answer_from_the_newest_run() {
        run(async {
            let mut store = JournalStore::in_memory().await.unwrap();
            let first: Vec<_> = (1..=300).map(|n| (JobId(1), model_version("ctr", n))).collect();
            store.commit(append(&first).unwrap()).await.unwrap();
            assert_eq!(versions(&store, "ctr").unwrap().len(), 300);
            assert_eq!(versions(&store, "ctr").unwrap()[0].version, 300);
            let second = [(JobId(2), model_version("ctr", 1)), (JobId(2), model_version("ctr2", 7))];
            store.commit(append(&second).unwrap()).await.unwrap();
            assert_eq!(versions(&store, "ctr").unwrap(), [model_version("ctr", 1)]);
            let numbers: Vec<i64> = by_number(&store, "ctr").unwrap().iter().map(|found| found.version).collect();
            assert_eq!(numbers, (1..=300).collect::<Vec<_>>());
            assert_eq!(models(&store).unwrap(), [model_version("ctr", 1), model_version("ctr2", 7)]);
            assert_eq!(get(&store, "ctr2", 7).unwrap(), Some(model_version("ctr2", 7)));
            assert_eq!(get(&store, "ctr", 300).unwrap(), None);
            assert!(versions(&store, "ct").unwrap().is_empty());
            let changes = forget(&store, "ctr").unwrap();
            store.commit(changes).await.unwrap();
            assert_eq!(models(&store).unwrap(), [model_version("ctr2", 7)]);
            assert!(by_number(&store, "ctr").unwrap().is_empty());
        });
    }
}
