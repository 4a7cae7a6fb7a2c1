//! scikit-learn's and pandas's means (`goldens/online_unlabelled.py`), centroids by hand, groups that are found and
//! followed, the same bits however rows come, bad input.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::sample::Index;

use super::OnlineKMeans;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::inspect::{ModelTable, table_of};
use crate::model::testing::{check_damaged_unlabelled, check_unlabelled, learnt, try_unlabelled};
use crate::{MlError, OnlineModel, RejectReason, Result, restore, restore_supervised};

const TYPE: &str = "kmeans";

fn model(options: &[(&str, &str)], features: &RecordBatch) -> Box<dyn OnlineModel> {
    try_unlabelled(TYPE, options, features).unwrap()
}

/// One that has learnt all rows.
fn fitted(options: &[(&str, &str)], features: &RecordBatch) -> OnlineKMeans {
    let mut model = model(options, features);
    learnt(model.as_mut(), features);
    OnlineKMeans::restore(&model.snapshot().unwrap()).unwrap()
}

/// The numbers of all centroids, one centroid after another.
fn numbers(model: &OnlineKMeans) -> Vec<f64> {
    model.clusters.centroids().iter().flat_map(|centroid| centroid.numbers().to_vec()).collect()
}

fn column(values: impl IntoIterator<Item = f64>) -> RecordBatch {
    let values = Float64Array::from_iter_values(values);
    RecordBatch::try_from_iter([("x", Arc::new(values) as ArrayRef)]).unwrap()
}

fn ids(answers: &[ArrayRef]) -> Vec<Option<i64>> {
    answers[0].as_primitive::<Int64Type>().iter().collect()
}

/// The distances of a row from all centroids, the nearest first.
fn distances(answers: &[ArrayRef], row: usize) -> Vec<f64> {
    answers[1].as_list::<i32>().value(row).as_struct().column(1).as_primitive::<Float64Type>().values().to_vec()
}

#[test]
fn centroids_are_scikit_learns() {
    let (flowers, _) = data_set("iris");
    let places: arrow::array::UInt64Array = (0..150).map(|row| row * 7 % 150).collect::<Vec<u64>>().into();
    let flowers = arrow::compute::take_record_batch(&flowers, &places).unwrap();
    let (segments, _) = data_set("image_segments");
    for (case, rows, clusters) in [("flowers", flowers, "3"), ("segments", segments, "5")] {
        let options = [("num_clusters", clusters), ("init_rows", clusters), ("standardize_features", "false")];
        let model = fitted(&options, &rows);
        let mut found: Vec<Vec<f64>> = numbers(&model).chunks(rows.num_columns()).map(<[f64]>::to_vec).collect();
        found.sort_by(|one, other| one.partial_cmp(other).unwrap());
        assert_all_close(&found.concat(), &expected(case, "centroids"), 1e-9);
    }
}

#[test]
fn a_mean_that_forgets_is_pandas() {
    let (segments, _) = data_set("image_segments");
    let rows = segments.project(&[3]).unwrap();
    let model = fitted(&[("num_clusters", "1"), ("init_rows", "1"), ("half_life_rows", "20")], &rows);
    assert_all_close(&numbers(&model), &expected("moving_mean", "mean"), 1e-12);
}

#[test]
fn centroids_by_hand() {
    let options =
        [("num_clusters", "2"), ("init_rows", "2"), ("standardize_features", "false"), ("half_life_rows", "1")];
    let model = fitted(&options, &column([0.0, 10.0, 4.0, 9.0]));
    // 4 is nearer to 0, whose weight is ½ by then: 4 · 1 / 1½. 9 then is nearer to 10, of weight ¼: 10 - 1 / 1¼.
    let mut found = numbers(&model);
    found.sort_by(f64::total_cmp);
    assert_all_close(&found, &[8.0 / 3.0, 9.2], 1e-12);
    let answers = model_answers(&model, &column([3.0, 10.0]));
    assert_all_close(&distances(&answers, 0), &[1.0 / 3.0, 6.2], 1e-12);
    assert_all_close(&distances(&answers, 1), &[0.8, 22.0 / 3.0], 1e-12);
    assert_ne!(ids(&answers)[0], ids(&answers)[1]);
}

fn model_answers(model: &OnlineKMeans, rows: &RecordBatch) -> Vec<ArrayRef> {
    crate::Predictor::answers(model, rows).unwrap()
}

#[test]
fn categories_are_shares_and_missing_numbers_the_mean() {
    let texts = StringArray::from(vec![Some("a"), Some("b"), Some("a"), None]);
    let values = Float64Array::from(vec![Some(1.0), Some(3.0), None, Some(5.0)]);
    let columns: [(&str, ArrayRef, bool); 2] = [("c", Arc::new(texts), true), ("x", Arc::new(values), true)];
    let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let model = fitted(&[("num_clusters", "1"), ("init_rows", "1")], &rows);
    let table = table_of(&model, ModelTable::Centroids).unwrap();
    // The missing number was 2, the mean by then: (1 + 3 + 2 + 5) / 4.
    expect![[r#"
        +-------------+---------+-----------------+------------------------------------------------------------------------------------+
        | centroid_id | feature | numerical_value | categorical_value                                                                  |
        +-------------+---------+-----------------+------------------------------------------------------------------------------------+
        | 1           | c       |                 | [{category: a, value: 0.5}, {category: , value: 0.25}, {category: b, value: 0.25}] |
        | 1           | x       | 2.75            |                                                                                    |
        +-------------+---------+-----------------+------------------------------------------------------------------------------------+"#]]
    .assert_eq(&pretty_format_batches(&[table]).unwrap().to_string());
    // Shares ½, ¼, ¼ have the squares 3/8. A row of `a` is 3/8 + 1 - 1 away, one that was never seen 3/8; and 3 is the mean
    // of the numbers that are known, a quarter of 1.5 the distance of the centroid in deviations of √(8/3).
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "z"]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(2.75)]));
    let asked = RecordBatch::try_from_iter_with_nullable([("c", texts, true), ("x", values, true)]).unwrap();
    let answers = model_answers(&model, &asked);
    let of_number = 0.25 * 0.25 / (8.0 / 3.0);
    assert_all_close(&distances(&answers, 0), &[f64::sqrt(0.375 + of_number)], 1e-12);
    assert_all_close(&distances(&answers, 1), &[f64::sqrt(0.375)], 1e-12);
}

/// Rows of three groups in turn, which move by so much each row.
fn groups(rows: std::ops::Range<usize>, speed: f64) -> RecordBatch {
    let centre = |row: usize| [[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]][row % 3];
    let noise = |row: usize, factor: usize| (row * factor % 97) as f64 / 48.0 - 1.0;
    let x = rows.clone().map(|row| centre(row)[0] + noise(row, 37) + speed * row as f64);
    let y = rows.clone().map(|row| centre(row)[1] + noise(row, 53));
    let [x, y]: [ArrayRef; 2] =
        [Arc::new(Float64Array::from_iter_values(x)), Arc::new(Float64Array::from_iter_values(y))];
    RecordBatch::try_from_iter([("x", x), ("y", y)]).unwrap()
}

/// Whether each three rows in turn are of three clusters, always the same.
#[track_caller]
fn check_groups(answers: &[ArrayRef]) {
    let ids = ids(answers);
    let mut first = ids[..3].to_vec();
    assert!(ids.chunks_exact(3).all(|three| three == first), "{ids:?}");
    first.sort_unstable();
    assert_eq!(first, [Some(1), Some(2), Some(3)]);
}

#[test]
fn groups_are_found_whatever_the_seed() {
    let rows = groups(0..600, 0.0);
    for seed in 0..20 {
        let model = fitted(&[("num_clusters", "3"), ("seed", &seed.to_string())], &rows);
        check_groups(&model_answers(&model, &rows));
    }
}

#[test]
fn groups_that_move_are_followed_where_old_rows_are_forgotten() {
    let options = [("num_clusters", "3"), ("half_life_rows", "30"), ("standardize_features", "false")];
    let mut model = model(&options, &groups(0..1, 0.0));
    for start in (0..6000).step_by(300) {
        let report = learnt(model.as_mut(), &groups(start..start + 300, 0.02));
        if start > 0 {
            // Within a batch they move by 6, so the centroids say of its first rows only.
            let said: Vec<ArrayRef> = report.said.iter().map(|column| column.slice(0, 60)).collect();
            check_groups(&said);
        }
    }
}

#[test]
fn a_cluster_that_nobody_joins_any_more_becomes_half_of_the_heaviest() {
    let options =
        [("num_clusters", "2"), ("init_rows", "2"), ("half_life_rows", "1"), ("standardize_features", "false")];
    let mut model = model(&options, &column([0.0]));
    learnt(model.as_mut(), &column([0.0, 100.0]));
    // The other's weight falls below 1e-8 of the sum of 1, ½, …, after 26 rows.
    learnt(model.as_mut(), &column((0..20).map(|row| f64::from(row % 2))));
    assert!(distances(&model.answers(&column([100.0])).unwrap(), 0)[0] < 1e-9);
    learnt(model.as_mut(), &column((0..200).map(|row| f64::from(row % 2))));
    let answers = model.answers(&column([0.0, 1.0])).unwrap();
    assert_ne!(ids(&answers)[0], ids(&answers)[1]);
    assert!(distances(&answers, 0)[0] < 0.1 && distances(&answers, 1)[0] < 0.1);
}

#[test]
fn nothing_is_said_before_the_centroids_are_there() {
    let rows = groups(0..100, 0.0);
    let mut model = model(&[("num_clusters", "3")], &rows);
    learnt(model.as_mut(), &rows.slice(0, 99));
    let answers = model.answers(&rows).unwrap();
    assert!(answers.iter().all(|column| column.null_count() == 100));
    assert_eq!(table_of(model.as_ref(), ModelTable::Centroids).unwrap().num_rows(), 0);
    learnt(model.as_mut(), &rows.slice(99, 1));
    assert!(model.answers(&rows).unwrap().iter().all(|column| column.null_count() == 0));
    assert_eq!(table_of(model.as_ref(), ModelTable::Centroids).unwrap().num_rows(), 6);
}

#[test]
fn rows_that_are_the_same_at_first_leave_room_for_others() {
    let mut model = model(&[("num_clusters", "3"), ("init_rows", "10")], &column([0.0]));
    learnt(model.as_mut(), &column([7.0; 20]));
    assert_eq!(ids(&model.answers(&column([7.0, 9.0])).unwrap()), [Some(1), Some(1)]);
    learnt(model.as_mut(), &column([9.0, 7.0, 9.0, 8.0, 8.0]));
    assert_eq!(ids(&model.answers(&column([7.0, 9.0, 8.0])).unwrap()), [Some(1), Some(2), Some(3)]);
}

#[test]
fn a_feature_in_another_unit_changes_nothing() {
    let rows = groups(0..600, 0.001);
    let scaled = |column: &ArrayRef| {
        let values = column.as_primitive::<Float64Type>().values().iter();
        Arc::new(Float64Array::from_iter_values(values.map(|value| value * 1024.0))) as ArrayRef
    };
    let other = RecordBatch::try_new(rows.schema(), vec![Arc::clone(rows.column(0)), scaled(rows.column(1))]).unwrap();
    for half_life in ["0", "50"] {
        let options = [("num_clusters", "4"), ("half_life_rows", half_life)];
        let [answers, others] = [&rows, &other].map(|rows| model_answers(&fitted(&options, rows), rows));
        assert_eq!(answers, others);
    }
}

#[test]
fn bits_follow_from_the_rows_and_the_seed() {
    let (features, _) = reference_rows(0..1500);
    check_unlabelled(model(&[], &features).as_ref(), &features);
    let forgets =
        [("half_life_rows", "10"), ("max_categories", "3"), ("kmeans_init_method", "random"), ("init_rows", "300")];
    check_unlabelled(model(&forgets, &features).as_ref(), &features);
    let snapshot = |seed: &str| {
        let mut model = model(&[("seed", seed)], &features);
        learnt(model.as_mut(), &features);
        model.snapshot().unwrap()
    };
    assert_eq!(snapshot("1"), snapshot("1"));
    assert_ne!(snapshot("1"), snapshot("2"));
    assert!(matches!(restore_supervised(&snapshot("1")), Err(MlError::CorruptState { .. })));
}

#[test]
fn rows_that_cannot_be_used_are_said_and_skipped() {
    let values = Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(f64::INFINITY), Some(2.0)]);
    let features = RecordBatch::try_from_iter([("x", Arc::new(values) as ArrayRef)]).unwrap();
    let mut model = model(&[("num_clusters", "1"), ("init_rows", "1")], &features);
    let report = learnt(model.as_mut(), &features);
    assert_eq!((report.rows, report.rejected.iter().map(|row| row.row).collect::<Vec<_>>()), (3, vec![1, 3]));
    assert_eq!(report.rejected[1].reason, RejectReason::TooLarge { column: "x".to_owned() });
    assert_eq!(ids(&model.answers(&features).unwrap()), [Some(1), None, Some(1), None, Some(1)]);
    let before = model.snapshot().unwrap();
    let other = features.project(&[]).unwrap();
    assert!(matches!(model.learn(&other, &Float64Array::new_null(5)), Err(MlError::MissingColumn { .. })));
    assert_eq!(model.snapshot().unwrap(), before);
    assert_eq!(learnt(model.as_mut(), &features.slice(0, 0)).rows, 0);
}

#[track_caller]
fn check_error<T>(result: Result<T>, expected: Expect) {
    expected.assert_eq(&result.err().unwrap().to_string());
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |options: &[(&str, &str)]| try_unlabelled(TYPE, options, &column([0.0]));
    check_error(
        refused(&[("distance_type", "cosine")]),
        expect![
            "model type 'kmeans' has no option 'distance_type'; valid options are num_clusters, kmeans_init_method, init_rows, half_life_rows, standardize_features, seed, max_categories"
        ],
    );
    check_error(
        refused(&[("num_clusters", "0")]),
        expect!["option num_clusters = '0' is not valid; expected a number from 1 to 1000"],
    );
    check_error(
        refused(&[("num_clusters", "5"), ("init_rows", "4")]),
        expect!["option init_rows = '4' is not valid; expected a number from 5 to 100000"],
    );
    check_error(
        refused(&[("half_life_rows", "0.5")]),
        expect!["option half_life_rows = '0.5' is not valid; expected 0 for never, or a number from 1 to 1e12"],
    );
    check_error(
        refused(&[("kmeans_init_method", "first")]),
        expect!["option kmeans_init_method = 'first' is not valid; expected kmeans++ or random"],
    );
    // More clusters wait for more rows.
    refused(&[("num_clusters", "500")]).unwrap();
}

/// Models of two kinds of features: one that has centroids, one whose rows wait.
fn some_snapshots() -> &'static [Vec<u8>; 2] {
    static SNAPSHOTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
        let (features, _) = reference_rows(0..30);
        ["20", "40"].map(|init_rows| {
            let options = [("num_clusters", "2"), ("init_rows", init_rows), ("half_life_rows", "5")];
            let mut model = model(&options, &features);
            learnt(model.as_mut(), &features);
            model.snapshot().unwrap()
        })
    });
    &SNAPSHOTS
}

#[test]
fn a_snapshot_that_is_cut_short_is_an_error() {
    for bytes in some_snapshots() {
        restore(bytes).unwrap();
        assert!((0..bytes.len()).all(|end| restore(&bytes[..end]).is_err()));
    }
}

proptest! {
    #[test]
    fn damaged_snapshots_are_errors_or_models_that_work(
        which in 0..2usize,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        check_damaged_unlabelled(&some_snapshots()[which], changes, &reference_rows(0..60).0);
    }
}
