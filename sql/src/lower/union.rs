//! UNION ALL: columns match by position. (UNION without ALL groups by all columns above this.)

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{Union, lit};
use tidemill_plans::change::CHANGE_COLUMN;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::{NodeKind, ProjectNode, Projection, UnionNode};

use super::expression::column;
use super::project::Computed;
use super::stream::{Relation, Stream, unique_names};
use crate::catalog::StreamInfo;
use crate::error::Result;
use crate::planner::QueryPlanner;

/// The one column of a union of which nobody reads any: `SELECT count(*)` counts its rows.
const ROW_COLUMN: &str = "__row";

impl QueryPlanner<'_> {
    pub(super) fn lower_union(&mut self, union: &Union) -> Result<Relation> {
        let names = unique_names(&union.schema);
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let relation = self.lower(input)?;
            inputs.push(self.union_input(relation, &names)?);
        }
        let changelog = inputs.iter().any(|input| input.info.changelog);
        if changelog {
            inputs = inputs.into_iter().map(|input| self.as_changelog(input)).collect();
        }
        let fields = union.schema.fields().iter().zip(&names);
        let fields = fields.map(|(field, name)| Field::new(name, field.data_type().clone(), field.is_nullable()));
        let rows = names.is_empty().then(|| Field::new(ROW_COLUMN, DataType::Boolean, false));
        let times = inputs.first().map(|first| first.info.times.clone()).unwrap_or_default();
        let window_times = inputs.first().map(|first| first.info.window_times.clone()).unwrap_or_default();
        let info = StreamInfo {
            schema: Arc::new(Schema::new(fields.chain(rows).collect::<Vec<_>>())),
            times: times.into_iter().filter(|time| inputs.iter().all(|i| i.info.times.contains(time))).collect(),
            window_times: window_times
                .into_iter()
                .filter(|time| inputs.iter().all(|i| i.info.window_times.contains(time)))
                .collect(),
            bounded: inputs.iter().all(|input| input.info.bounded),
            changelog,
            upsert_keys: Vec::new(),
        };
        let least = inputs.iter().map(|input| input.parallelism).min().unwrap_or(1);
        let most = inputs.iter().map(|input| input.parallelism).max().unwrap_or(1);
        // Dealt out to several instances, a row's deletion could overtake its insertion.
        let parallelism = if changelog && least < most { 1 } else { most };
        let output = self.builder.add_operator(NodeKind::Union(UnionNode {}), parallelism, info);
        for input in &inputs {
            self.builder.connect(input, &output, 0);
        }
        Ok(Relation { columns: (0..names.len()).collect(), ..Relation::all(output) })
    }

    /// A stream of exactly these columns, or of one that stands for its rows where there are none.
    fn union_input(&mut self, relation: Relation, names: &[String]) -> Result<Stream> {
        if !names.is_empty() {
            return self.materialize(relation, names);
        }
        let relation = self.assign_windows(relation)?;
        let rows = Computed { name: ROW_COLUMN.to_owned(), expr: lit(true) };
        Ok(self.compute(&relation, vec![rows])?.stream)
    }

    /// Marks every row of an append-only stream as an insert.
    fn as_changelog(&mut self, stream: Stream) -> Stream {
        if stream.info.changelog {
            return stream;
        }
        let own = stream
            .schema()
            .fields()
            .iter()
            .map(|field| Projection { name: field.name().clone(), expr: StreamExpr(column(field.name())) });
        let insert = Projection { name: CHANGE_COLUMN.to_owned(), expr: StreamExpr(lit(0i8)) };
        let kind = NodeKind::Project(ProjectNode { columns: own.chain([insert]).collect() });
        let info = StreamInfo { changelog: true, ..stream.info.clone() };
        self.builder.add_chained(&stream, kind, info)
    }
}
