//! Registered functions: their names, their journey to workers, and what becomes of wrong ones.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Accumulator, ColumnarValue, SimpleScalarUDF, Volatility, col, create_udaf, create_udf, lit,
};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use expect_test::{Expect, expect};

use super::*;
use crate::codec;
use crate::expr::StreamExpr;

fn function(name: &str, body: impl Fn(&[ColumnarValue]) -> Result<ColumnarValue> + Send + Sync + 'static) -> ScalarUDF {
    create_udf(name, vec![DataType::Int64], DataType::Int64, Volatility::Immutable, Arc::new(body))
}

fn identity(name: &str) -> ScalarUDF {
    function(name, |arguments| Ok(arguments[0].clone()))
}

#[test]
fn names_that_are_taken_are_refused() {
    register_scalar(identity("Registered_Once")).unwrap();
    assert!(scalar("registered_once").is_some() && scalar_names().contains(&String::from("registered_once")));
    for name in ["registered_once", "REGISTERED_ONCE", "abs", "Upper", "sum", "row_number", "tumble", "mod"] {
        let error = register_scalar(identity(name)).unwrap_err().to_string();
        assert!(error.contains(&format!("there is a function '{}' already", name.to_lowercase())), "{name}: {error}");
    }
    let alias = identity("registered_never").with_aliases(["Abs"]);
    assert!(register_scalar(alias).unwrap_err().to_string().contains("'abs'"));
    assert!(scalar("registered_never").is_none());
}

#[test]
fn types_are_listed() {
    register_scalar(identity("registered_typed")).unwrap();
    let types = Some((vec![DataType::Int64], DataType::Int64));
    assert_eq!(find_registered("registered_typed"), Some(Registered { kind: RegisteredKind::Scalar, types }));
}

#[test]
fn a_table_function_has_columns() {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let table = |name: &str, returned: DataType, signature: Option<Signature>| {
        let body = Arc::new(|arguments: &[ColumnarValue]| Ok(arguments[0].clone()));
        let function = create_udf(name, vec![DataType::Int64], returned.clone(), Volatility::Immutable, body);
        let function = match signature {
            None => function,
            Some(signature) => ScalarUDF::from(SimpleScalarUDF::new_with_signature(
                name,
                signature,
                returned,
                Arc::new(|arguments: &[ColumnarValue]| Ok(arguments[0].clone())),
            )),
        };
        register_table(function).map(|()| find_registered(name).unwrap().columns().unwrap())
    };
    let pair =
        DataType::Struct(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)].into());
    let names = RowColumns::Fields(vec![String::from("a"), String::from("b")]);
    assert_eq!(table("table_of_pairs", list(pair), None).unwrap(), names);
    assert_eq!(table("table_of_values", list(DataType::Int64), None).unwrap(), RowColumns::Element);
    let any = Some(Signature::any(1, Volatility::Immutable));
    let error = |result: crate::error::Result<_>| result.unwrap_err().to_string();
    let wrong = [
        error(table("table_of_none", DataType::Int64, None)),
        error(table("table_of_any", list(DataType::Int64), any)),
        error(table("table_of_nothing", list(DataType::Struct(Vec::<Field>::new().into())), None)),
        error(table("abs", list(DataType::Int64), None)),
    ];
    expect![[r#"
        the table function 'table_of_none' returns no list: it has to return one for each row
        the table function 'table_of_any' needs an exact signature: its columns are the same in every call
        the table function 'table_of_nothing' makes rows without columns
        there is a function 'abs' already; take another name"#]]
    .assert_eq(&wrong.join("\n"));
}

#[test]
fn a_call_travels_to_whoever_knows_the_function() {
    let call = |name: &str| StreamExpr(identity(name).call(vec![col("v")]));
    let bytes = codec::encode(&call("not_registered")).unwrap();
    let error = crate::error::chain(&codec::decode::<StreamExpr>(&bytes).unwrap_err());
    let words = "the function 'not_registered' is not there in the worker's process";
    assert!(error.contains(words), "{error}");
    register_scalar(identity("Registered_To_Travel")).unwrap();
    let call = StreamExpr(scalar("registered_to_travel").unwrap().call(vec![col("v")]));
    let bytes = codec::encode(&call).unwrap();
    assert_eq!(codec::decode::<StreamExpr>(&bytes).unwrap(), call);
}

/// What a function says that was registered with this body and called for three rows, or for a constant.
fn check_scalar(
    name: &str,
    body: impl Fn(&[ColumnarValue]) -> Result<ColumnarValue> + Send + Sync + 'static,
    expected: Expect,
) {
    register_scalar(function(name, body)).unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap();
    let answer = |argument| {
        let call = StreamExpr(scalar(name).unwrap().call(vec![argument])).to_physical(&schema).unwrap();
        match call.evaluate(&batch).and_then(|value| value.into_array(3)) {
            Ok(values) => format!("{:?}", values.as_any().downcast_ref::<Int64Array>().unwrap().values()),
            Err(error) => error.to_string(),
        }
    };
    expected.assert_eq(&format!("{}\n{}\n", answer(col("v")), answer(lit(7_i64))));
}

#[test]
fn a_wrong_scalar_function_is_named() {
    check_scalar(
        "answers",
        |arguments| Ok(arguments[0].clone()),
        expect![[r#"
        ScalarBuffer([1, 2, 3])
        ScalarBuffer([7, 7, 7])
    "#]],
    );
    let one = || Ok(ColumnarValue::Array(Arc::new(Int64Array::from(vec![1]))));
    check_scalar(
        "too_short",
        move |_| one(),
        expect![[r#"
        External error: the function 'too_short' returned 1 values for a batch of 3: it has to return one for each row, in order
        ScalarBuffer([1, 1, 1])
    "#]],
    );
    let two = || Ok(ColumnarValue::Array(Arc::new(Int32Array::from(vec![1, 2]))));
    check_scalar(
        "of_another_type",
        move |_| two(),
        expect![[r#"
        External error: the function 'of_another_type' returned Int32, but promised Int64: correct its return type or its result
        External error: the function 'of_another_type' returned Int32, but promised Int64: correct its return type or its result
    "#]],
    );
    check_scalar(
        "panicking",
        |arguments| Ok(arguments[7].clone()),
        expect![[r#"
        External error: the function 'panicking' panicked: index out of bounds: the len is 1 but the index is 7
        External error: the function 'panicking' panicked: index out of bounds: the len is 1 but the index is 7
    "#]],
    );
}

/// Adds up to whatever it is told to.
#[derive(Debug)]
struct Says {
    result: ScalarValue,
    state: Vec<ScalarValue>,
}

impl Accumulator for Says {
    fn update_batch(&mut self, _values: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.state.clone())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.result.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// What the accumulator says of a function that promises integers.
fn check_aggregate(name: &str, result: ScalarValue, state: Vec<ScalarValue>, distinct: bool, expected: Expect) {
    let make = move |_: AccumulatorArgs<'_>| {
        Ok(Box::new(Says { result: result.clone(), state: state.clone() }) as Box<dyn Accumulator>)
    };
    let int = DataType::Int64;
    let (types, states) = (vec![int.clone()], Arc::new(vec![int.clone()]));
    register_aggregate(create_udaf(name, types, Arc::new(int), Volatility::Immutable, Arc::new(make), states)).unwrap();
    let schema = Schema::new(vec![Field::new("v", DataType::Int64, true)]);
    let logical = DFSchema::try_from(schema.clone()).unwrap();
    let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let mut call = aggregate(name).unwrap().call(vec![col("v")]);
    if let datafusion::logical_expr::Expr::AggregateFunction(call) = &mut call {
        call.params.distinct = distinct;
    }
    let call =
        LoweredAggregateBuilder::new(&call, &logical, &schema, &props, &planning).with_name("a").build().unwrap();
    let answer = call.aggregate.create_accumulator().map(|mut accumulator| {
        let result = accumulator.evaluate().map_or_else(|error| error.to_string(), |value| value.to_string());
        let state = accumulator.state().map_or_else(|error| error.to_string(), |state| format!("{state:?}"));
        format!("{result}\n{state}\n")
    });
    expected.assert_eq(&answer.unwrap_or_else(|error| format!("{error}\n")));
}

#[test]
fn a_wrong_aggregate_function_is_named() {
    let (int, text) = (ScalarValue::Int64(Some(1)), ScalarValue::from("one"));
    check_aggregate(
        "agrees",
        int.clone(),
        vec![int.clone()],
        false,
        expect![[r#"
        1
        [Int64(1)]
    "#]],
    );
    check_aggregate(
        "of_two_types",
        text.clone(),
        vec![text],
        false,
        expect![[r#"
        External error: the function 'of_two_types' returned Utf8, but promised Int64: correct its return type or its result
        External error: the function 'of_two_types' has a state that holds Utf8, but promised Int64: correct its return type or its result
    "#]],
    );
    check_aggregate(
        "of_two_states",
        int.clone(),
        vec![int.clone(), int.clone()],
        false,
        expect![[r#"
        1
        External error: the function 'of_two_states' has a state of 2 values, but promised 1
    "#]],
    );
    check_aggregate(
        "of_all",
        int.clone(),
        vec![int],
        true,
        expect![[r#"
        External error: the function 'of_all' does not take DISTINCT: SELECT DISTINCT in a subquery, and aggregate around it
    "#]],
    );
}
