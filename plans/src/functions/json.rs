//! `to_json(x)`: a value as JSON in a text, such as lists and structs have in formats whose values are flat.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::flat::json_texts;

/// NULL stays NULL; within lists and structs it is `null`.
pub(crate) const TO_JSON: &str = "to_json";

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(ToJson { name: TO_JSON, signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug)]
struct ToJson {
    name: &'static str,
    signature: Signature,
}

super::known_by_name!(ToJson);

impl ScalarUDFImpl for ToJson {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [_] => Ok(DataType::Utf8),
            _ => plan_err!("to_json takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = args.args[0].to_array(args.number_rows)?;
        let field = Arc::new(Field::new("x", values.data_type().clone(), true));
        Ok(ColumnarValue::Array(json_texts(&field, &values)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, ListArray, RecordBatch};
    use arrow::datatypes::Int64Type;
    use datafusion::logical_expr::col;

    use super::*;
    use crate::expr::StreamExpr;
    use crate::functions::scalar;

    #[test]
    fn values_are_json() {
        let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let numbers = Int64Array::from(vec![Some(7), Some(8), None]);
        let columns: [(&str, arrow::array::ArrayRef, bool); 2] =
            [("l", Arc::new(lists), true), ("n", Arc::new(numbers), true)];
        let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let of = |column: &str| {
            let call =
                StreamExpr(scalar(TO_JSON).unwrap().call(vec![col(column)])).to_physical(&rows.schema()).unwrap();
            let made = call.evaluate(&rows).unwrap().into_array(3).unwrap();
            made.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(of("l"), [Some("[1,null]"), None, Some("[]")].map(|text| text.map(str::to_owned)));
        assert_eq!(of("n"), [Some("7"), Some("8"), None].map(|text| text.map(str::to_owned)));
    }
}
