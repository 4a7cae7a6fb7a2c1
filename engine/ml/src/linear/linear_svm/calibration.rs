//! Platt's calibration: decision values as probabilities, by a sigmoid that fits how often rows were positive.
//!
//! Platt (1999), "Probabilistic outputs for support vector machines", with the targets by Bayes' rule that keep a
//! separable set from certainty; found by Newton's method with backtracking, in the form of Lin, Lin and Weng (2007)
//! that neither overflows nor cancels.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::logistic::{log1p_exp, sigmoid};
use tidemill_compute::kernel::softmax::ln;

use crate::batch::FitControl;
use crate::error::{MlError, Result};
use crate::feature::moments::{Moments, Scale};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// Steps at most; ten are usual.
const STEPS_MAX: usize = 100;

/// The part of the sum of the magnitudes of all rows' slopes that their sum may be when the search is over.
const TOLERANCE: f64 = 1e-9;

/// Added to the curvature, so that it has an inverse where all decisions are the same.
const RIDGE: f64 = 1e-12;

/// The part of a Newton step below which no shorter one is tried.
const STEP_MIN: f64 = 1e-10;

/// Rows after which the search looks whether it is to stop.
const ROWS_A_STRETCH: usize = 1024;

/// The log-odds of a positive row are `slope * decision + intercept`.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct Calibration {
    pub(super) slope: f64,
    pub(super) intercept: f64,
}

impl Calibration {
    /// The sigmoid that fits rows' decision values best, given which rows are positive: some, but not all.
    ///
    /// # Errors
    /// `Stopped`, or `Diverged` where decisions are too close together for numbers.
    pub(super) fn fit(mut rows: Vec<(f64, bool)>, control: &FitControl) -> Result<Self> {
        // Standardised, slope and intercept hardly depend on each other, whatever the scale of decisions; one that all
        // rows have becomes 0 and leaves the slope alone.
        let mut moments = Moments::default();
        rows.iter().for_each(|(decision, _)| moments.add(*decision));
        let scale = moments.scale();
        rows.iter_mut().for_each(|(decision, _)| *decision = scale.apply(*decision, f64::MAX));
        Self::fit_standardized(&rows, control)?.before(&scale)
    }

    fn fit_standardized(rows: &[(f64, bool)], control: &FitControl) -> Result<Self> {
        let positive = rows.iter().filter(|(_, is_positive)| *is_positive).count() as f64;
        let negative = rows.len() as f64 - positive;
        let targets = [1.0 / (negative + 2.0), (positive + 1.0) / (positive + 2.0)];
        let fit = Fit { rows, targets, control };
        let mut here = Self { slope: 0.0, intercept: ln((positive + 1.0) / (negative + 1.0)) };
        let mut loss = fit.loss(here)?;
        for _ in 0..STEPS_MAX {
            let Derivatives { slopes, sizes, curvature } = fit.derivatives(here)?;
            if (0..2).all(|of| slopes[of].abs() <= TOLERANCE * sizes[of]) {
                break;
            }
            let Some((next, next_loss)) = fit.step(here, loss, slopes, curvature)? else { break };
            (here, loss) = (next, next_loss);
        }
        Ok(here)
    }

    /// The same sigmoid of decisions before they were standardised.
    fn before(self, scale: &Scale) -> Result<Self> {
        let slope = self.slope * scale.per_deviation();
        let calibration = Self { slope, intercept: self.intercept - slope * scale.mean() };
        if calibration.is_plausible() {
            return Ok(calibration);
        }
        Err(MlError::Diverged { hint: "standardise the features, or scale them up or down" })
    }

    /// Of a negative row, and of a positive one. Each is exact, also where it is small.
    pub(super) fn probabilities(&self, decision: f64) -> [f64; 2] {
        let log_odds = self.slope * decision + self.intercept;
        [sigmoid(-log_odds), sigmoid(log_odds)]
    }

    pub(super) fn is_plausible(&self) -> bool {
        self.slope.abs() <= STATE_MAGNITUDE_MAX && self.intercept.abs() <= STATE_MAGNITUDE_MAX
    }
}

struct Fit<'a> {
    rows: &'a [(f64, bool)],
    /// How probable a negative and a positive row are to be.
    targets: [f64; 2],
    control: &'a FitControl,
}

/// How the loss changes with the slope and with the intercept.
struct Derivatives {
    slopes: [f64; 2],
    /// The sums of the magnitudes of what was added up to slopes.
    sizes: [f64; 2],
    /// By the slope twice, by both, by the intercept twice.
    curvature: [f64; 3],
}

impl Fit<'_> {
    /// Calls `visit` with the decision value and the target of each row.
    fn visit(&self, mut visit: impl FnMut(f64, f64)) -> Result<()> {
        for stretch in self.rows.chunks(ROWS_A_STRETCH) {
            self.control.check()?;
            stretch.iter().for_each(|&(decision, positive)| visit(decision, self.targets[usize::from(positive)]));
        }
        Ok(())
    }

    /// The cross entropy between targets and probabilities, summed over rows.
    fn loss(&self, at: Calibration) -> Result<f64> {
        let mut loss = 0.0;
        self.visit(|decision, target| {
            let log_odds = at.slope * decision + at.intercept;
            // As t ln(1 + e^-z) + (1 - t) ln(1 + e^z), of which the larger term is not the difference of two.
            loss += log1p_exp(-log_odds.abs()) + if log_odds > 0.0 { 1.0 - target } else { target } * log_odds.abs();
        })?;
        Ok(loss)
    }

    fn derivatives(&self, at: Calibration) -> Result<Derivatives> {
        let (mut slopes, mut sizes, mut curvature) = ([0.0; 2], [0.0; 2], [RIDGE, 0.0, RIDGE]);
        self.visit(|decision, target| {
            let [negative, positive] = at.probabilities(decision);
            let (error, weight) = (positive - target, positive * negative);
            slopes[0] += error * decision;
            slopes[1] += error;
            sizes[0] += (error * decision).abs();
            sizes[1] += error.abs();
            curvature[0] += weight * decision * decision;
            curvature[1] += weight * decision;
            curvature[2] += weight;
        })?;
        Ok(Derivatives { slopes, sizes, curvature })
    }

    /// A step of Newton's, halved until it lowers the loss enough; `None` where none does (Armijo's condition).
    fn step(
        &self,
        here: Calibration,
        loss: f64,
        [by_slope, by_intercept]: [f64; 2],
        [slope_twice, both, intercept_twice]: [f64; 3],
    ) -> Result<Option<(Calibration, f64)>> {
        let determinant = slope_twice * intercept_twice - both * both;
        let slope = -(intercept_twice * by_slope - both * by_intercept) / determinant;
        let intercept = -(slope_twice * by_intercept - both * by_slope) / determinant;
        let descent = by_slope * slope + by_intercept * intercept;
        // The last steps change the loss by less than it is rounded by.
        let rounding = 16.0 * f64::EPSILON * loss;
        let mut length = 1.0;
        while length >= STEP_MIN {
            let next =
                Calibration { slope: here.slope + length * slope, intercept: here.intercept + length * intercept };
            let next_loss = self.loss(next)?;
            if next_loss <= loss + 1e-4 * length * descent + rounding && next.is_plausible() {
                return Ok(Some((next, next_loss)));
            }
            length /= 2.0;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::Calibration;
    use crate::batch::FitControl;

    fn fit(rows: &[(f64, bool)]) -> Calibration {
        Calibration::fit(rows.to_vec(), &FitControl::default()).unwrap()
    }

    #[test]
    fn two_decisions_get_the_targets_by_hand() {
        // Three positive rows at 1, one negative at -1: targets 4/5 and 1/3, and a sigmoid hits both.
        let calibration = fit(&[(1.0, true), (-1.0, false), (1.0, true), (1.0, true)]);
        assert!((calibration.probabilities(1.0)[1] - 0.8).abs() < 1e-12);
        assert!((calibration.probabilities(-1.0)[1] - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn decisions_that_say_nothing_leave_the_shares() {
        let calibration = fit(&[(0.5, true), (0.5, false), (0.5, false)]);
        // The targets are 2/3 once and 1/4 twice.
        assert!((calibration.probabilities(0.5)[1] - (2.0 / 3.0 + 0.5) / 3.0).abs() < 1e-9);
        let wrong = fit(&[(1.0, false), (-1.0, true), (0.0, true), (0.0, false)]);
        assert!(wrong.slope < 0.0);
    }

    #[test]
    fn separable_and_huge_decisions_stay_finite() {
        let rows: Vec<_> = (0..2000).map(|row| (f64::from(row - 1000) * 1e40, row >= 1000)).collect();
        let calibration = fit(&rows);
        assert!(calibration.is_plausible());
        assert!(calibration.probabilities(1e43)[1] > 0.9 && calibration.probabilities(-1e43)[1] < 0.1);
    }
}
