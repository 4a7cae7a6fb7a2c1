//! Rows grouped by key, with DataFusion's accumulators: what both aggregations are made of.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::functions::{ORDER_FREE, ORDER_FREE_BUT_FOR_FLOATS};
use tidemill_plans::overflow::checked;

use super::key_numbers::KeyNumbers;
use crate::error::{EngineError, Result};

/// One aggregate function call, ready to make accumulators.
#[derive(Clone)]
pub(super) struct AggregateCall {
    function: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the order in which rows come can change the result.
    pub(super) order_matters: bool,
}

impl AggregateCall {
    pub(super) fn new(call: &StreamExpr, input: &SchemaRef) -> Result<Self> {
        let schema = DFSchema::try_from(input.as_ref().clone())?;
        let props = ExecutionProps::new();
        let planning = PhysicalPlanningContext::default();
        let lowered = LoweredAggregateBuilder::new(&call.0, &schema, input, &props, &planning)
            .with_name(call.0.schema_name().to_string())
            .build()?;
        let mut arguments = lowered.aggregate.expressions();
        // ORDER BY inside an aggregate: its columns follow the arguments, as DataFusion passes them.
        arguments.extend(lowered.order_bys.iter().map(|order| Arc::clone(&order.expr)));
        let arguments = arguments.into_iter().map(|expr| Ok(checked(expr)?.data)).collect::<Result<Vec<_>>>()?;
        let filter = lowered.filter.map(checked).transpose()?.map(|filter| filter.data);
        let order_matters = order_matters(lowered.aggregate.fun().name(), &arguments, input)?;
        Ok(Self { function: lowered.aggregate, arguments, filter, order_matters })
    }

    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return Ok(self.function.create_groups_accumulator()?);
        }
        let function = Arc::clone(&self.function);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }

    /// The function's name.
    pub(super) fn name(&self) -> &str {
        self.function.fun().name()
    }

    /// Whether equal arguments count once.
    pub(super) fn is_distinct(&self) -> bool {
        self.function.is_distinct()
    }

    /// The type of its results.
    pub(super) fn data_type(&self) -> DataType {
        self.function.field().data_type().clone()
    }

    /// The types of its arguments over rows of `input`.
    pub(super) fn argument_types(&self, input: &SchemaRef) -> Result<Vec<DataType>> {
        let types: datafusion::error::Result<_> =
            self.arguments.iter().map(|argument| argument.data_type(input)).collect();
        Ok(types?)
    }

    /// An accumulator for one group.
    pub(super) fn single(&self) -> Result<Box<dyn Accumulator>> {
        Ok(self.function.create_accumulator()?)
    }

    /// The arguments' columns for a batch, and which rows count.
    pub(super) fn evaluate(&self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Option<BooleanArray>)> {
        let mut columns = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            columns.push(argument.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        let filter = match &self.filter {
            Some(filter) => Some(filter.evaluate(batch)?.into_array(batch.num_rows())?.as_boolean().clone()),
            None => None,
        };
        Ok((columns, filter))
    }
}

fn order_matters(function: &str, arguments: &[Arc<dyn PhysicalExpr>], input: &SchemaRef) -> Result<bool> {
    if ORDER_FREE.contains(&function) {
        return Ok(false);
    }
    if !ORDER_FREE_BUT_FOR_FLOATS.contains(&function) {
        return Ok(true);
    }
    for argument in arguments {
        if argument.data_type(input)?.is_floating() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The groups of one window or pane.
pub(super) struct Groups {
    keys: KeyNumbers,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    indexes: Vec<usize>,
}

/// Partial aggregates: each group's keys and states.
#[derive(Clone)]
pub(super) struct PartialGroups {
    keys: Vec<ArrayRef>,
    states: Vec<Vec<ArrayRef>>,
    rows: usize,
    /// Bytes of the arrays, measured once; of a part, its share by rows.
    bytes: usize,
}

impl Groups {
    pub(super) fn new(keys: &SchemaRef, calls: &[AggregateCall]) -> Result<Self> {
        let accumulators: Result<_> = calls.iter().map(AggregateCall::accumulator).collect();
        Ok(Self { keys: KeyNumbers::new(keys)?, accumulators: accumulators?, indexes: Vec::new() })
    }

    /// Adds rows, each to the group of its keys.
    pub(super) fn update(&mut self, keys: &[ArrayRef], calls: &[AggregateCall], batch: &RecordBatch) -> Result<()> {
        self.keys.find(keys, batch.num_rows(), &mut self.indexes)?;
        let total = self.keys.len();
        for (call, accumulator) in calls.iter().zip(&mut self.accumulators) {
            let (arguments, filter) = call.evaluate(batch)?;
            accumulator.update_batch(&arguments, &self.indexes, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Adds partial aggregates, in this order, each row to the group that stands for it in `indexes`, one
    /// of `total`. Only for groups without keys.
    pub(super) fn merge_at(&mut self, indexes: &[usize], partials: &[&PartialGroups], total: usize) -> Result<()> {
        debug_assert!(!self.keys.has_columns(), "the caller knows the keys");
        for (call, accumulator) in self.accumulators.iter_mut().enumerate() {
            let (mut start, mut known) = (0, 0);
            for partial in partials {
                let own = &indexes[start..start + partial.rows];
                // Groups count from their first row on: an accumulator that has seen no NULL yet takes all
                // groups that it is told of as having values.
                known = own.iter().fold(known, |known, group| known.max(group + 1));
                accumulator.merge_batch(&partial.states[call], own, known)?;
                start += partial.rows;
            }
            debug_assert_eq!(known, total, "every group has a row");
        }
        Ok(())
    }

    /// Adds partial aggregates, each to the group of its keys.
    pub(super) fn merge(&mut self, partial: &PartialGroups) -> Result<()> {
        self.keys.find(&partial.keys, partial.rows, &mut self.indexes)?;
        for (accumulator, states) in self.accumulators.iter_mut().zip(&partial.states) {
            accumulator.merge_batch(states, &self.indexes, self.keys.len())?;
        }
        Ok(())
    }

    /// The states of all groups, for each aggregate. Afterwards there are no groups.
    pub(super) fn take_states(&mut self) -> Result<Vec<Vec<ArrayRef>>> {
        let states: datafusion::error::Result<Vec<_>> =
            self.accumulators.iter_mut().map(|accumulator| accumulator.state(EmitTo::All)).collect();
        Ok(states?)
    }

    /// The groups' keys and states, in the order in which the groups were first seen. Afterwards there
    /// are no groups.
    pub(super) fn take_partial(&mut self) -> Result<PartialGroups> {
        let keys = self.keys.take()?;
        let states = self.take_states()?;
        let rows = keys.first().or_else(|| states.first().and_then(|s| s.first())).map_or(1, |column| column.len());
        Ok(PartialGroups::new(keys, states, rows))
    }

    /// The groups' keys and results, one column each. Afterwards there are no groups.
    pub(super) fn finish(&mut self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let keys = self.keys.take()?;
        let results: datafusion::error::Result<Vec<_>> =
            self.accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All)).collect();
        Ok((keys, results?))
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }
}

impl PartialGroups {
    /// So many groups with these keys and states.
    pub(super) fn new(keys: Vec<ArrayRef>, states: Vec<Vec<ArrayRef>>, rows: usize) -> Self {
        let bytes = keys.iter().chain(states.iter().flatten()).map(|column| column.get_array_memory_size()).sum();
        Self { keys, states, rows, bytes }
    }

    /// The groups' keys, one column each.
    pub(super) fn keys(&self) -> &[ArrayRef] {
        &self.keys
    }

    /// Takes the first key off and parts the groups where it changes: each value with its groups.
    pub(super) fn split_by_first_key(&self) -> Vec<(i64, Self)> {
        let Some((first, keys)) = self.keys.split_first() else { return Vec::new() };
        let numbers = first.as_primitive::<Int64Type>().values();
        let rest = Self { keys: keys.to_vec(), ..self.clone() };
        let mut parts = Vec::new();
        let mut start = 0;
        for same in numbers.chunk_by(|a, b| a == b) {
            parts.push((same[0], rest.slice(start, same.len())));
            start += same.len();
        }
        parts
    }

    /// The groups, so many at a time.
    pub(super) fn chunks(&self, rows: usize) -> impl Iterator<Item = Self> {
        (0..self.rows).step_by(rows).map(move |start| self.slice(start, rows.min(self.rows - start)))
    }

    /// Some of the groups that follow each other.
    pub(super) fn slice(&self, start: usize, rows: usize) -> Self {
        let part = |columns: &[ArrayRef]| columns.iter().map(|column| column.slice(start, rows)).collect();
        let states = self.states.iter().map(|states| part(states)).collect();
        Self { keys: part(&self.keys), states, rows, bytes: self.bytes * rows / self.rows }
    }

    /// Groups one behind the other.
    pub(super) fn concat(parts: &[Self]) -> Result<Self> {
        let [first, others @ ..] = parts else { return Ok(Self::new(Vec::new(), Vec::new(), 0)) };
        if others.is_empty() {
            return Ok(first.clone());
        }
        let (keys, calls) = (first.keys.len(), first.states.len());
        let keys: Result<_> = (0..keys).map(|key| column_of(parts, |part| &part.keys[key])).collect();
        let mut states = Vec::with_capacity(calls);
        for call in 0..calls {
            let columns = 0..first.states[call].len();
            states.push(columns.map(|c| column_of(parts, |part| &part.states[call][c])).collect::<Result<Vec<_>>>()?);
        }
        Ok(Self::new(keys?, states, parts.iter().map(|part| part.rows).sum()))
    }

    /// The groups as columns with names: keys, then states.
    pub(super) fn to_columns(&self) -> Vec<(String, ArrayRef)> {
        let keys = self.keys.iter().enumerate().map(|(number, key)| (format!("k{number}"), Arc::clone(key)));
        let states = self.states.iter().enumerate().flat_map(|(call, states)| state_columns(call, states.clone()));
        keys.chain(states).collect()
    }

    /// The groups of a batch with such columns, of so many keys and calls.
    pub(super) fn from_columns(batch: &RecordBatch, keys: usize, calls: usize) -> Self {
        let states = (0..calls).map(|call| columns_of(batch, call)).collect();
        Self::new(batch.columns()[..keys].to_vec(), states, batch.num_rows())
    }

    /// The groups in these places.
    pub(super) fn take(&self, places: &UInt32Array) -> Result<Self> {
        let part = |columns: &[ArrayRef]| columns.iter().map(|c| take(c, places, None)).collect::<Result<_, _>>();
        let states: Result<_, ArrowError> = self.states.iter().map(|states| part(states)).collect();
        Ok(Self::new(part(&self.keys)?, states?, places.len()))
    }

    /// How many groups there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn column_of(parts: &[PartialGroups], column: impl Fn(&PartialGroups) -> &ArrayRef) -> Result<ArrayRef> {
    Ok(concat(&parts.iter().map(|part| column(part).as_ref()).collect::<Vec<&dyn Array>>())?)
}

/// What the columns that hold the state of an aggregate are called in a snapshot.
pub(super) fn state_columns(call: usize, columns: Vec<ArrayRef>) -> impl Iterator<Item = (String, ArrayRef)> {
    columns.into_iter().enumerate().map(move |(number, column)| (format!("s{call}_{number}"), column))
}

/// The columns of a batch that hold the state of an aggregate.
pub(super) fn columns_of(batch: &RecordBatch, call: usize) -> Vec<ArrayRef> {
    (0..).map_while(|number| batch.column_by_name(&format!("s{call}_{number}")).cloned()).collect()
}

/// The column of a batch that was written under a name.
pub(super) fn named<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| EngineError::State(format!("column '{name}' is missing")))
}

/// The schema of some columns of `input`.
pub(super) fn key_schema(input: &SchemaRef, keys: &[usize]) -> SchemaRef {
    // Names play no part in grouping; numbering them avoids duplicates.
    let field = |(i, key): (usize, &usize)| Field::new(format!("k{i}"), input.field(*key).data_type().clone(), true);
    Arc::new(Schema::new(keys.iter().enumerate().map(field).collect::<Vec<Field>>()))
}

/// The same with a number before them.
pub(super) fn numbered_key_schema(keys: &SchemaRef) -> SchemaRef {
    let number = Arc::new(Field::new("number", DataType::Int64, false));
    Arc::new(Schema::new([number].into_iter().chain(keys.fields().iter().cloned()).collect::<Vec<_>>()))
}
