//! Sequential minimal optimisation of `½ αᵀKα` with `0 <= α <= 1` and a given sum of `α`, where `K` says how alike each two
//! rows are: two `α` move at a time, against each other.
//!
//! They are chosen by second-order information (Fan, Chen and Lin 2005): the first has the steepest slope of those that
//! may grow, and with it the second makes the objective fall the furthest. The search is over once no two slopes that
//! could give way to each other differ by `tolerance`. As LIBSVM's, without shrinking; the same rows begin with an `α`.
//!
//! Of `K` only the columns that were needed last are kept, as many as [`CACHE_BYTES`] hold. Threads compute parts of a
//! column, and no bit depends on them.

use std::sync::Arc;

use super::rows::{Kernel, Rows};
use crate::batch::FitControl;
use crate::batch::parallel::{owned_in_parallel, worthwhile};
use crate::error::{MlError, Result};

/// Bytes of the columns that are kept: all of 5,792 rows.
const CACHE_BYTES: usize = 256 << 20;

/// What stands for the curvature along which two rows that are the same move.
const CURVATURE_MIN: f64 = 1e-12;

/// Rows of a column that a thread computes at a time; whole groups.
const STRETCH_ROWS: usize = 2048;

/// Nanoseconds that an entry of a row takes, and that the rest of its kernel does, about.
const ENTRY_NANOSECONDS: usize = 1;
const KERNEL_NANOSECONDS: usize = 10;

/// What was found.
#[derive(Debug)]
pub(super) struct Solution {
    /// One for each row.
    pub(super) alphas: Vec<f64>,
    /// What the sum of the kernels is at the border.
    pub(super) rho: f64,
    pub(super) objective: f64,
    pub(super) iterations: u64,
    pub(super) converged: bool,
}

/// How the search goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    pub(super) kernel: Kernel,
    /// The sum of the `α`, as a part of the rows.
    pub(super) nu: f64,
    pub(super) tolerance: f64,
    pub(super) max_iterations: u64,
}

impl Search {
    /// # Errors
    /// `Stopped`; `Diverged` where products of rows are beyond what numbers can be.
    pub(super) fn run(self, rows: &Rows, control: &FitControl) -> Result<Solution> {
        let mut columns = Columns::new(rows, self.kernel, control);
        let alphas = first_alphas(self.nu, rows.rows());
        let gradient = columns.product(&alphas)?;
        let mut state = State { alphas, gradient };
        let mut iterations = 0;
        let mut converged = false;
        while iterations < self.max_iterations {
            control.check()?;
            let pair = state.steepest().and_then(|first| {
                let of_first = columns.column(first);
                let second = state.second(first, &of_first, &columns.diagonal, self.tolerance)?;
                Some((first, of_first, second))
            });
            let Some((first, of_first, second)) = pair else {
                converged = true;
                break;
            };
            let of_second = columns.column(second);
            let curvature = columns.diagonal[first] + columns.diagonal[second] - 2.0 * of_first[second];
            state.step((first, &of_first), (second, &of_second), curvature);
            iterations += 1;
        }
        let rho = state.rho();
        let objective = 0.5 * state.alphas.iter().zip(&state.gradient).map(|(alpha, slope)| alpha * slope).sum::<f64>();
        if !rho.is_finite() || !objective.is_finite() {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        Ok(Solution { alphas: state.alphas, rho, objective, iterations, converged })
    }
}

/// As many rows from the first on as have the sum.
fn first_alphas(nu: f64, rows: usize) -> Vec<f64> {
    let sum = nu * rows as f64;
    (0..rows).map(|row| (sum - row as f64).clamp(0.0, 1.0)).collect()
}

struct State {
    alphas: Vec<f64>,
    /// The slope of the objective along each of them, `Kα`.
    gradient: Vec<f64>,
}

impl State {
    /// Of the `α` that may grow the one whose growth makes the objective fall the most; of equals, the first. None where
    /// all are as large as they may be.
    fn steepest(&self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (place, (alpha, slope)) in self.alphas.iter().zip(&self.gradient).enumerate() {
            if *alpha < 1.0 && best.is_none_or(|best| *slope < self.gradient[best]) {
                best = Some(place);
            }
        }
        best
    }

    /// The `α` that may shrink whose exchange with the first one makes the objective fall the furthest; none where no slope
    /// is by `tolerance` larger than the first one's.
    fn second(&self, first: usize, of_first: &[f64], diagonal: &[f64], tolerance: f64) -> Option<usize> {
        let (mut best, mut most, mut largest) = (None, 0.0, f64::NEG_INFINITY);
        for (place, (alpha, slope)) in self.alphas.iter().zip(&self.gradient).enumerate() {
            if *alpha <= 0.0 {
                continue;
            }
            largest = slope.max(largest);
            let ahead = slope - self.gradient[first];
            if ahead > 0.0 {
                let curvature = diagonal[first] + diagonal[place] - 2.0 * of_first[place];
                let falls = ahead * ahead / curvature.max(CURVATURE_MIN);
                if falls > most {
                    (best, most) = (Some(place), falls);
                }
            }
        }
        best.filter(|_| largest - self.gradient[first] >= tolerance)
    }

    /// Lets the first `α` grow and the second shrink by as much, to the minimum along that way or as far as they may.
    fn step(&mut self, (first, of_first): (usize, &[f64]), (second, of_second): (usize, &[f64]), curvature: f64) {
        let wanted = (self.gradient[second] - self.gradient[first]) / curvature.max(CURVATURE_MIN);
        let (room, rest) = (1.0 - self.alphas[first], self.alphas[second]);
        let step = wanted.min(room).min(rest);
        // By what they are to be, so that rounding leaves none a little beside its end.
        self.alphas[first] = if step == room { 1.0 } else { self.alphas[first] + step };
        self.alphas[second] = if step == rest { 0.0 } else { rest - step };
        for ((slope, one), other) in self.gradient.iter_mut().zip(of_first).zip(of_second) {
            *slope += step * (one - other);
        }
    }

    /// The mean slope of those `α` that may move both ways, which all have the same but for the tolerance; without any,
    /// the middle of what it may be.
    fn rho(&self) -> f64 {
        let (mut sum, mut count) = (0.0, 0_u64);
        let (mut lower, mut upper) = (f64::NEG_INFINITY, f64::INFINITY);
        for (alpha, slope) in self.alphas.iter().zip(&self.gradient) {
            match *alpha {
                0.0 => upper = slope.min(upper),
                1.0 => lower = slope.max(lower),
                _ => (sum, count) = (sum + slope, count + 1),
            }
        }
        match (count, upper < f64::INFINITY) {
            (0, true) => f64::midpoint(lower, upper),
            // Every row is as far out as may be.
            (0, false) => lower,
            (count, _) => sum / count as f64,
        }
    }
}

/// The columns of the kernel's matrix.
struct Columns<'a> {
    rows: &'a Rows,
    kernel: Kernel,
    control: &'a FitControl,
    diagonal: Vec<f64>,
    /// Of each row its column, if it is kept, and when it was needed last.
    kept: Vec<Option<(u64, Arc<[f64]>)>>,
    count: usize,
    count_max: usize,
    clock: u64,
}

impl<'a> Columns<'a> {
    fn new(rows: &'a Rows, kernel: Kernel, control: &'a FitControl) -> Self {
        let own = |row: usize| {
            let (numbers, _) = rows.row(row);
            numbers.iter().map(|number| number * number).sum::<f64>() + (rows.width() - numbers.len()) as f64
        };
        let diagonal = (0..rows.rows()).map(|row| if kernel == Kernel::Linear { own(row) } else { 1.0 }).collect();
        let count_max = (CACHE_BYTES / (8 * rows.rows()).max(1)).max(2);
        Self { rows, kernel, control, diagonal, kept: vec![None; rows.rows()], count: 0, count_max, clock: 0 }
    }

    /// The column of a row.
    fn column(&mut self, row: usize) -> Arc<[f64]> {
        self.clock += 1;
        if let Some((needed, column)) = &mut self.kept[row] {
            *needed = self.clock;
            return Arc::clone(column);
        }
        if self.count == self.count_max {
            let oldest =
                self.kept.iter_mut().filter(|kept| kept.is_some()).min_by_key(|kept| kept.as_ref().map(|kept| kept.0));
            if let Some(oldest) = oldest {
                *oldest = None;
                self.count -= 1;
            }
        }
        let column: Arc<[f64]> = self.compute(row).into();
        self.kept[row] = Some((self.clock, Arc::clone(&column)));
        self.count += 1;
        column
    }

    fn compute(&self, row: usize) -> Vec<f64> {
        let mut column = vec![0.0; self.rows.rows()];
        let (numbers, categories) = self.rows.row(row);
        self.each_stretch(&mut column, 1, |first, stretch| {
            self.rows.kernel(self.kernel, (&numbers, &categories), first, stretch);
        });
        column
    }

    /// The matrix times some `α`.
    ///
    /// # Errors
    /// `Stopped`.
    fn product(&self, alphas: &[f64]) -> Result<Vec<f64>> {
        let with_some: Vec<_> = alphas
            .iter()
            .enumerate()
            .filter(|(_, alpha)| **alpha > 0.0)
            .map(|(row, alpha)| (self.rows.row(row), *alpha))
            .collect();
        let mut product = vec![0.0; alphas.len()];
        self.each_stretch(&mut product, with_some.len(), |first, stretch| {
            let mut alike = vec![0.0; stretch.len()];
            for ((numbers, categories), alpha) in &with_some {
                if self.control.is_stopped() {
                    return;
                }
                self.rows.kernel(self.kernel, (numbers, categories), first, &mut alike);
                stretch.iter_mut().zip(&alike).for_each(|(sum, alike)| *sum += alpha * alike);
            }
        });
        self.control.check()?;
        Ok(product)
    }

    /// Calls `work` with each stretch of a column and its first row, on threads where kernels of so many rows with each
    /// take long enough.
    fn each_stretch(&self, column: &mut [f64], times: usize, work: impl Fn(usize, &mut [f64]) + Sync) {
        let nanoseconds = (ENTRY_NANOSECONDS * self.rows.width() + KERNEL_NANOSECONDS) * column.len() * times;
        let threads = worthwhile(self.control.threads.get(), nanoseconds);
        let stretches = column.len().div_ceil(STRETCH_ROWS).max(1);
        let rows = stretches.div_ceil(threads) * STRETCH_ROWS;
        let parts = column.chunks_mut(rows).enumerate().map(|(part, stretch)| (part * rows, stretch));
        owned_in_parallel(parts, |(first, stretch)| {
            for (place, stretch) in stretch.chunks_mut(STRETCH_ROWS).enumerate() {
                work(first + place * STRETCH_ROWS, stretch);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f64]) -> Rows {
        let mut rows = Rows::new(1, 0);
        values.iter().for_each(|value| rows.push(&[*value], &[]));
        rows
    }

    fn run(rows: &Rows, nu: f64, kernel: Kernel) -> Solution {
        let search = Search { kernel, nu, tolerance: 1e-10, max_iterations: 1000 };
        search.run(rows, &FitControl::default()).unwrap()
    }

    #[test]
    fn two_rows_share_by_hand() {
        // Half of ν times two rows is at either: by symmetry α = ½, and the border is where they are.
        let solution = run(&line(&[0.0, 1.0]), 0.5, Kernel::Rbf { gamma: 1.0 });
        assert!(solution.converged && solution.alphas.iter().all(|alpha| (alpha - 0.5).abs() < 1e-12));
        assert!((solution.rho - 0.5 * (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
        // With products, the row nearest to 0 has all.
        let solution = run(&line(&[3.0, 1.0, 2.0]), 1.0 / 3.0, Kernel::Linear);
        assert_eq!((solution.alphas, solution.rho), (vec![0.0, 1.0, 0.0], 1.5));
    }

    #[test]
    fn where_all_rows_may_be_outside_there_is_nothing_to_search() {
        let solution = run(&line(&[0.0, 1.0, 5.0]), 1.0, Kernel::Rbf { gamma: 1.0 });
        assert_eq!((solution.alphas, solution.iterations), (vec![1.0; 3], 0));
        assert!(solution.rho.is_finite());
    }

    #[test]
    fn columns_that_are_needed_no_more_give_way() {
        let rows = line(&(0..40).map(f64::from).collect::<Vec<_>>());
        let control = FitControl::default();
        let mut columns = Columns::new(&rows, Kernel::Rbf { gamma: 0.1 }, &control);
        columns.count_max = 2;
        let first = columns.column(3);
        columns.column(4);
        columns.column(3);
        columns.column(5);
        let is_kept: Vec<_> = (3..6).map(|row| columns.kept[row].is_some()).collect();
        assert_eq!(is_kept, [true, false, true]);
        assert_eq!((columns.column(3), columns.count), (first, 2));
    }
}
