//! The store over every way in which a process, a folder or an object can go wrong.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use self::faulty::Faulty;
use super::*;
use crate::error::CoordinatorError;
use crate::testing::run;

fn put(key: &str, value: &str) -> MetaChange {
    (key.into(), Some(value.into()))
}

async fn open(objects: &Arc<InMemory>) -> Result<JournalStore> {
    JournalStore::open(Arc::clone(objects) as Arc<dyn ObjectStore>, None).await
}

fn content(store: &JournalStore) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pairs = store.scan(b"").unwrap();
    pairs.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let mut store = JournalStore::in_folder(folder.path()).await.unwrap();
        store.commit(vec![put("a", "1"), put("b", "2")]).await.unwrap();
        store.commit(vec![put("c", "3"), (b"a".to_vec(), None)]).await.unwrap();
        assert_eq!(content(&store), "b=2 c=3");
        drop(store);
        let store = JournalStore::in_folder(folder.path()).await.unwrap();
        assert_eq!(content(&store), "b=2 c=3");
        assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(store.get(b"a").unwrap(), None);
        assert!(folder.path().join("meta/journal/00000000000000000001.rec").exists());
    });
}

#[test]
fn a_second_coordinator_fences_the_first() {
    run(async {
        let objects = Arc::new(InMemory::new());
        let mut first = open(&objects).await.unwrap();
        first.commit(vec![put("a", "1")]).await.unwrap();
        first.check().await.unwrap();
        let mut second = open(&objects).await.unwrap();
        assert!(matches!(first.check().await, Err(CoordinatorError::Fenced { sequence: 3 })));
        second.check().await.unwrap();
        assert!(matches!(first.commit(vec![put("a", "x")]).await, Err(CoordinatorError::Fenced { sequence: 3 })));
        second.commit(vec![put("b", "2")]).await.unwrap();
        assert!(matches!(first.commit(vec![put("a", "y")]).await, Err(CoordinatorError::Fenced { .. })));
        assert_eq!(content(&open(&objects).await.unwrap()), "a=1 b=2");
    });
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let mut first = JournalStore::in_folder(folder.path()).await.unwrap();
        let error = JournalStore::in_folder(folder.path()).await.unwrap_err();
        assert!(matches!(error, CoordinatorError::InUse { .. }), "{}", error.chain());
        first.commit(vec![put("a", "1")]).await.unwrap();
    });
}

#[test]
fn a_corrupted_record_is_named() {
    run(async {
        let objects = Arc::new(InMemory::new());
        let mut store = open(&objects).await.unwrap();
        store.commit(vec![put("key", "value")]).await.unwrap();
        let path = Path::from("journal/00000000000000000002.rec");
        let mut bytes = objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        objects.put(&path, bytes.into()).await.unwrap();
        let error = open(&objects).await.unwrap_err().to_string();
        assert!(error.contains("00000000000000000002.rec is corrupted: checksum"), "{error}");
        objects.delete(&path).await.unwrap();
        objects.put(&Path::from("journal/00000000000000000003.rec"), "x".into()).await.unwrap();
        let error = open(&objects).await.unwrap_err();
        assert!(matches!(error, CoordinatorError::MissingRecord { sequence: 2 }), "{error}");
    });
}

#[test]
fn a_last_record_that_a_crash_cut_short_is_left_out_and_its_place_kept() {
    run(async {
        let objects = Arc::new(InMemory::new());
        let mut store = open(&objects).await.unwrap();
        store.commit(vec![put("a", "1")]).await.unwrap();
        store.commit(vec![put("b", "2")]).await.unwrap();
        let path = Path::from("journal/00000000000000000003.rec");
        let whole = objects.get(&path).await.unwrap().bytes().await.unwrap();
        // Within each part of the header, between them, and within the message.
        let cut = [0, 1, 8, 9, 12, 15, 16, 17, whole.len() - 1].map(|length| whole.slice(..length));
        for torn in cut.into_iter().chain([vec![0; whole.len()].into()]) {
            let objects = Arc::new(objects.fork());
            objects.put(&path, torn.clone().into()).await.unwrap();
            let mut store = open(&objects).await.unwrap();
            assert_eq!(content(&store), "a=1", "{} bytes", torn.len());
            store.commit(vec![put("c", "3")]).await.unwrap();
            assert_eq!(content(&open(&objects).await.unwrap()), "a=1 c=3");
        }
    });
}

#[test]
fn a_record_of_another_length_than_it_says_is_not_taken_for_one_cut_short() {
    run(async {
        let objects = Arc::new(InMemory::new());
        open(&objects).await.unwrap();
        let path = Path::from("journal/00000000000000000001.rec");
        let mut bytes = objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        bytes[0] ^= 0x80;
        objects.put(&path, bytes.into()).await.unwrap();
        let error = open(&objects).await.unwrap_err();
        assert!(matches!(error, CoordinatorError::Corrupted { .. }), "{error}");
    });
}

#[test]
fn a_record_that_is_cut_short_before_others_is_named() {
    run(async {
        let objects = Arc::new(InMemory::new());
        let mut store = open(&objects).await.unwrap();
        store.commit(vec![put("a", "1")]).await.unwrap();
        objects.put(&Path::from("journal/00000000000000000001.rec"), "short".into()).await.unwrap();
        let error = open(&objects).await.unwrap_err().to_string();
        assert!(error.contains("00000000000000000001.rec is incomplete: it ends after 5 bytes"), "{error}");
    });
}

#[test]
fn a_commit_that_failed_after_it_had_been_written_counts_and_does_not_fence_its_writer() {
    run(async {
        let objects = Arc::new(Faulty::default());
        let mut store = JournalStore::open(Arc::clone(&objects) as Arc<dyn ObjectStore>, None).await.unwrap();
        objects.fail_next_put();
        let failed = store.commit(vec![put("a", "1")]).await.unwrap_err();
        assert!(matches!(failed, CoordinatorError::ObjectStore(_)), "{failed}");
        store.commit(vec![put("b", "2")]).await.unwrap();
        assert_eq!(content(&store), "a=1 b=2");
        // The same again is the same commit, not a second one.
        for _ in 0..2 {
            objects.fail_next_put();
            store.commit(vec![put("c", "3")]).await.unwrap_err();
            store.commit(vec![put("c", "3")]).await.unwrap();
        }
        assert_eq!(content(&store), "a=1 b=2 c=3");
        assert!(objects.inner.head(&Path::from("journal/00000000000000000006.rec")).await.is_err());
        assert_eq!(content(&open(&objects.inner).await.unwrap()), "a=1 b=2 c=3");
    });
}

#[test]
fn an_index_that_may_lack_a_record_takes_no_more_until_it_is_rebuilt() {
    run(async {
        let objects = Arc::new(InMemory::new());
        let mut store = open(&objects).await.unwrap();
        // The journal has it; the index works on it on another thread, and nobody hears how that ends. Now
        // and then that thread is done before anybody can stop listening.
        let refused = loop {
            let mut commit = store.commit(vec![put("a", "1")]);
            let is_under_way = futures::poll!(&mut commit).is_pending();
            drop(commit);
            if is_under_way {
                break store.commit(vec![put("b", "2")]).await.unwrap_err();
            }
        };
        assert!(matches!(refused, CoordinatorError::IndexBehind { .. }), "{refused}");
        let mut store = open(&objects).await.unwrap();
        store.commit(vec![put("b", "2")]).await.unwrap();
        assert_eq!(content(&store), "a=1 b=2");
    });
}

/// Commits, lets `damage` do its worst to the index, and expects everything back.
fn check_rebuilt(damage: impl FnOnce(&std::path::Path)) {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let mut store = JournalStore::in_folder(folder.path()).await.unwrap();
        for n in 0..20 {
            store.commit(vec![put(&format!("k{n:02}"), "v")]).await.unwrap();
        }
        let before = content(&store);
        drop(store);
        damage(&folder.path().join("meta-index"));
        let mut store = JournalStore::in_folder(folder.path()).await.unwrap();
        assert_eq!(content(&store), before);
        store.commit(vec![put("more", "v")]).await.unwrap();
    });
}

#[test]
fn a_deleted_index_is_rebuilt() {
    check_rebuilt(|index| std::fs::remove_dir_all(index).unwrap());
}

#[test]
fn an_index_of_garbage_is_moved_aside_and_rebuilt() {
    for file in ["conf", "db"] {
        check_rebuilt(|index| std::fs::write(index.join(file), vec![0xA7; 100_000]).unwrap());
    }
    check_rebuilt(|index| {
        std::fs::remove_dir_all(index).unwrap();
        std::fs::write(index, "not a folder").unwrap();
    });
}

#[test]
fn an_index_of_another_journal_is_rebuilt() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(async {
        for (folder, key) in [(&ours, "ours"), (&theirs, "theirs")] {
            let mut store = JournalStore::in_folder(folder.path()).await.unwrap();
            store.commit(vec![put(key, "1")]).await.unwrap();
        }
        std::fs::remove_dir_all(ours.path().join("meta")).unwrap();
        std::fs::rename(theirs.path().join("meta"), ours.path().join("meta")).unwrap();
        assert_eq!(content(&JournalStore::in_folder(ours.path()).await.unwrap()), "theirs=1");
    });
}

#[test]
fn a_snapshot_shortens_the_replay_and_a_damaged_one_does_not_matter() {
    run(async {
        let objects = Arc::new(InMemory::new());
        let mut store = open(&objects).await.unwrap();
        for n in 0..300 {
            store.commit(vec![put(&format!("k{n}"), "v")]).await.unwrap();
        }
        let before = content(&store);
        let snapshot = Path::from("snapshot/00000000000000000256.snap");
        assert!(objects.head(&snapshot).await.is_ok());
        assert_eq!(content(&open(&objects).await.unwrap()), before);
        objects.put(&snapshot, "damaged".into()).await.unwrap();
        assert_eq!(content(&open(&objects).await.unwrap()), before);
    });
}

mod killed;

mod faulty {
    //! An object store that loses answers: an object is written, and the writer told that it is not.

    use std::fmt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::stream::BoxStream;
    use object_store::{
        CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
        PutOptions, PutPayload, PutResult, Result,
    };

    use super::*;

    #[derive(Debug, Default)]
    pub(super) struct Faulty {
        pub(super) inner: Arc<InMemory>,
        fails: AtomicBool,
    }

    impl Faulty {
        pub(super) fn fail_next_put(&self) {
            self.fails.store(true, Ordering::Relaxed);
        }
    }

    impl fmt::Display for Faulty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("faulty")
        }
    }

    #[tonic::async_trait]
    impl ObjectStore for Faulty {
        async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            let written = self.inner.put_opts(path, payload, options).await;
            if self.fails.swap(false, Ordering::Relaxed) {
                return Err(Error::Generic { store: "faulty", source: "no answer".into() });
            }
            written
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(path, options).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }
}
