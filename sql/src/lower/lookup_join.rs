//! `FOR SYSTEM_TIME AS OF PROCTIME()`: each row with what an external table holds for its key.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, try_cast};
use tidemill_plans::connector::option;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{JoinKind, LookupJoinNode, LookupTable, NodeKind, SourceNode};
use tidemill_plans::settings::parse_duration_ms;

use super::expression::unaliased;
use super::join::{Conditions, Side, joined, refuse_updating};
use super::scan::Leaf;
use super::stream::{Relation, Stream};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;
use crate::planner::source::type_name;

/// What is kept of a table if its options do not say.
const CACHE_ROWS: u64 = 10_000;
const CACHE_TTL: i64 = 600_000_000;

/// The right side of a look-up join.
pub(super) struct LookedUp {
    source: SourceNode,
    /// The table's column of each field of the plan.
    columns: Vec<usize>,
}

/// A key of a look-up: what is asked for, and the table's column.
struct Key {
    input: Expr,
    column: usize,
}

impl QueryPlanner<'_> {
    /// The table that a plan looks up, if it does nothing but choose columns of one.
    pub(super) fn looked_up(&self, plan: &LogicalPlan) -> Option<LookedUp> {
        match plan {
            LogicalPlan::TableScan(scan) => match self.leaves.get(scan.table_name.table()) {
                Some(Leaf::Lookup(source)) => {
                    let all = || (0..source.columns.fields().len()).collect();
                    let columns = scan.projection.clone().unwrap_or_else(all);
                    Some(LookedUp { source: source.as_ref().clone(), columns })
                }
                _ => None,
            },
            LogicalPlan::SubqueryAlias(alias) => self.looked_up(&alias.input),
            LogicalPlan::Projection(projection) => {
                let below = self.looked_up(&projection.input)?;
                let column = |expr: &Expr| {
                    let Expr::Column(name) = unaliased(expr) else { return None };
                    below.columns.get(projection.input.schema().maybe_index_of_column(name)?).copied()
                };
                let columns = projection.expr.iter().map(column).collect::<Option<_>>()?;
                Some(LookedUp { columns, ..below })
            }
            _ => None,
        }
    }

    pub(super) fn lower_lookup_join(&mut self, join: &Join, above: Vec<Expr>, table: LookedUp) -> Result<Relation> {
        let kind = if join.join_type == JoinType::Left { JoinKind::Left } else { JoinKind::Inner };
        let mut conditions = Conditions::of(join, kind, above)?;
        let left = self.lower_side(&join.left, std::mem::take(&mut conditions.left))?;
        refuse_updating(&left)?;
        let keys = conditions.keys.iter().map(|(l, r)| table.key(l, r, join)).collect::<Result<Vec<Key>>>()?;
        if keys.is_empty() {
            return Err(SqlError::invalid("a look-up needs equal keys in ON: ON a.k = d.k"));
        }
        let above = filters_above(conditions, kind)?;
        let inputs: Vec<&Expr> = keys.iter().map(|key| &key.input).collect();
        let left = self.keyed_side(left, join.left.schema(), &inputs)?;
        let mut relation = self.add_lookup_join(&left, &table, &keys, kind, &join.schema)?;
        for condition in &above {
            relation = self.filter(relation, &join.schema, condition)?;
        }
        Ok(relation)
    }

    fn add_lookup_join(
        &mut self,
        left: &Side,
        table: &LookedUp,
        keys: &[Key],
        kind: JoinKind,
        plan: &DFSchema,
    ) -> Result<Relation> {
        let lookup = table.lookup(keys)?;
        let right = table.side(&lookup);
        let (schema, columns) = joined(left, &right, plan, kind);
        // Rows come out as they went in: all event times keep to the watermark.
        let info = StreamInfo { schema, upsert_keys: Vec::new(), ..left.stream.info.clone() };
        let node = NodeKind::LookupJoin(LookupJoinNode {
            table: lookup,
            input_keys: left.keys.clone(),
            keeps_unmatched: kind == JoinKind::Left,
        });
        let stream = self.builder.add_chained(&left.stream, node, info);
        Ok(Relation { columns, ..Relation::all(stream) })
    }
}

impl LookedUp {
    /// The two sides of a key, `left = right`.
    fn key(&self, left: &Expr, right: &Expr, join: &Join) -> Result<Key> {
        let schema = join.right.schema();
        let (column, widened) = match unaliased(right) {
            Expr::Cast(cast) => (cast.expr.as_ref(), true),
            other => (other, false),
        };
        let index = match column {
            Expr::Column(name) => schema.maybe_index_of_column(name).and_then(|field| self.columns.get(field)),
            _ => None,
        };
        let wrong =
            |hint: String| Err(SqlError::unsupported(format!("the look-up by {}", right.human_display()), hint));
        let Some(index) = index.copied() else {
            return wrong(String::from("the table is asked by its columns as they are: ON a.k = d.k"));
        };
        let own = self.source.columns.field(index).data_type();
        if !widened {
            return Ok(Key { input: left.clone(), column: index });
        }
        // A number that the column's type does not hold is no key of the table.
        if own.is_integer() && left.get_type(join.left.schema())?.is_integer() {
            return Ok(Key { input: try_cast(left.clone(), own.clone()), column: index });
        }
        wrong(format!(
            "cast the other side to {}, the type of '{}'",
            type_name(own),
            self.source.columns.field(index).name()
        ))
    }

    /// What is fetched: the plan's columns, then keys that are not among them.
    fn lookup(&self, keys: &[Key]) -> Result<LookupTable> {
        let mut fetched = self.columns.clone();
        let mut places = Vec::new();
        for key in keys {
            let place = fetched.iter().position(|column| *column == key.column);
            places.push(place.unwrap_or(fetched.len()));
            if place.is_none() {
                fetched.push(key.column);
            }
        }
        let columns = fetched.iter().map(|column| Arc::clone(&self.source.columns.fields()[*column]));
        let (cache_rows, cache_ttl) = cache_options(&self.source.options);
        Ok(LookupTable {
            name: self.source.table.clone(),
            connector: self.source.connector.clone(),
            options: self.source.options.clone(),
            declared: self.source.declared.clone(),
            columns: StreamSchema(Arc::new(Schema::new(columns.collect::<Vec<_>>()))),
            keys: places,
            cache_rows,
            cache_ttl,
        })
    }

    /// The table as if it were a stream, for the output's schema.
    fn side(&self, lookup: &LookupTable) -> Side {
        let info = StreamInfo::untimed(Arc::clone(&lookup.columns.0), true);
        let stream = Stream { node: OperatorId::default(), parallelism: 1, info };
        let relation = Relation { columns: (0..self.columns.len()).collect(), ..Relation::all(stream.clone()) };
        Side { stream, relation, keys: Vec::new() }
    }
}

/// How many rows of a table are kept, and for how many microseconds.
fn cache_options(options: &[(String, String)]) -> (u64, i64) {
    let rows = option(options, "lookup_cache_rows").and_then(|rows| rows.parse().ok()).unwrap_or(CACHE_ROWS);
    let ttl = option(options, "lookup_cache_ttl").and_then(parse_duration_ms).and_then(|ms| i64::try_from(ms).ok());
    (rows, ttl.map_or(CACHE_TTL, |ms| ms.saturating_mul(1_000)))
}

/// The conditions that are checked once a row has been looked up.
fn filters_above(conditions: Conditions, kind: JoinKind) -> Result<Vec<Expr>> {
    let Conditions { right, both, above, .. } = conditions;
    if kind == JoinKind::Left
        && let Some(extra) = right.iter().chain(&both).next()
    {
        let what = format!("the condition {} in ON of a LEFT look-up", extra.human_display());
        return Err(SqlError::unsupported(what, "ON takes equal keys only; put the rest in WHERE"));
    }
    Ok(right.into_iter().chain(both).chain(above).collect())
}
