//! Which of DataFusion's rules a plan goes through before it is lowered.
//!
//! Few, by hand. No rule may move a filter: below a temporal join it would change which version is
//! the newest, and below an aggregation it would hide the window. Lowering moves the filters that it
//! may. No rule sees a clock: `now()` stays a call, and is refused.

use std::sync::{Arc, LazyLock};

use datafusion::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use tidemill_plans::overflow::check_constants_of;

use crate::error::Result;

static OPTIONS: LazyLock<Arc<ConfigOptions>> = LazyLock::new(|| Arc::new(ConfigOptions::default()));

/// Coerces types, folds constants, makes joins of EXISTS and IN, and of outer joins whose NULLs no
/// condition lets through the narrower ones, and drops columns that nobody reads.
pub(crate) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let analyzer = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
    let plan = analyzer.execute_and_check(plan, &OPTIONS, |_, _| {})?;
    check_constants_of(&plan)?;
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new_with_config_options(Arc::clone(&OPTIONS)).without_query_execution_start_time();
    Ok(optimizer.optimize(plan, &context, |_, _| {})?)
}
