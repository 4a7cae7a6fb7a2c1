//! UNNEST: a row for each element of a list, a column for each field of a struct.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::NullHandling;
use datafusion::logical_expr::Unnest;
use tidemill_plans::node::{NodeKind, UnnestColumn, UnnestNode};

use super::stream::{Relation, make_unique, unique_names};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

impl QueryPlanner<'_> {
    pub(super) fn lower_unnest(&mut self, unnest: &Unnest) -> Result<Relation> {
        let relation = self.lower(&unnest.input)?;
        let relation = self.assign_windows(relation)?;
        let columns = output_columns(unnest, &relation)?;
        let keeps_empty = match unnest.options.null_handling {
            NullHandling::Drop => false,
            NullHandling::PreserveAndExpandEmpty => true,
            NullHandling::Preserve => {
                let hint = "write LEFT JOIN UNNEST(…) ON true, which keeps empty lists too";
                return Err(SqlError::unsupported("UNNEST that keeps NULL but not empty lists", hint));
            }
        };
        let input = &relation.stream.info;
        // The plan's names of elements are made up by DataFusion; nobody should read them in EXPLAIN.
        let names = unique_names(&unnest.schema).into_iter().zip(&columns).map(|(name, column)| match column {
            UnnestColumn::Elements(list) => format!("unnest({})", relation.name(*list)),
            UnnestColumn::Field { column, field } => match input.schema.field(*column).data_type() {
                DataType::Struct(fields) => format!("{}.{}", relation.name(*column), fields[*field].name()),
                _ => name,
            },
            UnnestColumn::Passed(_) => name,
        });
        let fields = make_unique(names).into_iter().zip(unnest.schema.fields()).zip(&columns);
        let fields = fields.map(|((name, field), column)| match column {
            UnnestColumn::Passed(index) => input.schema.field(*index).clone().with_name(name),
            _ => Field::new(name, field.data_type().clone(), true),
        });
        let places = |wanted: &[usize]| {
            let passed = |time: &usize| columns.iter().position(|column| *column == UnnestColumn::Passed(*time));
            wanted.iter().filter_map(passed).collect::<Vec<usize>>()
        };
        let info = StreamInfo {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            times: places(&input.times),
            window_times: places(&input.window_times),
            // A key of the input has as many rows as elements.
            upsert_keys: Vec::new(),
            ..input.clone()
        };
        let kind = NodeKind::Unnest(UnnestNode { columns, keeps_empty });
        Ok(Relation::all(self.builder.add_chained(&relation.stream, kind, info)))
    }
}

/// Where each field of the plan comes from. DataFusion puts the fields that come from one column next to
/// each other.
fn output_columns(unnest: &Unnest, relation: &Relation) -> Result<Vec<UnnestColumn>> {
    let mut columns: Vec<UnnestColumn> = Vec::new();
    let mut previous = None;
    let mut nth = 0;
    for input in &unnest.dependency_indices {
        nth = if previous == Some(*input) { nth + 1 } else { 0 };
        previous = Some(*input);
        let Some(column) = relation.columns.get(*input).copied() else {
            return Err(SqlError::invalid("UNNEST of a column that its input does not have"));
        };
        let mut lists = unnest.list_type_columns.iter().filter(|(index, _)| index == input);
        columns.push(match lists.nth(nth) {
            Some((_, list)) if list.depth > 1 => {
                let hint = "unnest one level in a subquery and the next one above it";
                return Err(SqlError::unsupported("UNNEST of lists within lists", hint));
            }
            Some(_) => UnnestColumn::Elements(column),
            None if unnest.struct_type_columns.contains(input) => UnnestColumn::Field { column, field: nth },
            None => UnnestColumn::Passed(column),
        });
    }
    Ok(columns)
}
