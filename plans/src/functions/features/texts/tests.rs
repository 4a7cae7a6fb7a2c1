//! Words of odd texts, n-grams at the ends, and scikit-learn's `normalize` (1.9.1) of the same numbers.

use arrow::array::{ListArray, RecordBatch};
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::scalar::ScalarValue;

use super::*;
use crate::expr::StreamExpr;
use crate::functions::scalar;

fn try_call(name: &str, rows: &RecordBatch, arguments: Vec<Expr>) -> crate::Result<ListArray> {
    let call = StreamExpr(scalar(name).unwrap().call(arguments)).to_physical(&rows.schema())?;
    Ok(call.evaluate(rows)?.into_array(rows.num_rows())?.as_list::<i32>().clone())
}

fn words(lists: &ListArray) -> Vec<Option<Vec<String>>> {
    let list = |list: ArrayRef| list.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    lists.iter().map(|one| one.map(list)).collect()
}

fn column(values: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap()
}

fn list(values: &[ScalarValue], data_type: &DataType) -> Expr {
    lit(ScalarValue::List(ScalarValue::new_list_nullable(values, data_type)))
}

#[test]
fn texts_are_cut_into_words_of_any_script() {
    let texts = ["I like pie, you like-pie, they like 2 PIEs.", "Grüße aus ÅRHUS — 東京!", " .,; ", "don't"];
    let texts = StringArray::from_iter(texts.map(Some).into_iter().chain([None]));
    let made = words(&try_call(TEXT_ANALYZE, &column(Arc::new(texts)), vec![col("x")]).unwrap());
    let made: Vec<Option<String>> = made.into_iter().map(|words| words.map(|words| words.join("|"))).collect();
    let wanted =
        [Some("i|like|pie|you|like|pie|they|like|2|pies"), Some("grüße|aus|århus|東京"), Some(""), Some("don|t"), None];
    assert_eq!(made, wanted.map(|words| words.map(str::to_owned)));
}

#[test]
fn ngrams_begin_with_each_word() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("a"), None, Some("b"), Some("c")]);
    lists.append_value([Some("a")]);
    lists.append_null();
    let rows = column(Arc::new(lists.finish()));
    let range = |least: i64, most: i64| list(&[least, most].map(ScalarValue::from), &DataType::Int64);
    let made = |arguments: Vec<Expr>| {
        let made = words(&try_call(NGRAMS, &rows, [vec![col("x")], arguments].concat()).unwrap());
        made.into_iter().map(|words| words.map(|words| words.join("|"))).collect::<Vec<_>>()
    };
    let wanted = |first: &str, second: &str| [Some(first.to_owned()), Some(second.to_owned()), None];
    // BigQuery's example, but for NULL.
    assert_eq!(made(vec![range(2, 3), lit("#")]), wanted("a#b|a#b#c|b#c", ""));
    assert_eq!(made(vec![lit(2_i64)]), wanted("a b|b c", ""));
    assert_eq!(made(vec![range(1, 2), lit("")]), wanted("a|ab|b|bc|c", "a"));
    let refused =
        |arguments: Vec<Expr>| try_call(NGRAMS, &rows, [vec![col("x")], arguments].concat()).unwrap_err().to_string();
    assert!(refused(vec![range(2, 1)]).contains("the least first"));
    assert!(refused(vec![lit(0_i64)]).contains("1 to 100"));
    assert!(refused(vec![lit("two")]).contains("ML.NGRAMS(words, 2)"));
}

#[test]
fn numbers_are_parts_of_their_norm() {
    let mut lists = ListBuilder::new(Float64Builder::new());
    lists.append_value([3.0, -4.0, 0.0, 1.5].map(Some));
    lists.append_value([Some(0.0), Some(0.0)]);
    lists.append_value([Some(2.0), None]);
    lists.append_null();
    let rows = column(Arc::new(lists.finish()));
    let made = |arguments: Vec<Expr>| {
        let made = try_call(NORMALIZER, &rows, [vec![col("x")], arguments].concat()).unwrap();
        let numbers = |list: ArrayRef| list.as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
        made.iter().map(|list| list.map(numbers)).collect::<Vec<_>>()
    };
    // sklearn.preprocessing.normalize([[3, -4, 0, 1.5]], norm) of 'l2', 'l1' and 'max'.
    let l2 = [0.574_695_771_132_690_8, -0.766_261_028_176_921_1, 0.0, 0.287_347_885_566_345_4];
    let l1 = [0.352_941_176_470_588_26, -0.470_588_235_294_117_64, 0.0, 0.176_470_588_235_294_13];
    let max = [0.75, -1.0, 0.0, 0.375];
    for (p, wanted) in [(2.0, l2), (1.0, l1), (f64::INFINITY, max)] {
        let made = made(vec![lit(p)]);
        for (made, wanted) in made[0].as_ref().unwrap().iter().zip(wanted) {
            assert!((made.unwrap() - wanted).abs() < 1e-15, "{p}: {made:?} {wanted}");
        }
        assert_eq!(made[1..], [Some(vec![Some(0.0); 2]), Some(vec![Some(1.0), None]), None]);
    }
    assert_eq!(made(vec![]), made(vec![lit(2.0)]));
    // Of three numbers that are not 0, and of cubes: (27 + 64 + 3.375) ^ (1/3).
    assert_eq!(made(vec![lit(0.0)])[0], Some([1.0, -4.0 / 3.0, 0.0, 0.5].map(Some).to_vec()));
    let cubes = made(vec![lit(3.0)])[0].as_ref().unwrap()[0].unwrap();
    assert!((cubes - 3.0 / 94.375_f64.cbrt()).abs() < 1e-12, "{cubes}");
    let error = try_call(NORMALIZER, &rows, vec![col("x"), lit(0.5)]).unwrap_err().to_string();
    assert!(error.contains("norms of 0 and of 1 and more"), "{error}");
}
