//! Predictions that only rise with a number, or only fall.

use proptest::prelude::*;

use super::*;

#[test]
fn constrained_classes_are_told_apart_as_by_scikit_learn() {
    let (features, labels) = rare(20_000);
    let options = [("monotone_constraints", "x0:1, x1:-1")];
    // LightGBM has 0.103_41, 0.908_43 and 0.137_84.
    check_two_classes(&features, &labels, &options, [0.098_89, 0.921_15, 0.133_75], [0.002, 0.003, 0.003]);
    let (features, labels) = mixed(6000);
    let options = [("monotone_constraints", "x:-1, y:1")];
    // LightGBM has 0.627_49, 0.691_58 and 0.625_63.
    check_two_classes(&features, &labels, &options, [0.622_07, 0.683_79, 0.631_57], [0.01, 0.015, 0.01]);
}

#[test]
fn constrained_numbers_are_predicted_as_by_scikit_learn() {
    let (features, labels) = data_set("diabetes");
    let [(features, labels), (others, wanted)] = halves(&features, &labels);
    let options = [("monotone_constraints", "x2:1,x3:1,x6:-1,x8:1")];
    let report = fit(REGRESSOR, &options, &features, &Float64Array::from(labels)).unwrap();
    let mut sums = RegressionSums::default();
    let numbers = said(&report, &others).labels;
    let numbers = numbers.as_primitive::<Float64Type>();
    wanted.iter().zip(numbers.values()).for_each(|(label, number)| sums.add(*label, *number));
    // LightGBM has 29.25 and 57.24.
    let found = [metric(&report, "rmse"), sums.rmse().unwrap()];
    assert!((found[0] - 29.09).abs() < 1.0 && (found[1] - 57.67).abs() < 1.5, "{found:?}");
}

/// Two numbers, sometimes missing, and categories; and labels that follow no direction.
fn wild(seed: u64) -> (RecordBatch, Vec<f64>) {
    let draws = crate::batch::draws::Draws::new(seed, b"the test", 0);
    let number = |row: u64, column: u64| (draws.bits(row * 8 + column) >> 11) as f64 / (1_u64 << 53) as f64;
    let numbers = |column: u64| -> ArrayRef {
        let value = |row: u64| (number(row, column + 4) > 0.1).then(|| (number(row, column) * 50.0).round());
        Arc::new((0..400).map(value).collect::<Float64Array>())
    };
    let category = |row: u64| format!("c{}", draws.bits(row * 8 + 2) % 9);
    let categories: ArrayRef = Arc::new(StringArray::from_iter_values((0..400).map(category)));
    let label = |row: u64| {
        let [price, age] = [number(row, 0) * 9.0, number(row, 1) * 9.0];
        price.sin() * age.cos() + (draws.bits(row * 8 + 2) % 9) as f64 / 9.0 + number(row, 3)
    };
    let columns = [("price", numbers(0)), ("kind", categories), ("age", numbers(1))];
    (
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap(),
        (0..400).map(label).collect(),
    )
}

/// What is said of the first rows while one of their numbers goes through all values from below the least to above the largest.
fn swept(report: &FitReport, features: &RecordBatch, column: usize) -> Vec<Vec<f64>> {
    let rows = 60;
    let answers = (-1..=52).map(|value| {
        let mut columns = features.slice(0, rows).columns().to_vec();
        columns[column] = Arc::new(Float64Array::from(vec![f64::from(value); rows]));
        let swept = RecordBatch::try_new(features.schema(), columns).unwrap();
        said(report, &swept).labels.as_primitive::<Float64Type>().values().to_vec()
    });
    let answers: Vec<Vec<f64>> = answers.collect();
    (0..rows).map(|row| answers.iter().map(|answers| answers[row]).collect()).collect()
}

fn rises(answers: &[f64]) -> bool {
    answers.windows(2).all(|pair| pair[0] <= pair[1])
}

fn falls(answers: &[f64]) -> bool {
    answers.windows(2).all(|pair| pair[0] >= pair[1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn predictions_are_monotone(
        seed in any::<u64>(),
        leaves in 2..40_u64,
        rows in 1..20_u64,
        l1 in prop::sample::select(vec!["0", "0.5"]),
        l2 in prop::sample::select(vec!["0", "2"]),
        rate in prop::sample::select(vec!["0.1", "1"]),
    ) {
        let (features, labels) = wild(seed);
        let (leaves, rows, seed) = (leaves.to_string(), rows.to_string(), seed.to_string());
        let mut options = vec![
            ("num_leaves", leaves.as_str()),
            ("min_rows_in_leaf", rows.as_str()),
            ("l1_reg", l1),
            ("l2_reg", l2),
            ("learn_rate", rate),
            ("max_iterations", "20"),
            ("subsample", "0.8"),
            ("seed", &seed),
        ];
        options.push(("monotone_constraints", "price:1,age:-1"));
        let report = fit(REGRESSOR, &options, &features, &Float64Array::from(labels)).unwrap();
        prop_assert!(swept(&report, &features, 0).iter().all(|answers| rises(answers)));
        prop_assert!(swept(&report, &features, 2).iter().all(|answers| falls(answers)));
    }
}

#[test]
fn without_constraints_these_predictions_are_not_monotone() {
    let (features, labels) = wild(1);
    let labels = Float64Array::from(labels);
    let free = fit(REGRESSOR, &[("monotone_constraints", "price:0")], &features, &labels).unwrap();
    assert!(!swept(&free, &features, 0).iter().any(|answers| rises(answers)));
    assert!(!swept(&free, &features, 2).iter().any(|answers| falls(answers)));
    assert_eq!(free, fit(REGRESSOR, &[], &features, &labels).unwrap());
    // One constraint leaves the other number as it was, and most of the fit.
    let one = fit(REGRESSOR, &[("monotone_constraints", "price:+1")], &features, &labels).unwrap();
    assert!(swept(&one, &features, 0).iter().all(|answers| rises(answers)));
    assert!(!swept(&one, &features, 2).iter().any(|answers| falls(answers)));
    assert!(metric(&one, "r2") > 0.5 * metric(&free, "r2"), "{:?} {:?}", one.metrics, free.metrics);
}

#[test]
fn what_has_no_direction_is_an_error() {
    let (features, labels) = mixed(300);
    let error = |value: &str, labels: &dyn Array| {
        fit(CLASSIFIER, &[("monotone_constraints", value)], &features, labels).unwrap_err().to_string()
    };
    let two = booleans(&labels);
    assert!(
        error("category:1", &two).ends_with("expected the names of numeric features"),
        "{}",
        error("category:1", &two)
    );
    assert!(error("z:1", &two).contains("monotone_constraints = 'z'"));
    assert!(error("x:1,x:-1", &two).ends_with("expected each feature once"));
    for value in ["x", "x:2", "x:up", "x:1,"] {
        assert!(error(value, &two).contains("such as 'price:1, age:-1'"), "{value}");
    }
    let three: Int64Array = (0..300).map(|row| Some(row % 3)).collect();
    assert!(error("x:1", &three).contains("more than two classes"));
}
