//! Rows that replace each other by key: what changes, what does not, and what is forgotten.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::{with_absent_values, with_change_column};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::{NodeKind, TimeToLive};

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, graph, play, schema, sorted_rows, with_memory};
use crate::testing::rescale::check_rescaled;

/// Over the key `k`, with a value that is never NULL.
fn normalize(ttl: Option<i64>) -> DataflowGraph {
    let output = with_change_column(&schema("k:text v:int! w:int"));
    let ttl = ttl.map(|seconds| TimeToLive { micros: seconds * 1_000_000, time: None });
    graph(NodeKind::Normalize(NormalizeNode { keys: vec![0], ttl }), &[&with_absent_values(&output)], output)
}

fn harness(graph: &DataflowGraph) -> OperatorHarness {
    OperatorHarness::new(graph, graph.nodes.last().unwrap().id).unwrap()
}

/// A script whose rows are `+ k v w` and `- k`.
fn script(text: &str) -> String {
    let line = |line: &str| match line.trim().split_once(' ') {
        Some(("+", row)) => format!("{row} 2\n"),
        Some(("-", key)) => format!("{key} - - 3\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn check(ttl: Option<i64>, text: &str, expected: Expect) {
    let mut harness = harness(&normalize(ttl));
    play(&mut harness, &script(text));
    expected.assert_eq(&harness.output().unwrap());
}

#[test]
fn a_row_replaces_the_one_before_it() {
    check(
        None,
        "+ a 1 1\n+ b 2 -\n---\n+ a 3 1\n- b\n---\n+ b 4 4\nend",
        expect![[r#"
            +I a 1 1
            +I b 2 -
            -U a 1 1
            +U a 3 1
            -D b 2 -
            +I b 4 4
            watermark end
        "#]],
    );
}

#[test]
fn what_changes_nothing_makes_no_change() {
    check(
        None,
        "- a\n---\n+ a 1 -\n---\n+ a 1 -\n---\n+ a 2 -\n+ a 1 -\n---\n- a\n+ a 1 -\n---\n- a\n---\n- a\n---\n+ b 1 1\n- b\nend",
        expect![[r#"
            +I a 1 -
            -D a 1 -
            watermark end
        "#]],
    );
}

#[test]
fn of_the_rows_of_a_key_in_a_batch_the_last_counts() {
    check(
        None,
        "+ a 1 1\n+ b 1 1\n+ a 2 2\n+ c 1 1\n- c\n+ b 3 3\n+ - 4 4\n---\n- -\n+ - 5 5\n+ a 6 6\nend",
        expect![[r#"
            +I a 2 2
            +I b 3 3
            +I - 4 4
            -U - 4 4
            +U - 5 5
            -U a 2 2
            +U a 6 6
            watermark end
        "#]],
    );
}

#[test]
fn keys_that_nothing_touches_are_forgotten() {
    check(
        Some(10),
        "watermark 0\n+ a 1 1\n+ b 1 1\nwatermark 5\n+ b 1 1\nwatermark 11\n- a\n+ b 2 2\n---\n+ a 3 3\nwatermark 22\n- b\nwatermark 30\n- a\nend",
        expect![[r#"
            watermark @0
            +I a 1 1
            +I b 1 1
            watermark @5
            watermark @11
            -U b 1 1
            +U b 2 2
            +I a 3 3
            watermark @22
            watermark @30
            watermark end
        "#]],
    );
}

#[test]
fn what_has_gone_holds_nothing() {
    let mut harness = harness(&normalize(None));
    let empty = harness.state_bytes();
    for key in 0..50 {
        play(&mut harness, &script(&format!("+ k{key} 1 1")));
    }
    let full = harness.state_bytes();
    for round in 0..20 {
        let rows: String = (0..50).map(|key| format!("+ k{key} {round} 2\n")).collect();
        play(&mut harness, &script(&rows));
    }
    assert!(harness.state_bytes() < 4 * full, "{} bytes after {full}", harness.state_bytes());
    let gone: String = (0..80).map(|key| format!("- k{key}\n")).collect();
    play(&mut harness, &script(&gone));
    // Which keys are gone is known until state is written.
    harness.pause().unwrap();
    assert_eq!(harness.state_bytes(), empty);
}

#[test]
fn another_number_of_instances_takes_over() {
    let first = "watermark 0\n+ a 1 1\n+ b 1 1\n+ c 1 1\n+ d 1 1\n+ e 1 1\n+ - 1 1\nwatermark 4\n+ a 2 2\n- b";
    let second = "+ a 3 3\n+ f 1 1\n- c\n+ d 1 1\nwatermark 8\n+ g 1 1";
    let third = "- a\n+ b 9 9\n- c\n+ d 2 2\n- e\n- -\nwatermark 15\n- f\n- g\n- d";
    for ttl in [None, Some(7)] {
        check_rescaled(&normalize(ttl), &[0], [first, second, third].map(script).each_ref().map(String::as_str));
    }
}

proptest! {
    #![proptest_config(cases(40))]

    /// However rows are batched, the changes add up to the last row of each key.
    #[test]
    fn the_changes_add_up_to_the_last_rows(
        rows in prop::collection::vec((0..6u8, prop::option::weighted(0.7, 0..3i64), prop::bool::ANY), 0..60),
    ) {
        let mut harness = harness(&normalize(None));
        let (mut text, mut last) = (String::new(), std::collections::BTreeMap::new());
        for (key, value, ends) in rows {
            last.insert(key, value);
            text += &value.map_or_else(|| format!("- k{key}\n"), |value| format!("+ k{key} {value} -\n"));
            text += if ends { "---\n" } else { "" };
        }
        play(&mut harness, &script(&text));
        let mut rows: Vec<String> = Vec::new();
        for change in harness.output().unwrap().lines() {
            let (op, row) = change.split_once(' ').unwrap();
            match op {
                "+I" | "+U" => rows.push(String::from(row)),
                _ => {
                    let place = rows.iter().position(|known| known == row);
                    prop_assert!(place.is_some(), "{row} was not there");
                    rows.remove(place.unwrap());
                }
            }
        }
        let wanted: Vec<String> =
            last.iter().filter_map(|(key, value)| value.map(|value| format!("k{key} {value} -"))).collect();
        prop_assert_eq!(sorted_rows(&rows.join("\n")), wanted);
    }
}

#[test]
fn rows_stay_within_the_memory_and_come_back_with_their_keys() {
    const MEMORY: usize = 150_000;
    let mut harness = with_memory(&normalize(None), MEMORY).without_twin();
    for start in (0..2_000).step_by(100) {
        let rows: String = (start..start + 100).map(|key| format!("+ k{key} {key} -\n")).collect();
        harness.push(0, &script(&rows)).unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
    }
    assert!(harness.spilled_bytes() > 0);
    harness.output().unwrap();
    harness.push(0, &script("+ k3 4 -\n- k7\n+ k1999 1999 -\n+ k2000 1 1")).unwrap();
    expect![[r#"
        -U k3 3 -
        +U k3 4 -
        -D k7 7 -
        +I k2000 1 1
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn old_rows_are_dropped_wherever_they_are() {
    let steps =
        "watermark 100\n+ a 1 1\n+ b 1 1\n---\n+ c 1 1\nwatermark 108\n+ b 2 2\nwatermark 112\n+ a 3 3\n+ b 3 3";
    let run = |mut harness: OperatorHarness| {
        play(&mut harness, &script(steps));
        harness.output().unwrap()
    };
    let graph = normalize(Some(10));
    let all = run(harness(&graph));
    assert!(all.ends_with("+I a 3 3\n-U b 2 2\n+U b 3 3\n"), "{all}");
    assert_eq!(run(with_memory(&graph, 1)), all);
}
