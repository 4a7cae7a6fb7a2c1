//! The store over every way in which a process, a folder or an object can go wrong.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

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
        let mut second = open(&objects).await.unwrap();
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
