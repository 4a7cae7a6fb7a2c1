//! Sizes by hand, and what each method promises.

use super::*;

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn split(method: &str, fraction: Option<&str>) -> Result<DataSplit> {
    let mut given = options(&[(METHOD, method)]);
    given.extend(fraction.map(|fraction| (EVAL_FRACTION.to_owned(), fraction.to_owned())));
    DataSplit::from_options(&given, Method::NoSplit)
}

/// How many rows are learnt, held out and for the test.
fn sizes(parts: &[Part]) -> [usize; 3] {
    [Part::Learnt, Part::HeldOut, Part::Test].map(|wanted| parts.iter().filter(|part| **part == wanted).count())
}

#[test]
fn the_last_rows_are_held_out() {
    let parts = split("SEQ", Some("0.25")).unwrap().split(10, "rows", 0).unwrap();
    assert_eq!(parts, Parts { learnt: (0..7).collect(), held_out: vec![7, 8, 9] });
    let parts = split("no_split", None).unwrap().split(3, "rows", 0).unwrap();
    assert_eq!(parts, Parts { learnt: vec![0, 1, 2], held_out: Vec::new() });
}

#[test]
fn an_order_says_which_rows_are_last() {
    let seq = options(&[(METHOD, "seq"), (EVAL_FRACTION, "0.4"), (TEST_FRACTION, "0.2"), (COLUMN, "t")]);
    let seq = DataSplit::from_options(&seq, Method::NoSplit).unwrap();
    let parts = seq.parts(5, &RowKeys::Order(vec![4, 2, 0, 1, 3]), 0).unwrap();
    assert_eq!(parts, [Part::HeldOut, Part::HeldOut, Part::Learnt, Part::Test, Part::Learnt]);
}

#[test]
fn drawn_rows_are_held_out_by_seed_and_number() {
    let random = split("random", None).unwrap();
    let parts = random.split(10_000, "rows", 1).unwrap();
    assert!((1900..2100).contains(&parts.held_out.len()), "{}", parts.held_out.len());
    // More rows behind them change none.
    let more = random.split(20_000, "rows", 1).unwrap();
    assert_eq!(more.held_out[..parts.held_out.len()], parts.held_out);
    assert_ne!(random.split(10_000, "rows", 2).unwrap(), parts);
    // Rows for the test are taken from those learnt alone.
    let tested = DataSplit { test_fraction: 0.3, ..random }.parts(10_000, &RowKeys::Nothing, 1).unwrap();
    let of = |wanted| (0..10_000_u32).filter(|row| tested[*row as usize] == wanted).collect::<Vec<_>>();
    assert_eq!(of(Part::HeldOut), parts.held_out);
    assert!((2850..3150).contains(&of(Part::Test).len()), "{}", of(Part::Test).len());
    let mut all = [parts.learnt, parts.held_out].concat();
    all.sort_unstable();
    assert_eq!(all, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn each_class_gives_its_part() {
    // 100 rows of class 0, 50 of class 1, and one of class 2, which has nothing to give.
    let classes: Vec<u32> = (0..151).map(|row| if row == 150 { 2 } else { u32::from(row % 3 == 0) }).collect();
    let stratified = DataSplit { test_fraction: 0.1, ..split("stratified", None).unwrap() };
    let parts = stratified.parts(151, &RowKeys::Kinds(classes.clone()), 3).unwrap();
    let of_class = |class| (0..151).filter(|row| classes[*row] == class).map(|row| parts[row]).collect::<Vec<_>>();
    assert_eq!([0, 1, 2].map(|class| sizes(&of_class(class))), [[70, 20, 10], [35, 10, 5], [1, 0, 0]]);
    assert_ne!(stratified.parts(151, &RowKeys::Kinds(classes), 4).unwrap(), parts);
}

#[test]
fn groups_stay_together() {
    // 20 groups of 5 to 24 rows.
    let groups: Vec<u32> = (0..20).flat_map(|group| std::iter::repeat_n(group, 5 + group as usize)).collect();
    let rows = groups.len();
    let given = options(&[(METHOD, "grouped"), (COLUMN, "g"), (TEST_FRACTION, "0.2")]);
    let grouped = DataSplit::from_options(&given, Method::NoSplit).unwrap();
    let mut seen = Vec::new();
    for seed in 0..20 {
        let parts = grouped.parts(rows as u32, &RowKeys::Kinds(groups.clone()), seed).unwrap();
        for group in 0..20 {
            let own: Vec<_> = (0..rows).filter(|row| groups[*row] == group).map(|row| parts[row]).collect();
            assert!(own.iter().all(|part| *part == own[0]), "{group}: {own:?}");
        }
        let [_, held_out, test] = sizes(&parts);
        // 290 rows: no part has more than a fifth, and each is full up to a group.
        assert!((40..=58).contains(&held_out) && (34..=58).contains(&test), "{held_out} {test}");
        seen.push(parts);
    }
    seen.dedup();
    assert_eq!(seen.len(), 20);
    let error = grouped.parts(10, &RowKeys::Kinds(vec![0; 10]), 0).unwrap_err().to_string();
    assert_eq!(
        error,
        "option data_split_col = 'g' is not valid; expected a column of whose groups some have 0.2 of 10 rows at most"
    );
}

#[test]
fn each_row_is_held_out_once() {
    let check = |split: &DataSplit, keys: &RowKeys, rows: usize| {
        let folds = Folds::new(split, &vec![Part::Learnt; rows], keys, 5, 9).unwrap();
        let held_out: Vec<Vec<usize>> = (0..folds.count())
            .map(|fold| {
                let parts = folds.parts(fold);
                assert_eq!(sizes(&parts)[..2].iter().sum::<usize>(), rows);
                (0..rows).filter(|row| parts[*row] == Part::HeldOut).collect()
            })
            .collect();
        let mut all = held_out.concat();
        all.sort_unstable();
        assert_eq!(all, (0..rows).collect::<Vec<_>>());
        held_out
    };
    let random = check(&split("random", None).unwrap(), &RowKeys::Nothing, 103);
    assert_eq!(random.iter().map(Vec::len).collect::<Vec<_>>(), [21, 21, 21, 20, 20]);

    let classes: Vec<u32> = (0..103).map(|row| u32::from(row % 10 == 0)).collect();
    let stratified = check(&split("stratified", None).unwrap(), &RowKeys::Kinds(classes.clone()), 103);
    for fold in stratified {
        let rare = fold.iter().filter(|row| classes[**row] == 1).count();
        assert!((2..=3).contains(&rare), "{rare}");
    }

    let groups: Vec<u32> = (0..103).map(|row| row * row % 17).collect();
    let given = options(&[(METHOD, "grouped"), (COLUMN, "g")]);
    let grouped = DataSplit::from_options(&given, Method::NoSplit).unwrap();
    for fold in check(&grouped, &RowKeys::Kinds(groups.clone()), 103) {
        let own: std::collections::BTreeSet<u32> = fold.iter().map(|row| groups[*row]).collect();
        assert_eq!(fold.len(), groups.iter().filter(|group| own.contains(group)).count());
        assert!((12..=25).contains(&fold.len()), "{}", fold.len());
    }
}

#[test]
fn folds_in_order_are_judged_by_what_was_before() {
    let mut parts = vec![Part::Learnt; 13];
    parts[12] = Part::Test;
    let folds = Folds::new(&split("seq", None).unwrap(), &parts, &RowKeys::Nothing, 3, 0).unwrap();
    let places = |fold: u8| {
        let parts = folds.parts(fold);
        [Part::Learnt, Part::HeldOut].map(|wanted| (0..13).filter(|row| parts[*row] == wanted).collect::<Vec<_>>())
    };
    assert_eq!(places(0), [(0..3).collect::<Vec<_>>(), (3..6).collect()]);
    assert_eq!(places(2), [(0..9).collect::<Vec<_>>(), (9..12).collect()]);
    let few = Folds::new(&split("seq", None).unwrap(), &parts[..3], &RowKeys::Nothing, 3, 0).unwrap_err();
    assert_eq!(
        few.to_string(),
        "option cv_folds = '3' is not valid; expected fewer folds than there are rows to learn, 3"
    );
}

#[test]
fn what_splits_nothing_is_an_error() {
    for (method, fraction) in [("half", None), ("seq", Some("1")), ("seq", Some("x")), ("no_split", Some("0.5"))] {
        assert!(split(method, fraction).is_err(), "{method} {fraction:?}");
    }
    let error = split("seq", Some("0.1")).unwrap().split(4, "rows", 0).unwrap_err().to_string();
    assert!(error.ends_with("a fraction by which 4 rows make two parts"), "{error}");
    let wrong =
        |pairs: &[(&str, &str)]| DataSplit::from_options(&options(pairs), Method::NoSplit).unwrap_err().to_string();
    for (given, expected) in [
        (
            vec![(METHOD, "grouped")],
            "option data_split_method = 'grouped' is not valid; expected data_split_col = 'a column' beside it",
        ),
        (
            vec![(METHOD, "random"), (COLUMN, "t")],
            "option data_split_col = 't' is not valid; expected data_split_method = 'seq', 'custom' or 'grouped' beside it",
        ),
        (
            vec![(METHOD, "custom"), (COLUMN, "t"), (EVAL_FRACTION, "0.1")],
            "option data_split_eval_fraction = '0.1' is not valid; expected data_split_method = 'random', 'seq', 'stratified' or 'grouped' beside it",
        ),
        (
            vec![(METHOD, "random"), (TEST_FRACTION, "0.9")],
            "option data_split_test_fraction = '0.9' is not valid; expected a number from 0 to 0.799999",
        ),
        (
            vec![(METHOD, "halves")],
            "option data_split_method = 'halves' is not valid; expected no_split, random, seq, custom, stratified, grouped",
        ),
    ] {
        assert_eq!(wrong(&given), expected);
    }
}
