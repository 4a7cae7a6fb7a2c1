//! A table that workers read, each some of its parts.
//!
//! The scheduler gives a task its partitions by leaving those of others out of what the plan's leaves are. It knows how for
//! rows in memory. So the leaves are rows in memory, the numbers of parts, a partition each; and this node reads what the
//! numbers say. A leaf of our own would be read as a whole by every task, and its rows would be there several times.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{internal_datafusion_err, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;
use tidemill_plans::batch::{BoundedTable, Part, TableReader};

use super::properties;
use crate::engine::BATCHES_MAX;
use crate::output::on_disk;
use crate::rows::read;

/// Reads the parts of a table whose numbers come from below.
#[derive(Debug)]
pub(crate) struct ReadParts {
    numbers: Arc<dyn ExecutionPlan>,
    pub(crate) table: Arc<BoundedTable>,
    /// The places of its columns in the table's.
    pub(crate) columns: Vec<usize>,
    /// How many parts the table has.
    pub(crate) of: u32,
    reader: Arc<dyn TableReader>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl ReadParts {
    /// Reads all of so many parts, a partition each.
    pub(crate) fn new(
        table: &Arc<BoundedTable>,
        reader: &Arc<dyn TableReader>,
        columns: Vec<usize>,
        of: u32,
    ) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Field::new("part", DataType::UInt32, false)]));
        let number = |number| {
            let numbers: ArrayRef = Arc::new(UInt32Array::from(vec![number]));
            Ok(vec![RecordBatch::try_new(Arc::clone(&schema), vec![numbers])?])
        };
        let partitions = (0..of).map(number).collect::<Result<Vec<_>>>()?;
        let numbers = MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&schema), None)?;
        Self::over(numbers, Arc::clone(table), Arc::clone(reader), columns, of)
    }

    /// Reads those parts whose numbers come from there.
    pub(crate) fn over(
        numbers: Arc<dyn ExecutionPlan>,
        table: Arc<BoundedTable>,
        reader: Arc<dyn TableReader>,
        columns: Vec<usize>,
        of: u32,
    ) -> Result<Self> {
        let schema: SchemaRef = Arc::new(table.columns.project(&columns)?);
        let partitions = numbers.properties().output_partitioning().partition_count();
        let properties = properties(&schema, Partitioning::UnknownPartitioning(partitions));
        Ok(Self { numbers, table, columns, of, reader, schema, properties })
    }
}

impl DisplayAs for ReadParts {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "ReadParts: {}, parts={}, projection=[{}]", self.table.source.table, self.of, columns.join(", "))
    }
}

impl ExecutionPlan for ReadParts {
    fn name(&self) -> &str {
        "ReadParts"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The numbers must stay where they are.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.numbers]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([numbers]) = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) else {
            return internal_err!("parts of a table come from one place");
        };
        let (table, reader) = (Arc::clone(&self.table), Arc::clone(&self.reader));
        Ok(Arc::new(Self::over(numbers, table, reader, self.columns.clone(), self.of)?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut numbers = self.numbers.execute(partition, context)?;
        let (table, reader) = (Arc::clone(&self.table), Arc::clone(&self.reader));
        let (columns, of) = (self.columns.clone(), self.of);
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_MAX);
        let rows = stream.tx();
        stream.spawn(async move {
            while let Some(batch) = numbers.try_next().await? {
                let numbers = batch.columns().first().and_then(|column| column.as_primitive_opt::<UInt32Type>());
                let numbers = numbers.ok_or_else(|| internal_datafusion_err!("parts without numbers"))?;
                for number in numbers.values().to_vec() {
                    let (table, reader, columns) = (Arc::clone(&table), Arc::clone(&reader), columns.clone());
                    let rows = rows.clone();
                    let part = Part { number, of };
                    if !on_disk(move || read(reader.as_ref(), &table, &columns, part, &rows)).await? {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        Ok(stream.build())
    }
}
