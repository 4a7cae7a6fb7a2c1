//! Least squares from sums over the rows: `½ Σ(y - b - w·x)² + l1 Σ|w| + l2/2 Σw²`, solved without the rows.
//!
//! All that the minimum depends on are the centred products of the features with each other and with the
//! label. Ridge regression is a Cholesky factorisation of them, and where features depend on each other the
//! answer with the shortest weights is taken, as scikit-learn's `LinearRegression` does. With an L1 penalty
//! it is coordinate descent (Friedman, Hastie and Tibshirani 2010, "covariance updates").

use tidemill_compute::kernel::dense::{add_scaled, dot};

use crate::batch::history::History;

/// The part of a feature's variance, not explained by the other features, below which it is taken for
/// a combination of them. Rounding leaves about 1e-15 times their number.
const INDEPENDENT: f64 = 1e-12;

/// Centred sums over the rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NormalEquations {
    /// Features.
    pub(crate) width: usize,
    /// The product of each two features: `width` rows of `width`.
    pub(crate) products: Vec<f64>,
    /// The product of each feature with the label.
    pub(crate) targets: Vec<f64>,
    /// The label's product with itself.
    pub(crate) target_squares: f64,
}

/// Weights, and what it took to find them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Solution {
    pub(crate) weights: Vec<f64>,
    pub(crate) iterations: u64,
    pub(crate) converged: bool,
    /// What is minimised, after each step where there are several.
    pub(crate) history: History,
}

impl NormalEquations {
    /// The minimum without an L1 penalty; of several, the one with the smallest sum of squared weights.
    pub(crate) fn ridge(&self, l2: f64) -> Solution {
        let factor = Factor::new(self, l2);
        let targets: Vec<f64> = factor.order.iter().map(|&feature| self.targets[feature]).collect();
        let some = factor.solve_transposed(factor.solve(targets));
        Solution { weights: factor.shortest(&some), iterations: 1, converged: true, history: History::default() }
    }

    /// The minimum with an L1 penalty, by sweeps over the features, until a sweep moves no prediction by more than
    /// `tolerance` of the label's deviation.
    pub(crate) fn lasso(&self, l1: f64, l2: f64, tolerance: f64, sweeps_max: u64) -> Solution {
        let mut weights = vec![0.0; self.width];
        // The products of each feature with what the weights leave of the label.
        let mut left = self.targets.clone();
        let enough = tolerance * self.target_squares.max(0.0).sqrt();
        let mut history = History::default();
        for sweep in 1..=sweeps_max {
            let mut moved: f64 = 0.0;
            for feature in 0..self.width {
                let own = self.row(feature)[feature];
                if own <= 0.0 {
                    continue;
                }
                let pull = left[feature] + own * weights[feature];
                let weight = if pull.abs() <= l1 { 0.0 } else { (pull - l1.copysign(pull)) / (own + l2) };
                let step = weight - weights[feature];
                if step != 0.0 {
                    add_scaled(&mut left, -step, self.row(feature));
                    weights[feature] = weight;
                    moved = moved.max(step.abs() * own.sqrt());
                }
            }
            history.push(self.loss(&weights, &left, l1, l2));
            if moved <= enough {
                return Solution { weights, iterations: sweep, converged: true, history };
            }
        }
        Solution { weights, iterations: sweeps_max, converged: false, history }
    }

    /// What is minimised, given the products of each feature with what the weights leave of the label.
    fn loss(&self, weights: &[f64], left: &[f64], l1: f64, l2: f64) -> f64 {
        let squares = self.target_squares - dot(weights, &self.targets) - dot(weights, left);
        let magnitudes: f64 = weights.iter().map(|weight| weight.abs()).sum();
        0.5 * squares.max(0.0) + l1 * magnitudes + 0.5 * l2 * dot(weights, weights)
    }

    fn row(&self, feature: usize) -> &[f64] {
        &self.products[feature * self.width..(feature + 1) * self.width]
    }
}

/// A pivoted Cholesky factor of the products plus `l2` on the diagonal.
#[derive(Debug, Clone)]
pub(crate) struct Factor {
    width: usize,
    /// The independent features, in the order of the pivots.
    order: Vec<usize>,
    /// The features that are combinations of those. One that is constant is in neither list.
    dependent: Vec<usize>,
    /// For each feature, what it has of each pivot: `width` rows of `width`.
    rows: Vec<f64>,
}

impl Factor {
    pub(crate) fn new(equations: &NormalEquations, l2: f64) -> Self {
        let width = equations.width;
        let diagonal: Vec<f64> = (0..width).map(|feature| equations.row(feature)[feature] + l2).collect();
        let mut left = diagonal.clone();
        let mut waiting: Vec<usize> = (0..width).filter(|&feature| diagonal[feature] > 0.0).collect();
        let mut factor = Self { width, order: Vec::new(), dependent: Vec::new(), rows: vec![0.0; width * width] };
        loop {
            // The feature of which the others explain least; of equals, the first.
            let share = |feature: usize| left[feature] / diagonal[feature];
            let best = waiting.iter().copied().reduce(|best, next| if share(next) > share(best) { next } else { best });
            let Some(pivot) = best.filter(|&best| share(best) > INDEPENDENT) else { break };
            waiting.retain(|&feature| feature != pivot);
            factor.eliminate(equations, pivot, &waiting, &mut left);
        }
        factor.dependent = waiting;
        factor
    }

    /// Replaces the right side of the equations by what solves them, over the independent features.
    pub(crate) fn solve_in_place(&self, vector: &mut [f64]) {
        let right = self.order.iter().map(|&feature| vector[feature]).collect();
        let solved = self.solve_transposed(self.solve(right));
        for (&feature, value) in self.order.iter().zip(solved) {
            vector[feature] = value;
        }
    }

    /// Makes `pivot` the next pivot, and takes what the features that wait have of it off what is left of them.
    fn eliminate(&mut self, equations: &NormalEquations, pivot: usize, waiting: &[usize], left: &mut [f64]) {
        let known = self.order.len();
        let root = left[pivot].sqrt();
        let pivot_row = self.row(pivot)[..known].to_vec();
        for &feature in waiting {
            let product = equations.row(feature)[pivot] - dot(&self.row(feature)[..known], &pivot_row);
            self.rows[feature * self.width + known] = product / root;
            left[feature] -= product / root * (product / root);
        }
        self.rows[pivot * self.width + known] = root;
        self.order.push(pivot);
    }

    fn row(&self, feature: usize) -> &[f64] {
        &self.rows[feature * self.width..(feature + 1) * self.width]
    }

    /// Solves `L x = b` over the independent features.
    fn solve(&self, mut b: Vec<f64>) -> Vec<f64> {
        for (place, &feature) in self.order.iter().enumerate() {
            let row = self.row(feature);
            b[place] = (b[place] - dot(&row[..place], &b[..place])) / row[place];
        }
        b
    }

    /// Solves `Lᵀ x = b` over the independent features.
    fn solve_transposed(&self, mut b: Vec<f64>) -> Vec<f64> {
        for (place, &feature) in self.order.iter().enumerate().rev() {
            let row = self.row(feature);
            b[place] /= row[place];
            let value = b[place];
            add_scaled(&mut b[..place], -value, &row[..place]);
        }
        b
    }

    /// Of all weights that predict the same as `some`, the weights of the independent features, the shortest.
    ///
    /// The others differ from it by combinations of `[-m; 1]`, where `m` says how a dependent feature is made
    /// of the independent ones, so this is least squares again: `(I + MᵀM) t = -Mᵀ some`.
    fn shortest(&self, some: &[f64]) -> Vec<f64> {
        let rank = self.order.len();
        let made_of: Vec<Vec<f64>> =
            self.dependent.iter().map(|&feature| self.solve_transposed(self.row(feature)[..rank].to_vec())).collect();
        let mut products = Vec::with_capacity(made_of.len() * made_of.len());
        for (place, one) in made_of.iter().enumerate() {
            products.extend(made_of.iter().map(|other| dot(one, other)));
            products[place * made_of.len() + place] += 1.0;
        }
        let targets: Vec<f64> = made_of.iter().map(|one| -dot(one, some)).collect();
        let equations = NormalEquations { width: made_of.len(), products, targets, target_squares: 0.0 };
        let shares = if made_of.is_empty() { Vec::new() } else { equations.ridge(0.0).weights };

        let mut weights = vec![0.0; self.width];
        let mut independent = some.to_vec();
        for ((&feature, one), share) in self.dependent.iter().zip(&made_of).zip(&shares) {
            add_scaled(&mut independent, *share, one);
            weights[feature] = -share;
        }
        for (&feature, weight) in self.order.iter().zip(independent) {
            weights[feature] = weight;
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::{NormalEquations, Solution};

    fn equations(products: &[&[f64]], targets: &[f64]) -> NormalEquations {
        let products = products.iter().flat_map(|row| row.iter().copied()).collect();
        NormalEquations { width: targets.len(), products, targets: targets.to_vec(), target_squares: 10.0 }
    }

    #[track_caller]
    fn check(solution: &Solution, expected: &[f64]) {
        let close = solution.weights.iter().zip(expected).all(|(weight, expected)| (weight - expected).abs() < 1e-12);
        assert!(close && solution.weights.len() == expected.len(), "{solution:?} is not {expected:?}");
    }

    #[test]
    fn two_features_by_hand() {
        // 4 a + 2 b = 10, 2 a + 3 b = 9.
        check(&equations(&[&[4.0, 2.0], &[2.0, 3.0]], &[10.0, 9.0]).ridge(0.0), &[1.5, 2.0]);
        // With 1 on the diagonal: 5 a + 2 b = 10, 2 a + 4 b = 9.
        check(&equations(&[&[4.0, 2.0], &[2.0, 3.0]], &[10.0, 9.0]).ridge(1.0), &[22.0 / 16.0, 25.0 / 16.0]);
    }

    #[test]
    fn of_many_answers_the_shortest_is_taken() {
        // Twice the same feature: a + b = 2. Then one that is twice the other: a + 2 b = 5, shortest (1, 2).
        check(&equations(&[&[1.0, 1.0], &[1.0, 1.0]], &[2.0, 2.0]).ridge(0.0), &[1.0, 1.0]);
        check(&equations(&[&[1.0, 2.0], &[2.0, 4.0]], &[5.0, 10.0]).ridge(0.0), &[1.0, 2.0]);
        // A constant feature has no product with anything.
        check(&equations(&[&[0.0, 0.0], &[0.0, 2.0]], &[0.0, 4.0]).ridge(0.0), &[0.0, 2.0]);
        check(&equations(&[], &[]).ridge(0.0), &[]);
    }

    #[test]
    fn a_lasso_by_hand() {
        // Independent features: soft thresholds of 10 / 4 and 0.5 / 2.
        let independent = equations(&[&[4.0, 0.0], &[0.0, 2.0]], &[10.0, 0.5]);
        check(&independent.lasso(1.0, 0.0, 1e-12, 10), &[9.0 / 4.0, 0.0]);
        check(&independent.lasso(0.25, 1.0, 1e-12, 10), &[9.75 / 5.0, 0.25 / 3.0]);
        let both = NormalEquations { target_squares: 50.0, ..equations(&[&[4.0, 2.0], &[2.0, 3.0]], &[10.0, 9.0]) };
        let solution = both.lasso(1.0, 0.0, 1e-13, 1000);
        // 4 a + 2 b = 9, 2 a + 3 b = 8.
        check(&solution, &[11.0 / 8.0, 7.0 / 4.0]);
        assert!(solution.converged);
        // Half of 50 - 2 (10 a + 9 b) + 4 a² + 4 a b + 3 b², and a + b: first of (9/4, 7/6), in the end of (11/8, 7/4).
        let losses = solution.history.into_iterations(0.0);
        assert!((losses[0].loss - (25.0 - 22.5 - 10.5 + 10.125 + 5.25 + 49.0 / 24.0 + 41.0 / 12.0)).abs() < 1e-12);
        assert!(
            (losses.last().unwrap().loss - (25.0 - 13.75 - 15.75 + 3.78125 + 4.8125 + 4.59375 + 3.125)).abs() < 1e-12
        );
        assert!(!equations(&[&[4.0, 2.0], &[2.0, 3.0]], &[10.0, 9.0]).lasso(1.0, 0.0, 1e-13, 2).converged);
    }
}
