//! statsmodels' likelihoods, parameters and forecasts (`goldens/series.py`), variances beside simulated ones, the choice
//! of a form, bad input, the same bits whatever the threads, the batches and the order of rows.

use expect_test::expect;
use proptest::prelude::*;

use super::Smoothing;
use super::recursion::{Parameters, States, pass};
use crate::forecast::SeriesModel;
use crate::forecast::testing::{
    check_bounds, check_every_default, check_stops_and_threads, column, forecast, one_series, only_model, series_of,
    try_fit,
};
use crate::goldens::{assert_all_close, expected};
use crate::random::Random;
use crate::{ModelTable, restore_predictor};

const TYPE: &str = "exponential_smoothing";

fn model(options: &[(&str, &str)], values: &[f64]) -> Smoothing {
    only_model(&try_fit(TYPE, options, &one_series(values)).unwrap())
}

/// What statsmodels finds: the likelihood to `1e-3`, or above it by up to `2e-2`, since statsmodels has `β` and `γ` of
/// `1e-4` at least, and ends its search earlier; the parameters to `tolerance`; and forecasts and their bounds to ten
/// times that, and thirty times, of the deviation of errors.
#[track_caller]
fn check(case: &str, form: [&str; 3], tolerance: f64) {
    let values = expected(case, "values");
    let period = if case == "ets_season_only" { "4" } else { "12" };
    let [error, trend, season] = form;
    let mut options = vec![("error_type", error), ("trend_type", trend), ("seasonal_type", season)];
    options.extend((season != "none").then_some(("seasonality", period)));
    let report = try_fit(TYPE, &options, &one_series(&values)).unwrap();
    let found: Smoothing = only_model(&report);
    let likelihood = expected(case, "log_likelihood")[0];
    let above = found.log_likelihood - likelihood;
    assert!((-1e-3..2e-2).contains(&above), "{case}: {} is not {likelihood}", found.log_likelihood);
    let Parameters { level, trend, season, damping } = found.parameters;
    let is_there = [true, form[1] != "none", form[2] != "none", form[1] == "damped"];
    let own: Vec<f64> =
        [level, trend, season, damping].into_iter().zip(is_there).filter(|of| of.1).map(|of| of.0).collect();
    assert_all_close(&own, &expected(case, "parameters"), tolerance);
    let deviation = report.metrics.iter().find(|(name, _)| name == "rmse").unwrap().1;
    let table = forecast(&report, 12, 0.9);
    assert_all_close(&column(&table, "forecast_value"), &expected(case, "forecast"), 10.0 * tolerance * deviation);
    if error == "additive" {
        let errors: Vec<f64> = expected(case, "variance").iter().map(|variance| variance.sqrt()).collect();
        assert_all_close(&column(&table, "standard_error"), &errors, 10.0 * tolerance * deviation);
        check_bounds(case, &report, 30.0 * tolerance * deviation);
    }
}

#[test]
fn a_guess_by_the_value_before_or_of_the_season_before_stands_beside() {
    let values = [1.0, 2.0, 4.0, f64::NAN, 7.0, 9.0, 8.0, 12.0, 11.0, 14.0, 16.0, 15.0];
    let measure = |options: &[(&str, &str)], name: &str| {
        let report = try_fit(TYPE, &[options, &[("seasonal_type", "none")]].concat(), &one_series(&values)).unwrap();
        report.metrics.iter().find(|(known, _)| known == name).unwrap().1
    };
    // Differences by hand: 1, 2, 2, -1, 4, -1, 3, 2, -1; then of two before: 3, 3, 1, 3, 3, 2, 5, 1.
    assert_all_close(&[measure(&[], "baseline_mae")], &[17.0 / 9.0], 1e-12);
    assert_all_close(&[measure(&[], "baseline_rmse")], &[(41.0_f64 / 9.0).sqrt()], 1e-12);
    assert_all_close(&[measure(&[("seasonality", "2")], "baseline_mae")], &[21.0 / 8.0], 1e-12);
}

#[test]
fn levels_and_trends_equal_statsmodels() {
    check("ets_nile", ["additive", "none", "none"], 1e-3);
    check("ets_trend", ["additive", "additive", "none"], 1e-3);
    check("ets_damped", ["additive", "damped", "none"], 1e-3);
    check("ets_relative", ["multiplicative", "none", "none"], 1e-3);
}

#[test]
fn seasons_equal_statsmodels() {
    check("ets_season", ["additive", "additive", "additive"], 1e-3);
    check("ets_season_damped", ["additive", "damped", "additive"], 1e-3);
    check("ets_season_only", ["additive", "none", "additive"], 1e-3);
    check("ets_multiplicative", ["multiplicative", "additive", "multiplicative"], 1e-3);
    check("ets_relative_trend", ["multiplicative", "additive", "additive"], 1e-3);
}

/// Standard normal numbers (Box and Muller 1958).
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.fraction()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.fraction()).cos()
}

#[test]
fn variances_of_multiplicative_errors_equal_simulated_ones() {
    let options = [("error_type", "multiplicative"), ("trend_type", "additive"), ("seasonality", "12")];
    for (case, season) in [("ets_multiplicative", "multiplicative"), ("ets_relative_trend", "additive")] {
        let mut model = model(&[&options[..], &[("seasonal_type", season)]].concat(), &expected(case, "values"));
        // Errors that matter.
        model.parameters = Parameters { level: 0.4, trend: 0.05, season: 0.3, damping: 1.0 };
        model.variance = 0.0025;
        let (horizon, paths) = (24, 20_000);
        let mut random = Random::from_counter(7);
        let mut sums = vec![(0.0, 0.0); horizon];
        for _ in 0..paths {
            let mut states: States = model.end.clone();
            for sums in &mut sums {
                let expected = super::recursion::expected(&model.form, &model.parameters, &states, 1)[0];
                let value = expected * (1.0 + model.variance.sqrt() * normal(&mut random));
                // Season numbers count from the next point on.
                states = pass(&model.form, &model.parameters, states, &[value]).end;
                *sums = (sums.0 + value, sums.1 + value * value);
            }
        }
        for (point, (one, (sum, squares))) in model.forecast(horizon).into_iter().zip(sums).enumerate() {
            let mean = sum / f64::from(paths);
            let deviation = (squares / f64::from(paths) - mean * mean).sqrt();
            assert!((one.standard_error / deviation - 1.0).abs() < 0.025, "{case} {point}: {one:?} is not {deviation}");
            assert!(
                (one.value - mean).abs() < 0.06 * deviation + 0.002 * mean,
                "{case} {point}: {one:?} is not {mean}"
            );
        }
    }
}

#[test]
fn a_level_by_hand() {
    let form = super::Form {
        error: super::Error::Additive,
        trend: super::Trend::Additive,
        season: super::Season::None,
        period: 1,
    };
    let parameters = Parameters { level: 0.5, trend: 0.25, season: 0.0, damping: 1.0 };
    let start = States { level: 10.0, trend: 1.0, season: Vec::new() };
    let found = pass(&form, &parameters, start, &[13.0, f64::NAN, 12.0]);
    // 11 is expected, and the error 2 makes the level 12 and the trend 1.5. Then 13.5 is missing, and of 15 expected the
    // error is -3.
    assert_eq!(found.fitted, [11.0, 15.0]);
    assert_eq!((found.squares, found.end.level, found.end.trend), (13.0, 13.5, 0.75));
}

#[test]
fn a_form_is_chosen() {
    let found = |case: &str, options: &[(&str, &str)]| model(options, &expected(case, "values")).form.to_string();
    expect!["ETS(M,N,N)"].assert_eq(&found("ets_nile", &[]));
    expect!["ETS(A,Ad,N)"].assert_eq(&found("ets_trend", &[]));
    expect!["ETS(M,A,M)[12]"].assert_eq(&found("ets_season", &[("seasonality", "12")]));
    expect!["ETS(M,A,M)[12]"].assert_eq(&found("ets_multiplicative", &[("seasonality", "12")]));
}

#[test]
fn a_constant_a_line_and_a_season_go_on() {
    let flat = try_fit(TYPE, &[], &one_series(&[7.5; 30])).unwrap();
    assert_all_close(&column(&forecast(&flat, 3, 0.9), "forecast_value"), &[7.5; 3], 1e-6);
    let line: Vec<f64> = (0..30).map(|point| 1e6 + 2.5 * f64::from(point)).collect();
    let straight = try_fit(TYPE, &[("trend_type", "additive")], &one_series(&line)).unwrap();
    assert_all_close(&column(&forecast(&straight, 2, 0.9), "forecast_value"), &[1_000_075.0, 1_000_077.5], 1e-3);
    let waves: Vec<f64> = (0..30).map(|point| [5.0, -5.0, 1.0][point % 3]).collect();
    let waves = try_fit(TYPE, &[("seasonality", "3")], &one_series(&waves)).unwrap();
    assert_all_close(&column(&forecast(&waves, 4, 0.9), "forecast_value"), &[5.0, -5.0, 1.0, 5.0], 1e-5);
    let long: Vec<f64> = (0..200).map(|point| f64::from(point * point * 7919 % 101) + f64::from(point % 60)).collect();
    let long = try_fit(TYPE, &[("seasonality", "60"), ("seasonal_type", "additive")], &one_series(&long)).unwrap();
    assert!(column(&forecast(&long, 120, 0.9), "forecast_value").iter().all(|value| value.is_finite()));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let check = |options: &[(&str, &str)], values: &[f64], expected: expect_test::Expect| {
        let result = try_fit(TYPE, options, &one_series(values));
        expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
    };
    let short = [1.0, 2.0, 1.5];
    check(
        &[],
        &short,
        expect![
            "none of the 1 series can be forecast; the first, '': it has 3 values at equal distances, which are too few"
        ],
    );
    check(
        &[("error_type", "multiplicative")],
        &[-1.0, 2.0, 1.5, 1.0, 2.0, 3.0],
        expect![
            "none of the 1 series can be forecast; the first, '': it has values that are not positive, which a multiplicative model needs"
        ],
    );
    check(
        &[("trend_type", "up")],
        &short,
        expect!["option trend_type = 'up' is not valid; expected one of none, additive, damped, auto"],
    );
    check(
        &[("seasonal_type", "additive")],
        &short,
        expect!["option seasonality = '1' is not valid; expected the points of a season, beside seasonal_type"],
    );
    check(
        &[("seasonal_type", "multiplicative"), ("seasonality", "4"), ("error_type", "additive")],
        &short,
        expect!["option error_type = 'additive' is not valid; expected multiplicative, beside a season that is"],
    );
    check(
        &[("alpha", "0.3")],
        &short,
        expect![
            "model type 'exponential_smoothing' has no option 'alpha'; valid options are time_series_timestamp_col, time_series_data_col, time_series_id_col, error_type, trend_type, seasonal_type, seasonality, max_iterations"
        ],
    );
}

#[test]
fn defaults_are_what_their_docs_say() {
    check_every_default(TYPE, &one_series(&expected("ets_nile", "values")[..60]));
}

#[test]
fn threads_batches_and_the_order_of_rows_do_not_change_a_bit() {
    let rows = series_of(&[
        ("b", &expected("series_ar1", "values")[..50]),
        ("a", &expected("ets_nile", "values")),
        ("c", &[1.0]),
    ]);
    check_stops_and_threads(TYPE, &[("time_series_id_col", "id")], &rows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let options = [("seasonality", "4"), ("seasonal_type", "additive"), ("trend_type", "damped"), ("max_iterations", "5")];
        let mut bytes = try_fit(TYPE, &options, &one_series(&expected("ets_season_only", "values")[..40])).unwrap().model;
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(model) = restore_predictor(&bytes) {
            let _ = model.forecast(20, 0.9);
            ModelTable::ALL.into_iter().for_each(|table| drop(model.table(table)));
        }
    }
}
