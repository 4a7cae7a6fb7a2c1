//! scikit-learn's and numpy's numbers (`goldens/preprocessing.py`), whatever the batches, and odd columns.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int64Array, ListBuilder, NullArray, StringArray, StringBuilder};

use super::*;
use crate::goldens::{assert_all_close, expected};

/// Takes values up without labels.
fn add(collector: &mut StatisticCollector, values: ArrayRef) -> Result<()> {
    collector.add(&values, &TargetRows { labels: &NullArray::new(values.len()), draws: &[] })
}

/// What is known of values that come in batches of this many rows.
fn known(kind: StatisticKind, values: &[Option<f64>], batch: usize) -> Option<Statistic> {
    let mut collector = StatisticCollector::new(kind, &DataType::Float64).unwrap();
    for batch in values.chunks(batch) {
        add(&mut collector, Arc::new(Float64Array::from(batch.to_vec()))).unwrap();
    }
    collector.finish()
}

fn numbers(kind: StatisticKind, values: &[f64]) -> Vec<f64> {
    let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
    let whole = known(kind.clone(), &values, values.len());
    assert_eq!(whole, known(kind, &values, 7), "batches change nothing");
    match whole.unwrap() {
        Statistic::Numbers(numbers) => numbers,
        other => panic!("{other:?}"),
    }
}

fn texts(kind: StatisticKind, values: &[Option<&str>]) -> Option<Statistic> {
    let mut collector = StatisticCollector::new(kind, &DataType::Utf8).unwrap();
    add(&mut collector, Arc::new(StringArray::from(values.to_vec()))).unwrap();
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
        // The second asks for more than there are rows.
        for (count, name) in [(11, "eleven_quantiles"), (1000, "all_quantiles")] {
            assert_all_close(&all(StatisticKind::EvenQuantiles(count)).concat(), &expected(case, name), 1e-11);
        }
    }
}

/// The words of a document: as `goldens/preprocessing.py` makes them.
fn document(n: usize) -> Vec<String> {
    (0..n % 7).map(|k| format!("w{:02}", (n * k + k * k) % 11)).collect()
}

fn documents(count: usize) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for n in 0..count {
        lists.append_value(document(n).into_iter().map(Some));
    }
    lists.append_null();
    Arc::new(lists.finish())
}

fn terms(count_max: usize, frequency_min: u64) -> Terms {
    let documents = documents(40);
    let mut collector =
        StatisticCollector::new(StatisticKind::Terms { count_max, frequency_min }, documents.data_type());
    let collector_of = collector.as_mut().unwrap();
    add(collector_of, documents.slice(0, 3)).unwrap();
    add(collector_of, documents.slice(3, documents.len() - 3)).unwrap();
    match collector.unwrap().finish() {
        Some(Statistic::Terms(terms)) => terms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn terms_are_counted_by_lists() {
    let all = terms(100, 1);
    assert_eq!((all.lists, all.terms.len(), all.lists_with.len()), (40, 11, 11), "NULL is no list");
    assert_eq!(
        all.lists_with.iter().map(|count| *count as f64).collect::<Vec<_>>(),
        expected("texts", "documents_with")
    );
    let most = *all.lists_with.iter().max().unwrap();
    let best = all.terms.iter().zip(&all.lists_with).find(|(_, count)| **count == most).unwrap();
    assert_eq!(terms(1, 1).terms, std::slice::from_ref(best.0));
    assert_eq!(terms(100, most).terms, std::slice::from_ref(best.0));
    assert_eq!(terms(100, 1000), Terms { terms: vec![], lists_with: vec![], lists: 40 });
}

/// The categories and the labels of so many rows, as `goldens/preprocessing.py` makes them.
fn labelled(rows: usize) -> (Vec<Option<&'static str>>, Vec<f64>) {
    let category = |n: usize| [Some("a"), Some("b"), None, Some("d"), Some("e")][(n * n + n / 7) % 5];
    let label = |n: usize| (n * 37 % 101) as f64 / 10.0 + 3.0 * ((n * n + n / 7) % 5) as f64;
    (0..rows).map(|n| (category(n), label(n))).unzip()
}

fn targets(smooth: Option<f64>, folds: u32, categories: &[Option<&str>], labels: &ArrayRef) -> Result<Targets> {
    let draws = row_draws(0, categories.len());
    let mut collector = StatisticCollector::new(StatisticKind::Targets { smooth, folds }, &DataType::Utf8)?;
    for start in (0..categories.len()).step_by(13) {
        let count = 13.min(categories.len() - start);
        let values: ArrayRef = Arc::new(StringArray::from(categories[start..start + count].to_vec()));
        let labels = labels.slice(start, count);
        collector.add(&values, &TargetRows { labels: &labels, draws: &draws[start..start + count] })?;
    }
    match collector.finish() {
        Some(Statistic::Targets(targets)) => Ok(targets),
        other => panic!("{other:?}"),
    }
}

#[test]
fn categories_are_encoded_by_labels_as_scikit_learn_does() {
    let (categories, numbers) = labelled(200);
    let booleans: ArrayRef = Arc::new(numbers.iter().map(|label| Some(*label > 9.0)).collect::<BooleanArray>());
    // Rows have the second class by order first.
    let texts = numbers.iter().map(|label| Some(if *label > 9.0 { "yes" } else { "no" }));
    let texts: ArrayRef = Arc::new(std::iter::once(None).chain(texts.skip(1)).collect::<StringArray>());
    let numbers: ArrayRef = Arc::new(Float64Array::from(numbers));
    for (labels, case) in [(numbers, "numbers"), (booleans, "classes"), (texts, "classes_but_one")] {
        for (smooth, name) in [(None, "auto"), (Some(10.0), "ten"), (Some(0.0), "zero")] {
            let targets = targets(smooth, 5, &categories, &labels).unwrap();
            assert_eq!(targets.categories, ["a", "b", "d", "e"]);
            let Encodings { mut known, null, other } = targets.whole;
            known.extend([null, other]);
            assert_all_close(&known, &expected(&format!("targets_{case}"), name), 1e-12);
        }
    }
}

#[test]
fn a_fold_is_encoded_by_the_other_folds() {
    let (categories, numbers) = labelled(200);
    let labels: ArrayRef = Arc::new(Float64Array::from(numbers));
    let all = targets(None, 5, &categories, &labels).unwrap();
    let draws = row_draws(0, 200);
    assert_eq!(draws[150..], row_draws(150, 50));
    for (fold, without) in all.without.iter().enumerate() {
        let others: Vec<usize> = (0..200).filter(|row| draws[*row] % 5 != fold as i64).collect();
        assert!((120..190).contains(&others.len()), "{}", others.len());
        let kept: Vec<_> = others.iter().map(|row| categories[*row]).collect();
        let indices = arrow::array::UInt32Array::from_iter_values(others.iter().map(|row| *row as u32));
        let alone = targets(None, 1, &kept, &arrow::compute::take(&labels, &indices, None).unwrap()).unwrap();
        assert_all_close(&without.known, &alone.whole.known, 1e-12);
        assert_all_close(&[without.null, without.other], &[alone.whole.null, alone.whole.other], 1e-12);
    }
}

#[test]
fn labels_of_many_classes_encode_nothing() {
    let labels: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "x", "z"]));
    let error = targets(None, 5, &[Some("a"); 4], &labels).unwrap_err().to_string();
    assert!(error.contains("x, y, z"), "{error}");
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
    let error = add(&mut collector, Arc::new(Int64Array::from(vec![1]))).unwrap_err();
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
