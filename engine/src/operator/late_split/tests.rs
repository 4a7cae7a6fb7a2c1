//! Which rows are late: the same that the windowed operator behind would leave out.

use expect_test::{Expect, expect};
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::graph::{graph, harness, late, play, schema};
use crate::testing::rescale::check_rescaled;

const S: i64 = 1_000_000;

fn check(windows: LateWindows, script: &str, expected: Expect) {
    let input = schema("k:text t:time");
    let node = LateSplitNode { time: 1, windows };
    let mut harness = harness(NodeKind::LateSplit(node), &[&input], schema("k:text t:time late:bool!"));
    play(&mut harness, script);
    expected.assert_eq(&format!("{}late {}\n", harness.output().unwrap(), late(&harness)));
}

#[test]
fn a_row_is_late_once_all_its_windows_have_closed() {
    let hop = WindowSpec::Hop { slide: 5 * S, size: 10 * S, offset: 0 };
    check(
        LateWindows::Fixed(hop),
        "a @1\nwatermark 12\na @7\nb @4\na @13",
        expect![[r#"
        a @1 false
        watermark @12
        a @7 false
        b @4 true
        a @13 false
        late 1
    "#]],
    );
}

#[test]
fn a_row_between_sampled_windows_is_not_late() {
    let sampled = WindowSpec::Hop { slide: 10 * S, size: 2 * S, offset: 0 };
    check(
        LateWindows::Fixed(sampled),
        "watermark 20\na @5\na @1",
        expect![[r#"
        watermark @20
        a @5 false
        a @1 true
        late 1
    "#]],
    );
}

#[test]
fn a_row_that_falls_into_an_open_session_is_not_late() {
    let windows = LateWindows::Session { keys: vec![0], gap: 10 * S };
    check(
        windows,
        "a @10\na @19\nwatermark 25\na @12\nb @12\nb @16\nwatermark 40\na @19",
        expect![[r#"
        a @10 false
        a @19 false
        watermark @25
        a @12 false
        b @12 true
        b @16 false
        watermark @40
        a @19 true
        late 2
    "#]],
    );
}

#[test]
fn open_sessions_count_as_state() {
    let input = schema("k:text t:time");
    let node = LateSplitNode { time: 1, windows: LateWindows::Session { keys: vec![0], gap: 10 * S } };
    let mut harness = harness(NodeKind::LateSplit(node), &[&input], schema("k:text t:time late:bool!"));
    let empty = harness.state_bytes();
    harness.push(0, "a @1\nb @5").unwrap();
    assert!(harness.state_bytes() > empty);
    harness.watermark(0, 16).unwrap();
    assert_eq!(harness.state_bytes(), empty);
}

#[test]
fn open_sessions_go_to_the_instances_that_have_their_keys() {
    let node = LateSplitNode { time: 0, windows: LateWindows::Session { keys: vec![2, 1], gap: 10 * S } };
    let graph =
        graph(NodeKind::LateSplit(node), &[&schema("t:time a:int b:text")], schema("t:time a:int b:text late:bool!"));
    let part = |rows: std::ops::Range<i64>| {
        let line = |i: i64| format!("@{} {} b{}\n", if i % 3 == 0 { i - 12 } else { i }, i % 2, i * i % 13);
        format!("{}watermark {}\n", rows.clone().map(line).collect::<String>(), rows.end - 2)
    };
    check_rescaled(&graph, &[2, 1], [&part(0..40), &part(40..60), &part(60..90)]);
}
