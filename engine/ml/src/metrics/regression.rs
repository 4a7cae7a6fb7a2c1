//! How far predicted numbers are from the right ones: sums of which all measures are made, in one pass.

use bincode::{Decode, Encode};

/// What is known of pairs of a number and its prediction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct RegressionSums {
    /// Pairs.
    pub count: u64,
    /// The mean of the numbers.
    pub mean: f64,
    /// The sum of the squares of their distances from it.
    pub variation: f64,
    /// The sum of the errors' squares.
    pub squared_errors: f64,
    /// The sum of the errors without their signs.
    pub absolute_errors: f64,
}

impl RegressionSums {
    /// Adds a pair (Welford 1962).
    pub fn add(&mut self, label: f64, predicted: f64) {
        self.count += 1;
        let before = label - self.mean;
        self.mean += before / self.count as f64;
        self.variation += before * (label - self.mean);
        let error = label - predicted;
        self.squared_errors += error * error;
        self.absolute_errors += error.abs();
    }

    /// Adds the pairs of another (Chan, Golub and LeVeque 1983).
    pub fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if count == 0 {
            return;
        }
        let (apart, share) = (other.mean - self.mean, other.count as f64 / count as f64);
        self.mean += apart * share;
        self.variation += other.variation + apart * apart * share * self.count as f64;
        self.squared_errors += other.squared_errors;
        self.absolute_errors += other.absolute_errors;
        self.count = count;
    }

    /// The mean squared error, in squares of the label's unit.
    #[must_use]
    pub fn mse(&self) -> Option<f64> {
        self.mean_of(self.squared_errors)
    }

    /// Its root, in the label's unit.
    #[must_use]
    pub fn rmse(&self) -> Option<f64> {
        self.mse().map(f64::sqrt)
    }

    /// The mean absolute error, in the label's unit.
    #[must_use]
    pub fn mae(&self) -> Option<f64> {
        self.mean_of(self.absolute_errors)
    }

    /// The coefficient of determination: the share of the labels' variation that predictions explain. 1 is perfect, their mean has 0. Of
    /// labels that are all the same it is 1 if all predictions are right, else 0, as in scikit-learn; `None` of fewer than two.
    #[must_use]
    pub fn r2(&self) -> Option<f64> {
        let r2 = match (self.variation > 0.0, self.squared_errors > 0.0) {
            (true, _) => 1.0 - self.squared_errors / self.variation,
            (false, true) => 0.0,
            (false, false) => 1.0,
        };
        Some(r2).filter(|r2| self.count > 1 && r2.is_finite())
    }

    fn mean_of(&self, sum: f64) -> Option<f64> {
        Some(sum / self.count as f64).filter(|mean| self.count > 0 && mean.is_finite())
    }
}
