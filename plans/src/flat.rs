//! Lists and structs as JSON in texts, for formats such as CSV whose values are flat.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use datafusion::logical_expr::Expr;

use crate::error::{PlanError, Result};
use crate::functions;
use crate::functions::json::TO_JSON;

/// The rows with a text in the place of each nested value.
///
/// # Errors
/// If JSON has no value for what is in a list or struct.
pub fn flat(rows: &RecordBatch) -> Result<Cow<'_, RecordBatch>, ArrowError> {
    if !rows.schema_ref().fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(Cow::Borrowed(rows));
    }
    let column = |(field, values): (&FieldRef, &ArrayRef)| match field.data_type().is_nested() {
        true => json_texts(field, values),
        false => Ok(Arc::clone(values)),
    };
    let schema = flat_schema(rows.schema_ref());
    let named = rows.schema_ref().fields().iter().zip(rows.columns());
    let columns = named.map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns).map(Cow::Owned)
}

/// The same of an expression: the text of a nested value.
///
/// # Errors
/// If there is no such function, which every registry has.
pub fn flat_expr(expr: Expr) -> Result<Expr> {
    match functions::scalar(TO_JSON) {
        Some(function) => Ok(function.call(vec![expr])),
        None => Err(PlanError::Function(format!("there is no function '{TO_JSON}'"))),
    }
}

/// The columns of flat rows.
#[must_use]
pub fn flat_schema(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &FieldRef| match field.data_type().is_nested() {
        true => Field::new(field.name(), DataType::Utf8, true),
        false => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Each value as JSON; NULL stays NULL.
pub(crate) fn json_texts(field: &FieldRef, values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, values, &options)?;
    let (mut texts, mut text) = (StringBuilder::new(), Vec::new());
    for row in 0..values.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(std::str::from_utf8(&text)?);
    }
    Ok(Arc::new(texts.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, ListArray, StringArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use expect_test::expect;

    use super::*;

    #[test]
    fn nested_values_are_json() {
        let labels: ArrayRef = Arc::new(StringArray::from(vec!["a, \"b\"", "c"]));
        let probabilities: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.25), None]));
        let field = |name: &str, values: &ArrayRef| Arc::new(Field::new(name, values.data_type().clone(), true));
        let items =
            StructArray::from(vec![(field("label", &labels), labels), (field("prob", &probabilities), probabilities)]);
        let item = Arc::new(Field::new("item", items.data_type().clone(), true));
        let lists = ListArray::new(
            item,
            OffsetBuffer::from_lengths([2, 0, 0]),
            Arc::new(items),
            Some(vec![true, true, false].into()),
        );
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef, false),
            ("probs", Arc::new(lists) as ArrayRef, true),
        ])
        .unwrap();
        let flat = flat(&rows).unwrap();
        assert_eq!(flat.schema(), flat_schema(&rows.schema()));
        let mut csv = Vec::new();
        arrow::csv::Writer::new(&mut csv).write(&flat).unwrap();
        expect![[r#"
            id,probs
            1,"[{""label"":""a, \""b\"""",""prob"":0.25},{""label"":""c"",""prob"":null}]"
            2,[]
            3,
        "#]]
        .assert_eq(&String::from_utf8(csv).unwrap());
    }

    #[test]
    fn flat_rows_stay_as_they_are() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        assert!(matches!(flat(&rows).unwrap(), Cow::Borrowed(_)));
    }
}
