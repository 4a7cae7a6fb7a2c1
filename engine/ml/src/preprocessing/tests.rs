//! scikit-learn's and numpy's numbers (`goldens/preprocessing.py`), whatever the batches, and odd columns.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, StringArray};

use super::*;
use crate::goldens::{assert_all_close, expected};

/// What is known of values that come in batches of this many rows.
fn known(kind: StatisticKind, values: &[Option<f64>], batch: usize) -> Option<Statistic> {
    let mut collector = StatisticCollector::new(kind, &DataType::Float64).unwrap();
    for batch in values.chunks(batch) {
        collector.add(&(Arc::new(Float64Array::from(batch.to_vec())) as ArrayRef)).unwrap();
    }
    collector.finish()
}

fn numbers(kind: StatisticKind, values: &[f64]) -> Vec<f64> {
    let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
    let whole = known(kind.clone(), &values, values.len());
    assert_eq!(whole, known(kind, &values, 7), "batches change nothing");
    match whole.unwrap() {
        Statistic::Numbers(numbers) => numbers,
        Statistic::Categories(categories) => panic!("{categories:?}"),
    }
}

fn texts(kind: StatisticKind, values: &[Option<&str>]) -> Option<Statistic> {
    let mut collector = StatisticCollector::new(kind, &DataType::Utf8).unwrap();
    collector.add(&(Arc::new(StringArray::from(values.to_vec())) as ArrayRef)).unwrap();
    collector.finish()
}

#[test]
fn numbers_are_those_of_scikit_learn() {
    for case in ["wine_columns", "odd_columns"] {
        let values = expected(case, "columns");
        let columns = values.chunks(values.len() / 4);
        let all = |kind: StatisticKind| columns.clone().map(|column| numbers(kind.clone(), column)).collect::<Vec<_>>();
        let at = |known: Vec<Vec<f64>>, place: usize| known.iter().map(|numbers| numbers[place]).collect::<Vec<_>>();
        let moments = all(StatisticKind::Moments);
        assert_all_close(&at(moments.clone(), 0), &expected(case, "mean"), 1e-11);
        assert_all_close(&at(moments, 1), &expected(case, "deviation"), 1e-11);
        let range = all(StatisticKind::Range);
        assert_eq!(at(range.clone(), 0), expected(case, "least"));
        assert_eq!(at(range, 1), expected(case, "largest"));
        let deciles = all(StatisticKind::Quantiles((1..10).map(|share| f64::from(share * 10) / 100.0).collect()));
        assert_all_close(&deciles.concat(), &expected(case, "deciles"), 1e-11);
        assert_eq!(at(all(StatisticKind::MostFrequent), 0), expected(case, "most_frequent"));
    }
}

#[test]
fn what_no_model_learns_is_left_out() {
    let values = [None, Some(f64::NAN), Some(1.0), Some(f64::INFINITY), Some(1e300), Some(3.0)];
    let of = |kind| known(kind, &values, 2);
    assert_eq!(of(StatisticKind::Moments), Some(Statistic::Numbers(vec![2.0, 1.0])));
    assert_eq!(of(StatisticKind::Range), Some(Statistic::Numbers(vec![1.0, 3.0])));
    assert_eq!(of(StatisticKind::Quantiles(vec![0.0, 0.5, 1.0])), Some(Statistic::Numbers(vec![1.0, 2.0, 3.0])));
    assert_eq!(of(StatisticKind::MostFrequent), Some(Statistic::Numbers(vec![1.0])));
}

#[test]
fn nothing_is_known_of_no_values() {
    let kinds = [StatisticKind::Moments, StatisticKind::Range, StatisticKind::Quantiles(vec![0.5])];
    for kind in kinds.into_iter().chain([StatisticKind::MostFrequent]) {
        assert_eq!(known(kind.clone(), &[], 1), None);
        assert_eq!(known(kind, &[None, Some(f64::NAN)], 1), None);
    }
    assert_eq!(texts(StatisticKind::MostFrequent, &[None]), None);
    assert_eq!(texts(StatisticKind::Categories { count_max: 3, frequency_min: 1 }, &[None]), None);
}

#[test]
fn categories_are_the_most_frequent_ones_in_order_of_their_text() {
    let values = ["c", "a", "b", "c", "a", "d", "c"].map(Some);
    let kept = |count_max, frequency_min| texts(StatisticKind::Categories { count_max, frequency_min }, &values);
    let categories =
        |names: &[&str]| Some(Statistic::Categories(names.iter().map(|name| (*name).to_owned()).collect()));
    assert_eq!(kept(10, 1), categories(&["a", "b", "c", "d"]));
    assert_eq!(kept(3, 1), categories(&["a", "b", "c"]), "of b and d the first");
    assert_eq!(kept(10, 2), categories(&["a", "c"]));
    assert_eq!(kept(10, 9), categories(&[]));
    assert_eq!(texts(StatisticKind::MostFrequent, &["b", "a", "b", "a"].map(Some)), categories(&["a"]));
}

#[test]
fn a_column_of_another_type_is_refused() {
    let refused = |kind, data_type| StatisticCollector::new(kind, &data_type).unwrap_err().to_string();
    assert!(refused(StatisticKind::Moments, DataType::Utf8).contains("scalers read DOUBLE PRECISION"));
    let categories = StatisticKind::Categories { count_max: 1, frequency_min: 1 };
    assert!(refused(categories, DataType::Float64).contains("encoders VARCHAR"));
    let mut collector = StatisticCollector::new(StatisticKind::Range, &DataType::Float64).unwrap();
    let error = collector.add(&(Arc::new(Int64Array::from(vec![1])) as ArrayRef)).unwrap_err();
    assert!(error.to_string().contains("Int64"), "{error}");
}

#[test]
fn more_categories_than_are_counted_are_refused() {
    let mut categories = Categories::default();
    (0..CATEGORIES_MAX).try_for_each(|n| categories.add(&n.to_string())).unwrap();
    categories.add("0").unwrap();
    let error = categories.add("one more").unwrap_err().to_string();
    assert_eq!(error, "a column has more than 1000000 categories; leave out what tells single rows apart");
}
