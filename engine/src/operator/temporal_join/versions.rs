//! The right side of a temporal join: each key's versions by time.
//!
//! Keys that no row has asked for lately have no room in memory if there is a limit: their versions go to disk, all of
//! a key's together, and come back when a row of either side has the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use tidemill_plans::node::{TemporalJoinNode, VersionBound};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use crate::error::Result;
use crate::operator::groups::key_schema;
use crate::operator::held_rows::{HeldRows, Place};
use crate::operator::state_rows::{STATE_ROWS, some_keys};
use crate::rows::{JoinKeys, KeyRows};
use crate::state::spill::{Layout, Part, SpilledBatches, with_keys};
use crate::state::{RowKeys, StateMemory, StateReader, StateWriter};

/// See the [module](self).
pub(super) struct Versions {
    keys: JoinKeys,
    key_schema: SchemaRef,
    pub(super) time: usize,
    bound: VersionBound,
    /// For how many microseconds a version is found.
    ttl: Option<i64>,
    order: RowConverter,
    held: HeldRows,
    by_key: HashMap<Box<[u8]>, KeyVersions>,
    /// Of each held row, whether state lacks it.
    unwritten: Vec<bool>,
    /// Whether there is state that changes can go on from.
    is_noting: bool,
    /// Later versions are not older than this.
    pub(super) watermark: Watermark,
    /// Nothing is looked for that is too old to be found before the watermark is here.
    next_look: EventTime,
    /// No row asks for what was the newest before this time any more.
    asked_from: EventTime,
    memory: StateMemory,
    /// Versions of keys that have none in memory.
    on_disk: SpilledBatches,
}

/// The versions of a key.
#[derive(Default)]
struct KeyVersions {
    by_time: BTreeMap<i64, Version>,
    /// Whether a row has asked for it since keys went to disk last.
    touched: bool,
}

struct Version {
    place: Place,
    /// All columns, comparable: decides between versions of the same time.
    order: Box<[u8]>,
}

impl Versions {
    pub(super) fn new(node: &TemporalJoinNode, right: &SchemaRef, memory: &StateMemory) -> Result<Self> {
        let fields = right.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        // Without keys there is one, which each row asks for.
        let memory = memory.limited_if(!node.right_keys.is_empty());
        Ok(Self {
            keys: JoinKeys::new(right, &node.right_keys)?,
            key_schema: key_schema(right, &node.right_keys),
            time: node.right_time,
            bound: node.bound,
            ttl: node.ttl,
            order: RowConverter::new(fields)?,
            held: HeldRows::new(Arc::clone(right)),
            by_key: HashMap::new(),
            unwritten: Vec::new(),
            is_noting: false,
            watermark: Watermark::MIN,
            next_look: EventTime::MIN,
            asked_from: EventTime::MIN,
            on_disk: SpilledBatches::new(memory.scratch.clone(), Layout::OneRun, node.right_keys.len()),
            memory,
        })
    }

    /// Adds versions that have come.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let keys = self.keys.of(&batch)?;
        if (0..batch.num_rows()).all(|row| keys.get(row).is_none()) {
            return Ok(());
        }
        self.take_back(&keys, &self.keys.columns(&batch), batch.num_rows())?;
        let unwritten = vec![true; batch.num_rows()];
        self.hold(batch, &keys, unwritten)
    }

    fn hold(&mut self, batch: RecordBatch, keys: &KeyRows, unwritten: Vec<bool>) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let times = event_times(batch.column(self.time))?;
        let orders = self.order.convert_columns(batch.columns())?;
        let number = self.held.push(batch);
        self.unwritten.extend(unwritten);
        for (row, time) in times.values().iter().enumerate() {
            let Some(key) = keys.get(row) else { continue };
            let versions = self.by_key.entry_ref(key).or_default();
            versions.touched = true;
            let order = orders.row(row).data();
            if versions.by_time.get(time).is_none_or(|known| known.order.as_ref() < order) {
                versions.by_time.insert(*time, Version { place: (number, row as u32), order: Box::from(order) });
            }
        }
        Ok(())
    }

    /// Takes versions back from disk for so many rows that have these keys.
    pub(super) fn take_back(&mut self, keys: &KeyRows, columns: &[ArrayRef], rows: usize) -> Result<()> {
        if self.on_disk.len() == 0 {
            return Ok(());
        }
        let mut absent = keys.first_rows(rows);
        absent.retain(|row| keys.get(*row as usize).is_some_and(|key| !self.by_key.contains_key(key)));
        let Some(taken) = self.on_disk.take(&take_arrays(columns, &UInt32Array::from(absent), None)?)? else {
            return Ok(());
        };
        let unwritten = taken.parts.iter().map(|part| *part == Part::Unwritten).collect();
        let keys = self.keys.of(&taken.rows)?;
        self.hold(taken.rows, &keys, unwritten)
    }

    /// The newest version of a key that a row at `time` may see.
    pub(super) fn newest(&mut self, key: &[u8], time: i64) -> Option<Place> {
        let versions = self.by_key.get_mut(key)?;
        versions.touched = true;
        let (from, place) = newest(&versions.by_time, time, self.bound).map(|(from, version)| (from, version.place))?;
        self.is_found(from, time).then_some(place)
    }

    /// Whether a version from this time on is young enough for a row at `time`.
    fn is_found(&self, from: i64, time: i64) -> bool {
        self.ttl.is_none_or(|ttl| from >= time.saturating_sub(ttl))
    }

    /// The columns of the versions in `found`, as `beside` picks them; NULLs where it picks none.
    pub(super) fn beside(&self, found: &[Place], beside: &[Option<u32>]) -> Result<Vec<ArrayRef>> {
        let rows = self.held.gather(found)?;
        if found.len() == beside.len() {
            return Ok(rows.columns().to_vec());
        }
        let picks = UInt32Array::from(beside.to_vec());
        Ok(take_arrays(rows.columns(), &picks, None)?)
    }

    /// Drops the versions that no row at `time` or later can find: all but the newest as of then, and now and
    /// then those that are too old. No earlier row is going to ask.
    pub(super) fn clean_up(&mut self, time: EventTime) -> Result<()> {
        self.asked_from = time;
        let is_due = self.is_due(time);
        if is_due || self.held.wants_clean_up() { self.drop_unfound(time, is_due) } else { Ok(()) }
    }

    /// Drops all but the newest as of a time, and that too if it is too old then, if asked to. Of those on disk only
    /// what is too old is dropped.
    fn drop_unfound(&mut self, time: EventTime, drops_old: bool) -> Result<()> {
        let oldest = self.ttl.filter(|_| drops_old).map(|ttl| time.0.saturating_sub(ttl));
        let bound = self.bound;
        self.by_key.retain(|_, versions| {
            let by_time = &mut versions.by_time;
            if let Some((newest, _)) = newest(by_time, time.0, bound) {
                *by_time = by_time.split_off(&newest);
                if oldest.is_some_and(|oldest| newest < oldest) {
                    by_time.pop_first();
                }
            }
            !by_time.is_empty()
        });
        if let Some(oldest) = oldest {
            self.on_disk.drop_before(oldest, false)?;
        }
        self.compact()
    }

    /// Lets go of held rows that are no key's version.
    fn compact(&mut self) -> Result<()> {
        let live = self.live();
        let mut numbers = vec![0; self.held.rows()];
        live.iter().zip(0..).for_each(|(place, number)| numbers[self.held.number(*place) as usize] = number);
        for version in self.by_key.values_mut().flat_map(|versions| versions.by_time.values_mut()) {
            version.place = (0, numbers[self.held.number(version.place) as usize]);
        }
        self.unwritten = live.iter().map(|place| self.unwritten[self.held.number(*place) as usize]).collect();
        self.held.keep(&live)
    }

    /// The places of all versions in memory, as they came: the map's order would differ from run to run.
    fn live(&self) -> Vec<Place> {
        let versions = self.by_key.values().flat_map(|versions| versions.by_time.values());
        let mut live: Vec<Place> = versions.map(|version| version.place).collect();
        live.sort_unstable();
        live
    }

    /// Whether it is time to look for versions that are too old: a look at all of them is worth a quarter of
    /// the time that they have.
    fn is_due(&mut self, time: EventTime) -> bool {
        let Some(ttl) = self.ttl.filter(|_| time >= self.next_look && !Watermark(time).is_end()) else { return false };
        self.next_look = time.plus(ttl / 4);
        true
    }

    /// How many keys there is room for beside so many bytes, if it is not for all.
    fn room(&self, beside: usize) -> Option<usize> {
        self.memory.room(self.by_key.len(), self.bytes_in_memory(), self.on_disk.memory_bytes() + beside)
    }

    /// Has the versions of some keys go to disk, if there is no room for all beside so many bytes of others.
    pub(super) fn spill(&mut self, beside: usize) -> Result<()> {
        if self.room(beside).is_none() {
            return Ok(());
        }
        self.drop_unfound(self.asked_from, false)?;
        let Some(room) = self.room(beside) else { return Ok(()) };
        let (mut written, mut unwritten) = (Vec::new(), Vec::new());
        for (versions, key) in self.take_cold(room).iter().zip(0..) {
            let rows = versions.by_time.values().map(|version| (key, self.held.number(version.place)));
            let rows: Vec<(u32, u32)> = rows.collect();
            let is_written = rows.iter().all(|(_, row)| !self.unwritten[*row as usize]);
            if is_written { &mut written } else { &mut unwritten }.extend(rows);
        }
        for (part, rows) in [(Part::Written, written), (Part::Unwritten, unwritten)] {
            some_keys(&rows, STATE_ROWS).into_iter().try_for_each(|rows| self.put_away(part, rows))?;
        }
        self.compact()
    }

    /// Takes keys out until so many are left: first those that no row has asked for lately. Others that are looked at
    /// have had their second chance.
    fn take_cold(&mut self, kept: usize) -> Vec<KeyVersions> {
        let excess = self.by_key.len().saturating_sub(kept);
        let untouched = self.by_key.extract_if(|_, versions| !std::mem::take(&mut versions.touched)).take(excess);
        let mut cold: Vec<KeyVersions> = untouched.map(|(_, versions)| versions).collect();
        let left = excess - cold.len();
        cold.extend(self.by_key.extract_if(|_, _| true).take(left).map(|(_, versions)| versions));
        cold
    }

    fn put_away(&mut self, part: Part, rows: &[(u32, u32)]) -> Result<()> {
        let places: Vec<Place> = rows.iter().map(|(_, row)| self.held.place(*row)).collect();
        let batch = self.held.gather(&places)?;
        let times = event_times(batch.column(self.time))?;
        let with_keys = with_keys(&self.key_schema, &self.keys.columns(&batch), &batch)?;
        self.on_disk.put(part, &with_keys, times.values())
    }

    /// Writes the versions that a row can ask for, or those that have come. Which no row can ask for any more follows
    /// from the others.
    pub(super) fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        state.value("next_look", &self.next_look)?;
        let (belongs, has_changes) = (self.keys.belongs(), self.is_noting && state.takes_changes());
        let rows = if has_changes {
            state.changes("rows", belongs.clone(), RowKeys::Each, [], []);
            let unwritten = (0u32..).zip(&self.unwritten).filter(|(_, is)| **is);
            unwritten.map(|(row, _)| self.held.place(row)).collect()
        } else {
            self.live()
        };
        let batches = rows.chunks(STATE_ROWS).map(|rows| self.held.gather(rows));
        state.behind("rows", belongs.clone(), &self.memory, batches)?;
        if let Some(on_disk) = self.on_disk.view(has_changes.then_some(Part::Unwritten), STATE_ROWS) {
            state.later("rows", belongs, Arc::new(on_disk.without_keys()));
        }
        self.on_disk.note_written();
        self.unwritten.fill(false);
        self.is_noting = true;
        Ok(())
    }

    /// Takes up what was written, beside so many bytes of others; no row from before `time` is going to ask.
    pub(super) fn restore(&mut self, time: EventTime, beside: usize, state: &StateReader<'_>) -> Result<()> {
        self.asked_from = time;
        self.next_look = state.values("next_look")?.into_iter().min().unwrap_or(EventTime::MIN);
        for rows in state.batches("rows")? {
            let rows = rows?;
            let keys = self.keys.of(&rows)?;
            self.take_back(&keys, &self.keys.columns(&rows), rows.num_rows())?;
            let unwritten = vec![false; rows.num_rows()];
            self.hold(rows, &keys, unwritten)?;
            self.spill(beside)?;
        }
        self.is_noting = true;
        match self.ttl {
            // As of the last look.
            Some(ttl) if self.next_look != EventTime::MIN => self.drop_unfound(self.next_look.plus(-(ttl / 4)), true),
            _ => Ok(()),
        }
    }

    /// Bytes held in memory by versions: each row as it came, and about as much again for its key and its order.
    fn bytes_in_memory(&self) -> usize {
        2 * self.held.bytes() + self.unwritten.len()
    }

    /// Bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes_in_memory() + self.on_disk.memory_bytes()
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.on_disk.disk_bytes()
    }
}

/// The newest of a key's versions that a row at `time` may see.
fn newest(versions: &BTreeMap<i64, Version>, time: i64, bound: VersionBound) -> Option<(i64, &Version)> {
    let mut seen = match bound {
        VersionBound::AtOrBefore => versions.range(..=time),
        VersionBound::Before => versions.range(..time),
    };
    seen.next_back().map(|(time, version)| (*time, version))
}
