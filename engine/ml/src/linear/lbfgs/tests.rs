//! Functions whose minima are known: quadratics, Rosenbrock's valley, a lasso by hand, flat and endless ones.

use proptest::prelude::*;

use super::{Minimum, Objective, SearchConfig, minimize};
use crate::error::Result;

/// A function and its gradient.
struct Function<F>(F);

impl<F: Fn(&[f64], &mut [f64]) -> f64> Objective for Function<F> {
    fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> Result<f64> {
        Ok(self.0(point, gradient))
    }

    fn precondition(&self, _: &mut [f64]) {}
}

fn config() -> SearchConfig {
    SearchConfig { max_iterations: 1000, tolerance: 1e-9, min_rel_progress: 0.0, l1: 0.0, unpenalized: 0 }
}

fn minimum(config: SearchConfig, start: &[f64], function: impl Fn(&[f64], &mut [f64]) -> f64) -> Minimum {
    minimize(&Function(function), start.to_vec(), &config).unwrap()
}

/// `Σ c (x - m)² / 2`.
fn quadratic(curvatures: &[f64], minimum: &[f64]) -> impl Fn(&[f64], &mut [f64]) -> f64 {
    move |x, gradient| {
        let mut value = 0.0;
        for (place, curvature) in curvatures.iter().enumerate() {
            let distance = x[place] - minimum[place];
            gradient[place] = curvature * distance;
            value += 0.5 * curvature * distance * distance;
        }
        value
    }
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert!(
        actual.iter().zip(expected).all(|(actual, expected)| (actual - expected).abs() <= tolerance),
        "{actual:?} is not within {tolerance:e} of {expected:?}"
    );
}

#[test]
fn the_valley_of_rosenbrock_is_followed_to_its_end() {
    let found = minimum(config(), &[-1.2, 1.0], |x, gradient| {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        gradient[0] = -2.0 * a - 400.0 * x[0] * b;
        gradient[1] = 200.0 * b;
        a * a + 100.0 * b * b
    });
    assert!(found.converged && found.iterations < 60, "{found:?}");
    assert_close(&found.point, &[1.0, 1.0], 1e-8);
}

#[test]
fn a_lasso_by_hand() {
    // Each coordinate alone: x moves from m towards 0 by l1 / c, and stops at 0; the first is spared.
    let penalized = SearchConfig { l1: 1.0, unpenalized: 1, ..config() };
    let found = minimum(penalized, &[0.0; 4], quadratic(&[1.0, 2.0, 4.0, 0.5], &[3.0, -3.0, 0.2, 1.0]));
    assert!(found.converged, "{found:?}");
    // The loss alone says whether a step is taken, so half the digits are to be had.
    assert_close(&found.point, &[3.0, -2.5, 0.0, 0.0], 1e-7);
    assert_eq!(&found.point[2..], [0.0, 0.0]);
    let by_hand = 0.0 + (0.25 + 2.5) + 0.5 * 4.0 * 0.04 + 0.5 * 0.5;
    assert_close(&[found.loss], &[by_hand], 1e-12);
}

#[test]
fn a_minimum_at_the_start_takes_no_step() {
    let found = minimum(config(), &[2.0], quadratic(&[1.0], &[2.0]));
    assert_eq!((found.iterations, found.converged, found.loss), (0, true, 0.0));
}

#[test]
fn a_search_says_when_it_had_no_time() {
    let few = SearchConfig { max_iterations: 2, ..config() };
    let found = minimum(few, &[0.0; 3], quadratic(&[1.0, 100.0, 1e4], &[1.0, 1.0, 1.0]));
    assert_eq!((found.iterations, found.converged), (2, false));
}

#[test]
fn little_progress_is_enough_where_that_is_asked_for() {
    let hasty = SearchConfig { min_rel_progress: 0.5, ..config() };
    let function = |x: &[f64], gradient: &mut [f64]| quadratic(&[1.0, 100.0, 1e4], &[1.0; 3])(x, gradient) + 10.0;
    let (found, all) = (minimum(hasty, &[0.0; 3], function), minimum(config(), &[0.0; 3], function));
    assert!(found.converged && found.iterations < all.iterations, "{found:?} {all:?}");
}

#[test]
fn a_function_without_a_minimum_ends() {
    let found = minimum(config(), &[0.0], |x, gradient| {
        gradient[0] = -1.0;
        -x[0]
    });
    assert!(found.point[0] > 1e9 && found.iterations <= 1000);
    let found = minimum(config(), &[0.0], |x, gradient| {
        gradient[0] = f64::NAN;
        x[0] * f64::NAN
    });
    assert!(found.loss.is_nan() && found.iterations == 0);
}

proptest! {
    #[test]
    fn the_minimum_of_a_quadratic_is_found_from_anywhere(
        curvatures in prop::collection::vec(-2.0..2.0f64, 1..12),
        seed in prop::collection::vec((-10.0..10.0f64, -10.0..10.0f64), 12),
    ) {
        let curvatures: Vec<f64> = curvatures.iter().map(|power| 10f64.powf(*power)).collect();
        let (start, wanted): (Vec<f64>, Vec<f64>) = seed[..curvatures.len()].iter().copied().unzip();
        let found = minimum(config(), &start, quadratic(&curvatures, &wanted));
        prop_assert!(found.converged);
        assert_close(&found.point, &wanted, 1e-6);
    }

    #[test]
    fn a_separable_lasso_is_soft_thresholding(
        seed in prop::collection::vec((0.1..10.0f64, -3.0..3.0f64), 1..10),
        l1 in 0.01..3.0f64,
    ) {
        let (curvatures, wanted): (Vec<f64>, Vec<f64>) = seed.into_iter().unzip();
        let penalized = SearchConfig { l1, ..config() };
        let found = minimum(penalized, &vec![0.0; wanted.len()], quadratic(&curvatures, &wanted));
        let expected: Vec<f64> = wanted
            .iter()
            .zip(&curvatures)
            .map(|(m, c)| m.signum() * (m.abs() - l1 / c).max(0.0))
            .collect();
        assert_close(&found.point, &expected, 1e-6);
    }
}
