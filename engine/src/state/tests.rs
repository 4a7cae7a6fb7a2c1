use std::slice::from_ref;

use super::*;
use crate::testing::graph::schema;
use crate::testing::{parse_rows, show_rows};

fn snapshot() -> Snapshot {
    let schema = schema("k:text v:int");
    let mut snapshot = Snapshot::default();
    let mut state = snapshot.writer(Epoch(1));
    state.value("count", &7u64).unwrap();
    let mut part = state.part("left");
    part.value("count", &8u64).unwrap();
    let batches = ["a 1\nb -", "", "- 3"].map(|rows| parse_rows(&schema, rows).unwrap());
    part.rows("held", Belongs::to_first(1), batches);
    snapshot
}

fn shown(batches: &[RecordBatch]) -> String {
    batches.iter().map(|batch| show_rows(batch).unwrap()).collect()
}

#[test]
fn what_is_written_is_read_part_by_part_also_through_bytes() {
    let bytes = snapshot().to_bytes().unwrap();
    let read = Snapshot::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes().unwrap(), bytes);
    let snapshots = [read];
    let state = StateReader::new(&snapshots, 0, 1);
    assert_eq!(state.value::<u64>("count").unwrap(), Some(7));
    assert_eq!(state.value::<u64>("other").unwrap(), None);
    assert_eq!(state.part("left").value::<u64>("count").unwrap(), Some(8));
    assert_eq!(shown(&state.part("left").rows("held").unwrap()), "a 1\nb -\n- 3\n");
    assert!(state.rows("held").unwrap().is_empty());
}

#[test]
fn damage_is_found_wherever_it_is() {
    let bytes = snapshot().to_bytes().unwrap();
    for length in 0..bytes.len() {
        assert!(Snapshot::from_bytes(&bytes[..length]).is_err(), "cut after {length}");
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        assert!(Snapshot::from_bytes(&damaged).is_err(), "a bit at {place}");
    }
    let error = Snapshot::from_bytes(&bytes[..30]).unwrap_err().to_string();
    assert!(error.starts_with("state cannot be restored: "), "{error}");
}

#[test]
fn other_instances_take_their_part_and_nothing_is_lost_or_doubled() {
    let schema = schema("k:int v:int");
    let all: Vec<String> = (0..100).map(|k| format!("{k} {}\n", k * k)).collect();
    let rows = parse_rows(&schema, &all.concat()).unwrap();
    let split = |from: &[Snapshot], parallelism: u32| -> Vec<Snapshot> {
        let instance = |subtask| {
            let reader = StateReader::new(from, subtask, parallelism);
            let mut snapshot = Snapshot::default();
            let mut writer = snapshot.writer(Epoch(1));
            writer.rows("keyed", Belongs::to_first(1), reader.rows("keyed").unwrap());
            writer.rows("free", Belongs::Anywhere, reader.rows("free").unwrap());
            writer.rows("one", Belongs::to_first(0), reader.rows("one").unwrap());
            let least = reader.values::<u64>("least").unwrap().into_iter().min();
            writer.value("least", &least.unwrap()).unwrap();
            snapshot
        };
        (0..parallelism).map(instance).collect()
    };
    let mut first = Snapshot::default();
    for (name, belongs) in [("keyed", Belongs::to_first(1)), ("free", Belongs::Anywhere), ("one", Belongs::to_first(0))]
    {
        first.writer(Epoch(1)).rows(name, belongs, [rows.clone()]);
    }
    first.writer(Epoch(1)).value("least", &3u64).unwrap();
    let mut instances = vec![first];
    for parallelism in [3, 4, 2, 1] {
        let before: Vec<Snapshot> = instances.clone();
        instances = split(&before, parallelism);
        for name in ["keyed", "free", "one"] {
            let found = instances.iter().filter_map(|instance| instance.rows.get(name));
            let mut found: Vec<String> = found
                .flat_map(|rows| shown(&rows.rows.batches).lines().map(String::from).collect::<Vec<_>>())
                .collect();
            found.sort_by_key(|line| line.split(' ').next().and_then(|k| k.parse::<i64>().ok()));
            assert!(found.iter().map(|line| format!("{line}\n")).eq(all.iter().cloned()), "{name} {parallelism}");
        }
    }
}

#[test]
fn what_is_everyones_each_reads_from_all_who_had_it() {
    let schema = schema("k:int");
    let had = |rows: &str| {
        let mut snapshot = Snapshot::default();
        snapshot.writer(Epoch(1)).rows("all", Belongs::ToAll, [parse_rows(&schema, rows).unwrap()]);
        snapshot
    };
    let before = [had("1\n2"), had("2")];
    let read = |subtask, of| shown(&StateReader::new(&before, subtask, of).rows("all").unwrap());
    assert_eq!([read(0, 3), read(2, 3), read(0, 1)], ["1\n2\n2\n"; 3]);
    assert_eq!([read(0, 2), read(1, 2)], ["1\n2\n", "2\n"], "its own, where nothing has changed");
}

/// A snapshot with changes of rows `k v`, those that have come or changed and those that are gone; `all` there are
/// without a word of what is gone.
fn layer(epoch: u64, rows: &str, gone: Option<&str>) -> Snapshot {
    layer_by(RowKeys::Grouped(vec![0]), epoch, rows, gone)
}

fn layer_by(keys: RowKeys, epoch: u64, rows: &str, gone: Option<&str>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let (rows, belongs) = (parse_rows(&schema("k:float v:int"), rows).unwrap(), Belongs::to_first(1));
    let Some(gone) = gone else {
        snapshot.writer(Epoch(epoch)).rows("rows", belongs, [rows]);
        return snapshot;
    };
    let gone = parse_rows(&schema("k:float"), gone).unwrap();
    let mut state = snapshot.writer_of_changes(Epoch(epoch), Epoch(epoch - 1));
    state.value("count", &epoch).unwrap();
    state.changes("rows", belongs, keys, [rows], [gone]);
    snapshot
}

/// The snapshot as it comes back from a file.
fn through_file(snapshot: &Snapshot) -> Snapshot {
    let scratch = ScratchFolder::new(std::env::temp_dir());
    let file = scratch.file_of([snapshot.to_bytes().unwrap()]).unwrap();
    Snapshot::open(SnapshotBytes::File(file)).unwrap()
}

fn memory() -> StateMemory {
    StateMemory { bytes_max: None, scratch: ScratchFolder::new(std::env::temp_dir()) }
}

fn merged(layers: &[Snapshot]) -> String {
    match Snapshot::merged(layers.iter().map(through_file).collect(), &memory()) {
        Ok(merged) => shown(&StateReader::new(&[merged], 0, 1).rows("rows").unwrap()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn rows_of_newer_layers_take_the_place_of_those_with_the_same_key() {
    let base = layer(1, "1 10\n2 20\n2 21\n- 30\n4 40", None);
    assert_eq!(merged(&[base.clone(), layer(2, "2 22", Some(""))]), "1.0 10\n- 30\n4.0 40\n2.0 22\n");
    let changes = [layer(2, "2 22\n2 23\n5 50", Some("1")), layer(3, "- 31\n1 11", Some("4\n5\n9\n1"))];
    assert_eq!(merged(&[base.clone(), changes[0].clone(), changes[1].clone()]), "2.0 22\n2.0 23\n- 31\n1.0 11\n");
    // Everything anew: nothing before counts, whatever it is.
    assert_eq!(merged(&[changes[0].clone(), layer(3, "7 70", None)][1..]), "7.0 70\n");
    assert_eq!(merged(&[base, changes[0].clone(), layer(3, "7 70", None)]), "7.0 70\n");
    assert_eq!(merged(&[]), "");
}

#[test]
fn keys_are_equal_as_groups_are_or_to_the_last_bit() {
    let base = layer(1, "0 1\nNaN 2\n-0.0 3", None);
    assert_eq!(merged(&[base.clone(), layer(2, "", Some("-0.0\nNaN"))]), "");
    let exact = layer_by(RowKeys::Exact(vec![0]), 2, "", Some("-0.0\nNaN"));
    assert_eq!(merged(&[base, exact]), "0.0 1\n");
}

#[test]
fn rows_that_only_come_are_behind_those_before_them() {
    let layers = [layer(1, "1 10\n1 10", None), layer_by(RowKeys::Each, 2, "1 10\n2 20", Some(""))];
    assert_eq!(merged(&layers), "1.0 10\n1.0 10\n1.0 10\n2.0 20\n");
}

#[test]
fn rows_that_time_has_passed_are_gone_from_the_layers_before() {
    let layer = |epoch: u64, rows: &str, from: Option<i64>| {
        let mut snapshot = Snapshot::default();
        let rows = [parse_rows(&schema("v:int t:time"), rows).unwrap()];
        match from {
            None => snapshot.writer(Epoch(epoch)).rows("rows", Belongs::Anywhere, rows),
            Some(from) => {
                let keys = RowKeys::Passing { time: 1, from: from * 1_000_000 };
                snapshot.writer_of_changes(Epoch(epoch), Epoch(epoch - 1)).changes(
                    "rows",
                    Belongs::Anywhere,
                    keys,
                    rows,
                    [],
                );
            }
        }
        snapshot
    };
    let base = layer(1, "1 @1\n2 @5\n3 @9", None);
    // A row may come behind the time that has passed: it is one of the next ones to go.
    let changes = [layer(2, "4 @2\n5 @7", Some(5)), layer(3, "6 @9", Some(0)), layer(4, "7 @8", Some(8))];
    assert_eq!(merged(&[base.clone(), changes[0].clone()]), "2 @5\n3 @9\n4 @2\n5 @7\n");
    assert_eq!(merged(&[from_ref(&base), &changes[..2]].concat()), "2 @5\n3 @9\n4 @2\n5 @7\n6 @9\n");
    assert_eq!(merged(&[from_ref(&base), &changes].concat()), "3 @9\n6 @9\n7 @8\n");
    for parts in [0..2, 1..3, 0..3] {
        let together = Snapshot::merged_changes(changes[parts.clone()].to_vec(), &memory()).unwrap();
        let layers = [from_ref(&base), &changes[..parts.start], from_ref(&together), &changes[parts.end..]].concat();
        assert_eq!(merged(&layers), "3 @9\n6 @9\n7 @8\n", "{parts:?}");
    }
}

#[test]
fn changes_that_are_put_together_do_what_they_did_one_by_one() {
    let base = layer(1, "1 10\n2 20\n3 30\n4 40", None);
    let changes =
        [layer(2, "2 21\n5 50", Some("1")), layer(3, "1 11\n2 22", Some("3\n5")), layer(4, "6 60", Some("1"))];
    let one_by_one = merged(&[from_ref(&base), &changes].concat());
    assert_eq!(one_by_one, "4.0 40\n2.0 22\n6.0 60\n");
    for parts in [1..3, 0..2, 0..3] {
        let parts_of = changes[parts.clone()].iter().map(through_file).collect();
        let together = Snapshot::merged_changes(parts_of, &memory()).unwrap();
        assert!(together.has_changes());
        let layers = [from_ref(&base), &changes[..parts.start], from_ref(&together), &changes[parts.end..]].concat();
        assert_eq!(merged(&layers), one_by_one, "{parts:?}");
    }
    // With one of everything among them they are that.
    let layers = vec![changes[0].clone(), layer(3, "7 70", None), changes[2].clone()];
    let whole = Snapshot::merged_changes(layers, &memory()).unwrap();
    assert!(!whole.has_changes());
    assert_eq!(merged(&[whole]), "7.0 70\n6.0 60\n");
}

#[test]
fn what_had_no_rows_in_between_begins_anew() {
    let nothing = layer(2, "", None);
    let layers = [layer(1, "1 10", None), nothing, layer(3, "2 20", Some(""))];
    assert_eq!(merged(&layers), "2.0 20\n");
    assert_eq!(merged(&[layer(1, "1 10", None), layer(2, "", Some("")), layer(3, "", Some(""))]), "1.0 10\n");
}

#[test]
fn changes_go_on_from_the_layer_before_them() {
    let changes = layer(3, "1 1", Some(""));
    assert!(changes.has_changes() && !layer(1, "1 1", None).has_changes());
    let error = "state cannot be restored: the changes of epoch-3 go on from epoch-2, which is not there";
    assert_eq!(merged(from_ref(&changes)), error);
    assert_eq!(merged(&[layer(1, "1 1", None), changes.clone()]), error);
    assert_eq!(merged(&[layer(2, "1 1", None), changes]), "1.0 1\n");
    let newest = Snapshot::merged(vec![layer(1, "1 1", None), layer(2, "2 1", Some(""))], &memory()).unwrap();
    let state = StateReader::new(from_ref(&newest), 0, 1);
    assert_eq!((state.epoch(), state.value::<u64>("count").unwrap()), (Some(Epoch(2)), Some(2)));
    assert_eq!(StateReader::new(&[newest], 0, 2).epoch(), None);
}
