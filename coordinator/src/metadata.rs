//! The one task that owns the metadata store: requests come through a bounded queue, in order.
//!
//! It is apart from the actor because a commit waits for an object store, and heartbeats must not
//! wait behind it.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use tidemill_plans::catalog::{CatalogEntry, ModelVersion};
use tidemill_plans::codec;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{JobId, WorkerId};
use tokio::sync::{mpsc, oneshot};

use crate::access::roles;
use crate::catalog;
use crate::error::{CoordinatorError, Result};
use crate::job::record::{self, JobRecord};
use crate::meta::{MetaChange, MetaStore};
use crate::registry;

/// Requests that may wait; more callers wait for room.
const QUEUE_REQUESTS_MAX: usize = 64;

const LAST_JOB: &[u8] = b"job/last";

/// Numbers of jobs that are taken at a time, for a SELECT is not to wait for a commit to have one. Those that were not
/// given when a coordinator ends are never given.
const JOBS_TAKEN: u64 = 64;

const LAST_WORKER: &[u8] = b"worker/last";

const CLUSTER: &[u8] = b"cluster/name";

type Answer<T> = oneshot::Sender<Result<T>>;

enum Request {
    Cluster(Answer<String>),
    CheckLeads(Answer<()>),
    NextJob(Answer<JobId>),
    NextWorker(Answer<WorkerId>),
    /// A job, and the objects that are created with it.
    Create(Option<Box<JobRecord>>, Vec<CatalogEntry>, Option<String>, Answer<()>),
    /// Both are gone, for the job could not be started.
    TakeBack(JobId, Vec<String>, Answer<()>),
    ChangeGraph(JobId, Box<DataflowGraph>, Answer<()>),
    /// The next attempt at a job; none if it has ended.
    NextAttempt(JobId, Answer<Option<JobRecord>>),
    ForgetJob(JobId, Answer<()>),
    FailJob(JobId, String, Answer<()>),
    Job(JobId, Answer<Option<JobRecord>>),
    Jobs(Answer<Vec<JobRecord>>),
    RemoveObject(String, Answer<bool>),
    Objects(Answer<Vec<CatalogEntry>>),
    AppendVersions(Vec<(JobId, ModelVersion)>, Answer<()>),
    ForgetVersions(String, Answer<()>),
    Models(Answer<Vec<ModelVersion>>),
    Versions(String, Answer<Vec<ModelVersion>>),
    VersionsByNumber(String, Answer<Vec<ModelVersion>>),
    Version(String, i64, Answer<Option<ModelVersion>>),
    /// Keys and values that others know the meaning of.
    Scan(&'static str, Answer<Vec<(Vec<u8>, Vec<u8>)>>),
    Commit(Vec<MetaChange>, Answer<()>),
    Close(Answer<()>),
}

/// The way to the metadata.
#[derive(Clone)]
pub(crate) struct MetadataHandle {
    queue: mpsc::Sender<Request>,
}

impl MetadataHandle {
    /// A handle, and the task that must be spawned for it.
    pub(crate) fn new(store: Box<dyn MetaStore>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        (Self { queue }, serve(store, requests))
    }

    /// The name of the cluster whose metadata these are: as long as they are kept, the same, and no other's.
    pub(crate) async fn cluster(&self) -> Result<String> {
        self.call(Request::Cluster).await
    }

    /// An error if another coordinator has written to the journal.
    pub(crate) async fn check_leads(&self) -> Result<()> {
        self.call(Request::CheckLeads).await
    }

    /// A job id that was never given before on this store.
    pub(crate) async fn next_job(&self) -> Result<JobId> {
        self.call(Request::NextJob).await
    }

    /// A worker id that was never given before on this store: a worker of the coordinator before this one is nobody
    /// that this one knows.
    pub(crate) async fn next_worker(&self) -> Result<WorkerId> {
        self.call(Request::NextWorker).await
    }

    /// Records objects and their owner, and keeps the job that works for them, so that a later coordinator can go on
    /// with it: all of it or nothing.
    pub(crate) async fn create(
        &self,
        record: Option<JobRecord>,
        objects: Vec<CatalogEntry>,
        owner: Option<String>,
    ) -> Result<()> {
        self.call(|answer| Request::Create(record.map(Box::new), objects, owner, answer)).await
    }

    /// Forgets a job that could not be started, and the objects that were recorded with it.
    pub(crate) async fn take_back(&self, job: JobId, objects: Vec<String>) -> Result<()> {
        self.call(|answer| Request::TakeBack(job, objects, answer)).await
    }

    /// Notes that a job has another graph from its next attempt on.
    pub(crate) async fn change_graph(&self, job: JobId, graph: DataflowGraph) -> Result<()> {
        self.call(|answer| Request::ChangeGraph(job, Box::new(graph), answer)).await
    }

    /// Claims the next attempt at a job: once this is answered, no other can have its number. Nothing if the job
    /// has ended.
    pub(crate) async fn next_attempt(&self, job: JobId) -> Result<Option<JobRecord>> {
        self.call(|answer| Request::NextAttempt(job, answer)).await
    }

    /// Keeps a job that has failed, and why.
    pub(crate) async fn fail_job(&self, job: JobId, cause: String) -> Result<()> {
        self.call(|answer| Request::FailJob(job, cause, answer)).await
    }

    /// Forgets a job that has ended.
    pub(crate) async fn forget_job(&self, job: JobId) -> Result<()> {
        self.call(|answer| Request::ForgetJob(job, answer)).await
    }

    /// What is kept of a job that has not ended.
    pub(crate) async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        self.call(|answer| Request::Job(job, answer)).await
    }

    /// The jobs that have not ended, and those that have failed.
    pub(crate) async fn jobs(&self) -> Result<Vec<JobRecord>> {
        self.call(Request::Jobs).await
    }

    /// Removes an object, and says so to the jobs that work for it. Whether there was such an object.
    pub(crate) async fn remove_object(&self, name: String) -> Result<bool> {
        self.call(|answer| Request::RemoveObject(name, answer)).await
    }

    pub(crate) async fn objects(&self) -> Result<Vec<CatalogEntry>> {
        self.call(Request::Objects).await
    }

    pub(crate) async fn append_versions(&self, versions: Vec<(JobId, ModelVersion)>) -> Result<()> {
        self.call(|answer| Request::AppendVersions(versions, answer)).await
    }

    /// Forgets the versions of a model that is gone.
    pub(crate) async fn forget_versions(&self, model: String) -> Result<()> {
        self.call(|answer| Request::ForgetVersions(model, answer)).await
    }

    pub(crate) async fn models(&self) -> Result<Vec<ModelVersion>> {
        self.call(Request::Models).await
    }

    pub(crate) async fn versions(&self, model: String) -> Result<Vec<ModelVersion>> {
        self.call(|answer| Request::Versions(model, answer)).await
    }

    pub(crate) async fn versions_by_number(&self, model: String) -> Result<Vec<ModelVersion>> {
        self.call(|answer| Request::VersionsByNumber(model, answer)).await
    }

    pub(crate) async fn version(&self, model: String, version: i64) -> Result<Option<ModelVersion>> {
        self.call(|answer| Request::Version(model, version, answer)).await
    }

    /// All keys that begin with a prefix, with their values.
    pub(crate) async fn scan(&self, prefix: &'static str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.call(|answer| Request::Scan(prefix, answer)).await
    }

    /// Makes all of these changes, or none.
    pub(crate) async fn commit(&self, changes: Vec<MetaChange>) -> Result<()> {
        self.call(|answer| Request::Commit(changes, answer)).await
    }

    /// Answers what came before, then drops the store; what it holds is flushed by then.
    pub(crate) async fn close(&self) -> Result<()> {
        self.call(Request::Close).await
    }

    async fn call<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(request(answer)).await.map_err(|_| CoordinatorError::ShutDown)?;
        answered.await.map_err(|_| CoordinatorError::ShutDown)?
    }
}

/// An answer that nobody waits for any more is dropped; the change it reports stands.
async fn serve(mut store: Box<dyn MetaStore>, mut requests: mpsc::Receiver<Request>) {
    let mut jobs = 0..0;
    while let Some(request) = requests.recv().await {
        match request {
            Request::Cluster(answer) => drop(answer.send(cluster(store.as_mut()).await)),
            Request::CheckLeads(answer) => drop(answer.send(store.check().await)),
            Request::NextJob(answer) => drop(answer.send(next_job(store.as_mut(), &mut jobs).await)),
            Request::NextWorker(answer) => {
                drop(answer.send(take(store.as_mut(), LAST_WORKER, 1).await.map(WorkerId)));
            }
            Request::Create(job, objects, owner, answer) => {
                let changes = create(store.as_ref(), job.as_deref(), &objects, owner.as_deref());
                drop(answer.send(commit(store.as_mut(), changes).await));
            }
            Request::TakeBack(job, objects, answer) => {
                let changes = take_back(store.as_ref(), job, &objects);
                drop(answer.send(commit(store.as_mut(), changes).await));
            }
            Request::ChangeGraph(job, graph, answer) => {
                let changes = change_graph(store.as_ref(), job, *graph);
                drop(answer.send(commit(store.as_mut(), changes).await));
            }
            Request::NextAttempt(job, answer) => drop(answer.send(next_attempt(store.as_mut(), job).await)),
            Request::ForgetJob(job, answer) => {
                drop(answer.send(commit(store.as_mut(), Ok(vec![record::forget(job)])).await));
            }
            Request::FailJob(job, cause, answer) => {
                let changes = record::fail(store.as_ref(), job, cause);
                drop(answer.send(commit(store.as_mut(), changes).await));
            }
            Request::Job(job, answer) => drop(answer.send(record::find(store.as_ref(), job))),
            Request::Jobs(answer) => drop(answer.send(record::records(store.as_ref()))),
            Request::RemoveObject(name, answer) => drop(answer.send(remove(store.as_mut(), &name).await)),
            Request::Objects(answer) => drop(answer.send(catalog::entries(store.as_ref()))),
            Request::AppendVersions(versions, answer) => {
                drop(answer.send(commit(store.as_mut(), registry::append(&versions)).await));
            }
            Request::ForgetVersions(model, answer) => {
                let changes = registry::forget(store.as_ref(), &model);
                drop(answer.send(commit(store.as_mut(), changes).await));
            }
            Request::Models(answer) => drop(answer.send(registry::models(store.as_ref()))),
            Request::Versions(model, answer) => drop(answer.send(registry::versions(store.as_ref(), &model))),
            Request::VersionsByNumber(model, answer) => {
                drop(answer.send(registry::by_number(store.as_ref(), &model)));
            }
            Request::Version(model, version, answer) => {
                drop(answer.send(registry::get(store.as_ref(), &model, version)));
            }
            Request::Scan(prefix, answer) => drop(answer.send(store.scan(prefix.as_bytes()))),
            Request::Commit(changes, answer) => {
                drop(answer.send(commit(store.as_mut(), Ok(changes)).await));
            }
            Request::Close(answer) => {
                drop(store);
                drop(answer.send(Ok(())));
                return;
            }
        }
    }
}

async fn commit(store: &mut dyn MetaStore, changes: Result<Vec<MetaChange>>) -> Result<()> {
    let changes = changes?;
    if changes.is_empty() { Ok(()) } else { store.commit(changes).await }
}

fn create(
    store: &dyn MetaStore,
    job: Option<&JobRecord>,
    objects: &[CatalogEntry],
    owner: Option<&str>,
) -> Result<Vec<MetaChange>> {
    let mut changes = catalog::record(store, objects)?;
    for object in objects {
        changes.extend(roles::owned(store, &object.name, owner)?);
    }
    changes.extend(job.map(record::keep).transpose()?);
    Ok(changes)
}

fn take_back(store: &dyn MetaStore, job: JobId, objects: &[String]) -> Result<Vec<MetaChange>> {
    let mut changes = vec![record::forget(job)];
    for object in objects {
        changes.extend(catalog::remove(store, object)?);
        changes.push(roles::disowned(object));
    }
    Ok(changes)
}

fn change_graph(store: &dyn MetaStore, job: JobId, graph: DataflowGraph) -> Result<Vec<MetaChange>> {
    let found = record::find(store, job)?;
    found.map(|found| record::keep(&JobRecord { graph, ..found })).into_iter().collect()
}

async fn remove(store: &mut dyn MetaStore, name: &str) -> Result<bool> {
    let Some(change) = catalog::remove(store, name)? else { return Ok(false) };
    let mut changes = record::disown(store, name)?;
    changes.extend([change, roles::disowned(name)]);
    store.commit(changes).await?;
    Ok(true)
}

async fn cluster(store: &mut dyn MetaStore) -> Result<String> {
    if let Some(bytes) = store.get(CLUSTER)? {
        return Ok(codec::decode(&bytes)?);
    }
    // Only has to differ between clusters: nothing that is computed depends on it.
    let name = format!("cluster-{:016x}", RandomState::new().hash_one(0u8));
    store.commit(vec![(CLUSTER.to_vec(), Some(codec::encode(&name)?))]).await?;
    Ok(name)
}

async fn next_attempt(store: &mut dyn MetaStore, job: JobId) -> Result<Option<JobRecord>> {
    let Some(mut found) = record::find(store, job)? else { return Ok(None) };
    found.run = found.run.next();
    found.failure = None;
    store.commit(vec![record::keep(&found)?]).await?;
    Ok(Some(found))
}

/// The next of the numbers that are taken, or of some more.
async fn next_job(store: &mut dyn MetaStore, taken: &mut Range<u64>) -> Result<JobId> {
    if taken.is_empty() {
        let last = take(store, LAST_JOB, JOBS_TAKEN).await?;
        *taken = last + 1 - JOBS_TAKEN..last + 1;
    }
    taken.next().map(JobId).ok_or(CoordinatorError::ShutDown)
}

/// Takes so many numbers after the last one that was taken; returns the last of them.
async fn take<N>(store: &mut dyn MetaStore, key: &[u8], count: N) -> Result<N>
where
    N: bincode::Encode + bincode::Decode<()> + Default + std::ops::Add<Output = N> + Copy,
{
    let last: N = store.get(key)?.map_or_else(|| Ok(N::default()), |bytes| codec::decode(&bytes))?;
    let last = last + count;
    store.commit(vec![(key.to_vec(), Some(codec::encode(&last)?))]).await?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidemill_plans::catalog::ObjectKind;
    use tidemill_plans::ids::RunId;
    use tidemill_plans::settings::Settings;
    use tokio::task::JoinSet;

    use super::*;
    use crate::meta::JournalStore;
    use crate::testing::two_stage_graph;

    fn entry(name: &str) -> CatalogEntry {
        CatalogEntry { name: name.into(), kind: ObjectKind::Sink, definition: format!("CREATE SINK {name}") }
    }

    fn record(job: u64, objects: &[&str]) -> JobRecord {
        JobRecord {
            run: RunId::first(JobId(job)),
            graph: two_stage_graph(1, 1),
            settings: Settings::default(),
            checkpoints: String::from("here"),
            objects: Some(objects.iter().map(|name| String::from(*name)).collect()),
            owner: None,
            failure: None,
        }
    }

    /// The names of the objects, and those that each job works for.
    async fn known(metadata: &MetadataHandle) -> String {
        let objects: Vec<String> = metadata.objects().await.unwrap().into_iter().map(|entry| entry.name).collect();
        let jobs = metadata.jobs().await.unwrap().into_iter();
        let jobs: Vec<BTreeSet<String>> = jobs.map(|record| record.objects.unwrap()).collect();
        format!("{objects:?} {jobs:?}")
    }

    #[tokio::test]
    async fn no_number_of_a_job_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut given = Vec::new();
        for _ in 0..2 {
            let store = JournalStore::in_folder(folder.path()).await.unwrap();
            let (metadata, task) = MetadataHandle::new(Box::new(store));
            let mut tasks = JoinSet::new();
            tasks.spawn(task);
            for _ in 0..=JOBS_TAKEN {
                given.push(metadata.next_job().await.unwrap());
            }
            metadata.close().await.unwrap();
        }
        assert!(given.is_sorted_by(|a, b| a < b), "{given:?}");
        assert_eq!(given[..2], [JobId(1), JobId(2)]);
    }

    #[tokio::test]
    async fn objects_and_their_jobs_come_and_go_together() {
        let (metadata, task) = MetadataHandle::new(Box::new(JournalStore::in_memory().await.unwrap()));
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        metadata.create(Some(record(1, &["a", "b"])), vec![entry("a"), entry("b")], None).await.unwrap();
        // An INSERT into an older sink, and one that fails to start.
        metadata.create(Some(record(2, &["a"])), vec![], None).await.unwrap();
        metadata.create(Some(record(3, &["c"])), vec![entry("c")], None).await.unwrap();
        metadata.take_back(JobId(3), vec![String::from("c")]).await.unwrap();
        assert_eq!(known(&metadata).await, r#"["a", "b"] [{"a", "b"}, {"a"}]"#);

        metadata.fail_job(JobId(1), String::from("no disk")).await.unwrap();
        assert!(metadata.remove_object(String::from("a")).await.unwrap());
        assert!(!metadata.remove_object(String::from("a")).await.unwrap());
        // The second job is over as soon as somebody ends it; the first is kept for whoever mends what was wrong.
        assert_eq!(known(&metadata).await, r#"["b"] [{"b"}, {}]"#);
        metadata.change_graph(JobId(2), two_stage_graph(2, 2)).await.unwrap();
        assert!(metadata.jobs().await.unwrap()[1].is_orphan());
        assert!(metadata.remove_object(String::from("b")).await.unwrap());
        assert_eq!(known(&metadata).await, "[] [{}]");
    }
}
