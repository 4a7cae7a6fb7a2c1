//! Look-ups as of a time: ties, waiting, late rows, clean-up.

use std::sync::atomic::Ordering;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::node::{NodeKind, VersionBound};

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, graph, joined, schema, sorted_rows};
use crate::testing::instances;

/// Left rows `k a t`, versions `k b t`.
fn join(kind: TemporalJoinKind) -> OperatorHarness {
    bounded_join(kind, VersionBound::AtOrBefore)
}

fn bounded_join(kind: TemporalJoinKind, bound: VersionBound) -> OperatorHarness {
    join_with(kind, bound, None)
}

fn join_with(kind: TemporalJoinKind, bound: VersionBound, ttl: Option<i64>) -> OperatorHarness {
    with_memory(kind, bound, ttl, None)
}

/// The same, with so many bytes for its versions.
fn with_memory(
    kind: TemporalJoinKind,
    bound: VersionBound,
    ttl: Option<i64>,
    bytes_max: Option<usize>,
) -> OperatorHarness {
    let (left, right) = (schema("lk:text a:int lt:time"), schema("rk:text b:int rt:time"));
    let (left_keys, right_keys) = (vec![0], vec![0]);
    let node = TemporalJoinNode { left_keys, right_keys, left_time: 2, right_time: 2, bound, kind, ttl };
    let graph = graph(NodeKind::TemporalJoin(node), &[&left, &right], joined(&left, &right));
    OperatorHarness::with_memory(&graph, bytes_max).unwrap()
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

fn check(kind: TemporalJoinKind, script: &str, expected: Expect) {
    let mut harness = join(kind);
    play(&mut harness, script);
    let late = harness.stats().late_rows.load(Ordering::Relaxed);
    expected.assert_eq(&format!("{}late {late}\n", harness.output().unwrap()));
}

#[test]
fn the_newest_version_at_or_before_a_rows_time_joins() {
    let script = "R k 1 @10\nR k 2 @20\nL k 5 @9.999999\nL k 6 @10\nL k 7 @19\nL k 8 @20\nL k 9 @99\nL x 0 @15\nend";
    check(
        TemporalJoinKind::Inner,
        script,
        expect![[r#"
        k 6 @10 k 1 @10
        k 7 @19 k 1 @10
        k 8 @20 k 2 @20
        k 9 @99 k 2 @20
        watermark end
        late 0
    "#]],
    );
    check(
        TemporalJoinKind::Left,
        script,
        expect![[r#"
        k 5 @9.999999 - - -
        k 6 @10 k 1 @10
        x 0 @15 - - -
        k 7 @19 k 1 @10
        k 8 @20 k 2 @20
        k 9 @99 k 2 @20
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn a_version_of_the_very_time_may_not_count() {
    let mut harness = bounded_join(TemporalJoinKind::Left, VersionBound::Before);
    play(&mut harness, "R k 1 @10\nR k 2 @20\nL k 5 @10\nL k 6 @20\nL k 7 @20.000001\nend");
    expect![[r#"
        k 5 @10 - - -
        k 6 @20 k 1 @10
        k 7 @20.000001 k 2 @20
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn a_row_waits_until_no_version_can_come_that_it_would_see() {
    let script = "R k 1 @1\nL k 5 @10\nL watermark 10\nR watermark 10\nR k 2 @10\nR watermark 11\nL watermark 12\nend";
    check(
        TemporalJoinKind::Inner,
        script,
        expect![[r#"
        watermark @10
        k 5 @10 k 2 @10
        watermark @11
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn of_two_versions_with_one_time_the_greater_counts_whichever_comes_first() {
    check(
        TemporalJoinKind::Inner,
        "R k 1 @1\nR k 2 @1\nL k 5 @3\nend",
        expect![[r#"
        k 5 @3 k 2 @1
        watermark end
        late 0
    "#]],
    );
    check(
        TemporalJoinKind::Inner,
        "R k 2 @1\nR k 1 @1\nL k 5 @3\nend",
        expect![[r#"
        k 5 @3 k 2 @1
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn null_keys_match_nothing() {
    check(
        TemporalJoinKind::Inner,
        "R - 1 @1\nL - 5 @3\nend",
        expect![[r#"
        watermark end
        late 0
    "#]],
    );
    check(
        TemporalJoinKind::Left,
        "R - 1 @1\nL - 5 @3\nend",
        expect![[r#"
        - 5 @3 - - -
        watermark end
        late 0
    "#]],
    );
}

#[test]
fn late_rows_and_late_versions_are_counted_and_change_nothing() {
    let script = "R k 1 @1\nR watermark 10\nR k 2 @9\nL watermark 5\nL k 5 @4\nL k 6 @9\nend";
    check(
        TemporalJoinKind::Inner,
        script,
        expect![[r#"
        watermark @5
        k 6 @9 k 1 @1
        watermark @10
        watermark end
        late 2
    "#]],
    );
}

#[test]
fn empty_batches_and_no_versions_at_all() {
    let mut harness = join(TemporalJoinKind::Left);
    harness.push(0, "").unwrap();
    harness.push(1, "").unwrap();
    play(&mut harness, "L k 5 @3\nend");
    expect![[r#"
        k 5 @3 - - -
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn old_versions_leave_the_state_whatever_their_keys() {
    let mut harness = join(TemporalJoinKind::Inner);
    for time in 0..200 {
        play(
            &mut harness,
            &format!("R - 1 @{time}\nR k 1 @{time}\nR k 2 @{time}\nL watermark {time}\nR watermark {time}"),
        );
    }
    assert!(harness.state_bytes() < 20_000, "{} bytes", harness.state_bytes());
    play(&mut harness, "L k 7 @500\nend");
    expect!["k 7 @500 k 2 @199"].assert_eq(&sorted_rows(&harness.output().unwrap()).join("\n"));
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
    #![proptest_config(cases(48))]

    #[test]
    fn every_row_gets_what_a_scan_of_all_versions_finds(
        steps in steps(), before in any::<bool>(), bytes_max in prop::sample::select(vec![None, Some(500), Some(1_500)])
    ) {
        let bound = if before { VersionBound::Before } else { VersionBound::AtOrBefore };
        let mut harness = with_memory(TemporalJoinKind::Left, bound, None, bytes_max);
        let (mut watermarks, mut rows, mut late) = ([i64::MIN; 2], [Vec::new(), Vec::new()], 0);
        for (id, step) in steps.iter().enumerate() {
            match *step {
                Step::Row(side, key, time) => {
                    harness.push(side, &format!("k{key} {id} @{time}")).unwrap();
                    if time < watermarks[side] { late += 1 } else { rows[side].push((key, time, id)) }
                }
                Step::Advance(side, by) => {
                    watermarks[side] = watermarks[side].max(-5) + by;
                    harness.watermark(side, watermarks[side]).unwrap();
                }
            }
        }
        harness.finish().unwrap();
        let mut expected = Vec::new();
        for (key, time, id) in &rows[0] {
            let versions = rows[1].iter().filter(|(other, valid, _)| other == key && (valid < time || (valid == time && !before)));
            let newest = versions.max_by_key(|(_, valid, id)| (*valid, *id));
            let found = newest.map_or(String::from("- - -"), |(key, valid, id)| format!("k{key} {id} @{valid}"));
            expected.push(format!("k{key} {id} @{time} {found}"));
        }
        expected.sort();
        prop_assert_eq!(sorted_rows(&harness.output().unwrap()), expected);
        prop_assert_eq!(harness.stats().late_rows.load(Ordering::Relaxed), late);
    }
}

#[test]
fn rows_and_versions_count_as_state_for_as_long_as_they_are_held() {
    let mut harness = join(TemporalJoinKind::Inner);
    assert_eq!(harness.state_bytes(), 0);
    play(&mut harness, "R k 1 @10");
    let version = harness.state_bytes();
    play(&mut harness, "L k 5 @12");
    let waiting = harness.state_bytes();
    play(&mut harness, "L watermark 20\nR watermark 20");
    assert!(0 < version && version < waiting, "{version} {waiting}");
    assert_eq!(harness.state_bytes(), version, "the row has been joined, and the version may be asked for again");
}

#[test]
fn another_number_of_instances_goes_on_with_what_was_held() {
    let mut script = String::new();
    for row in 0..60 {
        let side = ["L", "R"][row % 2];
        script.push_str(&format!("{side} k{} {row} @{row}\n", row / 2 % 7));
        if row % 6 == 5 {
            script.push_str(&format!("{side} watermark {}\n", row - 4));
        }
    }
    script.push_str("end");
    let routes = [Partitioning::Hash(vec![0]), Partitioning::Hash(vec![0])];
    let join = join(TemporalJoinKind::Left);
    instances::check_rescaling(&join, &routes, &instances::steps(&join, &script));
}

#[test]
fn a_version_is_found_for_its_time_to_live() {
    let empty = join_with(TemporalJoinKind::Left, VersionBound::AtOrBefore, Some(10_000_000)).state_bytes();
    // Rows that come together find what rows that come one by one do.
    for separately in ["", "L watermark 19\nR watermark 20\nL watermark 20\n"] {
        let script = format!(
            "R k 1 @1\nR j 1 @9\nL watermark 1\nR watermark 10\nL k 1 @11\nL k 2 @11.000001\nL j 3 @19\n{separately}\
             R k 2 @25\nL k 4 @24\nL k 5 @25\nL j 6 @25\nL watermark 30\nR watermark 30\nL k 7 @35\nL k 8 @36\n\
             L watermark 60\nR watermark 60"
        );
        let mut harness = join_with(TemporalJoinKind::Left, VersionBound::AtOrBefore, Some(10_000_000));
        play(&mut harness, &script);
        let rows: Vec<String> =
            harness.output().unwrap().lines().filter(|line| !line.starts_with("watermark")).map(String::from).collect();
        assert_eq!(
            rows,
            [
                "k 1 @11 k 1 @1",
                "k 2 @11.000001 - - -",
                "j 3 @19 j 1 @9",
                "k 4 @24 - - -",
                "j 6 @25 - - -",
                "k 5 @25 k 2 @25",
                "k 7 @35 k 2 @25",
                "k 8 @36 - - -",
            ]
        );
        assert_eq!(harness.state_bytes(), empty, "nothing is held of keys that have no versions for so long");
    }
}

/// A version of each of these keys.
fn versions(keys: std::ops::Range<i64>, at: i64) -> String {
    keys.map(|key| format!("k{key} {key} @{at}\n")).collect()
}

#[test]
fn versions_stay_within_the_memory_and_come_back_for_rows() {
    const MEMORY: usize = 60_000;
    let at_or_before = VersionBound::AtOrBefore;
    let mut join = with_memory(TemporalJoinKind::Inner, at_or_before, None, Some(MEMORY)).without_twin();
    for start in (0..3000).step_by(100) {
        join.push(1, &versions(start..start + 100, 10)).unwrap();
        assert!(join.state_bytes() <= MEMORY, "{} bytes after {start}", join.state_bytes());
    }
    assert!(join.spilled_bytes() > 0);
    assert_eq!(join.written_rows().unwrap(), 3000, "all of them");
    join.push(1, "k7 70 @20\nk3000 1 @20").unwrap();
    join.push(0, "k7 0 @15\nk7 0 @25\nk2999 0 @25\nk3001 0 @25").unwrap();
    for port in 0..2 {
        join.watermark(port, 30).unwrap();
    }
    assert!(join.state_bytes() <= MEMORY, "{} bytes", join.state_bytes());
    expect![[r#"
        k7 0 @15 k7 7 @10
        k2999 0 @25 k2999 2999 @10
        k7 0 @25 k7 70 @20
        watermark @30
    "#]]
    .assert_eq(&join.output().unwrap());
    let written = join.written_rows().unwrap();
    assert!((2..=3).contains(&written), "{written}: what has come, perhaps with another version of its key");
    assert_eq!(join.written_rows().unwrap(), 0);
}

#[test]
fn rows_that_wait_stay_within_the_memory_and_get_their_versions() {
    const MEMORY: usize = 60_000;
    let mut join = with_memory(TemporalJoinKind::Inner, VersionBound::AtOrBefore, None, Some(MEMORY)).without_twin();
    join.push(1, &versions(0..100, 10)).unwrap();
    for start in (0..3000).step_by(100) {
        let rows: String = (start..start + 100).map(|n| format!("k{} {n} @{}\n", n % 100, 20 + n)).collect();
        join.push(0, &rows).unwrap();
        join.watermark(0, 20 + start).unwrap();
        assert!(join.state_bytes() <= MEMORY, "{} bytes after {start}", join.state_bytes());
    }
    assert!(join.spilled_bytes() > 0);
    assert_eq!(join.written_rows().unwrap(), 3100);
    join.push(1, "k7 70 @1500").unwrap();
    join.watermark(1, 1520).unwrap();
    assert!(join.written_rows().unwrap() <= 2, "what has come, and what is left of a block that was cut");
    join.restart().unwrap();
    assert!(join.state_bytes() <= MEMORY, "{} bytes", join.state_bytes());
    join.finish().unwrap();
    let rows = join.output().unwrap();
    let found = |version: &str| rows.lines().filter(|row| row.ends_with(version)).count();
    assert_eq!((found(" k7 70 @1500"), found(" k8 8 @10")), (15, 15), "of 1500 rows that were not out before");
    assert_eq!(join.spilled_bytes(), 0);
}
