//! What the rows say about the clusters of a mixture: the second half of a step of EM.
//!
//! Products of differences are summed up about the old means, near which the new ones lie: so taking off what they
//! moved cancels few digits. They are summed up in tiles of four numbers by eight, of many rows after each other, whose
//! sums stay in vector registers meanwhile; each sum goes from row to row, whatever rows come together.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::add_scaled;
use tidemill_compute::kernel::lanes::{COLUMNS, Instructions, LANES, Lane};

use super::block::Block;
use super::config::CovarianceType;
use super::density::{covariance_len, diagonal_place};
use super::mixture::Clusters;

/// The share below which a cluster does not fall: its logarithm has a value.
const SHARE_MIN: f64 = 1e-300;

/// Sums over rows, each weighed by the probability that it is of a cluster.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Sums {
    covariance: CovarianceType,
    width: usize,
    /// For each cluster: the weights, the differences from its old mean, and products of those.
    weights: Vec<f64>,
    differences: Vec<f64>,
    products: Vec<Products>,
    /// Rows for which each cluster is the likeliest.
    pub(super) rows: Vec<u64>,
    /// The sum of the logarithms of the rows' densities.
    pub(super) ln_density: f64,
}

/// Sums of products of differences with each other.
#[derive(Debug, Clone, Encode, Decode)]
enum Products {
    /// Tiles of the lower triangle, in the order of [`tiles`].
    Full(Vec<Lane<[f64; COLUMNS]>>),
    /// The squares.
    Diagonal(Vec<f64>),
}

/// The differences of the rows of a block that are of a cluster.
#[derive(Debug, Default)]
struct Differences {
    /// Four numbers at a time, for each row: the differences times the row's weight.
    weighed: Vec<Lane<f64>>,
    /// Eight numbers at a time, for each row.
    plain: Vec<[f64; COLUMNS]>,
}

impl Sums {
    pub(super) fn new(covariance: CovarianceType, clusters: usize, width: usize) -> Self {
        let products = match covariance {
            CovarianceType::Full => Products::Full(vec![[[0.0; COLUMNS]; LANES]; tiles(width).count()]),
            CovarianceType::Diagonal => Products::Diagonal(vec![0.0; width]),
        };
        Self {
            covariance,
            width,
            weights: vec![0.0; clusters],
            differences: vec![0.0; clusters * width],
            products: vec![products; clusters],
            rows: vec![0; clusters],
            ln_density: 0.0,
        }
    }

    /// Adds rows that have been weighed, and their differences from these means.
    pub(super) fn add(&mut self, block: &Block, means: &[f64]) {
        self.ln_density = block.ln_densities.iter().fold(self.ln_density, |sum, ln_density| sum + ln_density);
        (0..block.rows()).for_each(|row| self.rows[block.likeliest(row)] += 1);
        let mut of_cluster = Differences::default();
        for cluster in 0..self.weights.len() {
            let own = cluster * self.width..(cluster + 1) * self.width;
            // Most rows are of one cluster, as far as numbers can tell.
            let weights = (0..block.rows()).map(|row| (row, block.probabilities(row)[cluster]));
            let rows: Vec<(usize, f64)> = weights.filter(|(_, weight)| *weight != 0.0).collect();
            self.weights[cluster] = rows.iter().fold(self.weights[cluster], |sum, (_, weight)| sum + weight);
            of_cluster.take(block, &rows, &means[own.clone()], &mut self.differences[own]);
            of_cluster.add_products(rows.len(), self.width, &mut self.products[cluster]);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.ln_density += other.ln_density;
        add_scaled(&mut self.weights, 1.0, &other.weights);
        add_scaled(&mut self.differences, 1.0, &other.differences);
        self.products.iter_mut().zip(&other.products).for_each(|(own, others)| own.merge(others));
        self.rows.iter_mut().zip(&other.rows).for_each(|(own, others)| *own += others);
    }

    /// The clusters that make the rows likeliest, given the means that differences were taken from.
    ///
    /// A cluster that no row is of stays where it was, with the variances of `regularization` alone.
    pub(super) fn clusters(&self, old_means: &[f64], regularization: f64) -> Clusters {
        let total: f64 = self.weights.iter().sum();
        let shares = self.weights.iter().map(|weight| (weight / total).max(SHARE_MIN)).collect();
        let (width, length) = (self.width, covariance_len(self.covariance, self.width));
        let (mut means, mut covariances) = (old_means.to_vec(), Vec::with_capacity(self.weights.len() * length));
        for (cluster, weight) in self.weights.iter().enumerate() {
            let mut covariance = self.products[cluster].covariance(width);
            if *weight > 0.0 {
                let sums = &self.differences[cluster * width..(cluster + 1) * width];
                let moved: Vec<f64> = sums.iter().map(|sum| sum / weight).collect();
                covariance.iter_mut().for_each(|product| *product /= weight);
                subtract_products(self.covariance, &mut covariance, &moved);
                add_scaled(&mut means[cluster * width..(cluster + 1) * width], 1.0, &moved);
            }
            (0..width).for_each(|feature| covariance[diagonal_place(self.covariance, feature)] += regularization);
            covariances.extend(covariance);
        }
        Clusters { covariance: self.covariance, shares, means, covariances }
    }
}

impl Differences {
    /// Takes those of some rows, each with its weight, from a mean, and adds them up.
    fn take(&mut self, block: &Block, rows: &[(usize, f64)], mean: &[f64], sums: &mut [f64]) {
        let (fours, eights) = (mean.len().div_ceil(LANES), mean.len().div_ceil(COLUMNS));
        self.weighed.clear();
        self.weighed.resize(fours * rows.len(), [0.0; LANES]);
        self.plain.clear();
        self.plain.resize(eights * rows.len(), [0.0; COLUMNS]);
        for (place, (row, weight)) in rows.iter().enumerate() {
            let numbers = &block.numbers(*row)[..mean.len()];
            for number in 0..mean.len() {
                let difference = numbers[number] - mean[number];
                let weighed = weight * difference;
                self.plain[number / COLUMNS * rows.len() + place][number % COLUMNS] = difference;
                self.weighed[number / LANES * rows.len() + place][number % LANES] = weighed;
                sums[number] += weighed;
            }
        }
    }

    /// Adds the products of each row's differences, times its weight.
    fn add_products(&self, rows: usize, width: usize, products: &mut Products) {
        let weighed = |four: usize| &self.weighed[four * rows..][..rows];
        let plain = |eight: usize| &self.plain[eight * rows..][..rows];
        match products {
            Products::Full(sums) => {
                let instructions = Instructions::fastest();
                for ((four, eight), tile) in tiles(width).zip(sums) {
                    instructions.add_products(weighed(four), plain(eight), tile);
                }
            }
            Products::Diagonal(squares) => {
                for (number, square) in squares.iter_mut().enumerate() {
                    let (four, eight) = (weighed(number / LANES), plain(number / COLUMNS));
                    for (weighed, plain) in four.iter().zip(eight) {
                        *square += weighed[number % LANES] * plain[number % COLUMNS];
                    }
                }
            }
        }
    }
}

impl Products {
    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Full(own), Self::Full(others)) => {
                let others = others.as_flattened().as_flattened();
                add_scaled(own.as_flattened_mut().as_flattened_mut(), 1.0, others);
            }
            (Self::Diagonal(own), Self::Diagonal(others)) => add_scaled(own, 1.0, others),
            // Sums of one fit are of one kind.
            _ => {}
        }
    }

    /// The sums laid out as a covariance is.
    fn covariance(&self, width: usize) -> Vec<f64> {
        let sums = match self {
            Self::Diagonal(squares) => return squares.clone(),
            Self::Full(sums) => sums,
        };
        let mut covariance = vec![0.0; covariance_len(CovarianceType::Full, width)];
        for ((four, eight), tile) in tiles(width).zip(sums) {
            for (row, tile) in (four * LANES..width).zip(tile) {
                for (column, sum) in (eight * COLUMNS..=row).zip(tile) {
                    covariance[diagonal_place(CovarianceType::Full, row) - row + column] = *sum;
                }
            }
        }
        covariance
    }
}

/// The tiles of a lower triangle: of each which four rows they are, and which eight columns.
fn tiles(width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..width.div_ceil(LANES)).flat_map(|four| (0..=four * LANES / COLUMNS).map(move |eight| (four, eight)))
}

/// Takes off the products of a difference with itself: the squares, or the lower triangle.
fn subtract_products(covariance: CovarianceType, products: &mut [f64], difference: &[f64]) {
    match covariance {
        CovarianceType::Full => {
            let mut rest = products;
            for (place, value) in difference.iter().enumerate() {
                let (row, after) = rest.split_at_mut(place + 1);
                add_scaled(row, -value, difference);
                rest = after;
            }
        }
        CovarianceType::Diagonal => {
            products.iter_mut().zip(difference).for_each(|(product, value)| *product -= value * value);
        }
    }
}
