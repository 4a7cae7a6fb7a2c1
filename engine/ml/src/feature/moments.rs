//! The running mean and variance of one numeric feature, and values standardised by them.
//!
//! Welford's update (1962) does not cancel as `E[x²] - E[x]²` does; two halves of a stream join by
//! the formula of Chan, Golub and LeVeque (1979). The variance is the population's, as in
//! scikit-learn's `StandardScaler`.

use bincode::{Decode, Encode};

use crate::model::NUMERIC_MAGNITUDE_MAX;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// Count, mean and spread of the values seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub(crate) struct Moments {
    /// Values seen, without missing ones.
    count: u64,
    mean: f64,
    /// The sum of squared differences from the mean.
    squares: f64,
}

impl Moments {
    pub(crate) fn add(&mut self, value: f64) {
        // A corrupt snapshot may hold any count, and must not make learning panic.
        self.count = self.count.saturating_add(1);
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// Joins the values behind `other` to these.
    pub(crate) fn merge(&mut self, other: &Self) {
        let count = self.count.saturating_add(other.count);
        if other.count == 0 {
            return;
        }
        let share = other.count as f64 / count as f64;
        let difference = other.mean - self.mean;
        self.squares += other.squares + difference * difference * self.count as f64 * share;
        self.mean += difference * share;
        self.count = count;
    }

    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The population's variance; 0 of no values.
    pub(crate) fn variance(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.squares / self.count as f64 }
    }

    /// The sum of squared differences from the mean.
    pub(crate) fn squares(&self) -> f64 {
        self.squares
    }

    pub(crate) fn scale(&self) -> Scale {
        // The inverse deviation at once: one division and one root a value is what learning costs.
        let per_deviation = if self.squares > 0.0 { (self.count as f64 / self.squares).sqrt() } else { 0.0 };
        Scale { mean: self.mean, per_deviation }
    }

    /// Whether a stream of `rows` rows of learnable values could have led here.
    pub(crate) fn is_plausible(&self, rows: u64) -> bool {
        self.count <= rows
            && self.mean.abs() <= NUMERIC_MAGNITUDE_MAX
            && (0.0..=STATE_MAGNITUDE_MAX).contains(&self.squares)
    }
}

/// How to standardise one feature, worked out once for many rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    mean: f64,
    /// One over the standard deviation; 0 before the values differ.
    per_deviation: f64,
}

impl Scale {
    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// One over the standard deviation; 0 where values do not differ.
    pub(crate) fn per_deviation(&self) -> f64 {
        self.per_deviation
    }

    /// The distance from the mean in standard deviations, clamped to `[-clip, clip]`.
    ///
    /// 0 for NaN, which marks a missing value, and for a feature that has been constant so far.
    #[inline]
    pub(crate) fn apply(&self, value: f64, clip: f64) -> f64 {
        let standardized = (value - self.mean) * self.per_deviation;
        if standardized.is_nan() { 0.0 } else { standardized.max(-clip).min(clip) }
    }

    /// The distance from the mean; 0 for NaN, which marks a missing value.
    #[inline]
    pub(crate) fn centre(&self, value: f64) -> f64 {
        if value.is_nan() { 0.0 } else { value - self.mean }
    }

    /// The value that [`Self::apply`] standardised; the mean of a feature that has been constant.
    pub(crate) fn restore(&self, standardized: f64) -> f64 {
        if self.per_deviation == 0.0 { self.mean } else { self.mean + standardized / self.per_deviation }
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;

    fn moments(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|&value| moments.add(value));
        moments
    }

    #[test]
    fn mean_and_population_deviation_by_hand() {
        // 2 4 4 4 5 5 7 9: mean 5, squared differences 9 1 1 1 0 0 4 16, variance 32 / 8 = 4.
        let scale = moments(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).scale();
        assert_eq!((scale.mean, scale.per_deviation), (5.0, 0.5));
        assert_eq!(scale.apply(9.0, 10.0), 2.0);
        assert_eq!(scale.apply(9.0, 1.5), 1.5);
        assert_eq!(scale.apply(f64::NAN, 10.0), 0.0);
        assert_eq!((scale.restore(2.0), scale.centre(9.0), scale.centre(f64::NAN)), (9.0, 4.0, 0.0));
    }

    #[test]
    fn a_constant_feature_is_zero() {
        assert_eq!(moments(&[0.1; 7]).scale().apply(0.1, 10.0), 0.0);
        assert_eq!(moments(&[0.1; 7]).scale().apply(0.7, 10.0), 0.0);
        assert_eq!(Moments::default().scale().apply(3.0, 10.0), 0.0);
    }

    #[test]
    fn two_halves_merge_to_the_whole() {
        let mut merged = moments(&[2.0, 4.0, 4.0]);
        merged.merge(&moments(&[4.0, 5.0, 5.0, 7.0, 9.0]));
        merged.merge(&Moments::default());
        assert_eq!(merged.count, 8);
        assert!((merged.mean - 5.0).abs() < 1e-15 && (merged.squares - 32.0).abs() < 1e-13);
    }
}
