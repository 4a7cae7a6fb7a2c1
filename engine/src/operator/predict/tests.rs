//! Predictions by the version that belongs to each row, and by the newest.

use std::sync::atomic::Ordering;

use arrow::array::{BinaryArray, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Field, Schema};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_ml::FeatureSchema;
use tidemill_plans::algorithm::explained_outputs;
use tidemill_plans::error::chain;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{NodeKind, model_version_schema, predicted_fields};

use tidemill_plans::catalog::UNTIMED;
use tidemill_plans::prediction::Question;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, harness, joined, schema, sorted_rows};
use crate::testing::instances::{self, Step as Taken, check_rescaling};

/// About rows without a time.
pub(super) fn asked(freshness: ModelFreshness, question: Question) -> PredictNode {
    let (model, label) = (String::from("m"), String::from("y"));
    PredictNode { model, label, features: vec![1], time: None, freshness, question }
}

fn predict(freshness: ModelFreshness) -> OperatorHarness {
    let input = schema("id:int x:float t:time");
    let added = schema("predicted_y:bool predicted_y_prob:float model_version:int model_event_time:time");
    let output = joined(&input, &added);
    let node = PredictNode { time: Some(2), ..asked(freshness, Question::Prediction) };
    harness(NodeKind::Predict(node), &[&input, &model_version_schema()], output)
}

/// A version that has learnt `n` rows, so that each version answers differently.
pub(super) fn version(n: i64, learnt_to: i64) -> RecordBatch {
    let features = Schema::new(vec![Field::new("x", DataType::Float64, true)]);
    let schema = FeatureSchema::from_arrow(&features).unwrap();
    let mut model = tidemill_ml::create("logistic_reg", &Default::default(), &schema, &DataType::Boolean).unwrap();
    let xs: Float64Array = (0..n).map(|i| Some((i % 2) as f64)).collect();
    let labels: BooleanArray = (0..n).map(|i| Some(i % 2 == 1)).collect();
    let rows = RecordBatch::try_new(Arc::new(features), vec![Arc::new(xs)]).unwrap();
    model.learn(&rows, &labels).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![n])),
        Arc::new(TimestampMicrosecondArray::from(vec![learnt_to * 1_000_000])),
        Arc::new(Int64Array::from(vec![n])),
        Arc::new(BinaryArray::from(vec![model.snapshot().unwrap().as_slice()])),
    ];
    RecordBatch::try_new(model_version_schema(), columns).unwrap()
}

/// A step a line: `row …`, `version n learnt_to`, `watermark port seconds`, `end`.
fn play(harness: &mut OperatorHarness, script: &str) {
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<i64>().unwrap();
        match words[0] {
            "row" => harness.push(0, &words[1..].join(" ")).unwrap(),
            "version" => harness.push_batch(1, version(number(1), number(2))).unwrap(),
            "watermark" => harness.watermark(number(1) as usize, number(2)).unwrap(),
            _ => harness.finish().unwrap(),
        }
    }
}

fn check(freshness: ModelFreshness, script: &str, expected: Expect) {
    let mut harness = predict(freshness);
    play(&mut harness, script);
    let late = harness.stats().late_rows.load(Ordering::Relaxed);
    expected.assert_eq(&format!("{}late {late}\n", harness.output().unwrap()));
}

#[test]
fn a_row_gets_the_newest_version_that_learnt_nothing_from_its_future() {
    let script =
        "version 2 10\nversion 4 20\nrow 1 1 @9.999999\nrow 2 1 @10\nrow 3 0 @19\nrow 4 1 @20\nrow 5 1 @99\nend";
    check(
        ModelFreshness::Consistent,
        script,
        expect![[r#"
        1 1.0 @9.999999 - - - -
        2 1.0 @10 true 0.5167621893966318 2 @10
        3 0.0 @19 false 0.4740464682251766 2 @10
        4 1.0 @20 true 0.5416923720548916 4 @20
        5 1.0 @99 true 0.5416923720548916 4 @20
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn consistent_rows_wait_until_their_version_is_certain() {
    let script =
        "version 2 10\nrow 1 1 @20\nwatermark 0 21\nwatermark 1 20\nversion 4 20\nwatermark 1 21\nrow 2 1 @30\nend";
    check(
        ModelFreshness::Consistent,
        script,
        expect![[r#"
        watermark @20
        1 1.0 @20 true 0.5416923720548916 4 @20
        watermark @21
        2 1.0 @30 true 0.5416923720548916 4 @20
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn latest_rows_are_answered_at_once_and_still_not_from_the_future() {
    let script = "row 1 1 @20\nversion 2 10\nversion 4 40\nrow 2 1 @20\nwatermark 0 30\nrow 3 1 @35\nrow 4 1 @40\nend";
    check(
        ModelFreshness::Latest,
        script,
        expect![[r#"
        1 1.0 @20 - - - -
        2 1.0 @20 true 0.5167621893966318 2 @10
        watermark @30
        3 1.0 @35 true 0.5167621893966318 2 @10
        4 1.0 @40 true 0.5416923720548916 4 @40
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn late_rows_are_counted_and_left_out() {
    check(
        ModelFreshness::Consistent,
        "version 2 10\nwatermark 0 20\nrow 1 1 @19\nrow 2 1 @20\nend",
        expect![[r#"
        2 1.0 @20 true 0.5167621893966318 2 @10
        watermark end
        late 1
    "#]],
    );
    check(
        ModelFreshness::Latest,
        "version 2 10\nwatermark 0 20\nrow 1 1 @19\nrow 2 1 @20\nend",
        expect![[r#"
        watermark @20
        2 1.0 @20 true 0.5167621893966318 2 @10
        watermark end
        late 1
    "#]],
    );
}

#[test]
fn a_row_that_the_model_cannot_answer_keeps_its_place() {
    check(
        ModelFreshness::Consistent,
        "version 2 10\nrow 1 NaN @20\nrow 2 - @20\nend",
        expect![[r#"
        1 NaN @20 - - 2 @10
        2 - @20 false 0.49539592735772664 2 @10
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn empty_batches_and_no_model_at_all() {
    let mut harness = predict(ModelFreshness::Consistent);
    harness.push(0, "").unwrap();
    play(&mut harness, "row 1 1 @20\nend");
    expect![[r#"
        1 1.0 @20 - - - -
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn versions_that_nobody_can_ask_for_leave_the_state() {
    let mut harness = predict(ModelFreshness::Consistent);
    for n in 1..50 {
        play(&mut harness, &format!("version {n} {}\nwatermark 0 {}\nwatermark 1 {}", n * 10, n * 10, n * 10));
    }
    let one = version(49, 490).column(3).as_binary::<i32>().value(0).len();
    assert!(harness.state_bytes() <= 2 * one, "{} bytes", harness.state_bytes());
}

#[derive(Debug, Clone)]
enum Step {
    Row(i64),
    Version(i64),
    Advance(usize, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0i64..60).prop_map(Step::Row),
        1 => (1i64..15).prop_map(Step::Version),
        1 => (0usize..2, 0i64..15).prop_map(|(port, by)| Step::Advance(port, by)),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn every_row_gets_what_a_scan_of_all_versions_finds(steps in steps()) {
        let mut harness = predict(ModelFreshness::Consistent);
        let (mut watermarks, mut rows, mut versions, mut learnt_to) = ([i64::MIN; 2], vec![], vec![], 0);
        for (id, step) in steps.iter().enumerate() {
            match *step {
                Step::Row(time) => {
                    play(&mut harness, &format!("row {id} 1 @{time}"));
                    if time >= watermarks[0] { rows.push((id, time)) }
                }
                Step::Version(by) => {
                    learnt_to = learnt_to.max(watermarks[1]) + by;
                    versions.push(learnt_to);
                    play(&mut harness, &format!("version {} {learnt_to}", versions.len()));
                }
                Step::Advance(port, by) => {
                    watermarks[port] = watermarks[port].max(0) + by;
                    play(&mut harness, &format!("watermark {port} {}", watermarks[port]));
                }
            }
        }
        harness.finish().unwrap();
        let picks = sorted_rows(&harness.output().unwrap()).into_iter().map(|row| {
            let words: Vec<&str> = row.split(' ').collect();
            (words[0].parse::<usize>().unwrap(), words[5].to_owned())
        });
        let mut picks: Vec<_> = picks.collect();
        picks.sort();
        let expected: Vec<_> = rows.iter().map(|(id, time)| {
            let known = versions.iter().filter(|learnt_to| *learnt_to <= time).count();
            (*id, if known == 0 { String::from("-") } else { known.to_string() })
        }).collect();
        prop_assert_eq!(picks, expected);
    }
}

#[test]
fn versions_and_rows_that_wait_for_them_count_as_state() {
    let mut harness = predict(ModelFreshness::Consistent);
    assert_eq!(harness.state_bytes(), 0);
    play(&mut harness, "row 1 0.5 @5");
    let waiting = harness.state_bytes();
    play(&mut harness, "version 4 1");
    let both = harness.state_bytes();
    assert!(0 < waiting && waiting < both, "{waiting} {both}");
    play(&mut harness, "watermark 0 10\nwatermark 1 10");
    assert_eq!(harness.state_bytes(), both - waiting, "the version may be asked for again");
}

#[test]
fn another_number_of_instances_goes_on_with_every_version() {
    let predict = predict(ModelFreshness::Consistent);
    let mut steps = Vec::new();
    for second in 0..60 {
        steps.extend(instances::steps(&predict, &format!("L {second} 1 @{second}")));
        if second % 4 == 3 {
            steps.push(Taken::Rows(1, version(second / 4 + 1, second - 1)));
            steps.extend(instances::steps(&predict, &format!("R watermark {}\nL watermark {second}", second - 5)));
        }
    }
    steps.push(Taken::End);
    check_rescaling(&predict, &[Partitioning::Rebalance, Partitioning::Broadcast], &steps);
}

/// The same over rows without a time.
fn untimed(freshness: ModelFreshness) -> OperatorHarness {
    let input = schema("id:int x:float");
    let added = schema("predicted_y:bool predicted_y_prob:float model_version:int model_event_time:time");
    let output = joined(&input, &added);
    let node = PredictNode { time: None, ..asked(freshness, Question::Prediction) };
    harness(NodeKind::Predict(node), &[&input, &model_version_schema()], output)
}

/// What a model was fitted to has no time.
fn fitted() -> RecordBatch {
    let version = version(4, 0);
    let mut columns = version.columns().to_vec();
    columns[1] = Arc::new(TimestampMicrosecondArray::from(vec![UNTIMED]));
    RecordBatch::try_new(version.schema(), columns).unwrap()
}

#[test]
fn rows_without_a_time_wait_for_the_last_version() {
    let mut harness = untimed(ModelFreshness::Consistent);
    harness.push(0, "1 1\n2 0").unwrap();
    harness.push_batch(1, fitted()).unwrap();
    assert_eq!(harness.output().unwrap(), "", "another version may come");
    harness.watermark_end(1).unwrap();
    harness.push(0, "3 1").unwrap();
    expect![[r#"
        1 1.0 true 0.5416923720548916 4 -
        2 0.0 false 0.44641506865065356 4 -
        3 1.0 true 0.5416923720548916 4 -
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn the_latest_version_answers_rows_without_a_time_at_once() {
    let mut harness = untimed(ModelFreshness::Latest);
    harness.push(0, "1 1").unwrap();
    harness.push_batch(1, fitted()).unwrap();
    harness.push(0, "2 1").unwrap();
    expect![[r#"
        1 1.0 - - - -
        2 1.0 true 0.5416923720548916 4 -
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn a_model_without_a_time_answers_rows_of_all_times() {
    let mut harness = predict(ModelFreshness::Consistent);
    harness.push(0, "1 1 @0").unwrap();
    harness.push_batch(1, fitted()).unwrap();
    harness.finish().unwrap();
    expect![[r#"
        1 1.0 @0 true 0.5416923720548916 4 -
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn an_explanation_stands_where_a_prediction_does() {
    let input = schema("id:int x:float t:time");
    let said = explained_outputs("y", &DataType::Boolean);
    let output = joined(&input, &Arc::new(Schema::new(predicted_fields(said))));
    let question = Question::Explanation { top_k_features: 1 };
    let node = PredictNode { time: Some(2), ..asked(ModelFreshness::Consistent, question) };
    let mut harness = harness(NodeKind::Predict(node), &[&input, &model_version_schema()], output);
    play(&mut harness, "row 1 1 @9\nversion 2 10\nrow 2 1 @10\nend");
    expect![[r#"
        1 1.0 @9 - - - - - - - - -
        2 1.0 @10 true 0.5167621893966318 0.5167621893966318 [{feature: x, attribution: 0.0854907039805249}] -0.018416811100963326 0.06707389287956157 0.0 2 @10
        watermark end
    "#]].assert_eq(&harness.output().unwrap());
}

#[test]
fn a_model_that_has_no_features_of_its_own_says_so() {
    let input = schema("id:int x:float t:time");
    let node = PredictNode { time: Some(2), ..asked(ModelFreshness::Latest, Question::Features) };
    let output = schema("x:float");
    let mut harness = harness(NodeKind::Predict(node), &[&input, &model_version_schema()], output);
    harness.push_batch(1, version(2, 10)).unwrap();
    let error = harness.push(0, "2 1 @10").unwrap_err();
    assert_eq!(chain(&error), "model m: it has no TRANSFORM: its features are columns of its query");
}
