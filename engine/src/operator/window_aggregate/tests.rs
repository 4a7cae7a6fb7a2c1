//! Windows by hand, and against a slow reference over random streams.

mod spilling;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{Expr, ExprFunctionExt, col, lit};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::with_change_column;
use tidemill_plans::functions;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{call, cases, exprs, graph, harness, late, play, schema, sorted_rows};
use crate::testing::rescale::check_rescaled;

const S: i64 = 1_000_000;

fn tumble(size: i64) -> WindowSpec {
    WindowSpec::Tumble { size: size * S, offset: 0 }
}

fn hop(slide: i64, size: i64) -> WindowSpec {
    WindowSpec::Hop { slide: slide * S, size: size * S, offset: 0 }
}

fn cumulate(step: i64, size: i64) -> WindowSpec {
    WindowSpec::Cumulate { step: step * S, size: size * S, offset: 0 }
}

/// `sum(v)` and `count(v)` by `k`.
fn sum_and_count(window: WindowSpec) -> OperatorHarness {
    let input = schema("k:text v:int t:time");
    let output = schema("k:text window_start:time window_end:time window_time:time sum:int count:int");
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window, aggregates, updates_within: 0 };
    harness(NodeKind::WindowAggregate(node), &[&input], output)
}

fn check(window: WindowSpec, script: &str, expected: Expect) {
    let mut harness = sum_and_count(window);
    play(&mut harness, script);
    expected.assert_eq(&format!("{}late {}\n", harness.output().unwrap(), late(&harness)));
}

#[test]
fn a_window_is_emitted_once_the_watermark_reaches_its_end() {
    let script = "a 1 @1\nb 2 @2\na 3 @9.999999\na 4 @10\nwatermark 9\nwatermark 10\nend";
    check(
        tumble(10),
        script,
        expect![[r#"
        watermark @9
        a @0 @10 @9.999999 4 2
        b @0 @10 @9.999999 2 1
        watermark @10
        a @10 @20 @19.999999 4 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_row_of_an_overlapping_window_counts_in_each() {
    check(
        hop(5, 10),
        "a 1 @7\nwatermark 9\nwatermark 10\na 2 @12\nwatermark 15\nend",
        expect![[r#"
        watermark @9
        a @0 @10 @9.999999 1 1
        watermark @10
        a @5 @15 @14.999999 3 2
        watermark @15
        a @10 @20 @19.999999 2 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_size_that_is_no_multiple_of_the_slide_works_too() {
    check(
        hop(2, 5),
        "a 1 @7\nend",
        expect![[r#"
        a @4 @9 @8.999999 1 1
        a @6 @11 @10.999999 1 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_cumulating_window_is_emitted_at_each_step_with_all_since_its_start() {
    check(
        cumulate(5, 15),
        "a 1 @1\nwatermark 5\nwatermark 10\na 2 @12\nb 4 @2\nwatermark 15\na 8 @16\nend",
        expect![[r#"
            a @0 @5 @4.999999 1 1
            watermark @5
            a @0 @10 @9.999999 1 1
            watermark @10
            a @0 @15 @14.999999 3 2
            b @0 @15 @14.999999 4 1
            watermark @15
            a @15 @20 @19.999999 8 1
            a @15 @25 @24.999999 8 1
            a @15 @30 @29.999999 8 1
            watermark end
            late 0
        "#]],
    );
}

#[test]
fn rows_between_sampled_windows_are_in_no_result_and_not_late() {
    let mut harness = sum_and_count(hop(10, 2));
    play(&mut harness, "a 1 @1\na 2 @5\nwatermark 5\na 4 @5\na 8 @11\nwatermark 20\na 16 @19");
    assert_eq!(harness.state_bytes(), 0, "rows of no window leave nothing behind");
    play(&mut harness, "a 32 @11\nend");
    expect![[r#"
        a @0 @2 @1.999999 1 1
        watermark @5
        a @10 @12 @11.999999 8 1
        watermark @20
        watermark end
        late 1
    "#]]
    .assert_eq(&format!("{}late {}\n", harness.output().unwrap(), late(&harness)));
}

#[test]
fn late_rows_are_counted_and_change_nothing() {
    check(
        tumble(10),
        "a 1 @1\nwatermark 10\na 2 @9\na 4 @11\nb 8 @3\nend",
        expect![[r#"
        a @0 @10 @9.999999 1 1
        watermark @10
        a @10 @20 @19.999999 4 1
        watermark end
        late 2
    "#]],
    );
}

#[test]
fn a_late_row_counts_in_the_windows_that_are_still_open_only() {
    // Whether the closed window [0, 10) had rows makes no difference.
    check(
        hop(5, 10),
        "watermark 12\na 2 @7\nend",
        expect![[r#"
        watermark @12
        a @5 @15 @14.999999 2 1
        watermark end
        late 0
    "#]],
    );
    check(
        hop(5, 10),
        "a 1 @3\nwatermark 12\na 2 @7\nend",
        expect![[r#"
        a @-5 @5 @4.999999 1 1
        a @0 @10 @9.999999 1 1
        watermark @12
        a @5 @15 @14.999999 2 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn null_keys_are_a_group_and_null_values_do_not_count() {
    check(
        tumble(10),
        "- 1 @1\n- 2 @2\na - @3\nend",
        expect![[r#"
        - @0 @10 @9.999999 3 2
        a @0 @10 @9.999999 - 0
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn empty_batches_and_an_empty_input_emit_nothing() {
    let mut harness = sum_and_count(tumble(10));
    harness.push(0, "").unwrap();
    play(&mut harness, "watermark 10\nend");
    expect![[r#"
        watermark @10
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn windows_start_at_the_offset_also_before_the_epoch() {
    let window = WindowSpec::Tumble { size: 10 * S, offset: 3 * S };
    check(
        window,
        "a 1 @2\na 2 @3\na 4 @-8\nend",
        expect![[r#"
        a @-17 @-7 @-7.000001 4 1
        a @-7 @3 @2.999999 1 1
        a @3 @13 @12.999999 2 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn without_keys_a_window_is_one_row_and_an_empty_one_none() {
    let input = schema("v:int t:time");
    let output = schema("window_start:time window_end:time window_time:time sum:int");
    let aggregates = exprs([call("sum", "v")]);
    let node = WindowAggregateNode { keys: vec![], time: 1, window: tumble(10), aggregates, updates_within: 0 };
    let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output);
    play(&mut harness, "1 @1\n2 @2\n4 @25\nend");
    expect![[r#"
        @0 @10 @9.999999 3
        @20 @30 @29.999999 4
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn windows_alone_without_keys_or_aggregates_are_rows() {
    let input = schema("v:int t:time");
    let output = schema("window_start:time window_end:time window_time:time");
    let node = WindowAggregateNode { keys: vec![], time: 1, window: tumble(10), aggregates: vec![], updates_within: 0 };
    let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output);
    play(&mut harness, "1 @1\n2 @2\n4 @25\nend");
    expect![[r#"
        @0 @10 @9.999999
        @20 @30 @29.999999
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn filter_and_distinct_apply_to_their_own_aggregate() {
    let input = schema("k:text v:int t:time");
    let output = schema("k:text window_start:time window_end:time window_time:time big:int distinct:int all:int");
    let big = call("sum", "v").filter(col("v").gt(lit(1i64))).build().unwrap();
    let distinct = call("count", "v").distinct().build().unwrap();
    let aggregates = exprs([big, distinct, call("count", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window: hop(5, 10), aggregates, updates_within: 0 };
    let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output);
    play(&mut harness, "a 1 @1\na 5 @6\n---\na 5 @2\na 7 @7\nend");
    expect![[r#"
        a @-5 @5 @4.999999 5 2 2
        a @0 @10 @9.999999 17 3 4
        a @5 @15 @14.999999 12 2 2
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

/// One step of a random run, in whole seconds.
#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<(Option<u8>, i64, i64)>),
    Advance(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (prop::option::weighted(0.8, 0u8..3), -20i64..60, -9i64..9);
    let step = prop_oneof![prop::collection::vec(row, 0..8).prop_map(Step::Rows), (0i64..15).prop_map(Step::Advance),];
    prop::collection::vec(step, 1..20)
}

/// Sum and count by key.
type Sums = BTreeMap<Option<u8>, (i64, i64)>;

/// The windows as plain maps, by end and start. What comes out is by step.
struct Reference {
    /// Every window that there is, as start and end.
    all: Vec<(i64, i64)>,
    watermark: i64,
    windows: BTreeMap<(i64, i64), Sums>,
    late: u64,
}

impl Reference {
    fn row(&mut self, key: Option<u8>, time: i64, value: i64) {
        let holding: Vec<_> = self.all.iter().filter(|(start, end)| (*start..*end).contains(&time)).collect();
        let open: Vec<_> = holding.iter().filter(|(_, end)| *end > self.watermark).collect();
        self.late += u64::from(open.is_empty() && !holding.is_empty());
        for (start, end) in open {
            let (sum, count) = self.windows.entry((*end, *start)).or_default().entry(key).or_default();
            *sum += value;
            *count += 1;
        }
    }

    fn close(&mut self, watermark: i64) -> Vec<String> {
        self.watermark = watermark;
        let mut rows = Vec::new();
        while let Some(window) = self.windows.first_entry() {
            let (end, start) = *window.key();
            if end > watermark {
                break;
            }
            for (key, (sum, count)) in window.remove() {
                let key = key.map_or(String::from("-"), |key| format!("k{key}"));
                rows.push(format!("{key} @{start} @{end} @{} {sum} {count}", end as f64 - 1e-6));
            }
        }
        rows.sort();
        rows
    }
}

fn hops_equal_the_reference(slide: i64, size: i64, steps: &[Step]) {
    let all = (-200..200).map(|n| (n * slide, n * slide + size)).collect();
    equals_the_reference(hop(slide, size), all, steps);
}

fn equals_the_reference(spec: WindowSpec, all: Vec<(i64, i64)>, steps: &[Step]) {
    let mut harness = sum_and_count(spec);
    let mut reference = Reference { all, watermark: i64::MIN, windows: BTreeMap::new(), late: 0 };
    let mut now = -20;
    for step in steps {
        match step {
            Step::Rows(rows) => {
                let mut text = String::new();
                for (key, time, value) in rows {
                    let shown = key.map_or(String::from("-"), |key| format!("k{key}"));
                    text.push_str(&format!("{shown} {value} @{time}\n"));
                    reference.row(*key, *time, *value);
                }
                harness.push(0, &text).unwrap();
            }
            Step::Advance(seconds) => {
                now += seconds;
                harness.watermark(0, now).unwrap();
                assert_eq!(sorted_rows(&harness.output().unwrap()), reference.close(now), "at {now}");
            }
        }
    }
    harness.finish().unwrap();
    assert_eq!(sorted_rows(&harness.output().unwrap()), reference.close(i64::MAX));
    assert_eq!(late(&harness), reference.late);
    assert_eq!(harness.state_bytes(), 0);
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn tumbling_windows_equal_the_reference(steps in steps()) {
        hops_equal_the_reference(10, 10, &steps);
    }

    #[test]
    fn hopping_windows_equal_the_reference(steps in steps()) {
        hops_equal_the_reference(5, 15, &steps);
        hops_equal_the_reference(4, 10, &steps);
    }

    #[test]
    fn cumulating_windows_equal_the_reference(steps in steps()) {
        for (step, size) in [(5, 15), (2, 20), (10, 10)] {
            let all = (-100..100).flat_map(|n| (1..=size / step).map(move |k| (n * size, n * size + k * step)));
            equals_the_reference(cumulate(step, size), all.collect(), &steps);
        }
    }

    #[test]
    fn sampled_windows_equal_the_reference(steps in steps()) {
        hops_equal_the_reference(10, 4, &steps);
    }

    #[test]
    fn sums_of_floats_have_the_same_bits_however_rows_interleave(
        rows in Just((0..40i64).collect::<Vec<_>>()).prop_shuffle(),
        batch in 1usize..12,
    ) {
        let run = |rows: &[i64], batch: usize| {
            let input = schema("k:text v:float t:time");
            let output = schema("k:text window_start:time window_end:time window_time:time sum:float dev:float");
            let aggregates = exprs([call("sum", "v"), call("stddev", "v")]);
            let node = WindowAggregateNode { keys: vec![0], time: 2, window: hop(5, 15), aggregates, updates_within: 0 };
            let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output);
            for (index, part) in rows.chunks(batch).enumerate() {
                let line = |i: &i64| format!("k{} {:e} @{}\n", i % 2, 0.1 * (i * i) as f64 * 10f64.powi((*i % 7) as i32), i / 2);
                harness.push(0, &part.iter().map(line).collect::<String>()).unwrap();
                let missing = rows[((index + 1) * batch).min(rows.len())..].iter().min();
                harness.watermark(0, missing.map_or(20, |i| i / 2)).unwrap();
            }
            harness.finish().unwrap();
            sorted_rows(&harness.output().unwrap())
        };
        let in_order: Vec<i64> = (0..40).collect();
        prop_assert_eq!(run(&rows, batch), run(&in_order, 40));
    }
}

#[test]
fn where_order_matters_it_is_that_of_event_time() {
    let input = schema("k:text v:int t:time");
    let output = schema("k:text window_start:time window_end:time window_time:time first:int last:int");
    let aggregates = exprs([call("first_value", "v"), call("last_value", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window: tumble(10), aggregates, updates_within: 0 };
    let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output);
    play(&mut harness, "a 5 @4\na 9 @2\n---\na 1 @6\na 7 @8\nend");
    expect![[r#"
        a @0 @10 @9.999999 9 7
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn groups_of_several_keys_start_afresh_in_each_window() {
    let input = schema("a:text b:int v:int x:float t:time");
    // Integers are aggregated as they come, floats in order: the sums are the same.
    for (column, kind) in [("v", "int"), ("x", "float")] {
        let output = schema(&format!("a:text b:int window_start:time window_end:time window_time:time sum:{kind}"));
        let aggregates = exprs([call("sum", column)]);
        let node = WindowAggregateNode { keys: vec![0, 1], time: 4, window: hop(5, 10), aggregates, updates_within: 0 };
        let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output);
        let first = "a 1 1 1 @1\na 2 2 2 @2\nb 1 4 4 @6\n---\na 1 8 8 @11\nwatermark 10";
        play(&mut harness, &format!("{first}\n- 1 16 16 @13\n- - 32 32 @14\nend"));
        let rows = sorted_rows(&harness.output().unwrap()).join("\n").replace(".0", "");
        expect![[r#"
            - - @10 @20 @19.999999 32
            - - @5 @15 @14.999999 32
            - 1 @10 @20 @19.999999 16
            - 1 @5 @15 @14.999999 16
            a 1 @-5 @5 @4.999999 1
            a 1 @0 @10 @9.999999 1
            a 1 @10 @20 @19.999999 8
            a 1 @5 @15 @14.999999 8
            a 2 @-5 @5 @4.999999 2
            a 2 @0 @10 @9.999999 2
            b 1 @0 @10 @9.999999 4
            b 1 @5 @15 @14.999999 4"#]]
        .assert_eq(&rows);
    }
}

/// These functions by `k` over `k v f b t`.
fn over_rows(calls: Vec<(Expr, Field)>, window: WindowSpec, updates_within: i64) -> DataflowGraph {
    let (calls, results): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    let output = schema("k:text window_start:time window_end:time window_time:time");
    let fields: Vec<Field> = output.fields().iter().map(|field| field.as_ref().clone()).chain(results).collect();
    let output = Arc::new(Schema::new(fields));
    let output = if updates_within > 0 { with_change_column(&output) } else { output };
    let node = WindowAggregateNode { keys: vec![0], time: 4, window, aggregates: exprs(calls), updates_within };
    graph(NodeKind::WindowAggregate(node), &[&schema("k:text v:int f:float b:bool t:time")], output)
}

/// Functions for which the order of rows does not matter.
fn order_free() -> Vec<(Expr, Field)> {
    let distinct = |function: &str, column: &str| call(function, column).distinct().build().unwrap();
    let odd = |expr: Expr| expr.filter(col("b")).build().unwrap();
    vec![
        (odd(call("sum", "v")), Field::new("sum", DataType::Int64, true)),
        (call("count", "f"), Field::new("count", DataType::Int64, true)),
        (distinct("count", "v"), Field::new("distinct", DataType::Int64, true)),
        (distinct("sum", "v"), Field::new("sum_distinct", DataType::Int64, true)),
        (odd(call("bool_and", "b")), Field::new("and", DataType::Boolean, true)),
        (call("bit_xor", "v"), Field::new("xor", DataType::Int64, true)),
        (call("min", "k"), Field::new("min", DataType::Utf8, true)),
        (odd(call("max", "v")), Field::new("max", DataType::Int64, true)),
        (
            functions::aggregate("roc_auc").unwrap().call(vec![col("b"), col("f")]),
            Field::new("auc", DataType::Float64, true),
        ),
    ]
}

/// Functions for which it does.
fn ordered() -> Vec<(Expr, Field)> {
    let list = Field::new_list("all", Field::new_list_field(DataType::Int64, true), true);
    vec![
        (call("sum", "f"), Field::new("sum", DataType::Float64, true)),
        (call("array_agg", "v"), list),
        (call("stddev", "f"), Field::new("deviation", DataType::Float64, true)),
        (call("median", "f"), Field::new("median", DataType::Float64, true)),
        (call("first_value", "v"), Field::new("first", DataType::Int64, true)),
    ]
}

fn some_rows(rows: std::ops::Range<i64>) -> String {
    let line = |i: i64| {
        let float = if i % 5 == 0 {
            String::from("-")
        } else {
            format!("{:e}", 0.1 * (i * i) as f64 * 10f64.powi((i % 9) as i32))
        };
        let value = if i % 7 == 0 { String::from("-") } else { (i * i % 11).to_string() };
        // Some rows are before the last watermark.
        format!("k{} {value} {float} {} @{}\n", i * i % 13, i % 3 == 0, if i % 8 == 1 { i - 9 } else { i })
    };
    rows.map(line).collect()
}

#[test]
fn a_late_row_of_a_key_that_its_window_lacks_is_a_group_of_its_own() {
    // Most accumulators cannot be asked for the results of no groups.
    for calls in [order_free, ordered] {
        let graph = over_rows(calls(), tumble(10), 20 * S);
        let mut harness = OperatorHarness::new(&graph, graph.nodes[1].id).unwrap();
        play(&mut harness, "a 1 1 true @1\nwatermark 10\nb 2 2 false @2");
        let rows = sorted_rows(&harness.output().unwrap());
        assert!(matches!(&rows[..], [a, b] if a.starts_with("+I a") && b.starts_with("+I b")), "{rows:?}");
    }
}

#[test]
fn results_are_the_same_however_often_the_state_is_written() {
    for calls in [order_free, ordered] {
        for (window, updates_within) in [(tumble(10), 0), (hop(5, 15), 0), (cumulate(5, 15), 0), (hop(5, 15), 20 * S)] {
            let graph = over_rows(calls(), window, updates_within);
            let run = |mut harness: OperatorHarness| {
                for start in (0..90).step_by(6) {
                    harness.push(0, &some_rows(start..start + 6)).unwrap();
                    harness.watermark(0, start).unwrap();
                }
                harness.finish().unwrap();
                sorted_rows(&harness.output().unwrap())
            };
            let build = || OperatorHarness::new(&graph, graph.nodes[1].id).unwrap();
            assert_eq!(run(build()), run(build().without_twin()), "without a twin nothing is written");
        }
    }
}

#[test]
fn panes_go_to_the_instances_that_have_their_keys() {
    let part = |rows: std::ops::Range<i64>| format!("{}watermark {}\n", some_rows(rows.clone()), rows.end - 9);
    let parts = [part(0..45), part(45..70), part(70..90) + "watermark 120"];
    for calls in [order_free, ordered] {
        for (window, updates_within) in [(tumble(10), 0), (hop(5, 15), 0), (cumulate(5, 15), 0), (hop(5, 15), 20 * S)] {
            let graph = over_rows(calls(), window, updates_within);
            check_rescaled(&graph, &[0], [&parts[0], &parts[1], &parts[2]]);
        }
    }
}
