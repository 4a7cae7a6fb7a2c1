use std::sync::Arc;

use arrow::array::Int64Array;

use super::*;
use crate::state::ScratchFolder;

/// So many keys of each of three layers, of which each has half of those of the one before; with so much memory.
fn seen(keys: i64, bytes_max: Option<usize>) -> SeenKeys {
    let memory = StateMemory { bytes_max, scratch: ScratchFolder::new(std::env::temp_dir()) };
    let mut seen = SeenKeys::new(&RowKeys::Grouped(vec![0]), &memory);
    for layer in 0..3 {
        let first = layer * keys / 2;
        for start in (first..first + keys).step_by(100) {
            seen.note(layer as usize, &batch(start..start + 100), &[0]).unwrap();
        }
    }
    seen
}

fn batch(keys: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from_iter_values(keys)) as ArrayRef)]).unwrap()
}

#[test]
fn keys_without_room_are_found_on_disk_with_their_newest_layer() {
    for bytes_max in [None, Some(1), Some(64 << 10), Some(1 << 20)] {
        let seen = seen(1000, bytes_max);
        for layer in 0..4 {
            // Layers 0 to 2 have keys up to 1000, 1500 and 2000.
            let expected = [2100, 1100, 600, 100][layer];
            let unseen = (-100..2000).step_by(100).map(|start| seen.unseen(layer, batch(start..start + 100), &[0]));
            let rows = unseen.map(|rows| rows.unwrap().map_or(0, |rows| rows.num_rows())).sum::<usize>();
            assert_eq!(rows, expected, "layer {layer} with {bytes_max:?}");
        }
    }
}

#[test]
fn keys_take_a_small_part_of_the_memory_that_there_is() {
    let all = seen(20_000, None).memory_bytes();
    let limited = seen(20_000, Some(1 << 20)).memory_bytes();
    assert!(all > 1 << 20, "{all}");
    // A thirty-second part of it, and more of each key on disk than elsewhere: blocks are small in tests.
    assert!(limited < all / 2, "{limited} of {all}");
}
