use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;
use tidemill_plans::ids::Epoch;
use tidemill_plans::time::event_time_type;

use super::*;
use crate::rows::int64;
use crate::rows::queue::CHUNK_ROWS;
use crate::state::{ScratchFolder, Snapshot};
use crate::testing::graph::cases;

fn batch(times: &[i64], values: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("t", event_time_type(), true)]);
    let times = cast(&int64(times.iter().copied()), &event_time_type()).unwrap();
    RecordBatch::try_new(Arc::new(schema), vec![int64(values.iter().copied()), times]).unwrap()
}

fn buffer(bytes_max: Option<usize>) -> EventTimeBuffer {
    let memory = StateMemory { bytes_max, scratch: ScratchFolder::new(std::env::temp_dir()) };
    EventTimeBuffer::new(batch(&[], &[]).schema(), 1, &memory)
}

fn values(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// Everything before a bound, chunk by chunk.
fn chunks(buffer: &mut EventTimeBuffer, bound: i64, last: impl Fn(i64) -> i64 + Copy) -> Vec<Vec<i64>> {
    let mut given = Vec::new();
    while let Some(chunk) = buffer.take_stretch_before(EventTime(bound), last).unwrap() {
        given.push(values(&chunk));
    }
    given
}

/// The state of a buffer in layers, as a task writes it.
#[derive(Default)]
struct Written {
    layers: Vec<Snapshot>,
}

impl Written {
    /// Writes everything, or what has changed; how many rows that is.
    fn write(&mut self, buffer: &mut EventTimeBuffer, all: bool) -> usize {
        let newest = self.layers.last().map(|_| Epoch(self.layers.len() as u64));
        let (epoch, mut snapshot) = (Epoch(self.layers.len() as u64 + 1), Snapshot::default());
        let mut writer = match newest.filter(|_| !all) {
            None => snapshot.writer(epoch),
            Some(after) => snapshot.writer_of_changes(epoch, after),
        };
        buffer.snapshot(Belongs::Anywhere, &mut writer).unwrap();
        let rows = snapshot.row_count().unwrap();
        self.layers.push(Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap());
        rows
    }

    fn restore(&self, bytes_max: Option<usize>) -> EventTimeBuffer {
        let mut restored = buffer(bytes_max);
        let merged = [Snapshot::merged(self.layers.clone(), restored.rows.memory()).unwrap()];
        restored.restore(&StateReader::new(&merged, 0, 1)).unwrap();
        restored
    }
}

#[test]
fn rows_come_out_by_time_then_by_value_however_they_went_in() {
    for bytes_max in [None, Some(1)] {
        let mut buffer = buffer(bytes_max);
        buffer.push(batch(&[5, 3], &[1, 9])).unwrap();
        buffer.push(batch(&[3, 7], &[2, 4])).unwrap();
        assert!(buffer.take_before(EventTime(3)).unwrap().is_none());
        assert_eq!(values(&buffer.take_before(EventTime(6)).unwrap().unwrap()), [2, 9, 1]);
        assert_eq!(values(&buffer.take_before(EventTime::MAX).unwrap().unwrap()), [4]);
        assert_eq!((buffer.bytes(), buffer.disk_bytes()), (0, 0));
    }
}

#[test]
fn what_has_been_written_is_not_written_again() {
    for bytes_max in [None, Some(1)] {
        let (mut buffer, mut written) = (buffer(bytes_max), Written::default());
        let mut write = |buffer: &mut EventTimeBuffer| {
            let rows = written.write(buffer, false);
            let held = written.restore(bytes_max).take_before(EventTime::MAX).unwrap();
            (rows, held.map_or(Vec::new(), |held| values(&held)))
        };
        buffer.push(batch(&[1, 3, 5, 7], &[1, 3, 5, 7])).unwrap();
        assert_eq!(write(&mut buffer), (4, vec![1, 3, 5, 7]));
        buffer.take_before(EventTime(4)).unwrap();
        // This one is behind the time that has passed.
        buffer.push(batch(&[2], &[2])).unwrap();
        assert_eq!(write(&mut buffer), (1, vec![2, 5, 7]));
        buffer.push(batch(&[9], &[9])).unwrap();
        assert_eq!(write(&mut buffer), (1, vec![2, 5, 7, 9]));
        buffer.take_before(EventTime(6)).unwrap();
        assert_eq!(write(&mut buffer), (0, vec![7, 9]));
        buffer.push(batch(&[10, 11, 12], &[10, 11, 12])).unwrap();
        assert_eq!(write(&mut buffer), (5, vec![7, 9, 10, 11, 12]), "most is new");
        buffer.take_before(EventTime::MAX).unwrap();
        assert_eq!(write(&mut buffer), (0, vec![]));
    }
}

#[test]
fn chunks_are_the_whole_in_order_and_never_part_rows_of_one_time() {
    let mut buffer = buffer(None);
    let rows = 3 * CHUNK_ROWS as i64;
    // Seven rows of each time, from three batches that overlap.
    for part in 0..3 {
        let numbers: Vec<i64> = (0..rows).filter(|row| row % 3 == part).collect();
        let times: Vec<i64> = numbers.iter().map(|row| row / 7).collect();
        buffer.push(batch(&times, &numbers)).unwrap();
    }
    let given = chunks(&mut buffer, rows / 7 - 1, |time| time);
    assert!(given.iter().all(|chunk| chunk.len() < CHUNK_ROWS + 7));
    assert!(given.windows(2).all(|two| two[0].last().unwrap() / 7 != two[1][0] / 7), "a time was parted");
    assert_eq!(given.concat(), (0..(rows / 7 - 1) * 7).collect::<Vec<_>>());
}

#[test]
fn what_is_held_stays_within_the_memory() {
    const BYTES_MAX: usize = 1 << 16;
    let mut buffer = buffer(Some(BYTES_MAX));
    let rows: Vec<i64> = (0..30_000).collect();
    // In no order at all: each run has some of every time.
    let scattered: Vec<i64> = rows.iter().map(|row| row * 7_919 % 30_000).collect();
    for part in scattered.chunks(500) {
        buffer.push(batch(part, part)).unwrap();
        assert!(buffer.bytes() <= BYTES_MAX, "{} bytes are held", buffer.bytes());
    }
    assert!(buffer.disk_bytes() > 0);
    let mut snapshot = Snapshot::default();
    buffer.snapshot(Belongs::Anywhere, &mut snapshot.writer(Epoch(1))).unwrap();
    assert_eq!((snapshot.rows_in_memory(), snapshot.row_count().unwrap()), (0, 30_000));
    let mut given = Vec::new();
    while let Some(chunk) = buffer.take_chunk_before(EventTime(20_000)).unwrap() {
        assert!(buffer.bytes() <= BYTES_MAX, "{} bytes are held", buffer.bytes());
        given.extend(values(&chunk));
    }
    assert_eq!(given, rows[..20_000]);
    buffer.drop_before(EventTime::MAX).unwrap();
    assert_eq!((buffer.bytes(), buffer.disk_bytes()), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let memory = StateMemory { bytes_max: Some(1), scratch: ScratchFolder::new("/proc/nowhere".into()) };
    let mut buffer = EventTimeBuffer::new(batch(&[], &[]).schema(), 1, &memory);
    let error = buffer.push(batch(&[1], &[1])).unwrap_err().chain();
    assert!(error.starts_with("cannot create scratch files in /proc/nowhere, where"), "{error}");
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows that are so far behind the newest time.
    Push(Vec<(i64, i64)>),
    /// Time passes: by so much, and rows are taken at once, or in stretches of so many times.
    Take(i64, Option<i64>),
    Drop(i64),
    /// State is written: all of it, or what has changed; and then restored.
    Write(bool, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec((0..40i64, 0..9i64), 0..40).prop_map(Step::Push),
        3 => (0..20i64, proptest::option::of(1..8i64)).prop_map(|(by, stretch)| Step::Take(by, stretch)),
        1 => (0..20i64).prop_map(Step::Drop),
        2 => any::<(bool, bool)>().prop_map(|(all, back)| Step::Write(all, back)),
    ];
    prop::collection::vec(step, 1..40)
}

/// Takes the steps with so much memory: what is given out, and what is there at each of them.
fn outcome(steps: &[Step], bytes_max: Option<usize>) -> Vec<Vec<i64>> {
    let (mut buffer, mut written, mut given) = (buffer(bytes_max), Written::default(), Vec::new());
    let mut now = 0;
    for step in steps {
        match step {
            Step::Push(rows) => {
                let (times, numbers): (Vec<i64>, Vec<i64>) =
                    rows.iter().map(|(ahead, value)| (now + ahead - 3, *value)).unzip();
                buffer.push(batch(&times, &numbers)).unwrap();
            }
            Step::Take(by, None) => {
                now += by;
                let rows = buffer.take_before(EventTime(now)).unwrap();
                given.push(rows.map_or(Vec::new(), |rows| values(&rows)));
            }
            Step::Take(by, Some(times)) => {
                // A bound parts no stretch.
                now = (now + by).div_euclid(*times) * times;
                given.push(chunks(&mut buffer, now, |time| (time.div_euclid(*times) + 1) * times - 1).concat());
            }
            Step::Drop(by) => {
                now += by;
                buffer.drop_before(EventTime(now)).unwrap();
            }
            Step::Write(all, back) => {
                written.write(&mut buffer, *all);
                buffer = if *back { written.restore(bytes_max) } else { buffer };
            }
        }
        let there = buffer.rows_at(now - 2..now + 5).unwrap();
        given.push(there.map_or(Vec::new(), |rows| values(&rows)));
    }
    given.push(buffer.take_before(EventTime::MAX).unwrap().map_or(Vec::new(), |rows| values(&rows)));
    assert_eq!((buffer.bytes(), buffer.disk_bytes()), (0, 0));
    given
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn memory_makes_no_difference(steps in steps()) {
        let expected = outcome(&steps, None);
        for bytes_max in [1, 300, 5_000] {
            prop_assert_eq!(&outcome(&steps, Some(bytes_max)), &expected);
        }
    }
}
