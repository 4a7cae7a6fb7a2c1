//! Interval joins by hand, and against all pairs over random streams.

use std::ops::Rem;
use std::sync::atomic::Ordering;

use datafusion::logical_expr::{Expr, col, lit};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, graph, joined, schema, sorted_rows};
use crate::testing::instances;

/// Left rows `k a t`, right rows `k b t`; `lower <= right - left <= upper`, in seconds.
fn join(lower: i64, upper: i64, output_time: JoinSide, filter: Option<Expr>) -> OperatorHarness {
    join_of(JoinKind::Inner, &[0], (lower, upper), Some(output_time), filter)
}

/// The same for a join of any kind, by its own side's time.
fn kind_of(kind: JoinKind, lower: i64, upper: i64, filter: Option<Expr>) -> OperatorHarness {
    join_of(kind, &[0], (lower, upper), time_side(kind), filter)
}

fn time_side(kind: JoinKind) -> Option<JoinSide> {
    match kind {
        JoinKind::Full => None,
        JoinKind::Inner | JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti => Some(JoinSide::Left),
        JoinKind::Right | JoinKind::RightSemi | JoinKind::RightAnti => Some(JoinSide::Right),
    }
}

fn join_of(
    kind: JoinKind,
    keys: &[usize],
    (lower, upper): (i64, i64),
    output_time: Option<JoinSide>,
    filter: Option<Expr>,
) -> OperatorHarness {
    with_memory(kind, keys, (lower, upper), output_time, (filter, None))
}

/// The same, with so many bytes for its rows.
fn with_memory(
    kind: JoinKind,
    keys: &[usize],
    (lower, upper): (i64, i64),
    output_time: Option<JoinSide>,
    (filter, bytes_max): (Option<Expr>, Option<usize>),
) -> OperatorHarness {
    let (left, right) = (schema("lk:text a:int lt:time"), schema("rk:text b:int rt:time"));
    let pairs = joined(&left, &right);
    let output = match kind.single_side() {
        None => Arc::clone(&pairs),
        Some(JoinSide::Left) => Arc::clone(&left),
        Some(JoinSide::Right) => Arc::clone(&right),
    };
    let node = IntervalJoinNode {
        kind,
        left_keys: keys.to_vec(),
        right_keys: keys.to_vec(),
        left_time: 2,
        right_time: 2,
        lower: lower * 1_000_000,
        upper: upper * 1_000_000,
        filter: filter.map(StreamExpr),
        pairs: StreamSchema(pairs),
        output_time,
    };
    OperatorHarness::with_memory(&graph(NodeKind::IntervalJoin(node), &[&left, &right], output), bytes_max).unwrap()
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

#[test]
fn a_left_row_without_a_partner_is_padded_once_none_can_come_any_more() {
    let script = "L k 1 @10\nL k 2 @11\nR k 7 @12\nL watermark 20\nR watermark 15\nR watermark 16\nL x 3 @20\nend";
    let padded = |script: &str| {
        let mut harness = kind_of(JoinKind::Left, 0, 5, Some(col("a").gt(lit(1i64))));
        play(&mut harness, script);
        harness.output().unwrap()
    };
    expect![[r#"
        k 2 @11 k 7 @12
        watermark @10
        k 1 @10 - - -
        watermark @11
        x 3 @20 - - -
        watermark end
    "#]]
    .assert_eq(&padded(script));
}

#[test]
fn a_row_that_comes_when_no_partner_can_follow_is_emitted_at_once() {
    check(
        kind_of(JoinKind::Left, 0, 5, None),
        "R k 1 @12\nR watermark 30\nL k 1 @10\nL k 2 @20\nL watermark 20\nend",
        expect![[r#"
            k 1 @10 k 1 @12
            k 2 @20 - - -
            watermark @20
            watermark @25
            watermark end
            late 0
        "#]],
    );
}

#[test]
fn rows_with_null_keys_are_without_a_partner_from_the_start() {
    for kind in [JoinKind::Full, JoinKind::LeftAnti, JoinKind::LeftSemi, JoinKind::RightAnti] {
        check(
            kind_of(kind, 0, 5, None),
            "L - 1 @1\nR - 2 @1",
            match kind {
                JoinKind::Full => expect![[r#"
                    - 1 @1 - - -
                    - - - - 2 @1
                    late 0
                "#]],
                JoinKind::LeftAnti => expect![[r#"
                    - 1 @1
                    late 0
                "#]],
                JoinKind::RightAnti => expect![[r#"
                    - 2 @1
                    late 0
                "#]],
                _ => expect![[r#"
                    late 0
                "#]],
            },
        );
    }
}

#[test]
fn a_semi_join_emits_a_row_at_its_first_match_only() {
    let script = "L k 1 @10\nR k 1 @11\nR k 2 @11\nL k 2 @9\nL k 3 @30\nend";
    check(
        kind_of(JoinKind::LeftSemi, 0, 5, None),
        script,
        expect![[r#"
            k 1 @10
            k 2 @9
            watermark end
            late 0
        "#]],
    );
    check(
        kind_of(JoinKind::RightSemi, 0, 5, None),
        script,
        expect![[r#"
            k 1 @11
            k 2 @11
            watermark end
            late 0
        "#]],
    );
    check(
        kind_of(JoinKind::LeftSemi, 0, 5, Some(col("b").gt(col("a")))),
        script,
        expect![[r#"
            k 1 @10
            watermark end
            late 0
        "#]],
    );
}

#[test]
fn an_anti_join_emits_what_can_have_no_match_any_more() {
    let script = "L k 1 @10\nR k 1 @11\nL k 2 @3\nL k 3 @30\nR watermark 9\nL watermark 40\nR watermark 36\nend";
    check(
        kind_of(JoinKind::LeftAnti, 0, 5, None),
        script,
        expect![[r#"
            k 2 @3
            watermark @4
            k 3 @30
            watermark @31
            watermark end
            late 0
        "#]],
    );
    check(
        kind_of(JoinKind::RightAnti, 0, 5, Some(col("b").gt(col("a")))),
        script,
        expect![[r#"
            k 1 @11
            watermark @9
            watermark @36
            watermark end
            late 0
        "#]],
    );
}

#[test]
fn without_keys_time_alone_decides() {
    check(
        join_of(JoinKind::Full, &[], (0, 5), None, None),
        "L k 1 @10\nR x 1 @12\nR y 2 @9\nL z 2 @20\nL - 3 @10\nend",
        expect![[r#"
            k 1 @10 x 1 @12
            - 3 @10 x 1 @12
            - - - y 2 @9
            z 2 @20 - - -
            watermark end
            late 0
        "#]],
    );
}

#[test]
fn a_stop_drops_what_waits() {
    let mut harness = kind_of(JoinKind::Full, 0, 5, None);
    harness.push(0, "k 1 @1").unwrap();
    harness.stop().unwrap();
    assert_eq!(harness.output().unwrap(), "");
}

#[test]
fn rows_that_are_done_with_leave_the_state_for_every_kind() {
    for kind in KINDS {
        let mut harness = kind_of(kind, 0, 5, None);
        for time in 0..120 {
            play(
                &mut harness,
                &format!(
                    "L - 1 @{time}\nL k 1 @{time}\nR k 1 @{time}\nL x{time} 1 @{time}\nL watermark {time}\nR watermark {time}"
                ),
            );
        }
        assert!(harness.state_bytes() < 20_000, "{kind:?}: {} bytes", harness.state_bytes());
        harness.finish().unwrap();
        assert_eq!(harness.state_bytes(), 0, "{kind:?}");
    }
}

/// All kinds.
const KINDS: [JoinKind; 8] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::LeftSemi,
    JoinKind::LeftAnti,
    JoinKind::RightSemi,
    JoinKind::RightAnti,
];

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a side in one batch: their keys and times. Key 0 is NULL.
    Rows(usize, Vec<(u8, i64)>),
    Advance(usize, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = || (0u8..4, -5i64..25);
    let step = prop_oneof![
        3 => (0usize..2, prop::collection::vec(row(), 0..4)).prop_map(|(side, rows)| Step::Rows(side, rows)),
        1 => (0usize..2, 0i64..6).prop_map(|(side, by)| Step::Advance(side, by)),
    ];
    prop::collection::vec(step, 1..60)
}

/// A row as the model knows it: its key, its number, its time.
type Row = (u8, usize, i64);

fn text((key, id, time): Row) -> String {
    if key == 0 { format!("- {id} @{time}") } else { format!("k{key} {id} @{time}") }
}

/// Plays the steps; what came out, the rows of both sides that were not late, how many were.
fn play_steps(harness: &mut OperatorHarness, steps: &[Step]) -> (String, [Vec<Row>; 2], u64) {
    let (mut watermarks, mut rows, mut late) = ([i64::MIN; 2], [Vec::new(), Vec::new()], 0);
    let (mut output, mut id) = (String::new(), 0);
    for step in steps {
        match step {
            Step::Rows(side, new) => {
                let mut batch = String::new();
                for (key, time) in new {
                    id += 1;
                    let row = (*key, id, *time);
                    batch.push_str(&format!("{}\n", text(row)));
                    if *time < watermarks[*side] { late += 1 } else { rows[*side].push(row) }
                }
                harness.push(*side, &batch).unwrap();
            }
            Step::Advance(side, by) => {
                watermarks[*side] = watermarks[*side].max(-5) + by;
                harness.watermark(*side, watermarks[*side]).unwrap();
            }
        }
        output.push_str(&harness.output().unwrap());
    }
    harness.finish().unwrap();
    output.push_str(&harness.output().unwrap());
    (output, rows, late)
}

/// What a join comes to, by looking at every pair.
fn nested_loop(kind: JoinKind, [left, right]: &[Vec<Row>; 2], is_pair: impl Fn(Row, Row) -> bool) -> Vec<String> {
    let mut expected = Vec::new();
    for l in left {
        for r in right.iter().filter(|r| kind.pairs() && is_pair(*l, **r)) {
            expected.push(format!("{} {}", text(*l), text(*r)));
        }
    }
    let mut alone = |side: JoinSide, row: Row, has_partner: bool| {
        let semi = kind.single_side() == Some(side) && !kind.keeps_unmatched(side);
        if (semi && has_partner) || (kind.keeps_unmatched(side) && !has_partner) {
            expected.push(match (kind.pairs(), side) {
                (false, _) => text(row),
                (true, JoinSide::Left) => format!("{} - - -", text(row)),
                (true, JoinSide::Right) => format!("- - - {}", text(row)),
            });
        }
    };
    left.iter().for_each(|l| alone(JoinSide::Left, *l, right.iter().any(|r| is_pair(*l, *r))));
    right.iter().for_each(|r| alone(JoinSide::Right, *r, left.iter().any(|l| is_pair(*l, *r))));
    expected.sort();
    expected
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn every_kind_is_what_a_nested_loop_says(
        steps in steps(), kind in prop::sample::select(KINDS.to_vec()), lower in -6i64..3, length in 0i64..8,
        filtered in any::<bool>(), keyed in any::<bool>(),
        bytes_max in prop::sample::select(vec![None, Some(1_000), Some(2_500)])
    ) {
        let upper = lower + length;
        let filter = filtered.then(|| (col("a") + col("b")).rem(lit(3i64)).not_eq(lit(0i64)));
        let keys: &[usize] = if keyed { &[0] } else { &[] };
        let mut harness = with_memory(kind, keys, (lower, upper), time_side(kind), (filter, bytes_max));
        let (output, rows, late) = play_steps(&mut harness, &steps);
        let is_pair = |l: Row, r: Row| {
            (!keyed || (l.0 == r.0 && l.0 != 0))
                && (lower..=upper).contains(&(r.2 - l.2))
                && (!filtered || !(l.1 + r.1).is_multiple_of(3))
        };
        prop_assert_eq!(sorted_rows(&output), nested_loop(kind, &rows, is_pair));
        prop_assert_eq!(harness.stats().late_rows.load(Ordering::Relaxed), late);
        match (time_side(kind), kind.pairs()) {
            (Some(JoinSide::Right), true) => no_row_is_behind_the_watermark(&output, 5),
            (Some(_), _) => no_row_is_behind_the_watermark(&output, 2),
            (None, _) => {}
        }
    }

    #[test]
    fn the_watermark_by_the_right_time_holds_too(steps in steps(), lower in -6i64..3, length in 0i64..8) {
        let mut harness = join(lower, lower + length, JoinSide::Right, None);
        let (output, _, _) = play_steps(&mut harness, &steps);
        no_row_is_behind_the_watermark(&output, 5);
    }
}

/// What a watermark promises, checked on the output; the event time is in this column.
fn no_row_is_behind_the_watermark(output: &str, column: usize) {
    let mut watermark = f64::MIN;
    for line in output.lines() {
        match line.strip_prefix("watermark ") {
            Some("end") => watermark = f64::MAX,
            Some(at) => watermark = at.trim_start_matches('@').parse().unwrap(),
            None => {
                let time = line.split(' ').nth(column).unwrap().trim_start_matches('@').parse::<f64>().unwrap();
                assert!(time >= watermark, "{line} comes behind watermark {watermark}");
            }
        }
    }
}

#[test]
fn another_number_of_instances_goes_on_with_what_was_held() {
    let mut script = String::new();
    for row in 0..60 {
        let side = ["L", "R"][row % 2];
        script.push_str(&format!("{side} k{} {row} @{row}\n", row % 11));
        if row % 6 == 5 {
            script.push_str(&format!("{side} watermark {}\n", row - 4));
        }
    }
    script.push_str("end");
    let routes = [Partitioning::Hash(vec![0]), Partitioning::Hash(vec![0])];
    for kind in [JoinKind::Inner, JoinKind::Full, JoinKind::Left, JoinKind::LeftSemi, JoinKind::RightAnti] {
        let join = kind_of(kind, -12, 9, None);
        instances::check_rescaling(&join, &routes, &instances::steps(&join, &script));
    }
}

/// Rows of one key each, a second after another.
fn rows(seconds: std::ops::Range<i64>) -> String {
    seconds.map(|at| format!("k{at} 1 @{at}\n")).collect()
}

#[test]
fn what_has_changed_is_written_wherever_it_is() {
    // How many rows are written when a row that is held finds a partner, which waits for its own if it is to be alone
    // without one; and what is gone is no row.
    for (kind, at_match) in
        [(JoinKind::Inner, 1), (JoinKind::Left, 2), (JoinKind::LeftSemi, 1), (JoinKind::LeftAnti, 1)]
    {
        for bytes_max in [None, Some(1), Some(20_000)] {
            let of_memory = (None, bytes_max);
            let mut join = with_memory(kind, &[0], (0, 500), time_side(kind), of_memory).without_twin();
            join.push(0, &rows(0..200)).unwrap();
            assert_eq!(join.spilled_bytes() > 0, bytes_max.is_some());
            let mut written = vec![join.written_rows().unwrap(), join.written_rows().unwrap()];
            join.push(1, "k3 1 @3").unwrap();
            written.push(join.written_rows().unwrap());
            join.push(0, "k300 1 @300").unwrap();
            written.push(join.written_rows().unwrap());
            assert_eq!(written, [200, 0, at_match, 1], "{kind:?} with {bytes_max:?}");
        }
    }
}

#[test]
fn rows_stay_within_the_memory_and_come_out_when_they_are_due() {
    const MEMORY: usize = 60_000;
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::LeftAnti] {
        let mut join = with_memory(kind, &[0], (0, 1000), time_side(kind), (None, Some(MEMORY))).without_twin();
        for start in (0..3000).step_by(100) {
            join.push(0, &rows(start..start + 100)).unwrap();
            for port in 0..2 {
                join.watermark(port, start + 100).unwrap();
            }
            assert!(join.state_bytes() <= MEMORY, "{} bytes after {start}", join.state_bytes());
        }
        assert!(join.spilled_bytes() > 0);
        let alone = join.output().unwrap();
        join.push(1, "k3000 1 @3000\nk2200 1 @3000\nk2100 1 @3001").unwrap();
        let came = join.output().unwrap();
        join.finish().unwrap();
        let rest = join.output().unwrap();
        let counts = [alone, came, rest].map(|output| output.lines().filter(|line| line.starts_with('k')).count());
        // The last watermark that came was 3000: rows from before 2000 have no partner.
        let expected = match kind {
            JoinKind::Inner => [0, 2, 0],
            JoinKind::Left => [2000, 2, 998],
            _ => [2000, 0, 998],
        };
        assert_eq!(counts, expected, "{kind:?}");
        assert_eq!((join.state_bytes(), join.spilled_bytes()), (0, 0), "{kind:?}");
    }
}

#[test]
fn pairs_and_rows_without_a_partner_are_emitted_in_slices() {
    let mut harness = kind_of(JoinKind::Left, 0, 5, None);
    let rows = |key: &str| (0..50).map(|row| format!("{key} {row} @1\n")).collect::<String>();
    harness.push(1, &rows("k")).unwrap();
    harness.push(0, "k 1 @1\nk 2 @1\nx 3 @1").unwrap();
    harness.push(0, &rows("y")).unwrap();
    assert_eq!(harness.output().unwrap().lines().count(), 2 * 50);
    assert_eq!(harness.slice_rows_max(), 50, "pairs of one row are emitted together");
    let mut harness = kind_of(JoinKind::Left, 0, 5, None);
    harness.push(0, &rows("y")).unwrap();
    harness.finish().unwrap();
    assert_eq!(harness.output().unwrap().lines().filter(|line| line.starts_with('y')).count(), 50);
    assert_eq!(harness.slice_rows_max() as usize, CHUNK_ROWS);
}
