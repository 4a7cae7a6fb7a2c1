//! Rows by key that have no room in memory: Arrow columns go to a [`StateBackend`], and come back for the keys
//! that are asked for.
//!
//! In the store keys and rows are in Arrow's row format. It may change with Arrow, so it is in no checkpoint.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use super::backend::{Entry, Layout, Part, StateBackend, StateScan, StateView};
use super::scratch::ScratchFolder;
use super::sorted_runs::SortedRuns;
use crate::error::Result;

/// Rows are read in stretches that are hardly larger, be they wide.
const SCANNED_BYTES: usize = 1 << 20;

/// See the [module](self).
pub(crate) struct SpilledRows {
    store: Box<dyn StateBackend>,
    format: Format,
}

/// What was taken out: rows, and for each the place of its key among those that were asked for, and where it was.
pub(crate) struct Taken {
    pub(crate) places: Vec<usize>,
    pub(crate) parts: Vec<Part>,
    pub(crate) rows: Vec<ArrayRef>,
}

impl Taken {
    /// The same in the order of the places.
    pub(crate) fn sorted(self) -> Result<Self> {
        let mut order: Vec<u32> = (0..self.places.len() as u32).collect();
        order.sort_by_key(|row| self.places[*row as usize]);
        let places = order.iter().map(|row| self.places[*row as usize]).collect();
        let parts = order.iter().map(|row| self.parts[*row as usize]).collect();
        Ok(Self { places, parts, rows: take_arrays(&self.rows, &UInt32Array::from(order), None)? })
    }
}

impl SpilledRows {
    /// For rows of these columns, by keys of these; neither is without any. Those that are found by stamps are read with
    /// [`SpilledView::at`] and [`SpilledView::find`], and never taken: all of a stamp go at once.
    pub(crate) fn new(folder: ScratchFolder, layout: Layout, keys: &SchemaRef, rows: &SchemaRef) -> Result<Self> {
        Ok(Self { store: Box::new(SortedRuns::new(folder, layout)), format: Format::new(keys, rows)? })
    }

    /// Puts rows; the stamps are for [`Self::drop_before`], or rows are found by them.
    pub(crate) fn put(&mut self, part: Part, keys: &[ArrayRef], rows: &[ArrayRef], stamps: &[i64]) -> Result<()> {
        debug_assert!(keys.iter().chain(rows).all(|column| column.len() == stamps.len()), "a value for each row");
        let keys = self.format.keys.convert_columns(keys)?;
        let rows = self.format.rows.convert_columns(rows)?;
        let entry = |row: usize| Entry { key: bytes(&keys, row), stamp: stamps[row], value: bytes(&rows, row) };
        self.store.put(part, &(0..stamps.len()).map(entry).collect::<Vec<_>>())
    }

    /// Takes the rows of these keys out, in any order. No key is asked for twice.
    pub(crate) fn take(&mut self, keys: &[ArrayRef]) -> Result<Taken> {
        let keys = self.format.keys.convert_columns(keys)?;
        let (mut places, mut parts, mut found) = (Vec::new(), Vec::new(), Encoded::default());
        self.store.take(
            &(0..keys.num_rows()).map(|row| bytes(&keys, row)).collect::<Vec<_>>(),
            &mut |place, part, entry| {
                places.push(place);
                parts.push(part);
                found.push(entry.value);
            },
        )?;
        Ok(Taken { places, parts, rows: found.columns(&self.format.rows)? })
    }

    /// Drops the rows with an older stamp; their keys, if somebody wants to know.
    pub(crate) fn drop_before(&mut self, stamp: i64, wants_keys: bool) -> Result<Vec<ArrayRef>> {
        let mut keys = Encoded::default();
        let mut note = |entry: Entry<'_>| {
            keys.push(entry.key);
            Ok(())
        };
        self.store.drop_before(stamp, wants_keys.then_some(&mut note))?;
        keys.columns(&self.format.keys)
    }

    /// Drops the rows with an older stamp, and shows them, so many at a time.
    pub(crate) fn take_before(
        &mut self,
        stamp: i64,
        rows_at_a_time: usize,
        mut taken: impl FnMut(Vec<ArrayRef>) -> Result<()>,
    ) -> Result<()> {
        let (converter, mut rows) = (&self.format.rows, Encoded::default());
        let mut note = |entry: Entry<'_>| {
            rows.push(entry.value);
            if rows.ranges.len() < rows_at_a_time {
                return Ok(());
            }
            taken(std::mem::take(&mut rows).columns(converter)?)
        };
        self.store.drop_before(stamp, Some(&mut note))?;
        if rows.ranges.is_empty() { Ok(()) } else { taken(rows.columns(converter)?) }
    }

    /// Drops the rows with these stamps, by which they are found.
    pub(crate) fn drop_at(&mut self, stamps: Range<i64>) -> Result<()> {
        self.store.drop_at(stamps)
    }

    /// What is there now, or one part of it. It may be read on any thread, while this changes.
    pub(crate) fn view(&self, only: Option<Part>) -> SpilledView {
        SpilledView { entries: self.store.view(only), schemas: self.format.schemas.clone() }
    }

    /// A snapshot has everything that is here now.
    pub(crate) fn note_written(&mut self) {
        self.store.note_written();
    }

    /// No row has a lesser stamp, and none a greater one, than these.
    pub(crate) fn stamps(&self) -> Option<(i64, i64)> {
        self.store.stamps()
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.memory_bytes()
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }
}

/// The rows of one moment.
#[derive(Clone)]
pub(crate) struct SpilledView {
    entries: Arc<dyn StateView>,
    schemas: [SchemaRef; 2],
}

impl SpilledView {
    /// Goes through them, so many at a time: keys and rows.
    pub(crate) fn scan(&self, rows_at_a_time: usize) -> Result<SpilledScan> {
        let format = Format::new(&self.schemas[0], &self.schemas[1])?;
        Ok(SpilledScan { entries: self.entries.scan(), format, rows_at_a_time })
    }

    /// The rows with a stamp whose keys have such hashes, which the store computes: keys and rows. All that is of a key
    /// has one hash, at whatever stamp.
    pub(crate) fn at(&self, stamp: i64, hashes: RangeInclusive<u64>) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let format = Format::new(&self.schemas[0], &self.schemas[1])?;
        let (mut keys, mut rows) = (Encoded::default(), Encoded::default());
        self.entries.read(stamp, hashes, &mut |entry| {
            keys.push(entry.key);
            rows.push(entry.value);
        })?;
        Ok((keys.columns(&format.keys)?, rows.columns(&format.rows)?))
    }

    /// The rows with a stamp that have one of these keys, behind the place of each one's key.
    pub(crate) fn find(&self, stamp: i64, keys: &[ArrayRef]) -> Result<(Vec<usize>, Vec<ArrayRef>)> {
        let format = Format::new(&self.schemas[0], &self.schemas[1])?;
        let keys = format.keys.convert_columns(keys)?;
        let (mut places, mut found) = (Vec::new(), Encoded::default());
        for place in 0..keys.num_rows() {
            self.entries.find(stamp, bytes(&keys, place), &mut |entry| {
                places.push(place);
                found.push(entry.value);
            })?;
        }
        Ok((places, found.columns(&format.rows)?))
    }
}

/// Goes through rows.
pub(crate) struct SpilledScan {
    entries: Box<dyn StateScan>,
    format: Format,
    rows_at_a_time: usize,
}

impl SpilledScan {
    fn next_batch(&mut self) -> Result<Option<(Vec<ArrayRef>, Vec<ArrayRef>)>> {
        let (mut keys, mut rows) = (Encoded::default(), Encoded::default());
        while rows.ranges.len() < self.rows_at_a_time
            && keys.bytes.len() + rows.bytes.len() < SCANNED_BYTES
            && let Some(entry) = self.entries.next()?
        {
            keys.push(entry.key);
            rows.push(entry.value);
        }
        if rows.ranges.is_empty() {
            return Ok(None);
        }
        Ok(Some((keys.columns(&self.format.keys)?, rows.columns(&self.format.rows)?)))
    }
}

impl Iterator for SpilledScan {
    type Item = Result<(Vec<ArrayRef>, Vec<ArrayRef>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// How columns are bytes.
struct Format {
    schemas: [SchemaRef; 2],
    keys: RowConverter,
    rows: RowConverter,
}

impl Format {
    fn new(keys: &SchemaRef, rows: &SchemaRef) -> Result<Self> {
        let schemas = [SchemaRef::clone(keys), SchemaRef::clone(rows)];
        Ok(Self { schemas, keys: converter(keys)?, rows: converter(rows)? })
    }
}

fn converter(schema: &Schema) -> Result<RowConverter> {
    Ok(RowConverter::new(schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect())?)
}

fn bytes(rows: &Rows, row: usize) -> &[u8] {
    rows.row(row).data()
}

/// Rows as bytes, one behind the other.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Encoded {
    fn push(&mut self, row: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.ranges.push(start..self.bytes.len());
    }

    fn columns(&self, converter: &RowConverter) -> Result<Vec<ArrayRef>> {
        let parser = converter.parser();
        Ok(converter.convert_rows(self.ranges.iter().map(|range| parser.parse(&self.bytes[range.clone()])))?)
    }
}

#[cfg(test)]
mod tests;
