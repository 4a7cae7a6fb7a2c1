//! Rows of all partitions, by the batches that they came in, each with the bytes of its order.
//!
//! A row is named by its batch and its place there, so a row that comes in costs no allocation. Batches
//! of which little is left are put together: each row that is moved is paid for by one that is gone.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{Row, RowConverter, Rows};

use crate::error::Result;
use crate::operator::held_rows::{Place, gather};
use crate::operator::partitions::OrderKeys;
use crate::task::batch_bytes;

/// Batches with fewer live rows are put together.
const SMALL_ROWS: usize = if cfg!(test) { 4 } else { 1 << 10 };
/// As many rows go into a batch that is put together.
const CHUNK_ROWS: usize = if cfg!(test) { 8 } else { 1 << 13 };
/// So many batches that are thin, or so many rows gone from them, are worth the work.
const THIN_BATCHES: usize = if cfg!(test) { 3 } else { 64 };
const GONE_ROWS: usize = if cfg!(test) { 8 } else { 1 << 14 };

/// So many whole rows of a batch are encoded one by one, before it is worth encoding all.
const ASKED_ONE_BY_ONE: usize = if cfg!(test) { 2 } else { 32 };

/// The partition of a row that is gone.
const GONE: u32 = u32::MAX;

/// See the [module](self).
pub(super) struct RowStore {
    schema: SchemaRef,
    batches: Vec<Held>,
    /// Numbers of batches that are no more.
    free: Vec<u32>,
    /// Batches that came since the store was last tidied.
    fresh: Vec<u32>,
    /// Batches to put together.
    thin: Vec<u32>,
    /// Rows gone from them.
    gone: usize,
    bytes: usize,
}

struct Held {
    batch: RecordBatch,
    order: Rows,
    /// The partition of every row.
    partitions: Vec<u32>,
    live: usize,
    thin: bool,
    /// Whether it came since the store was last tidied.
    fresh: bool,
    /// How often a whole row has been asked for, and all of them as bytes once that was often.
    asked: usize,
    whole: Option<Rows>,
    bytes: usize,
}

impl Held {
    /// What stands for a batch that is no more.
    fn none(schema: &SchemaRef, keys: &OrderKeys) -> Self {
        let batch = RecordBatch::new_empty(Arc::clone(schema));
        Self {
            batch,
            order: keys.empty(0),
            partitions: Vec::new(),
            live: 0,
            thin: true,
            fresh: false,
            asked: 0,
            whole: None,
            bytes: 0,
        }
    }
}

/// Rows that have just come, under the number that their batch will have. Of those that go in, the
/// i-th is in place i.
pub(super) struct Incoming<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) order: Rows,
    pub(super) number: u32,
    /// The rows that go in.
    rows: Vec<u32>,
    partitions: Vec<u32>,
    gone: usize,
}

impl Incoming<'_> {
    /// Takes a row in.
    pub(super) fn admit(&mut self, row: usize, partition: usize) -> Place {
        self.rows.push(row as u32);
        self.partitions.push(partition as u32);
        (self.number, (self.rows.len() - 1) as u32)
    }

    /// The row of the batch that is in this place.
    pub(super) fn row(&self, place: Place) -> usize {
        debug_assert_eq!(place.0, self.number);
        self.rows[place.1 as usize] as usize
    }

    /// Lets a row go that has just come.
    pub(super) fn release(&mut self, place: Place) {
        self.partitions[place.1 as usize] = GONE;
        self.gone += 1;
    }
}

impl RowStore {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, batches: Vec::new(), free: Vec::new(), fresh: Vec::new(), thin: Vec::new(), gone: 0, bytes: 0 }
    }

    /// A batch of which rows may go in.
    pub(super) fn incoming<'a>(&self, batch: &'a RecordBatch, order: Rows) -> Incoming<'a> {
        let number = self.free.last().copied().unwrap_or(self.batches.len() as u32);
        Incoming { batch, order, number, rows: Vec::new(), partitions: Vec::new(), gone: 0 }
    }

    /// Holds the rows of a batch that went in.
    pub(super) fn push(&mut self, incoming: Incoming<'_>, keys: &OrderKeys) -> Result<()> {
        let (number, is_empty) = (incoming.number, incoming.rows.is_empty());
        self.push_known(incoming, keys)?;
        if !is_empty {
            self.batches[number as usize].fresh = true;
            self.fresh.push(number);
        }
        Ok(())
    }

    /// Holds rows that had been here before.
    pub(super) fn push_known(&mut self, incoming: Incoming<'_>, keys: &OrderKeys) -> Result<()> {
        let Incoming { batch, order, number, rows, partitions, gone } = incoming;
        if rows.is_empty() {
            return Ok(());
        }
        // Rows that stay keep the batch that they came in, if there are no others.
        let (batch, order) = if rows.len() == batch.num_rows() {
            (batch.clone(), order)
        } else {
            let mut kept = keys.empty(rows.len());
            rows.iter().for_each(|row| kept.push(order.row(*row as usize)));
            (take_record_batch(batch, &UInt32Array::from(rows))?, kept)
        };
        let live = partitions.len() - gone;
        let placed = self.hold(batch, order, partitions, live);
        debug_assert_eq!(placed, number);
        Ok(())
    }

    fn hold(&mut self, batch: RecordBatch, order: Rows, partitions: Vec<u32>, live: usize) -> u32 {
        // With where each row is, which its partition knows.
        let index = partitions.capacity() * (size_of::<u32>() + size_of::<Place>());
        let bytes = batch_bytes(&batch) + order.size() + index;
        self.bytes += bytes;
        let held = Held { batch, order, partitions, live, thin: false, fresh: false, asked: 0, whole: None, bytes };
        let number = match self.free.pop() {
            Some(number) => {
                self.batches[number as usize] = held;
                number
            }
            None => {
                self.batches.push(held);
                (self.batches.len() - 1) as u32
            }
        };
        self.note_thin(number);
        number
    }

    fn held(&self, number: u32) -> &Held {
        &self.batches[number as usize]
    }

    /// The bytes of a row's order.
    pub(super) fn order(&self, place: Place) -> &[u8] {
        self.held(place.0).order.row(place.1 as usize).data()
    }

    /// Compares a whole row with the one in a place.
    pub(super) fn compare_whole(&mut self, row: Row<'_>, place: Place, converter: &RowConverter) -> Result<Ordering> {
        let held = &mut self.batches[place.0 as usize];
        held.asked += 1;
        if held.asked > ASKED_ONE_BY_ONE && held.whole.is_none() {
            let whole = converter.convert_columns(held.batch.columns())?;
            held.bytes += whole.size();
            self.bytes += whole.size();
            held.whole = Some(whole);
        }
        if let Some(whole) = &held.whole {
            return Ok(row.cmp(&whole.row(place.1 as usize)));
        }
        let one = converter.convert_columns(held.batch.slice(place.1 as usize, 1).columns())?;
        Ok(row.cmp(&one.row(0)))
    }

    /// Whether a row came since the store was last tidied.
    pub(super) fn is_fresh(&self, place: Place) -> bool {
        self.held(place.0).fresh
    }

    /// Whether a row has been released.
    pub(super) fn is_gone(&self, place: Place) -> bool {
        self.held(place.0).partitions[place.1 as usize] == GONE
    }

    /// Lets a row go. It can be read until the store is tidied.
    pub(super) fn release(&mut self, place: Place) {
        let held = &mut self.batches[place.0 as usize];
        held.partitions[place.1 as usize] = GONE;
        held.live -= 1;
        if held.thin {
            self.gone += 1;
        } else {
            self.note_thin(place.0);
        }
    }

    /// Gives partitions other numbers. Those without one have no rows left.
    pub(super) fn renumber(&mut self, numbers: &[Option<u32>]) {
        let partitions = self.batches.iter_mut().flat_map(|held| &mut held.partitions);
        for partition in partitions.filter(|partition| **partition != GONE) {
            *partition = numbers[*partition as usize].unwrap_or(GONE);
        }
    }

    fn note_thin(&mut self, number: u32) {
        let held = &mut self.batches[number as usize];
        let rows = held.partitions.len();
        if held.live < SMALL_ROWS || held.live * 2 < rows {
            held.thin = true;
            self.gone += rows - held.live;
            self.thin.push(number);
        }
    }

    /// Puts what is left of thin batches together, if they are enough; `moved` is told the partition,
    /// the old and the new place of each row that moves.
    pub(super) fn tidy(&mut self, keys: &OrderKeys, moved: impl FnMut(usize, Place, Place)) -> Result<()> {
        for number in self.fresh.drain(..) {
            self.batches[number as usize].fresh = false;
        }
        if self.thin.len() < THIN_BATCHES && self.gone < GONE_ROWS { Ok(()) } else { self.put_together(keys, moved) }
    }

    /// The same with all batches that rows are gone from, however few: they take room.
    pub(super) fn compact(&mut self, keys: &OrderKeys, moved: impl FnMut(usize, Place, Place)) -> Result<()> {
        let (thin, batches) = (&mut self.thin, (0..).zip(&mut self.batches));
        for (number, held) in batches.filter(|(_, held)| !held.thin && held.live < held.partitions.len()) {
            held.thin = true;
            thin.push(number);
        }
        self.put_together(keys, moved)
    }

    fn put_together(&mut self, keys: &OrderKeys, mut moved: impl FnMut(usize, Place, Place)) -> Result<()> {
        let mut places = Vec::new();
        let thin = std::mem::take(&mut self.thin);
        for number in &thin {
            let partitions = self.held(*number).partitions.iter().enumerate();
            let live = partitions.filter(|(_, partition)| **partition != GONE);
            places.extend(live.map(|(row, partition)| (*partition, (*number, row as u32))));
        }
        let mut together = Vec::new();
        for chunk in places.chunks(CHUNK_ROWS) {
            let rows: Vec<Place> = chunk.iter().map(|(_, place)| *place).collect();
            let mut order = keys.empty(rows.len());
            rows.iter().for_each(|(batch, row)| order.push(self.held(*batch).order.row(*row as usize)));
            together.push((self.gather(&rows)?, order, chunk));
        }
        for number in &thin {
            self.bytes -= self.held(*number).bytes;
            self.batches[*number as usize] = Held::none(&self.schema, keys);
        }
        self.gone = 0;
        for (batch, order, chunk) in together {
            let partitions: Vec<u32> = chunk.iter().map(|(partition, _)| *partition).collect();
            let number = self.hold(batch, order, partitions, chunk.len());
            for (row, (partition, old)) in chunk.iter().enumerate() {
                moved(*partition as usize, *old, (number, row as u32));
            }
        }
        // Not before: an old and a new place must not have one name.
        self.free.extend(thin);
        Ok(())
    }

    /// The rows in these places, in their order.
    pub(super) fn gather(&self, places: &[Place]) -> Result<RecordBatch> {
        let Some((first, _)) = places.first() else {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        };
        // New partitions alone are their batch as it came.
        let whole = &self.held(*first).batch;
        if whole.num_rows() == places.len() && places.iter().enumerate().all(|(row, p)| *p == (*first, row as u32)) {
            return Ok(whole.clone());
        }
        gather(places, |batch| &self.held(batch).batch)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
