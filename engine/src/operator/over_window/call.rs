//! One window function call: DataFusion's function, and the frames that its rows see.
//!
//! DataFusion's own operator looks at all of its partitions for every batch, and holds rows back until
//! the next row of their partition. Here the caller says which rows are known, so only the loop over
//! rows is ours.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, new_empty_array};
use arrow::compute::SortOptions;
use arrow::compute::kernels::sort::SortColumn as ArrowSortColumn;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::utils::evaluate_partition_ranges;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::window_state::{WindowAggState, WindowFrameContext};
use datafusion::logical_expr::{Accumulator, Expr, PartitionEvaluator, WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::window::StandardWindowFunctionExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::windows::create_udwf_window_expr;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::SortColumn;
use tidemill_plans::overflow::checked;

use super::frame::Frame;
use super::ranks::{Ranking, Ranks};
use crate::error::Result;

/// The columns that calls read: those of the input, and behind them what is computed from it once a
/// batch.
pub(super) struct Prepared {
    input: SchemaRef,
    computed: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<Field>,
}

impl Prepared {
    pub(super) fn new(input: SchemaRef) -> Self {
        Self { input, computed: Vec::new(), fields: Vec::new() }
    }

    /// The column of an expression.
    fn place(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<usize> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return Ok(column.index());
        }
        let width = self.input.fields().len();
        if let Some(found) = self.computed.iter().position(|other| other == expr) {
            return Ok(width + found);
        }
        let place = self.computed.len();
        self.fields.push(Field::new(format!("computed {place}"), expr.data_type(&self.input)?, true));
        self.computed.push(Arc::clone(expr));
        Ok(width + place)
    }

    /// The schema of prepared rows.
    pub(super) fn schema(&self) -> SchemaRef {
        let own = self.input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Arc::new(Schema::new(own.chain(self.fields.iter().cloned()).collect::<Vec<_>>()))
    }

    /// Input rows with what calls read.
    pub(super) fn rows(&self, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for expr in &self.computed {
            columns.push(expr.evaluate(rows)?.into_array(rows.num_rows())?);
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

/// A window function call.
pub(super) struct Call {
    pub(super) kind: Kind,
    /// Columns of prepared rows.
    arguments: Vec<usize>,
    filter: Option<usize>,
    order: Vec<usize>,
    pub(super) order_types: Vec<DataType>,
    options: Vec<SortOptions>,
    frame: Arc<WindowFrame>,
    pub(super) data_type: DataType,
}

pub(super) enum Kind {
    Ranking {
        ranking: Ranking,
        function: Arc<dyn StandardWindowFunctionExpr>,
    },
    Function {
        function: Arc<dyn StandardWindowFunctionExpr>,
        /// Once a row's frame has so many rows, all rows behind have the same value.
        settles_at: Option<usize>,
    },
    Aggregate(Box<AggregateFunctionExpr>),
}

/// A call's state in one partition.
pub(super) struct CallState {
    /// The frame of the last row, and which row is next.
    pub(super) window: WindowAggState,
    pub(super) run: Run,
}

pub(super) enum Run {
    Ranks(Ranks),
    Function(Box<dyn PartitionEvaluator>),
    /// A function whose value no further row changes.
    Settled(ScalarValue),
    /// The frames' beginnings stay where they are.
    Growing(Box<dyn Accumulator>),
    /// Rows that leave the frame are taken out again.
    Sliding(Box<dyn Accumulator>),
    /// Nothing can be taken out: each frame is computed by itself.
    Anew,
}

/// The rows of one partition among prepared rows.
#[derive(Clone, Copy)]
pub(super) struct PartitionRows<'a> {
    pub(super) rows: &'a RecordBatch,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl PartitionRows<'_> {
    fn column(&self, column: usize) -> ArrayRef {
        self.rows.column(column).slice(self.start, self.len)
    }
}

impl Call {
    pub(super) fn new(
        call: &StreamExpr,
        order_by: &[SortColumn],
        input: &SchemaRef,
        prepared: &mut Prepared,
    ) -> Result<Self> {
        let Expr::WindowFunction(function) = &call.0 else {
            return Err(DataFusionError::Plan(format!("{call} is no window function")).into());
        };
        let WindowFunction { fun, params } = function.as_ref();
        let schema = DFSchema::try_from(input.as_ref().clone())?;
        let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let physical = |expr: &Expr| {
            create_physical_expr(expr, &schema, &props, &planning).and_then(checked).map(|expr| expr.data)
        };
        let arguments = params.args.iter().map(physical).collect::<Result<Vec<_>, _>>()?;
        let filter = params.filter.as_deref().map(physical).transpose()?;
        let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let name = call.0.schema_name().to_string();
        let (kind, arguments, data_type) = match fun {
            WindowFunctionDefinition::AggregateUDF(udf) => {
                let mut builder = AggregateExprBuilder::new(Arc::clone(udf), arguments)
                    .schema(Arc::clone(input))
                    .alias(name)
                    .with_ignore_nulls(ignore_nulls);
                if params.distinct {
                    builder = builder.distinct();
                }
                let aggregate = builder.build()?;
                let (arguments, data_type) = (aggregate.expressions(), aggregate.field().data_type().clone());
                (Kind::Aggregate(Box::new(aggregate)), arguments, data_type)
            }
            WindowFunctionDefinition::WindowUDF(udf) => {
                let function = create_udwf_window_expr(udf, &arguments, input, name, ignore_nulls)?;
                let (arguments, data_type) = (function.expressions(), function.field()?.data_type().clone());
                let kind = match Ranking::of(udf.name()) {
                    Some(ranking) => Kind::Ranking { ranking, function },
                    None => {
                        let grows = params.window_frame.start_bound.is_unbounded() && !ignore_nulls;
                        let settles_at = if grows { settles_at(udf.name(), &arguments) } else { None };
                        Kind::Function { function, settles_at }
                    }
                };
                (kind, arguments, data_type)
            }
        };
        Ok(Self {
            kind,
            arguments: arguments.iter().map(|argument| prepared.place(argument)).collect::<Result<_>>()?,
            filter: filter.as_ref().map(|filter| prepared.place(filter)).transpose()?,
            order: order_by.iter().map(|sort| sort.column).collect(),
            order_types: order_by.iter().map(|sort| input.field(sort.column).data_type().clone()).collect(),
            options: order_by
                .iter()
                .map(|sort| SortOptions { descending: sort.descending, nulls_first: sort.nulls_first })
                .collect(),
            frame: Arc::new(params.window_frame.clone()),
            data_type,
        })
    }

    /// The state of a partition of which no row has been seen.
    pub(super) fn state(&self) -> Result<CallState> {
        let run = match &self.kind {
            Kind::Ranking { ranking, .. } => Run::Ranks(Ranks::new(*ranking, &self.order_types)?),
            Kind::Function { function, .. } => Run::Function(function.create_evaluator()?),
            Kind::Aggregate(aggregate) if self.frame.start_bound.is_unbounded() => {
                Run::Growing(aggregate.create_accumulator()?)
            }
            Kind::Aggregate(aggregate) => match aggregate.create_sliding_accumulator() {
                Ok(accumulator) => Run::Sliding(accumulator),
                Err(_) => Run::Anew,
            },
        };
        Ok(CallState { window: WindowAggState::new(&self.data_type)?, run })
    }

    /// The values of the rows from the first without one to `until`, put behind `values`. `rows` are the
    /// partition's rows that are kept, and the frames of those before `until` are among them.
    pub(super) fn advance(
        &self,
        state: &mut CallState,
        rows: PartitionRows<'_>,
        until: usize,
        values: &mut Vec<ScalarValue>,
    ) -> Result<()> {
        let order: Vec<ArrayRef> = self.order.iter().map(|column| rows.column(*column)).collect();
        let mut arguments = self.arguments(rows);
        let filter = self.filter.map(|column| rows.column(column));
        let mask = filter.as_ref().map(|filter| filter.as_boolean());
        if matches!(state.run, Run::Function(_)) {
            arguments.extend(order.iter().map(Arc::clone));
        }
        let first = values.len();
        for row in state.window.last_calculated_index..until {
            let frame = self.frame(state, &order, rows.len, row)?;
            let last = std::mem::replace(&mut state.window.window_frame_range, frame.clone());
            values.push(match (&mut state.run, &self.kind) {
                (Run::Ranks(ranks), _) => ranks.next(&order, row)?,
                (Run::Settled(value), _) => value.clone(),
                (Run::Function(evaluator), Kind::Function { settles_at, .. }) => {
                    let value = evaluator.evaluate(&arguments, &frame)?;
                    if settles_at.is_some_and(|rows| frame.len() >= rows) {
                        state.run = Run::Settled(value.clone());
                    }
                    value
                }
                (run, Kind::Aggregate(aggregate)) => {
                    self.aggregate(aggregate, run, &Frame { rows: frame, last, arguments: &arguments, mask })?
                }
                (_, Kind::Function { function, .. } | Kind::Ranking { function, .. }) => {
                    return Err(DataFusionError::Internal(format!("{} has no evaluator", function.name())).into());
                }
            });
        }
        state.window.last_calculated_index = state.window.last_calculated_index.max(until);
        self.note_reach(state, &values[first..])
    }

    fn arguments(&self, rows: PartitionRows<'_>) -> Vec<ArrayRef> {
        self.arguments.iter().map(|column| rows.column(*column)).collect()
    }

    /// Has an accumulator see some of a partition's rows.
    pub(super) fn show(
        &self,
        accumulator: &mut dyn Accumulator,
        rows: PartitionRows<'_>,
        some: Range<usize>,
    ) -> Result<()> {
        let arguments = self.arguments(rows);
        let filter = self.filter.map(|column| rows.column(column));
        let mask = filter.as_ref().map(|filter| filter.as_boolean());
        let frame = Frame { rows: some.clone(), last: 0..0, arguments: &arguments, mask };
        Ok(accumulator.update_batch(&frame.part(some)?)?)
    }

    fn frame(&self, state: &mut CallState, order: &[ArrayRef], len: usize, row: usize) -> Result<Range<usize>> {
        // These look at no other rows.
        if matches!(state.run, Run::Ranks(_) | Run::Settled(_)) {
            return Ok(row..row + 1);
        }
        if let Run::Function(evaluator) = &state.run
            && !evaluator.uses_window_frame()
        {
            return Ok(evaluator.get_range(row, len)?);
        }
        let new = || WindowFrameContext::new(Arc::clone(&self.frame), self.options.clone());
        let context = state.window.window_frame_ctx.get_or_insert_with(new);
        Ok(context.calculate_range(order, &state.window.window_frame_range, len, row)?)
    }

    /// An aggregate over a frame.
    fn aggregate(&self, aggregate: &AggregateFunctionExpr, run: &mut Run, frame: &Frame<'_>) -> Result<ScalarValue> {
        if frame.rows.is_empty() {
            if let Run::Sliding(accumulator) = run
                && !frame.last.is_empty()
            {
                // What rounding would leave of the rows that are taken out goes with them.
                *accumulator = aggregate.create_sliding_accumulator()?;
            }
            return Ok(aggregate.default_value(&self.data_type)?);
        }
        match run {
            Run::Growing(accumulator) => frame.grow(accumulator.as_mut()),
            Run::Sliding(accumulator) => {
                let value = frame.slide(accumulator.as_mut())?;
                if value.is_null() && aggregate.fun().name() == "sum" {
                    // A sum of nothing. The same is true for it.
                    *accumulator = aggregate.create_sliding_accumulator()?;
                }
                Ok(value)
            }
            Run::Ranks(_) | Run::Function(_) | Run::Settled(_) | Run::Anew => {
                let mut accumulator = aggregate.create_accumulator()?;
                accumulator.update_batch(&frame.part(frame.rows.clone())?)?;
                Ok(accumulator.evaluate()?)
            }
        }
    }

    /// Notes how far back the next rows' frames can reach, in the beginning of the last frame.
    fn note_reach(&self, state: &mut CallState, new: &[ScalarValue]) -> Result<()> {
        let CallState { window, run } = state;
        match run {
            Run::Growing(_) => window.window_frame_range.start = window.window_frame_range.end,
            Run::Ranks(_) | Run::Settled(_) => {
                window.window_frame_range = window.last_calculated_index..window.last_calculated_index;
            }
            Run::Function(evaluator)
                if evaluator.uses_window_frame() && self.frame.start_bound.is_unbounded() && !new.is_empty() =>
            {
                // The function says how many of the last rows it needs. It may look at its results.
                window.out_col = ScalarValue::iter_to_array(new.iter().cloned())?;
                evaluator.memoize(window)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The values of a whole partition.
    pub(super) fn evaluate(&self, rows: PartitionRows<'_>) -> Result<ArrayRef> {
        if rows.len == 0 {
            return Ok(new_empty_array(&self.data_type));
        }
        if let Kind::Function { function, .. } | Kind::Ranking { function, .. } = &self.kind {
            let mut evaluator = function.create_evaluator()?;
            if !evaluator.uses_window_frame() {
                return self.evaluate_unframed(evaluator.as_mut(), rows);
            }
        }
        let mut state = self.state()?;
        let mut values = Vec::with_capacity(rows.len);
        if self.frame.start_bound.is_unbounded() && self.frame.end_bound.is_unbounded() {
            // Every row has the same frame. (Where it has not, as with NTH_VALUE, it has the same value.)
            self.advance(&mut state, rows, 1, &mut values)?;
            let [only] = values.as_slice() else {
                return Err(DataFusionError::Internal(String::from("a row without a value")).into());
            };
            return Ok(only.to_array_of_size(rows.len)?);
        }
        self.advance(&mut state, rows, rows.len, &mut values)?;
        Ok(ScalarValue::iter_to_array(values)?)
    }

    fn evaluate_unframed(&self, evaluator: &mut dyn PartitionEvaluator, rows: PartitionRows<'_>) -> Result<ArrayRef> {
        if evaluator.include_rank() {
            let column = |(column, options): (&usize, &SortOptions)| ArrowSortColumn {
                values: rows.column(*column),
                options: Some(*options),
            };
            let order: Vec<ArrowSortColumn> = self.order.iter().zip(&self.options).map(column).collect();
            let peers = evaluate_partition_ranges(rows.len, &order)?;
            return Ok(evaluator.evaluate_all_with_rank(rows.len, &peers)?);
        }
        let arguments = self.arguments(rows);
        Ok(evaluator.evaluate_all(&arguments, rows.len)?)
    }

    /// The values as a column.
    pub(super) fn column(&self, values: Vec<ScalarValue>) -> Result<ArrayRef> {
        match values.is_empty() {
            true => Ok(new_empty_array(&self.data_type)),
            false => Ok(ScalarValue::iter_to_array(values)?),
        }
    }
}

impl CallState {
    /// The first row that later frames can reach.
    pub(super) fn needed_from(&self) -> usize {
        let frame = &self.window.window_frame_range;
        frame.start.min(frame.end).min(self.window.last_calculated_index)
    }

    /// The first rows of the partition are gone.
    pub(super) fn forget(&mut self, rows: usize) {
        self.window.prune_state(rows);
    }

    pub(super) fn bytes(&self) -> usize {
        let run = match &self.run {
            Run::Growing(accumulator) | Run::Sliding(accumulator) => accumulator.size(),
            Run::Ranks(_) | Run::Function(_) | Run::Settled(_) | Run::Anew => 0,
        };
        size_of::<Self>() + run + self.window.out_col.get_array_memory_size()
    }
}

/// Of a function over growing frames, how many rows a frame has when its value has come to stay.
fn settles_at(function: &str, arguments: &[Arc<dyn PhysicalExpr>]) -> Option<usize> {
    match function {
        "first_value" => Some(1),
        "nth_value" => {
            let place = arguments.get(1)?.downcast_ref::<Literal>()?.value().cast_to(&DataType::Int64).ok()?;
            let ScalarValue::Int64(Some(place)) = place else { return None };
            usize::try_from(place).ok().filter(|place| *place > 0)
        }
        _ => None,
    }
}
