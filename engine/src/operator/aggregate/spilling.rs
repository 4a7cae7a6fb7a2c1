//! Groups that have no room in memory: those that no row has touched lately go to disk, and come back when a row of
//! theirs does.
//!
//! What has changed and was not emitted stays, for what downstream knows of it is in memory, too.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemill_plans::node::AggregateEmit;

use super::states::Distinct;
use super::{Aggregate, Group};
use crate::error::Result;
use crate::operator::changed_keys::others;
use crate::operator::groups::{columns_of, named};
use crate::rows::EventTimeBuffer;
use crate::state::spill::{BatchesView, Layout, Part, SpilledBatches, TakenRows};
use crate::state::{LaterRows, StateMemory};
use crate::task::OperatorContext;

/// Groups that are read at a time. Tests want to see several batches.
const PART_GROUPS: usize = if cfg!(test) { 2 } else { 1 << 14 };

/// Groups that are written at a time: they are in memory twice until they have gone.
const SPILLED_GROUPS: usize = if cfg!(test) { 5 } else { 1 << 14 };

/// Groups as state has them, some at a time.
pub(super) type GroupBatches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Where groups go.
pub(super) struct Spilling {
    memory: StateMemory,
    groups: SpilledBatches,
}

impl Spilling {
    /// For groups with so many key columns; `has_pairs` if what is known of them are pairs, too.
    pub(super) fn new(memory: &StateMemory, keys: usize, has_pairs: bool) -> Self {
        // Without keys there is one group, which is always needed.
        let groups = SpilledBatches::new(memory.scratch.clone(), Layout::OneRun, keys);
        Self { memory: memory.limited_if(keys > 0 || has_pairs), groups }
    }

    /// The memory of all groups.
    pub(super) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// Whether groups or pairs may have to go.
    pub(super) fn is_limited(&self) -> bool {
        self.memory.is_limited()
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.groups.disk_bytes()
    }

    fn put(&mut self, part: Part, batch: &RecordBatch) -> Result<()> {
        self.groups.put(part, batch, named(batch, "touched")?.as_primitive::<Int64Type>().values())
    }

    /// The groups that are here, or one part of them.
    pub(super) fn view(&self, only: Option<Part>) -> Option<BatchesView> {
        self.groups.view(only, PART_GROUPS)
    }

    /// A snapshot has all of them.
    pub(super) fn note_written(&mut self) {
        self.groups.note_written();
    }

    /// Forgets the groups that were touched last before this time; their keys, if somebody wants to know.
    pub(super) fn drop_before(&mut self, time: i64, wants_keys: bool) -> Result<Option<RecordBatch>> {
        self.groups.drop_before(time, wants_keys)
    }
}

impl Aggregate {
    /// Bytes of groups, in memory.
    pub(super) fn group_bytes(&self) -> usize {
        self.keys.bytes()
            + self.states.iter().map(|states| states.bytes()).sum::<usize>()
            + self.groups.bytes()
            + self.changed.capacity() * size_of::<u32>()
            + self.emission.bytes()
            + self.unwritten.bytes()
            + self.recency.bytes()
            + self.before.bytes()
            + self.spilling.memory_bytes()
    }

    /// Emits what has changed, if there is no room for the rows that come out then, and has groups go, if there is none
    /// for all of them.
    pub(super) fn make_room(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let has_room = || self.room_beside(self.groups.len(), self.bytes_to_emit()).is_none();
        if self.emit == AggregateEmit::AtEnd || has_room() { self.spill() } else { self.begin_emission(ctx) }
    }

    /// Bytes of the rows that say what has changed, more or less: a group is not smaller than what is said of it.
    fn bytes_to_emit(&self) -> usize {
        (self.group_bytes() / self.groups.len().max(1)).saturating_mul(self.changed.len())
    }

    /// How many groups there is room for, if it is not for all.
    fn room(&self) -> Option<usize> {
        self.room_of(self.groups.len())
    }

    /// How many of so many things there is room for, if each of them goes by the same measure.
    fn room_of(&self, count: usize) -> Option<usize> {
        self.room_beside(count, 0)
    }

    /// The same beside so many bytes that do not go.
    fn room_beside(&self, count: usize, others: usize) -> Option<usize> {
        let pairs = self.pairs().map(Distinct::bytes_of_spilled);
        let beside = self.spilling.memory_bytes() + pairs.sum::<usize>();
        self.spilling.memory.room(count, self.group_bytes() - beside, beside + self.waiting_bytes() + others)
    }

    /// Bytes of rows that wait for event time to pass them, in memory.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, EventTimeBuffer::bytes)
    }

    fn pairs(&self) -> impl Iterator<Item = &Distinct> {
        self.states.iter().filter_map(|states| states.pairs())
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let waiting = self.waiting.as_ref().map_or(0, EventTimeBuffer::disk_bytes);
        waiting + self.spilling.disk_bytes() + self.pairs().map(Distinct::disk_bytes).sum::<u64>()
    }

    /// Has pairs of groups and values go, if there is no room for all. A group is smaller than its values, so they are
    /// the first to go.
    fn spill_pairs(&mut self) -> Result<()> {
        let rooms: Vec<Option<usize>> =
            self.states.iter().map(|states| states.pairs().and_then(|pairs| self.room_of(pairs.len()))).collect();
        for (states, room) in self.states.iter_mut().zip(rooms) {
            if let (Some(pairs), Some(room)) = (states.pairs_mut(), room) {
                pairs.spill(&self.keys, room)?;
            }
        }
        Ok(())
    }

    /// Forgets the pairs of groups that are gone, wherever they are.
    pub(super) fn drop_pairs(&mut self, gone: &[RecordBatch]) -> Result<()> {
        self.states.iter_mut().filter_map(|states| states.pairs_mut()).try_for_each(|pairs| pairs.drop_groups(gone))
    }

    /// Whether pairs are on disk.
    pub(super) fn has_spilled_pairs(&self) -> bool {
        self.pairs().any(|pairs| pairs.disk_bytes() > 0)
    }

    /// Has groups go, if there is no room for all of them. Nothing waits to be emitted, or it waits for the end.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.empty > 0 && self.room().is_some() {
            self.keep_groups(|group| !group.empty)?;
        }
        self.spill_pairs()?;
        let Some(room) = self.room().filter(|_| self.keys.has_columns()) else { return Ok(()) };
        let cold = self.recency.take_cold(self.groups.len(), room);
        for pairs in self.states.iter_mut().filter_map(|states| states.pairs_mut()) {
            pairs.spill_groups(&self.keys, &cold)?;
        }
        let group_bytes = self.group_bytes() / self.groups.len().max(1);
        let at_once = self.spilling.memory.rows_at_once(SPILLED_GROUPS, group_bytes);
        for (part, groups) in self.unwritten.parts(&cold) {
            for groups in groups.chunks(at_once) {
                self.group_rows(groups)?.iter().try_for_each(|batch| self.spilling.put(part, batch))?;
            }
        }
        let live = others(&cold, self.groups.len());
        self.unwritten.keep(&live);
        self.keep(&live)
    }

    /// Takes groups back that are new to the keys, whose numbers begin at `known`.
    pub(super) fn take_back(&mut self, known: usize) -> Result<()> {
        let new: Vec<u32> = (known as u32..self.keys.len() as u32).collect();
        if new.is_empty() || self.spilling.len() == 0 {
            return Ok(());
        }
        let Some(TakenRows { rows, places, .. }) = self.spilling.groups.take(&self.keys.keys(&new)?)? else {
            return Ok(());
        };
        // Numbers that follow each other are read at once.
        let mut start = 0;
        for same in places.chunk_by(|a, b| a + 1 == *b) {
            self.read_back(known + same[0], &rows.slice(start, same.len()))?;
            start += same.len();
        }
        Ok(())
    }

    /// Takes up what is known of groups from number `first` on.
    fn read_back(&mut self, first: usize, rows: &RecordBatch) -> Result<()> {
        self.groups.resize(first, Group::NEW);
        for (call, states) in self.states.iter_mut().enumerate() {
            states.read(first, &columns_of(rows, call))?;
        }
        let (counts, touched) = (named(rows, "rows")?, named(rows, "touched")?);
        let (counts, touched) = (counts.as_primitive::<Int64Type>(), touched.as_primitive::<Int64Type>());
        let known = named(rows, "known")?.as_boolean();
        self.groups.extend((0..rows.num_rows()).map(|row| Group {
            rows: counts.value(row),
            known: known.value(row),
            touched: touched.value(row),
            ..Group::NEW
        }));
        Ok(())
    }

    /// Lets all groups on disk go, to whom they are shown.
    pub(super) fn take_spilled(&mut self) -> Result<Option<GroupBatches>> {
        let Some(view) = self.spilling.view(None) else { return Ok(None) };
        self.spilling.groups.clear();
        view.batches().map(Some)
    }
}
