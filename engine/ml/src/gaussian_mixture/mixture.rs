//! The clusters of a mixture, and what they say about rows: the first half of a step of EM.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::softmax_in_place;

use super::block::{Block, ROWS};
use super::config::CovarianceType;
use super::density::{Density, covariance_len};

/// The clusters of a mixture, one after another.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Clusters {
    pub(super) covariance: CovarianceType,
    /// The share that each cluster has of the rows.
    pub(super) shares: Vec<f64>,
    /// For each cluster the mean of each number, as it is encoded.
    pub(super) means: Vec<f64>,
    /// For each cluster the covariance: all variances, or the rows of the lower triangle.
    pub(super) covariances: Vec<f64>,
}

/// What follows from the clusters: their densities.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    width: usize,
    means: Vec<f64>,
    densities: Vec<Density>,
}

impl Clusters {
    /// Numbers that a row has.
    pub(super) fn width(&self) -> usize {
        self.means.len() / self.shares.len().max(1)
    }

    /// The densities; none where a covariance is singular.
    pub(super) fn mixture(&self) -> Option<Mixture> {
        let width = self.width();
        let length = covariance_len(self.covariance, width);
        let density = |cluster: usize| {
            let values = &self.covariances[cluster * length..(cluster + 1) * length];
            Density::new(self.covariance, self.shares[cluster], values, width)
        };
        let densities = (0..self.shares.len()).map(density).collect::<Option<_>>()?;
        Some(Mixture { width, means: self.means.clone(), densities })
    }
}

impl Mixture {
    pub(super) fn count(&self) -> usize {
        self.densities.len()
    }

    /// Room for rows.
    pub(super) fn block(&self) -> Block {
        Block::new(self.width, self.count())
    }

    /// Works out the probability of each cluster of each row, and the logarithm of the row's density.
    pub(super) fn weigh(&self, block: &mut Block) {
        let (mut eight, mut differences) = (Vec::new(), vec![[0.0; ROWS]; self.width]);
        let count = self.count();
        for first in (0..block.rows()).step_by(ROWS) {
            block.side_by_side(first, &mut eight);
            let of_eight = block.probabilities[first * count..].chunks_exact_mut(count).take(ROWS);
            let mut of_eight: Vec<_> = of_eight.collect();
            for (cluster, density) in self.densities.iter().enumerate() {
                subtract(&eight, &self.means[cluster * self.width..][..self.width], &mut differences);
                let logarithms = density.ln_at(&differences);
                of_eight.iter_mut().zip(logarithms).for_each(|(row, logarithm)| row[cluster] = logarithm);
            }
        }
        let of_rows = block.probabilities.chunks_exact_mut(count).zip(&mut block.ln_densities);
        of_rows.for_each(|(probabilities, ln_density)| *ln_density = softmax_in_place(probabilities));
    }
}

/// The differences of rows that lie side by side from a mean.
fn subtract(rows: &[[f64; ROWS]], mean: &[f64], out: &mut [[f64; ROWS]]) {
    for ((numbers, mean), out) in rows.iter().zip(mean).zip(out) {
        for row in 0..ROWS {
            out[row] = numbers[row] - mean;
        }
    }
}
