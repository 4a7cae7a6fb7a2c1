//! Rows on which an expression of a filter or of a projection fails are left out and told, as in a stream. Inside
//! aggregates and joins they end the query, as there.
//!
//! DataFusion's operators end with the first error. A filter's predicate is wrapped, and is false for such rows. A
//! projection whose expressions may fail is replaced before DataFusion's rules see it, for they would put it into the
//! scan of a file, where an error is the file's.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr, TryCastExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions, SendableRecordBatchStream, StatisticsArgs,
};
use futures::StreamExt;
use tidemill_plans::bad_rows::{Evaluated, evaluate_good};
use tidemill_plans::batch::TableReader;

/// Whether an expression may fail on a row.
fn may_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let expr_ref = expr.as_ref();
    let compares = |op: &Operator| op.supports_propagation() || matches!(op, Operator::And | Operator::Or);
    let is_safe = expr_ref.is::<Column>()
        || expr_ref.is::<Literal>()
        || expr_ref.is::<IsNullExpr>()
        || expr_ref.is::<IsNotNullExpr>()
        || expr_ref.is::<NotExpr>()
        || expr_ref.is::<LikeExpr>()
        || expr_ref.is::<InListExpr>()
        || expr_ref.is::<CaseExpr>()
        || expr_ref.is::<TryCastExpr>()
        || expr_ref.downcast_ref::<BinaryExpr>().is_some_and(|binary| compares(binary.op()));
    !is_safe || expr.children().into_iter().any(may_fail)
}

/// Puts projections that may fail into [`GoodRows`].
#[derive(Debug)]
pub(crate) struct GuardProjections(pub(crate) Arc<dyn TableReader>);

impl PhysicalOptimizerRule for GuardProjections {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let guarded = plan.transform_up(|plan| match plan.downcast_ref::<ProjectionExec>() {
            Some(projection) if projection.expr().iter().any(|column| may_fail(&column.expr)) => {
                let guarded = GoodRows { projection: Arc::new(projection.clone()), reader: Arc::clone(&self.0) };
                Ok(Transformed::yes(Arc::new(guarded) as Arc<dyn ExecutionPlan>))
            }
            _ => Ok(Transformed::no(plan)),
        });
        Ok(guarded?.data)
    }

    fn name(&self) -> &str {
        "guard_projections"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Wraps the predicates of a plan's filters that may fail; behind all rules, which look into predicates.
pub(crate) fn guard_filters(
    plan: Arc<dyn ExecutionPlan>,
    reader: &Arc<dyn TableReader>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|plan| match plan.downcast_ref::<FilterExec>() {
        Some(filter) if may_fail(filter.predicate()) => {
            let predicate = GoodPredicate { inner: Arc::clone(filter.predicate()), reader: Arc::clone(reader) };
            let filter = FilterExecBuilder::from(filter).with_predicate(Arc::new(predicate)).build()?;
            Ok(Transformed::yes(Arc::new(filter) as Arc<dyn ExecutionPlan>))
        }
        _ => Ok(Transformed::no(plan)),
    });
    Ok(guarded?.data)
}

/// A predicate that is false for rows on which it fails.
#[derive(Debug)]
pub(crate) struct GoodPredicate {
    pub(crate) inner: Arc<dyn PhysicalExpr>,
    pub(crate) reader: Arc<dyn TableReader>,
}

impl PartialEq for GoodPredicate {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for GoodPredicate {}

impl Hash for GoodPredicate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for GoodPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for GoodPredicate {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.inner.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.inner.nullable(input_schema)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let value = self.inner.evaluate(batch);
        if value.is_ok() {
            return value;
        }
        let evaluate = |rows: &RecordBatch| self.inner.evaluate(rows)?.into_array(rows.num_rows());
        let refuse = |row: &RecordBatch, reason| self.reader.refuse("Filter", row, reason);
        let Evaluated { result, good, .. } = evaluate_good(batch.clone(), evaluate, refuse)?;
        let Some(good) = good else { return Ok(ColumnarValue::Array(result)) };
        let mut passed = datafusion::common::cast::as_boolean_array(&result)?.iter();
        let passed = good.values().iter().map(|good| if good { passed.next().flatten() } else { Some(false) });
        Ok(ColumnarValue::Array(Arc::new(passed.collect::<BooleanArray>())))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[Arc<dyn PhysicalExpr>; 1]>::try_from(children) {
            Ok([inner]) => Ok(Arc::new(Self { inner, reader: Arc::clone(&self.reader) })),
            Err(children) => internal_err!("a predicate of {} parts", children.len()),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

/// A projection of the rows of which it can be computed. To all others it is the projection itself.
#[derive(Debug)]
pub(crate) struct GoodRows {
    pub(crate) projection: Arc<ProjectionExec>,
    pub(crate) reader: Arc<dyn TableReader>,
}

impl DisplayAs for GoodRows {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.projection.fmt_as(kind, f)
    }
}

impl ExecutionPlan for GoodRows {
    fn name(&self) -> &str {
        "GoodRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.projection.properties()
    }

    /// It does, but a rule that is told so puts sorts below it, by columns that are only made here.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.projection.benefits_from_input_partitioning()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.projection.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.projection.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = Arc::clone(&self.projection).replace_children(children, options)?;
        match replaced.downcast_ref::<ProjectionExec>() {
            Some(projection) => {
                Ok(Arc::new(Self { projection: Arc::new(projection.clone()), reader: Arc::clone(&self.reader) }))
            }
            None => internal_err!("a projection has become {}", replaced.name()),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.projection.input().execute(partition, context)?;
        let exprs = self.projection.expr().iter().map(|column| Arc::clone(&column.expr)).collect();
        let (schema, reader) = (self.schema(), Arc::clone(&self.reader));
        let columns = Columns { exprs, schema: Arc::clone(&schema), reader };
        let rows = input.map(move |batch| columns.of_good_rows(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.projection.metrics()
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.projection.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        // A row may be left out, so nothing is certain.
        let all = self.projection.statistics_from_inputs(input_stats, args)?;
        Ok(Arc::new(Arc::unwrap_or_clone(all).to_inexact()))
    }

    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        self.projection.gather_filters_for_pushdown(phase, parent_filters, config)
    }
}

/// What a projection computes.
struct Columns {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    reader: Arc<dyn TableReader>,
}

impl Columns {
    fn of_good_rows(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let refuse = |row: &RecordBatch, reason| self.reader.refuse("Project", row, reason);
        Ok(evaluate_good(batch, |rows| self.evaluate(rows), refuse)?.result)
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let column = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(rows)?.into_array(rows.num_rows());
        let columns = self.exprs.iter().map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
