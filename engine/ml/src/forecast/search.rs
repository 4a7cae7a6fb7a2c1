//! The minimum of a likelihood of a few parameters, whose gradient is taken by differences.

use crate::batch::FitControl;
use crate::error::Result;
use crate::linear::lbfgs::{Minimum, Objective, SearchConfig, minimize};

/// The distance of the points that a slope is taken from: about the third root of the rounding of a number, at which
/// rounding and the third derivative cost the same digits.
const DISTANCE: f64 = 6e-6;

/// The slope at which a search is over. The function is a mean of likelihoods, and parameters are of the size of 1.
const TOLERANCE: f64 = 1e-7;

/// A function without a gradient.
struct Differences<'a, F> {
    function: F,
    control: &'a FitControl,
}

impl<F: Fn(&[f64]) -> f64> Objective for Differences<'_, F> {
    fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> Result<f64> {
        let mut near = point.to_vec();
        for (place, slope) in gradient.iter_mut().enumerate() {
            self.control.check()?;
            let distance = DISTANCE * point[place].abs().max(1.0);
            near[place] = point[place] + distance;
            let above = (self.function)(&near);
            near[place] = point[place] - distance;
            let below = (self.function)(&near);
            near[place] = point[place];
            *slope = (above - below) / (2.0 * distance);
        }
        self.control.check()?;
        Ok((self.function)(point))
    }

    fn precondition(&self, _gradient: &mut [f64]) {}
}

/// The minimum that a descent from `start` leads to.
///
/// # Errors
/// `Stopped`.
pub(super) fn search(
    function: impl Fn(&[f64]) -> f64,
    start: Vec<f64>,
    max_iterations: u64,
    control: &FitControl,
) -> Result<Minimum> {
    let config = SearchConfig { max_iterations, tolerance: TOLERANCE, min_rel_progress: 0.0, l1: 0.0, unpenalized: 0 };
    minimize(&Differences { function, control }, start, &config)
}

#[cfg(test)]
mod tests {
    use super::search;
    use crate::FitControl;

    #[test]
    fn it_finds_the_bottom_of_a_curved_valley() {
        let rosenbrock = |at: &[f64]| (1.0 - at[0]).powi(2) + 100.0 * (at[1] - at[0] * at[0]).powi(2);
        let found = search(rosenbrock, vec![-1.2, 1.0], 200, &FitControl::default()).unwrap();
        assert!(found.converged && found.point.iter().all(|x| (x - 1.0).abs() < 1e-6), "{found:?}");
    }
}
