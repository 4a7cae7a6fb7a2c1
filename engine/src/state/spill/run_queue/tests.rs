use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::UInt64Type;

use super::*;

fn rows(ids: impl IntoIterator<Item = u64>, part: Part) -> SortedBatch {
    let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(ids));
    SortedBatch::new(RecordBatch::try_from_iter([("id", ids)]).unwrap(), 0, part).unwrap()
}

fn queue() -> RunQueue {
    RunQueue::new(0, &StateMemory { bytes_max: None, scratch: ScratchFolder::new(std::env::temp_dir()) })
}

fn ids(rows: &RecordBatch) -> Vec<u64> {
    rows.column(0).as_primitive::<UInt64Type>().values().to_vec()
}

fn take_all(queue: &mut RunQueue) -> Vec<Vec<u64>> {
    std::iter::from_fn(|| queue.take_first().unwrap().map(|block| ids(&block.rows))).collect()
}

#[test]
fn runs_of_like_size_are_put_together() {
    let mut queue = queue();
    for run in 0..20 {
        // Those of the first ten have rows among each other, the others follow each other.
        let ids: Vec<u64> = (0..5).map(|row| if run < 10 { row * 10 + run } else { run * 10 + row }).collect();
        queue.put(vec![rows(ids, Part::Unwritten)]).unwrap();
    }
    assert!(queue.runs.len() <= 8, "{} runs", queue.runs.len());
    assert_eq!(queue.counts(), [100, 100]);
    let blocks = take_all(&mut queue);
    assert!(blocks.iter().all(|block| block.is_sorted()));
    assert!(blocks.windows(2).all(|two| two[0][0] <= two[1][0]), "the first comes first");
    let mut all = blocks.concat();
    all.sort_unstable();
    let expected: Vec<u64> = (0..50).chain((10..20).flat_map(|run| run * 10..run * 10 + 5)).collect();
    assert_eq!(all, expected);
    assert_eq!((queue.memory_bytes(), queue.disk_bytes()), (0, 0));
}

#[test]
fn parts_stay_apart_until_a_snapshot_has_both() {
    let mut queue = queue();
    queue.put(vec![rows([1, 2], Part::Written), rows([3, 4, 5], Part::Unwritten)]).unwrap();
    let count = |queue: &RunQueue, only| {
        let view = queue.view(only)?;
        Some(view.batches().unwrap().map(|rows| rows.unwrap().num_rows()).sum::<usize>())
    };
    let counts = |queue: &RunQueue| [Some(Part::Written), Some(Part::Unwritten), None].map(|only| count(queue, only));
    assert_eq!((counts(&queue), queue.counts()), ([Some(2), Some(3), Some(5)], [5, 3]));
    let view = queue.view(None).unwrap();
    queue.note_written();
    assert_eq!((counts(&queue), queue.counts()), ([Some(5), None, Some(5)], [5, 0]));
    queue.drop_before(3);
    assert_eq!(queue.counts(), [3, 0]);
    assert_eq!(ids(&queue.read(&(4..5)).unwrap()[0].rows), [3, 4, 5]);
    assert_eq!(take_all(&mut queue).concat(), [3, 4, 5]);
    let seen: Vec<u64> = view.batches().unwrap().flat_map(|rows| ids(&rows.unwrap())).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5], "a view is of one moment");
}
