//! Results that late rows change: by hand, and in the end those of rows in order.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::with_change_column;
use tidemill_plans::node::{NodeKind, WindowAggregateNode, WindowSpec};

use crate::testing::OperatorHarness;
use crate::testing::graph::{call, cases, exprs, harness, late, play, schema, sorted_rows};

const S: i64 = 1_000_000;

const HOP: WindowSpec = WindowSpec::Hop { slide: 5 * S, size: 10 * S, offset: 0 };

/// `sum(v)` and `count(v)` by `k`, updated within so many seconds; `v` is of this type.
fn updated(kind: &str, window: WindowSpec, seconds: i64) -> OperatorHarness {
    let input = schema(&format!("k:text v:{kind} t:time"));
    let output = schema(&format!("k:text window_start:time window_end:time window_time:time sum:{kind} count:int"));
    let output = if seconds > 0 { with_change_column(&output) } else { output };
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window, aggregates, updates_within: seconds * S };
    harness(NodeKind::WindowAggregate(node), &[&input], output)
}

fn check(window: WindowSpec, script: &str, expected: Expect) {
    let mut harness = updated("int", window, 20);
    play(&mut harness, script);
    expected.assert_eq(&format!("{}late {}\n", harness.output().unwrap(), late(&harness)));
}

#[test]
fn a_late_row_updates_its_group_and_no_other_until_its_time_is_up() {
    let tumble = WindowSpec::Tumble { size: 10 * S, offset: 0 };
    let script = "a 1 @1\nb 2 @2\nwatermark 10\na 4 @3\na 8 @12\nwatermark 29\nc 16 @9\nwatermark 30\na 32 @9\nend";
    check(
        tumble,
        script,
        expect![[r#"
        +I a @0 @10 @9.999999 1 1
        +I b @0 @10 @9.999999 2 1
        watermark @10
        -U a @0 @10 @9.999999 1 1
        +U a @0 @10 @9.999999 5 2
        +I a @10 @20 @19.999999 8 1
        watermark @29
        +I c @0 @10 @9.999999 16 1
        watermark @30
        watermark end
        late 3
    "#]],
    );
}

#[test]
fn a_late_row_updates_each_closed_window_that_it_is_in() {
    check(
        HOP,
        "a 1 @7\nwatermark 11\na 2 @6\nwatermark 16\na 4 @8\na 8 @14\nend",
        expect![[r#"
        +I a @0 @10 @9.999999 1 1
        watermark @11
        -U a @0 @10 @9.999999 1 1
        +U a @0 @10 @9.999999 3 2
        +I a @5 @15 @14.999999 3 2
        watermark @16
        -U a @0 @10 @9.999999 3 2
        +U a @0 @10 @9.999999 7 3
        -U a @5 @15 @14.999999 3 2
        +U a @5 @15 @14.999999 15 4
        +I a @10 @20 @19.999999 8 1
        watermark end
        late 1
    "#]],
    );
    let cumulate = WindowSpec::Cumulate { step: 5 * S, size: 15 * S, offset: 0 };
    check(
        cumulate,
        "a 1 @1\nwatermark 10\na 2 @2\nb 4 @7\nend",
        expect![[r#"
        +I a @0 @5 @4.999999 1 1
        +I a @0 @10 @9.999999 1 1
        watermark @10
        -U a @0 @5 @4.999999 1 1
        +U a @0 @5 @4.999999 3 2
        -U a @0 @10 @9.999999 1 1
        +U a @0 @10 @9.999999 3 2
        +I b @0 @10 @9.999999 4 1
        +I a @0 @15 @14.999999 3 2
        +I b @0 @15 @14.999999 4 1
        watermark end
        late 0
    "#]],
    );
}

/// The rows that remain of a changelog. What is taken back must be there.
fn remaining(output: &str) -> Vec<String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for line in output.lines().filter(|line| !line.starts_with("watermark")) {
        let (op, row) = line.split_once(' ').unwrap();
        let count = counts.entry(row.to_owned()).or_default();
        *count += if op.starts_with('+') { 1 } else { -1 };
        assert!(*count >= 0, "{line} of a row that is not there");
    }
    counts.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count as usize)).collect()
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn what_remains_is_what_rows_in_order_give(
        rows in prop::collection::vec((0u8..3, 0i64..60, -9i64..9), 1..60),
        moves in prop::collection::vec(0i64..4, 60),
        batch in 1usize..8,
        spec in 0usize..4,
    ) {
        let window = [
            WindowSpec::Tumble { size: 10 * S, offset: 0 },
            HOP,
            WindowSpec::Hop { slide: 10 * S, size: 4 * S, offset: 0 },
            WindowSpec::Cumulate { step: 5 * S, size: 15 * S, offset: 0 },
        ][spec];
        for kind in ["int", "float"] {
            let line = |(key, time, value): &(u8, i64, i64)| {
                let value = if kind == "int" { value.to_string() } else { format!("{:e}", 0.1 * (value * value) as f64) };
                format!("k{key} {value} @{time}\n")
            };
            let mut late = updated(kind, window, 1000);
            for (part, step) in rows.chunks(batch).zip(moves.iter().scan(0, |now, step| { *now += step; Some(*now) })) {
                late.push(0, &part.iter().map(line).collect::<String>()).unwrap();
                late.watermark(0, step).unwrap();
            }
            late.finish().unwrap();
            let mut in_order = updated(kind, window, 0);
            in_order.push(0, &rows.iter().map(line).collect::<String>()).unwrap();
            in_order.finish().unwrap();
            prop_assert_eq!(remaining(&late.output().unwrap()), sorted_rows(&in_order.output().unwrap()));
            prop_assert_eq!(late.state_bytes(), 0);
        }
    }
}
