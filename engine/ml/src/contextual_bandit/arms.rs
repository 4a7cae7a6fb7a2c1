//! What is known of one action: the sums of a ridge regression of its rewards, and the regression.
//!
//! `A = λI + Σ x xᵀ` and `b = Σ r x` (Li et al. 2010) are kept as the features' means and the products of their distances
//! from them, updated row by row (Welford 1962) and joined by the formula of Chan, Golub and LeVeque (1979). So nothing
//! cancels where a mean is far from 0, and the same sums give `A` and `b` of numbers that are centred and scaled by any
//! means and deviations, such as those of all rows so far. `A` is factored when it is asked for (Cholesky), which is exact
//! where updates of an inverse (Sherman and Morrison) drift.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::{add_scaled, dot};

use crate::feature::dictionary::NO_SLOT;
use crate::feature::moments::{Moments, Scale};
use crate::model::NUMERIC_MAGNITUDE_MAX;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// How far rounding may take the product of two features past what their squares allow.
const ROUNDING: f64 = 1e-6;

/// Sums over the rows of one action. Features are those of a context without the intercept, by slot; those past the end of
/// the lists have been 0 in all rows.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub(super) struct ArmSums {
    rows: u64,
    means: Vec<f64>,
    /// Of the distances from the means: the lower triangle, row by row.
    products: Vec<f64>,
    reward_mean: f64,
    /// The products of the features' distances with the reward's.
    reward_products: Vec<f64>,
}

impl ArmSums {
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row whose features are these, and its reward.
    pub(super) fn add(&mut self, features: &[f64], reward: f64) {
        self.grow(features.len());
        // A corrupt snapshot may hold any count, and must not make learning panic.
        self.rows = self.rows.saturating_add(1);
        let rows = self.rows as f64;
        let before: Vec<f64> = features.iter().zip(&self.means).map(|(value, mean)| value - mean).collect();
        let reward_before = reward - self.reward_mean;
        self.reward_mean += reward_before / rows;
        self.add_distances(&before, (rows - 1.0) / rows, reward_before);
        add_scaled(&mut self.means, 1.0 / rows, &before);
    }

    /// Adds the rows of another, whose feature after feature has the slot `slots[i]` here, where slot 0 is the intercept's.
    pub(super) fn merge(&mut self, other: &Self, slots: &[u32], width: usize) {
        let here = |place: usize| slots.get(place + 1).filter(|slot| **slot != NO_SLOT).map(|slot| *slot as usize - 1);
        let mut moved = Self { rows: other.rows, reward_mean: other.reward_mean, ..Self::default() };
        moved.grow(width - 1);
        for (place, row) in other.means.iter().enumerate().filter_map(|(place, _)| Some((place, here(place)?))) {
            moved.means[row] = other.means[place];
            moved.reward_products[row] = other.reward_products[place];
            for (before, column) in (0..=place).filter_map(|before| Some((before, here(before)?))) {
                moved.products[triangle(row.max(column)) + row.min(column)] = other.products[triangle(place) + before];
            }
        }
        self.join(&moved);
    }

    /// Adds the rows of another with the same slots.
    fn join(&mut self, other: &Self) {
        self.grow(other.means.len());
        let rows = self.rows.saturating_add(other.rows);
        if other.rows == 0 {
            return;
        }
        let share = other.rows as f64 / rows as f64;
        let apart: Vec<f64> = other.means.iter().zip(&self.means).map(|(other, own)| other - own).collect();
        let rewards_apart = other.reward_mean - self.reward_mean;
        add_scaled(&mut self.products, 1.0, &other.products);
        add_scaled(&mut self.reward_products, 1.0, &other.reward_products);
        self.add_distances(&apart, self.rows as f64 * share, rewards_apart);
        add_scaled(&mut self.means, share, &apart);
        self.reward_mean += rewards_apart * share;
        self.rows = rows;
    }

    /// Adds the products of distances, so many times.
    fn add_distances(&mut self, features: &[f64], times: f64, reward: f64) {
        for (row, distance) in features.iter().enumerate() {
            add_scaled(&mut self.products[triangle(row)..][..=row], times * distance, features);
        }
        add_scaled(&mut self.reward_products, times * reward, features);
    }

    fn grow(&mut self, features: usize) {
        if features > self.means.len() {
            self.means.resize(features, 0.0);
            self.reward_products.resize(features, 0.0);
            self.products.resize(triangle(features), 0.0);
        }
    }

    /// Says that a feature has had this value in all rows so far, in which it was missing.
    pub(super) fn set_missing(&mut self, place: usize, value: f64) {
        self.grow(place + 1);
        self.means[place] = value;
    }

    /// The regression, with features centred and scaled so, of those that are: the first ones.
    pub(super) fn solve(&self, scales: &[Scale], l2_reg: f64) -> Arm {
        let centre = |place: usize| scales.get(place).map_or(0.0, Scale::mean);
        let per_unit = |place: usize| scales.get(place).map_or(1.0, Scale::per_deviation);
        let rows = self.rows as f64;
        let width = 1 + self.means.len();
        let centred: Vec<f64> = self.means.iter().enumerate().map(|(place, mean)| mean - centre(place)).collect();
        let mut products = vec![0.0; triangle(width)];
        let mut targets = vec![0.0; width];
        products[0] = rows;
        targets[0] = rows * self.reward_mean;
        for place in 0..width - 1 {
            let unit = per_unit(place);
            let target = &mut products[triangle(place + 1)..];
            target[0] = unit * (rows * centred[place]);
            for before in 0..=place {
                let product = self.products[triangle(place) + before] + rows * centred[place] * centred[before];
                target[before + 1] = unit * (product * per_unit(before));
            }
            targets[place + 1] = unit * (self.reward_products[place] + rows * centred[place] * self.reward_mean);
        }
        for slot in 0..width {
            products[triangle(slot) + slot] += l2_reg;
        }
        Arm::new(products, targets, l2_reg)
    }

    /// Whether rows with these moments of numbers, and slots up to `width`, could have led here.
    pub(super) fn is_plausible(&self, moments: &[Moments], width: usize) -> bool {
        let features = self.means.len();
        let fits = (moments.len()..width).contains(&features)
            && self.products.len() == triangle(features)
            && self.reward_products.len() == features;
        let is_mean = |mean: &f64| mean.abs() <= NUMERIC_MAGNITUDE_MAX;
        let is_sum = |sum: &f64| sum.abs() <= STATE_MAGNITUDE_MAX;
        fits && self.rows > 0
            && self.means.iter().chain([&self.reward_mean]).all(is_mean)
            && self.products.iter().chain(&self.reward_products).all(is_sum)
            && (0..features).all(|row| (0..=row).all(|column| self.is_product(row, column)))
    }

    /// Cauchy and Schwarz's inequality.
    fn is_product(&self, row: usize, column: usize) -> bool {
        let square = |place: usize| self.products[triangle(place) + place];
        let most = square(row).sqrt() * square(column).sqrt() * (1.0 + ROUNDING) + f64::MIN_POSITIVE;
        self.products[triangle(row) + column].abs() <= most
    }
}

/// Where a row of a lower triangle begins.
fn triangle(row: usize) -> usize {
    row * (row + 1) / 2
}

/// A ridge regression of an action's rewards.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// Of each slot.
    pub(super) weights: Vec<f64>,
    /// `L` of `A = L Lᵀ`, by rows.
    factor: Vec<f64>,
    /// Of λ: what `L` has on its diagonal for slots that no row of the action has had.
    root: f64,
}

impl Arm {
    /// Solves `A w = b`; `products` is the lower triangle of `A`.
    fn new(products: Vec<f64>, targets: Vec<f64>, l2_reg: f64) -> Self {
        let mut arm = Self { weights: Vec::new(), factor: products, root: l2_reg.sqrt() };
        for row in 0..targets.len() {
            let (done, of_row) = arm.factor.split_at_mut(triangle(row));
            for column in 0..=row {
                let before = if column < row { &done[triangle(column)..] } else { &of_row[..] };
                let left = of_row[column] - dot(&of_row[..column], &before[..column]);
                of_row[column] = if column < row {
                    left / before[column]
                } else {
                    // What is left of a diagonal entry is λ or more; rounding, and bytes that no model wrote, may say less.
                    left.max(l2_reg).sqrt()
                };
            }
        }
        arm.weights = arm.solve_transposed(arm.solve(&targets));
        arm
    }

    /// The reward that is expected of a row.
    pub(super) fn mean(&self, row: &[f64]) -> f64 {
        finite(dot(&self.weights, row))
    }

    /// `√(xᵀ A⁻¹ x)`: how uncertain that is, in deviations of a reward about its mean.
    pub(super) fn deviation(&self, row: &[f64]) -> f64 {
        let solved = self.solve(row);
        finite(dot(&solved, &solved).sqrt())
    }

    /// Solves `L y = x`.
    fn solve(&self, x: &[f64]) -> Vec<f64> {
        let mut solved: Vec<f64> = Vec::with_capacity(x.len());
        for (row, value) in x.iter().enumerate() {
            solved.push(match self.factor.get(triangle(row)..triangle(row + 1)) {
                Some(factor) => (value - dot(&factor[..row], &solved)) / factor[row],
                None => value / self.root,
            });
        }
        solved
    }

    /// Solves `Lᵀ w = y`.
    fn solve_transposed(&self, mut y: Vec<f64>) -> Vec<f64> {
        for row in (0..y.len()).rev() {
            let factor = &self.factor[triangle(row)..];
            y[row] /= factor[row];
            let value = y[row];
            add_scaled(&mut y[..row], -value, &factor[..row]);
        }
        y
    }
}

/// Numbers of a damaged snapshot may be beyond the range of `f64`.
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}
