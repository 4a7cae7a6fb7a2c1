//! LightGBM's order of groups (`goldens/ranker.py`), and what is particular to groups: their column, their rows, their parts.

use super::*;
use crate::goldens::{assert_all_close, expected};
use crate::inspect::{ModelTable, table_of};
use crate::metrics::ndcg;
use crate::model::{RejectReason, RejectedRow};
use crate::registry::restore_predictor;

/// Groups whose rows are not adjacent, four numbers and relevances from 0 to 4, made by integers: Python makes the same ones.
struct Ranked {
    features: RecordBatch,
    groups: Vec<i64>,
    relevances: Vec<f64>,
}

fn ranked(rows: usize) -> Ranked {
    ranked_from(0, rows)
}

fn ranked_from(first: usize, rows: usize) -> Ranked {
    let all = first..first + rows;
    let group = |i: usize| i * i * 31 % 1009 % 240;
    let x = |i: usize| {
        [
            (i * 37 % 101) as f64 / 50.0 - 1.0,
            (i * 53 % 97) as f64 / 48.0 - 1.0,
            (i * 29 % 89) as f64 / 44.0 - 1.0,
            (i * i % 211) as f64 / 105.0 - 1.0,
        ]
    };
    let relevance = |i: usize| {
        let [x0, x1, x2, x3] = x(i);
        let noise = (i * i * 7 % 2003) as f64 / 1001.0 - 1.0;
        let step = if x3 > 0.3 { 1.0 } else { 0.0 };
        let value = x0 * 2.0 + x1 * x2 * 2.0 + step + noise * 0.8 + (group(i) % 7) as f64 * 0.2;
        [0.5, 1.5, 2.3, 3.1].iter().filter(|at| value > **at).count() as f64
    };
    let groups: Vec<i64> = all.clone().map(|i| group(i) as i64).collect();
    let number =
        |place: usize| -> ArrayRef { Arc::new(all.clone().map(|i| Some(x(i)[place])).collect::<Float64Array>()) };
    let query: ArrayRef = Arc::new(Int64Array::from(groups.clone()));
    let columns = [("x0", number(0)), ("x1", number(1)), ("query", query), ("x2", number(2)), ("x3", number(3))];
    let features = RecordBatch::try_from_iter(columns).unwrap();
    Ranked { features, groups, relevances: all.map(relevance).collect() }
}

impl Ranked {
    /// Those of every fifth group, or all others.
    fn part(&self, held: bool) -> Self {
        let rows: Vec<i64> =
            (0..self.groups.len() as i64).filter(|row| (self.groups[*row as usize] % 5 == 0) == held).collect();
        Self {
            groups: rows.iter().map(|row| self.groups[*row as usize]).collect(),
            relevances: rows.iter().map(|row| self.relevances[*row as usize]).collect(),
            features: take_record_batch(&self.features, &Int64Array::from(rows)).unwrap(),
        }
    }

    fn labels(&self) -> Float64Array {
        Float64Array::from(self.relevances.clone())
    }

    /// The mean NDCG of groups that have a relevant row.
    fn ndcg(&self, scores: &[f64]) -> f64 {
        let mut by_group: BTreeMap<i64, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for (row, group) in self.groups.iter().enumerate() {
            let (gains, said) = by_group.entry(*group).or_default();
            gains.push(2.0_f64.powf(self.relevances[row]) - 1.0);
            said.push(scores[row]);
        }
        let relevant = by_group.values().filter(|(gains, _)| gains.iter().any(|gain| *gain > 0.0));
        let found: Vec<f64> = relevant.map(|(gains, said)| ndcg(gains, said, None).unwrap()).collect();
        found.iter().sum::<f64>() / found.len() as f64
    }
}

const BY_QUERY: (&str, &str) = ("group_column", "query");

fn scores(report: &FitReport, features: &RecordBatch) -> Vec<f64> {
    said(report, features).labels.as_primitive::<Float64Type>().values().to_vec()
}

fn error(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> String {
    fit(RANKER, options, features, labels).unwrap_err().to_string()
}

/// The fit to most groups, and the NDCG of these and of the others.
fn fit_and_measure(all: &Ranked, options: &[(&str, &str)]) -> (Vec<f64>, [f64; 2]) {
    let [learnt, held] = [false, true].map(|held| all.part(held));
    let report = fit(RANKER, &[options, &[BY_QUERY]].concat(), &learnt.features, &learnt.labels()).unwrap();
    let found = [&learnt, &held].map(|part| part.ndcg(&scores(&report, &part.features)));
    assert!((metric(&report, "ndcg") - found[0]).abs() < 1e-9, "{report:?}");
    assert!((report.loss - (1.0 - found[0])).abs() < 1e-9, "{report:?}");
    (scores(&report, &learnt.features), found)
}

#[test]
fn scores_are_those_of_lightgbm() {
    // LightGBM rounds the rows of leaves otherwise, so what limits leaves here are their second derivatives.
    let of_leaves = [("min_rows_in_leaf", "1"), ("min_tree_child_weight", "2")];
    for (case, options) in [
        ("ranker_one_round", &[("max_iterations", "1")][..]),
        ("ranker_thirty_rounds", &[("max_iterations", "30")][..]),
        ("ranker_truncated", &[("max_iterations", "10"), ("truncation_level", "10")][..]),
    ] {
        let (scores, found) = fit_and_measure(&ranked(6000), &[options, &of_leaves].concat());
        // LightGBM's sigmoid is a table.
        assert_all_close(&scores.into_iter().step_by(97).collect::<Vec<_>>(), &expected(case, "scores"), 1e-4);
        assert_all_close(&found, &expected(case, "ndcg"), 0.003);
    }
}

#[test]
fn groups_are_ordered_as_well_as_by_lightgbm() {
    let few_leaves = [("num_leaves", "7"), ("learn_rate", "0.05"), ("l2_reg", "5"), ("min_rows_in_leaf", "50")];
    for (case, options) in [("ranker", &[][..]), ("ranker_few_leaves", &few_leaves[..])] {
        let mut means = [0.0; 2];
        for set in 0..8 {
            let (_, found) = fit_and_measure(&ranked_from(set * 6000, 6000), options);
            means.iter_mut().zip(found).for_each(|(mean, found)| *mean += found / 8.0);
        }
        assert_all_close(&means, &expected(case, "ndcg"), 0.003);
    }
}

#[test]
fn a_ranker_needs_no_group_to_answer_and_tells_what_it_uses() {
    let all = ranked(2000);
    let report = fit(RANKER, &[BY_QUERY, ("max_iterations", "10")], &all.features, &all.labels()).unwrap();
    let model = restore_supervised(&report.model).unwrap();
    assert_eq!((model.model_type(), model.label_type(), model.rows_learnt()), (RANKER, DataType::Float64, 2000));
    assert!(model.class_names().is_empty() && model.schema().fields().iter().all(|field| field.name != "query"));
    let without = all.features.project(&[0, 1, 3, 4]).unwrap();
    let answers = scores(&report, &without);
    assert_eq!(answers, scores(&report, &all.features));
    let explanations = model.explanations(&without, &model.predictions(&without).unwrap()).unwrap().unwrap();
    for (row, answer) in answers.iter().enumerate().take(50) {
        let sum = explanations.baselines().value(row) + explanations.attributions(row).iter().sum::<f64>();
        assert!((sum - answer).abs() < 1e-9 && (explanations.values().value(row) - answer).abs() < 1e-9);
    }
    let predictor = restore_predictor(&report.model).unwrap();
    assert_eq!(
        predictor.outputs("relevance").iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["predicted_relevance"]
    );
    let table = table_of(predictor.as_ref(), ModelTable::FeatureImportance).unwrap();
    let names: Vec<_> = table["feature"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(names, ["x0", "x1", "x2", "x3"]);
}

#[test]
fn threads_and_batches_change_no_order() {
    let all = ranked(30_000);
    for split in [&[][..], &[("data_split_method", "random"), ("subsample", "0.7")][..]] {
        let options = [split, &[BY_QUERY, ("max_iterations", "3")]].concat();
        let with = |threads| FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() };
        let one = fit_with(RANKER, &options, &all.features, &all.labels(), with(1)).unwrap();
        assert_eq!(fit_with(RANKER, &options, &all.features, &all.labels(), with(3)).unwrap(), one);
        let schema = FeatureSchema::from_arrow(all.features.schema_ref()).unwrap();
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut parted = create_batch(RANKER, &options, &schema, &DataType::Float64).unwrap();
        for start in (0..30_000).step_by(777) {
            let length = 777.min(30_000 - start);
            parted.add(&all.features.slice(start, length), &all.labels().slice(start, length)).unwrap();
        }
        assert_eq!(parted.fit().unwrap(), one);
        // A second fit ends where the first one did.
        assert_eq!(parted.fit().unwrap(), one);
        assert!(parted.bytes() > 30_000 * (4 * 8 + 8 + 4));
    }
}

#[test]
fn groups_are_told_apart_by_their_text() {
    let all = ranked(2000);
    let options = [BY_QUERY, ("max_iterations", "5")];
    let report = fit(RANKER, &options, &all.features, &all.labels()).unwrap();
    let with = |query: ArrayRef| {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (field, column) in all.features.schema().fields().iter().zip(all.features.columns()) {
            let column = if field.name() == "query" { &query } else { column };
            columns.push((field.name().clone(), Arc::clone(column)));
        }
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let texts = StringArray::from_iter_values(all.groups.iter().map(|group| format!("query {group}")));
    assert_eq!(fit(RANKER, &options, &with(Arc::new(texts)), &all.labels()).unwrap(), report);
    // As DOUBLE PRECISION, these would all be the same.
    let large = Int64Array::from_iter_values(all.groups.iter().map(|group| (1_i64 << 62) + *group));
    assert_eq!(fit(RANKER, &options, &with(Arc::new(large)), &all.labels()).unwrap(), report);
}

#[test]
fn whole_groups_are_held_out_and_end_the_fit() {
    let all = ranked(6000);
    let options = [BY_QUERY, ("data_split_method", "seq"), ("max_iterations", "1000"), ("num_leaves", "63")];
    let report = fit(RANKER, &options, &all.features, &all.labels()).unwrap();
    assert!((3..300).contains(&report.iterations), "{}", report.iterations);
    // By first sight, the last fifth of the groups.
    let mut order: Vec<i64> = Vec::new();
    all.groups.iter().for_each(|group| {
        if !order.contains(group) {
            order.push(*group);
        }
    });
    let last = &order[order.len() - (order.len() as f64 * 0.2).round() as usize..];
    let rows: Vec<i64> = (0..6000).filter(|row| last.contains(&all.groups[*row as usize])).collect();
    let held = Ranked {
        groups: rows.iter().map(|row| all.groups[*row as usize]).collect(),
        relevances: rows.iter().map(|row| all.relevances[*row as usize]).collect(),
        features: take_record_batch(&all.features, &Int64Array::from(rows)).unwrap(),
    };
    let found = held.ndcg(&scores(&report, &held.features));
    assert!((metric(&report, "ndcg") - found).abs() < 1e-9 && found > 0.9, "{found} {:?}", report.metrics);
    assert!((metric(&report, "eval_loss") - (1.0 - found)).abs() < 1e-9);
}

#[test]
fn a_row_of_no_group_is_reported_and_a_label_that_is_no_relevance_an_error() {
    let all = ranked(300);
    let schema = FeatureSchema::from_arrow(all.features.schema_ref()).unwrap();
    let options: BTreeMap<_, _> = [(BY_QUERY.0.to_owned(), BY_QUERY.1.to_owned())].into();
    let mut model = create_batch(RANKER, &options, &schema, &DataType::Float64).unwrap();
    let columns: [(&str, ArrayRef); 5] = [
        ("query", Arc::new(Int64Array::from(vec![Some(1), None, Some(1), Some(2), None]))),
        ("x0", Arc::new(Float64Array::from(vec![Some(1.0), Some(1.0), Some(f64::NAN), None, Some(1.0)]))),
        ("x1", Arc::new(Float64Array::from(vec![0.0; 5]))),
        ("x2", Arc::new(Float64Array::from(vec![0.0; 5]))),
        ("x3", Arc::new(Float64Array::from(vec![0.0; 5]))),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let rejected =
        model.add(&rows, &Float64Array::from(vec![Some(1.0), Some(2.0), Some(0.0), Some(3.0), None])).unwrap();
    assert_eq!(
        rejected,
        [
            RejectedRow { row: 1, reason: RejectReason::NullGroup { column: "query".to_owned() } },
            RejectedRow { row: 2, reason: RejectReason::NotANumber { column: "x0".to_owned() } },
            RejectedRow { row: 4, reason: RejectReason::NullLabel },
        ]
    );
    assert_eq!(rejected[0].reason.to_string(), "column 'query' is NULL, so the row is of no group");
    for label in [31.0, -1.0, 0.5] {
        let failed = model.add(&rows, &Float64Array::from(vec![0.0, 0.0, label, 0.0, 0.0])).unwrap_err();
        assert!(failed.to_string().contains("is no relevance"), "{failed}");
    }
    assert!(matches!(
        model.add(&rows, &Float64Array::from(vec![1.0])),
        Err(MlError::LabelCount { rows: 5, labels: 1 })
    ));
    let lacking = rows.project(&[1, 2, 3, 4]).unwrap();
    let failed = model.add(&lacking, &Float64Array::from(vec![1.0; 5])).unwrap_err();
    assert!(matches!(&failed, MlError::MissingColumn { column, .. } if column == "query"), "{failed}");
    assert_eq!(model.rows(), 2);
}

#[test]
fn what_gives_no_order_is_an_error() {
    let all = ranked(300);
    let labels = all.labels();
    let same = error(&[BY_QUERY], &all.features, &Float64Array::from(vec![2.0; 300]));
    assert!(same.starts_with("no group of rows to learn from has labels that differ"), "{same}");
    let of_one = error(&[("group_column", "x9")], &all.features, &labels);
    assert!(of_one.ends_with("one of x0, x1, query, x2, x3"), "{of_one}");
    assert!(error(&[], &all.features, &labels).starts_with("option group_column = ''"));
    let alone = all.features.project(&[2]).unwrap();
    assert!(matches!(fit(RANKER, &[BY_QUERY], &alone, &labels), Err(MlError::NoFeatures)));
    assert!(error(&[BY_QUERY, ("truncation_level", "0")], &all.features, &labels).contains("truncation_level = '0'"));
    assert!(error(&[BY_QUERY, ("class_weights", "1:2")], &all.features, &labels).contains("truncation_level"));
    assert!(fit(REGRESSOR, &[BY_QUERY], &all.features, &labels).is_err());
    let texts = StringArray::from(vec!["good"; 300]);
    assert!(matches!(fit(RANKER, &[BY_QUERY], &all.features, &texts), Err(MlError::UnsupportedLabel { .. })));
    let none = all.features.slice(0, 0);
    let no_labels = Float64Array::from(Vec::<f64>::new());
    assert!(matches!(fit(RANKER, &[BY_QUERY], &none, &no_labels), Err(MlError::NoRows)));
    let stopped = FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() };
    assert!(matches!(fit_with(RANKER, &[BY_QUERY], &all.features, &labels, stopped), Err(MlError::Stopped)));
    let of_few =
        error(&[BY_QUERY, ("data_split_method", "seq"), ("data_split_eval_fraction", "0.001")], &all.features, &labels);
    assert!(of_few.ends_with("groups make two parts"), "{of_few}");
}

#[test]
fn features_that_say_nothing_leave_every_order() {
    let (constant, nothing): (ArrayRef, ArrayRef) =
        (Arc::new(Float64Array::from(vec![1.0; 100])), Arc::new(Float64Array::new_null(100)));
    let query: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100).map(|row| row % 5)));
    let columns = [("constant", constant, true), ("query", query, true), ("nothing", nothing, true)];
    let features = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let labels = Float64Array::from_iter_values((0..100).map(|row| f64::from(row / 7 % 3)));
    let report = fit(RANKER, &[BY_QUERY], &features, &labels).unwrap();
    assert_eq!((report.iterations, scores(&report, &features)), (0, vec![0.0; 100]));
}

#[test]
fn a_ranker_of_another_kind_of_model_is_refused() {
    let all = ranked(300);
    let report = fit(RANKER, &[BY_QUERY, ("max_iterations", "3")], &all.features, &all.labels()).unwrap();
    let mut bytes = report.model.clone();
    assert_eq!(bytes[1], super::super::RANKER_SNAPSHOT_TAG);
    bytes[1] = super::super::SNAPSHOT_TAG;
    assert_eq!(restore_supervised(&bytes).unwrap().model_type(), REGRESSOR);
    let classes: BooleanArray = all.relevances.iter().map(|relevance| Some(*relevance > 1.0)).collect();
    let mut bytes = fit(CLASSIFIER, &[("max_iterations", "3")], &all.features, &classes).unwrap().model;
    bytes[1] = super::super::RANKER_SNAPSHOT_TAG;
    assert!(matches!(restore_supervised(&bytes), Err(MlError::CorruptState { .. })));
}
