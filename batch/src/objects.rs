//! The objects that a query reads and writes, as one store for DataFusion: the first part of a location is the bucket.
//!
//! So what a plan shows names its buckets, two of them may have objects of one name, and each table is read with its own
//! credentials. What is read is what was found when the query was planned, or an error. What is written shows at the end,
//! all of it: uploads are held until then.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::Schema;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult, UploadPart,
};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use tidemill_plans::bucket::{Bucket, StoreError, store_options};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::table::is_as_declared;

/// What DataFusion knows the store by.
const URL: &str = "objects://all";

/// Bytes of the end of a Parquet file that are asked for: mostly its footer is in them.
const END_BYTES: u64 = 64 << 10;

/// Objects that are looked at, or completed, at the same time.
const ASKED_MAX: usize = 16;

/// The store. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct QueryObjects(Arc<Shared>);

/// What queries that were dropped leave to be given up, by whoever runs queries.
#[derive(Clone, Default)]
pub(crate) struct Leftovers(Arc<Mutex<JoinSet<()>>>);

impl Leftovers {
    fn add(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Without threads nobody can: a rule of the bucket does, later.
        let Ok(threads) = Handle::try_current() else { return };
        let mut leftovers = locked(&self.0);
        while leftovers.try_join_next().is_some() {}
        leftovers.spawn_on(work, &threads);
    }
}

#[derive(Default)]
struct Shared {
    buckets: Mutex<Vec<Known>>,
    /// Objects as they were found, by their location here.
    found: Mutex<HashMap<Path, ObjectMeta>>,
    held: Mutex<Vec<Arc<Held>>>,
    leftovers: Leftovers,
}

/// A bucket with some options.
struct Known {
    /// The first part of locations.
    name: String,
    options: Vec<(String, String)>,
    bucket: Bucket,
}

/// A bucket, and what its locations begin with.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) bucket: Bucket,
}

/// An object that is written.
#[derive(Debug)]
struct Held {
    location: Path,
    upload: Mutex<Option<Box<dyn MultipartUpload>>>,
    is_complete: Mutex<bool>,
}

impl fmt::Debug for QueryObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueryObjects")
    }
}

impl fmt::Display for QueryObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects of a query")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Named {
    /// Where a key is for DataFusion.
    pub(crate) fn url(&self, key: &Path) -> String {
        url(&format!("{}/{key}", self.name))
    }
}

impl QueryObjects {
    pub(crate) fn new(leftovers: Leftovers) -> Self {
        Self(Arc::new(Shared { leftovers, ..Shared::default() }))
    }

    /// Has something done that is left of a query that was dropped.
    pub(crate) fn leave(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.leftovers.add(work);
    }

    /// What DataFusion knows the store by.
    pub(crate) fn store_url() -> Result<ObjectStoreUrl> {
        ObjectStoreUrl::parse(URL)
    }

    /// The bucket of a path with these options; none if the path is of this machine.
    pub(crate) fn bucket(&self, path: &str, options: &[(String, String)]) -> Result<Option<Named>> {
        let store = store_options(options);
        let mut known = locked(&self.0.buckets);
        let is_it = |known: &&Known| path.starts_with(known.bucket.root()) && known.options == store;
        if let Some(known) = known.iter().find(is_it) {
            return Ok(Some(Named { name: known.name.clone(), bucket: known.bucket.clone() }));
        }
        let Some(bucket) = Bucket::of(path, options).map_err(failed)? else { return Ok(None) };
        let host = bucket.root().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let others = known.iter().filter(|other| other.bucket.root() == bucket.root()).count();
        let name = if others == 0 { host.to_owned() } else { format!("{host}~{others}") };
        known.push(Known { name: name.clone(), options: store, bucket: bucket.clone() });
        Ok(Some(Named { name, bucket }))
    }

    /// Whether all of these objects are Parquet files that hold what was declared. Where they are for DataFusion, then.
    pub(crate) async fn parquet(
        &self,
        named: &Named,
        files: &[PathBuf],
        declared: &Schema,
    ) -> Result<Option<Vec<String>>> {
        let keys: Vec<Path> = files.iter().map(|file| key(&named.bucket, file)).collect::<Result<_>>()?;
        let look = |key: Path| async move { footer(&named.bucket, &key).await };
        let mut found = stream::iter(keys).map(look).buffered(ASKED_MAX);
        let mut urls = Vec::with_capacity(files.len());
        // What cannot be read, whoever reads it says so.
        while let Some(footer) = found.next().await {
            let Some((object, _)) = footer.filter(|(_, footer)| is_as_declared(footer.schema(), declared)) else {
                return Ok(None);
            };
            urls.push(named.url(&object.location));
            let location =
                Path::parse(format!("{}/{}", named.name, object.location)).map_err(object_store::Error::from)?;
            locked(&self.0.found).insert(location.clone(), ObjectMeta { location, ..object });
        }
        Ok(Some(urls))
    }

    /// Completes what was written, all of it; says where.
    pub(crate) async fn complete(&self) -> Result<Vec<Path>> {
        let held = std::mem::take(&mut *locked(&self.0.held));
        let complete = |held: Arc<Held>| async move {
            let upload = locked(&held.upload).take();
            let is_complete = *locked(&held.is_complete);
            match upload {
                Some(mut upload) if is_complete => match upload.complete().await {
                    Ok(_) => Ok(Some(held.location.clone())),
                    Err(error) => Err(self.said(&held.location, &error)),
                },
                Some(mut upload) => {
                    upload.abort().await.map(|()| None).map_err(|error| self.said(&held.location, &error))
                }
                None => Ok(None),
            }
        };
        let completed = stream::iter(held).map(complete).buffer_unordered(ASKED_MAX);
        let completed: Vec<Option<Path>> = completed.try_collect().await?;
        Ok(completed.into_iter().flatten().collect())
    }

    /// Gives up what was written: nobody sees any of it.
    pub(crate) async fn give_up(&self) {
        let held = std::mem::take(&mut *locked(&self.0.held));
        for held in held {
            let upload = locked(&held.upload).take();
            if let Some(mut upload) = upload {
                // What is left of it costs room, and nothing else.
                let _ = upload.abort().await;
            }
        }
    }

    /// The bucket of a location, and the key there.
    fn place(&self, location: &Path) -> StoreResult<(Bucket, Path)> {
        let (name, key) = location.as_ref().split_once('/').unwrap_or((location.as_ref(), ""));
        let known = locked(&self.0.buckets);
        match known.iter().find(|known| known.name == name) {
            Some(known) => Ok((known.bucket.clone(), Path::parse(key)?)),
            None => Err(not_here("a location without a bucket")),
        }
    }

    /// What a store says, with the URL that it is about.
    fn said(&self, location: &Path, error: &object_store::Error) -> object_store::Error {
        match self.place(location) {
            Ok((bucket, key)) => generic(bucket.said(&key, error)),
            Err(error) => error,
        }
    }
}

fn generic(said: StoreError) -> object_store::Error {
    object_store::Error::Generic { store: "bucket", source: Box::new(said) }
}

/// What a store has said, as an error of the query.
pub(crate) fn failed(said: StoreError) -> DataFusionError {
    DataFusionError::ObjectStore(Box::new(generic(said)))
}

fn not_here(operation: &str) -> object_store::Error {
    let (operation, implementer) = (operation.to_owned(), String::from("the objects of a query"));
    object_store::Error::NotImplemented { operation, implementer }
}

/// The key of a URL.
pub(crate) fn key(bucket: &Bucket, url: &FilePath) -> Result<Path> {
    let text = url.to_str().ok_or_else(|| DataFusionError::Execution(String::from("a URL is not in UTF-8")))?;
    bucket.key(text).map_err(failed)
}

/// A URL is decoded, and a location is not: `%` and others stand for themselves there.
fn url(location: &str) -> String {
    let mut url = format!("{URL}/");
    for byte in location.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'=' => url.push(char::from(byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

/// What a Parquet file says of itself, if it can be read.
async fn footer(bucket: &Bucket, key: &Path) -> Option<(ObjectMeta, ArrowReaderMetadata)> {
    let (object, mut bytes) = bucket.read_end(key, END_BYTES).await.ok()?;
    let mut reader = ParquetMetaDataReader::new();
    loop {
        match reader.try_parse_sized(&bytes, object.size) {
            Ok(()) => break,
            Err(ParquetError::NeedMoreData(needed)) if needed > bytes.len() => {
                let start = object.size.checked_sub(needed as u64)?;
                bytes = bucket.read(&object, start..object.size).await.ok()?;
            }
            Err(_) => return None,
        }
    }
    let metadata = ArrowReaderMetadata::try_new(Arc::new(reader.finish().ok()?), ArrowReaderOptions::new()).ok()?;
    Some((object, metadata))
}

#[async_trait]
impl ObjectStore for QueryObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, _opts: PutOptions) -> StoreResult<PutResult> {
        // It is to be seen with the others.
        let mut upload = self.put_multipart_opts(location, PutMultipartOptions::default()).await?;
        upload.put_part(payload).await?;
        upload.complete().await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let (bucket, key) = self.place(location)?;
        let upload = bucket.objects().put_multipart_opts(&key, opts).await;
        let upload = upload.map_err(|error| self.said(location, &error))?;
        let (location, upload) = (location.clone(), Mutex::new(Some(upload)));
        let held = Arc::new(Held { location, upload, is_complete: Mutex::new(false) });
        locked(&self.0.held).push(Arc::clone(&held));
        Ok(Box::new(HeldUpload { objects: self.clone(), held }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let known = locked(&self.0.found).get(location).cloned();
        if let Some(object) = known.clone().filter(|_| options.head) {
            let payload = GetResultPayload::Stream(stream::empty().boxed());
            return Ok(GetResult { payload, range: 0..0, meta: object, attributes: Attributes::default() });
        }
        let (bucket, key) = self.place(location)?;
        let options = GetOptions { if_match: known.and_then(|object| object.e_tag), ..options };
        let mut found = bucket.objects().get_opts(&key, options).await.map_err(|error| self.said(location, &error))?;
        found.meta.location = location.clone();
        let (objects, at) = (self.clone(), location.clone());
        let GetResultPayload::Stream(bytes) = found.payload else { return Ok(found) };
        let bytes: BoxStream<'static, StoreResult<Bytes>> =
            bytes.map_err(move |error| objects.said(&at, &error)).boxed();
        Ok(GetResult { payload: GetResultPayload::Stream(bytes), ..found })
    }

    fn delete_stream(
        &self,
        _locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        stream::once(async { Err(not_here("delete")) }).boxed()
    }

    fn list(&self, _prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        stream::once(async { Err(not_here("list")) }).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> StoreResult<ListResult> {
        Err(not_here("list"))
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> StoreResult<()> {
        Err(not_here("copy"))
    }
}

/// An object that whoever writes it may complete; it waits for the others then.
#[derive(Debug)]
struct HeldUpload {
    objects: QueryObjects,
    held: Arc<Held>,
}

#[async_trait]
impl MultipartUpload for HeldUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = locked(&self.held.upload).as_mut().map(|upload| upload.put_part(data));
        let (objects, location) = (self.objects.clone(), self.held.location.clone());
        Box::pin(async move {
            match part {
                Some(part) => part.await.map_err(|error| objects.said(&location, &error)),
                None => Err(not_here("writing behind the end")),
            }
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        *locked(&self.held.is_complete) = true;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> StoreResult<()> {
        let upload = locked(&self.held.upload).take();
        match upload {
            Some(mut upload) => upload.abort().await.map_err(|error| self.objects.said(&self.held.location, &error)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn objects() -> (QueryObjects, Arc<InMemory>) {
        let (objects, store) = (QueryObjects::default(), Arc::new(InMemory::new()));
        let bucket = Bucket::on("s3://b/", Arc::clone(&store) as _);
        locked(&objects.0.buckets).push(Known { name: String::from("b"), options: Vec::new(), bucket });
        (objects, store)
    }

    #[tokio::test]
    async fn what_is_written_shows_at_the_end() {
        let (objects, store) = objects();
        for name in ["t/one", "t/two"] {
            objects.put(&Path::from(format!("b/{name}")), "x".into()).await.unwrap();
        }
        // Nobody has said that it is complete.
        objects.put_multipart(&Path::from("b/t/half")).await.unwrap().put_part("y".into()).await.unwrap();
        assert!(store.get(&Path::from("t/one")).await.is_err());
        let mut written = objects.complete().await.unwrap();
        written.sort();
        assert_eq!(written, [Path::from("b/t/one"), Path::from("b/t/two")]);
        assert_eq!(store.get(&Path::from("t/one")).await.unwrap().bytes().await.unwrap(), "x");
        assert!(store.get(&Path::from("t/half")).await.is_err());
        objects.put(&Path::from("b/t/three"), "x".into()).await.unwrap();
        objects.give_up().await;
        assert!(objects.complete().await.unwrap().is_empty());
        assert!(store.get(&Path::from("t/three")).await.is_err());
    }

    #[tokio::test]
    async fn what_is_read_is_what_was_found() {
        let (objects, store) = objects();
        let (here, there) = (Path::from("b/t"), Path::from("t"));
        store.put(&there, "one".into()).await.unwrap();
        let found = ObjectMeta { location: here.clone(), ..store.head(&there).await.unwrap() };
        locked(&objects.0.found).insert(here.clone(), found.clone());
        assert_eq!(objects.head(&here).await.unwrap(), found);
        assert_eq!(objects.get_range(&here, 1..3).await.unwrap(), "ne");
        store.put(&there, "two".into()).await.unwrap();
        let error = DataFusionError::from(objects.get_range(&here, 1..3).await.unwrap_err());
        let said = StoreError::among(&error).unwrap();
        assert_eq!(said.url, "s3://b/t");
        assert!(said.reason.contains("replaced"), "{said}");
        store.delete(&there).await.unwrap();
        let error = DataFusionError::from(objects.get_range(&here, 1..3).await.unwrap_err());
        assert!(StoreError::among(&error).unwrap().reason.contains("no such object"));
    }

    #[test]
    fn locations_are_urls() {
        assert_eq!(url("b/k=a%2Fb/f 1?.parquet"), "objects://all/b/k=a%252Fb/f%201%3F.parquet");
    }
}
