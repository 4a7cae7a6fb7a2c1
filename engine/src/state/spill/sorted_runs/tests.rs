//! Against a map that does the same, whatever the order in which things are done.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::state::spill::sizes::RUNS_MAX;
use crate::testing::graph::cases;

/// What a key has: stamps and values.
type Model = BTreeMap<Vec<u8>, Vec<(i64, Vec<u8>)>>;

/// The keys that no snapshot has.
type Unwritten = BTreeSet<Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    /// Entries of these keys, unless they have some; the number says how many, how long and how old.
    Put(bool, Vec<(u8, u8)>),
    Take(Vec<u8>),
    DropBefore(i64),
    NoteWritten,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (any::<bool>(), prop::collection::vec((0u8..60, any::<u8>()), 1..30)).prop_map(|(is, put)| Step::Put(is, put)),
        3 => prop::collection::vec(0u8..60, 1..30).prop_map(Step::Take),
        1 => (0i64..40).prop_map(Step::DropBefore),
        1 => Just(Step::NoteWritten),
    ];
    prop::collection::vec(step, 1..40)
}

fn key(number: u8) -> Vec<u8> {
    vec![number; usize::from(number % 5)].into_iter().chain([number]).collect()
}

fn store() -> SortedRuns {
    SortedRuns::new(ScratchFolder::new(std::env::temp_dir()), Layout::OneRun)
}

fn put(store: &mut SortedRuns, model: &mut Model, part: Part, entries: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let mut new = Model::new();
    for (number, size) in entries.iter().filter(|(number, _)| !model.contains_key(&key(*number))) {
        let (stamp, value) = (i64::from(size % 40), vec![*size; usize::from(*size)]);
        new.entry(key(*number)).or_default().push((stamp, value));
    }
    let entry = |(key, values): &(&Vec<u8>, &(i64, Vec<u8>))| -> (Vec<u8>, i64, Vec<u8>) {
        ((*key).clone(), values.0, values.1.clone())
    };
    let owned: Vec<_> =
        new.iter().flat_map(|(key, values)| values.iter().map(move |v| (key, v))).map(|e| entry(&e)).collect();
    let entries: Vec<Entry<'_>> = owned.iter().map(|(key, stamp, value)| Entry { key, stamp: *stamp, value }).collect();
    store.put(part, &entries).unwrap();
    let keys = new.keys().cloned().collect();
    model.extend(new);
    keys
}

fn take(store: &mut SortedRuns, model: &mut Model, numbers: &[u8]) {
    let mut keys: Vec<Vec<u8>> = numbers.iter().map(|number| key(*number)).collect();
    keys.sort();
    keys.dedup();
    let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut found = Model::new();
    let mut note = |place: usize, _: Part, entry: Entry<'_>| {
        assert_eq!(entry.key, keys[place]);
        found.entry(keys[place].clone()).or_default().push((entry.stamp, entry.value.to_vec()));
    };
    store.take(&asked, &mut note).unwrap();
    let expected: Model = keys.iter().filter_map(|key| model.remove_entry(key)).collect();
    assert_eq!(sorted(found), sorted(expected));
}

fn drop_before(store: &mut SortedRuns, model: &mut Model, stamp: i64) {
    let mut dropped = 0;
    let mut note = |entry: Entry<'_>| {
        assert!(entry.stamp < stamp);
        dropped += 1;
        Ok(())
    };
    store.drop_before(stamp, (stamp % 2 == 0).then_some(&mut note)).unwrap();
    let before: usize = model.values().map(Vec::len).sum();
    model.values_mut().for_each(|values| values.retain(|(old, _)| *old >= stamp));
    model.retain(|_, values| !values.is_empty());
    let after: usize = model.values().map(Vec::len).sum();
    assert!(dropped == before - after || stamp % 2 == 1);
}

fn sorted(mut model: Model) -> Model {
    model.values_mut().for_each(|values| values.sort());
    model
}

fn scanned(view: &dyn StateView) -> Model {
    let mut scan = view.scan();
    let mut all = Model::new();
    while let Some(entry) = scan.next().unwrap() {
        all.entry(entry.key.to_vec()).or_default().push((entry.stamp, entry.value.to_vec()));
    }
    sorted(all)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn it_holds_what_a_map_holds(steps in steps()) {
        let (mut store, mut model, mut unwritten) = (store(), Model::new(), Unwritten::new());
        for step in &steps {
            let (before, view) = (model.clone(), store.view(None));
            match step {
                Step::Put(is_written, entries) => {
                    let part = if *is_written { Part::Written } else { Part::Unwritten };
                    let keys = put(&mut store, &mut model, part, entries);
                    unwritten.extend(keys.into_iter().filter(|_| !is_written));
                }
                Step::Take(numbers) => take(&mut store, &mut model, numbers),
                Step::DropBefore(stamp) => drop_before(&mut store, &mut model, *stamp),
                Step::NoteWritten => {
                    store.note_written();
                    unwritten.clear();
                }
            }
            unwritten.retain(|key| model.contains_key(key));
            prop_assert_eq!(scanned(&*view), sorted(before), "what a view sees stays");
            prop_assert_eq!(scanned(&*store.view(None)), sorted(model.clone()));
            let keys: Unwritten = scanned(&*store.view(Some(Part::Unwritten))).into_keys().collect();
            prop_assert_eq!(&keys, &unwritten);
            prop_assert_eq!(store.len(), model.values().map(Vec::len).sum::<usize>());
        }
    }
}

#[test]
fn what_is_taken_gives_its_room_back() {
    let (mut store, mut model) = (store(), Model::new());
    for _ in 0..50 {
        put(&mut store, &mut model, Part::Written, &(0..60).map(|number| (number, 100)).collect::<Vec<_>>());
        take(&mut store, &mut model, &(0..58).collect::<Vec<_>>());
    }
    assert_eq!(store.len(), 2);
    assert!(store.disk_bytes() < 60 * 120, "{} bytes", store.disk_bytes());
    assert!(store.runs.len() <= 2 * RUNS_MAX);
    take(&mut store, &mut model, &[58, 59]);
    assert_eq!((store.disk_bytes(), store.memory_bytes()), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let mut store = SortedRuns::new(ScratchFolder::new("/proc/nowhere".into()), Layout::OneRun);
    let error = store.put(Part::Written, &[Entry { key: b"k", stamp: 0, value: b"v" }]).unwrap_err().chain();
    assert!(error.starts_with("cannot create scratch files in /proc/nowhere"), "{error}");
}

#[test]
fn nothing_is_left_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SortedRuns::new(ScratchFolder::new(folder.path().join("scratch")), Layout::OneRun);
    store.put(Part::Written, &[Entry { key: b"k", stamp: 0, value: b"v" }]).unwrap();
    assert!(store.disk_bytes() > 0);
    assert_eq!(std::fs::read_dir(folder.path().join("scratch")).unwrap().count(), 0, "even while it is in use");
}

/// What a stamp has: the entries of each key.
type ByStamp = BTreeMap<i64, Vec<(Vec<u8>, Vec<u8>)>>;

#[derive(Debug, Clone)]
enum StampStep {
    /// Keys, stamps and lengths of values; a key may come any number of times.
    Put(bool, Vec<(u8, i64, u8)>),
    DropAt(i64, i64),
    NoteWritten,
}

fn stamp_steps() -> impl Strategy<Value = Vec<StampStep>> {
    let put = prop::collection::vec((0u8..12, -3i64..9, any::<u8>()), 1..30);
    let step = prop_oneof![
        4 => (any::<bool>(), put).prop_map(|(is, put)| StampStep::Put(is, put)),
        2 => (-3i64..9, 1i64..4).prop_map(|(start, stamps)| StampStep::DropAt(start, stamps)),
        1 => Just(StampStep::NoteWritten),
    ];
    prop::collection::vec(step, 1..30)
}

/// All of a stamp, read by so many ranges of hashes.
fn read_at(view: &dyn StateView, stamp: i64, ranges: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    let step = u64::MAX / ranges;
    for range in 0..ranges {
        let last = if range + 1 == ranges { u64::MAX } else { (range + 1) * step - 1 };
        let mut note = |entry: Entry<'_>| all.push((entry.key.to_vec(), entry.value.to_vec()));
        view.read(stamp, range * step..=last, &mut note).unwrap();
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn what_has_a_stamp_is_found_by_it(steps in stamp_steps(), ranges in 1u64..5) {
        let (mut store, mut model) = (SortedRuns::new(ScratchFolder::new(std::env::temp_dir()), Layout::ByStamp), ByStamp::new());
        for step in &steps {
            let (before, view) = (model.clone(), store.view(None));
            match step {
                StampStep::Put(is_written, entries) => {
                    let part = if *is_written { Part::Written } else { Part::Unwritten };
                    let owned: Vec<_> = entries.iter().map(|(k, stamp, n)| (key(*k), *stamp, vec![*n; usize::from(*n)])).collect();
                    let entry = |(key, stamp, value): &'_ (Vec<u8>, i64, Vec<u8>)| (key.clone(), *stamp, value.clone());
                    for (key, stamp, value) in owned.iter().map(entry) {
                        model.entry(stamp).or_default().push((key, value));
                    }
                    let entries: Vec<Entry<'_>> = owned.iter().map(|(key, stamp, value)| Entry { key, stamp: *stamp, value }).collect();
                    store.put(part, &entries).unwrap();
                }
                StampStep::DropAt(start, stamps) => {
                    model.retain(|stamp, _| !(*start..start + stamps).contains(stamp));
                    store.drop_at(*start..start + stamps).unwrap();
                }
                StampStep::NoteWritten => store.note_written(),
            }
            for (view, model) in [(view, &before), (store.view(None), &model)] {
                for stamp in -3..9 {
                    let mut expected = model.get(&stamp).cloned().unwrap_or_default();
                    expected.sort();
                    prop_assert_eq!(read_at(&*view, stamp, ranges), expected.clone());
                    let mut found = 0;
                    view.find(stamp, &key(7), &mut |_| found += 1).unwrap();
                    prop_assert_eq!(found, expected.iter().filter(|(known, _)| *known == key(7)).count());
                }
            }
            prop_assert_eq!(store.len(), model.values().map(Vec::len).sum::<usize>());
        }
        store.drop_at(i64::MIN..i64::MAX).unwrap();
        prop_assert_eq!((store.disk_bytes(), store.memory_bytes()), (0, 0));
    }
}
