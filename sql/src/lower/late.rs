//! LATE DATA: what becomes of rows that come when all their windows have closed.
//!
//! INTO puts a LateSplit in front of the windowed aggregation, in its tasks: it stands behind the hash
//! edge, so that its watermarks are those that close the windows. The late rows go from there to the sink,
//! the others to the aggregation.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::Expr;
use tidemill_plans::node::{LateSplitNode, LateWindows, NodeKind};

use super::expression::column;
use super::project::Computed;
use super::stream::{Relation, Stream, WindowKind, Windows, make_unique_beside, with_fields};
use crate::catalog::{Detail, StreamInfo};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;
use crate::planner::table_function::length;
use crate::statement::{LateClause, LateData, Name};

/// The clause of a query, and whether its windowed aggregation has taken it.
#[derive(Debug, Clone)]
pub(crate) struct Late {
    clause: LateClause,
    taken: bool,
}

/// What an aggregation does with late rows.
#[derive(Debug, Clone)]
pub(super) enum LateRows {
    Drop,
    Into(Name),
    /// Microseconds.
    UpdateWithin(i64),
}

impl Late {
    pub(crate) fn new(clause: LateClause) -> Self {
        Self { clause, taken: false }
    }
}

impl QueryPlanner<'_> {
    /// What the query says of late rows, for its one windowed aggregation.
    pub(super) fn take_late(&mut self, windows: &Windows) -> Result<LateRows> {
        let Some(late) = &mut self.late else { return Ok(LateRows::Drop) };
        let at = late.clause.at;
        if std::mem::replace(&mut late.taken, true) {
            let hint = "put all but one of them in views, each with its own clause";
            return Err(SqlError::unsupported("LATE DATA behind several windowed aggregations", hint).at(at));
        }
        match (&late.clause.data, &windows.kind) {
            (LateData::Drop, _) => Ok(LateRows::Drop),
            (LateData::Into(sink), _) => Ok(LateRows::Into(sink.clone())),
            (LateData::UpdateWithin(_), WindowKind::Session { .. }) => {
                let hint = "a late row can join two sessions to one; keep such rows with LATE DATA INTO";
                Err(SqlError::unsupported("LATE DATA UPDATE of sessions", hint).at(at))
            }
            (LateData::UpdateWithin(within), _) => {
                Ok(LateRows::UpdateWithin(length(within).map_err(|error| error.at(at))?))
            }
        }
    }

    /// Refuses a clause that nothing has taken.
    pub(crate) fn check_late(&self) -> Result<()> {
        match &self.late {
            Some(late) if !late.taken => {
                let message = "LATE DATA needs an aggregation by the windows of TUMBLE, HOP, CUMULATE or SESSION in this \
                               query: nothing else comes too late";
                Err(SqlError::invalid(message).at(late.clause.at))
            }
            _ => Ok(()),
        }
    }

    /// Sends late rows to a sink. The rows that are left are in the tasks of the aggregation, by its `keys`;
    /// those that are computed are columns then.
    pub(super) fn split_late(&mut self, relation: Relation, keys: &mut [Expr], sink: &Name) -> Result<Relation> {
        let Some(windows) = relation.windows.clone() else { return Ok(relation) };
        if relation.stream.schema() != &windows.input {
            let hint = "compute them in a view that the window function reads";
            return Err(SqlError::unsupported("LATE DATA INTO behind computed columns", hint).at(sink.at));
        }
        let width = relation.stream.width();
        let relation = self.with_keys(relation, keys)?;
        let split = self.late_split(&relation, &windows, keys)?;
        let flag = column(split.schema().field(split.width() - 1).name());
        let late = self.filter_stream(split.clone(), vec![flag.clone()]);
        self.write_late(late, width, sink)?;
        // The window columns are behind the stream's own, and there is one more of these now.
        let own = relation.stream.width();
        let moved = |column: usize| if column < own { column } else { column + 1 };
        let columns = relation.columns.iter().map(|column| moved(*column)).collect();
        let stream = self.filter_stream(split, vec![!flag]);
        Ok(Relation { stream, columns, windows: relation.windows })
    }

    /// The relation with computed keys as columns behind its own.
    fn with_keys(&mut self, relation: Relation, keys: &mut [Expr]) -> Result<Relation> {
        let width = relation.stream.width();
        let mut columns: Vec<Computed> = Vec::new();
        for field in relation.stream.schema().fields() {
            columns.push(Computed { name: field.name().clone(), expr: column(field.name()) });
        }
        let own: Vec<&str> = relation.stream.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let computed = keys.iter_mut().filter(|key| !matches!(key, Expr::Column(_)));
        let computed: Vec<&mut Expr> = computed.collect();
        if computed.is_empty() {
            return Ok(relation);
        }
        let names = make_unique_beside(&own, computed.iter().map(|key| key.schema_name().to_string()));
        for (key, name) in computed.into_iter().zip(names) {
            let expr = std::mem::replace(key, column(&name));
            columns.push(Computed { name, expr });
        }
        let wide = self.compute(&relation, columns)?;
        let new = wide.stream.width() - width;
        let columns = relation.columns.iter().map(|c| if *c < width { *c } else { c + new }).collect();
        Ok(Relation { columns, ..wide })
    }

    fn late_split(&mut self, relation: &Relation, windows: &Windows, keys: &[Expr]) -> Result<Stream> {
        let input = &relation.stream;
        let schema = input.schema();
        let flag = Field::new("late", DataType::Boolean, false);
        let info = StreamInfo { schema: with_fields(schema, [flag]), ..input.info.clone() };
        let place = |key: &Expr| match key {
            Expr::Column(name) => Ok(schema.index_of(&name.name)?),
            other => Err(SqlError::invalid(format!("the key {other} is no column"))),
        };
        let keys = keys.iter().map(place).collect::<Result<Vec<usize>>>()?;
        let node = NodeKind::LateSplit(LateSplitNode {
            time: windows.time,
            windows: match &windows.kind {
                WindowKind::Fixed(window) => LateWindows::Fixed(*window),
                // PARTITION BY's keys, in the order in which they are hashed: state moves by that hash.
                WindowKind::Session { gap, .. } => LateWindows::Session { keys: keys.clone(), gap: *gap },
            },
        });
        Ok(self.add_grouped(input, node, keys, info))
    }

    /// Writes the columns of the window function's input to a sink. Their time is behind that of the
    /// stream, so they have no order to wait for.
    fn write_late(&mut self, mut late: Stream, width: usize, sink: &Name) -> Result<()> {
        let object = Arc::clone(self.catalog.get(sink)?);
        object.check_restored()?;
        let Detail::Sink(detail) = &object.detail else {
            let message = format!("'{}' is a {}; late rows go into a sink", object.name, object.kind);
            return Err(SqlError::invalid(message).at(sink.at));
        };
        if detail.has_query {
            let message = format!("sink '{}' has a query of its own; create a sink without one", object.name);
            return Err(SqlError::invalid(message).at(sink.at));
        }
        self.note_use(&object.name);
        late.info.times = Vec::new();
        late.info.window_times = Vec::new();
        let names = late.schema().fields().iter().take(width).map(|field| field.name().clone());
        let columns = names.map(|name| Computed { expr: column(&name), name }).collect();
        let mut rows = self.compute(&Relation::all(late), columns)?.stream;
        if let Some(declared) = &detail.schema {
            rows = self.fit(rows, declared, &object.name).map_err(|error| error.at(sink.at))?;
        }
        self.builder.add_write(&rows, detail.target(&object.name)).map_err(|error| error.at(sink.at))
    }
}
