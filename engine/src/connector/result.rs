//! Takes the result of a SELECT to the session that asked.
//!
//! The rows of an append-only stream go at once. An updating stream, or one with an ORDER BY, is held
//! to its end: then updates are merged, rows sorted and cut to the limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use tidemill_plans::change::{change_column_index, change_ops};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::SinkNode;

use super::Sink;
use crate::error::Result;
use crate::rows::canonical_order;
use crate::task::{ResultPort, TaskEnv};

/// The sink.
pub(super) struct ResultSink {
    node: SinkNode,
    operator: OperatorId,
    port: Arc<dyn ResultPort>,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    sent: u64,
}

impl ResultSink {
    pub(super) fn new(node: &SinkNode, operator: OperatorId, env: &TaskEnv, schema: SchemaRef) -> Self {
        let port = Arc::clone(&env.results);
        Self { node: node.clone(), operator, port, schema, held: Vec::new(), sent: 0 }
    }

    fn is_held(&self) -> bool {
        change_column_index(&self.schema).is_some() || !self.node.order_by.is_empty()
    }

    fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let left = self.node.limit.map_or(u64::MAX, |limit| limit - self.sent.min(limit));
        let rows = usize::try_from(left).unwrap_or(usize::MAX).min(batch.num_rows());
        if rows == 0 {
            return Ok(());
        }
        self.sent += rows as u64;
        self.port.send(self.operator, &batch.slice(0, rows))
    }

    fn sorted(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.node.order_by.is_empty() {
            return Ok(batch.clone());
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for sort in &self.node.order_by {
            let column = Arc::clone(batch.column(sort.column));
            let options = SortOptions { descending: sort.descending, nulls_first: sort.nulls_first };
            fields.push(SortField::new_with_options(column.data_type().clone(), options));
            columns.push(column);
        }
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
        // Stable, unlike Arrow's sort: rows that compare equal keep the order that they came in.
        order.sort_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
        Ok(take_record_batch(batch, &UInt32Array::from(order))?)
    }
}

impl Sink for ResultSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.is_held() {
            self.held.push(batch.clone());
            return Ok(());
        }
        self.send(batch)
    }

    fn finish(&mut self) -> Result<()> {
        if !self.is_held() {
            return Ok(());
        }
        let rows = concat_batches(&self.schema, &std::mem::take(&mut self.held))?;
        let rows = merge_changes(&rows, &self.node.upsert_keys)?;
        // First by all columns, so that rows that the ORDER BY does not tell apart have an order too.
        let rows = self.sorted(&canonical_order(&rows, None)?)?;
        self.send(&rows)
    }
}

/// The rows that are left once every change has been applied, without the changelog column.
///
/// With keys, a row replaces the one of its key; without, a change takes away one equal row.
fn merge_changes(rows: &RecordBatch, keys: &[usize]) -> Result<RecordBatch> {
    let Some(change) = change_column_index(rows.schema_ref()) else {
        return Ok(rows.clone());
    };
    let plain = rows.project(&(0..change).collect::<Vec<_>>())?;
    let by: Vec<usize> = if keys.is_empty() { (0..change).collect() } else { keys.to_vec() };
    let columns: Vec<ArrayRef> = by.iter().map(|column| Arc::clone(rows.column(*column))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut live: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    for (row, op) in change_ops(rows)?.iter().enumerate() {
        let found = live.entry(converted.row(row).as_ref().to_vec()).or_default();
        match (op.adds(), keys.is_empty()) {
            (true, true) => found.push(row as u32),
            (true, false) => *found = vec![row as u32],
            (false, true) => {
                found.pop();
            }
            (false, false) => found.clear(),
        }
    }
    let live: Vec<u32> = live.into_values().flatten().collect();
    let schema = Arc::new(Schema::new(plain.schema_ref().fields().clone()));
    Ok(take_record_batch(&RecordBatch::try_new(schema, plain.columns().to_vec())?, &UInt32Array::from(live))?)
}

#[cfg(test)]
mod tests;
