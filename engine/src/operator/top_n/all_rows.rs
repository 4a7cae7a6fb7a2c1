//! All rows of each partition in order, where rows may be taken away.
//!
//! A row is the bytes of its order and its columns, and how often it is there. A row may be taken away
//! before it comes, where several tasks' changes mix: then it is there less than no time, and counts
//! for nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::RowConverter;
use tidemill_plans::change::{ChangeOp, change_ops};
use tidemill_plans::node::TopNNode;

use super::partitions::{Partitions, all_fields, order_fields};
use super::{Changes, KeptRows, Named, OUTPUT_ROWS};
use crate::error::Result;

/// A row as bytes that compare as the rows do.
type Encoded = Arc<[u8]>;

/// See the [module](self).
pub(super) struct AllRows {
    limit: usize,
    by_rank: bool,
    /// The input without the changelog column.
    schema: SchemaRef,
    partitions: Partitions,
    order: Vec<usize>,
    converter: RowConverter,
    rows: Vec<BTreeMap<Encoded, i64>>,
    /// Of each partition, whether it has changed.
    marked: Vec<bool>,
    /// The changed partitions, and the first rows of each that downstream knows.
    changed: Vec<(usize, Vec<Encoded>)>,
    bytes: usize,
}

/// Bytes of a row beside its own: pointer, count, and what a tree and an allocation need.
const ROW_OVERHEAD: usize = 64;

impl AllRows {
    pub(super) fn new(node: &TopNNode, input: &SchemaRef) -> Result<Self> {
        let columns = input.fields().len() - 1;
        let schema = Arc::new(Schema::new(input.fields()[..columns].to_vec()));
        let order: Vec<usize> = node.order_by.iter().map(|sort| sort.column).collect();
        let mut fields = if order.is_empty() { Vec::new() } else { order_fields(&node.order_by, &schema) };
        fields.extend(all_fields(&schema));
        Ok(Self {
            limit: usize::try_from(node.limit).unwrap_or(usize::MAX),
            by_rank: node.rank || node.limit == 1,
            partitions: Partitions::new(&schema, &node.partition)?,
            schema,
            order,
            converter: RowConverter::new(fields)?,
            rows: Vec::new(),
            marked: Vec::new(),
            changed: Vec::new(),
            bytes: 0,
        })
    }

    /// The first rows of a partition.
    fn first(&self, partition: usize) -> Vec<Encoded> {
        let rows = self.rows[partition].iter();
        let times = |count: i64| usize::try_from(count).unwrap_or(0);
        let repeated = rows.flat_map(|(row, count)| std::iter::repeat_n(row, times(*count)));
        repeated.take(self.limit).map(Arc::clone).collect()
    }

    fn mark(&mut self, partition: usize) {
        if partition >= self.rows.len() {
            self.rows.resize_with(partition + 1, BTreeMap::new);
            self.marked.resize(partition + 1, false);
        }
        if !std::mem::replace(&mut self.marked[partition], true) {
            self.changed.push((partition, self.first(partition)));
        }
    }

    fn count(&mut self, partition: usize, row: &[u8], by: i64) {
        let rows = &mut self.rows[partition];
        match rows.get_mut(row) {
            Some(count) if *count + by != 0 => *count += by,
            Some(_) => {
                rows.remove(row);
                self.bytes -= row.len() + ROW_OVERHEAD;
            }
            None => {
                rows.insert(Arc::from(row), by);
                self.bytes += row.len() + ROW_OVERHEAD;
            }
        }
    }

    fn decode(&self, rows: &[Encoded]) -> Result<RecordBatch> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(rows.iter().map(|row| parser.parse(row)))?;
        let columns = columns.split_off(self.order.len());
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl KeptRows for AllRows {
    fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        let ops = change_ops(batch)?;
        let batch = batch.project(&(0..self.schema.fields().len()).collect::<Vec<_>>())?;
        let ordered = self.order.iter().map(|column| batch.column(*column));
        let columns: Vec<_> = ordered.chain(batch.columns()).map(Arc::clone).collect();
        let encoded = self.converter.convert_columns(&columns)?;
        let partitions = self.partitions.of(&batch)?.to_vec();
        for (row, (partition, op)) in partitions.into_iter().zip(ops).enumerate() {
            self.mark(partition);
            self.count(partition, encoded.row(row).data(), if op.adds() { 1 } else { -1 });
        }
        Ok(())
    }

    fn changes(&mut self) -> Result<Changes> {
        let mut named = Named::new();
        for (partition, before) in &self.changed {
            let after = self.first(*partition);
            if self.by_rank {
                named.by_rank(before, &after);
            } else {
                difference(&mut named, before, &after);
            }
        }
        let rows = self.decode(&named.rows)?;
        self.forget_changes()?;
        Ok(named.with_rows(rows))
    }

    fn forget_changes(&mut self) -> Result<()> {
        for (partition, _) in self.changed.drain(..) {
            self.marked[partition] = false;
        }
        Ok(())
    }

    fn all(&self, emit: &mut dyn FnMut(Changes) -> Result<()>) -> Result<()> {
        let mut named = Named::new();
        let last = self.rows.len().saturating_sub(1);
        for partition in 0..self.rows.len() {
            named.insert_all(&self.first(partition));
            if named.rows.len() >= OUTPUT_ROWS || partition == last {
                let rows = self.decode(&named.rows)?;
                emit(std::mem::replace(&mut named, Named::new()).with_rows(rows))?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let index = size_of::<BTreeMap<Encoded, i64>>() + size_of::<bool>();
        self.bytes + self.partitions.bytes() + self.rows.capacity() * index
    }
}

/// What two ordered lists do not share.
fn difference(named: &mut Named<Encoded>, before: &[Encoded], after: &[Encoded]) {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) => old.cmp(new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        if order != Ordering::Greater
            && let Some(row) = old.next()
            && order == Ordering::Less
        {
            named.push(row, ChangeOp::Delete, 0);
        }
        if order != Ordering::Less
            && let Some(row) = new.next()
            && order == Ordering::Greater
        {
            named.push(row, ChangeOp::Insert, 0);
        }
    }
}
