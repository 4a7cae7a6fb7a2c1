//! Whether a query is large enough for workers. Small ones are done here before a worker has been told of them: each stage of
//! a query on workers costs a tenth of a second, and what is between stages goes to disk.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use tidemill_plans::batch::{BatchQuery, BoundedTable, TableReader};
use tidemill_plans::functions::find_registered;

/// Bytes of all files that a query reads, from which on it is.
const WORTH_BYTES: u64 = 256 << 20;

/// Whether workers should run a query, and can as far as is known. Waits for the disk.
pub(crate) fn is_worth_workers(query: &BatchQuery, reader: &dyn TableReader) -> Result<bool> {
    let mut tables: Vec<BoundedTable> = Vec::new();
    let mut is_possible = true;
    query.plan.apply_with_subqueries(|plan| {
        is_possible &= !matches!(plan, LogicalPlan::RecursiveQuery(_));
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(table) = scan.source.downcast_ref::<BoundedTable>()
            && tables.iter().all(|known| known.source.table != table.source.table)
        {
            is_possible &= !table.source.is_in_bucket();
            tables.push(table.clone());
        }
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                // Workers need not be of the program that has registered it.
                is_possible &= !is_registered(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let mut bytes = 0;
    for table in tables.iter().filter(|_| is_possible) {
        bytes += reader.groups(table)?.iter().map(|group| group.bytes).sum::<u64>();
    }
    Ok(is_possible && bytes >= WORTH_BYTES)
}

fn is_registered(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => find_registered(call.name()).is_some(),
        Expr::AggregateFunction(call) => find_registered(call.func.name()).is_some(),
        Expr::WindowFunction(call) => find_registered(call.fun.name()).is_some(),
        _ => false,
    }
}
