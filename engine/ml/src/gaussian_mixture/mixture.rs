//! The clusters of a mixture, and what the rows say about them: the two halves of a step of EM.
//!
//! Products of differences are summed up about the old means, near which the new ones lie: so taking off what they
//! moved cancels few digits.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::{add_scaled, dot};
use tidemill_compute::kernel::softmax::softmax_in_place;

use super::config::CovarianceType;
use super::density::{Density, covariance_len, diagonal_place};

/// The share below which a cluster does not fall: its logarithm has a value.
const SHARE_MIN: f64 = 1e-300;

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

/// What a row needs room for.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    /// The row's differences from each cluster's mean, one cluster after another.
    differences: Vec<f64>,
    /// The probability of each cluster.
    pub(super) probabilities: Vec<f64>,
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

    pub(super) fn scratch(&self) -> Scratch {
        Scratch { differences: vec![0.0; self.means.len()], probabilities: vec![0.0; self.count()] }
    }

    /// Works out the probability of each cluster of a row, and returns the logarithm of the row's density.
    pub(super) fn weigh(&self, numbers: &[f64], scratch: &mut Scratch) -> f64 {
        scratch.subtract(numbers, &self.means);
        for (cluster, density) in self.densities.iter().enumerate() {
            let difference = &scratch.differences[cluster * self.width..(cluster + 1) * self.width];
            scratch.probabilities[cluster] = density.ln_at(difference);
        }
        softmax_in_place(&mut scratch.probabilities)
    }
}

impl Scratch {
    /// Room for rows whose differences from `means` are summed up for `count` clusters.
    pub(super) fn new(means: &[f64], count: usize) -> Self {
        Self { differences: vec![0.0; means.len()], probabilities: vec![0.0; count] }
    }

    /// Gives the row to the cluster with the nearest mean; of equals, to the first.
    pub(super) fn choose_nearest(&mut self, numbers: &[f64], means: &[f64]) {
        self.subtract(numbers, means);
        let (mut nearest, mut smallest) = (0, f64::INFINITY);
        for (cluster, difference) in self.differences.chunks_exact(numbers.len().max(1)).enumerate() {
            let square = dot(difference, difference);
            if square < smallest {
                (nearest, smallest) = (cluster, square);
            }
        }
        self.probabilities.fill(0.0);
        if let Some(probability) = self.probabilities.get_mut(nearest) {
            *probability = 1.0;
        }
    }

    fn subtract(&mut self, numbers: &[f64], means: &[f64]) {
        let values = means.iter().zip(numbers.iter().cycle());
        self.differences.iter_mut().zip(values).for_each(|(out, (mean, number))| *out = number - mean);
    }

    /// The likeliest cluster; of equals, the first.
    pub(super) fn likeliest(&self) -> usize {
        let probabilities = &self.probabilities;
        let better = |best: usize, next: usize| if probabilities[next] > probabilities[best] { next } else { best };
        (0..probabilities.len()).reduce(better).unwrap_or(0)
    }
}

/// Sums over rows, each weighed by the probability that it is of a cluster.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Sums {
    covariance: CovarianceType,
    width: usize,
    /// For each cluster: the weights, the differences from its old mean, and products of those.
    weights: Vec<f64>,
    differences: Vec<f64>,
    products: Vec<f64>,
    /// Rows for which each cluster is the likeliest.
    pub(super) rows: Vec<u64>,
    /// The sum of the logarithms of the rows' densities.
    pub(super) ln_density: f64,
}

impl Sums {
    pub(super) fn new(covariance: CovarianceType, clusters: usize, width: usize) -> Self {
        Self {
            covariance,
            width,
            weights: vec![0.0; clusters],
            differences: vec![0.0; clusters * width],
            products: vec![0.0; clusters * covariance_len(covariance, width)],
            rows: vec![0; clusters],
            ln_density: 0.0,
        }
    }

    /// Adds a row whose probabilities and differences have been worked out.
    pub(super) fn add(&mut self, scratch: &Scratch, ln_density: f64) {
        self.ln_density += ln_density;
        self.rows[scratch.likeliest()] += 1;
        let (width, length) = (self.width, covariance_len(self.covariance, self.width));
        for (cluster, weight) in scratch.probabilities.iter().enumerate() {
            // Most rows are of one cluster, as far as numbers can tell.
            if *weight == 0.0 {
                continue;
            }
            let difference = &scratch.differences[cluster * width..(cluster + 1) * width];
            let products = &mut self.products[cluster * length..(cluster + 1) * length];
            self.weights[cluster] += weight;
            add_scaled(&mut self.differences[cluster * width..(cluster + 1) * width], *weight, difference);
            add_products(self.covariance, products, *weight, difference);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.ln_density += other.ln_density;
        add_scaled(&mut self.weights, 1.0, &other.weights);
        add_scaled(&mut self.differences, 1.0, &other.differences);
        add_scaled(&mut self.products, 1.0, &other.products);
        self.rows.iter_mut().zip(&other.rows).for_each(|(own, others)| *own += others);
    }

    /// The clusters that make the rows likeliest, given the means that differences were taken from.
    ///
    /// A cluster that no row is of stays where it was, with the variances of `regularization` alone.
    pub(super) fn clusters(&self, old_means: &[f64], regularization: f64) -> Clusters {
        let total: f64 = self.weights.iter().sum();
        let shares = self.weights.iter().map(|weight| (weight / total).max(SHARE_MIN)).collect();
        let (mut means, mut covariances) = (old_means.to_vec(), self.products.clone());
        let (width, length) = (self.width, covariance_len(self.covariance, self.width));
        for (cluster, weight) in self.weights.iter().enumerate() {
            let covariance = &mut covariances[cluster * length..(cluster + 1) * length];
            if *weight > 0.0 {
                let sums = &self.differences[cluster * width..(cluster + 1) * width];
                let moved: Vec<f64> = sums.iter().map(|sum| sum / weight).collect();
                covariance.iter_mut().for_each(|product| *product /= weight);
                add_products(self.covariance, covariance, -1.0, &moved);
                add_scaled(&mut means[cluster * width..(cluster + 1) * width], 1.0, &moved);
            }
            (0..width).for_each(|feature| covariance[diagonal_place(self.covariance, feature)] += regularization);
        }
        Clusters { covariance: self.covariance, shares, means, covariances }
    }
}

/// Adds the products of a difference with itself: the squares, or the lower triangle.
fn add_products(covariance: CovarianceType, products: &mut [f64], weight: f64, difference: &[f64]) {
    match covariance {
        CovarianceType::Full => {
            let mut rest = products;
            for (place, value) in difference.iter().enumerate() {
                let (row, after) = rest.split_at_mut(place + 1);
                add_scaled(row, weight * value, difference);
                rest = after;
            }
        }
        CovarianceType::Diagonal => {
            products.iter_mut().zip(difference).for_each(|(product, value)| *product += weight * value * value);
        }
    }
}
