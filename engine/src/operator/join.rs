//! Joins rows with equal keys for as long as both are there, and emits how the result changes.
//!
//! A batch of one side is looked up among the rows that the other side has: symmetric hash join (Wilschut
//! and Apers, 1991). Keys are numbered over both sides, so a key's rows are a list that begins at its
//! number. Where rows without a partner matter, each row knows how many it has.

mod side;
mod spilling;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter, filter_record_batch, not, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::change::{ChangeOp, change_array, change_column_index, change_ops};
use tidemill_plans::node::{JoinKind, JoinNode, JoinSide};
use tidemill_plans::time::{EventTime, Watermark};

use self::side::{END, Side};
use self::spilling::Spilling;
use super::Operator;
use super::filter::holds;
use super::key_index::KeyIndex;
use super::numbered_rows::NO_ROW;
use super::state_rows::{STATE_ROWS, in_order_of_ids, least_watermark};
use super::window_aggregate::conform;
use crate::error::Result;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// Pairs that are put together at a time: a key may have any number of rows.
const PAIRS_MAX: usize = if cfg!(test) { 3 } else { 1 << 14 };

/// The side of each port.
const PORTS: [JoinSide; 2] = [JoinSide::Left, JoinSide::Right];

/// What the sides are called in state.
const NAMES: [&str; 2] = ["left", "right"];

/// See [`JoinNode`].
pub(super) struct Join {
    kind: JoinKind,
    filter: Option<Arc<dyn PhysicalExpr>>,
    pairs: SchemaRef,
    output: SchemaRef,
    /// Whether the output says what each row does.
    is_changelog: bool,
    keys: KeyIndex,
    sides: [Side; 2],
    spilling: Spilling,
    /// Rows of a port that are still to be joined.
    rest: Option<(usize, RecordBatch)>,
    ttl: [Option<i64>; 2],
    /// Rows are not looked through for old ones before the watermark is here.
    next_clean_up: EventTime,
}

/// A batch of one side that is being joined.
struct Probe {
    port: usize,
    /// Without the changelog column.
    rows: RecordBatch,
    ops: Vec<ChangeOp>,
    /// The number of each row's key.
    keys: Vec<usize>,
    /// How many partners each row has found.
    partners: Vec<u32>,
}

/// Rows to be emitted, each a row of the probe beside a row of the other side; [`NO_ROW`] for NULLs.
#[derive(Default)]
struct Emission {
    mine: Vec<u32>,
    theirs: Vec<u32>,
    ops: Vec<ChangeOp>,
}

impl Emission {
    fn push(&mut self, mine: u32, theirs: u32, op: ChangeOp) {
        self.mine.push(mine);
        self.theirs.push(theirs);
        self.ops.push(op);
    }
}

impl Join {
    pub(super) fn new(
        node: &JoinNode,
        left: &SchemaRef,
        right: &SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let pairs = Arc::clone(&node.pairs.0);
        let filter = node.filter.as_ref().map(|filter| filter.to_physical(&pairs)).transpose()?;
        // Where only pairs come out, nobody asks how many partners a row has.
        let counts = |side| node.kind.keeps_unmatched(side) || node.kind.single_side() == Some(side);
        let spilling = Spilling::new(memory, &node.left_keys);
        Ok(Self {
            kind: node.kind,
            filter,
            pairs,
            is_changelog: change_column_index(&output).is_some(),
            output,
            keys: KeyIndex::new(left, &node.left_keys)?,
            sides: [
                Side::new(left, &node.left_keys, node.times[0], counts(JoinSide::Left))?,
                Side::new(right, &node.right_keys, node.times[1], counts(JoinSide::Right))?,
            ],
            spilling,
            rest: None,
            ttl: node.ttl,
            next_clean_up: EventTime::MIN,
        })
    }

    /// Joins a batch, and keeps it for what comes on the other side.
    fn join(&mut self, port: usize, batch: &RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let side = &self.sides[port];
        let (rows, ops) = (batch.project(&(0..side.width).collect::<Vec<_>>())?, change_ops(batch)?);
        let (mut keys, known) = (Vec::new(), self.keys.len());
        self.keys.find(&rows, &side.keys, &mut keys)?;
        self.sides.iter_mut().for_each(|side| side.grow(self.keys.len()));
        self.take_back(known)?;
        self.note_recent(&keys);
        let partners = vec![0; rows.num_rows()];
        let mut probe = Probe { port, rows, ops, keys, partners };
        self.find_partners(&mut probe, ctx)?;
        self.emit_own(&probe, ctx)?;
        self.sides[port].change(probe.rows, &probe.ops, &probe.keys, &probe.partners)?;
        self.bound_changes();
        self.spill()
    }

    fn bound_changes(&mut self) {
        for (port, side) in self.sides.iter_mut().enumerate() {
            side.bound_changes(self.spilling.sides[port].len());
        }
    }

    /// Looks every row up on the other side, and emits what follows from the pairs.
    fn find_partners(&mut self, probe: &mut Probe, ctx: &mut OperatorContext) -> Result<()> {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for row in 0..probe.keys.len() {
            let other = &self.sides[1 - probe.port];
            let mut place = other.first(probe.keys[row]);
            while place != END {
                mine.push(row as u32);
                theirs.push(place);
                place = self.sides[1 - probe.port].next(place);
                if mine.len() == PAIRS_MAX {
                    self.take_pairs(probe, &mine, &theirs, ctx)?;
                    mine.clear();
                    theirs.clear();
                }
            }
        }
        self.take_pairs(probe, &mine, &theirs, ctx)
    }

    fn take_pairs(&mut self, probe: &mut Probe, mine: &[u32], theirs: &[u32], ctx: &mut OperatorContext) -> Result<()> {
        if mine.is_empty() {
            return Ok(());
        }
        if self.kind == JoinKind::Inner {
            return self.emit_inner(probe, mine, theirs, ctx);
        }
        let holding = match &self.filter {
            Some(filter) => Some(holds(filter.as_ref(), &self.pair(probe, mine, theirs)?)?),
            None => None,
        };
        let mut emission = Emission::default();
        for (place, (row, partner)) in mine.iter().zip(theirs).enumerate() {
            if holding.as_ref().is_some_and(|holding| !holding.value(place)) {
                continue;
            }
            probe.partners[*row as usize] += 1;
            self.take_pair(probe, *row, *partner, &mut emission);
        }
        self.emit(probe, &emission, ctx)
    }

    /// The pairs themselves, where nothing else follows from them.
    fn emit_inner(&self, probe: &Probe, mine: &[u32], theirs: &[u32], ctx: &mut OperatorContext) -> Result<()> {
        let mut pairs = self.pair(probe, mine, theirs)?;
        let mut ops = self
            .is_changelog
            .then(|| change_array(&mine.iter().map(|row| probe.ops[*row as usize]).collect::<Vec<_>>()));
        if let Some(condition) = &self.filter {
            let keep = holds(condition.as_ref(), &pairs)?;
            pairs = filter_record_batch(&pairs, &keep)?;
            ops = ops.map(|ops| filter(&ops, &keep)).transpose()?;
        }
        let columns = pairs.columns().iter().cloned().chain(ops).collect();
        ctx.emit(conform(columns, &self.output)?);
        Ok(())
    }

    /// What follows from one pair: itself, and that its row of the other side has a partner more or less.
    fn take_pair(&mut self, probe: &Probe, row: u32, partner: u32, emission: &mut Emission) {
        let (op, other) = (probe.ops[row as usize], 1 - probe.port);
        let turned = self.sides[other].count_partner(partner, op.adds());
        let side = PORTS[other];
        if !self.kind.pairs() {
            // The other side's row comes out once it has a partner, or goes then.
            if turned && self.kind.single_side() == Some(side) {
                let comes = op.adds() != self.kind.keeps_unmatched(side);
                emission.push(NO_ROW, partner, if comes { ChangeOp::Insert } else { ChangeOp::Delete });
            }
            return;
        }
        let is_padded = turned && self.kind.keeps_unmatched(side);
        // What goes comes first: a key has one row at every moment.
        if op.adds() {
            if is_padded {
                emission.push(NO_ROW, partner, ChangeOp::Delete);
            }
            emission.push(row, partner, op);
        } else {
            emission.push(row, partner, op);
            if is_padded {
                emission.push(NO_ROW, partner, ChangeOp::Insert);
            }
        }
    }

    /// The rows of the batch that come out by themselves: those without a partner, or with one in a semi
    /// join.
    fn emit_own(&self, probe: &Probe, ctx: &mut OperatorContext) -> Result<()> {
        let side = PORTS[probe.port];
        let unmatched = self.kind.keeps_unmatched(side);
        if !unmatched && self.kind.single_side() != Some(side) {
            return Ok(());
        }
        let mut emission = Emission::default();
        for (row, partners) in probe.partners.iter().enumerate() {
            if (*partners == 0) == unmatched {
                emission.push(row as u32, NO_ROW, probe.ops[row]);
            }
        }
        self.emit(probe, &emission, ctx)
    }

    /// Rows without a key match nothing: they come out if rows without a partner do.
    fn pass_keyless(&self, port: usize, batch: &RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let rows = batch.project(&(0..self.sides[port].width).collect::<Vec<_>>())?;
        let partners = vec![0; rows.num_rows()];
        let probe = Probe { port, rows, ops: change_ops(batch)?, keys: Vec::new(), partners };
        self.emit_own(&probe, ctx)
    }

    fn emit(&self, probe: &Probe, emission: &Emission, ctx: &mut OperatorContext) -> Result<()> {
        if emission.ops.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (port, side) in PORTS.into_iter().enumerate() {
            if self.kind.single_side().is_none_or(|single| single == side) {
                columns.extend(self.columns_of(port, probe, &emission.mine, &emission.theirs)?);
            }
        }
        if self.is_changelog {
            columns.push(change_array(&emission.ops));
        }
        ctx.emit(conform(columns, &self.output)?);
        Ok(())
    }

    fn pair(&self, probe: &Probe, mine: &[u32], theirs: &[u32]) -> Result<RecordBatch> {
        let mut columns = self.columns_of(0, probe, mine, theirs)?;
        columns.extend(self.columns_of(1, probe, mine, theirs)?);
        conform(columns, &self.pairs)
    }

    /// The columns of one side, whether the probe has its rows or holds them against the other's.
    fn columns_of(&self, side: usize, probe: &Probe, mine: &[u32], theirs: &[u32]) -> Result<Vec<ArrayRef>> {
        if side != probe.port {
            return Ok(self.sides[side].rows.gather(theirs)?.columns().to_vec());
        }
        let rows: UInt32Array = mine.iter().map(|row| Some(*row).filter(|row| *row != NO_ROW)).collect();
        Ok(take_arrays(probe.rows.columns(), &rows, None)?)
    }

    fn restore_side(&mut self, port: usize, state: &StateReader<'_>) -> Result<()> {
        self.sides[port].watermark = least_watermark(state, "watermark")?;
        self.sides[port].begin();
        let mut keys = Vec::new();
        // What is read is put in order beside what has been taken up, which leaves it that room.
        let memory = self.spilling.memory.shared_by(4);
        self.spilling.beside = memory.bytes_max.unwrap_or_default();
        for batch in in_order_of_ids(state.batches("rows")?, &memory)? {
            let (mut known, keys_before) = (self.sides[port].read(&batch?)?, self.keys.len());
            if state.epoch().is_none() {
                self.sides[port].renumber(&mut known);
            }
            self.keys.find(&known.rows, &self.sides[port].keys, &mut keys)?;
            self.sides.iter_mut().for_each(|side| side.grow(self.keys.len()));
            self.take_back(keys_before)?;
            self.sides[port].take_up(&known, &keys)?;
            self.spill()?;
        }
        self.sides[port].end();
        self.spilling.beside = 0;
        Ok(())
    }

    /// Forgets rows that are older than they may become, and what is gone, when there is enough of it.
    fn clean_up(&mut self, watermark: Watermark) -> Result<()> {
        let shortest = self.ttl.iter().flatten().min().copied();
        if let Some(ttl) = shortest.filter(|_| watermark.0 >= self.next_clean_up && !watermark.is_end()) {
            self.next_clean_up = watermark.0.plus(ttl / 4);
            for (port, ttl) in self.ttl.into_iter().enumerate() {
                let Some(oldest) = ttl.map(|ttl| watermark.0.plus(-ttl)) else { continue };
                self.sides[port].drop_before(oldest);
                let (side, on_disk) = (&mut self.sides[port], &mut self.spilling.sides[port]);
                match side.notes_gone() {
                    true => on_disk.take_before(oldest.0, STATE_ROWS, |rows| side.note_gone(&rows))?,
                    false => on_disk.drop_before(oldest.0, false).map(drop)?,
                }
            }
            self.bound_changes();
        }
        if self.sides.iter().any(Side::wants_clean_up) {
            self.compact()?;
        }
        Ok(())
    }

    /// Keeps the rows that are there, and their keys.
    fn compact(&mut self) -> Result<()> {
        let [left, right] = &self.sides;
        let live: Vec<u32> = (0..self.keys.len())
            .filter(|key| left.first(*key) != END || right.first(*key) != END)
            .map(|key| key as u32)
            .collect();
        let mut places = vec![0; self.keys.len()];
        live.iter().enumerate().for_each(|(new, old)| places[*old as usize] = new as u32);
        for side in &mut self.sides {
            side.compact(&places, live.len())?;
        }
        self.spilling.keep(&live);
        self.keys.keep(&live)
    }
}

impl Operator for Join {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let keys = self.sides[port].keys.iter().map(|key| batch.column(*key));
        let nulls = keys.fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.nulls()));
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
            self.rest = Some((port, batch));
            return self.on_more(ctx);
        };
        let known = BooleanArray::new(nulls.into_inner(), None);
        self.pass_keyless(port, &filter_record_batch(&batch, &not(&known)?)?, ctx)?;
        let batch = filter_record_batch(&batch, &known)?;
        self.rest = Some((port, batch)).filter(|(_, batch)| batch.num_rows() > 0);
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.rest.is_some()
    }

    /// Joins as many rows as may bring theirs back from disk at a time.
    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let Some((port, batch)) = self.rest.take() else { return Ok(()) };
        let (all, rows) = (batch.num_rows(), self.rows_at_once(batch.num_rows()));
        self.rest = (rows < all).then(|| (port, batch.slice(rows, all - rows)));
        self.join(port, &batch.slice(0, rows), ctx)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        for (port, side) in self.sides.iter_mut().enumerate() {
            side.watermark = watermarks.port(port);
        }
        self.clean_up(watermarks.min())?;
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("next_clean_up", &self.next_clean_up)?;
        for (port, (side, name)) in self.sides.iter_mut().zip(NAMES).enumerate() {
            let on_disk = &mut self.spilling.sides[port];
            let only = side.snapshot(&self.spilling.memory, on_disk.len(), &mut state.part(name))?;
            if let Some(spilled) = on_disk.view(only, STATE_ROWS) {
                state.part(name).later("rows", side.belongs(), Arc::new(spilled.without_keys()));
            }
            on_disk.note_written();
        }
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.next_clean_up = state.values("next_clean_up")?.into_iter().min().unwrap_or(EventTime::MIN);
        NAMES.iter().enumerate().try_for_each(|(port, name)| self.restore_side(port, &state.part(name)))
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.sides.iter().map(Side::bytes).sum::<usize>() + self.spilling.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.spilling.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
