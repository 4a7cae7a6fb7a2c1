//! Values at the edges of buckets, lists that differ by row, and what is not there.

use arrow::array::RecordBatch;
use datafusion::logical_expr::{Expr, col, lit};

use super::*;
use crate::expr::StreamExpr;
use crate::functions::scalar;

fn rows() -> RecordBatch {
    let numbers = Float64Array::from(vec![Some(0.5), Some(1.0), Some(2.5), Some(9.0), None, Some(f64::NAN)]);
    let texts = StringArray::from(vec![Some("a"), Some("b"), Some("zz"), Some(""), None, Some("ä")]);
    let columns: [(&str, ArrayRef, bool); 2] = [("x", Arc::new(numbers), true), ("c", Arc::new(texts), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn try_call(name: &str, arguments: Vec<Expr>) -> crate::Result<ArrayRef> {
    let rows = rows();
    let call = StreamExpr(scalar(name).unwrap().call(arguments)).to_physical(&rows.schema())?;
    Ok(call.evaluate(&rows)?.into_array(rows.num_rows())?)
}

fn texts_of(name: &str, arguments: Vec<Expr>) -> Vec<Option<String>> {
    let values = try_call(name, arguments).unwrap();
    values.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn integers_of(name: &str, arguments: Vec<Expr>) -> Vec<Option<i64>> {
    try_call(name, arguments).unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn points(points: &[f64]) -> Expr {
    let points: Vec<_> = points.iter().copied().map(ScalarValue::from).collect();
    lit(ScalarValue::List(ScalarValue::new_list_nullable(&points, &DataType::Float64)))
}

fn categories(categories: &[&str]) -> Expr {
    let categories: Vec<_> = categories.iter().copied().map(ScalarValue::from).collect();
    lit(ScalarValue::List(ScalarValue::new_list_nullable(&categories, &DataType::Utf8)))
}

fn bins(bins: [Option<&str>; 6]) -> Vec<Option<String>> {
    bins.map(|bin| bin.map(str::to_owned)).to_vec()
}

#[test]
fn a_bucket_begins_at_its_point() {
    let made = texts_of(BUCKETIZE, vec![col("x"), points(&[1.0, 2.5])]);
    assert_eq!(made, bins([Some("bin_1"), Some("bin_2"), Some("bin_3"), Some("bin_3"), None, None]));
    let made = texts_of(BUCKETIZE, vec![col("x"), points(&[1.0, 2.5]), lit(true)]);
    assert_eq!(made, bins([None, Some("bin_1"), None, None, None, None]), "what is outside has none");
    let made = texts_of(BUCKETIZE, vec![col("x"), points(&[])]);
    assert_eq!(made, bins([Some("bin_1"), Some("bin_1"), Some("bin_1"), Some("bin_1"), None, None]));
    let own = scalar("make_array").unwrap().call(vec![col("x")]);
    let error = try_call(BUCKETIZE, vec![lit(1.0), own]).unwrap_err().to_string();
    assert!(error.contains("ascending order"), "NULL is no point: {error}");
}

#[test]
fn points_are_in_order() {
    for wrong in [[2.0, 1.0], [1.0, 1.0], [1.0, f64::NAN]] {
        let error = try_call(BUCKETIZE, vec![col("x"), points(&wrong)]).unwrap_err().to_string();
        assert!(error.contains("ascending order"), "{error}");
    }
}

#[test]
fn hashes_are_those_of_fowler_noll_and_vo() {
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    let buckets = integers_of(HASH_BUCKETIZE, vec![col("c"), lit(10_i64)]);
    assert_eq!(buckets[0], Some((0xaf63_dc4c_8601_ec8c_u64 % 10) as i64));
    assert_eq!(buckets[4], None);
    assert!(buckets.iter().flatten().all(|bucket| (0..10).contains(bucket)), "{buckets:?}");
    let error = try_call(HASH_BUCKETIZE, vec![col("c"), lit(0_i64)]).unwrap_err().to_string();
    assert!(error.contains("at least one bucket"), "{error}");
}

#[test]
fn numbers_stay_within_limits() {
    let made = try_call(CLAMP, vec![col("x"), lit(1.0), lit(2.0)]).unwrap();
    let made = made.as_primitive::<Float64Type>();
    assert_eq!(made.iter().take(5).collect::<Vec<_>>(), [Some(1.0), Some(1.0), Some(2.0), Some(2.0), None]);
    assert!(made.value(5).is_nan());
}

#[test]
fn categories_have_places() {
    let known = || categories(&["", "b", "zz", "ä"]);
    assert_eq!(integers_of(CATEGORY_NUMBER, vec![col("c"), known()]), [0, 2, 3, 1, 0, 4].map(Some));
    let kept = texts_of(KNOWN_CATEGORY, vec![col("c"), known()]);
    assert_eq!(kept, bins([None, Some("b"), Some("zz"), Some(""), None, Some("ä")]));
    assert_eq!(integers_of(CATEGORY_NUMBER, vec![col("c"), categories(&[])]), [Some(0); 6]);
}
