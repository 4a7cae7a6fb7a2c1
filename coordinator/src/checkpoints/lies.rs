//! A store whose listings lie, as those of some do for a while: they lack what is new, or have what is gone.

use std::fmt;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use tidemill_plans::checkpoint::StateFile;
use tidemill_plans::ids::{Epoch, StageId, TaskId};

use super::*;

const JOB: JobId = JobId(3);

/// See the [module](self).
#[derive(Debug, Default)]
struct Liar {
    inner: InMemory,
    /// How many of the last objects of a folder are not listed, and those that are listed though they are gone.
    lie: Mutex<(usize, Vec<ObjectMeta>)>,
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("liar")
    }
}

#[tonic::async_trait]
impl ObjectStore for Liar {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (lacking, gone) = self.lie.lock().unwrap().clone();
        let (listed, prefix) = (self.inner.list(prefix), prefix.cloned());
        let told = async move {
            let mut listed: Vec<ObjectMeta> = listed.try_collect().await?;
            listed.truncate(listed.len().saturating_sub(lacking));
            let is_below =
                |object: &ObjectMeta| prefix.as_ref().is_none_or(|path| object.location.prefix_matches(path));
            for object in gone.into_iter().filter(is_below) {
                if !listed.iter().any(|other| other.location == object.location) {
                    listed.push(object);
                }
            }
            Ok::<_, object_store::Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(told).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn run(attempt: u32) -> RunId {
    RunId { job: JOB, attempt }
}

fn manifest(attempt: u32, number: u64) -> Manifest {
    let (run, epoch, task) = (run(attempt), Epoch(number), TaskId { stage: StageId(0), subtask: 0 });
    let state = StateFile { path: StateFile::path_of(run, task, epoch), bytes: 1 };
    Manifest { number, run, epoch, tasks: vec![(task, state.into())], origins: None }
}

/// A store with so many checkpoints, of which the last two and their state have been kept.
async fn store(sealed: u64) -> (Arc<Liar>, Storage) {
    let liar = Arc::<Liar>::default();
    let storage = Storage::on(Arc::clone(&liar) as Arc<dyn ObjectStore>);
    begin(&storage, Manifest::beginning(run(0))).await.unwrap();
    for number in 1..=sealed {
        let manifest = manifest(0, number);
        storage.put(&manifest.tasks[0].1.files[0].path, vec![1]).await.unwrap();
        seal(&storage, &manifest).await.unwrap();
        collect_garbage(&storage, &manifest).await.unwrap();
    }
    (liar, storage)
}

impl Liar {
    fn lack(&self, newest: usize) {
        self.lie.lock().unwrap().0 = newest;
    }

    /// What is there now is listed for ever.
    async fn remember(&self) {
        self.lie.lock().unwrap().1 = self.inner.list(None).try_collect().await.unwrap();
    }
}

#[tokio::test]
async fn the_newest_checkpoint_is_found_though_it_is_not_listed() {
    for (lacking, known) in [(1, 0), (1, 5), (2, 5), (2, 6), (100, 5), (100, 6)] {
        let (liar, storage) = store(6).await;
        liar.lack(lacking);
        let claimed = claim(&storage, run(1), known, &[]).await.unwrap();
        assert_eq!(claimed, Manifest { number: 7, run: run(1), ..manifest(0, 6) }, "{lacking} are not listed");
        // Whoever had the job before seals nothing any more.
        assert!(matches!(seal(&storage, &manifest(0, 7)).await, Err(CoordinatorError::Sealed { .. })));
    }
}

#[tokio::test]
async fn a_job_of_which_nothing_is_listed_does_not_begin_anew() {
    let (liar, storage) = store(6).await;
    liar.lack(100);
    let error = claim(&storage, run(1), 0, &[]).await.unwrap_err();
    assert!(matches!(error, CoordinatorError::NoUsableCheckpoint { job: JOB }), "{error}");
    liar.lack(0);
    assert_eq!(claim(&storage, run(2), 0, &[]).await.unwrap().tasks, manifest(0, 6).tasks);
}

#[tokio::test]
async fn checkpoints_that_are_listed_though_they_are_gone_are_passed_over() {
    let (liar, storage) = store(3).await;
    liar.remember().await;
    for number in 4..=8 {
        seal(&storage, &manifest(0, number)).await.unwrap();
        collect_garbage(&storage, &manifest(0, number)).await.unwrap();
    }
    let claimed = claim(&storage, run(1), 0, &[]).await.unwrap();
    assert_eq!(claimed, Manifest { number: 9, run: run(1), ..manifest(0, 8) });
}

#[tokio::test]
async fn what_is_not_listed_is_not_taken_for_garbage_of_what_is_kept() {
    for lacking in 0..8 {
        let (liar, storage) = store(6).await;
        liar.lack(lacking);
        let (sealed, state) = (manifest(0, 7), "1");
        storage.put(&sealed.tasks[0].1.files[0].path, state.into()).await.unwrap();
        seal(&storage, &sealed).await.unwrap();
        collect_garbage(&storage, &sealed).await.unwrap();
        for kept in [6, 7].map(|number| manifest(0, number)) {
            assert_eq!(read(&storage, &kept.path()).await.unwrap().as_ref(), Some(&kept), "{lacking} are not listed");
            assert!(storage.get(&kept.tasks[0].1.files[0].path).await.unwrap().is_some(), "{lacking} are not listed");
        }
    }
}
