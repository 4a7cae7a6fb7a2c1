//! The numbers of MABWiser and NumPy, regret, chance, merging, snapshots, and bad input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::ContextualBandit;
use super::row::encode;
use crate::actions::testing::{answers, bits, check_damaged, check_goes_on, noise, numbers, try_decisions};
use crate::feature::row_reader::RowReader;
use crate::goldens::{assert_all_close, expected};
use crate::model::testing::check_batches;
use crate::{FeatureSchema, OnlineModel, RejectReason, Result, learning_columns, restore};

const POLICIES: [&[(&str, &str)]; 3] = [
    &[("policy", "linucb"), ("alpha", "1.5")],
    &[("policy", "thompson"), ("alpha", "1"), ("seed", "7")],
    &[("policy", "epsilon_greedy"), ("epsilon", "0.2"), ("standardize", "false")],
];

fn text_options(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn bandit(options: &[(&str, &str)], features: &RecordBatch) -> ContextualBandit {
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    ContextualBandit::new(&text_options(options), &schema).unwrap()
}

/// As `context` in `goldens/decisions.py`.
fn context(row: usize) -> ([f64; 3], usize) {
    ([noise(row, 0), 10.0 * noise(row, 1) + 50.0, 0.1 * noise(row, 2)], bits(row, 3) % 3)
}

fn expected_reward(row: usize, action: usize) -> f64 {
    let ([a, b, c], city) = context(row);
    let of_city = if city == 1 { 0.5 * noise(action, 94) } else { 0.0 };
    0.3 * noise(action, 90)
        + a * noise(action, 91)
        + (b - 50.0) / 10.0 * noise(action, 92)
        + 5.0 * c * noise(action, 93)
        + of_city
}

fn reward(row: usize, action: usize) -> f64 {
    expected_reward(row, action) + 0.2 * noise(row, 4)
}

/// Rows with these numbers, whose actions these are.
fn batch(rows: &[usize], number: impl Fn(usize) -> [f64; 3], actions: &[usize]) -> RecordBatch {
    let numbers = |place: usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| number(*row)[place])))
    };
    let cities = StringArray::from_iter_values(rows.iter().map(|row| format!("c{}", context(*row).1)));
    let taken = StringArray::from_iter_values(actions.iter().map(|action| format!("a{action}")));
    let columns: [(&str, ArrayRef); 5] = [
        ("a", numbers(0)),
        ("city", Arc::new(cities)),
        ("b", numbers(1)),
        ("action", Arc::new(taken)),
        ("c", numbers(2)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

/// As `decisions` in `goldens/decisions.py`.
fn decisions(range: std::ops::Range<usize>) -> (RecordBatch, Float64Array) {
    let rows: Vec<usize> = range.collect();
    let actions: Vec<usize> = rows.iter().map(|row| bits(*row, 5) % 4).collect();
    let rewards = rows.iter().zip(&actions).map(|(row, action)| reward(*row, *action));
    (batch(&rows, |row| context(row).0, &actions), Float64Array::from_iter_values(rewards))
}

/// The weights of an action by its name.
fn weights(model: &ContextualBandit, action: &str) -> Vec<f64> {
    model.arm(model.actions.number(action).unwrap(), &model.scales()).unwrap().weights.clone()
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn regressions_bounds_and_choices_equal_mabwiser_and_numpy() {
    let (features, labels) = decisions(0..600);
    for (case, standardize) in [("bandit_plain", "false"), ("bandit_scaled", "true")] {
        let options = [("alpha", "1.5"), ("l2_reg", "0.7"), ("standardize", standardize)];
        let mut model = bandit(&options, &features);
        model.learn(&features, &labels).unwrap();
        let scales = model.scales();
        for action in 0..4 {
            let name = format!("a{action}");
            assert_all_close(&weights(&model, &name), &expected(case, &format!("weights_{action}")), 1e-9);
            let mut reader = RowReader::new(model.context.schema(), &features).unwrap();
            let arm = model.arm(model.actions.number(&name).unwrap(), &scales).unwrap();
            let deviation = |row| {
                let mut row = encode(&model.context, &mut reader, row, None).unwrap();
                model.scale(&scales, &mut row.values);
                arm.deviation(&row.values)
            };
            let found: Vec<f64> = (0..5).map(deviation).collect();
            assert_all_close(&found, &expected(case, &format!("deviations_{action}")), 1e-9);
        }
        let said = answers(&model, &features.slice(0, 200));
        let chosen: Vec<f64> =
            said[0].as_string::<i32>().iter().map(|name| name.unwrap()[1..].parse().unwrap()).collect();
        assert_eq!(chosen, expected(case, "chosen"));
        assert!(numbers(&said[2]).iter().all(|probability| probability == Some(1.0)));
    }
}

#[test]
fn regret_along_a_stream_is_that_of_the_paper_s_algorithm() {
    let scaled = |row: usize| {
        let ([a, b, c], _) = context(row);
        [a, (b - 50.0) / 10.0, 10.0 * c]
    };
    let first = batch(&[0], scaled, &[0]);
    let mut model = bandit(&[("alpha", "0.5"), ("standardize", "false")], &first);
    let (mut total, mut sums) = (0.0, Vec::new());
    for row in 0..2000 {
        let features = batch(&[row], scaled, &[0]);
        let action = if row < 10 {
            row
        } else {
            let choice = model.choices(&features).unwrap()[0].unwrap();
            model.actions.names()[choice.action][1..].parse().unwrap()
        };
        let learnt = batch(&[row], scaled, &[action]);
        model.learn(&learnt, &Float64Array::from(vec![reward(row, action)])).unwrap();
        let best = (0..10).map(|action| expected_reward(row, action)).fold(f64::NEG_INFINITY, f64::max);
        total += best - expected_reward(row, action);
        sums.push(total);
    }
    let theirs = expected("bandit_linucb", "regret");
    let ours = [sums[999], sums[1999]];
    assert!(
        ours.iter().zip(&theirs).all(|(ours, theirs)| (ours / theirs - 1.0).abs() < 0.1),
        "{ours:?} and {theirs:?}"
    );
    // The second thousand rows cost far less than the first.
    assert!(ours[1] - ours[0] < 0.5 * ours[0], "{ours:?}");
}

#[test]
fn two_decisions_by_hand() {
    // x = (1, 2) brings 3 and x = (1, 0) brings 1: A = [[3, 2], [2, 5]], b = [4, 6], w = [8, 10] / 11.
    let columns = |numbers: Vec<f64>, actions: Vec<i64>| {
        let columns: [(&str, ArrayRef); 2] =
            [("x", Arc::new(Float64Array::from(numbers))), ("arm", Arc::new(Int64Array::from(actions)))];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let features = columns(vec![2.0, 0.0], vec![7, 7]);
    let options = [("action_column", "arm"), ("standardize", "false")];
    let mut model = try_decisions("contextual_bandit", &options, &features, &DataType::Float64).unwrap();
    assert_eq!(answers(&*model, &features)[0].null_count(), 2);
    let report = model.learn(&features, &Float64Array::from(vec![3.0, 1.0])).unwrap();
    assert_eq!((report.rows, numbers(&report.said[0]).values().to_vec()), (2, vec![0.0, 0.0]));
    // Rows to be answered need no column of actions.
    let said = answers(&*model, &features.project(&[0]).unwrap());
    assert_eq!(said[0].as_string::<i32>().value(0), "7");
    assert_all_close(numbers(&said[1]).values(), &[28.0 / 11.0, 8.0 / 11.0], 1e-14);
    // What is said of a row that is learnt is of its own action: nothing is known of another.
    let report = model.learn(&columns(vec![2.0, 2.0], vec![7, 8]), &Float64Array::from(vec![1.0, 1.0])).unwrap();
    assert_all_close(numbers(&report.said[0]).values(), &[28.0 / 11.0, 0.0], 1e-14);
}

#[test]
fn rewards_follow_from_the_weights_that_are_shown() {
    let (features, labels) = decisions(0..300);
    let mut model = bandit(&[], &features);
    model.learn(&features, &labels).unwrap();
    let table = model.weights_table().unwrap();
    let (actions, weights) = (table["action"].as_string::<i32>(), numbers(&table["weight"]));
    let inputs = table["processed_input"].as_string::<i32>();
    let said = answers(&model, &features);
    for row in 0..20 {
        let ([a, b, c], city) = context(row);
        let mut sum = 0.0;
        for line in (0..table.num_rows()).filter(|line| actions.value(*line) == said[0].as_string::<i32>().value(row)) {
            sum += match inputs.value(line) {
                "a" => a * weights.value(line),
                "b" => b * weights.value(line),
                "c" => c * weights.value(line),
                "city" => {
                    let categories = table["category_weights"].as_list::<i32>().value(line);
                    let names = categories.as_struct().column(0).as_string::<i32>();
                    let place = names.iter().position(|name| name == Some(format!("c{city}").as_str())).unwrap();
                    numbers(categories.as_struct().column(1)).value(place)
                }
                _ => weights.value(line),
            };
        }
        assert!((sum - numbers(&said[1]).value(row)).abs() < 1e-12, "row {row}: {sum}");
    }
}

#[test]
fn a_merged_model_is_the_one_that_learnt_all_rows() {
    let (features, labels) = decisions(0..600);
    for options in POLICIES {
        let mut whole = bandit(options, &features);
        whole.learn(&features, &labels).unwrap();
        let mut parts = [(0, 100), (100, 199), (299, 301)].map(|(start, rows)| {
            let mut part = bandit(options, &features);
            part.learn(&features.slice(start, rows), &labels.slice(start, rows)).unwrap();
            part
        });
        let snapshots: Vec<_> = parts[1..].iter().map(|part| part.snapshot().unwrap()).collect();
        let mut untouched = bandit(options, &features);
        parts[0].merge(&snapshots.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        untouched.merge(&[&parts[0].snapshot().unwrap()]).unwrap();
        for merged in [&parts[0], &untouched] {
            assert_eq!((merged.rows(), merged.actions.names()), (600, whole.actions.names()));
            for action in ["a0", "a1", "a2", "a3"] {
                assert_all_close(&weights(merged, action), &weights(&whole, action), 1e-10);
            }
            let (ours, theirs) = (answers(merged, &features), answers(&whole, &features));
            assert_eq!(ours[0].as_ref(), theirs[0].as_ref());
            assert_all_close(numbers(&ours[2]).values(), numbers(&theirs[2]).values(), 1e-8);
        }
    }
    let (mut own, other) = (bandit(&[], &features), bandit(&[("alpha", "2")], &features));
    check_error(
        own.merge(&[&other.snapshot().unwrap()]),
        expect!["cannot merge models that differ in options; merge only copies of one model"],
    );
}

#[test]
fn merging_joins_actions_and_categories_that_the_other_has_not_seen() {
    let (features, labels) = decisions(0..300);
    let of = |keep: fn(usize) -> bool| {
        let rows: Vec<usize> = (0..300).filter(|row| keep(*row)).collect();
        let actions: Vec<usize> = rows.iter().map(|row| bits(*row, 5) % 4).collect();
        let rewards = Float64Array::from_iter_values(rows.iter().map(|row| labels.value(*row)));
        let mut part = bandit(&[], &features);
        part.learn(&batch(&rows, |row| context(row).0, &actions), &rewards).unwrap();
        part
    };
    // No city and no action is in both parts, and the cities of the second come in another order.
    let mut merged = of(|row| context(row).1 == 2 && bits(row, 5) % 4 < 2);
    merged.merge(&[&of(|row| context(row).1 != 2 && bits(row, 5) % 4 >= 2).snapshot().unwrap()]).unwrap();
    let whole = of(|row| (context(row).1 == 2) == (bits(row, 5) % 4 < 2));
    let (ours, theirs) = (answers(&merged, &features), answers(&whole, &features));
    assert_eq!(ours[0].as_ref(), theirs[0].as_ref());
    assert_all_close(numbers(&ours[1]).values(), numbers(&theirs[1]).values(), 1e-10);
}

#[test]
fn batch_boundaries_do_not_change_a_bit_and_a_restored_model_goes_on() {
    let (features, labels) = decisions(0..700);
    for options in POLICIES {
        let model = try_decisions("contextual_bandit", options, &features, &DataType::Float64).unwrap();
        check_batches(&model.snapshot().unwrap(), &features, &labels);
        check_goes_on(model, &features, &labels, 100);
        let mut model = bandit(options, &features);
        model.learn(&features, &labels).unwrap();
        let whole = model.choices(&features).unwrap();
        let parts = (0..700).map(|row| model.choices(&features.slice(row, 1)).unwrap()[0]);
        assert!(parts.eq(whole));
    }
}

#[test]
fn the_probability_of_an_action_is_how_often_it_is_drawn() {
    let (features, labels) = decisions(0..60);
    let units: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3000));
    let same = arrow::compute::take_record_batch(&features, &arrow::array::UInt32Array::from(vec![9; 3000])).unwrap();
    let with_units = |batch: &RecordBatch, units: ArrayRef| {
        let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let columns = names.into_iter().zip(batch.columns().iter().cloned()).chain([(String::from("user"), units)]);
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    };
    let learnt = with_units(&features, Arc::new(Int64Array::from(vec![None; 60])));
    let asked = with_units(&same, units);
    for options in &POLICIES[1..] {
        let options = [*options, &[("unit_column", "user")]].concat();
        let mut model = bandit(&options, &learnt);
        model.learn(&learnt, &labels).unwrap();
        let (mut drawn, mut said) = (BTreeMap::<_, f64>::new(), BTreeMap::new());
        for choice in model.choices(&asked).unwrap().into_iter().flatten() {
            *drawn.entry(choice.action).or_default() += 1.0 / 3000.0;
            said.insert(choice.action, choice.probability);
        }
        assert!(drawn.len() == 4 && (said.values().sum::<f64>() - 1.0).abs() < 1e-8, "{said:?}");
        for (action, share) in drawn {
            let off = (said[&action] * (1.0 - said[&action]) / 3000.0).sqrt();
            assert!((share - said[&action]).abs() < 5.0 * off, "{options:?}: {share} and {}", said[&action]);
        }
    }
}

#[test]
fn probabilities_of_epsilon_greedy_are_exact() {
    let (features, labels) = decisions(0..400);
    let mut model = bandit(POLICIES[2], &features);
    model.learn(&features, &labels).unwrap();
    let said = answers(&model, &features);
    let (best, other) = (1.0 - 0.2 + 0.2 / 4.0, 0.2 / 4.0);
    let of_best = numbers(&said[2]).iter().flatten().filter(|probability| *probability == best).count();
    let of_others = numbers(&said[2]).iter().flatten().filter(|probability| *probability == other).count();
    // 85% of 400 rows, within five standard deviations of 7.
    assert!(of_best + of_others == 400 && of_best.abs_diff(340) < 36, "{of_best}");
}

#[test]
fn draws_change_with_what_is_learnt_and_with_the_seed() {
    let (features, labels) = decisions(0..400);
    let drawn = |seed: &str, rows: usize| {
        let mut model = bandit(&[("policy", "epsilon_greedy"), ("epsilon", "1"), ("seed", seed)], &features);
        model.learn(&features.slice(0, rows), &labels.slice(0, rows)).unwrap();
        answers(&model, &features)[0].as_string::<i32>().clone()
    };
    let same = |a: &StringArray, b: &StringArray| a.iter().zip(b).filter(|(a, b)| a == b).count();
    let first = drawn("1", 399);
    assert_eq!(drawn("1", 399), first);
    // Four actions, all alike: a quarter of 400 rows agrees by chance, within five standard deviations of 8.7.
    for other in [drawn("2", 399), drawn("1", 400)] {
        assert!(same(&first, &other).abs_diff(100) < 44, "{}", same(&first, &other));
    }
}

#[test]
fn missing_numbers_are_at_the_mean_so_far() {
    let columns = |numbers: Vec<Option<f64>>| {
        let actions: ArrayRef = Arc::new(StringArray::from(vec!["a"; numbers.len()]));
        let columns = [("x", Arc::new(Float64Array::from(numbers)) as ArrayRef, true), ("action", actions, true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    // The number that is missing first is then at 1e9, which is the mean of what has come, and does not count as 0.
    let missing = columns(vec![None, Some(1e9), Some(1e9 + 2.0), None]);
    let given = columns(vec![Some(1e9), Some(1e9), Some(1e9 + 2.0), Some(1e9 + 1.0)]);
    let rewards = Float64Array::from(vec![1.0, 2.0, 6.0, 3.0]);
    let sums = |features: &RecordBatch| {
        let mut model = bandit(&[], features);
        model.learn(features, &rewards).unwrap();
        model.arms[0].sums.clone()
    };
    assert_eq!(sums(&missing), sums(&given));
    let mut model = bandit(&[], &missing);
    model.learn(&missing, &rewards).unwrap();
    // Both copies of a merge agree on the rows in which all is missing, whichever came first.
    let mut nothing = bandit(&[], &missing);
    nothing.learn(&missing.slice(0, 1), &rewards.slice(0, 1)).unwrap();
    let mut other = model.clone();
    other.merge(&[&nothing.snapshot().unwrap()]).unwrap();
    nothing.merge(&[&model.snapshot().unwrap()]).unwrap();
    assert_all_close(&weights(&nothing, "a"), &weights(&other, "a"), 1e-12);
    // Without `standardize` it is 0.
    let mut plain = bandit(&[("standardize", "false")], &missing);
    plain.learn(&missing.slice(0, 1), &rewards.slice(0, 1)).unwrap();
    assert_all_close(&weights(&plain, "a"), &[0.5, 0.0], 1e-15);
}

#[test]
fn rows_that_cannot_be_used_are_reported_and_leave_no_trace() {
    let actions = StringArray::from(vec![Some("x"), Some("y"), None, Some("z"), Some("y"), Some("x")]);
    let numbers = Float64Array::from(vec![Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(f64::INFINITY), Some(5.0)]);
    let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("action", Arc::new(actions))];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let rewards = Float64Array::from(vec![Some(1.0), Some(f64::NAN), Some(1.0), Some(1.0), Some(1.0), Some(2.0)]);
    let mut with_bad = bandit(&[("max_actions", "1")], &features);
    let report = with_bad.learn(&features, &rewards).unwrap();
    let rejected: Vec<_> = report.rejected.into_iter().map(|rejected| (rejected.row, rejected.reason)).collect();
    assert_eq!(
        rejected,
        [
            (1, RejectReason::BadLabel),
            (2, RejectReason::NullAction { column: "action".into() }),
            (3, RejectReason::TooManyActions { actions_max: 1 }),
            (4, RejectReason::TooLarge { column: "n".into() }),
        ]
    );
    assert_eq!((report.rows, report.said[0].null_count()), (2, 4));
    let mut without = bandit(&[("max_actions", "1")], &features);
    for row in [0, 5] {
        without.learn(&features.slice(row, 1), &rewards.slice(row, 1)).unwrap();
    }
    assert_eq!(with_bad.snapshot().unwrap(), without.snapshot().unwrap());
    assert!(answers(&with_bad, &features).iter().all(|column| column.is_null(4) && column.is_valid(2)));
}

#[test]
fn no_numbers_make_it_explode() {
    for (magnitude, standardize) in [(1e50, "true"), (1e50, "false"), (1e-30, "true"), (0.0, "true")] {
        let numbers = |row: usize| [magnitude, -magnitude * (row % 3) as f64 / 2.0, magnitude * noise(row, 1)];
        let rows: Vec<usize> = (0..100).collect();
        let features = batch(&rows, numbers, &rows.iter().map(|row| row % 3).collect::<Vec<_>>());
        let rewards = Float64Array::from_iter_values(rows.iter().map(|row| 1e50 * noise(*row, 2)));
        for policy in ["linucb", "thompson"] {
            let options = [("policy", policy), ("l2_reg", "0.000000001"), ("standardize", standardize)];
            let mut model = bandit(&options, &features);
            model.learn(&features, &rewards).unwrap();
            let said = answers(&model, &features);
            assert!(said[1..].iter().all(numbers_are_finite), "{magnitude}");
            restore(&model.snapshot().unwrap()).unwrap();
        }
    }
}

fn numbers_are_finite(array: &ArrayRef) -> bool {
    array.null_count() == 0 && numbers(array).values().iter().all(|number| number.is_finite())
}

#[test]
fn the_planner_learns_which_columns_are_read_and_which_are_said() {
    let columns = ["a", "city", "action", "arm"];
    let learning = |options: &[(&str, &str)]| learning_columns("contextual_bandit", &text_options(options), &columns);
    assert_eq!(learning(&[("action_column", "arm")]).unwrap(), ["arm"]);
    check_error(
        learning(&[("action_column", "choice")]),
        expect!["option action_column = 'choice' is not valid; expected one of a, city, action, arm"],
    );
    assert!(learning_columns("linear_reg", &BTreeMap::new(), &columns).unwrap().is_empty());
    let fields = ContextualBandit::output_fields("gain");
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["predicted_action", "predicted_gain", "action_probability"]);
}

#[test]
fn what_cannot_be_made_or_learnt_is_an_error() {
    let (features, labels) = decisions(0..10);
    let model = |options: &[(&str, &str)]| try_decisions("contextual_bandit", options, &features, &DataType::Float64);
    check_error(
        model(&[("policy", "ucb")]),
        expect!["option policy = 'ucb' is not valid; expected linucb, thompson or epsilon_greedy"],
    );
    check_error(
        model(&[("alpha", "-1")]),
        expect!["option alpha = '-1' is not valid; expected a number from 0 to 1000000000"],
    );
    check_error(
        model(&[("epsilon", "0.1")]),
        expect!["option epsilon = '0.1' is not valid; expected policy = 'epsilon_greedy' beside it"],
    );
    check_error(
        model(&[("unit_column", "a")]),
        expect!["option unit_column = 'a' is not valid; expected policy = 'thompson' or 'epsilon_greedy' beside it"],
    );
    check_error(
        model(&[("policy", "thompson"), ("unit_column", "user")]),
        expect!["option unit_column = 'user' is not valid; expected one of a, city, b, c"],
    );
    check_error(
        model(&[("max_categories", "10000"), ("max_actions", "1000")]),
        expect![
            "option max_actions = '1000' is not valid; expected at most 0 for 10004 weights an action; max_categories makes them fewer"
        ],
    );
    check_error(
        model(&[("gamma", "1")]),
        expect![
            "model type 'contextual_bandit' has no option 'gamma'; valid options are policy, alpha, epsilon, l2_reg, standardize, seed, action_column, unit_column, max_actions, max_categories"
        ],
    );
    check_error(
        try_decisions("contextual_bandit", &[], &features.project(&[3]).unwrap(), &DataType::Float64),
        expect!["a model needs at least one feature column"],
    );
    check_error(
        try_decisions("contextual_bandit", &[], &features, &DataType::Utf8),
        expect!["label column 'label' has the unsupported type Utf8; cast it to DOUBLE PRECISION"],
    );
    let mut made = model(&[]).unwrap();
    check_error(
        made.learn(&features.project(&[0, 1, 2, 4]).unwrap(), &labels),
        expect!["feature column 'action' is missing; the batch has a, city, b, c"],
    );
    check_error(made.learn(&features, &labels.slice(0, 9)), expect!["the batch has 10 rows but 9 labels"]);
    assert_eq!(made.rows_learnt(), 0);
    let report = made.learn(&features.slice(0, 0), &labels.slice(0, 0)).unwrap();
    assert_eq!((report.rows, report.said[0].len()), (0, 0));
}

proptest! {
    #[test]
    fn damaged_bytes_are_an_error_or_a_working_model(
        policy in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = decisions(0..20);
        let mut model = bandit(POLICIES[policy], &features);
        model.learn(&features, &labels).unwrap();
        check_damaged(&model.snapshot().unwrap(), changes, ContextualBandit::restore, (&features, &labels));
    }
}
