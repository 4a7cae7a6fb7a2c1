//! Partial aggregates of stretches of time, and windows put together from them.
//!
//! A window that has several panes finds each key in them again. Hashing the key for every window would
//! cost as many look-ups as a window has panes; so a key is looked up once a pane, in a dictionary that
//! all panes share, and known by its number from then on. Windows are merged by numbers alone.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, interleave, max, min, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use tidemill_plans::node::TimeWindow;

use super::groups::{AggregateCall, Groups, PartialGroups, key_schema, numbered_key_schema};
use super::key_numbers::KeyNumbers;
use crate::error::Result;

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
    /// Groups in all panes, and the bytes of what the panes hold.
    rows: usize,
    bytes: usize,
    /// Whether state has been written that changes can go on from, and the panes of it that are gone.
    has_written: bool,
    gone: Vec<i64>,
    /// Where rows are grouped by pane and key, and where partial aggregates are merged.
    sealing: Groups,
    merging: Groups,
    /// Where in the merge at hand a key is, by its number, counted on from merge to merge: what is below
    /// the count at which a window began belongs to an earlier one.
    seen: Vec<u64>,
    count: u64,
}

/// What is known of a stretch of time.
#[derive(Default)]
struct Pane {
    /// Groups of the rows that came since the last window, where their order does not matter.
    groups: Option<Groups>,
    partials: Vec<Arc<Partial>>,
    bytes: usize,
    /// Whether it is in state as it is.
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
        let pane = self.panes.entry(start).or_default();
        pane.is_written = false;
        let groups = match &mut pane.groups {
            Some(groups) => groups,
            none => none.insert(Groups::new(&self.key_schema, &self.calls)?),
        };
        let known = groups.bytes();
        groups.update(&keys, &self.calls, rows)?;
        let grown = groups.bytes();
        pane.bytes = (pane.bytes + grown).saturating_sub(known);
        self.bytes = (self.bytes + grown).saturating_sub(known);
        Ok(())
    }

    fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
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
        let numbers = match &mut self.dictionary {
            Some(dictionary) => dictionary.number(groups.keys(), groups.rows())?,
            None => Vec::new(),
        };
        let bytes = groups.bytes() + numbers.len() * size_of::<u32>();
        self.rows += groups.rows();
        self.bytes += bytes;
        let pane = self.panes.entry(start).or_default();
        pane.bytes += bytes;
        pane.is_written = false;
        pane.partials.push(Arc::new(Partial { groups, numbers }));
        Ok(())
    }

    /// Everything that has come for a window.
    pub(super) fn parts(&mut self, window: TimeWindow) -> Result<WindowParts> {
        self.seal(window)?;
        let panes = self.panes.range(window.start..window.end);
        Ok(WindowParts { window, parts: panes.flat_map(|(_, pane)| &pane.partials).map(Arc::clone).collect() })
    }

    /// Turns what has come since the last window into partials, in the panes of one window.
    fn seal(&mut self, window: TimeWindow) -> Result<()> {
        let open: Vec<i64> = self
            .panes
            .range(window.start..window.end)
            .filter(|(_, pane)| pane.groups.is_some())
            .map(|(start, _)| *start)
            .collect();
        for start in open {
            let Some(pane) = self.panes.get_mut(&start) else { continue };
            let Some(mut groups) = pane.groups.take() else { continue };
            let known: usize = pane.partials.iter().map(|partial| partial.bytes()).sum();
            self.bytes = self.bytes.saturating_sub(pane.bytes) + known;
            pane.bytes = known;
            let is_written = pane.is_written;
            self.push(start, groups.take_partial()?)?;
            // It is the same rows in state.
            self.panes.entry(start).and_modify(|pane| pane.is_written = is_written);
        }
        Ok(())
    }

    /// Puts what a window has into one partial, in the place of all of its panes: only windows with the
    /// same start may follow. The parts are then that one.
    pub(super) fn collapse(&mut self, of: &mut WindowParts) -> Result<()> {
        if of.parts.len() < 2 {
            return Ok(());
        }
        let places = self.places(std::slice::from_ref(of));
        let rows = places.first.len();
        let partials: Vec<&PartialGroups> = of.parts.iter().map(|part| &part.groups).collect();
        self.merging.merge_at(&places.indexes, &partials, rows)?;
        let groups = PartialGroups::new(places.keys(&partials)?, self.merging.take_states()?, rows);
        let numbers = places.first.iter().map(|(part, row)| of.parts[*part].numbers[*row]).collect();
        let merged = Arc::new(Partial { groups, numbers });
        let starts: Vec<i64> = self.panes.range(of.window.start..of.window.end).map(|(start, _)| *start).collect();
        starts.into_iter().for_each(|start| self.drop_pane(start));
        self.rows += rows;
        self.bytes += merged.bytes();
        self.panes.insert(
            of.window.start,
            Pane { bytes: merged.bytes(), partials: vec![Arc::clone(&merged)], ..Pane::default() },
        );
        of.parts = vec![merged];
        Ok(())
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
        for WindowParts { window, parts } in windows {
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
        self.seen.resize(self.dictionary.as_ref().map_or(0, Dictionary::len), 0);
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
        if self.panes.get(&start).is_none_or(|pane| pane.partials.len() < PARTIALS_MAX) {
            return Ok(());
        }
        let mut parts = self.parts(TimeWindow { start, end: start.saturating_add(self.grid.length) })?;
        self.collapse(&mut parts)
    }

    /// Drops the pane that starts there.
    pub(super) fn drop_pane(&mut self, start: i64) {
        let Some(pane) = self.panes.remove(&start) else { return };
        if self.has_written {
            self.gone.push(start);
        }
        self.bytes = self.bytes.saturating_sub(pane.bytes);
        self.rows -= pane.partials.iter().map(|partial| partial.groups.rows()).sum::<usize>();
    }

    /// Builds the dictionary anew if most of its keys are in no pane any more.
    pub(super) fn clean_up(&mut self) -> Result<()> {
        let Some(dictionary) = &mut self.dictionary else { return Ok(()) };
        let wanted = if self.panes.is_empty() { 0 } else { 2 * self.rows.max(REBUILD_KEYS) };
        if dictionary.len() <= wanted {
            return Ok(());
        }
        *dictionary = Dictionary::new(&self.key_schema)?;
        for partial in self.panes.values_mut().flat_map(|pane| &mut pane.partials) {
            let numbers = dictionary.number(partial.groups.keys(), partial.groups.rows())?;
            *partial = Arc::new(Partial { groups: partial.groups.clone(), numbers });
        }
        self.seen.clear();
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.dictionary.as_ref().map_or(0, Dictionary::bytes)
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

    fn bytes(&self) -> usize {
        self.groups.bytes() + self.numbers.len() * size_of::<u32>()
    }
}

impl WindowParts {
    /// The groups of these numbers, which are sorted, alone.
    pub(super) fn only(mut self, numbers: &[u32]) -> Result<Self> {
        for part in &mut self.parts {
            let of = part.numbers.iter().enumerate().filter(|(_, number)| numbers.binary_search(number).is_ok());
            let (places, own): (Vec<u32>, Vec<u32>) = of.map(|(place, number)| (place as u32, *number)).unzip();
            *part = Arc::new(Partial { groups: part.groups.take(&UInt32Array::from(places))?, numbers: own });
        }
        Ok(self)
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
