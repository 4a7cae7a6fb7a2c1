//! What a policy would earn, from decisions that another policy took and logged with the probability of each.
//!
//! A row is the reward of an action, its *propensity*, which is the probability with which the logging policy took it, and the
//! probability with which the policy in question takes that action in the same context: of one that says a single action for
//! each row, 1 where it is the logged action and 0 elsewhere. That holds for one that draws its action, too, if its draws
//! have nothing to do with the logged ones. The weight of a row, `w`, is the second divided by the first.

/// One logged decision, and what a policy makes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OffPolicyRow {
    /// What the logged action brought.
    pub reward: f64,
    /// The probability with which it was taken, above 0.
    pub propensity: f64,
    /// The probability with which the policy takes it.
    pub agreement: f64,
    /// The reward that a model expects of the logged action.
    pub predicted_of_action: f64,
    /// The reward that it expects of the policy: the mean over the actions by their probabilities.
    pub predicted_of_policy: f64,
}

impl OffPolicyRow {
    /// A row of a policy that has said one action, of which it expects this reward; `agrees` says whether that is the logged
    /// one. Without a prediction that is 0.
    #[must_use]
    pub fn of_action(reward: f64, propensity: f64, agrees: bool, predicted: f64) -> Self {
        // Of another action than the logged one the expectation of that is not needed: the weight is 0.
        let agreement = f64::from(u8::from(agrees));
        Self { reward, propensity, agreement, predicted_of_action: predicted, predicted_of_policy: predicted }
    }

    fn is_defined(&self) -> bool {
        self.propensity > 0.0
            && self.propensity <= 1.0
            && (0.0..=1.0).contains(&self.agreement)
            && [self.reward, self.predicted_of_action, self.predicted_of_policy].iter().all(|number| number.is_finite())
    }
}

/// What is known of logged decisions, in one pass: sums of which all estimates are made.
///
/// An estimate is `None` without rows, and where a row has no estimate: a propensity that is not above 0 and at most 1, or a
/// number that is not finite.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OffPolicySums {
    /// Rows.
    pub count: u64,
    /// Those of them that have no estimate.
    pub undefined: u64,
    /// The sum of the weights, and of their squares.
    pub weights: f64,
    /// See `weights`.
    pub squared_weights: f64,
    /// The rewards, each times its weight.
    pub weighted: Mean,
    /// The terms of the doubly robust estimate.
    pub doubly_robust: Mean,
}

/// A mean, and what its error is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// The sum of the squares of the distances from it.
    pub variation: f64,
}

impl Mean {
    /// Adds the number that is the `count`th (Welford 1962).
    fn add(&mut self, number: f64, count: f64) {
        let before = number - self.mean;
        self.mean += before / count;
        self.variation += before * (number - self.mean);
    }

    /// Adds the numbers of another: `share` is what they are of all, which with these are `count` (Chan, Golub and LeVeque 1983).
    fn merge(&mut self, other: &Self, share: f64, count: f64) {
        let apart = other.mean - self.mean;
        self.mean += apart * share;
        self.variation += other.variation + apart * apart * share * (1.0 - share) * count;
    }
}

impl OffPolicySums {
    /// Adds a row.
    pub fn add(&mut self, row: &OffPolicyRow) {
        self.count += 1;
        if !row.is_defined() {
            self.undefined += 1;
            return;
        }
        let (weight, count) = (row.agreement / row.propensity, (self.count - self.undefined) as f64);
        self.weights += weight;
        self.squared_weights += weight * weight;
        self.weighted.add(weight * row.reward, count);
        let corrected = row.predicted_of_policy + weight * (row.reward - row.predicted_of_action);
        self.doubly_robust.add(corrected, count);
    }

    /// Adds the rows of another.
    pub fn merge(&mut self, other: &Self) {
        let (own, others) = (self.count - self.undefined, other.count - other.undefined);
        if others > 0 {
            let count = (own + others) as f64;
            let share = others as f64 / count;
            self.weighted.merge(&other.weighted, share, count);
            self.doubly_robust.merge(&other.doubly_robust, share, count);
        }
        self.weights += other.weights;
        self.squared_weights += other.squared_weights;
        self.count += other.count;
        self.undefined += other.undefined;
    }

    /// The mean reward by inverse propensity scores, `Σ w r / n` (Horvitz and Thompson 1952): right on average, and widely spread
    /// where propensities are small. In the reward's unit.
    #[must_use]
    pub fn ips(&self) -> Option<f64> {
        self.defined(self.weighted.mean)
    }

    /// The same with weights that add up to one, `Σ w r / Σ w` (Swaminathan and Joachims 2015): spread less, and right in the
    /// long run. `None` where no action agrees.
    #[must_use]
    pub fn snips(&self) -> Option<f64> {
        let rows = (self.count - self.undefined) as f64;
        self.defined(self.weighted.mean * rows / self.weights)
    }

    /// The mean reward that a model expects of the policy, corrected by where the model is wrong: `Σ (v + w (r - q)) / n` (Dudík,
    /// Langford and Li 2011). It is right on average if either the propensities or the expectations are.
    #[must_use]
    pub fn doubly_robust(&self) -> Option<f64> {
        self.defined(self.doubly_robust.mean)
    }

    /// The standard error of [`Self::ips`], of rows that are independent; `None` of fewer than two.
    #[must_use]
    pub fn ips_error(&self) -> Option<f64> {
        self.error(&self.weighted)
    }

    /// The standard error of [`Self::doubly_robust`]; likewise.
    #[must_use]
    pub fn doubly_robust_error(&self) -> Option<f64> {
        self.error(&self.doubly_robust)
    }

    /// How many rows that all agree would say as much: `(Σ w)² / Σ w²` (Kish 1965). 0 where no action agrees.
    #[must_use]
    pub fn effective_rows(&self) -> Option<f64> {
        let rows = if self.weights > 0.0 { self.weights * self.weights / self.squared_weights } else { 0.0 };
        self.defined(rows)
    }

    fn error(&self, mean: &Mean) -> Option<f64> {
        let rows = self.count as f64;
        self.defined((mean.variation / (rows - 1.0) / rows).sqrt()).filter(|_| self.count > 1)
    }

    fn defined(&self, estimate: f64) -> Option<f64> {
        Some(estimate).filter(|estimate| self.count > 0 && self.undefined == 0 && estimate.is_finite())
    }
}

/// The sums of columns: see [`OffPolicyRow`].
impl<'a> FromIterator<&'a OffPolicyRow> for OffPolicySums {
    fn from_iter<Rows: IntoIterator<Item = &'a OffPolicyRow>>(rows: Rows) -> Self {
        let mut sums = Self::default();
        rows.into_iter().for_each(|row| sums.add(row));
        sums
    }
}
