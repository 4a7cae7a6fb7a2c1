//! Versions that come while rows do: which rows each answers, late ones, and behind a restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use tidemill_plans::algorithm::class_probability_outputs;
use tidemill_plans::catalog::UNTIMED;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{ModelFreshness, NodeKind, PredictNode, model_version_schema, predicted_fields};
use tidemill_plans::prediction::Question;

use crate::operator::predict::tests::{asked, version};
use crate::testing::OperatorHarness;
use crate::testing::graph::{harness, joined, schema};
use crate::testing::instances::{self, Step, check_rescaling};

fn live() -> OperatorHarness {
    let input = schema("id:int x:float t:time");
    let added = schema("predicted_y:bool predicted_y_prob:float model_version:int model_event_time:time");
    let node = PredictNode { time: Some(2), ..asked(ModelFreshness::Live, Question::Prediction) };
    harness(NodeKind::Predict(node), &[&input, &model_version_schema()], joined(&input, &added))
}

/// A version that has learnt `n` rows of tables, as the one of this number that comes.
fn served(n: i64, number: i64) -> RecordBatch {
    let version = version(n, 0);
    let mut columns = version.columns().to_vec();
    columns[1] = Arc::new(TimestampMicrosecondArray::from(vec![UNTIMED]));
    columns[2] = Arc::new(Int64Array::from(vec![number])) as ArrayRef;
    RecordBatch::try_new(version.schema(), columns).unwrap()
}

/// A step a line: `rows …; …`, `version n number`, `watermark port seconds`, `restart`, which drops what has come out, `end`.
fn play(harness: &mut OperatorHarness, script: &str) {
    for line in script.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = || rest.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<i64>>();
        match word {
            "rows" => harness.push(0, &rest.replace("; ", "\n")).unwrap(),
            "version" => harness.push_batch(1, served(numbers()[0], numbers()[1])).unwrap(),
            "watermark" => harness.watermark(numbers()[0] as usize, numbers()[1]).unwrap(),
            "restart" => harness.restart().unwrap(),
            _ => harness.finish().unwrap(),
        }
    }
}

/// The ids of the rows, their times, and which version answers.
#[track_caller]
fn check(script: &str, expected: Expect) {
    let mut harness = live();
    play(&mut harness, script);
    assert_eq!(harness.stats().late_rows.load(Ordering::Relaxed), 0, "no row is too late to be answered");
    let shown = harness.output().unwrap();
    let lines = shown.lines().map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [id, _, time, _, _, version, "-"] => format!("{id} {time} by {version}\n"),
        _ => format!("{line}\n"),
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn rows_wait_for_the_first_version_which_answers_those_of_all_times() {
    check(
        "rows 1 1 @5\nwatermark 0 5\nrows 2 1 @9; 3 0 @1\nversion 2 1\nrows 4 1 @2",
        expect![[r#"
            1 @5 by 2
            2 @9 by 2
            3 @1 by 2
            watermark @5
            4 @2 by 2
        "#]],
    );
}

#[test]
fn a_version_answers_what_is_in_front_of_the_watermark_at_which_it_comes() {
    check(
        "version 2 1\nrows 1 1 @5\nwatermark 0 10\nversion 4 2\nrows 2 1 @10; 3 1 @10.000001; 4 1 @3; 5 1 @20\nwatermark 0 20\nrows 6 1 @7; 7 1 @15",
        expect![[r#"
            1 @5 by 2
            watermark @10
            2 @10 by 2
            4 @3 by 2
            3 @10.000001 by 4
            5 @20 by 4
            watermark @20
            6 @7 by 2
            7 @15 by 4
        "#]],
    );
}

#[test]
fn a_version_that_comes_again_answers_from_then_on() {
    check(
        "version 2 1\nwatermark 0 10\nversion 4 2\nwatermark 0 20\nversion 2 3\nrows 1 1 @5; 2 1 @15; 3 1 @25",
        expect![[r#"
            watermark @10
            watermark @20
            1 @5 by 2
            2 @15 by 4
            3 @25 by 2
        "#]],
    );
}

#[test]
fn what_a_restored_source_says_again_is_known_and_what_is_new_answers_from_there() {
    check(
        "version 2 1\nwatermark 0 10\nversion 4 2\nrestart\nversion 4 2\nrows 1 1 @5; 2 1 @15\nwatermark 0 20\nrestart\nversion 6 3\nrows 3 1 @5; 4 1 @15; 5 1 @20; 6 1 @21",
        expect![[r#"
            3 @5 by 2
            4 @15 by 4
            5 @20 by 4
            6 @21 by 6
        "#]],
    );
}

#[test]
fn before_time_has_moved_a_new_version_answers_everything() {
    check(
        "version 2 1\nrows 1 1 @5\nversion 4 2\nrows 2 1 @5",
        expect![[r#"
            1 @5 by 2
            2 @5 by 4
        "#]],
    );
}

#[test]
fn of_many_versions_the_oldest_that_is_kept_answers_what_is_later_still() {
    let steps = (1..=6).map(|n| format!("version {n} {n}\nwatermark 0 {}\n", n * 10)).collect::<String>();
    check(
        &format!("{steps}rows 1 1 @5; 2 1 @15; 3 1 @35; 4 1 @45; 5 1 @55; 6 1 @65"),
        expect![[r#"
            watermark @10
            watermark @20
            watermark @30
            watermark @40
            watermark @50
            watermark @60
            1 @5 by 3
            2 @15 by 3
            3 @35 by 4
            4 @45 by 5
            5 @55 by 6
            6 @65 by 6
        "#]],
    );
}

#[test]
fn rows_without_a_time_get_the_newest() {
    let input = schema("id:int x:float");
    let added = schema("predicted_y:bool predicted_y_prob:float model_version:int model_event_time:time");
    let node = asked(ModelFreshness::Live, Question::Prediction);
    let mut harness = harness(NodeKind::Predict(node), &[&input, &model_version_schema()], joined(&input, &added));
    play(&mut harness, "rows 1 1\nversion 2 1\nrows 2 1\nversion 4 2\nrows 3 0");
    expect![[r#"
        1 1.0 true 0.5167621893966318 2 -
        2 1.0 true 0.5167621893966318 2 -
        3 0.0 false 0.44641506865065356 4 -
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn a_version_that_says_something_else_is_passed_over() {
    let input = schema("id:int x:float t:time");
    let question = Question::ClassProbabilities;
    let said = class_probability_outputs("y", &DataType::Boolean);
    let output = joined(&input, &Arc::new(arrow::datatypes::Schema::new(predicted_fields(said))));
    let node = PredictNode { time: Some(2), ..asked(ModelFreshness::Live, question) };
    let mut harness = harness(NodeKind::Predict(node), &[&input, &model_version_schema()], output);
    play(&mut harness, "version 2 1\nwatermark 0 10");
    let mut columns = served(4, 2).columns().to_vec();
    columns[3] = Arc::new(arrow::array::BinaryArray::from(vec![b"no model".as_slice()]));
    harness.push_batch(1, RecordBatch::try_new(model_version_schema(), columns).unwrap()).unwrap();
    play(&mut harness, "rows 1 1 @20");
    let output = harness.output().unwrap();
    assert!(
        output.lines().last().is_some_and(|line| line.starts_with("1 1.0 @20 true") && line.ends_with(" 2 -")),
        "{output}"
    );
}

#[test]
fn what_waits_and_the_versions_count_as_state() {
    let mut harness = live();
    play(&mut harness, "rows 1 0.5 @5");
    let waiting = harness.state_bytes();
    play(&mut harness, "version 4 1");
    let one = served(4, 1).column(3).as_binary::<i32>().value(0).len();
    assert!(waiting > 0 && served(4, 1).column(3).len() == 1, "{waiting}");
    assert_eq!(harness.state_bytes(), one);
    for number in 2..20 {
        play(&mut harness, &format!("version 4 {number}"));
    }
    assert_eq!(harness.state_bytes(), 4 * one);
}

#[test]
fn another_number_of_instances_goes_on_with_every_version() {
    let predict = live();
    let mut steps = vec![Step::Rows(1, served(1, 1))];
    for second in 0..60 {
        steps.extend(instances::steps(&predict, &format!("L {second} 1 @{second}")));
        if second % 10 == 9 {
            steps.push(Step::Rows(1, served(second / 10 + 2, second / 10 + 2)));
            steps.extend(instances::steps(&predict, &format!("L watermark {second}")));
        }
    }
    steps.push(Step::End);
    check_rescaling(&predict, &[Partitioning::Rebalance, Partitioning::Broadcast], &steps);
}
