//! Sessions by hand, and against a slow reference over random streams.

mod spilling;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{call, cases, exprs, graph, harness, late, play, schema, sorted_rows};
use crate::testing::rescale::check_rescaled;

const S: i64 = 1_000_000;

/// `sum(v)` and `count(v)` by `k`, in sessions with a gap of 10 seconds.
fn sessions() -> OperatorHarness {
    let input = schema("k:text v:int t:time");
    let output = schema("k:text window_start:time window_end:time window_time:time sum:int count:int");
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = SessionWindowNode { keys: vec![0], time: 2, gap: 10 * S, aggregates };
    harness(NodeKind::SessionWindow(node), &[&input], output)
}

fn check(script: &str, expected: Expect) {
    let mut harness = sessions();
    play(&mut harness, script);
    expected.assert_eq(&format!("{}late {}\n", harness.output().unwrap(), late(&harness)));
}

#[test]
fn a_session_ends_one_gap_after_its_last_row() {
    check(
        "a 1 @1\nb 2 @5\na 4 @9\nwatermark 15\na 8 @30\nwatermark 19\nend",
        expect![[r#"
        watermark @14.999999
        b @5 @15 @14.999999 2 1
        watermark @18.999999
        a @1 @19 @18.999999 5 2
        a @30 @40 @39.999999 8 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_row_at_the_very_end_still_belongs_to_it() {
    check(
        "a 1 @1\na 2 @11\na 4 @21.000001\nend",
        expect![[r#"
        a @1 @21 @20.999999 3 2
        a @21.000001 @31.000001 @31 4 1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_row_out_of_order_can_join_two_sessions() {
    check(
        "a 1 @1\na 2 @18\nwatermark 5\na 4 @10\nend",
        expect![[r#"
        watermark @4.999999
        a @1 @28 @27.999999 7 3
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_late_row_counts_as_long_as_its_session_is_open() {
    // At 20 the session from 12 is open until 22. The row at 5 touches it, the one at 1 does not.
    check(
        "a 1 @12\nwatermark 20\na 2 @5\na 4 @1\nb 8 @11\nb 16 @9\nend",
        expect![[r#"
        watermark @19.999999
        b @11 @21 @20.999999 8 1
        a @5 @22 @21.999999 3 2
        watermark end
        late 2
    "#]],
    );
}

#[test]
fn null_keys_are_a_key_and_empty_batches_are_nothing() {
    check(
        "- 1 @1\n- 2 @2\na - @3\n\nend",
        expect![[r#"
        - @1 @12 @11.999999 3 2
        a @3 @13 @12.999999 - 0
        watermark end
        late 0
    "#]],
    );
    check(
        "end",
        expect![[r#"
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn without_keys_all_rows_are_of_one_key() {
    let output = schema("window_start:time window_end:time window_time:time sum:float");
    let node = SessionWindowNode { keys: vec![], time: 1, gap: 2 * S, aggregates: exprs([call("sum", "v")]) };
    let mut harness = harness(NodeKind::SessionWindow(node), &[&schema("v:float t:time")], output);
    play(&mut harness, "1 @1\n2 @2\nwatermark 3\n4 @7\nend");
    expect![[r#"
        watermark @2.999999
        @1 @4 @3.999999 3.0
        @7 @9 @8.999999 4.0
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
    assert_eq!(harness.state_bytes(), 0);
}

#[test]
fn a_stop_emits_no_open_session() {
    let mut harness = sessions();
    play(&mut harness, "a 1 @1");
    harness.stop().unwrap();
    assert_eq!(harness.output().unwrap(), "");
}

/// Sessions of rows that are all known.
fn reference(rows: &[(u8, i64, i64)]) -> Vec<String> {
    let mut by_key: BTreeMap<u8, Vec<(i64, i64)>> = BTreeMap::new();
    for (key, time, value) in rows {
        by_key.entry(*key).or_default().push((*time, *value));
    }
    let mut sessions = Vec::new();
    for (key, mut rows) in by_key {
        rows.sort_unstable();
        let breaks = |a: &(i64, i64), b: &(i64, i64)| b.0 - a.0 <= 10;
        for session in rows.chunk_by(breaks) {
            let (start, end) = (session[0].0, session[session.len() - 1].0 + 10);
            let sum: i64 = session.iter().map(|(_, value)| value).sum();
            sessions.push(format!("k{key} @{start} @{end} @{} {sum} {}", end as f64 - 1e-6, session.len()));
        }
    }
    sessions.sort();
    sessions
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn sessions_equal_the_reference_however_rows_and_watermarks_come(
        rows in prop::collection::vec((0u8..3, 0i64..120, -9i64..9), 1..60),
        batch in 1usize..9,
        disorder in 0i64..30,
    ) {
        // In the order of time, disturbed by at most `disorder` seconds: no row is late.
        let mut arriving = rows.clone();
        arriving.sort_by_key(|(key, time, value)| time + (value * 7 + i64::from(*key)).rem_euclid(disorder + 1));
        let mut harness = sessions();
        let mut newest = i64::MIN;
        for part in arriving.chunks(batch) {
            let text: String = part.iter().map(|(key, time, value)| format!("k{key} {value} @{time}\n")).collect();
            harness.push(0, &text).unwrap();
            newest = part.iter().map(|(_, time, _)| *time).max().unwrap().max(newest);
            harness.watermark(0, newest - disorder).unwrap();
        }
        harness.finish().unwrap();
        prop_assert_eq!(sorted_rows(&harness.output().unwrap()), reference(&rows));
        prop_assert_eq!(late(&harness), 0);
        prop_assert_eq!(harness.state_bytes(), 0);
    }
}

#[test]
fn without_an_aggregation_each_row_gets_its_sessions_bounds_once_it_has_closed() {
    let input = schema("k:text v:int t:time");
    let output = schema("k:text v:int t:time window_start:time window_end:time window_time:time");
    let node = SessionAssignNode { keys: vec![0], time: 2, gap: 10 * S };
    let mut harness = harness(NodeKind::SessionAssign(node), &[&input], output);
    play(&mut harness, "a 1 @1\nb 2 @5\na 4 @9\nwatermark 16\na 8 @30\nwatermark 20\na 16 @2\nend");
    expect![[r#"
        b 2 @5 @5 @15 @14.999999
        watermark @15.999999
        a 1 @1 @1 @19 @18.999999
        a 4 @9 @1 @19 @18.999999
        watermark @19.999999
        a 8 @30 @30 @40 @39.999999
        watermark end
        late 1
    "#]]
    .assert_eq(&format!("{}late {}\n", harness.output().unwrap(), late(&harness)));
    assert_eq!(harness.state_bytes(), 0);
}

#[test]
fn state_is_counted_until_its_session_has_closed() {
    let mut harness = sessions();
    let empty = harness.state_bytes();
    harness.push(0, "a 1 @1\nb 2 @5\na 4 @9").unwrap();
    let waiting = harness.state_bytes();
    harness.watermark(0, 10).unwrap();
    let open = harness.state_bytes();
    harness.watermark(0, 20).unwrap();
    assert!(waiting > empty && open > empty, "{empty} {waiting} {open}");
    assert_eq!(harness.state_bytes(), empty);
}

#[test]
fn open_sessions_go_to_the_instances_that_have_their_keys() {
    let input = schema("v:float k:text t:time");
    let output = schema("k:text window_start:time window_end:time window_time:time sum:float count:int");
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = SessionWindowNode { keys: vec![1], time: 2, gap: 10 * S, aggregates };
    let graph = graph(NodeKind::SessionWindow(node), &[&input], output);
    let part = |rows: std::ops::Range<i64>| {
        let line = |i: i64| format!("{:e} k{} @{}\n", 0.1 * (i * i) as f64, i * i % 13, i + i % 4 * 3);
        format!("{}watermark {}\n", rows.clone().map(line).collect::<String>(), rows.end - 2)
    };
    check_rescaled(&graph, &[1], [&part(0..40), &part(40..60), &(part(60..90) + "watermark 120")]);
}
