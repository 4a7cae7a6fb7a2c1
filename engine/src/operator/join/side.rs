//! One side of a join: its rows, in a list for each key.

use arrow::array::{BooleanArray, Int64Array, RecordBatch, UInt32Array, UInt64Array, make_comparator};
use arrow::compute::{SortOptions, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use tidemill_plans::change::{ChangeOp, change_column_index};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use crate::error::{EngineError, Result};
use crate::operator::numbered_rows::NumberedRows;
use crate::operator::state_rows::{STATE_ROWS, take_ids, take_note, with_note};
use crate::operator::unwritten_rows::{ToWrite, UnwrittenRows};
use crate::rows::show_row;
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateMemory, StateWriter};

/// The end of a list.
pub(super) const END: u32 = u32::MAX;

/// Fewer rows than this are not worth a clean-up. Tests want to see some.
const CLEAN_UP_ROWS: usize = if cfg!(test) { 2 } else { 4096 };

/// See the [module](self).
pub(super) struct Side {
    /// Its key columns.
    pub(super) keys: Vec<usize>,
    /// How many columns it has, without the changelog column.
    pub(super) width: usize,
    /// Its rows; those that are gone are left until the next clean-up.
    pub(super) rows: NumberedRows,
    pub(super) watermark: Watermark,
    time: Option<usize>,
    /// Whether its rows may be taken away: then they are looked for by their hashes.
    takes_back: bool,
    /// Whether it matters how many partners a row has.
    counts_partners: bool,
    /// The first row of each key.
    firsts: Vec<u32>,
    /// What is known of each row, by its number.
    links: Vec<Link>,
    partners: Vec<u32>,
    hashes: Vec<u64>,
    gone: usize,
    unwritten: UnwrittenRows,
    hasher: RandomState,
}

/// A row's place in the list of its key.
#[derive(Debug, Clone, Copy)]
struct Link {
    next: u32,
    /// The number of its key; [`END`] for a row that is gone.
    key: u32,
    /// Its event time, or the watermark when it came.
    time: i64,
}

/// Rows from a snapshot, and what was known of each.
pub(super) struct Known {
    pub(super) rows: RecordBatch,
    times: Vec<i64>,
    /// Empty if it does not matter.
    partners: Vec<u32>,
    ids: UInt64Array,
}

impl Side {
    pub(super) fn new(schema: &SchemaRef, keys: &[usize], time: Option<usize>, counts_partners: bool) -> Result<Self> {
        let width = change_column_index(schema).unwrap_or(schema.fields().len());
        let own = Schema::new(schema.fields()[..width].to_vec()).into();
        Ok(Self {
            keys: keys.to_vec(),
            width,
            rows: NumberedRows::new(&own)?,
            watermark: Watermark::MIN,
            time,
            takes_back: width < schema.fields().len(),
            counts_partners,
            firsts: Vec::new(),
            links: Vec::new(),
            partners: Vec::new(),
            hashes: Vec::new(),
            gone: 0,
            unwritten: UnwrittenRows::default(),
            // Of a fixed seed: nothing depends on it but which rows are compared.
            hasher: RandomState::default(),
        })
    }

    /// Makes room for so many keys.
    pub(super) fn grow(&mut self, keys: usize) {
        self.firsts.resize(keys, END);
    }

    /// The first row of a key, [`END`] if it has none.
    pub(super) fn first(&self, key: usize) -> u32 {
        self.firsts.get(key).copied().unwrap_or(END)
    }

    /// The row of the same key behind this one.
    pub(super) fn next(&self, row: u32) -> u32 {
        self.links[row as usize].next
    }

    /// Counts a partner of a row more or less; says whether the row has its first now, or lost its last.
    pub(super) fn count_partner(&mut self, row: u32, more: bool) -> bool {
        if !self.counts_partners {
            return false;
        }
        self.unwritten.note_changed(row);
        let partners = &mut self.partners[row as usize];
        if more {
            *partners += 1;
            return *partners == 1;
        }
        *partners = partners.saturating_sub(1);
        *partners == 0
    }

    /// Adds and takes away rows, in their order.
    pub(super) fn change(
        &mut self,
        rows: RecordBatch,
        ops: &[ChangeOp],
        keys: &[usize],
        partners: &[u32],
    ) -> Result<()> {
        let hashes = self.hashes_of(&rows)?;
        let times = self.times_of(&rows)?;
        if ops.iter().all(|op| op.adds()) {
            self.rows.push(&rows)?;
        } else {
            let adds: BooleanArray = ops.iter().map(|op| Some(op.adds())).collect();
            self.rows.push(&filter_record_batch(&rows, &adds)?)?;
        }
        for (row, op) in ops.iter().enumerate() {
            if !op.adds() {
                self.take_away(&rows, row, keys[row], hashes[row])?;
                continue;
            }
            let time = times.as_ref().map_or(self.watermark.0.0, |times| times[row]);
            self.link(keys[row], time);
            if self.counts_partners {
                self.partners.push(partners[row]);
            }
            if self.takes_back {
                self.hashes.push(hashes[row]);
            }
        }
        debug_assert_eq!(self.links.len(), self.rows.len(), "every row that was added has its link");
        Ok(())
    }

    /// Puts the next row first in the list of its key.
    fn link(&mut self, key: usize, time: i64) {
        let number = self.links.len() as u32;
        self.links.push(Link { next: self.firsts[key], key: key as u32, time });
        self.firsts[key] = number;
    }

    fn hashes_of(&self, rows: &RecordBatch) -> Result<Vec<u64>> {
        if !self.takes_back {
            return Ok(Vec::new());
        }
        let mut hashes = vec![0; rows.num_rows()];
        create_hashes(rows.columns(), &self.hasher, &mut hashes)?;
        Ok(hashes)
    }

    fn times_of(&self, rows: &RecordBatch) -> Result<Option<Vec<i64>>> {
        let times = self.time.map(|time| event_times(rows.column(time))).transpose()?;
        Ok(times.map(|times| times.values().to_vec()))
    }

    /// Unlinks a row that equals this one.
    fn take_away(&mut self, rows: &RecordBatch, row: usize, key: usize, hash: u64) -> Result<()> {
        let (mut before, mut place) = (END, self.firsts[key]);
        while place != END {
            if self.hashes[place as usize] == hash && self.equals(place, rows, row)? {
                self.unlink(before, place);
                return Ok(());
            }
            (before, place) = (place, self.links[place as usize].next);
        }
        Err(EngineError::UnmatchedChange { row: show_row(rows, row)? })
    }

    fn equals(&self, place: u32, rows: &RecordBatch, row: usize) -> Result<bool> {
        let (batch, at) = self.rows.place(place);
        for (own, other) in batch.columns().iter().zip(rows.columns()) {
            if make_comparator(own.as_ref(), other.as_ref(), SortOptions::default())?(at, row).is_ne() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unlink(&mut self, before: u32, place: u32) {
        let Link { next, key, .. } = self.links[place as usize];
        match before {
            END => self.firsts[key as usize] = next,
            before => self.links[before as usize].next = next,
        }
        self.links[place as usize].key = END;
        self.unwritten.note_gone(place);
        self.gone += 1;
    }

    /// Forgets the rows from before `time`.
    pub(super) fn drop_before(&mut self, time: EventTime) {
        for key in 0..self.firsts.len() {
            let (mut before, mut place) = (END, self.firsts[key]);
            while place != END {
                let link = self.links[place as usize];
                if link.time < time.0 {
                    self.unlink(before, place);
                } else {
                    before = place;
                }
                place = link.next;
            }
        }
    }

    /// Whether anybody wants to know which rows are gone.
    pub(super) fn notes_gone(&self) -> bool {
        self.unwritten.is_noting()
    }

    /// Notes that rows are gone that were on disk.
    pub(super) fn note_gone(&mut self, rows: &RecordBatch) -> Result<()> {
        let (_, ids) = take_ids(rows)?;
        ids.values().iter().for_each(|id| self.unwritten.note_id_gone(*id));
        Ok(())
    }

    /// There are so many rows on disk: whether it is worth while to know what has changed depends on how many there are.
    pub(super) fn bound_changes(&mut self, on_disk: usize) {
        self.unwritten.forget_if_most_is_gone(self.links.len() - self.gone + on_disk);
    }

    /// Whether more rows are gone than there.
    pub(super) fn wants_clean_up(&self) -> bool {
        self.gone >= CLEAN_UP_ROWS.max(self.links.len() / 2)
    }

    /// Keeps the rows that are there; the keys of the old numbers have the numbers `places` now.
    pub(super) fn compact(&mut self, places: &[u32], keys: usize) -> Result<()> {
        let live = self.live();
        self.unwritten.keep(&live, self.links.len() as u32);
        self.rows.keep(&live)?;
        self.hashes = live.iter().filter_map(|row| self.hashes.get(*row as usize).copied()).collect();
        self.partners = live.iter().filter_map(|row| self.partners.get(*row as usize).copied()).collect();
        let old = std::mem::take(&mut self.links);
        self.firsts = vec![END; keys];
        for row in live {
            let link = old[row as usize];
            self.link(places[link.key as usize] as usize, link.time);
        }
        self.gone = 0;
        Ok(())
    }

    /// The rows that are there.
    fn live(&self) -> Vec<u32> {
        (0..self.links.len() as u32).filter(|row| self.links[*row as usize].key != END).collect()
    }

    /// Writes the rows that are there in the order in which they came. Behind their columns is `came`, the
    /// watermark then, if they have no event time, `partners`, how many each has, if that matters, and `id`. Returns
    /// which part of the rows on disk belongs to them, of which there are so many; none if all do.
    pub(super) fn snapshot(
        &mut self,
        memory: &StateMemory,
        on_disk: usize,
        state: &mut StateWriter<'_>,
    ) -> Result<Option<Part>> {
        state.value("watermark", &self.watermark)?;
        let belongs = self.belongs();
        let Some(ToWrite { mut rows, gone }) = self.unwritten.take(self.numbers(), on_disk, state)? else {
            state.behind("rows", belongs, memory, self.write_all(&self.live(), memory))?;
            return Ok(None);
        };
        rows.retain(|row| self.links[*row as usize].key != END);
        let id = RowKeys::Exact(vec![self.state_columns() - 1]);
        state.changes("rows", belongs.clone(), id, [], [gone]);
        state.behind("rows", belongs, memory, self.write_all(&rows, memory))?;
        Ok(Some(Part::Unwritten))
    }

    /// Which instance its rows belong to.
    pub(super) fn belongs(&self) -> Belongs {
        Belongs::ToKeys(self.keys.clone())
    }

    /// How many numbers rows have, with those that are gone.
    fn numbers(&self) -> u32 {
        self.links.len() as u32
    }

    /// How many columns rows have in state.
    fn state_columns(&self) -> usize {
        self.width + usize::from(self.time.is_none()) + usize::from(self.counts_partners) + 1
    }

    fn write_all(&self, numbers: &[u32], memory: &StateMemory) -> impl Iterator<Item = Result<RecordBatch>> {
        numbers.chunks(memory.rows_at_once(STATE_ROWS, self.row_bytes())).map(|rows| self.write(rows))
    }

    /// The times of these rows.
    pub(super) fn times(&self, numbers: &[u32]) -> Vec<i64> {
        numbers.iter().map(|row| self.links[*row as usize].time).collect()
    }

    /// These rows, with what is known of them.
    pub(super) fn write(&self, numbers: &[u32]) -> Result<RecordBatch> {
        let mut rows = self.rows.gather(numbers)?;
        if self.time.is_none() {
            let came = numbers.iter().map(|row| self.links[*row as usize].time);
            rows = with_note(&rows, "came", Int64Array::from_iter_values(came))?;
        }
        if self.counts_partners {
            let partners = numbers.iter().map(|row| self.partners[*row as usize]);
            rows = with_note(&rows, "partners", UInt32Array::from_iter_values(partners))?;
        }
        with_note(&rows, "id", UInt64Array::from_iter_values(numbers.iter().map(|row| self.unwritten.id(*row))))
    }

    /// Rows as they were written.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Known> {
        let ((mut rows, ids), mut partners) = (take_ids(batch)?, Vec::new());
        if self.counts_partners {
            let (others, counts) = take_note::<UInt32Array>(&rows)?;
            (rows, partners) = (others, counts.values().to_vec());
        }
        if let Some(times) = self.times_of(&rows)? {
            return Ok(Known { rows, times, partners, ids });
        }
        let (rows, came) = take_note::<Int64Array>(&rows)?;
        Ok(Known { rows, times: came.values().to_vec(), partners, ids })
    }

    /// Gives rows new ids: those that they had may be others' too.
    pub(super) fn renumber(&self, known: &mut Known) {
        known.ids = self.unwritten.new_ids(known.rows.num_rows());
    }

    /// Adds rows that were written, in their order; their keys have these numbers.
    pub(super) fn take_up(&mut self, known: &Known, keys: &[usize]) -> Result<()> {
        self.unwritten.take_up(self.numbers(), &known.ids);
        self.hashes.extend(self.hashes_of(&known.rows)?);
        self.partners.extend(&known.partners);
        self.rows.push(&known.rows)?;
        keys.iter().zip(&known.times).for_each(|(key, time)| self.link(*key, *time));
        Ok(())
    }

    /// What is taken up from now on is what was written.
    pub(super) fn begin(&mut self) {
        self.unwritten.begin();
    }

    /// All rows that were written have been taken up.
    pub(super) fn end(&mut self) {
        self.unwritten.end(self.numbers());
    }

    /// The rows of these keys, each with its key: in the order of the keys, those of one key as they came.
    pub(super) fn rows_of(&self, keys: &[u32]) -> Vec<(u32, u32)> {
        let mut rows = Vec::new();
        for key in keys {
            let start = rows.len();
            let mut place = self.firsts[*key as usize];
            while place != END {
                rows.push((*key, place));
                place = self.next(place);
            }
            rows[start..].reverse();
        }
        rows
    }

    /// Where the rows of a key go: those that state lacks, or has as they were, go with all of their key's.
    pub(super) fn part(&self, rows: &[(u32, u32)]) -> Part {
        let is_written = rows.iter().all(|(_, row)| self.unwritten.part(*row) == Part::Written);
        if is_written { Part::Written } else { Part::Unwritten }
    }

    /// Has all rows of some keys go.
    pub(super) fn let_go(&mut self, rows: &[(u32, u32)]) {
        self.unwritten.note_on_disk(self.numbers());
        for (key, row) in rows {
            self.firsts[*key as usize] = END;
            self.links[*row as usize].key = END;
        }
        self.gone += rows.len();
    }

    /// Takes rows back that had gone, in their order, from these parts; their keys have these numbers.
    pub(super) fn take_back(&mut self, rows: &RecordBatch, keys: &[usize], parts: &[Part]) -> Result<()> {
        let first = self.numbers();
        self.take_up(&self.read(rows)?, keys)?;
        let unwritten = (first..).zip(parts).filter(|(_, part)| **part == Part::Unwritten);
        unwritten.for_each(|(row, _)| self.unwritten.note_changed(row));
        Ok(())
    }

    /// Bytes of a row, more or less.
    pub(super) fn row_bytes(&self) -> usize {
        self.rows.bytes() / self.rows.len().max(1)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes()
            + self.unwritten.bytes()
            + self.links.capacity() * size_of::<Link>()
            + (self.firsts.capacity() + self.partners.capacity()) * size_of::<u32>()
            + self.hashes.capacity() * size_of::<u64>()
    }
}
