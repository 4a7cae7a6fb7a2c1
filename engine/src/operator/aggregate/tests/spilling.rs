//! With room for a few groups only, the same comes out as with room for all of them.

use super::*;
use crate::testing::graph::with_memory;

fn counts(emit: AggregateEmit) -> DataflowGraph {
    let output = with_change_column(&schema("k:int sum:int count:int"));
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = AggregateNode { keys: vec![0], time: None, aggregates, emit, gather_ms: None, ttl: None };
    graph(NodeKind::Aggregate(node), &[&schema("k:int v:int")], output)
}

fn lines(rows: impl Iterator<Item = (usize, usize)>) -> String {
    rows.map(|(key, value)| format!("{key} {value}\n")).collect()
}

#[test]
fn groups_stay_within_the_memory_and_come_back_with_their_rows() {
    const MEMORY: usize = 100_000;
    let mut harness = with_memory(&counts(AggregateEmit::OnUpdate), MEMORY).without_twin();
    for start in (0..2_000).step_by(100) {
        harness.push(0, &lines((start..start + 100).map(|key| (key, 1)))).unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
    }
    harness.output().unwrap();
    harness.push(0, "3 10\n1999 20\n2001 30\n1471 40").unwrap();
    expect![[r#"
        -U 3 1 1
        +U 3 11 2
        -U 1999 1 1
        +U 1999 21 2
        +I 2001 30 1
        -U 1471 1 1
        +U 1471 41 2
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn those_that_rows_touch_stay() {
    // So much that the key that each batch has stays, and others do not.
    let mut harness = with_memory(&counts(AggregateEmit::OnUpdate), 100_000).without_twin();
    for start in (0..2_000).step_by(100) {
        harness.push(0, &lines((start..start + 100).map(|key| (key.max(1), 1)).chain([(0, 1)]))).unwrap();
    }
    harness.output().unwrap();
    let on_disk = harness.spilled_bytes();
    assert!(on_disk > 0);
    harness.push(0, "0 1").unwrap();
    assert_eq!(harness.spilled_bytes(), on_disk);
    assert_eq!(harness.output().unwrap(), "-U 0 20 20\n+U 0 21 21\n");
}

/// How many values `v` each `k` has, or all have.
fn distinct(keys: Vec<usize>) -> DataflowGraph {
    let count = call("count", "v").distinct().build().unwrap();
    let output = with_change_column(&schema(if keys.is_empty() { "count:int" } else { "k:int count:int" }));
    let emit = AggregateEmit::OnUpdate;
    let node = AggregateNode { keys, time: None, aggregates: exprs([count]), emit, gather_ms: None, ttl: None };
    graph(NodeKind::Aggregate(node), &[&schema("k:int v:int")], output)
}

#[test]
fn a_group_may_have_more_values_than_there_is_room_for() {
    const MEMORY: usize = 100_000;
    for keys in [vec![], vec![0]] {
        let mut harness = with_memory(&distinct(keys.clone()), MEMORY).with_twin_each(13);
        for start in (0..6_000).step_by(200) {
            harness.push(0, &lines((start..start + 200).map(|value| (7, value)))).unwrap();
            assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
        }
        harness.restart().unwrap();
        harness.output().unwrap();
        harness.push(0, "7 3\n7 5999\n7 6000\n7 2500").unwrap();
        let key = if keys.is_empty() { "" } else { "7 " };
        assert_eq!(harness.output().unwrap(), format!("-U {key}6000\n+U {key}6001\n"));
        assert!(harness.spilled_bytes() > 100_000);
    }
}

#[test]
fn of_values_on_disk_only_what_has_changed_is_written() {
    let mut harness = with_memory(&distinct(vec![0]), 40_000).without_twin();
    harness.push(0, &lines((0..3_000).map(|value| (value % 5, value)))).unwrap();
    harness.written_rows().unwrap();
    harness.push(0, "1 1\n9 10000\n1 10001").unwrap();
    // Two groups, and three values that rows have had.
    assert_eq!(harness.written_rows().unwrap(), 2 + 3);
    assert!(harness.spilled_bytes() > 0);
}

#[test]
fn at_the_end_all_groups_come_out() {
    let run = |mut harness: OperatorHarness| {
        for start in (0..600).step_by(50) {
            harness.push(0, &lines((start..start + 50).map(|key| (key % 350, key)))).unwrap();
        }
        harness.finish().unwrap();
        let mut lines: Vec<String> = harness.output().unwrap().lines().map(String::from).collect();
        lines.sort();
        lines
    };
    let graph = counts(AggregateEmit::AtEnd);
    let all = run(OperatorHarness::new(&graph, graph.nodes[1].id).unwrap().without_twin());
    assert_eq!(all.len(), 351);
    assert_eq!(run(with_memory(&graph, 5_000).with_twin_each(5)), all);
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows of these keys and values, each of which goes if it is there and the last says so.
    Change(Vec<(i64, Option<i64>, bool)>),
    Watermark(i64),
    Pause,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0..20i64, prop::option::weighted(0.8, 0..4i64), any::<bool>());
    let step = prop_oneof![
        4 => prop::collection::vec(row, 1..10).prop_map(Step::Change),
        1 => (1..8i64).prop_map(Step::Watermark),
        1 => Just(Step::Pause),
    ];
    prop::collection::vec(step, 1..25)
}

/// The rows that are left, and the watermarks that came out.
fn played(mut harness: OperatorHarness, steps: &[Step]) -> (std::collections::BTreeMap<String, String>, String) {
    let (mut there, mut now) = (Vec::new(), 10);
    for step in steps {
        match step {
            Step::Change(rows) => {
                let batch: String = rows.iter().map(|row| change(&mut there, *row, now)).collect();
                harness.push_unpaused(0, &batch).unwrap();
            }
            Step::Watermark(by) => {
                now += by;
                harness.watermark(0, now).unwrap();
            }
            Step::Pause => harness.pause().unwrap(),
        }
    }
    harness.finish().unwrap();
    let output = harness.output().unwrap();
    let watermarks = output.lines().filter(|line| line.starts_with("watermark")).map(|line| format!("{line}\n"));
    (replay_changes(&output), watermarks.collect())
}

fn change(there: &mut Vec<(i64, Option<i64>)>, (key, value, goes): (i64, Option<i64>, bool), now: i64) -> String {
    let place = there.iter().position(|row| *row == (key, value)).filter(|_| goes);
    let op = if let Some(place) = place {
        there.remove(place);
        3
    } else {
        there.push((key, value));
        0
    };
    let value = value.map_or(String::from("- -"), |value| format!("{value} {}", (value as f64 + 0.1) * 1e15));
    format!("k{key} {value} @{now} {op}\n")
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn little_memory_changes_nothing(steps in steps(), bytes_max in prop::sample::select(vec![1, 3_000, 6_000])) {
        let graph = changes_graph(None);
        let all = played(OperatorHarness::new(&graph, graph.nodes[1].id).unwrap().without_twin(), &steps);
        prop_assert_eq!(played(with_memory(&graph, bytes_max), &steps), all);
    }
}

#[test]
fn old_groups_are_dropped_wherever_they_are() {
    let graph = changes_graph(Some(10_000_000));
    for bytes_max in [1, 3_000] {
        let mut harness = with_memory(&graph, bytes_max);
        harness.push(0, "a 1 1 @100 0\nb 1 1 @101 0\nc 1 1 @102 0\nd 1 1 @109 0").unwrap();
        harness.watermark(0, 105).unwrap();
        harness.push(0, "b 2 2 @106 0").unwrap();
        harness.watermark(0, 113).unwrap();
        harness.output().unwrap();
        harness.push(0, "a 5 5 @113 0\nb 5 5 @113 0\nd 5 5 @113 0").unwrap();
        expect![[r#"
            +I a 1 1 5 5 5 5.0 1 a 5.0
            -U b 2 2 3 1 2 1.5 2 b 1.5
            +U b 3 3 8 1 5 2.6666666666666665 3 b 2.0
            -U d 1 1 1 1 1 1.0 1 d 1.0
            +U d 2 2 6 1 5 3.0 2 d 3.0
        "#]]
        .assert_eq(&harness.output().unwrap());
    }
}

#[test]
fn whatever_is_known_of_groups_goes_and_comes_back() {
    let graph = over_rows();
    // Beside it there is one without any memory.
    let harness = with_memory(&graph, 20_000);
    assert!(play_rows(harness).lines().count() > 100);
}

#[test]
fn groups_that_do_not_fit_go_on_from_a_snapshot_within_the_memory() {
    const MEMORY: usize = 100_000;
    let mut harness = with_memory(&counts(AggregateEmit::OnUpdate), MEMORY).with_twin_each(7);
    for start in (0..2_000).step_by(100) {
        harness.push(0, &lines((start..start + 100).map(|key| (key, 1)))).unwrap();
    }
    harness.output().unwrap();
    harness.restart().unwrap();
    assert!(harness.state_bytes() <= MEMORY, "{} bytes", harness.state_bytes());
    harness.push(0, "3 10\n1471 40").unwrap();
    assert_eq!(harness.output().unwrap(), "-U 3 1 1\n+U 3 11 2\n-U 1471 1 1\n+U 1471 41 2\n");
}

#[test]
fn what_is_emitted_at_the_end_goes_in_slices_wherever_it_was() {
    for memory in [10_000_000, 5_000] {
        let mut harness = with_memory(&counts(AggregateEmit::AtEnd), memory).without_twin();
        harness.push(0, &lines((0..200).map(|key| (key, key)))).unwrap();
        assert_eq!(harness.spilled_bytes() > 0, memory == 5_000);
        harness.finish().unwrap();
        let mut keys: Vec<usize> = Vec::new();
        for line in harness.output().unwrap().lines().filter(|line| line.starts_with("+I")) {
            keys.push(line.split(' ').nth(1).unwrap().parse().unwrap());
        }
        keys.sort();
        assert_eq!(keys, (0..200).collect::<Vec<_>>());
        assert_eq!(harness.slice_rows_max(), 3, "the groups of a slice");
    }
}
