//! The best rows of each partition, where rows are never taken away.
//!
//! Most rows come too late to be among the best of their partition: one look at a number per partition
//! turns them away. What is kept stays in the batch that it came in ([`RowStore`]).

mod spilling;

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows};
use tidemill_plans::change::ChangeOp;
use tidemill_plans::node::TopNNode;
use tidemill_plans::time::Watermark;

use super::row_store::{Incoming, RowStore};
use super::{Changes, KeptRows, Named, OUTPUT_ROWS, SLICE_ROWS};
use crate::error::Result;
use crate::operator::changed_keys::{Changed, ChangedKeys};
use crate::operator::held_rows::Place;
use crate::operator::partitions::{OrderKeys, Partitions, all_fields, keep_live, prefix};
use crate::operator::spilled_partitions::{Back, Table};
use crate::state::spill::Part;
use crate::state::{StateMemory, StateReader, StateWriter};

/// See the [module](self).
pub(super) struct BestRows {
    limit: usize,
    by_rank: bool,
    partitions: Partitions,
    keys: OrderKeys,
    best: Best,
    marks: Marks,
    /// The partitions whose rows have changed since they were written.
    unwritten: ChangedKeys,
}

/// The best rows themselves.
struct Best {
    store: RowStore,
    /// Of each partition, best first.
    places: Vec<Places>,
    /// Of each partition that is full, the prefix of its last row's order.
    last: Vec<u128>,
    /// Encodes whole rows, for those that ORDER BY does not tell apart.
    whole: RowConverter,
}

/// Rows of a partition. A single one needs no heap.
enum Places {
    /// None have come yet.
    None,
    One(Place),
    Many(Vec<Place>),
}

/// What downstream knows of partitions that may have changed.
#[derive(Default)]
struct Marks {
    /// Of each partition, whether it is marked.
    marked: Vec<bool>,
    /// The marked partitions and how many rows of each are known.
    changed: Vec<(u32, u32)>,
    /// Those rows, one partition behind another.
    known: Vec<Place>,
}

/// The last row of a partition that is not full is behind every other.
const NOT_FULL: u128 = u128::MAX;

impl BestRows {
    pub(super) fn new(node: &TopNNode, input: SchemaRef, memory: &StateMemory) -> Result<Self> {
        Ok(Self {
            limit: usize::try_from(node.limit).unwrap_or(usize::MAX),
            // Of a single row there is nothing but its rank to tell the old from the new.
            by_rank: node.rank || node.limit == 1,
            partitions: Partitions::new(&input, &node.partition, node.ttl, memory)?,
            keys: OrderKeys::new(&node.order_by, &input)?,
            best: Best {
                whole: RowConverter::new(all_fields(&input))?,
                store: RowStore::new(input),
                places: Vec::new(),
                last: Vec::new(),
            },
            marks: Marks::default(),
            unwritten: ChangedKeys::default(),
        })
    }

    /// The rows of the marked partitions that came and went.
    fn changed(&self) -> Named<Place> {
        let mut named = Named::new();
        let mut known = self.marks.known.as_slice();
        for (partition, rows) in &self.marks.changed {
            let (before, rest) = known.split_at(*rows as usize);
            known = rest;
            let after = self.best.places[*partition as usize].as_slice();
            if self.by_rank {
                named.by_rank(before, after);
                continue;
            }
            before.iter().filter(|place| self.best.store.is_gone(**place)).for_each(|place| {
                named.push(place, ChangeOp::Delete, 0);
            });
            after.iter().filter(|place| self.best.store.is_fresh(**place)).for_each(|place| {
                named.push(place, ChangeOp::Insert, 0);
            });
        }
        named
    }

    /// Forgets the marks; only now may rows that are gone be forgotten.
    fn clear(&mut self) -> Result<()> {
        for (partition, _) in self.marks.changed.drain(..) {
            self.marks.marked[partition as usize] = false;
            self.unwritten.note(partition as usize);
        }
        self.marks.known.clear();
        let Best { store, places, .. } = &mut self.best;
        store.tidy(&self.keys, |partition, old, new| places[partition].replace(old, new))
    }

    /// Keeps these partitions only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) {
        self.best.keep(live);
        self.marks.marked = vec![false; live.len()];
    }

    /// Takes rows of these partitions in, if they are among the best.
    fn take_in(&mut self, batch: &RecordBatch, partitions: &[usize]) -> Result<()> {
        self.take_back()?;
        let mut incoming = self.best.store.incoming(batch, self.keys.of(batch)?);
        let mut whole = None;
        for (row, partition) in partitions.iter().enumerate() {
            let prefix = prefix(incoming.order.row(row).data());
            if prefix <= self.best.last[*partition] {
                let mut newcomer = Newcomer { row, prefix, incoming: &mut incoming, whole: &mut whole };
                self.best.contend(*partition, &mut newcomer, self.limit, &mut self.marks)?;
            }
        }
        self.best.store.push(incoming, &self.keys)
    }

    /// The rows of these partitions, best first.
    fn rows_of(&self, partitions: &[u32]) -> impl Iterator<Item = Result<RecordBatch>> {
        let own = |partition: &u32| self.best.places[*partition as usize].as_slice();
        let places: Vec<Place> = partitions.iter().flat_map(own).copied().collect();
        (0..places.len())
            .step_by(OUTPUT_ROWS)
            .map(move |start| self.best.store.gather(&places[start..places.len().min(start + OUTPUT_ROWS)]))
    }

    /// The rows of the partitions that have changed since they were written, or `all` of them. They are written now.
    pub(super) fn take_rows(&mut self, all: bool, state: &StateWriter<'_>) -> Result<Vec<RecordBatch>> {
        let changed = self.unwritten.take(state).filter(|_| !all);
        self.rows_of(&changed.map_or_else(|| self.partitions.all(), |changed| changed.numbers)).collect()
    }

    /// Its rows have been restored: changes from now on may go on from them.
    pub(super) fn begin(&mut self) {
        self.unwritten.begin();
    }

    /// The best row of each partition.
    pub(super) fn best_of_each(&self) -> Result<RecordBatch> {
        let best = self.best.places.iter().flat_map(|places| places.as_slice().first());
        self.best.store.gather(&best.copied().collect::<Vec<_>>())
    }

    /// Bytes held besides the rows.
    fn index_bytes(&self) -> usize {
        self.best.places.capacity() * (size_of::<Places>() + size_of::<u128>() + size_of::<bool>())
            + self.marks.changed.capacity() * size_of::<(u32, u32)>()
            + self.marks.known.capacity() * size_of::<Place>()
    }
}

impl KeptRows for BestRows {
    fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        let partitions = self.partitions.of(batch)?.to_vec();
        self.take_in(batch, &partitions)
    }

    fn has_changes(&self) -> bool {
        !self.marks.changed.is_empty()
    }

    fn changes(&mut self) -> Result<Changes> {
        let named = self.changed();
        let rows = self.best.store.gather(&named.rows)?;
        self.clear()?;
        Ok(named.with_rows(rows))
    }

    fn forget_changes(&mut self) -> Result<()> {
        self.clear()
    }

    fn slice(&self, from: &mut usize) -> Result<Option<Changes>> {
        let mut named = Named::new();
        for places in self.best.places.get(*from..).unwrap_or_default() {
            if named.rows.len() >= SLICE_ROWS {
                break;
            }
            named.insert_all(places.as_slice());
            *from += 1;
        }
        if named.rows.is_empty() {
            return Ok(None);
        }
        let rows = self.best.store.gather(&named.rows)?;
        Ok(Some(named.with_rows(rows)))
    }

    fn wants_clean_up(&mut self, watermark: Watermark) -> bool {
        self.partitions.wants_clean_up(watermark)
    }

    fn drop_old(&mut self) -> Result<()> {
        debug_assert!(self.marks.changed.is_empty(), "changes are taken before partitions are dropped");
        let Some(dropped) = self.partitions.drop_old(|_, young| young)? else { return Ok(()) };
        self.unwritten.note_dropped(&dropped);
        self.keep(&dropped.live);
        self.clear()
    }

    fn lacks_room(&self) -> bool {
        self.partitions.lacks_room(self.bytes(), 0)
    }

    fn spill(&mut self) -> Result<()> {
        self.spill_cold()
    }

    fn next_spilled(&mut self) -> Result<bool> {
        if !self.partitions.next_spilled()? {
            return Ok(false);
        }
        self.keep(&[]);
        self.clear()?;
        self.take_back()?;
        Ok(true)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        debug_assert!(self.marks.changed.is_empty(), "changes are taken before state is written");
        let belongs = self.partitions.belongs();
        let changed = self.unwritten.take(state).zip(self.partitions.row_keys());
        let only = changed.as_ref().map(|_| Part::Unwritten);
        let numbers = match changed {
            Some((Changed { numbers, gone }, [keys, _])) => {
                state.changes("rows", belongs.clone(), keys, [], gone);
                numbers
            }
            None => (0..self.best.places.len() as u32).collect(),
        };
        state.behind("rows", belongs.clone(), self.partitions.memory(), self.rows_of(&numbers))?;
        self.partitions.write_spilled(Table::Rows, "rows", belongs, only, state);
        self.partitions.snapshot(&mut state.part("partitions"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.partitions.restore_spilled(&state.part("partitions"))?;
        for batch in state.batches("rows")? {
            let batch = batch?;
            let partitions = self.partitions.of_known(&batch)?.to_vec();
            self.take_in(&batch, &partitions)?;
            self.forget_changes()?;
            self.spill()?;
        }
        self.begin();
        self.partitions.restore(&state.part("partitions"))
    }

    fn bytes(&self) -> usize {
        self.best.store.bytes() + self.partitions.bytes() + self.index_bytes() + self.unwritten.bytes()
    }

    fn disk_bytes(&self) -> u64 {
        self.partitions.disk_bytes()
    }
}

/// A row that may be among the best of its partition.
struct Newcomer<'a, 'b> {
    row: usize,
    prefix: u128,
    incoming: &'a mut Incoming<'b>,
    /// The whole rows of the batch as bytes, once they are needed.
    whole: &'a mut Option<Rows>,
}

impl Best {
    /// Makes room for so many partitions.
    fn grow(&mut self, partitions: usize) {
        self.places.resize_with(partitions, || Places::None);
        self.last.resize(partitions, NOT_FULL);
    }

    /// Takes up rows that partitions had, best first. They have no others.
    fn take_up(&mut self, Back { rows, numbers }: &Back, keys: &OrderKeys, limit: usize) -> Result<()> {
        let mut incoming = self.store.incoming(rows, keys.of(rows)?);
        for (row, partition) in numbers.iter().enumerate() {
            let place = incoming.admit(row, *partition);
            let places = &mut self.places[*partition];
            places.insert(places.as_slice().len(), place, limit);
            if places.as_slice().len() == limit {
                self.last[*partition] = prefix(incoming.order.row(row).data());
            }
        }
        self.store.push_known(incoming, keys)
    }

    /// Takes a row in if it is before the last of its partition.
    fn contend(&mut self, partition: usize, new: &mut Newcomer<'_, '_>, limit: usize, marks: &mut Marks) -> Result<()> {
        let places = self.places[partition].as_slice();
        let full = places.len() == limit;
        let (mut low, mut high) = (0, places.len());
        if full {
            high -= 1;
            let last = places[high];
            if new.prefix == self.last[partition] && self.compare(new, last)? != Ordering::Less {
                return Ok(());
            }
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(new, self.places[partition].as_slice()[middle])? {
                Ordering::Less => high = middle,
                Ordering::Equal | Ordering::Greater => low = middle + 1,
            }
        }
        marks.mark(partition, self.places[partition].as_slice());
        let place = new.incoming.admit(new.row, partition);
        let Some(gone) = self.places[partition].insert(low, place, limit) else {
            if self.places[partition].as_slice().len() == limit {
                self.last[partition] = self.last_prefix(partition, new);
            }
            return Ok(());
        };
        self.last[partition] = self.last_prefix(partition, new);
        if gone.0 == new.incoming.number {
            new.incoming.release(gone)
        } else {
            self.store.release(gone)
        }
        Ok(())
    }

    /// Where a new row stands to one that is kept: by ORDER BY, then by all columns.
    fn compare(&mut self, new: &mut Newcomer<'_, '_>, kept: Place) -> Result<Ordering> {
        let own = kept.0 == new.incoming.number;
        let key = new.incoming.order.row(new.row);
        let by_order = match own {
            true => key.data().cmp(new.incoming.order.row(new.incoming.row(kept)).data()),
            false => key.data().cmp(self.store.order(kept)),
        };
        if by_order != Ordering::Equal {
            return Ok(by_order);
        }
        let whole = match &mut *new.whole {
            Some(whole) => whole,
            none => none.insert(self.whole.convert_columns(new.incoming.batch.columns())?),
        };
        let row = whole.row(new.row);
        if own {
            return Ok(row.cmp(&whole.row(new.incoming.row(kept))));
        }
        self.store.compare_whole(row, kept, &self.whole)
    }

    /// Keeps these partitions only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) {
        let mut numbers = vec![None; self.places.len()];
        live.iter().enumerate().for_each(|(new, old)| numbers[*old as usize] = Some(new as u32));
        for (places, _) in self.places.iter().zip(&numbers).filter(|(_, number)| number.is_none()) {
            places.as_slice().iter().for_each(|place| self.store.release(*place));
        }
        self.store.renumber(&numbers);
        self.places = keep_live(std::mem::take(&mut self.places), live);
        self.last = keep_live(std::mem::take(&mut self.last), live);
    }

    fn last_prefix(&self, partition: usize, new: &Newcomer<'_, '_>) -> u128 {
        match self.places[partition].as_slice().last() {
            Some(last) if last.0 == new.incoming.number => {
                prefix(new.incoming.order.row(new.incoming.row(*last)).data())
            }
            Some(last) => prefix(self.store.order(*last)),
            None => NOT_FULL,
        }
    }
}

impl Places {
    fn as_slice(&self) -> &[Place] {
        match self {
            Self::None => &[],
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }

    /// Puts a row in; returns the one that is too many.
    fn insert(&mut self, at: usize, place: Place, limit: usize) -> Option<Place> {
        match self {
            Self::None => *self = Self::One(place),
            Self::One(only) if limit == 1 => return Some(std::mem::replace(only, place)),
            Self::One(only) => *self = Self::Many(if at == 0 { vec![place, *only] } else { vec![*only, place] }),
            Self::Many(places) => {
                places.insert(at, place);
                if places.len() > limit {
                    return places.pop();
                }
            }
        }
        None
    }

    fn replace(&mut self, old: Place, new: Place) {
        let places: &mut [Place] = match self {
            Self::None => &mut [],
            Self::One(only) => std::slice::from_mut(only),
            Self::Many(places) => places,
        };
        if let Some(place) = places.iter_mut().find(|place| **place == old) {
            *place = new;
        }
    }
}

impl Marks {
    /// A partition that is about to change.
    fn mark(&mut self, partition: usize, known: &[Place]) {
        if !std::mem::replace(&mut self.marked[partition], true) {
            self.changed.push((partition as u32, known.len() as u32));
            self.known.extend_from_slice(known);
        }
    }
}
