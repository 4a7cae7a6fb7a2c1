//! The oldest rows of each partition, emitted as event time passes them: no earlier one can come.

use arrow::array::{BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::TopNNode;
use tidemill_plans::time::Watermark;

use super::Output;
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::changed_keys::{Changed, ChangedKeys};
use crate::operator::late_rows::without_late;
use crate::operator::partitions::{OrderKeys, Partitions, keep_live};
use crate::operator::spilled_partitions::{Back, Table};
use crate::operator::state_rows::{STATE_ROWS, least_watermark, take_note, with_note};
use crate::rows::EventTimeBuffer;
use crate::state::spill::Part;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See the [module](self). What is kept of a partition is how many of its rows have been emitted.
pub(super) struct FirstRows {
    limit: u64,
    time: usize,
    /// The whole ORDER BY, where it is by more than event time.
    keys: Option<OrderKeys>,
    partitions: Partitions,
    counts: Vec<u64>,
    /// The partitions whose counts have changed since they were written.
    unwritten: ChangedKeys,
    waiting: EventTimeBuffer,
    watermark: Watermark,
    /// Whether it is still to be passed on, behind the rows that it completes.
    passes: bool,
    output: Output,
}

impl FirstRows {
    pub(super) fn new(
        node: &TopNNode,
        time: usize,
        input: SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let keys = match node.order_by.len() {
            ..=1 => None,
            _ => Some(OrderKeys::new(&node.order_by, &input)?),
        };
        Ok(Self {
            limit: node.limit,
            time,
            keys,
            partitions: Partitions::with_keys(&input, &node.partition, node.ttl, memory)?,
            counts: Vec::new(),
            unwritten: ChangedKeys::default(),
            waiting: EventTimeBuffer::new(input, time, &memory.shared_by(2)),
            watermark: Watermark::MIN,
            passes: false,
            output: Output { rank: node.rank, schema: output },
        })
    }

    /// Rows in canonical order, in the order of ORDER BY.
    fn in_order(&self, rows: RecordBatch) -> Result<RecordBatch> {
        // What ORDER BY does not tell apart stays in canonical order.
        self.keys.as_ref().map_or(Ok(rows.clone()), |keys| keys.sort(&rows))
    }

    /// Those of the next rows that are among the first of their partitions.
    fn take_first(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut ranks = Vec::new();
        let mut keep = Vec::with_capacity(rows.num_rows());
        let partitions = self.partitions.of(rows)?.to_vec();
        self.take_back()?;
        for partition in &partitions {
            let count = &mut self.counts[*partition];
            keep.push(*count < self.limit);
            if *count < self.limit {
                *count += 1;
                ranks.push(*count);
                self.unwritten.note(*partition);
            }
        }
        self.output.rows(filter_record_batch(rows, &BooleanArray::from(keep))?, ranks)
    }

    /// Makes room for partitions that are new in memory, with the counts of those that come back.
    fn take_back(&mut self) -> Result<()> {
        self.counts.resize(self.partitions.len(), 0);
        let Some(Back { numbers, rows }) = self.partitions.take_back(Table::Known)? else { return Ok(()) };
        let (_, counts) = take_note::<UInt64Array>(&rows)?;
        for (partition, count) in numbers.iter().zip(counts.values()) {
            self.counts[*partition] = *count;
            // The next snapshot may lack what the store held.
            self.unwritten.note(*partition);
        }
        Ok(())
    }

    /// Has partitions go, if there is no room for all.
    fn spill(&mut self) -> Result<()> {
        let bytes = self.state_bytes() - self.waiting.bytes();
        let Some(cold) = self.partitions.take_cold(bytes, self.waiting.bytes()) else { return Ok(()) };
        for (part, partitions) in self.unwritten.parts(&cold) {
            for partitions in partitions.chunks(STATE_ROWS) {
                self.partitions.put(Table::Known, part, &self.counted(partitions)?, partitions)?;
            }
        }
        let live = self.partitions.let_go(&cold)?;
        self.unwritten.keep(&live);
        self.counts = keep_live(std::mem::take(&mut self.counts), &live);
        Ok(())
    }

    /// Writes each partition's key, and behind it how many of its rows have been emitted.
    fn snapshot_counts(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let belongs = self.partitions.belongs_by_key();
        let changed = self.unwritten.take(state).zip(self.partitions.row_keys());
        let only = changed.as_ref().map(|_| Part::Unwritten);
        let numbers = match changed {
            Some((Changed { numbers, gone }, [_, keys])) => {
                state.changes("emitted", belongs.clone(), keys, [], gone);
                numbers
            }
            // Without columns there is a partition from the start, and no count before the first row.
            None => (0..self.counts.len() as u32).collect(),
        };
        let emitted = numbers.chunks(STATE_ROWS).map(|partitions| self.counted(partitions));
        state.behind("emitted", belongs.clone(), self.partitions.memory(), emitted)?;
        self.partitions.write_spilled(Table::Known, "emitted", belongs, only, state);
        Ok(())
    }

    /// The keys of partitions with their counts.
    fn counted(&self, partitions: &[u32]) -> Result<RecordBatch> {
        let counts = partitions.iter().map(|partition| self.counts[*partition as usize]);
        with_note(&self.partitions.keys(partitions)?, "count", UInt64Array::from_iter_values(counts))
    }
}

impl Operator for FirstRows {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        // What comes late may be before a row that has been emitted.
        self.waiting.push(without_late(batch, self.time, self.watermark.0, ctx)?)?;
        self.spill()
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        (self.watermark, self.passes) = (watermarks.min(), true);
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.passes
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        if let Some(rows) = self.waiting.take_chunk_before(self.watermark.0)? {
            let rows = self.in_order(rows)?;
            ctx.emit(self.take_first(&rows)?);
            return self.spill();
        }
        if self.partitions.wants_clean_up(self.watermark)
            && let Some(dropped) = self.partitions.drop_old(|_, young| young)?
        {
            self.counts = keep_live(std::mem::take(&mut self.counts), &dropped.live);
            self.unwritten.note_dropped(&dropped);
        }
        self.passes = false;
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        self.waiting.snapshot(self.partitions.belongs(), &mut state.part("waiting"))?;
        self.snapshot_counts(state)?;
        self.partitions.snapshot(&mut state.part("partitions"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.waiting.restore(&state.part("waiting"))?;
        self.partitions.restore_spilled(&state.part("partitions"))?;
        for batch in state.batches("emitted")? {
            let (keys, counts) = take_note::<UInt64Array>(&batch?)?;
            let partitions = self.partitions.of_keys(&keys)?.to_vec();
            self.take_back()?;
            partitions.iter().zip(counts.values()).for_each(|(of, count)| self.counts[*of] = *count);
            self.spill()?;
        }
        self.unwritten.begin();
        self.partitions.restore(&state.part("partitions"))
    }

    fn state_bytes(&self) -> usize {
        let counts = self.counts.capacity() * size_of::<u64>();
        self.waiting.bytes() + self.partitions.bytes() + counts + self.unwritten.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.disk_bytes() + self.partitions.disk_bytes()
    }
}
