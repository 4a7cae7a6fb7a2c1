//! The eigenvalues and eigenvectors of a symmetric matrix: Householder's reflections make it tridiagonal
//! (Householder 1958), rotations with Wilkinson's shifts make that diagonal (Francis 1961; Golub and Van Loan,
//! "Matrix Computations", 8.3).
//!
//! About `9 n³` operations. Eigenvalues are exact to about `n` units in the last place of the largest one. Eigenvectors
//! lie row by row, so that every inner loop goes along memory.

use tidemill_compute::kernel::dense::{add_scaled, dot};

use crate::batch::FitControl;
use crate::error::{MlError, Result};

/// Rotations' sweeps for each eigenvalue, on average: two or three are usual.
const SWEEPS_EACH_MAX: usize = 60;

/// Below this, the squares of a rotation's two numbers would lose their digits; the largest entry is 1.
const NOTHING: f64 = 1e-140;

/// What a symmetric matrix is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Eigen {
    /// From the largest to the smallest.
    pub(super) values: Vec<f64>,
    /// The vector of each value, of length 1, all orthogonal to each other.
    pub(super) vectors: Vec<Vec<f64>>,
}

impl Eigen {
    /// Of a symmetric matrix, given as its rows.
    ///
    /// # Errors
    /// `Stopped`; `Diverged` for entries that are not finite.
    pub(super) fn of(mut matrix: Vec<Vec<f64>>, control: &FitControl) -> Result<Self> {
        let largest = matrix.iter().flatten().fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
        if !matrix.iter().flatten().all(|entry| entry.is_finite()) {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        if largest > 0.0 {
            // Squares of the entries neither overflow nor vanish then.
            matrix.iter_mut().flatten().for_each(|entry| *entry /= largest);
        }
        let mut tridiagonal = Tridiagonal::of(matrix, control)?;
        tridiagonal.make_diagonal(control)?;
        Ok(tridiagonal.sorted(largest))
    }
}

/// A symmetric matrix that has entries on its diagonal and beside it only, with the vectors that it is written in.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Entry `k` is between `k` and `k + 1`.
    beside: Vec<f64>,
    vectors: Vec<Vec<f64>>,
}

impl Tridiagonal {
    fn of(mut matrix: Vec<Vec<f64>>, control: &FitControl) -> Result<Self> {
        let width = matrix.len();
        let (mut beside, mut reflections) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for place in 0..width.saturating_sub(1) {
            control.check()?;
            let (rows, rest) = matrix.split_at_mut(place + 1);
            let (reflection, entry) = Reflection::onto_first(&rows[place][place + 1..]);
            reflection.apply_to_both_sides(rest, place + 1);
            beside.push(entry);
            reflections.push(reflection);
        }
        let diagonal = matrix.iter().enumerate().map(|(place, row)| row[place]).collect();
        let mut vectors = matrix;
        for (place, row) in vectors.iter_mut().enumerate() {
            row.fill(0.0);
            row[place] = 1.0;
        }
        // From the last to the first: each then meets those rows only that are not yet those of the unit matrix.
        for (place, reflection) in reflections.iter().enumerate().rev() {
            control.check()?;
            for row in &mut vectors[place + 1..] {
                reflection.apply(&mut row[place + 1..]);
            }
        }
        Ok(Self { diagonal, beside, vectors })
    }

    /// Rotates until nothing is left beside the diagonal.
    fn make_diagonal(&mut self, control: &FitControl) -> Result<()> {
        let entries = self.diagonal.iter().chain(&self.beside);
        let negligible = f64::EPSILON * entries.fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
        let mut last = self.diagonal.len().saturating_sub(1);
        let mut sweeps = SWEEPS_EACH_MAX * self.diagonal.len();
        while last > 0 {
            control.check()?;
            if self.beside[last - 1].abs() <= negligible {
                last -= 1;
                continue;
            }
            let has_neighbour = |place: &usize| self.beside[place - 1].abs() > negligible;
            let first = last - (1..=last).rev().take_while(has_neighbour).count();
            self.sweep(first, last);
            // The shifts make this converge for every matrix; what is left are numbers that are none.
            sweeps = sweeps.checked_sub(1).ok_or(MlError::Diverged { hint: "scale the features down" })?;
        }
        Ok(())
    }

    /// One step with Wilkinson's shift on the block from `first` to `last`: an entry that does not belong is made at
    /// its top and chased out at its bottom.
    fn sweep(&mut self, first: usize, last: usize) {
        let mut kept = self.diagonal[first] - self.shift(last);
        let mut strange = self.beside[first];
        for place in first..last {
            let length = (kept * kept + strange * strange).sqrt();
            let (cos, sin) = if length > NOTHING { (kept / length, strange / length) } else { (1.0, 0.0) };
            if place > first {
                self.beside[place - 1] = length;
            }
            let (upper, lower, between) = (self.diagonal[place], self.diagonal[place + 1], self.beside[place]);
            let (squares, cross) = ((cos * cos, sin * sin), 2.0 * cos * sin * between);
            self.diagonal[place] = squares.0 * upper + cross + squares.1 * lower;
            self.diagonal[place + 1] = squares.1 * upper - cross + squares.0 * lower;
            self.beside[place] = cos * sin * (lower - upper) + (squares.0 - squares.1) * between;
            kept = self.beside[place];
            if place + 1 < last {
                strange = sin * self.beside[place + 1];
                self.beside[place + 1] *= cos;
            }
            self.rotate_vectors(place, cos, sin);
        }
    }

    /// Of the last two by two entries of a block, the eigenvalue that is nearer to the last entry.
    fn shift(&self, last: usize) -> f64 {
        let (before, entry, between) = (self.diagonal[last - 1], self.diagonal[last], self.beside[last - 1]);
        let half = (before - entry) / 2.0;
        entry - between * between / (half + (half * half + between * between).sqrt().copysign(half))
    }

    fn rotate_vectors(&mut self, place: usize, cos: f64, sin: f64) {
        let (above, below) = self.vectors.split_at_mut(place + 1);
        for (upper, lower) in above[place].iter_mut().zip(&mut below[0]) {
            let turned = cos * *upper + sin * *lower;
            *lower = cos * *lower - sin * *upper;
            *upper = turned;
        }
    }

    /// By size, with eigenvalues in units of `largest`; of equals, in the order that they came out.
    fn sorted(self, largest: f64) -> Eigen {
        let mut pairs: Vec<_> = self.diagonal.into_iter().zip(self.vectors).collect();
        pairs.sort_by(|one, other| other.0.total_cmp(&one.0));
        let (values, vectors): (Vec<f64>, Vec<_>) = pairs.into_iter().unzip();
        Eigen { values: values.into_iter().map(|value| value * largest).collect(), vectors }
    }
}

/// A reflection `I - factor v vᵀ`.
struct Reflection {
    vector: Vec<f64>,
    factor: f64,
}

impl Reflection {
    /// The reflection that leaves of a vector its first entry only, and that entry.
    fn onto_first(vector: &[f64]) -> (Self, f64) {
        let mut vector = vector.to_vec();
        let length = dot(&vector, &vector).sqrt();
        let first = vector.first().copied().unwrap_or(0.0);
        if length <= NOTHING || vector.iter().skip(1).all(|entry| *entry == 0.0) {
            return (Self { vector, factor: 0.0 }, first);
        }
        // The sign with which nothing cancels.
        let entry = -length.copysign(first);
        vector[0] -= entry;
        let factor = 2.0 / dot(&vector, &vector);
        (Self { vector, factor }, entry)
    }

    fn apply(&self, row: &mut [f64]) {
        if self.factor != 0.0 {
            let share = self.factor * dot(row, &self.vector);
            add_scaled(row, -share, &self.vector);
        }
    }

    /// Replaces a symmetric matrix `A`, whose rows begin at `from`, by `H A H`.
    fn apply_to_both_sides(&self, rows: &mut [Vec<f64>], from: usize) {
        if self.factor == 0.0 {
            return;
        }
        let mut across: Vec<f64> = rows.iter().map(|row| self.factor * dot(&row[from..], &self.vector)).collect();
        let twice = self.factor * 0.5 * dot(&across, &self.vector);
        add_scaled(&mut across, -twice, &self.vector);
        for (row, (own, other)) in rows.iter_mut().zip(self.vector.iter().zip(&across)) {
            add_scaled(&mut row[from..], -own, &across);
            add_scaled(&mut row[from..], -other, &self.vector);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Eigen;
    use crate::batch::FitControl;
    use crate::random::Random;

    fn eigen(matrix: &[Vec<f64>]) -> Eigen {
        Eigen::of(matrix.to_vec(), &FitControl::default()).unwrap()
    }

    fn product(one: &[f64], other: &[f64]) -> f64 {
        one.iter().zip(other).map(|(a, b)| a * b).sum()
    }

    /// The vectors are orthonormal, each is multiplied by its value, and the values descend.
    #[track_caller]
    fn check(matrix: &[Vec<f64>]) -> Vec<f64> {
        let found = eigen(matrix);
        let largest = matrix.iter().flatten().fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
        let within = 1e-14 * (matrix.len() as f64) * largest.max(f64::MIN_POSITIVE);
        for (place, (value, vector)) in found.values.iter().zip(&found.vectors).enumerate() {
            for (row, entry) in matrix.iter().zip(vector) {
                let (left, right) = (product(row, vector), value * entry);
                assert!((left - right).abs() <= within, "vector {place}: {left} is not {right}");
            }
            for (other, vector_of_other) in found.vectors.iter().enumerate() {
                let wanted = if place == other { 1.0 } else { 0.0 };
                assert!((product(vector, vector_of_other) - wanted).abs() < 1e-13 * matrix.len() as f64);
            }
        }
        assert!(found.values.is_sorted_by(|one, other| one >= other), "{:?}", found.values);
        found.values
    }

    #[test]
    fn small_matrices_by_hand() {
        assert_eq!(check(&[]), Vec::<f64>::new());
        assert_eq!(check(&[vec![3.0]]), [3.0]);
        // 2 1 / 1 2 has 3 along (1, 1) and 1 along (1, -1).
        let values = check(&[vec![2.0, 1.0], vec![1.0, 2.0]]);
        assert!((values[0] - 3.0).abs() < 1e-15 && (values[1] - 1.0).abs() < 1e-15, "{values:?}");
        // A path of n points has 2 - 2 cos(k π / (n + 1)).
        let path = |row: usize, column: usize| match row.abs_diff(column) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        let matrix: Vec<Vec<f64>> = (0..9).map(|row| (0..9).map(|column| path(row, column)).collect()).collect();
        for (value, place) in check(&matrix).iter().rev().zip(1..) {
            let by_hand = 2.0 - 2.0 * (f64::from(place) * std::f64::consts::PI / 10.0).cos();
            assert!((value - by_hand).abs() < 1e-14);
        }
    }

    #[test]
    fn matrices_with_equal_values_and_of_low_rank() {
        check(&vec![vec![0.0; 5]; 5]);
        check(&[vec![0.0, 1.0], vec![1.0, 0.0]]);
        check(&vec![vec![1.0; 40]; 40]);
        let unit = |row: usize| (0..7).map(|column| f64::from(u8::from(row == column))).collect();
        assert_eq!(check(&(0..7).map(unit).collect::<Vec<_>>()), [1.0; 7]);
        // Two directions among thirty, of very different sizes.
        let entry = |row: usize, column: usize| 1e80 * (row * column) as f64 + 1e60 * ((row % 2) * (column % 2)) as f64;
        check(&(0..30).map(|row| (0..30).map(|column| entry(row, column)).collect()).collect::<Vec<_>>());
        check(&[vec![1e-200, 1e-201], vec![1e-201, 1e-200]]);
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        let nothing = Eigen::of(vec![vec![f64::NAN, 1.0], vec![1.0, 2.0]], &FitControl::default());
        assert!(nothing.is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn random_matrices_are_taken_apart(width in 1_usize..40, rank in 1_usize..40, seed in any::<u64>()) {
            let mut random = Random::new(seed, 0);
            let rows: Vec<Vec<f64>> = (0..rank).map(|_| (0..width).map(|_| random.fraction() - 0.5).collect()).collect();
            let entry = |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum::<f64>();
            let matrix: Vec<Vec<f64>> = (0..width).map(|i| (0..width).map(|j| entry(i, j)).collect()).collect();
            check(&matrix);
        }
    }
}
