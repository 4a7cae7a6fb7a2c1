//! The numbers of NumPy, policies that value iteration finds, ends of episodes, snapshots, and bad input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{QLearning, Values};
use crate::actions::testing::{answers, bits, check_damaged, check_goes_on, noise, numbers, try_decisions};
use crate::goldens::{assert_all_close, expected};
use crate::model::testing::check_batches;
use crate::{FeatureSchema, OnlineModel, RejectReason, Result, learning_columns};

const TERMINAL: (&str, &str) = ("terminal_column", "done");
const LINEAR: (&str, &str) = ("q_function", "linear");

/// FrozenLake's 4 x 4 cells: start, frozen, hole, goal.
const LAKE: &[u8; 16] = b"SFFFFHFHFFFHHFFG";

/// One step of an agent.
#[derive(Clone, Copy)]
struct Step {
    state: usize,
    action: usize,
    gain: f64,
    after: usize,
    is_last: bool,
}

fn text_options(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn learner(options: &[(&str, &str)], features: &RecordBatch) -> QLearning {
    QLearning::new(&text_options(options), &FeatureSchema::from_arrow(&features.schema()).unwrap()).unwrap()
}

/// As `lake_step` in `goldens/decisions.py`: the cell after, and whether it ends the episode. Reward is for the goal.
fn lake_step(cell: usize, action: usize, drawn: usize) -> (usize, f64, bool) {
    let (row, column) = (cell / 4, cell % 4);
    let (row, column) = match (action + [0, 3, 1][drawn]) % 4 {
        0 => (row, column.saturating_sub(1)),
        1 => ((row + 1).min(3), column),
        2 => (row, (column + 1).min(3)),
        _ => (row.saturating_sub(1), column),
    };
    let after = row * 4 + column;
    (after, f64::from(u8::from(LAKE[after] == b'G')), b"GH".contains(&LAKE[after]))
}

/// As `walk` in `goldens/decisions.py`.
fn walk(rows: usize, slippery: bool) -> Vec<Step> {
    let mut cell = 0;
    let mut steps = Vec::new();
    for row in 0..rows {
        let action = bits(row, 0) % 4;
        let (after, gain, is_last) = lake_step(cell, action, if slippery { bits(row, 1) % 3 } else { 0 });
        steps.push(Step { state: cell, action, gain, after, is_last });
        cell = if is_last { 0 } else { after };
    }
    steps
}

/// As `chain` in `goldens/decisions.py`.
fn chain(rows: usize) -> Vec<Step> {
    let mut state = 0;
    let mut steps = Vec::new();
    for row in 0..rows {
        let action = bits(row, 2) % 2;
        let after = if action == 1 { (state + 1).min(5) } else { 0 };
        let gain = if after == 5 { 10.0 } else { [0.2, -0.1][action] };
        steps.push(Step { state, action, gain, after, is_last: after == 5 });
        state = if after == 5 { 0 } else { after };
    }
    steps
}

/// Transitions whose states are one category, or the numbers of a cell's row and column.
fn transitions(steps: &[Step], is_linear: bool) -> (RecordBatch, Float64Array) {
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    let texts = |of: fn(&Step) -> usize| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(steps.iter().map(|step| of(step).to_string())))
    };
    let numbers = |of: fn(&Step) -> usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(steps.iter().map(|step| of(step) as f64 / 3.0)))
    };
    if is_linear {
        columns.push(("row", numbers(|step| step.state / 4)));
        columns.push(("column", numbers(|step| step.state % 4)));
        columns.push(("next_column", numbers(|step| step.after % 4)));
        columns.push(("next_row", numbers(|step| step.after / 4)));
    } else {
        columns.push(("cell", texts(|step| step.state)));
        columns.push(("next_cell", texts(|step| step.after)));
    }
    columns.push(("action", texts(|step| step.action)));
    columns.push(("done", Arc::new(BooleanArray::from_iter(steps.iter().map(|step| Some(step.is_last))))));
    let gains = Float64Array::from_iter_values(steps.iter().map(|step| step.gain));
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    (RecordBatch::try_from_iter_with_nullable(columns).unwrap(), gains)
}

/// The values of actions in states, in the order of their numbers.
fn table(model: &QLearning, states: usize, actions: usize) -> Vec<f64> {
    let Values::Tabular(table) = &model.values else { panic!("no table") };
    let value = |place: usize| {
        let state = (place / actions).to_string();
        let state = table.state(&format!("{}:{state}", state.len()));
        let action = model.actions.number(&(place % actions).to_string());
        action.map_or(0.0, |action| table.value(state, action))
    };
    (0..states * actions).map(value).collect()
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn tables_equal_numpy_to_the_last_bit() {
    for (case, steps, (states, actions), options) in [
        ("lake_False", walk(5000, false), (16, 4), [("discount", "0.95"), ("learn_rate", "0.1")]),
        ("lake_True", walk(5000, true), (16, 4), [("discount", "0.95"), ("learn_rate", "0.1")]),
        ("lake_visits", walk(5000, true), (16, 4), [("discount", "0.9"), ("learn_rate", "visits")]),
        ("chain", chain(3000), (6, 2), [("discount", "0.9"), ("learn_rate", "0.2")]),
    ] {
        let (features, gains) = transitions(&steps, false);
        let mut model = learner(&[options[0], options[1], TERMINAL], &features);
        model.learn(&features, &gains).unwrap();
        assert_eq!(table(&model, states, actions), expected(case, "values"), "{case}");
    }
}

#[test]
fn linear_values_equal_numpy() {
    let (features, gains) = transitions(&walk(3000, false), true);
    let options = [LINEAR, TERMINAL, ("discount", "0.9"), ("learn_rate", "0.05"), ("standardize", "false")];
    let mut model = learner(&options, &features);
    model.learn(&features, &gains).unwrap();
    let Values::Linear(linear) = &model.values else { panic!("no linear function") };
    let number = |action: usize| model.actions.number(&action.to_string()).unwrap();
    let units = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let weights: Vec<f64> = (0..4).flat_map(|action| units.map(|unit| linear.value(&unit, number(action)))).collect();
    assert_all_close(&weights, &expected("lake_linear", "weights"), 1e-12);
}

/// Of each action in a state what it may come to: the probability, the reward and the next state.
type Outcomes = Vec<Vec<(f64, f64, usize)>>;

/// The values of states by value iteration, given what each action leads to: probabilities, rewards and states after, of
/// which those past the end end the episode.
fn optimum(outcomes: &[Outcomes], discount: f64) -> Vec<f64> {
    let mut values = vec![0.0; outcomes.len()];
    for _ in 0..5000 {
        values = outcomes
            .iter()
            .map(|actions| actions.iter().map(|to| worth(to, &values, discount)).fold(f64::MIN, f64::max))
            .collect();
    }
    values
}

fn worth(outcomes: &[(f64, f64, usize)], values: &[f64], discount: f64) -> f64 {
    let after = |state: usize| values.get(state).copied().unwrap_or(0.0);
    outcomes.iter().map(|(share, gain, state)| share * (gain + discount * after(*state))).sum()
}

/// The values of states if each takes this action.
fn value_of_policy(outcomes: &[Outcomes], policy: &[usize], discount: f64) -> Vec<f64> {
    let followed: Vec<_> =
        outcomes.iter().zip(policy).map(|(actions, action)| vec![actions[*action].clone()]).collect();
    optimum(&followed, discount)
}

fn lake_outcomes(slippery: bool) -> Vec<Outcomes> {
    let drawn: &[usize] = if slippery { &[0, 1, 2] } else { &[0] };
    let outcome = |cell, action, drawn_: usize| {
        let (after, gain, is_last) = lake_step(cell, action, drawn_);
        (1.0 / drawn.len() as f64, gain, if is_last { usize::MAX } else { after })
    };
    let of_action = |cell, action| drawn.iter().map(|drawn| outcome(cell, action, *drawn)).collect();
    (0..16).map(|cell| (0..4).map(|action| of_action(cell, action)).collect()).collect()
}

/// The action that a model says for each state; 0 of one that it has never seen.
fn policy(model: &QLearning, states: usize) -> Vec<usize> {
    let cells: ArrayRef = Arc::new(StringArray::from_iter_values((0..states).map(|state| state.to_string())));
    let said = answers(model, &RecordBatch::try_from_iter([("cell", cells)]).unwrap());
    said[0].as_string::<i32>().iter().map(|action| action.map_or(0, |action| action.parse().unwrap())).collect()
}

#[test]
fn values_and_policies_are_those_of_value_iteration() {
    let (features, gains) = transitions(&walk(60_000, false), false);
    let mut model = learner(&[("discount", "0.95"), ("learn_rate", "0.5"), TERMINAL], &features);
    model.learn(&features, &gains).unwrap();
    let best = optimum(&lake_outcomes(false), 0.95);
    let found = table(&model, 16, 4);
    for cell in (0..16).filter(|cell| !b"GH".contains(&LAKE[*cell])) {
        let value = found[cell * 4..][..4].iter().copied().fold(f64::MIN, f64::max);
        assert!((value - best[cell]).abs() < 1e-9, "cell {cell}: {value}, not {}", best[cell]);
    }
    let reached = value_of_policy(&lake_outcomes(false), &policy(&model, 16), 0.95);
    assert!((reached[0] - 0.95_f64.powi(5)).abs() < 1e-12);

    // On ice steps go aside, and values never rest: the policy is as good as the best one to a percent.
    let (features, gains) = transitions(&walk(200_000, true), false);
    let mut model = learner(&[("discount", "0.9"), ("learn_rate", "0.01"), TERMINAL], &features);
    model.learn(&features, &gains).unwrap();
    let (best, reached) =
        (optimum(&lake_outcomes(true), 0.9)[0], value_of_policy(&lake_outcomes(true), &policy(&model, 16), 0.9)[0]);
    assert!(reached > 0.99 * best, "{reached} of {best}");
}

#[test]
fn two_steps_by_hand() {
    // Q(a, go) = 0.5 * 4 = 2. Then Q(b, go) = 0.5 * (1 + 0.9 * 2) = 1.4. In a state that nobody left, nothing is known.
    let cells = |names: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(names.to_vec())) };
    let columns = [("cell", cells(["a", "b"])), ("next_cell", cells(["c", "a"])), ("action", cells(["go", "go"]))];
    let features = RecordBatch::try_from_iter(columns).unwrap();
    let options = [("learn_rate", "0.5"), ("discount", "0.9")];
    let mut model = try_decisions("q_learning", &options, &features, &DataType::Int64).unwrap();
    assert_eq!(answers(&*model, &features)[0].null_count(), 2);
    let report = model.learn(&features, &Int64Array::from(vec![4, 1])).unwrap();
    assert_eq!((report.rows, numbers(&report.said[0]).values().to_vec()), (2, vec![0.0, 0.0]));
    let asked: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("c"), None]));
    let said = answers(&*model, &RecordBatch::try_from_iter_with_nullable([("cell", asked, true)]).unwrap());
    assert_eq!(said[0].as_ref(), &StringArray::from(vec![Some("go"), None, None]) as &dyn Array);
    assert_all_close(&numbers(&said[1]).values()[..1], &[1.4], 1e-15);
    assert_eq!(said[1].null_count(), 2);
    // What is said of a row that is learnt is the value of its action before.
    let report = model.learn(&features, &Int64Array::from(vec![0, 0])).unwrap();
    assert_all_close(numbers(&report.said[0]).values(), &[2.0, 1.4], 1e-15);
}

#[test]
fn the_next_state_of_a_last_row_is_not_read() {
    let features = |next: f64, done: Option<bool>| {
        let number = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
        let columns: [(&str, ArrayRef); 4] = [
            ("x", number(1.0)),
            ("next_x", number(next)),
            ("action", Arc::new(BooleanArray::from(vec![true]))),
            ("done", Arc::new(BooleanArray::from(vec![done]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    };
    let gain = Float64Array::from(vec![1.0]);
    let options = [LINEAR, TERMINAL, ("standardize", "false"), ("learn_rate", "0.25"), ("discount", "0.5")];
    let mut model = learner(&options, &features(0.0, None));
    let rejected = model.learn(&features(f64::NAN, None), &gain).unwrap().rejected;
    assert_eq!(rejected[0].reason, RejectReason::NotANumber { column: "next_x".into() });
    assert_eq!(model.learn(&features(f64::NAN, Some(true)), &gain).unwrap().rows, 1);
    // w = (0.25, 0.25) by then; of the next state (1, 3) that is 1, and of this one 0.5: w += 0.25 (1 + 0.5 - 0.5) (1, 1).
    assert_eq!(numbers(&model.learn(&features(3.0, None), &gain).unwrap().said[0]).values().to_vec(), [0.5]);
    assert_eq!(numbers(&answers(&model, &features(0.0, None))[1]).values().to_vec(), [1.0]);
}

#[test]
fn batch_boundaries_do_not_change_a_bit_and_a_restored_model_goes_on() {
    for (options, is_linear) in [
        (&[TERMINAL, ("learn_rate", "visits")][..], false),
        (&[TERMINAL, LINEAR][..], true),
        (&[TERMINAL, LINEAR, ("max_categories", "5")][..], false),
    ] {
        let (features, gains) = transitions(&walk(700, true), is_linear);
        let model = try_decisions("q_learning", options, &features, &DataType::Float64).unwrap();
        check_batches(&model.snapshot().unwrap(), &features, &gains);
        check_goes_on(model, &features, &gains, 100);
    }
}

#[test]
fn rows_past_the_bounds_are_reported_and_leave_no_trace() {
    let (features, gains) = transitions(&walk(300, true), false);
    let mut model = learner(&[("max_states", "3"), ("max_actions", "2"), TERMINAL], &features);
    let report = model.learn(&features, &gains).unwrap();
    let reasons: Vec<_> = report.rejected.iter().map(|rejected| rejected.reason.to_string()).collect();
    assert!(reasons.contains(&"the state is a new one after the first 3".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"the action is a new one after the first 2".to_owned()), "{reasons:?}");
    assert_eq!(report.rows + reasons.len() as u64, 300);
    let learnt: Vec<u32> =
        (0..300).filter(|row| report.rejected.iter().all(|rejected| rejected.row != *row as usize)).collect();
    let kept = arrow::compute::take_record_batch(&features, &UInt32Array::from(learnt.clone())).unwrap();
    let kept_gains = Float64Array::from_iter_values(learnt.iter().map(|row| gains.value(*row as usize)));
    let mut without = learner(&[("max_states", "3"), ("max_actions", "2"), TERMINAL], &features);
    assert!(without.learn(&kept, &kept_gains).unwrap().rejected.is_empty());
    assert_eq!(without.snapshot().unwrap(), model.snapshot().unwrap());
    check_error(
        model.merge(&[&without.snapshot().unwrap()]),
        expect!["models of type 'q_learning' cannot be merged: one task has to learn all rows"],
    );
}

#[test]
fn no_numbers_make_it_explode() {
    for standardize in ["true", "false"] {
        let number = |column: usize| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values((0..300).map(|row| 1e50 * noise(row, column))))
        };
        let actions = StringArray::from_iter_values((0..300).map(|row| (row % 3).to_string()));
        let columns = [("x", number(0)), ("next_x", number(1)), ("action", Arc::new(actions) as ArrayRef)];
        let features = RecordBatch::try_from_iter(columns).unwrap();
        let options = [LINEAR, ("standardize", standardize), ("learn_rate", "1"), ("discount", "1")];
        let mut model = learner(&options, &features);
        for _ in 0..3 {
            model.learn(&features, number(2).as_ref()).unwrap();
        }
        assert!(numbers(&answers(&model, &features)[1]).values().iter().all(|value| value.is_finite()));
    }
}

#[test]
fn the_planner_learns_which_columns_are_read_and_which_are_said() {
    let columns = ["next_x", "x", "next_stop", "next_next_stop", "action", "done"];
    let learning = |options: &[(&str, &str)]| learning_columns("q_learning", &text_options(options), &columns);
    assert_eq!(learning(&[TERMINAL]).unwrap(), ["next_x", "next_next_stop", "action", "done"]);
    check_error(
        learning(&[]),
        expect![
            "option next_prefix = 'next_' is not valid; expected a prefix with which each feature has a column of the next state; 'done' has none"
        ],
    );
    check_error(
        learning(&[("terminal_column", "end")]),
        expect![
            "option terminal_column = 'end' is not valid; expected one of next_x, x, next_stop, next_next_stop, action, done"
        ],
    );
    check_error(
        learning(&[TERMINAL, ("next_prefix", "then_")]),
        expect![
            "option next_prefix = 'then_' is not valid; expected a prefix with which each feature has a column of the next state; 'next_x' has none"
        ],
    );
    let fields = QLearning::output_fields("gain");
    assert_eq!(
        fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["predicted_action", "predicted_gain"]
    );
}

#[test]
fn what_cannot_be_made_or_learnt_is_an_error() {
    let (cells, gains) = transitions(&walk(10, false), false);
    let (places, _) = transitions(&walk(10, false), true);
    let model = |options: &[(&str, &str)], features: &RecordBatch| {
        try_decisions("q_learning", options, features, &DataType::Float64)
    };
    check_error(
        model(&[TERMINAL], &places),
        expect![
            "option q_function = 'tabular' is not valid; expected linear, as the feature 'row' is a number; or cast it to VARCHAR"
        ],
    );
    check_error(
        model(&[("q_function", "deep")], &cells),
        expect!["option q_function = 'deep' is not valid; expected tabular or linear"],
    );
    check_error(
        model(&[("learn_rate", "0")], &cells),
        expect!["option learn_rate = '0' is not valid; expected a number from 0.000000001 to 1"],
    );
    check_error(
        model(&[LINEAR, ("learn_rate", "visits")], &places),
        expect!["option learn_rate = 'visits' is not valid; expected a number with q_function = 'linear'"],
    );
    check_error(
        model(&[LINEAR, ("max_states", "9")], &places),
        expect!["option max_states = '9' is not valid; expected q_function = 'tabular' beside it"],
    );
    check_error(
        model(&[("standardize", "false")], &cells),
        expect!["option standardize = 'false' is not valid; expected q_function = 'linear' beside it"],
    );
    check_error(
        model(&[("discount", "1.1")], &cells),
        expect!["option discount = '1.1' is not valid; expected a number from 0 to 1"],
    );
    check_error(
        model(&[("next_prefix", "")], &cells),
        expect![
            "option next_prefix = '' is not valid; expected what tells the columns of the next state from those of this one"
        ],
    );
    check_error(
        model(&[("terminal_column", "action")], &cells),
        expect!["option terminal_column = 'action' is not valid; expected another column than action_column"],
    );
    check_error(
        model(&[LINEAR, ("max_categories", "100000"), ("max_actions", "1000")], &cells),
        expect!["option max_categories = '100000' is not valid; expected at most 10000 for 1000 actions"],
    );
    check_error(
        model(&[("epsilon", "0.1")], &cells),
        expect![
            "model type 'q_learning' has no option 'epsilon'; valid options are q_function, learn_rate, discount, action_column, next_prefix, terminal_column, max_actions, max_states, standardize, max_categories"
        ],
    );
    let mut made = model(&[TERMINAL], &cells).unwrap();
    check_error(
        made.learn(&cells.project(&[0, 2, 3]).unwrap(), &gains),
        expect!["feature column 'next_cell' is missing; the batch has cell, action, done"],
    );
    check_error(made.learn(&cells, &gains.slice(0, 9)), expect!["the batch has 10 rows but 9 labels"]);
    let mut wrong = model(&[("terminal_column", "next_cell")], &cells.project(&[0, 1, 2]).unwrap()).unwrap();
    check_error(
        wrong.learn(&cells, &gains),
        expect![
            "feature column 'next_cell' has the unsupported type Utf8; terminal_column is a BOOLEAN: write a condition, such as done = 1"
        ],
    );
    assert_eq!(made.rows_learnt(), 0);
    let report = made.learn(&cells.slice(0, 0), &gains.slice(0, 0)).unwrap();
    assert_eq!((report.rows, report.said[0].len()), (0, 0));
}

proptest! {
    #[test]
    fn damaged_bytes_are_an_error_or_a_working_model(
        is_linear in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, gains) = transitions(&walk(60, true), is_linear);
        let options: &[_] = if is_linear { &[LINEAR, TERMINAL] } else { &[TERMINAL] };
        let mut model = learner(options, &features);
        model.learn(&features, &gains).unwrap();
        check_damaged(&model.snapshot().unwrap(), changes, QLearning::restore, (&features, &gains));
    }
}
