//! The oldest rows of each partition, emitted as event time passes them: no earlier one can come.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use hashbrown::HashSet;
use tidemill_plans::node::TopNNode;
use tidemill_plans::time::Watermark;

use super::Output;
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::changed_rows::ChangedRows;
use crate::operator::late_rows::without_late;
use crate::operator::partitions::{OrderKeys, Partitions, keep_live};
use crate::operator::state_rows::{least_watermark, take_note};
use crate::rows::EventTimeBuffer;
use crate::state::{Belongs, RowKeys, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See the [module](self). What is kept of a partition is how many of its rows have been emitted.
pub(super) struct FirstRows {
    limit: u64,
    time: usize,
    /// The whole ORDER BY, where it is by more than event time.
    keys: Option<OrderKeys>,
    partition_columns: Vec<usize>,
    partitions: Partitions,
    counts: Vec<u64>,
    /// The keys of the partitions whose counts have changed since they were written.
    unwritten: ChangedRows,
    waiting: EventTimeBuffer,
    watermark: Watermark,
    output: Output,
}

impl FirstRows {
    pub(super) fn new(node: &TopNNode, time: usize, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let keys = match node.order_by.len() {
            ..=1 => None,
            _ => Some(OrderKeys::new(&node.order_by, &input)?),
        };
        Ok(Self {
            limit: node.limit,
            time,
            keys,
            partitions: Partitions::new(&input, &node.partition, node.ttl)?,
            partition_columns: node.partition.clone(),
            counts: Vec::new(),
            unwritten: ChangedRows::default(),
            waiting: EventTimeBuffer::new(input, time),
            watermark: Watermark::MIN,
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
        for partition in self.partitions.of(rows)? {
            if *partition >= self.counts.len() {
                self.counts.resize(*partition + 1, 0);
            }
            let count = &mut self.counts[*partition];
            keep.push(*count < self.limit);
            if *count < self.limit {
                *count += 1;
                ranks.push(*count);
            }
        }
        let first = filter_record_batch(rows, &BooleanArray::from(keep))?;
        self.unwritten.note(&first.project(&self.partition_columns)?, self.counts.len());
        self.output.rows(first, ranks)
    }

    /// Writes each partition's key, and behind it how many of its rows have been emitted.
    fn snapshot_counts(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let (columns, noted) = (self.partition_columns.len(), self.unwritten.take(state.takes_changes()));
        let belongs = Belongs::to_first(columns);
        // Without columns there is one partition, and no key to call it by.
        if let Some(noted) = noted.filter(|_| columns > 0) {
            let changed = noted.iter().map(|keys| self.counted(keys)).collect::<Result<Vec<_>>>()?;
            state.changes("emitted", belongs, RowKeys::Grouped((0..columns).collect()), changed, []);
        } else if !self.counts.is_empty() {
            let keys = self.partitions.all_keys()?;
            state.rows("emitted", belongs, [self.with_counts(keys, self.counts.clone())?]);
        }
        Ok(())
    }

    /// Keys of partitions, each once, with their counts.
    fn counted(&mut self, keys: &RecordBatch) -> Result<RecordBatch> {
        let mut seen = HashSet::new();
        let numbers = self.partitions.of_keys(keys)?;
        let is_first: BooleanArray = numbers.iter().map(|number| Some(seen.insert(*number))).collect();
        let counts =
            filter(&UInt64Array::from_iter_values(numbers.iter().map(|number| self.counts[*number])), &is_first)?;
        let keys = filter_record_batch(keys, &is_first)?;
        self.with_counts(keys.columns().to_vec(), counts.as_primitive::<UInt64Type>().values().to_vec())
    }

    fn with_counts(&self, mut keys: Vec<ArrayRef>, counts: Vec<u64>) -> Result<RecordBatch> {
        keys.push(Arc::new(UInt64Array::from(counts)));
        let count = Arc::new(Field::new("count", DataType::UInt64, false));
        let fields = self.partitions.key_schema().fields().iter().cloned().chain([count]);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), keys)?)
    }
}

impl Operator for FirstRows {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        // What comes late may be before a row that has been emitted.
        self.waiting.push(without_late(batch, self.time, self.watermark.0, ctx)?)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.min();
        while let Some(rows) = self.waiting.take_chunk_before(self.watermark.0)? {
            let rows = self.in_order(rows)?;
            ctx.emit(self.take_first(&rows)?);
        }
        if self.partitions.wants_clean_up(self.watermark)
            && let Some(live) = self.partitions.drop_old(|_, young| young)?
        {
            self.counts = keep_live(std::mem::take(&mut self.counts), &live);
            self.unwritten = ChangedRows::default();
        }
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        self.waiting.snapshot(self.partitions.belongs(), &mut state.part("waiting"));
        self.snapshot_counts(state)?;
        self.partitions.snapshot(&mut state.part("partitions"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.waiting.restore(&state.part("waiting"))?;
        for batch in state.rows("emitted")? {
            let (keys, counts) = take_note::<UInt64Array>(&batch)?;
            let partitions = self.partitions.of_keys(&keys)?;
            let known = partitions.iter().max().map_or(0, |last| last + 1).max(self.counts.len());
            self.counts.resize(known, 0);
            partitions.iter().zip(counts.values()).for_each(|(of, count)| self.counts[*of] = *count);
        }
        self.unwritten.begin();
        self.partitions.restore(&state.part("partitions"))
    }

    fn state_bytes(&self) -> usize {
        let counts = self.counts.capacity() * size_of::<u64>();
        self.waiting.bytes() + self.partitions.bytes() + counts + self.unwritten.bytes()
    }
}
