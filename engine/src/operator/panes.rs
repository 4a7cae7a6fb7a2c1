//! Partial aggregates of stretches of time, and windows put together from them.
//!
//! A window that has several panes finds each key in them again. Hashing the key for every window would
//! cost as many look-ups as a window has panes; so a key is looked up once a pane, in a dictionary that
//! all panes share, and known by its number from then on. Windows are merged by numbers alone.

mod slices;
mod snapshot;
mod spilling;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, interleave, max, min, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use tidemill_plans::node::TimeWindow;

pub(super) use self::slices::{Asked, Slices, slice_hashes};
use self::spilling::Spilling;
use super::groups::{AggregateCall, Groups, PartialGroups, key_schema, numbered_key_schema};
use super::key_numbers::KeyNumbers;
use crate::error::Result;
use crate::state::StateMemory;

/// A dictionary with fewer keys is not worth being built anew. Tests want to see some that are.
const REBUILD_KEYS: usize = if cfg!(test) { 2 } else { 1024 };

/// A pane that late rows have cut into so many partials is put together.
const PARTIALS_MAX: usize = 16;

/// Which pane a time is in: panes have this length, in microseconds, and one starts at the offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct PaneGrid {
    pub(super) length: i64,
    pub(super) offset: i64,
}

/// The panes of a window aggregation, by start.
pub(super) struct Panes {
    keys: Vec<usize>,
    calls: Vec<AggregateCall>,
    key_schema: SchemaRef,
    grid: PaneGrid,
    panes: BTreeMap<i64, Pane>,
    /// `None` where no window can have two partials with one key.
    dictionary: Option<Dictionary>,
    /// Groups in all partials, and the bytes of what the panes hold.
    rows: usize,
    bytes: usize,
    /// Panes that have no room in memory, or what has none of some.
    spilling: Spilling,
    /// The number of the next piece.
    next_piece: i64,
    /// Whether state has been written that changes can go on from, and the pieces that are gone since.
    has_written: bool,
    gone: Vec<Place>,
    /// Where rows are grouped by pane and key, and where partial aggregates are merged.
    sealing: Groups,
    merging: Groups,
    /// Where in the merge at hand a key is, by its number, counted on from merge to merge: what is below
    /// the count at which a window began belongs to an earlier one.
    seen: Vec<u64>,
    count: u64,
}

/// A pane, and the number of one of its pieces: what it has is in state piece by piece. Numbers grow, and none comes
/// again.
type Place = (i64, i64);

/// What is known of a stretch of time.
#[derive(Default)]
struct Pane {
    /// Groups of the rows that came since the last window, where their order does not matter.
    open: Option<Open>,
    pieces: Vec<Piece>,
    /// Those in memory.
    bytes: usize,
    /// Whether it has got rows since something had to go to disk.
    touched: bool,
    /// What is on disk: the numbers of the pieces, which are older than those in memory, and their groups.
    away: Vec<i64>,
    away_rows: usize,
}

/// A piece that rows are added to.
struct Open {
    number: i64,
    groups: Groups,
    /// Whether it is in state as it is.
    is_written: bool,
}

/// A piece that stays as it is.
struct Piece {
    number: i64,
    partial: Arc<Partial>,
    is_written: bool,
}

/// Partial aggregates, with the numbers of their keys if there is a dictionary.
pub(super) struct Partial {
    groups: PartialGroups,
    numbers: Vec<u32>,
}

/// A window to put together: all partials of its panes, in the order of time.
pub(super) struct WindowParts {
    pub(super) window: TimeWindow,
    pub(super) parts: Vec<Arc<Partial>>,
    /// The numbers of their keys are less than this.
    keys: usize,
}

/// The groups of several windows, one window behind the other.
pub(super) struct WindowGroups {
    /// The windows with the number of their groups.
    pub(super) windows: Vec<(TimeWindow, usize)>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) results: Vec<ArrayRef>,
    /// Where each group is first among the parts of all windows: a part and a row of it.
    pub(super) first: Vec<(usize, usize)>,
}

/// Numbers for keys. One that no pane has any more stays until the dictionary is built anew.
struct Dictionary(KeyNumbers);

/// Which group of the result each row of some partials belongs to, and where each group is first.
#[derive(Default)]
struct Places {
    indexes: Vec<usize>,
    /// A partial and a row of it.
    first: Vec<(usize, usize)>,
}

impl Panes {
    pub(super) fn new(
        input: &SchemaRef,
        keys: &[usize],
        calls: Vec<AggregateCall>,
        grid: PaneGrid,
        shares_keys: bool,
        memory: &StateMemory,
    ) -> Result<Self> {
        let key_schema = key_schema(input, keys);
        let no_keys = Arc::new(arrow::datatypes::Schema::empty());
        Ok(Self {
            keys: keys.to_vec(),
            sealing: Groups::new(&numbered_key_schema(&key_schema), &calls)?,
            merging: Groups::new(&no_keys, &calls)?,
            dictionary: shares_keys.then(|| Dictionary::new(&key_schema)).transpose()?,
            calls,
            key_schema,
            grid,
            panes: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            spilling: Spilling::new(memory, keys.len()),
            next_piece: 0,
            has_written: false,
            gone: Vec::new(),
            seen: Vec::new(),
            count: 1,
        })
    }

    /// The start of the first pane at or after `from`.
    pub(super) fn starts(&self, from: i64) -> impl Iterator<Item = i64> {
        self.panes.range(from..).map(|(start, _)| *start)
    }

    /// Adds rows whose order does not matter.
    pub(super) fn add(&mut self, batch: &RecordBatch, times: &Times) -> Result<()> {
        for (start, rows) in self.grid.split(batch, times)? {
            self.add_to_pane(start, &rows)?;
        }
        Ok(())
    }

    fn add_to_pane(&mut self, start: i64, rows: &RecordBatch) -> Result<()> {
        let keys = self.key_columns(rows);
        self.change_open(start, |groups, calls| groups.update(&keys, calls, rows))
    }

    /// Changes the groups of a pane that rows are added to.
    fn change_open(
        &mut self,
        start: i64,
        change: impl FnOnce(&mut Groups, &[AggregateCall]) -> Result<()>,
    ) -> Result<()> {
        let pane = self.panes.entry(start).or_default();
        let open = match &mut pane.open {
            Some(open) => open,
            none => {
                let groups = Groups::new(&self.key_schema, &self.calls)?;
                self.next_piece += 1;
                none.insert(Open { number: self.next_piece - 1, groups, is_written: false })
            }
        };
        let known = open.groups.bytes();
        change(&mut open.groups, &self.calls)?;
        let grown = open.groups.bytes();
        open.is_written = false;
        pane.touched = true;
        pane.bytes = (pane.bytes + grown).saturating_sub(known);
        self.bytes = (self.bytes + grown).saturating_sub(known);
        Ok(())
    }

    pub(super) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| Arc::clone(batch.column(*key))).collect()
    }

    /// Aggregates rows, which are in order, pane by pane.
    pub(super) fn add_in_order(&mut self, rows: &RecordBatch, times: &Times) -> Result<()> {
        let panes = Int64Array::from_iter_values(times.values().iter().map(|time| self.grid.start(*time)));
        let mut keys = self.key_columns(rows);
        keys.insert(0, Arc::new(panes));
        self.sealing.update(&keys, &self.calls, rows)?;
        for (start, groups) in self.sealing.take_partial()?.split_by_first_key() {
            self.push(start, groups)?;
        }
        Ok(())
    }

    fn push(&mut self, start: i64, groups: PartialGroups) -> Result<()> {
        let number = self.new_piece();
        self.push_piece(start, number, groups, false)
    }

    fn push_piece(&mut self, start: i64, number: i64, groups: PartialGroups, is_written: bool) -> Result<()> {
        let numbers = match &mut self.dictionary {
            Some(dictionary) => dictionary.number(groups.keys(), groups.rows())?,
            None => Vec::new(),
        };
        self.insert(start, Piece { number, partial: Arc::new(Partial { groups, numbers }), is_written });
        Ok(())
    }

    fn new_piece(&mut self) -> i64 {
        self.next_piece += 1;
        self.next_piece - 1
    }

    fn insert(&mut self, start: i64, piece: Piece) {
        let bytes = piece.partial.bytes();
        self.rows += piece.partial.groups.rows();
        self.bytes += bytes;
        let pane = self.panes.entry(start).or_default();
        pane.bytes += bytes;
        pane.touched = true;
        pane.pieces.push(piece);
    }

    /// Everything that has come for a window, none of which is on disk.
    pub(super) fn parts(&mut self, window: TimeWindow) -> Result<WindowParts> {
        self.seal(window)?;
        let pieces = self.panes.range(window.start..window.end).flat_map(|(_, pane)| &pane.pieces);
        Ok(WindowParts {
            window,
            parts: pieces.map(|piece| Arc::clone(&piece.partial)).collect(),
            keys: self.numbered(),
        })
    }

    /// How many keys have numbers.
    fn numbered(&self) -> usize {
        self.dictionary.as_ref().map_or(0, Dictionary::len)
    }

    /// Turns what has come since the last window into partials, in the panes of one window.
    fn seal(&mut self, window: TimeWindow) -> Result<()> {
        let open: Vec<i64> = self
            .panes
            .range(window.start..window.end)
            .filter(|(_, pane)| pane.open.is_some())
            .map(|(start, _)| *start)
            .collect();
        for start in open {
            let Some(pane) = self.panes.get_mut(&start) else { continue };
            let Some(Open { number, mut groups, is_written }) = pane.open.take() else { continue };
            let known: usize = pane.pieces.iter().map(|piece| piece.partial.bytes()).sum();
            self.bytes = self.bytes.saturating_sub(pane.bytes) + known;
            pane.bytes = known;
            // It is the same rows in state.
            self.push_piece(start, number, groups.take_partial()?, is_written)?;
        }
        Ok(())
    }

    /// Puts what a window has into one partial, in the place of all of its panes: only windows with the
    /// same start may follow. The parts are then that one.
    pub(super) fn collapse(&mut self, of: &mut WindowParts) -> Result<()> {
        if of.parts.len() < 2 {
            return Ok(());
        }
        let merged = self.merged(of)?;
        let starts: Vec<i64> = self.panes.range(of.window.start..of.window.end).map(|(start, _)| *start).collect();
        starts.into_iter().for_each(|start| self.drop_from_memory(start));
        let number = self.new_piece();
        self.insert(of.window.start, Piece { number, partial: Arc::clone(&merged), is_written: false });
        of.parts = vec![merged];
        Ok(())
    }

    /// What a window has, as one partial.
    fn merged(&mut self, of: &WindowParts) -> Result<Arc<Partial>> {
        if let [one] = of.parts.as_slice() {
            return Ok(Arc::clone(one));
        }
        let places = self.places(std::slice::from_ref(of));
        let rows = places.first.len();
        let partials: Vec<&PartialGroups> = of.parts.iter().map(|part| &part.groups).collect();
        self.merging.merge_at(&places.indexes, &partials, rows)?;
        let groups = PartialGroups::new(places.keys(&partials)?, self.merging.take_states()?, rows);
        let numbers = places.first.iter().map(|(part, row)| of.parts[*part].numbers[*row]).collect();
        Ok(Arc::new(Partial { groups, numbers }))
    }

    /// The groups of these windows.
    pub(super) fn merge(&mut self, windows: &[WindowParts]) -> Result<WindowGroups> {
        let places = self.places(windows);
        let partials: Vec<&PartialGroups> =
            windows.iter().flat_map(|window| &window.parts).map(|part| &part.groups).collect();
        self.merging.merge_at(&places.indexes, &partials, places.first.len())?;
        let (_, results) = self.merging.finish()?;
        let mut part = 0;
        let mut rest = places.first.as_slice();
        let mut counted = Vec::with_capacity(windows.len());
        for WindowParts { window, parts, .. } in windows {
            part += parts.len();
            let own = rest.partition_point(|(first, _)| *first < part);
            counted.push((*window, own));
            rest = &rest[own..];
        }
        Ok(WindowGroups { windows: counted, keys: places.keys(&partials)?, results, first: places.first })
    }

    /// Finds the groups of each window, in the order in which they are first seen.
    fn places(&mut self, windows: &[WindowParts]) -> Places {
        let mut places = Places::default();
        let total = windows.iter().flat_map(|window| &window.parts).map(|part| part.groups.rows()).sum();
        places.indexes.reserve(total);
        self.seen.resize(windows.iter().map(|window| window.keys).max().unwrap_or_default(), 0);
        let mut number = 0;
        for WindowParts { parts, .. } in windows {
            let before = self.count + places.first.len() as u64;
            for part in parts {
                if parts.len() == 1 {
                    places.add_all(number, part.groups.rows());
                } else {
                    places.add_by_number(number, &part.numbers, &mut self.seen, before, self.count);
                }
                number += 1;
            }
        }
        self.count += places.first.len() as u64;
        places
    }

    /// The number of each row's key. Only where there is a dictionary.
    pub(super) fn numbers(&mut self, batch: &RecordBatch) -> Result<Vec<u32>> {
        let keys = self.key_columns(batch);
        self.dictionary.as_mut().map_or(Ok(Vec::new()), |dictionary| dictionary.number(&keys, batch.num_rows()))
    }

    /// Puts the partials of a pane together if there are many.
    pub(super) fn collapse_pane(&mut self, start: i64) -> Result<()> {
        if self.panes.get(&start).is_none_or(|pane| pane.pieces.len() < PARTIALS_MAX) {
            return Ok(());
        }
        let mut parts = self.parts(TimeWindow { start, end: start.saturating_add(self.grid.length) })?;
        self.collapse(&mut parts)
    }

    /// Drops the pane that starts there.
    pub(super) fn drop_pane(&mut self, start: i64) -> Result<()> {
        if let Some(pane) = self.panes.get_mut(&start)
            && pane.away_rows > 0
        {
            pane.away_rows = 0;
            let gone = std::mem::take(&mut pane.away);
            self.note_gone(start, gone);
            self.spilling.drop_pane(start)?;
        }
        self.drop_from_memory(start);
        Ok(())
    }

    /// Drops what a pane has in memory.
    fn drop_from_memory(&mut self, start: i64) {
        let Some(pane) = self.panes.remove(&start) else { return };
        let open = pane.open.iter().map(|open| open.number);
        self.note_gone(start, pane.pieces.iter().map(|piece| piece.number).chain(open).collect());
        self.bytes = self.bytes.saturating_sub(pane.bytes);
        self.rows -= pane.pieces.iter().map(|piece| piece.partial.groups.rows()).sum::<usize>();
        if pane.away_rows > 0 {
            let Pane { away, away_rows, .. } = pane;
            self.panes.insert(start, Pane { away, away_rows, ..Pane::default() });
        }
    }

    /// Pieces of a pane are gone.
    fn note_gone(&mut self, start: i64, pieces: Vec<i64>) {
        if self.has_written {
            self.gone.extend(pieces.into_iter().map(|piece| (start, piece)));
        }
    }

    /// Builds the dictionary anew if most of its keys are in no pane any more.
    pub(super) fn clean_up(&mut self) -> Result<()> {
        let Some(dictionary) = &mut self.dictionary else { return Ok(()) };
        let wanted = if self.bytes == 0 { 0 } else { 2 * self.rows.max(REBUILD_KEYS) };
        if dictionary.len() <= wanted {
            return Ok(());
        }
        *dictionary = Dictionary::new(&self.key_schema)?;
        for Piece { partial, .. } in self.panes.values_mut().flat_map(|pane| &mut pane.pieces) {
            let numbers = dictionary.number(partial.groups.keys(), partial.groups.rows())?;
            *partial = Arc::new(Partial { groups: partial.groups.clone(), numbers });
        }
        self.seen.clear();
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.memory_bytes() + self.spilling.memory_bytes()
    }

    /// Bytes of what could be on disk.
    fn memory_bytes(&self) -> usize {
        self.bytes + self.dictionary.as_ref().map_or(0, Dictionary::bytes)
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.spilling.disk_bytes()
    }
}

impl Places {
    /// Every row of a partial is a group of its own.
    fn add_all(&mut self, partial: usize, rows: usize) {
        let known = self.first.len();
        self.indexes.extend(known..known + rows);
        self.first.extend((0..rows).map(|row| (partial, row)));
    }

    /// Rows with one number are one group, from `before` on.
    fn add_by_number(&mut self, partial: usize, numbers: &[u32], seen: &mut [u64], before: u64, base: u64) {
        for (row, number) in numbers.iter().enumerate() {
            let seen = &mut seen[*number as usize];
            if *seen < before {
                *seen = base + self.first.len() as u64;
                self.first.push((partial, row));
            }
            self.indexes.push((*seen - base) as usize);
        }
    }

    /// The groups' keys.
    fn keys(&self, partials: &[&PartialGroups]) -> Result<Vec<ArrayRef>> {
        let columns = partials.first().map_or(0, |partial| partial.keys().len());
        // As many groups as rows: they are the rows as they stand.
        let whole = self.first.len() == self.indexes.len();
        let mut keys = Vec::with_capacity(columns);
        for column in 0..columns {
            let parts: Vec<&dyn Array> = partials.iter().map(|partial| partial.keys()[column].as_ref()).collect();
            keys.push(match partials {
                [one] if whole => Arc::clone(&one.keys()[column]),
                _ if whole => concat(&parts)?,
                _ => interleave(&parts, &self.first)?,
            });
        }
        Ok(keys)
    }
}

impl Partial {
    /// The numbers of the groups' keys.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The groups of these numbers, which are sorted, alone.
    fn only(&self, numbers: &[u32]) -> Result<Self> {
        self.filtered(|number| numbers.binary_search(&number).is_ok())
    }

    /// The groups whose numbers are within a range.
    fn within(&self, numbers: Range<usize>) -> Result<Self> {
        self.filtered(|number| numbers.contains(&(number as usize)))
    }

    /// The groups in these places.
    fn slice(&self, places: Range<usize>) -> Self {
        let numbers = self.numbers.get(places.clone()).map_or_else(Vec::new, <[u32]>::to_vec);
        Self { groups: self.groups.slice(places.start, places.len()), numbers }
    }

    fn filtered(&self, is_wanted: impl Fn(u32) -> bool) -> Result<Self> {
        let of = self.numbers.iter().enumerate().filter(|(_, number)| is_wanted(**number));
        let (places, own): (Vec<u32>, Vec<u32>) = of.map(|(place, number)| (place as u32, *number)).unzip();
        Ok(Self { groups: self.groups.take(&UInt32Array::from(places))?, numbers: own })
    }

    fn bytes(&self) -> usize {
        self.groups.bytes() + self.numbers.len() * size_of::<u32>()
    }
}

impl WindowParts {
    /// One of so many slices: the groups of some keys.
    pub(super) fn slice(&self, slice: usize, slices: usize) -> Result<Self> {
        let of = |count: usize| count * slice / slices..count * (slice + 1) / slices;
        let parts = match self.parts.as_slice() {
            [one] => vec![Arc::new(one.slice(of(one.groups.rows())))],
            parts => parts.iter().map(|part| Ok(Arc::new(part.within(of(self.keys))?))).collect::<Result<_>>()?,
        };
        Ok(Self { window: self.window, parts, keys: self.keys })
    }

    /// How many groups there are to merge.
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.groups.rows()).sum()
    }
}

impl Dictionary {
    fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self(KeyNumbers::new(schema)?))
    }

    fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        self.0.find(keys, rows, &mut numbers)?;
        Ok(numbers.into_iter().map(|number| number as u32).collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        if self.0.len() == 0 { 0 } else { self.0.bytes() }
    }
}

/// The event times of a batch.
pub(super) type Times = PrimitiveArray<TimestampMicrosecondType>;

impl PaneGrid {
    pub(super) fn start(self, time: i64) -> i64 {
        time.saturating_sub(time.saturating_sub(self.offset).rem_euclid(self.length))
    }

    /// The last time of the pane that `time` is in.
    pub(super) fn last(self, time: i64) -> i64 {
        self.start(time).saturating_add(self.length - 1)
    }

    /// The rows of each pane, by its start. Most batches are in one.
    pub(super) fn split(self, batch: &RecordBatch, times: &Times) -> Result<Vec<(i64, RecordBatch)>> {
        let (Some(first), Some(last)) = (min(times), max(times)) else { return Ok(Vec::new()) };
        if last <= self.last(first) {
            return Ok(vec![(self.start(first), batch.clone())]);
        }
        if times.values().is_sorted() {
            return Ok(self.cut(batch, times.values()));
        }
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|row| self.start(times.value(*row as usize)));
        let times: Vec<i64> = order.iter().map(|row| self.start(times.value(*row as usize))).collect();
        Ok(self.cut(&take_record_batch(batch, &UInt32Array::from(order))?, &times))
    }

    /// Cuts rows in the order of their panes where one pane ends.
    fn cut(self, batch: &RecordBatch, times: &[i64]) -> Vec<(i64, RecordBatch)> {
        let mut parts = Vec::new();
        let mut start = 0;
        while let Some(time) = times.get(start) {
            let last = self.last(*time);
            let rows = times[start..].partition_point(|time| *time <= last);
            parts.push((self.start(*time), batch.slice(start, rows)));
            start += rows;
        }
        parts
    }
}
