//! Window functions over rows in any order, which may be taken away: a partition that changes is
//! computed anew.
//!
//! That is right for every function and frame, and costs a pass over the partition each time that rows
//! of it come, however many come together.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::RowConverter;
use tidemill_plans::change::{ChangeOp, change_array};
use tidemill_plans::node::{OverEmit, OverWindowNode};

use super::call::{Call, PartitionRows, Prepared};
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::changed_keys::{Changed, ChangedKeys};
use crate::operator::partitions::{all_fields, keep_live};
use crate::operator::sorted_rows::{Encoded, SortedRows, difference};
use crate::operator::spilled_partitions::Back;
use crate::operator::state_rows::STATE_ROWS;
use crate::operator::window_aggregate::conform;
use crate::state::spill::Part;
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{EndReason, OperatorContext, PortWatermarks};

/// Partitions are computed together until they have so many rows.
const CHUNK_ROWS: usize = 1 << 13;

/// See the [module](self).
pub(super) struct UpdatingOver {
    at_end: bool,
    /// For how long changes are gathered, if this was said.
    gathers_for: Option<Duration>,
    calls: Vec<Call>,
    prepared: Prepared,
    prepared_schema: SchemaRef,
    rows: SortedRows,
    /// What downstream knows of each partition, in order.
    known: Vec<Vec<Encoded>>,
    known_bytes: usize,
    /// The partitions of which it knows something else than what was written.
    unwritten: ChangedKeys,
    /// Of the output without its changelog column.
    converter: RowConverter,
    values_schema: SchemaRef,
    output: SchemaRef,
}

/// Some partitions with the values of their rows.
struct Computed {
    rows: RecordBatch,
    /// How many rows each partition has.
    lengths: Vec<usize>,
}

impl UpdatingOver {
    pub(super) fn new(
        node: &OverWindowNode,
        input: &SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let rows = SortedRows::new(input, &node.partition, &node.order_by, node.ttl, memory)?;
        let mut prepared = Prepared::new(Arc::clone(rows.schema()));
        let call = |call| Call::new(call, &node.order_by, rows.schema(), &mut prepared);
        let calls = node.functions.iter().map(call).collect::<Result<Vec<_>>>()?;
        let values_schema = Arc::new(Schema::new(output.fields()[..output.fields().len() - 1].to_vec()));
        Ok(Self {
            at_end: node.emit == OverEmit::AtEnd,
            gathers_for: node.gather_ms.map(Duration::from_millis),
            calls,
            prepared_schema: prepared.schema(),
            prepared,
            rows,
            known: Vec::new(),
            known_bytes: 0,
            unwritten: ChangedKeys::default(),
            converter: RowConverter::new(all_fields(&values_schema))?,
            values_schema,
            output,
        })
    }

    /// Computes partitions, some at a time.
    fn compute(&self, partitions: &[usize], mut take: impl FnMut(Computed) -> Result<()>) -> Result<()> {
        let (mut rows, mut lengths) = (Vec::new(), Vec::new());
        for (index, partition) in partitions.iter().enumerate() {
            let own = self.rows.partition(*partition).first(usize::MAX);
            lengths.push(own.len());
            rows.extend(own);
            if rows.len() >= CHUNK_ROWS || index + 1 == partitions.len() {
                let computed = self.append_values(&std::mem::take(&mut rows), std::mem::take(&mut lengths))?;
                take(computed)?;
            }
        }
        Ok(())
    }

    /// The rows of partitions, one behind another, with their values.
    fn append_values(&self, rows: &[Encoded], lengths: Vec<usize>) -> Result<Computed> {
        let rows = self.rows.decode(rows)?;
        let prepared = self.prepared.rows(&rows, &self.prepared_schema)?;
        let mut columns = rows.columns().to_vec();
        for call in &self.calls {
            let (mut values, mut start): (Vec<ArrayRef>, usize) = (Vec::new(), 0);
            for len in &lengths {
                values.push(call.evaluate(PartitionRows { rows: &prepared, start, len: *len })?);
                start += len;
            }
            columns.push(concat(&values.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?);
        }
        Ok(Computed { rows: conform(columns, &self.values_schema)?, lengths })
    }

    /// The rows of each computed partition as bytes, in order.
    fn encode(&self, computed: &Computed) -> Result<Vec<Vec<Encoded>>> {
        let encoded = self.converter.convert_columns(computed.rows.columns())?;
        let mut start = 0;
        let partition = |len: &usize| {
            let mut rows: Vec<Encoded> = (start..start + len).map(|row| Arc::from(encoded.row(row).data())).collect();
            start += len;
            rows.sort_unstable();
            rows
        };
        Ok(computed.lengths.iter().map(partition).collect())
    }

    /// Emits how the changed partitions differ from what downstream knows.
    fn flush(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let changed = self.rows.take_changed();
        let mut after = Vec::with_capacity(changed.len());
        self.compute(&changed, |computed| {
            after.extend(self.encode(&computed)?);
            Ok(())
        })?;
        self.known.resize_with(self.rows.partitions(), Vec::new);
        let (mut rows, mut ops) = (Vec::new(), Vec::new());
        for (partition, after) in changed.into_iter().zip(after) {
            let before = std::mem::replace(&mut self.known[partition], after);
            self.note_changed(partition, &before)?;
            difference(&before, &self.known[partition], |row, side| {
                let gone = side == Ordering::Less;
                ops.push(if gone { ChangeOp::Delete } else { ChangeOp::Insert });
                rows.push(Arc::clone(row));
            });
            self.known_bytes += bytes(&self.known[partition]);
            self.known_bytes -= bytes(&before);
        }
        if ops.is_empty() {
            return Ok(());
        }
        let mut columns = self.decode(&rows)?;
        columns.push(change_array(&ops));
        ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), columns)?);
        Ok(())
    }

    /// Notes that downstream knows something else of a partition than these rows.
    fn note_changed(&mut self, partition: usize, before: &[Encoded]) -> Result<()> {
        self.unwritten.note(partition);
        let Some(last) = before.first().filter(|_| self.known[partition].is_empty()) else { return Ok(()) };
        if let (true, Belongs::ToKeys(columns)) = (self.unwritten.is_noting(), self.rows.belongs()) {
            let gone = RecordBatch::try_new(Arc::clone(&self.values_schema), self.decode(std::slice::from_ref(last))?)?;
            self.unwritten.note_gone(gone.project(&columns)?, self.known.len());
        }
        Ok(())
    }

    /// Rows with their values as columns again.
    fn decode(&self, rows: &[Encoded]) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.iter().map(|row| parser.parse(row)))?)
    }

    /// Writes what downstream knows. It could be computed from the rows, but for functions that say
    /// something else each time.
    fn snapshot_known(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let (changed, belongs) = (self.unwritten.take(state).zip(self.rows.row_keys()), self.rows.belongs());
        let only = changed.as_ref().map(|_| Part::Unwritten);
        let numbers = match changed {
            Some((Changed { numbers, gone }, keys)) => {
                state.changes("known", belongs.clone(), keys, [], gone);
                numbers
            }
            None => (0..self.known.len() as u32).collect(),
        };
        let known = numbers.iter().flat_map(|partition| &self.known[*partition as usize]).map(Arc::clone);
        let known: Vec<Encoded> = known.collect();
        let batch = |rows| Ok(RecordBatch::try_new(Arc::clone(&self.values_schema), self.decode(rows)?)?);
        state.behind("known", belongs, self.rows.memory(), known.chunks(STATE_ROWS).map(batch))?;
        self.rows.write_known("known", only, state);
        Ok(())
    }

    /// Has partitions go, if there is no room for all of them. Nothing waits to be emitted, or it waits for the end.
    fn spill(&mut self) -> Result<()> {
        let Some(cold) = self.rows.take_cold(self.state_bytes()) else { return Ok(()) };
        self.known.resize_with(self.rows.partitions(), Vec::new);
        self.rows.put_away(&cold)?;
        for (part, partitions) in self.unwritten.parts(&cold) {
            self.put_known_away(part, &partitions)?;
        }
        let live = self.rows.let_go(&cold)?;
        self.unwritten.keep(&live);
        self.keep(&live);
        Ok(())
    }

    fn put_known_away(&mut self, part: Part, partitions: &[u32]) -> Result<()> {
        let (mut rows, mut of) = (Vec::new(), Vec::new());
        for (index, partition) in partitions.iter().enumerate() {
            rows.append(&mut self.known[*partition as usize]);
            of.resize(rows.len(), *partition);
            if rows.len() >= STATE_ROWS || index + 1 == partitions.len() {
                let columns = self.decode(&std::mem::take(&mut rows))?;
                let batch = RecordBatch::try_new(Arc::clone(&self.values_schema), columns)?;
                self.rows.put_known(part, &batch, &std::mem::take(&mut of))?;
            }
        }
        Ok(())
    }

    /// Makes room for partitions that are new in memory, with what downstream knows of those that come back.
    fn take_back(&mut self) -> Result<()> {
        self.known.resize_with(self.rows.partitions(), Vec::new);
        let Some(Back { numbers, rows }) = self.rows.take_known_back()? else { return Ok(()) };
        // The next snapshot may lack what the store held.
        numbers.iter().for_each(|partition| self.unwritten.note(*partition));
        self.add_known(&rows, &numbers)
    }

    /// Adds rows that downstream knows of these partitions, in their order.
    fn add_known(&mut self, rows: &RecordBatch, partitions: &[usize]) -> Result<()> {
        let encoded = self.converter.convert_columns(rows.columns())?;
        for (partition, row) in partitions.iter().zip(encoded.iter()) {
            let row: [Encoded; 1] = [Arc::from(row.data())];
            self.known_bytes += bytes(&row);
            self.known[*partition].extend(row);
        }
        Ok(())
    }

    /// Keeps these partitions only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) {
        self.known = keep_live(std::mem::take(&mut self.known), live);
        self.known_bytes = self.known.iter().map(|rows| bytes(rows)).sum();
    }

    /// Forgets the partitions that no row has touched for long enough. Downstream is not told: it keeps its
    /// rows for as long as it wants.
    fn drop_old(&mut self) -> Result<()> {
        if let Some(dropped) = self.rows.drop_old()? {
            self.unwritten.note_dropped(&dropped);
            self.keep(&dropped.live);
        }
        Ok(())
    }
}

/// Bytes of rows with what holds them.
fn bytes(rows: &[Encoded]) -> usize {
    rows.iter().map(|row| row.len() + 2 * size_of::<Encoded>()).sum()
}

impl Operator for UpdatingOver {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        self.rows.apply(&batch, |_, _| {})?;
        self.take_back()?;
        if self.at_end {
            self.rows.take_changed();
        } else if self.rows.lacks_room(self.state_bytes()) {
            self.flush(ctx)?;
        } else {
            return Ok(());
        }
        self.spill()
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        if !self.at_end && self.rows.wants_clean_up(watermarks.min()) {
            self.flush(ctx)?;
            self.drop_old()?;
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn has_gathered(&self) -> bool {
        !self.at_end && self.rows.has_changed()
    }

    fn gathers_for(&self) -> Option<Duration> {
        self.gathers_for
    }

    fn on_pause(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        self.flush(ctx)?;
        self.spill()
    }

    fn on_end(&mut self, reason: EndReason, ctx: &mut OperatorContext) -> Result<()> {
        if reason != EndReason::Finished {
            return Ok(());
        }
        if !self.at_end {
            return self.flush(ctx);
        }
        loop {
            let all: Vec<usize> = (0..self.rows.partitions()).collect();
            self.compute(&all, |computed| {
                let mut columns = computed.rows.columns().to_vec();
                columns.push(change_array(&vec![ChangeOp::Insert; computed.rows.num_rows()]));
                ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), columns)?);
                Ok(())
            })?;
            if !self.rows.next_spilled()? {
                return Ok(());
            }
        }
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.rows.snapshot(state)?;
        self.snapshot_known(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.rows.restore(state)?;
        self.known.resize_with(self.rows.partitions(), Vec::new);
        for batch in state.batches("known")? {
            let batch = batch?;
            let partitions = self.rows.partitions_of(&batch)?;
            self.take_back()?;
            self.add_known(&batch, &partitions)?;
            self.spill()?;
        }
        self.unwritten.begin();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes() + self.known_bytes + self.known.capacity() * size_of::<Vec<Encoded>>()
    }

    fn spilled_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }
}
