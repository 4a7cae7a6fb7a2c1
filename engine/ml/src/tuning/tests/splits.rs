//! What a model learns and what it is judged by, where nothing is searched.

use arrow::array::{AsArray, StringArray, TimestampMicrosecondArray};
use arrow::compute::{concat, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::error::MlError;
use crate::goldens::reference_rows;
use crate::metrics::auc;
use crate::model::RejectReason;
use crate::registry::restore_supervised;

fn rows_of(features: &RecordBatch, labels: &dyn Array, rows: &[i64]) -> (RecordBatch, ArrayRef) {
    let rows = Int64Array::from(rows.to_vec());
    (take_record_batch(features, &rows).unwrap(), take(labels, &rows, None).unwrap())
}

/// Checks that a model is the one of the rows learnt, and judged by those held out, which are all others.
#[track_caller]
fn check(options: &[(&str, &str)], features: &RecordBatch, learnt: &[i64]) {
    let labels = booleans(&data_set("breast_cancer").1);
    let report = fit("logistic_reg", options, features, &labels).unwrap();
    let plain = data_set("breast_cancer").0;
    let (own, own_labels) = rows_of(&plain, &labels, learnt);
    let expected = fit("logistic_reg", &[], &own, &own_labels).unwrap();
    assert!(report.model == expected.model);
    assert_eq!((report.rows, report.loss, report.trials.len()), (learnt.len() as u64, expected.loss, 0));
    let others: Vec<i64> = (0..labels.len() as i64).filter(|row| !learnt.contains(row)).collect();
    let (others, wanted) = rows_of(&plain, &labels, &others);
    let said = restore_supervised(&report.model).unwrap().predictions(&others).unwrap();
    let wanted: Vec<bool> = wanted.as_boolean().values().iter().collect();
    assert_eq!(Some(metric(&report, "roc_auc")), auc(said.scores().values(), &wanted));
}

const SEQ: (&str, &str) = ("data_split_method", "SEQ");

#[test]
fn the_last_rows_judge() {
    let (features, _) = data_set("breast_cancer");
    // A fifth of 569 rows are 114.
    check(&[SEQ], &features, &(0..455).collect::<Vec<_>>());
    check(&[SEQ, ("data_split_eval_fraction", "0.5")], &features, &(0..284).collect::<Vec<_>>());
}

#[test]
fn the_last_by_a_column_judge() {
    let (features, _) = data_set("breast_cancer");
    let options = [SEQ, ("data_split_col", "t"), ("data_split_eval_fraction", "0.4")];
    // The first 100 rows have no time and come last, then the others from the last row down: 228 judge.
    let time = |row: i64| (row >= 100).then_some(1_000_000 - row / 2);
    let learnt: Vec<i64> = (228..569).collect();
    let features_of = |values: ArrayRef| with_column(&features, "t", values);
    check(&options, &features_of(Arc::new((0..569).map(time).collect::<Int64Array>())), &learnt);
    let text = |row: i64| time(row).map(|time| format!("{time:08}"));
    check(&options, &features_of(Arc::new((0..569).map(text).collect::<StringArray>())), &learnt);
}

#[test]
fn a_time_orders_rows_beside_the_features() {
    let (features, labels) = data_set("breast_cancer");
    let times: TimestampMicrosecondArray = (0..569).map(|row| Some(1000 - row)).collect();
    let with_times = with_column(&features, "t", Arc::new(times));
    let options = [SEQ, ("data_split_col", "t")];
    // A time is no feature; so the model is made for the others, and finds the column among the rows'.
    let mut model = model("logistic_reg", &options, &features, &booleans(&labels)).unwrap();
    model.add(&with_times, &booleans(&labels)).unwrap();
    assert_eq!((model.rows(), model.fit().unwrap().rows), (569, 455));
}

#[test]
fn a_column_says_which_rows_judge() {
    let (features, _) = data_set("breast_cancer");
    let options = [("data_split_method", "custom"), ("data_split_col", "held")];
    let held = |row: i64| match row % 4 {
        0 => Some(true),
        1 => None,
        _ => Some(false),
    };
    let learnt: Vec<i64> = (0..569).filter(|row| row % 4 > 1).collect();
    let values: ArrayRef = Arc::new((0..569).map(held).collect::<BooleanArray>());
    check(&options, &with_column(&features, "held", values), &learnt);
    let words = ["TEST", "test", "train", "Train"];
    let word = |row: i64| Some(if row < 2 { "Eval" } else { words[(row % 4) as usize] });
    let values: ArrayRef = Arc::new((0..569).map(word).collect::<StringArray>());
    let report =
        fit("logistic_reg", &options, &with_column(&features, "held", values), &booleans(&data_set("breast_cancer").1));
    assert_eq!(report.unwrap().rows, 284);
}

#[test]
fn what_is_split_by_is_no_feature() {
    let (features, labels) = data_set("breast_cancer");
    let features = with_folds(&features);
    let options = [("data_split_method", "grouped"), ("data_split_col", "fold")];
    let model = model("logistic_reg", &options, &features, &booleans(&labels)).unwrap();
    assert_eq!(model.schema().fields().len(), 30);
    let report = fit("logistic_reg", &options, &features, &booleans(&labels)).unwrap();
    // One of five groups of 113 or 114 rows, whichever fits into a fifth of 569, rounded.
    assert!([455, 456].contains(&report.rows), "{}", report.rows);
}

#[test]
fn classes_give_their_parts() {
    let (features, labels) = data_set("wine");
    let options = [("data_split_method", "stratified"), ("data_split_test_fraction", "0.1"), ("seed", "5")];
    let report = fit("naive_bayes", &options, &features, &integers(&labels)).unwrap();
    // 59, 71 and 48 rows: 12, 14 and 10 judge nothing here, since 6, 7 and 5 are for the test.
    assert_eq!(report.rows, 178 - 36 - 18);
    assert!(metric(&report, "accuracy") > 0.8);
    assert!((metric(&report, "accuracy") * 18.0).fract() < 1e-9);
}

#[test]
fn boosted_trees_end_by_rows_that_a_column_holds_out() {
    let (features, labels) = data_set("breast_cancer");
    let labels = booleans(&labels);
    let seq = fit("boosted_tree_classifier", &[SEQ], &features, &labels).unwrap();
    let held: ArrayRef = Arc::new((0..569).map(|row| Some(row >= 455)).collect::<BooleanArray>());
    let options = [("data_split_method", "custom"), ("data_split_col", "held")];
    let custom = fit("boosted_tree_classifier", &options, &with_column(&features, "held", held), &labels).unwrap();
    assert!(custom == seq);
    assert!(seq.iterations < 100);
    let tested = [SEQ, ("data_split_test_fraction", "0.2")];
    let tested = fit("boosted_tree_classifier", &tested, &features, &labels).unwrap();
    assert!(metric(&tested, "roc_auc") > 0.95 && metric(&tested, "baseline_log_loss") > metric(&tested, "log_loss"));
    // Neither those held out nor those of the test are learnt; the measures are of the latter.
    assert_eq!((seq.rows, tested.rows), (455, 341));
    assert!(
        (metric(&tested, "accuracy") * 114.0).fract().min(1.0 - (metric(&tested, "accuracy") * 114.0).fract()) < 1e-9
    );
}

#[test]
fn rows_are_the_same_however_they_are_cut() {
    let (features, labels) = reference_rows(0..300);
    let options = [("data_split_method", "stratified"), ("seed", "3")];
    let whole = fit("logistic_reg", &options, &features, &labels).unwrap();
    let mut parted = model("logistic_reg", &options, &features, &labels).unwrap();
    for first in (0..300).step_by(7) {
        let length = 7.min(300 - first);
        assert_eq!(parted.add(&features.slice(first, length), &labels.slice(first, length)).unwrap(), []);
    }
    assert!(parted.bytes() > 300 * 25);
    assert!(parted.fit().unwrap() == whole);
    assert!(parted.fit().unwrap() == whole);
    let late = parted.add(&features, &labels).unwrap_err();
    assert!(matches!(late, MlError::AlreadyFitted));
}

#[test]
fn bad_rows_are_rejected_and_not_kept() {
    let numbers = Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(4.0), Some(5.0), Some(6.0)]);
    let labels = BooleanArray::from(vec![Some(true), Some(true), Some(false), None, Some(false), Some(true)]);
    let features = RecordBatch::try_from_iter([("x", Arc::new(numbers) as ArrayRef)]).unwrap();
    let options = [SEQ, ("data_split_eval_fraction", "0.5")];
    let mut model = model("logistic_reg", &options, &features, &labels).unwrap();
    let rejected = model.add(&features, &labels).unwrap();
    let reasons: Vec<_> = rejected.iter().map(|rejected| (rejected.row, &rejected.reason)).collect();
    let nan = RejectReason::NotANumber { column: "x".to_owned() };
    assert_eq!(reasons, [(1, &nan), (3, &RejectReason::NullLabel)]);
    assert_eq!(model.rows(), 4);
    assert_eq!(model.fit().unwrap().rows, 2);
}

#[test]
fn columns_of_other_types_are_an_error() {
    let (features, labels) = data_set("wine");
    let labels = integers(&labels);
    let message = |options: &[(&str, &str)], column: ArrayRef| {
        let features = with_column(&features, "c", column);
        let without = FeatureSchema::from_arrow(data_set("wine").0.schema_ref()).unwrap();
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut model = create_batch("naive_bayes", &options, &without, &DataType::Int64).unwrap();
        let error = model.add(&features, &labels).and_then(|_| model.fit()).unwrap_err();
        error.to_string()
    };
    let custom = [("data_split_method", "custom"), ("data_split_col", "c")];
    assert_eq!(
        message(&custom, Arc::new(Int64Array::from(vec![1; 178]))),
        "option data_split_col = 'c' is not valid; expected a BOOLEAN column, or a text that is train, eval or test, and not \
         Int64"
    );
    assert_eq!(
        message(&custom, Arc::new(StringArray::from(vec!["half"; 178]))),
        "option data_split_col = 'c' is not valid; expected a BOOLEAN column, or a text that is train, eval or test, and not \
         'half'"
    );
    assert_eq!(
        message(&custom, Arc::new(BooleanArray::from(vec![true; 178]))),
        "option data_split_col = 'c' is not valid; expected a column that makes two parts of 178 rows"
    );
    let field = Field::new("item", DataType::Int64, true);
    let lists = arrow::array::ListArray::new_null(Arc::new(field), 178);
    let seq = [SEQ, ("data_split_col", "c")];
    assert_eq!(
        message(&seq, Arc::new(lists)),
        "option data_split_col = 'c' is not valid; expected a column of numbers, times, texts or booleans, which have an order"
    );
    let missing = [SEQ, ("data_split_col", "d")];
    assert!(
        message(&missing, Arc::new(Int64Array::from(vec![1; 178])))
            .starts_with("feature column 'd' is missing; the batch has x0, ")
    );
}

#[test]
fn a_split_of_nothing_is_an_error() {
    let schema = Schema::new(vec![Field::new("x", DataType::Float64, true)]);
    let features = RecordBatch::new_empty(Arc::new(schema));
    let error = fit("naive_bayes", &[SEQ], &features, &Int64Array::from(Vec::<i64>::new())).unwrap_err();
    assert!(matches!(error, MlError::NoRows));
    let features =
        RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef)]).unwrap();
    let error = fit("naive_bayes", &[SEQ], &features, &Int64Array::from(vec![1, 2])).unwrap_err();
    assert!(error.to_string().ends_with("a fraction by which 2 rows make two parts"), "{error}");
    let error = fit("naive_bayes", &[SEQ], &features, &Int64Array::from(vec![1, 1])).unwrap_err();
    assert!(matches!(error, MlError::SameClass { rows: 2, .. }));
    let both = concat(&[&Int64Array::from(vec![1]), &Int64Array::from(vec![2])]).unwrap();
    let error = fit("naive_bayes", &[SEQ, ("data_split_eval_fraction", "0.5")], &features, &both).unwrap_err();
    assert!(matches!(error, MlError::SameClass { rows: 1, .. }), "{error}");
}
