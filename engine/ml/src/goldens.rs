//! Small data sets, and what scikit-learn and River make of them: the scripts in `goldens` wrote both.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

/// What the scripts wrote of their cases.
const EXPECTED: [&str; 23] = [
    include_str!("../goldens/expected.txt"),
    include_str!("../goldens/explain.txt"),
    include_str!("../goldens/forest.txt"),
    include_str!("../goldens/pca.txt"),
    include_str!("../goldens/anomalies.txt"),
    include_str!("../goldens/matrix_factorization.txt"),
    include_str!("../goldens/linear_svm.txt"),
    include_str!("../goldens/linear_svr.txt"),
    include_str!("../goldens/naive_bayes.txt"),
    include_str!("../goldens/nearest_neighbors.txt"),
    include_str!("../goldens/dbscan.txt"),
    include_str!("../goldens/one_class_svm.txt"),
    include_str!("../goldens/online.txt"),
    include_str!("../goldens/online_trees.txt"),
    include_str!("../goldens/online_unlabelled.txt"),
    include_str!("../goldens/preprocessing.txt"),
    include_str!("../goldens/series.txt"),
    include_str!("../goldens/tuning.txt"),
    include_str!("../goldens/ranker.txt"),
    include_str!("../goldens/import.txt"),
    include_str!("../goldens/decisions.txt"),
    include_str!("../goldens/training_info.txt"),
    include_str!("../goldens/local.txt"),
];

/// The features of a data set, as the columns x0, x1, …, and its labels.
pub(crate) fn data_set(name: &str) -> (RecordBatch, Vec<f64>) {
    let path = format!("{}/goldens/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for line in text.lines() {
        for (column, value) in line.split(',').enumerate() {
            if column == columns.len() {
                columns.push(Vec::new());
            }
            columns[column].push(value.parse().unwrap());
        }
    }
    let labels = columns.pop().unwrap();
    let names = (0..).map(|column| format!("x{column}"));
    let arrays = columns.into_iter().map(|values| Arc::new(Float64Array::from(values)) as ArrayRef);
    (RecordBatch::try_from_iter(names.zip(arrays)).unwrap(), labels)
}

/// The numbers of a case under a name, in the order of scikit-learn.
pub(crate) fn expected(case: &str, name: &str) -> Vec<f64> {
    let mut lines = EXPECTED.into_iter().flat_map(str::lines);
    let line = lines.find(|line| line.starts_with(&format!("{case} {name} ")));
    line.unwrap().split(' ').skip(2).map(|number| number.parse().unwrap()).collect()
}

#[track_caller]
pub(crate) fn assert_all_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (place, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (actual - expected).abs() <= tolerance,
            "at {place}: {actual} is not within {tolerance:e} of {expected}"
        );
    }
}

/// Rows of which Python makes the same by the same arithmetic, `mixed` in `goldens/make.py`:
/// two numbers (one sometimes NULL), a text (sometimes NULL), a boolean, and half positive labels.
pub(crate) fn reference_rows(rows: std::ops::Range<usize>) -> (RecordBatch, BooleanArray) {
    let a = |i: usize| (i * 37 % 101) as f64 / 10.0 - 5.0;
    let columns: [(&str, ArrayRef); 4] = [
        ("a", Arc::new(Float64Array::from_iter_values(rows.clone().map(a)))),
        ("b", Arc::new(Int64Array::from_iter(rows.clone().map(|i| (i % 11 != 3).then_some((i * 53 + 7) as i64 % 97))))),
        (
            "city",
            Arc::new(StringArray::from_iter(rows.clone().map(|i| (i % 13 != 5).then(|| format!("c{}", i * i % 7))))),
        ),
        ("flag", Arc::new(BooleanArray::from_iter(rows.clone().map(|i| Some(i % 3 == 0))))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let bonus = |i: usize| if i * i % 7 == 2 { 2.0 } else { 0.0 };
    let label = |i: usize| a(i) * 0.8 + bonus(i) + (i * 29 % 17) as f64 / 8.0 > 1.5;
    (features, BooleanArray::from_iter(rows.map(|i| Some(label(i)))))
}

/// Two dense groups, and every fiftieth row anywhere: `scattered` in `goldens/anomalies.py`.
pub(crate) fn scattered(rows: usize) -> (RecordBatch, Vec<bool>) {
    let is_anomaly = |i: usize| i % 50 == 7;
    let group = |i: usize| [6.0, 0.0, 0.0][i % 3];
    let bell = |i: usize, [a, b, c]: [usize; 3]| (i * a % 101 + i * b % 97 + i * c % 89) as f64 / 60.0;
    let anywhere = |i: usize, a: usize, m: usize, width: f64, from: f64| (i * a % m) as f64 / m as f64 * width - from;
    let row = |i: usize| {
        if is_anomaly(i) {
            return [
                anywhere(i, 7919, 1009, 24.0, 9.0),
                anywhere(i, 6007, 1013, 24.0, 12.0),
                anywhere(i, 8009, 1019, 16.0, 6.0),
            ];
        }
        [bell(i, [37, 53, 71]) + group(i), bell(i, [41, 29, 61]) - group(i), bell(i, [67, 43, 31])]
    };
    let column = |place: usize| Arc::new(Float64Array::from_iter_values((0..rows).map(|i| row(i)[place]))) as ArrayRef;
    let columns = [("x", column(0)), ("y", column(1)), ("z", column(2))];
    (RecordBatch::try_from_iter(columns).unwrap(), (0..rows).map(is_anomaly).collect())
}
