//! Interval joins by hand, and against all pairs over random streams.

use std::sync::atomic::Ordering;

use datafusion::logical_expr::{Expr, col};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, harness, joined, schema, sorted_rows};

/// Left rows `k a t`, right rows `k b t`; `lower <= right - left <= upper`, in seconds.
fn join(lower: i64, upper: i64, output_time: JoinSide, filter: Option<Expr>) -> OperatorHarness {
    let (left, right) = (schema("lk:text a:int lt:time"), schema("rk:text b:int rt:time"));
    let node = IntervalJoinNode {
        left_keys: vec![0],
        right_keys: vec![0],
        left_time: 2,
        right_time: 2,
        lower: lower * 1_000_000,
        upper: upper * 1_000_000,
        filter: filter.map(StreamExpr),
        output_time,
    };
    harness(NodeKind::IntervalJoin(node), &[&left, &right], joined(&left, &right))
}

/// A step a line: `L row`, `R row`, `L watermark seconds`, `R watermark seconds`, `end`.
fn play(harness: &mut OperatorHarness, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line == "end" {
            harness.finish().unwrap();
            continue;
        }
        let (side, rest) = line.split_once(' ').unwrap();
        let port = usize::from(side == "R");
        match rest.strip_prefix("watermark ") {
            Some(seconds) => harness.watermark(port, seconds.parse().unwrap()).unwrap(),
            None => harness.push(port, rest).unwrap(),
        }
    }
}

fn check(mut harness: OperatorHarness, script: &str, expected: Expect) {
    play(&mut harness, script);
    let late = harness.stats().late_rows.load(Ordering::Relaxed);
    expected.assert_eq(&format!("{}late {late}\n", harness.output().unwrap()));
}

#[test]
fn both_ends_of_the_interval_belong_to_it() {
    let script = "L k 1 @10\nR k 1 @7\nR k 2 @8\nR k 3 @10\nR k 4 @15\nR k 5 @15.000001\nR x 6 @10\nend";
    check(
        join(-2, 5, JoinSide::Left, None),
        script,
        expect![[r#"
        k 1 @10 k 2 @8
        k 1 @10 k 3 @10
        k 1 @10 k 4 @15
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn pairs_are_found_whichever_side_comes_first() {
    check(
        join(0, 5, JoinSide::Left, None),
        "R k 1 @12\nR k 2 @9\nL k 7 @10\nend",
        expect![[r#"
        k 7 @10 k 1 @12
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn null_keys_match_nothing() {
    check(
        join(0, 5, JoinSide::Left, None),
        "L - 1 @1\nR - 2 @1\nend",
        expect![[r#"
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_filter_sees_both_sides() {
    check(
        join(0, 5, JoinSide::Left, Some(col("a").lt(col("b")))),
        "L k 2 @1\nR k 1 @1\nR k 3 @1\nR k - @1",
        expect![[r#"
            k 2 @1 k 3 @1
            late 0
        "#]],
    );
}

#[test]
fn the_watermark_leaves_room_for_pairs_that_a_held_row_may_still_make() {
    // A left row at 10 may pair with a right row at 15: until right has come that far, 10 is open.
    let script = "L watermark 20\nR watermark 12\nR watermark 30\nL watermark 24\nend";
    check(
        join(0, 5, JoinSide::Left, None),
        script,
        expect![[r#"
        watermark @7
        watermark @20
        watermark @24
        watermark @25
        watermark end
        late 0
    "#]],
    );
    // By the right side's time: a held right row at 12 pairs with a new left row at 12.
    check(
        join(0, 5, JoinSide::Right, None),
        script,
        expect![[r#"
        watermark @12
        watermark @20
        watermark @24
        watermark @30
        watermark end
        late 0
    "#]],
    );
    check(
        join(-5, -2, JoinSide::Right, None),
        script,
        expect![[r#"
        watermark @12
        watermark @15
        watermark @19
        watermark @30
        watermark end
        late 0
    "#]],
    );
    check(
        join(-5, -2, JoinSide::Left, None),
        script,
        expect![[r#"
        watermark @14
        watermark @20
        watermark @24
        watermark @32
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn late_rows_are_counted_and_pair_with_nothing() {
    let script = "L k 1 @10\nR watermark 12\nR k 1 @11\nR k 2 @12\nL watermark 11\nL k 3 @10\nL k 4 @11\nend";
    check(
        join(0, 5, JoinSide::Left, None),
        script,
        expect![[r#"
        k 1 @10 k 2 @12
        watermark @7
        k 4 @11 k 2 @12
        watermark end
        late 2
    "#]],
    );
}

#[test]
fn an_empty_batch_and_an_empty_side_pair_with_nothing() {
    let mut harness = join(0, 5, JoinSide::Left, None);
    harness.push(0, "").unwrap();
    harness.push(1, "").unwrap();
    check(
        harness,
        "L k 1 @1\nend",
        expect![[r#"
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn rows_that_can_have_no_partner_leave_the_state_whatever_their_keys() {
    let mut harness = join(0, 5, JoinSide::Left, None);
    for time in 0..200 {
        play(
            &mut harness,
            &format!("L - 1 @{time}\nL k 1 @{time}\nR - 1 @{time}\nL watermark {time}\nR watermark {time}"),
        );
    }
    let output = sorted_rows(&harness.output().unwrap());
    assert_eq!(output, Vec::<String>::new());
    assert!(harness.state_bytes() < 20_000, "{} bytes", harness.state_bytes());
    harness.finish().unwrap();
    assert_eq!(harness.state_bytes(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Row(usize, u8, i64),
    Advance(usize, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0usize..2, 0u8..3, -5i64..25).prop_map(|(side, key, time)| Step::Row(side, key, time)),
        1 => (0usize..2, 0i64..6).prop_map(|(side, by)| Step::Advance(side, by)),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn the_pairs_are_those_of_a_nested_loop(steps in steps(), lower in -6i64..3, length in 0i64..8) {
        let upper = lower + length;
        let mut harness = join(lower, upper, JoinSide::Left, None);
        let (mut watermarks, mut rows, mut late) = ([i64::MIN; 2], [Vec::new(), Vec::new()], 0);
        let mut output = String::new();
        for (id, step) in steps.iter().enumerate() {
            match *step {
                Step::Row(side, key, time) => {
                    harness.push(side, &format!("k{key} {id} @{time}")).unwrap();
                    if time < watermarks[side] { late += 1 } else { rows[side].push((key, id, time)) }
                }
                Step::Advance(side, by) => {
                    watermarks[side] = watermarks[side].max(-5) + by;
                    harness.watermark(side, watermarks[side]).unwrap();
                }
            }
            output.push_str(&harness.output().unwrap());
        }
        harness.finish().unwrap();
        let mut expected = Vec::new();
        for (key, left, time) in &rows[0] {
            for (_, right, other) in rows[1].iter().filter(|row| row.0 == *key && (lower..=upper).contains(&(row.2 - time))) {
                expected.push(format!("k{key} {left} @{time} k{key} {right} @{other}"));
            }
        }
        expected.sort();
        prop_assert_eq!(sorted_rows(&output), expected);
        prop_assert_eq!(harness.stats().late_rows.load(Ordering::Relaxed), late);
        no_row_is_behind_the_watermark(&output, 2);
    }

    #[test]
    fn the_watermark_by_the_right_time_holds_too(steps in steps(), lower in -6i64..3, length in 0i64..8) {
        let mut harness = join(lower, lower + length, JoinSide::Right, None);
        let mut watermarks = [-5i64; 2];
        for (id, step) in steps.iter().enumerate() {
            match *step {
                Step::Row(side, key, time) => harness.push(side, &format!("k{key} {id} @{time}")).unwrap(),
                Step::Advance(side, by) => {
                    watermarks[side] += by;
                    harness.watermark(side, watermarks[side]).unwrap();
                }
            }
        }
        no_row_is_behind_the_watermark(&harness.output().unwrap(), 5);
    }
}

/// What a watermark promises, checked on the output; the event time is in this column.
fn no_row_is_behind_the_watermark(output: &str, column: usize) {
    let mut watermark = f64::MIN;
    for line in output.lines() {
        match line.strip_prefix("watermark @") {
            Some(at) => watermark = at.parse().unwrap(),
            None => {
                let time = line.split(' ').nth(column).unwrap().trim_start_matches('@').parse::<f64>().unwrap();
                assert!(time >= watermark, "{line} comes behind watermark {watermark}");
            }
        }
    }
}
