//! Training in event time: intervals, versions, rows that cannot be learnt.

use std::sync::atomic::Ordering;

use arrow::array::AsArray;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::node::{NodeKind, model_version_schema};
use tidemill_plans::settings::Settings;

use super::*;
use crate::task::{DeadLetters, TaskEnv};
use crate::testing::graph::{cases, graph, schema};
use crate::testing::{OperatorHarness, show_rows, test_env};

/// A model of `y` over `x` and `c` that publishes every ten seconds.
fn train(env: TaskEnv) -> OperatorHarness {
    train_model(MODELS[0], env)
}

/// A model type, its options, its label and its features.
type Model = (&'static str, &'static [(&'static str, &'static str)], Option<usize>, &'static [usize]);

/// One with a label and two without.
const MODELS: [Model; 3] = [
    ("logistic_reg", &[], Some(2), &[0, 1]),
    ("kmeans", &[("num_clusters", "2"), ("init_rows", "3"), ("half_life_rows", "10")], None, &[0, 1]),
    ("half_space_trees", &[("num_trees", "3"), ("tree_depth", "4"), ("window_rows", "5")], None, &[0]),
];

fn train_model((model_type, options, label, features): Model, env: TaskEnv) -> OperatorHarness {
    let node = TrainNode {
        model: String::from("m"),
        model_type: String::from(model_type),
        options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        label,
        time: 3,
        features: features.to_vec(),
        publish_every: 10_000_000,
    };
    let graph = graph(NodeKind::Train(node), &[&schema("x:float c:text y:bool t:time")], model_version_schema());
    OperatorHarness::with_env(&graph, graph.nodes[1].id, env).unwrap()
}

/// The versions without their states, and the states.
fn versions(harness: &mut OperatorHarness) -> (String, Vec<Vec<u8>>) {
    let (mut text, mut states) = (String::new(), Vec::new());
    for batch in harness.batches() {
        text.push_str(&show_rows(&batch.project(&[0, 1, 2]).unwrap()).unwrap());
        states.extend(batch.column(3).as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec));
    }
    (text, states)
}

/// Batches are parted by `---`, or by `watermark seconds`. After each: the versions that came.
fn check(script: &str, expected: Expect) {
    let mut harness = train(test_env().unwrap());
    let mut text = String::new();
    for part in script.split("---") {
        let (rows, watermark) = part.split_once("watermark").unwrap_or((part, ""));
        harness.push(0, rows).unwrap();
        if let Ok(seconds) = watermark.trim().parse() {
            harness.watermark(0, seconds).unwrap();
            text.push_str(&format!("at {seconds}\n{}", versions(&mut harness).0));
        }
    }
    harness.finish().unwrap();
    text.push_str(&format!("at the end\n{}", versions(&mut harness).0));
    let late = harness.stats().late_rows.load(Ordering::Relaxed);
    expected.assert_eq(&format!("{text}late {late}\n"));
}

#[test]
fn a_version_comes_when_its_interval_has_closed_and_not_before() {
    let script =
        "1 a true @1\n2 b false @9.999999\n3 a true @10\nwatermark 9\n--- watermark 10 --- 4 b false @35\nwatermark 36";
    check(
        script,
        expect![[r#"
        at 9
        at 10
        1 @10 2
        at 36
        2 @20 3
        at the end
        3 @40 4
        late 0
    "#]],
    );
}

#[test]
fn one_watermark_can_close_several_intervals_and_empty_ones_give_no_version() {
    check(
        "1 a true @1\n2 b false @12\n3 a true @45\nwatermark 50",
        expect![[r#"
        at 50
        1 @10 1
        2 @20 2
        3 @50 3
        at the end
        late 0
    "#]],
    );
}

#[test]
fn rows_of_published_intervals_are_late() {
    check(
        "1 a true @1\n2 b false @2\nwatermark 15 --- 9 a true @9\n4 a true @11\n5 b true @15",
        expect![[r#"
        at 15
        1 @10 2
        at the end
        2 @20 4
        late 1
    "#]],
    );
}

#[test]
fn watermarks_pass_through_and_empty_batches_do_nothing() {
    let mut harness = train(test_env().unwrap());
    harness.push(0, "").unwrap();
    harness.watermark(0, 25).unwrap();
    harness.finish().unwrap();
    expect![[r#"
        watermark @25
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn rows_that_cannot_be_learnt_go_to_the_dead_letters_and_make_no_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.json");
    let settings = Settings { dead_letter_path: path.display().to_string(), ..Settings::default() };
    let dead_letters = Arc::new(DeadLetters::open(&settings).unwrap());
    let mut harness = train(TaskEnv { settings, dead_letters, ..test_env().unwrap() });
    // A NULL number is missing, not wrong: the row is learnt.
    harness.push(0, "NaN a true @1\n1 b - @2\ninf b true @3").unwrap();
    harness.watermark(0, 10).unwrap();
    harness.push(0, "1 a true @11\n- b false @12\n2 - false @13").unwrap();
    harness.finish().unwrap();
    expect![[r#"
        1 @20 3
    "#]]
    .assert_eq(&versions(&mut harness).0);
    expect![[r#"
        {"operator":"Train","reason":"column 'x' is NaN","row":"x=NaN, c=a, y=true, t=1970-01-01T00:00:01"}
        {"operator":"Train","reason":"the label is NULL","row":"x=1.0, c=b, y=NULL, t=1970-01-01T00:00:02"}
        {"operator":"Train","reason":"column 'x' is infinite or exceeds 1e50","row":"x=inf, c=b, y=true, t=1970-01-01T00:00:03"}
    "#]].assert_eq(&std::fs::read_to_string(path).unwrap());
    assert_eq!(harness.stats().dead_letter_rows.load(Ordering::Relaxed), 3);
}

#[test]
fn one_class_is_an_error_at_the_end_but_not_at_a_stop() {
    let mut harness = train(test_env().unwrap());
    harness.push(0, "1 a true @1\n2 b true @2").unwrap();
    expect!["model m: all 2 rows learnt have the label true; a classifier needs rows of both classes"]
        .assert_eq(&harness.finish().unwrap_err().chain());
    let mut harness = train(test_env().unwrap());
    harness.push(0, "1 a true @1\n2 b true @2").unwrap();
    harness.stop().unwrap();
    assert_eq!(versions(&mut harness).0, "");
}

#[test]
fn versions_are_reported_to_the_registry_with_their_quality() {
    let mut harness = train(test_env().unwrap());
    harness.push(0, "1 a true @1\n2 b false @2").unwrap();
    harness.watermark(0, 10).unwrap();
    harness.push(0, "1 a true @11\n2 b false @12").unwrap();
    harness.finish().unwrap();
    let reported = std::mem::take(&mut *harness.env().models.lock().unwrap()).versions;
    let text: String = reported
        .iter()
        .map(|v| format!("{} {} {} {} {:?}\n", v.model, v.version, v.learnt_to, v.rows_learnt, v.metrics))
        .collect();
    expect![[r#"
        m 1 10000000 2 [("auc", 0.5)]
        m 2 20000000 4 [("auc", 0.875)]
    "#]]
    .assert_eq(&text);
}

#[test]
fn models_without_a_label_learn_rows_and_are_not_measured() {
    let learnt = 4;
    for model in [MODELS[1], MODELS[2]] {
        let mut harness = train_model(model, test_env().unwrap());
        // What would be a label is none: one that is NULL is learnt, and one class is enough.
        harness.push(0, "1 a - @1\n2 b true @2\n- a true @3\n9 a true @4\nNaN a true @5").unwrap();
        harness.finish().unwrap();
        let (text, states) = versions(&mut harness);
        assert_eq!((text, states.len()), (format!("1 @10 {learnt}\n"), 1), "{model:?}");
        assert_eq!(harness.stats().dead_letter_rows.load(Ordering::Relaxed), 1);
        let reported = std::mem::take(&mut *harness.env().models.lock().unwrap()).versions;
        assert!(reported[0].metrics.is_empty(), "{reported:?}");
        assert_eq!(tidemill_ml::restore_predictor(&states[0]).unwrap().rows_learnt(), learnt);
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn versions_have_the_same_bits_however_rows_interleave(
        rows in Just((0..60i64).collect::<Vec<_>>()).prop_shuffle(),
        batch in 1usize..20,
        model in prop::sample::select(&MODELS),
    ) {
        let run = |rows: &[i64], batch: usize| {
            let mut harness = train_model(model, test_env().unwrap());
            for (index, part) in rows.chunks(batch).enumerate() {
                let line = |i: &i64| {
                    format!("{} c{} {} @{}\n", (i * i) as f64 / 7.0, i % 5, i % 3 == 0, i / 2)
                };
                harness.push(0, &part.iter().map(line).collect::<String>()).unwrap();
                let missing = rows[((index + 1) * batch).min(rows.len())..].iter().min();
                harness.watermark(0, missing.map_or(30, |i| i / 2)).unwrap();
            }
            harness.finish().unwrap();
            versions(&mut harness)
        };
        let in_order: Vec<i64> = (0..60).collect();
        let expected = run(&in_order, 60);
        prop_assert_eq!(expected.1.len(), 3);
        prop_assert_eq!(run(&rows, batch), expected);
    }
}

#[test]
fn rows_that_wait_count_as_state_until_they_are_learnt() {
    let mut harness = train(test_env().unwrap());
    let model = harness.state_bytes();
    harness.push(0, "1 a true @1\n2 b false @2").unwrap();
    let waiting = harness.state_bytes();
    harness.watermark(0, 10).unwrap();
    let learnt = harness.state_bytes();
    assert!(model < waiting, "{model} {waiting}");
    harness.push(0, &"1 a true @11\n".repeat(100)).unwrap();
    assert!(harness.state_bytes() > learnt);
    harness.watermark(0, 20).unwrap();
    assert_eq!(harness.state_bytes(), learnt, "the model has the size of its features");
}

#[test]
fn a_trainer_that_is_restored_publishes_the_same_bytes() {
    let run = |model: Model, restarts: bool| {
        let mut harness = train_model(model, test_env().unwrap());
        let mut published = (String::new(), Vec::new());
        let mut reported = Vec::new();
        for interval in 0..12i64 {
            let line = |i: i64| {
                let row = interval * 10 + i;
                format!("{} c{} {} @{row}\n", (row * row) as f64 / 7.0, row % 5, row * 7 % 11 < 4)
            };
            // One row of the next interval waits.
            harness.push(0, &(0..11).map(line).collect::<String>()).unwrap();
            harness.watermark(0, (interval + 1) * 10).unwrap();
            let (text, states) = versions(&mut harness);
            published.0.push_str(&text);
            published.1.extend(states);
            reported.extend(std::mem::take(&mut *harness.env().models.lock().unwrap()).versions);
            if restarts {
                harness.restart().unwrap();
                // It comes too late, before the first watermark too.
                harness.push(0, "1 a true @1").unwrap();
            }
        }
        (published, reported)
    };
    for model in MODELS {
        let (expected, found) = (run(model, false), run(model, true));
        assert_eq!(expected.0.1.len(), 12);
        assert_eq!(found, expected, "{model:?}");
    }
}
