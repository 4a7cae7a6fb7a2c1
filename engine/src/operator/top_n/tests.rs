//! Top-N by hand, and against a list that is sorted anew for every batch.

mod spilling;

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::with_change_column;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::node::{NodeKind, SortColumn, TimeToLive};

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, graph, late, play, schema};
use crate::testing::instances;

/// The first rows by `v`, largest first.
fn top(limit: u64, rank: bool) -> TopNNode {
    let order_by = vec![SortColumn { column: 1, descending: true, nulls_first: true }];
    TopNNode { partition: vec![0], order_by, limit, rank, emit: TopNEmit::OnUpdate, gather_ms: None, ttl: None }
}

fn operator(node: TopNNode, input: &str, changes: bool) -> OperatorHarness {
    let graph = graph_of(node, input, changes);
    OperatorHarness::new(&graph, graph.nodes[1].id).unwrap()
}

fn graph_of(node: TopNNode, input: &str, changes: bool) -> DataflowGraph {
    let (input, mut output) = (schema(input), schema(input));
    if node.rank {
        let rank = Field::new("rank", arrow::datatypes::DataType::UInt64, false);
        let fields = output.fields().iter().cloned().chain([Arc::new(rank)]);
        output = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    }
    if matches!(node.emit, TopNEmit::OnUpdate | TopNEmit::AtEnd) {
        output = with_change_column(&output);
    }
    let input = if changes { with_change_column(&input) } else { input };
    graph(NodeKind::TopN(node), &[&input], output)
}

fn check(mut harness: OperatorHarness, script: &str, expected: Expect) {
    play(&mut harness, script);
    expected.assert_eq(&harness.output().unwrap());
}

const ROWS: &str = "k:text v:int s:text";

/// The operator and the script of a changelog, whose rows name their change last.
fn changelog(rows: &str) -> String {
    let code = |op: &str| ["+I", "-U", "+U", "-D"].iter().position(|name| *name == op);
    let line = |line: &str| match line.split_once(' ').map(|(op, row)| (code(op), row)) {
        Some((Some(code), row)) => format!("{row} {code}\n"),
        _ => format!("{line}\n"),
    };
    rows.lines().map(|text| line(text.trim())).collect()
}

#[test]
fn rows_enter_and_leave() {
    check(
        operator(top(2, false), ROWS, false),
        "a 1 x
         b 5 x
         a 2 x
         ---
         a 3 x
         a 0 x
         b 4 x",
        expect![[r#"
            +I a 2 x
            +I a 1 x
            +I b 5 x
            -D a 1 x
            +I a 3 x
            +I b 4 x
        "#]],
    );
}

#[test]
fn a_rank_that_is_read_is_kept_up_to_date() {
    check(
        operator(top(2, true), ROWS, false),
        "a 1 x
         a 2 x
         ---
         a 3 x
         ---
         a 3 w",
        expect![[r#"
            +I a 2 x 1
            +I a 1 x 2
            -U a 2 x 1
            +U a 3 x 1
            -U a 1 x 2
            +U a 2 x 2
            -U a 3 x 1
            +U a 3 w 1
            -U a 2 x 2
            +U a 3 x 2
        "#]],
    );
}

#[test]
fn one_row_is_replaced_once_a_batch() {
    check(
        operator(top(1, false), ROWS, false),
        "a 1 x
         b 1 x
         ---
         a 2 x
         a 3 x
         b 0 x
         a 4 x
         a 2 y",
        expect![[r#"
            +I a 1 x
            +I b 1 x
            -U a 1 x
            +U a 4 x
        "#]],
    );
}

#[test]
fn changes_of_several_batches_are_gathered() {
    for changes in [false, true] {
        let mut harness = operator(top(2, true), ROWS, changes);
        for batch in ["+I a 1 x\n+I a 2 x", "+I a 3 x\n+I b 1 x", "+I a 4 x\n+I a 5 x"] {
            let batch = if changes { changelog(batch) } else { batch.replace("+I ", "") };
            harness.push_unpaused(0, &batch).unwrap();
        }
        assert_eq!(harness.output().unwrap(), "");
        harness.pause().unwrap();
        assert_eq!(harness.output().unwrap(), "+I a 5 x 1\n+I a 4 x 2\n+I b 1 x 1\n");
        harness.push_unpaused(0, &if changes { changelog("+I b 2 x") } else { String::from("b 2 x") }).unwrap();
        harness.finish().unwrap();
        let update = "-U b 1 x 1\n+U b 2 x 1\n+I b 1 x 2\n";
        assert_eq!(harness.output().unwrap(), format!("watermark end\n{update}"));
    }
}

#[test]
fn changes_are_gathered_until_a_pause() {
    for changes in [false, true] {
        let mut harness = operator(top(1, false), ROWS, changes);
        let rows = |text: &str| if changes { changelog(text) } else { text.replace("+I ", "") };
        for batch in ["+I a 1 x", "+I a 2 x\n+I b 1 x", "+I a 3 x"] {
            harness.push_unpaused(0, &rows(batch)).unwrap();
        }
        assert_eq!(harness.output().unwrap(), "");
        harness.pause().unwrap();
        assert_eq!(harness.output().unwrap(), "+I a 3 x\n+I b 1 x\n");
        harness.push_unpaused(0, &rows("+I a 4 x")).unwrap();
        harness.push_unpaused(0, &rows("+I a 5 x")).unwrap();
        harness.finish().unwrap();
        assert_eq!(harness.output().unwrap(), "watermark end\n-U a 3 x\n+U a 5 x\n");
    }
}

#[test]
fn rows_that_order_by_does_not_tell_apart_are_in_the_order_of_their_columns() {
    for script in ["a 1 y\n---\na 1 x\n---\na 1 z", "a 1 z\na 1 y\na 1 x", "a 1 x\n---\na 1 z\na 1 y"] {
        let mut harness = operator(TopNNode { emit: TopNEmit::AtEnd, ..top(2, true) }, ROWS, false);
        play(&mut harness, script);
        harness.finish().unwrap();
        assert_eq!(harness.output().unwrap(), "watermark end\n+I a 1 x 1\n+I a 1 y 2\n", "{script}");
    }
}

#[test]
fn nulls_are_a_partition_and_have_their_place_in_the_order() {
    check(
        operator(top(1, false), ROWS, false),
        "- 1 x
         - - y
         - 2 z",
        expect![[r#"
            +I - - y
        "#]],
    );
    let last = SortColumn { column: 1, descending: false, nulls_first: false };
    check(
        operator(TopNNode { order_by: vec![last], ..top(1, false) }, ROWS, false),
        "- - y
         - 2 z",
        expect![[r#"
            +I - 2 z
        "#]],
    );
}

#[test]
fn without_partitions_everything_is_one() {
    check(
        operator(TopNNode { partition: vec![], ..top(1, false) }, ROWS, false),
        "a 1 x
         b 2 x
         ---
         c 0 x",
        expect![[r#"
            +I b 2 x
        "#]],
    );
}

#[test]
fn an_empty_batch_changes_nothing() {
    let mut append = operator(top(1, false), ROWS, false);
    append.push(0, "").unwrap();
    let mut updating = operator(top(1, false), ROWS, true);
    updating.push(0, "").unwrap();
    assert_eq!(append.output().unwrap() + &updating.output().unwrap(), "");
}

#[test]
fn what_is_taken_away_lets_the_next_row_in() {
    check(
        operator(top(1, false), ROWS, true),
        &changelog(
            "+I a 1 x
             +I a 2 x
             +I a 3 x
             ---
             -D a 2 x
             ---
             -D a 3 x
             ---
             -U a 1 x
             +U a 0 x
             ---
             -D a 0 x",
        ),
        expect![[r#"
            +I a 3 x
            -U a 3 x
            +U a 1 x
            -U a 1 x
            +U a 0 x
            -D a 0 x
        "#]],
    );
    check(
        operator(top(2, true), ROWS, true),
        &changelog(
            "+I a 1 x
             +I a 2 x
             +I a 3 x
             ---
             -D a 3 x",
        ),
        expect![[r#"
            +I a 3 x 1
            +I a 2 x 2
            -U a 3 x 1
            +U a 2 x 1
            -U a 2 x 2
            +U a 1 x 2
        "#]],
    );
}

#[test]
fn a_row_may_be_taken_away_before_it_comes() {
    check(
        operator(top(1, false), ROWS, true),
        &changelog(
            "-D a 2 x
             ---
             +I a 1 x
             +I a 2 x",
        ),
        expect![[r#"
            +I a 1 x
        "#]],
    );
}

#[test]
fn at_the_end_the_last_state_is_emitted() {
    for changes in [false, true] {
        let mut harness = operator(TopNNode { emit: TopNEmit::AtEnd, ..top(1, false) }, ROWS, changes);
        let script = "+I a 1 x\n+I b 1 x\n---\n+I a 2 x";
        play(&mut harness, &if changes { changelog(script) } else { script.replace("+I ", "") });
        assert_eq!(harness.output().unwrap(), "");
        harness.finish().unwrap();
        assert_eq!(harness.output().unwrap(), "watermark end\n+I a 2 x\n+I b 1 x\n");
    }
}

#[test]
fn a_job_that_is_stopped_emits_no_result_that_is_not_final() {
    let mut harness = operator(TopNNode { emit: TopNEmit::AtEnd, ..top(1, false) }, ROWS, false);
    play(&mut harness, "a 1 x");
    harness.stop().unwrap();
    assert_eq!(harness.output().unwrap(), "");
}

const WINDOWED: &str = "k:text v:int w:time";

#[test]
fn a_window_is_emitted_once_when_it_is_complete() {
    let node = TopNNode { partition: vec![2], emit: TopNEmit::OnClose { time: 2 }, ..top(2, true) };
    let mut harness = operator(node, WINDOWED, false);
    play(
        &mut harness,
        "a 1 @10
         b 2 @20
         c 3 @10
         d 4 @10
         watermark 10
         e 5 @10
         watermark 11
         f 6 @10
         g 7 @20
         end",
    );
    expect![[r#"
        watermark @10
        e 5 @10 1
        d 4 @10 2
        watermark @11
        g 7 @20 1
        b 2 @20 2
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
    assert_eq!(late(&harness), 1);
    assert_eq!(harness.state_bytes(), 0);
}

#[test]
fn of_windows_that_stay_only_what_has_changed_is_written() {
    let node = TopNNode { partition: vec![2, 0], emit: TopNEmit::OnClose { time: 2 }, ..top(2, true) };
    let mut harness = operator(node, WINDOWED, false).without_twin();
    play(&mut harness, "a 1 @10\na 2 @10\nb 1 @10\na 3 @20\nb 4 @20\nc 5 @20\nd 6 @30");
    assert_eq!(harness.written_rows().unwrap(), 7);
    assert_eq!(harness.written_rows().unwrap(), 0, "nothing has changed");
    // Both rows of one partition, another, a new one, and a row that is too late to be among the first.
    play(&mut harness, "a 3 @10\na 0 @10\nb 9 @20\ne 1 @30");
    assert_eq!(harness.written_rows().unwrap(), 2 + 2 + 1);
    play(&mut harness, "watermark 11\nd 7 @30");
    assert_eq!(harness.written_rows().unwrap(), 2);
    play(&mut harness, "watermark 31");
    assert_eq!(harness.written_rows().unwrap(), 0);
    assert_eq!(harness.state_bytes(), 0);
}

#[test]
fn the_oldest_rows_are_emitted_as_event_time_passes_them() {
    let oldest = SortColumn { column: 2, descending: false, nulls_first: false };
    let node = TopNNode { order_by: vec![oldest], emit: TopNEmit::InOrder { time: 2 }, ..top(1, false) };
    let mut harness = operator(node, WINDOWED, false);
    play(
        &mut harness,
        "a 3 @5
         b 1 @4
         ---
         a 2 @3
         a 1 @3
         watermark 4
         a 0 @2
         b 0 @4
         watermark 6
         a 7 @9
         end",
    );
    expect![[r#"
        a 1 @3
        watermark @4
        b 0 @4
        watermark @6
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
    assert_eq!(late(&harness), 1);
}

#[test]
fn of_equally_old_rows_the_rest_of_order_by_decides() {
    let sort = |column, descending| SortColumn { column, descending, nulls_first: false };
    let order_by = vec![sort(2, false), sort(1, true)];
    let node = TopNNode { order_by, emit: TopNEmit::InOrder { time: 2 }, ..top(2, true) };
    check(
        operator(node, WINDOWED, false),
        "a 1 @3
         a 3 @3
         a 2 @3
         end",
        expect![[r#"
            a 3 @3 1
            a 2 @3 2
            watermark end
        "#]],
    );
}

/// A row by its partition, value and text, and whether it is added.
type Step = (bool, u8, Option<i8>, u8);

/// Changes that take away only what is there; each step adds a row or takes the last equal one away.
fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let value = proptest::option::weighted(0.9, -3..4i8);
    let step = (proptest::bool::weighted(0.6), 0..3u8, value, 0..3u8);
    proptest::collection::vec(proptest::collection::vec(step, 0..12), 1..12)
}

/// The first rows of each partition, as lines.
fn model(rows: &[Step], limit: usize, rank: bool) -> Vec<String> {
    let mut partitions: BTreeMap<u8, Vec<&Step>> = BTreeMap::new();
    rows.iter().for_each(|row| partitions.entry(row.1).or_default().push(row));
    let mut lines = Vec::new();
    for rows in partitions.values_mut() {
        // Largest first, NULL before them, then the text.
        rows.sort_by_key(|(_, _, value, text)| (value.map(|value| -i32::from(value)), *text));
        for (index, row) in rows.iter().take(limit).enumerate() {
            lines.push(if rank { format!("{} {}", show(row), index + 1) } else { show(row) });
        }
    }
    lines.sort();
    lines
}

fn show((_, key, value, text): &Step) -> String {
    format!("k{key} {} t{text}", value.map_or(String::from("-"), |value| value.to_string()))
}

/// Applies a changelog to rows that are known.
fn apply(known: &mut Vec<String>, output: &str) {
    for line in output.lines() {
        let (op, row) = line.split_once(' ').unwrap();
        if op.starts_with('+') {
            known.push(row.to_owned());
        } else {
            let place = known.iter().position(|known| known == row);
            known.remove(place.unwrap_or_else(|| panic!("{line}: not known")));
        }
    }
    known.sort();
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn every_batch_leads_to_the_first_rows(batches in steps(), limit in 1..4usize, rank: bool, changes: bool) {
        let mut harness = operator(top(limit as u64, rank), ROWS, changes);
        let (mut rows, mut known) = (Vec::<Step>::new(), Vec::new());
        for batch in batches {
            let mut text = String::new();
            for step in batch {
                let there = rows.iter().position(|row| (row.1, row.2, row.3) == (step.1, step.2, step.3));
                match there.filter(|_| changes && !step.0) {
                    Some(place) => {
                        rows.remove(place);
                        text.push_str(&format!("{} 3\n", show(&step)));
                    }
                    None => {
                        rows.push(step);
                        text.push_str(&format!("{}{}\n", show(&step), if changes { " 0" } else { "" }));
                    }
                }
            }
            harness.push(0, &text).unwrap();
            apply(&mut known, &harness.output().unwrap());
            prop_assert_eq!(&known, &model(&rows, limit, rank));
        }
    }
}

proptest! {
    #![proptest_config(cases(80))]

    /// A partition that no row touched for ten seconds is forgotten at the next look, and begins anew.
    #[test]
    fn old_partitions_leave_the_others_as_they_are(
        batches in proptest::collection::vec((steps(), 0..8i64), 1..8),
        limit in 1..4usize,
        rank: bool,
        changes: bool,
    ) {
        let ttl = TimeToLive { micros: 10_000_000, time: None };
        let node = TopNNode { ttl: Some(ttl), ..top(limit as u64, rank) };
        let mut harness = operator(node, ROWS, changes).with_twin_each(5);
        let (mut rows, mut known) = (Vec::<Step>::new(), Vec::new());
        // A look every quarter of the time to live, the first at the first watermark.
        let (mut now, mut next_look) = (100, 4 * 100 + 10);
        let mut touched: BTreeMap<u8, i64> = BTreeMap::new();
        harness.watermark(0, now).unwrap();
        for (batches, seconds) in batches {
            for step in batches.into_iter().flatten() {
                let there = rows.iter().position(|row| (row.1, row.2, row.3) == (step.1, step.2, step.3));
                let op = match there.filter(|_| changes && !step.0) {
                    Some(place) => {
                        rows.remove(place);
                        3
                    }
                    None => {
                        rows.push(step);
                        0
                    }
                };
                touched.insert(step.1, now);
                let op = if changes { format!(" {op}") } else { String::new() };
                harness.push(0, &format!("{}{op}", show(&step))).unwrap();
            }
            let output = harness.output().unwrap();
            let changed: Vec<&str> = output.lines().filter(|line| !line.starts_with("watermark")).collect();
            apply(&mut known, &changed.join("\n"));
            prop_assert_eq!(&known, &model(&rows, limit, rank));
            now += seconds;
            harness.watermark(0, now).unwrap();
            if now * 4 >= next_look {
                next_look = now * 4 + 10;
                rows.retain(|row| touched[&row.1] >= now - 10);
                // Downstream is not told, but the rows of a partition that begins anew are others.
                known = model(&rows, limit, rank);
            }
        }
    }
}

/// What comes of fifty partitions, of which one was touched shortly before the others got old.
fn old_partitions(node: TopNNode, changes: bool) -> String {
    let ttl = TimeToLive { micros: 10_000_000, time: Some(2) };
    let mut harness = operator(TopNNode { ttl: Some(ttl), ..node }, WINDOWED, changes);
    let op = if changes { " 0" } else { "" };
    let rows = |seconds: i64| (0..50).map(|k| format!("k{k} 5 @{seconds}{op}")).collect::<Vec<_>>().join("\n");
    harness.push(0, &rows(100)).unwrap();
    harness.push(0, &format!("k7 3 @108{op}")).unwrap();
    harness.watermark(0, 109).unwrap();
    let before = harness.state_bytes();
    harness.watermark(0, 113).unwrap();
    assert!(harness.state_bytes() < before, "{before} became {}", harness.state_bytes());
    harness.output().unwrap();
    harness.push(0, &format!("k7 9 @114{op}\nk8 9 @114{op}")).unwrap();
    harness.watermark(0, 116).unwrap();
    harness.output().unwrap()
}

#[test]
fn partitions_that_no_row_touches_are_dropped_after_their_time_to_live() {
    for changes in [false, true] {
        // What was known of k7 is taken back, and k8 begins anew.
        expect![[r#"
            -U k7 5 @100
            +U k7 9 @114
            +I k8 9 @114
            watermark @116
        "#]]
        .assert_eq(&old_partitions(top(1, false), changes));
        expect![[r#"
            -U k7 5 @100 1
            +U k7 9 @114 1
            -U k7 3 @108 2
            +U k7 5 @100 2
            +I k8 9 @114 1
            watermark @116
        "#]]
        .assert_eq(&old_partitions(top(2, true), changes));
    }
    let oldest = SortColumn { column: 2, descending: false, nulls_first: false };
    let node = TopNNode { order_by: vec![oldest], emit: TopNEmit::InOrder { time: 2 }, ..top(2, true) };
    // Of k7 two rows have been seen.
    expect![[r#"
        k8 9 @114 1
        watermark @116
    "#]]
    .assert_eq(&old_partitions(node, false));
}

#[test]
fn another_number_of_instances_goes_on_with_what_was_kept() {
    let oldest = SortColumn { column: 2, descending: false, nulls_first: false };
    let ttl = Some(TimeToLive { micros: 15_000_000, time: Some(2) });
    let in_order = TopNNode { order_by: vec![oldest], emit: TopNEmit::InOrder { time: 2 }, ttl, ..top(3, true) };
    let windows = TopNNode { partition: vec![0, 2], emit: TopNEmit::OnClose { time: 2 }, ..top(2, true) };
    let of_changes = [(top(2, true), true), (TopNNode { ttl, ..top(3, false) }, true)];
    let of_rows = [top(2, true), TopNNode { ttl, ..top(1, false) }, in_order, windows].map(|node| (node, false));
    for (node, changes) in of_changes.into_iter().chain(of_rows) {
        let mut script = String::new();
        for row in 0..80i64 {
            let line = |row: i64| format!("L k{} {} @{}", row % 13, row * 7 % 10, row / 10 * 10);
            script.push_str(&format!("{}{}\n", line(row), if changes { " 0" } else { "" }));
            if changes && row >= 30 {
                script.push_str(&format!("{} 3\n", line(row - 30)));
            }
            if row % 10 == 9 {
                script.push_str(&format!("L watermark {}\n", row - 6));
            }
        }
        let partition = Partitioning::Hash(node.partition.clone());
        let top = operator(node, WINDOWED, changes);
        instances::check_rescaling(&top, &[partition], &instances::steps(&top, &script));
    }
}

#[test]
fn final_results_are_emitted_in_slices() {
    let rows: String = (0..100).map(|row| format!("k{row} {row} @{}\n", row % 3)).collect();
    let windows = TopNNode { partition: vec![2, 0], emit: TopNEmit::OnClose { time: 2 }, ..top(1, true) };
    let at_end = TopNNode { emit: TopNEmit::AtEnd, ..top(1, true) };
    for node in [windows, at_end] {
        let mut harness = operator(node, WINDOWED, false);
        harness.push(0, &rows).unwrap();
        harness.finish().unwrap();
        let emitted = harness.output().unwrap().lines().filter(|line| !line.starts_with("watermark")).count();
        assert_eq!(emitted, 100);
        assert_eq!(harness.slice_rows_max() as usize, SLICE_ROWS);
    }
}
