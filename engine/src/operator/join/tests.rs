//! Updating joins by hand, and against a join of everything that is there, for every kind.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::with_change_column;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::NodeKind;

use datafusion::logical_expr::col;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, graph, joined, schema};
use crate::testing::instances::{check_rescaling, steps};

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

/// Left `k a`, right `k b`, joined on `k`, and where `a < b` if wanted. Both are changelogs.
fn join(kind: JoinKind, filtered: bool, ttl: Option<i64>) -> OperatorHarness {
    with_memory(kind, filtered, ttl, None)
}

/// The same, with so many bytes for its rows.
fn with_memory(kind: JoinKind, filtered: bool, ttl: Option<i64>, bytes_max: Option<usize>) -> OperatorHarness {
    let (left, right) = (schema("k:int a:int"), schema("j:int b:int"));
    let pairs = joined(&left, &right);
    let output = match kind.single_side() {
        None => &pairs,
        Some(JoinSide::Left) => &left,
        Some(JoinSide::Right) => &right,
    };
    let output = with_change_column(output);
    let node = JoinNode {
        kind,
        left_keys: vec![0],
        right_keys: vec![0],
        times: [None, None],
        pairs: StreamSchema(pairs),
        filter: filtered.then(|| StreamExpr(col("a").lt(col("b")))),
        ttl: [ttl, ttl],
    };
    let inputs = [&with_change_column(&left), &with_change_column(&right)];
    OperatorHarness::with_memory(&graph(NodeKind::Join(node), &inputs, output), bytes_max).unwrap()
}

/// `l: + k a`, `r: - k b` and so on, a line each.
#[track_caller]
fn check(kind: JoinKind, script: &str, expected: Expect) {
    let mut join = join(kind, false, None);
    for line in script.lines().map(str::trim) {
        let (side, change) = line.split_once(": ").unwrap();
        let (sign, row) = change.split_once(' ').unwrap();
        let op = if sign == "+" { 0 } else { 3 };
        join.push(usize::from(side == "r"), &format!("{row} {op}")).unwrap();
    }
    expected.assert_eq(&join.output().unwrap());
}

#[test]
fn rows_join_whatever_comes_first_and_go_when_either_goes() {
    check(
        JoinKind::Inner,
        "l: + 1 10\nr: + 1 20\nr: + 1 21\nl: - 1 10\nl: + 1 11",
        expect![[r#"
            +I 1 10 1 20
            +I 1 10 1 21
            -D 1 10 1 21
            -D 1 10 1 20
            +I 1 11 1 21
            +I 1 11 1 20
        "#]],
    );
}

#[test]
fn an_outer_row_has_its_partner_or_nulls() {
    check(
        JoinKind::Left,
        "l: + 1 10\nr: + 1 20\nr: + 1 21\nr: - 1 20\nr: - 1 21\nl: - 1 10",
        expect![[r#"
            +I 1 10 - -
            -D 1 10 - -
            +I 1 10 1 20
            +I 1 10 1 21
            -D 1 10 1 20
            -D 1 10 1 21
            +I 1 10 - -
            -D 1 10 - -
        "#]],
    );
}

#[test]
fn semi_and_anti_joins_give_a_row_once_however_many_partners_it_has() {
    let script = "l: + 1 10\nr: + 1 20\nr: + 1 21\nr: - 1 20\nr: - 1 21\nl: + 2 30\nl: - 2 30";
    check(
        JoinKind::LeftSemi,
        script,
        expect![[r#"
            +I 1 10
            -D 1 10
        "#]],
    );
    check(
        JoinKind::LeftAnti,
        script,
        expect![[r#"
            +I 1 10
            -D 1 10
            +I 1 10
            +I 2 30
            -D 2 30
        "#]],
    );
}

#[test]
fn null_keys_match_nothing() {
    check(
        JoinKind::Full,
        "l: + - 10\nr: + - 20\nl: - - 10",
        expect![[r#"
            +I - 10 - -
            +I - - - 20
            -D - 10 - -
        "#]],
    );
}

#[test]
fn a_row_that_was_never_there_cannot_go() {
    let mut join = join(JoinKind::Inner, false, None);
    join.push(0, "1 10 0").unwrap();
    let error = join.push(0, "1 11 3").unwrap_err();
    assert!(error.to_string().contains("k=1, a=11"), "{error}");
}

#[test]
fn rows_older_than_their_time_to_live_are_dropped() {
    let mut join = join(JoinKind::Inner, false, Some(10_000_000));
    for port in 0..2 {
        join.watermark(port, 100).unwrap();
    }
    join.push(0, "1 10 0\n2 20 0").unwrap();
    for port in 0..2 {
        join.watermark(port, 105).unwrap();
    }
    join.push(0, "3 30 0").unwrap();
    let before = join.state_bytes();
    for port in 0..2 {
        join.watermark(port, 114).unwrap();
    }
    assert!(join.state_bytes() < before);
    join.output().unwrap();
    join.push(1, "1 1 0\n2 2 0\n3 3 0").unwrap();
    expect![[r#"
        +I 3 30 3 3
    "#]]
    .assert_eq(&join.output().unwrap());
}

/// A row of either side that comes or goes: key, value.
type Change = (bool, bool, Option<i64>, i64);

/// What a script leaves of each side, each row as often as it is there.
fn rows_left(changes: &[Change]) -> [Vec<(Option<i64>, i64)>; 2] {
    let mut sides = [Vec::new(), Vec::new()];
    for (left, comes, key, value) in changes {
        let side = &mut sides[usize::from(!left)];
        if *comes {
            side.push((*key, *value));
        } else if let Some(place) = side.iter().position(|row| *row == (*key, *value)) {
            side.remove(place);
        }
    }
    sides
}

fn naive(kind: JoinKind, filtered: bool, [left, right]: &[Vec<(Option<i64>, i64)>; 2]) -> Vec<String> {
    let show = |value: Option<i64>| value.map_or(String::from("-"), |value| value.to_string());
    let one = |row: &(Option<i64>, i64)| format!("{} {}", show(row.0), row.1);
    let partners =
        |l: &(Option<i64>, i64), r: &(Option<i64>, i64)| l.0.is_some() && l.0 == r.0 && (!filtered || l.1 < r.1);
    let mut rows = Vec::new();
    if kind.pairs() {
        for l in left {
            rows.extend(right.iter().filter(|r| partners(l, r)).map(|r| format!("{} {}", one(l), one(r))));
        }
    }
    for l in left {
        let alone = !right.iter().any(|r| partners(l, r));
        match kind.single_side() {
            None if alone && kind.keeps_unmatched(JoinSide::Left) => rows.push(format!("{} - -", one(l))),
            Some(JoinSide::Left) if alone == kind.keeps_unmatched(JoinSide::Left) => rows.push(one(l)),
            _ => {}
        }
    }
    for r in right {
        let alone = !left.iter().any(|l| partners(l, r));
        match kind.single_side() {
            None if alone && kind.keeps_unmatched(JoinSide::Right) => rows.push(format!("- - {}", one(r))),
            Some(JoinSide::Right) if alone == kind.keeps_unmatched(JoinSide::Right) => rows.push(one(r)),
            _ => {}
        }
    }
    rows.sort();
    rows
}

/// What a changelog leaves.
fn merged(output: &str) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for line in output.lines() {
        let (op, row) = line.split_once(' ').unwrap();
        if op.starts_with('+') {
            rows.push(row.to_owned());
        } else {
            let place = rows.iter().position(|known| known == row);
            rows.remove(place.unwrap_or_else(|| panic!("{row} was never there")));
        }
    }
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn what_is_left_is_the_join_of_what_is_left(
        changes in proptest::collection::vec((any::<bool>(), prop::bool::weighted(0.7), prop::option::weighted(0.9, 0..3i64), 0..3i64), 0..40),
        kind in 0..KINDS.len(),
        filtered in any::<bool>(),
        cut in 1..6usize,
        bytes_max in prop::sample::select(vec![None, Some(2_000), Some(4_000)]),
    ) {
        let kind = KINDS[kind];
        // A row that is not there cannot go.
        let mut valid: Vec<Change> = Vec::new();
        for change in changes {
            let there = rows_left(&valid);
            if change.1 || there[usize::from(!change.0)].contains(&(change.2, change.3)) {
                valid.push(change);
            }
        }
        let mut join = with_memory(kind, filtered, None, bytes_max);
        for batch in valid.chunk_by(|a, b| a.0 == b.0).flat_map(|same| same.chunks(cut)) {
            let rows = batch.iter().map(|(_, comes, key, value)| {
                let key = key.map_or(String::from("-"), |key| key.to_string());
                format!("{key} {value} {}", if *comes { 0 } else { 3 })
            });
            join.push(usize::from(!batch[0].0), &rows.collect::<Vec<_>>().join("\n")).unwrap();
        }
        prop_assert_eq!(merged(&join.output().unwrap()), naive(kind, filtered, &rows_left(&valid)));
        for port in 0..2 {
            join.watermark(port, 1).unwrap();
        }
    }
}

#[test]
fn state_is_counted_and_falls_with_the_time_to_live() {
    let mut join = join(JoinKind::Left, false, Some(10_000_000));
    let empty = join.state_bytes();
    let rows = |from: i64| (from..from + 50).map(|k| format!("{k} {k} 0")).collect::<Vec<_>>().join("\n");
    join.push(0, &rows(0)).unwrap();
    let one_side = join.state_bytes();
    join.push(1, &rows(0)).unwrap();
    let both = join.state_bytes();
    assert!(empty < one_side && one_side < both, "{empty} {one_side} {both}");
    // The rows had no time but that of the watermark, which comes now; the next are as old as it.
    for (port, seconds) in [(0, 100), (1, 100), (0, 200), (1, 200)] {
        join.watermark(port, seconds).unwrap();
    }
    assert!(join.state_bytes() < one_side, "{one_side} became {}", join.state_bytes());
}

#[test]
fn another_number_of_instances_goes_on_with_what_was_held() {
    let mut script = String::new();
    for row in 0..60 {
        let side = ["L", "R"][row % 2];
        script.push_str(&format!("{side} {} {row} 0\n", row / 2 % 7));
        if let Some(old) = row.checked_sub(20) {
            script.push_str(&format!("{side} {} {old} 3\n", old / 2 % 7));
        }
    }
    let routes = [Partitioning::Hash(vec![0]), Partitioning::Hash(vec![0])];
    for kind in KINDS {
        let join = join(kind, true, None);
        check_rescaling(&join, &routes, &steps(&join, &script));
    }
}

#[test]
fn rows_are_dropped_at_the_same_time_by_another_number_of_instances() {
    let mut script = String::new();
    for row in 0..60 {
        script.push_str(&format!("{} {} {row} 0\n", ["L", "R"][row % 2], row / 2 % 7));
        if row % 5 == 0 {
            script.push_str(&format!("L watermark {row}\nR watermark {row}\n"));
        }
    }
    let routes = [Partitioning::Hash(vec![0]), Partitioning::Hash(vec![0])];
    let join = join(JoinKind::Left, false, Some(10_000_000));
    check_rescaling(&join, &routes, &steps(&join, &script));
}

/// Rows with these keys, and the same numbers as values.
fn rows(keys: std::ops::Range<i64>) -> String {
    keys.map(|key| format!("{key} {key} 0\n")).collect()
}

#[test]
fn what_has_changed_is_written_wherever_it_is() {
    for bytes_max in [None, Some(1), Some(20_000)] {
        let mut join = with_memory(JoinKind::Full, false, None, bytes_max).without_twin();
        for port in 0..2 {
            join.push(port, &rows(0..200)).unwrap();
        }
        assert_eq!(join.spilled_bytes() > 0, bytes_max.is_some());
        assert_eq!(join.written_rows().unwrap(), 400, "all of them");
        assert_eq!(join.written_rows().unwrap(), 0, "nothing has changed");
        // A row goes and one comes; their partner had one, none, and one again.
        join.push(0, "3 3 3\n3 4 0\n300 1 0").unwrap();
        assert_eq!(join.written_rows().unwrap(), 3, "with {bytes_max:?}");
        assert_eq!(join.written_rows().unwrap(), 0, "it has been written");
        join.push(1, "3 3 3").unwrap();
        assert_eq!(join.written_rows().unwrap(), 1, "with {bytes_max:?}");
    }
}

#[test]
fn rows_on_disk_are_dropped_with_their_ids() {
    let run = |bytes_max| {
        let mut join = with_memory(JoinKind::Left, false, Some(10_000_000), bytes_max);
        for (seconds, keys) in [(100, 0..30), (104, 30..50), (112, 50..60), (120, 0..1)] {
            for port in 0..2 {
                join.watermark(port, seconds).unwrap();
                join.push(port, &rows(keys.clone())).unwrap();
            }
            assert!(bytes_max.is_none() || join.spilled_bytes() > 0);
        }
        join.output().unwrap();
        join.push(0, &rows(0..60)).unwrap();
        merged(&join.output().unwrap())
    };
    let all = run(None);
    assert_eq!(all.iter().filter(|row| !row.ends_with("- -")).count(), 11, "{all:?}");
    assert_eq!(run(Some(1)), all);
    assert_eq!(run(Some(800)), all);
}
