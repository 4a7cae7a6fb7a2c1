//! Rows that are taken in the order of a number, which is in one of their columns: an event time, or an id. Those that
//! have no room in memory wait on disk, and come back when it is their turn.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::state::StateMemory;
use crate::state::spill::{Part, QueuedView, RunQueue, SortedBatch, cut_before, in_order};

/// Rows given out at a time, but for those that belong together.
pub(crate) const CHUNK_ROWS: usize = 1 << 16;

/// Rows go to disk when so much of the memory is theirs, be there no room or not: small runs would be many.
const RUN_PART: usize = 8;

/// See the [module](self).
pub(crate) struct RowQueue {
    schema: SchemaRef,
    column: usize,
    held: Vec<SortedBatch>,
    bytes: usize,
    memory: StateMemory,
    away: RunQueue,
}

impl RowQueue {
    /// An empty one, for rows of `schema` in the order of a column, with so much memory.
    pub(crate) fn new(schema: SchemaRef, column: usize, memory: &StateMemory) -> Self {
        let away = RunQueue::new(column, memory);
        Self { schema, column, held: Vec::new(), bytes: 0, memory: memory.clone(), away }
    }

    /// Adds rows, which a snapshot has or not. All that is in memory goes if there is no room for it: each row is needed
    /// once.
    pub(crate) fn push(&mut self, rows: RecordBatch, part: Part) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), rows.columns().to_vec())?;
        self.hold(SortedBatch::new(rows, self.column, part)?);
        let worth_a_run = self.memory.bytes_max.unwrap_or(usize::MAX) / RUN_PART;
        if self.is_full() && self.bytes >= worth_a_run {
            self.bytes = 0;
            self.away.put(std::mem::take(&mut self.held))?;
        }
        Ok(())
    }

    fn hold(&mut self, batch: SortedBatch) {
        self.bytes += batch.bytes;
        self.held.push(batch);
    }

    fn is_full(&self) -> bool {
        self.memory.excess(self.bytes, self.away.memory_bytes()).is_some()
    }

    /// Takes all rows out before a bound: batches, each in order.
    pub(crate) fn take_before(&mut self, bound: i64) -> Result<Vec<SortedBatch>> {
        while self.away.first_before(bound).is_some() {
            self.load()?;
        }
        let before = cut_before(&mut self.held, bound);
        // A slice counts with its own bytes, so a cut may change what the whole has.
        self.bytes = self.held.iter().map(|batch| batch.bytes).sum();
        Ok(before)
    }

    /// All rows in order, so many at a time at most. No more of them are in memory than there is room for.
    pub(crate) fn into_batches(mut self, rows_max: usize) -> impl Iterator<Item = Result<RecordBatch>> {
        let mut next: Box<dyn Iterator<Item = Result<(RecordBatch, Vec<i64>)>>> = Box::new(std::iter::empty());
        std::iter::from_fn(move || {
            loop {
                if let Some(batch) = next.next() {
                    return Some(batch.map(|(rows, _)| rows));
                }
                match self.take_next() {
                    Ok(batches) if batches.is_empty() => return None,
                    Ok(batches) => {
                        let rows_at_once = self.memory.rows_at_once(rows_max, row_bytes(&batches));
                        next = Box::new(in_order(batches, rows_at_once));
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    /// Takes the first rows out, as many as there is room for.
    fn take_next(&mut self) -> Result<Vec<SortedBatch>> {
        let end = if self.memory.is_limited() { self.stretch_end(i64::MAX, |number| number)? } else { i64::MAX };
        self.take_before(end)
    }

    fn load(&mut self) -> Result<()> {
        if let Some(block) = self.away.take_first()? {
            self.hold(block);
        }
        Ok(())
    }

    /// Until where the first rows before a bound are, some [`CHUNK_ROWS`] of them, or as many as there is room for; they
    /// are in memory then. Rows that belong together are not parted: `last` says of a number which is the last that
    /// belongs with it.
    pub(crate) fn stretch_end(&mut self, bound: i64, last: impl Fn(i64) -> i64) -> Result<i64> {
        loop {
            let first_away = self.away.first_before(bound);
            let ready = |batch: &SortedBatch| match first_away {
                // What belongs with a row that is on disk is not all here.
                Some(first) => batch.numbers.partition_point(|number| last(*number) < first),
                None => batch.rows_before(bound),
            };
            let rows: usize = self.held.iter().map(ready).sum();
            match first_away {
                None if rows <= CHUNK_ROWS => return Ok(bound),
                Some(_) if rows == 0 || rows < CHUNK_ROWS && !self.is_full() => self.load()?,
                _ => {
                    let first = |batch: &SortedBatch| batch.numbers[..ready(batch)].to_vec();
                    let mut numbers: Vec<i64> = self.held.iter().flat_map(first).collect();
                    let (_, number, _) = numbers.select_nth_unstable(rows.min(CHUNK_ROWS) - 1);
                    return Ok(last(*number).saturating_add(1).min(bound));
                }
            }
        }
    }

    /// Rows with such numbers, which stay.
    pub(crate) fn rows_at(&self, numbers: Range<i64>) -> Result<Vec<RecordBatch>> {
        let away = self.away.read(&numbers)?;
        let part = |batch: &SortedBatch| {
            let [start, end] = [numbers.start, numbers.end].map(|number| batch.rows_before(number));
            (start < end).then(|| batch.rows.slice(start, end - start))
        };
        Ok(self.held.iter().chain(&away).filter_map(part).collect())
    }

    /// Lets the rows before a bound go.
    pub(crate) fn drop_before(&mut self, bound: i64) -> Result<()> {
        self.away.drop_before(bound);
        self.take_before(bound).map(drop)
    }

    /// Takes all rows in memory out, of those that never have to go to disk.
    pub(crate) fn take_held(&mut self) -> Vec<SortedBatch> {
        debug_assert!(!self.memory.is_limited(), "the others are left");
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// The rows in memory, or one part of them.
    pub(crate) fn held(&self, only: Option<Part>) -> impl Iterator<Item = &RecordBatch> {
        self.held.iter().filter(move |batch| only.is_none_or(|part| batch.part == part)).map(|batch| &batch.rows)
    }

    /// The rows on disk, or one part of them, if there are any.
    pub(crate) fn view_away(&self, only: Option<Part>) -> Option<QueuedView> {
        self.away.view(only)
    }

    /// A snapshot has all rows that are here.
    pub(crate) fn note_written(&mut self) {
        self.held.iter_mut().for_each(|batch| batch.part = Part::Written);
        self.away.note_written();
    }

    /// How many rows there are, and how many of them are in no snapshot.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let count = |only| self.held(only).map(RecordBatch::num_rows).sum::<usize>();
        let [all, new] = self.away.counts();
        [count(None) + all, count(Some(Part::Unwritten)) + new]
    }

    /// What rows look like.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The column with the number.
    pub(crate) fn column(&self) -> usize {
        self.column
    }

    /// The memory that there is.
    pub(crate) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.away.memory_bytes()
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.away.disk_bytes()
    }
}

/// Bytes of a row, more or less.
fn row_bytes(batches: &[SortedBatch]) -> usize {
    let rows: usize = batches.iter().map(|batch| batch.numbers.len()).sum();
    batches.iter().map(|batch| batch.bytes).sum::<usize>() / rows.max(1)
}
