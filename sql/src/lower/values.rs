//! VALUES, and SELECT without FROM, which is over one row: a source whose rows stand in the plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Values};
use tidemill_plans::connector::VALUES_CONNECTOR;
use tidemill_plans::values::to_options;

use super::expression::unaliased;
use super::stream::{Relation, Stream};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

impl QueryPlanner<'_> {
    pub(super) fn lower_values(&mut self, values: &Values) -> Result<Relation> {
        let fields = values.schema.fields().iter();
        let columns: Result<Vec<ArrayRef>> =
            (0..fields.len()).map(|place| array(values.values.iter().map(|row| &row[place]))).collect();
        let columns = columns?;
        let named = fields
            .zip(&columns)
            .map(|(field, values)| Field::new(field.name(), values.data_type().clone(), values.null_count() > 0));
        let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        Ok(Relation::all(self.values_stream("values", &RecordBatch::try_new(schema, columns)?)?))
    }

    /// One row that nobody sees a column of.
    pub(super) fn lower_no_columns(&mut self) -> Result<Relation> {
        let schema = Arc::new(Schema::new(vec![Field::new("nothing", arrow::datatypes::DataType::Boolean, false)]));
        let row = RecordBatch::try_new(schema, vec![Arc::new(BooleanArray::from(vec![true]))])?;
        Ok(Relation { columns: Vec::new(), ..Relation::all(self.values_stream("values", &row)?) })
    }

    /// A source of rows that stand in the plan, under a name for those who read it.
    pub(crate) fn values_stream(&mut self, name: &str, rows: &RecordBatch) -> Result<Stream> {
        let options = to_options(rows)?;
        Ok(self.builder.add_whole_source(name, VALUES_CONNECTOR, options, 1, rows.schema_ref()))
    }
}

/// The values of a column, of which optimising has made constants.
fn array<'a>(values: impl Iterator<Item = &'a Expr>) -> Result<ArrayRef> {
    let constant = |expr: &Expr| match unaliased(expr) {
        Expr::Literal(value, _) => Ok(value.clone()),
        other => Err(SqlError::unsupported(format!("'{other}' in VALUES"), "write constants")),
    };
    let values: Result<Vec<ScalarValue>> = values.map(constant).collect();
    Ok(ScalarValue::iter_to_array(values?)?)
}
