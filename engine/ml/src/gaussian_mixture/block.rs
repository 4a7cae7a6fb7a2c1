//! Rows that a mixture weighs together, and what it says of them.
//!
//! Where eight rows lie side by side, a number of a covariance that is loaded meets all of them. What is said of a row is
//! the same bits whatever rows it comes with.

use tidemill_compute::kernel::dense::dot;
use tidemill_compute::kernel::lanes::COLUMNS;

/// Rows that are weighed together at most.
pub(super) const ROWS_A_BLOCK: usize = 64;

/// Rows that lie side by side.
pub(super) const ROWS: usize = COLUMNS;

/// Some rows; once they are weighed, with what was found.
#[derive(Debug, Clone)]
pub(super) struct Block {
    width: usize,
    clusters: usize,
    rows: usize,
    /// Row by row.
    numbers: Vec<f64>,
    /// Row by row, of each cluster.
    pub(super) probabilities: Vec<f64>,
    /// The logarithm of each row's density.
    pub(super) ln_densities: Vec<f64>,
}

impl Block {
    /// No rows yet, of `width` numbers each.
    pub(super) fn new(width: usize, clusters: usize) -> Self {
        let (numbers, probabilities, ln_densities) = (Vec::new(), Vec::new(), Vec::new());
        Self { width, clusters, rows: 0, numbers, probabilities, ln_densities }
    }

    /// Adds a row that nothing is said of yet.
    pub(super) fn push(&mut self, numbers: impl Iterator<Item = f64>) {
        self.numbers.extend(numbers);
        self.rows += 1;
        self.probabilities.resize(self.rows * self.clusters, 0.0);
        self.ln_densities.resize(self.rows, 0.0);
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn clear(&mut self) {
        self.rows = 0;
        self.numbers.clear();
        self.probabilities.clear();
        self.ln_densities.clear();
    }

    pub(super) fn numbers(&self, row: usize) -> &[f64] {
        &self.numbers[row * self.width..][..self.width]
    }

    /// The probability of each cluster of a row.
    pub(super) fn probabilities(&self, row: usize) -> &[f64] {
        &self.probabilities[row * self.clusters..][..self.clusters]
    }

    /// The cluster that a row is likeliest of; of equals, the first.
    pub(super) fn likeliest(&self, row: usize) -> usize {
        let probabilities = self.probabilities(row);
        let better = |best: usize, next: usize| if probabilities[next] > probabilities[best] { next } else { best };
        (0..probabilities.len()).reduce(better).unwrap_or(0)
    }

    /// Writes the numbers of up to eight rows from `first` on side by side; those of rows that there are not are zeros.
    pub(super) fn side_by_side(&self, first: usize, out: &mut Vec<[f64; ROWS]>) {
        out.clear();
        out.resize(self.width, [0.0; ROWS]);
        for row in first..self.rows.min(first + ROWS) {
            for (out, number) in out.iter_mut().zip(self.numbers(row)) {
                out[row - first] = *number;
            }
        }
    }

    /// Gives each row to the cluster with the nearest mean; of equals, to the first.
    pub(super) fn choose_nearest(&mut self, means: &[f64]) {
        let mut difference = vec![0.0; self.width];
        self.probabilities.fill(0.0);
        for row in 0..self.rows {
            let (mut nearest, mut smallest) = (0, f64::INFINITY);
            for (cluster, mean) in means.chunks_exact(self.width.max(1)).enumerate() {
                let numbers = self.numbers(row).iter().zip(mean);
                difference.iter_mut().zip(numbers).for_each(|(out, (number, mean))| *out = number - mean);
                let square = dot(&difference, &difference);
                if square < smallest {
                    (nearest, smallest) = (cluster, square);
                }
            }
            self.probabilities[row * self.clusters + nearest] = 1.0;
        }
    }
}
