//! Training as a whole: one version, once all rows have come.

use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::logical_expr::{col, lit};
use tidemill_ml::FeatureSchema;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::functions::scalar;
use tidemill_plans::node::{NodeKind, Projection, model_version_schema};
use tidemill_plans::time::Watermark;
use tidemill_plans::transform::{Analytic, AnalyticFunction, FittedModel, TargetEncoding, Transform};

use super::*;
use crate::metrics::OperatorStats;
use crate::operator::build_operator;
use crate::task::Message;
use crate::testing::graph::{graph, harness, schema, with_memory};
use crate::testing::{OperatorHarness, parse_rows, show_rows, test_env};

fn node() -> NodeKind {
    NodeKind::Fit(FitNode {
        model: String::from("m"),
        version: 1,
        model_type: String::from("logistic_reg"),
        options: vec![],
        label: Some(2),
        features: vec![0, 1],
        transform: None,
    })
}

/// The same with features that are made of the columns.
fn transformed(inputs: &str, features: Vec<(&str, datafusion::logical_expr::Expr)>) -> NodeKind {
    let NodeKind::Fit(fit) = node() else { unreachable!("it is one") };
    let scaler = Analytic {
        name: String::from("scaled"),
        function: AnalyticFunction::StandardScaler,
        argument: StreamExpr(col("x")),
    };
    let features: Vec<_> =
        features.into_iter().map(|(name, expr)| Projection { name: name.to_owned(), expr: StreamExpr(expr) }).collect();
    let encoder = Analytic {
        name: String::from("encoded"),
        function: AnalyticFunction::TargetEncoder(TargetEncoding { smooth: None, folds: 3 }),
        argument: StreamExpr(col("c")),
    };
    let is_encoded = features.iter().any(|feature| feature.expr.0 == col("encoded"));
    let analytics = std::iter::once(scaler).chain(is_encoded.then_some(encoder)).collect();
    let transform = Transform { inputs: StreamSchema(schema(inputs)), analytics, features };
    NodeKind::Fit(FitNode { transform: Some(transform), ..fit })
}

/// How far `x` is from its mean, and `c`.
fn scaled() -> NodeKind {
    transformed("x:float c:text", vec![("x", col("scaled")), ("c", col("c"))])
}

/// Two lists, and a category by the label.
fn listed() -> NodeKind {
    let numbers = scalar("make_array").unwrap().call(vec![col("x"), lit(2.5)]);
    let words = scalar("text_analyze").unwrap().call(vec![col("c")]);
    transformed("x:float c:text", vec![("x", numbers), ("c", words), ("e", col("encoded"))])
}

fn fit() -> OperatorHarness {
    harness(node(), &[&schema("x:float c:text y:bool")], model_version_schema())
}

/// Rows whose label follows `x`, mostly.
fn rows(range: std::ops::Range<i64>) -> String {
    let row = |n: i64| format!("{} {} {}\n", n % 7, if n % 3 == 0 { "a" } else { "b" }, n % 7 > 3 || n % 10 == 0);
    range.map(row).collect()
}

/// The versions without their states, and the states.
fn versions(harness: &mut OperatorHarness) -> (String, Vec<Vec<u8>>) {
    let (mut text, mut states) = (String::new(), Vec::new());
    for batch in harness.batches() {
        text.push_str(&show_rows(&batch.project(&[0, 2]).unwrap()).unwrap());
        assert!(
            batch
                .column(1)
                .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                .values()
                .iter()
                .all(|to| *to == UNTIMED)
        );
        states.extend(batch.column(3).as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec));
    }
    (text, states)
}

#[test]
fn a_version_comes_at_the_end_and_knows_all_rows() {
    let mut harness = fit();
    harness.push(0, &rows(0..30)).unwrap();
    harness.push(0, &rows(30..50)).unwrap();
    assert_eq!(versions(&mut harness), (String::new(), vec![]), "before the end");
    harness.finish().unwrap();
    let (text, states) = versions(&mut harness);
    assert_eq!(text, "1 50\n");
    let model = tidemill_ml::restore_supervised(&states[0]).unwrap();
    let features = Schema::new(vec![Field::new("x", DataType::Float64, true), Field::new("c", DataType::Utf8, true)]);
    let xs = Arc::new(Float64Array::from(vec![0.0, 6.0]));
    let cs = Arc::new(arrow::array::StringArray::from(vec!["b", "b"]));
    let answers = model.predictions(&RecordBatch::try_new(Arc::new(features), vec![xs, cs]).unwrap()).unwrap().scores();
    assert!(answers.value(0) < 0.5 && answers.value(1) > 0.5, "{answers:?}");
}

#[test]
fn the_same_rows_give_the_same_model_however_they_are_cut_and_where_they_wait() {
    let fitted = |mut harness: OperatorHarness, step: i64| {
        for start in (0..2000).step_by(step as usize) {
            harness.push(0, &rows(start..(start + step).min(2000))).unwrap();
        }
        let spilled = harness.spilled_bytes();
        harness.finish().unwrap();
        (versions(&mut harness).1, spilled)
    };
    for node in [node(), scaled(), listed()] {
        let input = [&schema("x:float c:text y:bool")];
        let fit = || harness(node.clone(), &input, model_version_schema()).without_twin();
        let cramped = with_memory(&graph(node.clone(), &input, model_version_schema()), 8 << 10);
        let (expected, _) = fitted(fit(), 2000);
        assert_eq!(fitted(fit(), 61).0, expected);
        let (on_disk, spilled) = fitted(cramped.without_twin(), 500);
        assert!(spilled > 0, "no row has been on disk");
        assert_eq!(on_disk, expected);
    }
}

#[test]
fn a_version_knows_how_its_features_are_made() {
    let mut harness = harness(scaled(), &[&schema("x:float c:text y:bool")], model_version_schema());
    harness.push(0, &rows(0..30)).unwrap();
    harness.push(0, &rows(30..50)).unwrap();
    harness.finish().unwrap();
    let (text, states) = versions(&mut harness);
    assert_eq!(text, "1 50\n");
    let model = FittedModel::restore(&states[0]).unwrap();
    assert_eq!(model.inputs(), ["x", "c"]);

    let numbers = (0..50).map(|n| f64::from(n % 7));
    let texts = (0..50).map(|n| Some(if n % 3 == 0 { "a" } else { "b" }));
    let labels: BooleanArray = (0..50).map(|n| Some(n % 7 > 3 || n % 10 == 0)).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Float64Array::from_iter_values(numbers)), Arc::new(texts.collect::<StringArray>())];
    let learnt = RecordBatch::try_new(schema("x:float c:text"), columns).unwrap();
    let features = model.transform().unwrap().features(&learnt).unwrap();
    let sum: f64 = features.column(0).as_primitive::<Float64Type>().values().iter().sum();
    assert!(sum.abs() < 1e-9, "{sum}");
    // The weights are those of the features.
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let mut plain =
        tidemill_ml::create_batch("logistic_reg", &Default::default(), &schema, &DataType::Boolean).unwrap();
    plain.add(&features, &labels).unwrap();
    assert!(states[0].ends_with(&plain.fit().unwrap().kept().unwrap()));
}

#[test]
fn lists_are_as_many_features_as_the_rows_say() {
    let mut harness = harness(listed(), &[&schema("x:float c:text y:bool")], model_version_schema());
    harness.push(0, &rows(0..50)).unwrap();
    harness.finish().unwrap();
    let (text, states) = versions(&mut harness);
    assert_eq!(text, "1 50\n");
    let model = FittedModel::restore(&states[0]).unwrap();
    assert_eq!(model.inputs(), ["x", "c"]);
    let names: Vec<_> = model.predictor().schema().fields().iter().map(|feature| feature.name.clone()).collect();
    assert_eq!(names, ["x[1]", "x[2]", "c['a']", "c['b']", "e"]);
}

#[test]
fn rows_whose_features_cannot_be_made_are_dead_letters() {
    let node = transformed("x:float c:int", vec![("x", col("scaled")), ("c", lit(6_i64) / col("c"))]);
    let mut harness = harness(node, &[&schema("x:float c:int y:bool")], model_version_schema());
    harness.push(0, "1 1 true\n2 0 true\n3 2 false\n4 3 false\n").unwrap();
    harness.finish().unwrap();
    assert_eq!(versions(&mut harness).0, "1 3\n");
    assert_eq!(harness.stats().dead_letter_rows.load(Ordering::Relaxed), 1);
}

#[test]
fn rows_that_cannot_be_learnt_are_dead_letters() {
    let mut harness = fit();
    harness.push(0, &format!("{}1 a -\nNaN b true\n", rows(0..20))).unwrap();
    harness.finish().unwrap();
    assert_eq!(versions(&mut harness).0, "1 20\n");
    assert_eq!(harness.stats().dead_letter_rows.load(Ordering::Relaxed), 2);
}

#[test]
fn one_class_is_told_and_so_is_an_empty_training_set() {
    let mut harness = fit();
    harness.push(0, "1 a true\n2 b true\n").unwrap();
    let error = tidemill_plans::error::chain(&harness.finish().unwrap_err());
    assert!(error.contains("model m") && error.contains("true"), "{error}");
    let error = tidemill_plans::error::chain(&fit().finish().unwrap_err());
    assert!(error.contains("no row to fit"), "{error}");
}

#[test]
fn a_fit_ends_when_nobody_wants_it() {
    let env = test_env().unwrap();
    let graph = graph(node(), &[&schema("x:float c:text y:bool")], model_version_schema());
    let mut harness = OperatorHarness::with_env(&graph, graph.nodes.last().unwrap().id, env.clone()).unwrap();
    harness.push(0, &rows(0..30)).unwrap();
    env.interrupt.store(true, Ordering::Relaxed);
    harness.finish().unwrap();
    assert_eq!(harness.output().unwrap(), "", "no version, and no end");
}

#[test]
fn a_job_that_is_stopped_publishes_nothing() {
    let mut harness = fit();
    harness.push(0, &rows(0..30)).unwrap();
    harness.stop().unwrap();
    assert_eq!(versions(&mut harness).0, "");
}

/// What so many instances emit together for such rows, and how many rows each has refused.
fn fitted_by(instances: u32, node: &NodeKind, rows: &str) -> Vec<(Vec<Message>, u64)> {
    let input = schema("x:float c:text y:bool");
    let mut graph = graph(node.clone(), &[&input], model_version_schema());
    graph.nodes.last_mut().unwrap().parallelism = instances;
    let node = graph.nodes.last().unwrap();
    let rows = parse_rows(&input, rows).unwrap();
    let env = test_env().unwrap();
    let instance = |subtask: u32| {
        let mut operator = build_operator(&graph, node, subtask, &env).unwrap();
        let stats = Arc::new(OperatorStats::new(env.job, node.id, subtask));
        let mut ctx = OperatorContext::new(node.kind.name().to_owned(), env.clone(), Arc::clone(&stats));
        if subtask == 0 {
            operator.on_batch(0, rows.clone(), &mut ctx).unwrap();
        }
        operator.on_watermark(&PortWatermarks::of(vec![Watermark::MAX]), &mut ctx).unwrap();
        let refused = stats.dead_letter_rows.load(Ordering::Relaxed);
        (ctx.take_output().into_iter().collect::<Vec<_>>(), refused)
    };
    std::thread::scope(|scope| {
        let instance = &instance;
        let running: Vec<_> = (0..instances).map(|subtask| scope.spawn(move || instance(subtask))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    })
}

#[test]
fn instances_learn_the_rows_of_the_first_and_fit_the_model_of_one() {
    let rows = format!("{}1 a -\n", rows(0..500));
    for node in [node(), scaled(), listed()] {
        let alone = fitted_by(1, &node, &rows);
        let together = fitted_by(3, &node, &rows);
        assert_eq!(together[0], alone[0]);
        assert_eq!(alone[0].1, 1, "a row without a label is refused once");
        for (others, refused) in &together[1..] {
            assert!(matches!(others[..], [Message::Watermark(Watermark::MAX)]) && *refused == 0, "{others:?}");
        }
    }
}

#[test]
fn instances_say_all_why_there_is_no_model() {
    let node = node();
    let input = schema("x:float c:text y:bool");
    let mut graph = graph(node, &[&input], model_version_schema());
    graph.nodes.last_mut().unwrap().parallelism = 2;
    let node = graph.nodes.last().unwrap();
    let env = test_env().unwrap();
    let error = |subtask: u32| {
        let mut operator = build_operator(&graph, node, subtask, &env).unwrap();
        let stats = Arc::new(OperatorStats::new(env.job, node.id, subtask));
        let mut ctx = OperatorContext::new(node.kind.name().to_owned(), env.clone(), stats);
        operator.on_watermark(&PortWatermarks::of(vec![Watermark::MAX]), &mut ctx).unwrap_err().chain()
    };
    let errors = std::thread::scope(|scope| {
        let (error, other) = (&error, scope.spawn(|| error(1)));
        [error(0), other.join().unwrap()]
    });
    assert!(errors.iter().all(|error| error.contains("no row to fit")), "{errors:?}");
}

#[test]
fn instances_wait_for_nobody_when_a_fit_is_ended() {
    let mut graph = graph(node(), &[&schema("x:float c:text y:bool")], model_version_schema());
    graph.nodes.last_mut().unwrap().parallelism = 2;
    let node = graph.nodes.last().unwrap();
    let env = test_env().unwrap();
    let mut operator = build_operator(&graph, node, 1, &env).unwrap();
    let stats = Arc::new(OperatorStats::new(env.job, node.id, 1));
    let mut ctx = OperatorContext::new(node.kind.name().to_owned(), env.clone(), stats);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| operator.on_watermark(&PortWatermarks::of(vec![Watermark::MAX]), &mut ctx));
        env.interrupt.store(true, Ordering::Relaxed);
        waiting.join().unwrap().unwrap();
    });
    assert!(ctx.take_output().is_empty(), "no version, and no end");
}
