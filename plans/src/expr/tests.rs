//! Expressions and schemas survive the wire, and bytes that are neither are errors.

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, col, lit};

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
fn window_functions_round_trip_with_their_frames() {
    let second = ScalarValue::new_interval_mdn(0, 0, 1_000_000_000);
    let frames = [
        WindowFrame::new(Some(false)),
        WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(ScalarValue::UInt64(Some(3))),
            WindowFrameBound::CurrentRow,
        ),
        WindowFrame::new_bounds(
            WindowFrameUnits::Range,
            WindowFrameBound::Preceding(second.clone()),
            WindowFrameBound::Following(second),
        ),
    ];
    let lag = WindowFunctionDefinition::WindowUDF(functions::window("lag").unwrap());
    let sum = WindowFunctionDefinition::AggregateUDF(functions::aggregate("sum").unwrap());
    for frame in frames {
        for function in [lag.clone(), sum.clone()] {
            let mut call = WindowFunction::new(function, vec![col("v")]);
            call.params.order_by = vec![Sort::new(col("t"), true, false)];
            call.params.window_frame = frame.clone();
            let expr = Expr::from(call);
            let bytes = codec::encode(&StreamExpr(expr.clone())).unwrap();
            assert_eq!(codec::decode::<StreamExpr>(&bytes).unwrap().0, expr);
        }
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

#[test]
fn schemas_that_are_damaged_or_cut_are_errors_or_other_schemas_but_never_panics() {
    let schema = StreamSchema(Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("p", DataType::Float64, true),
        Field::new("l", DataType::new_list(DataType::Utf8, true), true),
        Field::new("t", crate::time::event_time_type(), false),
    ])));
    let sound: Vec<u8> = codec::decode(&codec::encode(&schema).unwrap()).unwrap();
    let decode = |bytes: &[u8]| codec::decode::<StreamSchema>(&codec::encode(&bytes.to_vec()).unwrap());
    assert_eq!(decode(&sound).unwrap(), schema);
    let mut refused = 0;
    for index in 0..sound.len() {
        refused += usize::from(decode(&sound[..index]).is_err());
        for value in [0, 1, 7, sound[index] ^ 0x80, 0xFF] {
            let mut damaged = sound.clone();
            damaged[index] = value;
            refused += usize::from(decode(&damaged).is_err());
        }
    }
    assert!(refused > sound.len(), "{refused} of {} were refused", 6 * sound.len());
}

#[test]
fn a_deep_expression_travels_from_a_threads_stack() {
    let deep = (0..40).fold(col("a"), |inner, _| datafusion::functions::math::expr_fn::abs(inner));
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let round_trip = small.spawn(move || {
        let expr = StreamExpr(deep);
        assert_eq!(crate::codec::decode::<StreamExpr>(&crate::codec::encode(&expr).unwrap()).unwrap(), expr);
    });
    round_trip.unwrap().join().unwrap();
}
