//! Classes made alike in number, before a fit.

use arrow::array::{AsArray, StringArray};
use arrow::datatypes::Float64Type;

use super::*;
use crate::batch::data_split::{DataSplit, Part};
use crate::classes::LabelKind;
use crate::tuning::rows::{KeptRows, Rows};
use crate::tuning::sampling::Sampling;

/// 61 rows of class 0, 24 of class 1 and 9 of class 2, mixed; two numbers, of which one is sometimes NULL, and a text.
fn rows() -> (RecordBatch, Int64Array) {
    let class = |row: i64| if row % 10 == 7 { 2 } else { i64::from(row % 10 > 6 || row % 13 == 0) };
    let a = |row: i64| Some((row * 37 % 101) as f64);
    let b = |row: i64| (row % 9 != 4).then_some((row * 53 % 97) as f64 * 1000.0);
    let c = |row: i64| (row % 7 != 6).then(|| format!("c{}", row % 3));
    let columns: [(&str, ArrayRef); 3] = [
        ("a", Arc::new((0..94).map(a).collect::<Float64Array>())),
        ("b", Arc::new((0..94).map(b).collect::<Float64Array>())),
        ("c", Arc::new((0..94).map(c).collect::<StringArray>())),
    ];
    let features =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap();
    (features, (0..94).map(|row| Some(class(row))).collect())
}

fn kept(features: &RecordBatch, labels: &Int64Array) -> KeptRows {
    let mut rows = KeptRows::new(Some(LabelKind::Integer), &DataSplit::default());
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    for first in (0..features.num_rows()).step_by(40) {
        let length = 40.min(features.num_rows() - first);
        let labels: ArrayRef = Arc::new(labels.slice(first, length));
        rows.add(&schema, &features.slice(first, length), &labels, &[]).unwrap();
    }
    rows
}

fn sampling(options: &[(&str, &str)]) -> Sampling {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Sampling::from_options(&options).unwrap().unwrap()
}

/// Every tenth row is not learnt.
fn parts() -> Vec<Part> {
    (0..94).map(|row| if row % 10 == 3 { Part::HeldOut } else { Part::Learnt }).collect()
}

/// How many rows of each class are learnt, and that no other row is touched.
fn counts(options: &[(&str, &str)]) -> ([usize; 3], Vec<Rows>) {
    let (features, labels) = rows();
    let sampled = sampling(options).apply(&kept(&features, &labels), &parts(), 3, &FitControl::default()).unwrap();
    for (before, after) in parts().iter().zip(&sampled.parts) {
        assert!(before == after || (*before, *after) == (Part::Learnt, Part::LeftOut));
    }
    let learnt = (0..94).filter(|row| sampled.parts[*row] == Part::Learnt).map(|row| labels.value(row));
    let extra = sampled
        .extra
        .iter()
        .flat_map(|rows| rows.labels.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec());
    let mut counts = [0; 3];
    learnt.chain(extra).for_each(|class| counts[class as usize] += 1);
    (counts, sampled.extra)
}

#[test]
fn classes_come_to_the_ratio() {
    let (features, labels) = rows();
    let plain: Vec<usize> = (0..3)
        .map(|class| (0..94).filter(|row| row % 10 != 3 && labels.value(*row as usize) == class).count())
        .collect();
    assert_eq!((features.num_rows(), &plain[..]), (94, &[52, 23, 9][..]));
    assert_eq!(counts(&[("sampling", "UNDERSAMPLE")]).0, [9, 9, 9]);
    assert_eq!(counts(&[("sampling", "undersample"), ("sampling_ratio", "0.3")]).0, [30, 23, 9]);
    for method in ["oversample", "smote"] {
        assert_eq!(counts(&[("sampling", method)]).0, [52, 52, 52]);
        assert_eq!(counts(&[("sampling", method), ("sampling_ratio", "0.4")]).0, [52, 23, 21]);
    }
}

#[test]
fn repeated_rows_are_those_that_there_are() {
    let (features, labels) = rows();
    let (_, extra) = counts(&[("sampling", "oversample")]);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for rows in extra.iter().filter(|rows| rows.labels.as_primitive::<arrow::datatypes::Int64Type>().value(0) == 2) {
        let own = rows.features.column(0).as_primitive::<Float64Type>();
        own.values().iter().for_each(|value| *times.entry(value.to_string()).or_default() += 1);
    }
    // 43 rows of 9: each comes four or five times more.
    assert_eq!((times.len(), times.values().sum::<usize>()), (9, 43));
    assert!(times.values().all(|times| (4..=5).contains(times)), "{times:?}");
    let a = features.column(0).as_primitive::<Float64Type>();
    let of_class: Vec<String> =
        (0..94).filter(|row| labels.value(*row) == 2).map(|row| a.value(row).to_string()).collect();
    assert!(times.keys().all(|value| of_class.contains(value)));
}

/// The numbers of some rows, NaN where they are NULL.
fn numbers(features: &RecordBatch) -> Vec<[f64; 2]> {
    let [a, b] = [0, 1].map(|column| features.column(column).as_primitive::<Float64Type>());
    let value = |array: &Float64Array, row| if array.is_valid(row) { array.value(row) } else { f64::NAN };
    (0..features.num_rows()).map(|row| [value(a, row), value(b, row)]).collect()
}

#[test]
fn rows_are_made_up_between_those_of_a_class() {
    let (features, labels) = rows();
    let (_, extra) = counts(&[("sampling", "smote"), ("smote_neighbors", "3")]);
    let all = numbers(&features);
    let own: Vec<[f64; 2]> =
        (0..94).filter(|row| labels.value(*row) == 2 && row % 10 != 3).map(|row| all[row]).collect();
    let made: Vec<[f64; 2]> = extra
        .iter()
        .filter(|rows| rows.labels.as_primitive::<arrow::datatypes::Int64Type>().value(0) == 2)
        .flat_map(|rows| numbers(&rows.features))
        .collect();
    assert_eq!(made.len(), 43);
    let is_between = |[a, b]: &[f64; 2]| {
        own.iter().any(|base| {
            own.iter().any(|other| {
                let part = (a - base[0]) / (other[0] - base[0]);
                let second = if other[1].is_nan() { base[1] } else { base[1] + part * (other[1] - base[1]) };
                let is_same = second.is_nan() && b.is_nan() || (second - b).abs() < 1e-6;
                (0.0..=1.0).contains(&part) && is_same
            })
        })
    };
    assert!(made.iter().all(is_between), "{made:?}");
    let mut distinct: Vec<String> = made.iter().map(|row| format!("{row:?}")).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 43);
    // A category is one that a row of the class has.
    for rows in &extra {
        assert!(rows.features.column(2).as_string::<i32>().iter().flatten().all(|text| text.starts_with('c')));
    }
}

#[test]
fn a_rare_class_is_found_more_often() {
    let (features, labels) = data_set("breast_cancer");
    // Every tenth of the second class.
    let mut seen = 0;
    let keep: Vec<i64> = (0..labels.len() as i64)
        .filter(|row| {
            seen += i64::from(labels[*row as usize] < 0.5);
            labels[*row as usize] > 0.5 || seen % 10 == 0
        })
        .collect();
    let rare: BooleanArray = keep.iter().map(|row| Some(labels[*row as usize] < 0.5)).collect();
    let features = arrow::compute::take_record_batch(&features, &Int64Array::from(keep)).unwrap();
    let first = RecordBatch::try_from_iter([("x", Arc::clone(features.column(1)))]).unwrap();
    let recall = |sampling: &[(&str, &str)], threads| {
        let options = [&[("data_split_method", "stratified"), ("data_split_eval_fraction", "0.5")], sampling].concat();
        let report = fit_with("logistic_reg", &options, &first, &rare, threads).unwrap();
        (metric(&report, "recall"), report.rows)
    };
    let (plain, rows) = recall(&[], 1);
    // 357 rows of one class and 21 of the other, of which half are learnt.
    assert!(plain < 0.2 && rows == 178 + 10, "{plain} {rows}");
    for (method, expected) in [("undersample", 20), ("oversample", 356), ("smote", 356)] {
        let (found, rows) = recall(&[("sampling", method)], 1);
        assert!(found > 0.5 && rows == expected, "{method} {found} {rows}");
        assert_eq!((found, rows), recall(&[("sampling", method)], 4));
    }
}

#[test]
fn made_up_rows_do_not_depend_on_the_threads() {
    let (features, labels) = rows();
    let options = [("sampling", "smote"), ("num_trials", "3"), ("seed", "4")];
    let fits =
        [1, 2, 4].map(|threads| fit_with("random_forest_classifier", &options, &features, &labels, threads).unwrap());
    assert!(fits[0] == fits[1] && fits[0] == fits[2]);
    // Judged as they came, where no rows are held out.
    let report = fit("logistic_reg", &[("sampling", "oversample")], &features, &labels).unwrap();
    assert!(report.rows > 94 && metric(&report, "accuracy") > 0.3);
}

#[test]
fn what_cannot_be_made_alike_is_an_error() {
    let (features, labels) = rows();
    let error = |options: &[(&str, &str)]| fit("logistic_reg", options, &features, &labels).unwrap_err().to_string();
    assert_eq!(
        error(&[("sampling", "some")]),
        "option sampling = 'some' is not valid; expected one of none, undersample, oversample, smote"
    );
    assert_eq!(
        error(&[("sampling_ratio", "0.5")]),
        "option sampling_ratio = '0.5' is not valid; expected sampling = 'undersample', 'oversample' or 'smote' beside it"
    );
    assert_eq!(
        error(&[("sampling", "oversample"), ("smote_neighbors", "3")]),
        "option smote_neighbors = '3' is not valid; expected sampling = 'smote' beside it"
    );
    assert!(error(&[("sampling", "smote"), ("sampling_ratio", "0")]).contains("expected a number from 0.000001 to 1"));
    let numbers = Float64Array::from(vec![1.0; 94]);
    let regression = fit("linear_reg", &[("sampling", "smote")], &features, &numbers).unwrap_err().to_string();
    assert_eq!(regression, "option sampling = 'smote' is not valid; expected none where no classes are learnt");

    let single: Int64Array = (0..94).map(|row| Some(i64::from(row == 50))).collect();
    let error = fit("logistic_reg", &[("sampling", "smote")], &features, &single).unwrap_err().to_string();
    assert_eq!(
        error,
        "option sampling = 'smote' is not valid; expected at least two rows of each class that are learnt, or 'oversample', \
         which repeats one"
    );
    assert_eq!(fit("logistic_reg", &[("sampling", "oversample")], &features, &single).unwrap().rows, 186);
    // Nothing to do is nothing.
    let plain = fit("logistic_reg", &[], &features, &labels).unwrap();
    assert!(fit("logistic_reg", &[("sampling", "none")], &features, &labels).unwrap() == plain);
}
