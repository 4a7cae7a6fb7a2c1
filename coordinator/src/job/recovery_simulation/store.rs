//! An object store whose every call waits for the adversary: it is carried out, or its answer is lost, or it is
//! carried out later, when nobody waits for it any more.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tidemill_plans::checkpoint::Manifest;

/// See the [module](self). Clones are the same store.
#[derive(Clone, Default)]
pub(super) struct SimStore {
    shared: Arc<Shared>,
    /// Which coordinator's calls come through this.
    caller: usize,
}

#[derive(Default)]
struct Shared {
    inner: InMemory,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    /// Calls that have begun and have not been carried out.
    open: BTreeMap<u64, (usize, Call)>,
    answers: BTreeMap<u64, Answer>,
    last: u64,
    /// All objects in the order in which they were created.
    created: Vec<Path>,
    /// All manifests in the order in which they were created.
    sealed: Vec<Manifest>,
    /// The objects that calls have written and that are there, each with a hash of its bytes.
    contents: BTreeMap<Path, u64>,
    /// How many of the newest objects a listing lacks.
    lag: usize,
}

enum Call {
    Put(Path, PutPayload, PutOptions),
    Get(Path, GetOptions),
    Delete(Path),
    List(Option<Path>),
}

enum Answer {
    Put(Result<PutResult>),
    Get(Result<GetResult>),
    Delete(Result<Path>),
    List(Result<Vec<ObjectMeta>>),
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// Carried out, and the caller told that it was not.
    AnswerLost,
    /// The caller is told that it failed; it stays open and may be carried out later.
    Late,
}

impl SimStore {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.shared.calls.lock().unwrap()
    }

    /// The same store as a coordinator has it.
    pub(super) fn of(&self, caller: usize) -> Self {
        Self { shared: Arc::clone(&self.shared), caller }
    }

    /// The calls that wait for their fate, each with its caller.
    pub(super) fn open(&self) -> Vec<(usize, u64)> {
        self.calls().open.iter().map(|(id, (caller, _))| (*caller, *id)).collect()
    }

    pub(super) fn set_lag(&self, lag: usize) {
        self.calls().lag = lag;
    }

    /// The manifests that were created since there were `known`.
    pub(super) fn sealed_since(&self, known: usize) -> Vec<Manifest> {
        self.calls().sealed[known..].to_vec()
    }

    /// The newest manifest.
    pub(super) fn newest(&self) -> Option<Manifest> {
        self.calls().sealed.last().cloned()
    }

    /// Whether a manifest like this was ever sealed.
    pub(super) fn was_sealed(&self, is_it: impl Fn(&Manifest) -> bool) -> bool {
        self.calls().sealed.iter().any(is_it)
    }

    /// Writes an object at once.
    pub(super) fn write(&self, path: &str) {
        self.shared.inner.put(&Path::from(path), "state".into()).now_or_never().unwrap().unwrap();
        self.calls().created.push(Path::from(path));
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.shared.inner.head(&Path::from(path)).now_or_never().unwrap().is_ok()
    }

    /// Whether a call writes an object.
    pub(super) fn is_write(&self, id: u64) -> bool {
        matches!(self.calls().open.get(&id), Some((_, Call::Put(..))))
    }

    /// Whether a call has nothing to find, and so no other call matters to it.
    pub(super) fn is_of_state(&self, id: u64) -> bool {
        matches!(self.calls().open.get(&id), Some((_, Call::List(Some(folder)))) if folder.as_ref().ends_with("/state"))
    }

    /// What a call would be answered now, as far as that differs.
    pub(super) fn answer_now(&self, id: u64) -> u64 {
        let calls = self.calls();
        let mut hasher = DefaultHasher::new();
        match calls.open.get(&id) {
            Some((_, Call::Put(path, ..))) => calls.contents.contains_key(path).hash(&mut hasher),
            Some((_, Call::Get(path, _))) => calls.contents.get(path).hash(&mut hasher),
            Some((_, Call::List(_))) => calls.contents.keys().for_each(|path| path.hash(&mut hasher)),
            Some((_, Call::Delete(_))) | None => {}
        }
        hasher.finish()
    }

    /// All objects, each with a hash of its bytes.
    pub(super) fn contents(&self) -> BTreeMap<Path, u64> {
        self.calls().contents.clone()
    }

    /// Decides on a call.
    pub(super) fn decide(&self, id: u64, fate: Fate) {
        let mut calls = self.calls();
        let Some((caller, call)) = calls.open.remove(&id) else { return };
        let failed = || Error::Generic { store: "sim", source: "no answer".into() };
        if fate == Fate::Late {
            let answer = call.answer_with(failed());
            calls.answers.insert(id, answer);
            // Under another number, for which nobody waits.
            calls.last += 1;
            let late = calls.last;
            calls.open.insert(late, (caller, call));
            return;
        }
        let lost = call.answer_with(failed());
        let answer = call.carry_out(&self.shared.inner, &mut calls);
        calls.answers.insert(id, if fate == Fate::Done { answer } else { lost });
    }

    async fn call(&self, call: Call) -> Answer {
        let id = {
            let mut calls = self.calls();
            calls.last += 1;
            let id = calls.last;
            calls.open.insert(id, (self.caller, call));
            id
        };
        // Nobody is woken: whoever decides polls everybody then.
        poll_fn(|_| self.calls().answers.remove(&id).map_or(Poll::Pending, Poll::Ready)).await
    }
}

impl Call {
    fn answer_with(&self, error: Error) -> Answer {
        match self {
            Self::Put(..) => Answer::Put(Err(error)),
            Self::Get(..) => Answer::Get(Err(error)),
            Self::Delete(_) => Answer::Delete(Err(error)),
            Self::List(_) => Answer::List(Err(error)),
        }
    }

    fn carry_out(self, inner: &InMemory, calls: &mut Calls) -> Answer {
        match self {
            Self::Put(path, payload, options) => {
                let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
                let put = inner.put_opts(&path, payload, options).now_or_never().unwrap();
                if put.is_ok() {
                    let manifest = Manifest::from_bytes(&bytes, path.as_ref()).unwrap();
                    // One without the one before it is no part of the list: whoever wrote it is told.
                    let before = manifest.number.checked_sub(1).map(|n| Manifest::path_of(manifest.run.job, n));
                    let is_part =
                        before.is_none_or(|path| inner.head(&Path::from(path)).now_or_never().unwrap().is_ok());
                    calls.sealed.extend(is_part.then_some(manifest));
                    let mut hasher = DefaultHasher::new();
                    bytes.hash(&mut hasher);
                    calls.contents.insert(path.clone(), hasher.finish());
                    calls.created.push(path);
                }
                Answer::Put(put)
            }
            Self::Get(path, options) => Answer::Get(inner.get_opts(&path, options).now_or_never().unwrap()),
            Self::Delete(path) => {
                calls.contents.remove(&path);
                Answer::Delete(inner.delete(&path).now_or_never().unwrap().map(|()| path))
            }
            Self::List(prefix) => {
                let found: Vec<ObjectMeta> = inner.list(prefix.as_ref()).try_collect().now_or_never().unwrap().unwrap();
                let lacking = &calls.created[calls.created.len().saturating_sub(calls.lag)..];
                Answer::List(Ok(found.into_iter().filter(|object| !lacking.contains(&object.location)).collect()))
            }
        }
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim")
    }
}

#[tonic::async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.call(Call::Put(path.clone(), payload, options)).await {
            Answer::Put(answer) => answer,
            _ => unreachable!("a put is answered as one"),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!("checkpoints are written at once")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.call(Call::Get(path.clone(), options)).await {
            Answer::Get(answer) => answer,
            _ => unreachable!("a get is answered as one"),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move {
                match store.call(Call::Delete(path?)).await {
                    Answer::Delete(answer) => answer,
                    _ => unreachable!("a delete is answered as one"),
                }
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            match store.call(Call::List(prefix)).await {
                Answer::List(Ok(found)) => stream::iter(found.into_iter().map(Ok).collect::<Vec<_>>()),
                Answer::List(Err(error)) => stream::iter(vec![Err(error)]),
                _ => unreachable!("a list is answered as one"),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unimplemented!("checkpoints are listed with what is below them")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unimplemented!("checkpoints are not copied")
    }
}
