use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::{col, lit};

use super::*;
use crate::codec;

#[test]
fn expressions_round_trip_with_our_own_functions() {
    let auc = functions::aggregate("roc_auc").unwrap().call(vec![col("y"), col("p")]);
    for expr in [col("a").gt(lit(3i64)), auc] {
        let bytes = codec::encode(&StreamExpr(expr.clone())).unwrap();
        assert_eq!(codec::decode::<StreamExpr>(&bytes).unwrap().0, expr);
    }
}

#[test]
fn schemas_round_trip() {
    let schema = StreamSchema(Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("t", crate::time::event_time_type(), false),
    ])));
    let bytes = codec::encode(&schema).unwrap();
    assert_eq!(codec::decode::<StreamSchema>(&bytes).unwrap(), schema);
}

#[test]
fn garbage_is_an_error() {
    let bytes = codec::encode(&vec![1u8, 2, 3]).unwrap();
    assert!(codec::decode::<StreamSchema>(&bytes).is_err());
    assert!(codec::decode::<StreamExpr>(&bytes).is_err());
}
